"""USB devices that come and go while the guest runs: what it sees, and what saves hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.base.errors import ConfigError
from gossamer.control import hotplug
from gossamer.control.vm import Vm
from gossamer.devices.usb import ohci_hub
from gossamer.devices.usb.hub import UsbHub
from gossamer.devices.usb.ohci import Ohci
from gossamer.machines.options import parse

HUB_CHANGED = 0x40


def machine(*words: str, name: str = "g3beige") -> Vm:
    line = ["-M", name, "-bios", "builtin", "-m", "8", "-usb", "-serial", "null"]
    return Vm(parse([*line, "-icount", "5,sleep=off", *words]))


def ohci(vm: Vm) -> Ohci:
    found = vm.machine.part("pci/usb")
    assert isinstance(found, Ohci)
    return found


def taken(vm: Vm) -> list[tuple[str, str, str]]:
    return [(d.driver, d.id, str(d.values["port"])) for d in vm.config.devices]


def test_guest_sees_a_device_come_and_go() -> None:
    vm = machine()
    core = ohci(vm).core
    core.acknowledge(0xFFFF_FFFF)
    hotplug.add(vm, "usb-kbd", {"id": "k"})
    connected = ohci_hub.CONNECTED | ohci_hub.CONNECT_CHANGE | ohci_hub.POWERED
    assert core.read(0x15) == connected
    assert core.intr_status & HUB_CHANGED
    core.write(0x15, ohci_hub.CONNECT_CHANGE | ohci_hub.ENABLED)
    core.acknowledge(0xFFFF_FFFF)
    hotplug.remove(vm, "k")
    assert core.read(0x15) == (ohci_hub.CONNECT_CHANGE | ohci_hub.ENABLE_CHANGE | ohci_hub.POWERED)
    assert core.intr_status & HUB_CHANGED
    assert vm.config.devices == ()


def test_a_hub_reports_its_changes_and_goes_last() -> None:
    vm = machine("-device", "usb-hub,id=h")
    hub = vm.machine.part("pci/usb/hub")
    assert isinstance(hub, UsbHub)
    hotplug.add(vm, "usb-mouse", {"id": "m", "port": "1.2"})
    assert hub.poll(1, 2) == b"\x04\x00"
    assert vm.machine.mouse is vm.machine.part("pci/usb/mouse")
    with pytest.raises(ConfigError, match="they go first"):
        hotplug.remove(vm, "h")
    hotplug.remove(vm, "m")
    assert hub.ports[1].change & 1
    assert vm.machine.mouse is vm.machine.part("macio/adb/mouse")
    hotplug.remove(vm, "h")


@pytest.mark.parametrize("name", ["g3beige", "mac99", "mac99,via=pmu"])
def test_saves_hold_what_is_plugged_in(name: str, tmp_path: Path) -> None:
    vm = machine("-device", "usb-hub,id=k0", name=name)
    vm.run(instructions=10_000)
    hotplug.add(vm, "usb-tablet", {"id": "t"})
    hotplug.add(vm, "usb-mouse", {"id": "m"})
    vm.run(instructions=1_000)
    vm.save(tmp_path / "one")
    first, devices = vm.state_hash(), taken(vm)
    hotplug.remove(vm, "k0") if name != "mac99,via=pmu" else hotplug.remove(vm, "t")
    hotplug.add(vm, "usb-kbd", {"id": "k1"})
    vm.save(tmp_path / "two")
    second, others = vm.state_hash(), taken(vm)
    vm.restore(tmp_path / "one")
    assert (vm.state_hash(), taken(vm)) == (first, devices)
    vm.restore(tmp_path / "two")
    assert (vm.state_hash(), taken(vm)) == (second, others)
    fresh = Vm.load(tmp_path / "two")
    assert (fresh.state_hash(), taken(fresh)) == (second, others)
    vm.run(instructions=20_000)
    fresh.run(instructions=20_000)
    assert fresh.state_hash() == vm.state_hash()
    vm = machine("-device", "usb-hub,id=k0", name=name)  # the command line of the beginning
    vm.restore(tmp_path / "two")
    assert (vm.state_hash(), taken(vm)) == (second, others)


def test_a_save_of_other_devices_is_refused(tmp_path: Path) -> None:
    vm = machine("-device", "usb-kbd,id=k")
    hotplug.add(vm, "usb-mouse", {})
    vm.save(tmp_path / "save")
    other = machine()
    before = other.state_hash()
    with pytest.raises(ConfigError, match="USB port 1: expected nothing, got usb-kbd"):
        other.restore(tmp_path / "save")
    assert other.state_hash() == before
    assert other.config.devices == ()


def test_the_last_port_gets_a_hub_and_ports_are_bounded() -> None:
    vm = machine()
    for _ in range(4):
        hotplug.add(vm, "usb-mouse", {})
    assert [port for _, _, port in taken(vm)] == ["1", "2", "3", "3.1", "3.2"]
    with pytest.raises(ConfigError, match="at most 5 hubs in a row"):
        plug_mice(vm, 200)
    assert len(taken(vm)) <= hotplug.MOST_DEVICES


def plug_mice(vm: Vm, count: int) -> None:
    for _ in range(count):
        hotplug.add(vm, "usb-mouse", {})


@pytest.mark.parametrize(
    ("driver", "given", "text"),
    [
        ("nonsense", {}, "'nonsense' is not a valid device model name"),
        ("usb-kbd", {"port": "9"}, "port 9 is not free"),
        ("usb-kbd", {"bus": "x.0"}, "no bus 'x.0'"),
        ("usb-kbd", {"zzz": "1"}, "unknown property of usb-kbd 'zzz'"),
        ("usb-kbd", {"id": "0 bad"}, "id"),
        ("usb-kbd", {"id": "taken"}, "Duplicate device ID 'taken'"),
        ("ne2k_pci", {}, "PCI does not support hotplugging"),
        ("ide-cd", {}, "IDE does not support hotplugging"),
        ("escc", {}, "part of the machine"),
    ],
)
def test_nonsense_gets_one_error_and_changes_nothing(
    driver: str, given: dict[str, str], text: str
) -> None:
    vm = machine("-device", "usb-hub,id=taken")
    before, parts = vm.state_hash(), list(vm.machine.parts)
    with pytest.raises(ConfigError, match=text):
        hotplug.add(vm, driver, given)
    assert vm.state_hash() == before
    assert vm.machine.parts == parts
    assert len(vm.config.devices) == 1


def test_machine_without_usb_says_how_to_have_it() -> None:
    vm = Vm(parse(["-M", "g3beige", "-bios", "builtin", "-m", "8", "-serial", "null"]))
    with pytest.raises(ConfigError, match="usb=on gives it one"):
        hotplug.add(vm, "usb-kbd", {})


def test_controller_of_a_device_option_names_its_bus() -> None:
    vm = Vm(
        parse(
            ["-M", "g3beige", "-bios", "builtin", "-m", "8", "-serial", "null", "-nodefaults",
             "-device", "pci-ohci,id=usb,bus=pci.0,addr=0x2",
             "-device", "usb-tablet,id=input0,bus=usb.0,port=1"]
        )
    )  # fmt: skip
    assert ohci(vm).idstr == "pci.0:02.0/ohci"
    hotplug.add(vm, "usb-kbd", {"bus": "usb.0", "id": "k"})
    with pytest.raises(ConfigError, match=r"no bus 'usb-bus\.0'"):
        hotplug.add(vm, "usb-kbd", {"bus": "usb-bus.0"})
