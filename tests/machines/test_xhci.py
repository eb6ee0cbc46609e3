"""xHCI controllers in whole machines: where they stand, what they are called, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gossamer.base.errors import ConfigError
from gossamer.control import hotplug
from gossamer.control.vm import Vm
from gossamer.devices.uninorth import DATA_OFFSET, MAIN_CONFIG
from gossamer.machines.build import build
from gossamer.machines.machine import Machine
from gossamer.machines.options import parse
from tests.devices.pci_rig import little, set_config
from tests.devices.usb.test_xhci import RECORDED
from tests.devices.usb.xhci_scenarios import SCENARIOS

SLOT, AT = 5, 0x8010_0000
DEVICES = (
    *("-device", f"nec-usb-xhci,id=x,addr=0{SLOT}.0", "-device", "usb-kbd,bus=x.0"),
    *("-device", "usb-mouse,bus=x.0", "-device", "usb-hub,bus=x.0,port=4"),
)


def machine(*words: str) -> Machine:
    return build(parse(["-m", "32", "-bios", "builtin", "-vga", "none", *words]))


class Reached:
    """The controller by loads and stores at real addresses, as a CPU makes them."""

    def __init__(self, m: Machine) -> None:
        self.m = m
        for register, value, size in ((0x10, AT, 4), (4, 6, 2)):
            if m.kind.name == "mac99":
                address = 0x8000_0000 | SLOT << 11 | register
                m.memory.store(MAIN_CONFIG, little(address, 4), 4)
                m.memory.store(MAIN_CONFIG + DATA_OFFSET, little(value, size), size)
            else:
                set_config(m.memory, SLOT, register, value, size)

    def reg(self, offset: int) -> int:
        return little(self.m.memory.load(AT + offset, 4), 4)

    def set_reg(self, offset: int, value: int) -> None:
        self.m.memory.store(AT + offset, little(value, 4), 4)

    def bytes(self, at: int, size: int) -> bytes:
        return self.m.memory.read(at, size)

    def set_bytes(self, at: int, data: bytes) -> None:
        self.m.memory.write(at, data)

    def step(self, ns: int) -> None:
        self.m.clock.advance(self.m.clock.now + ns)


@pytest.mark.parametrize("name", ["g3beige", "mac99"])
def test_a_driver_reaches_the_controller_as_in_qemu(name: str) -> None:
    reached = Reached(machine("-M", name, *DEVICES))
    for scenario in ("registers", "control_events", "interrupts_in", "stalls"):
        seen = json.loads(json.dumps(SCENARIOS[scenario](reached)))
        assert seen == RECORDED[scenario], scenario


def test_keys_go_to_the_newest_keyboard() -> None:
    m = machine("-M", "mac99,via=pmu", "-device", "qemu-xhci,id=x", "-device", "usb-kbd")
    assert m.keyboard is m.part("pci/xhci/keyboard")
    assert m.keyboard.idstr.endswith("/1/usb-kbd")  # type: ignore[union-attr]
    assert m.part("pci/usb/keyboard") is not m.keyboard


def test_two_controllers_and_the_names_of_their_buses() -> None:
    both = ("-device", "nec-usb-xhci,addr=5", "-device", "nec-usb-xhci,addr=6")
    m = machine("-M", "g3beige", *both, "-device", "usb-kbd,bus=usb-bus.0", "-device", "usb-mouse")
    assert [p.path for p in m.parts if "xhci" in p.path] == [
        *("pci/xhci", "pci/xhci-06", "pci/xhci/keyboard", "pci/xhci-06/mouse"),
    ]
    assert m.part("pci/xhci-06/mouse").idstr == "pci.0:06.0/1/usb-ptr"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            "-device nec-usb-xhci,msi=on",
            "msi=on: the bridge of g3beige takes no messages",
        ),
        ("-device qemu-xhci -device usb-kbd,bus=y.0", "no bus 'y.0' (there is: usb-bus.0)"),
        ("-device qemu-xhci,p2=2 -device usb-kbd,port=3", "port 3 is not free (free are: 1, 2)"),
        ("-device nec-usb-xhci,slots=8", "there are 64"),
        ("-device qemu-xhci,p2=16", "p2 must be a number from 1 to 15, got '16'"),
        ("-device qemu-xhci,msix=off", "unknown property of qemu-xhci 'msix'"),
    ],
)
def test_what_cannot_be_is_refused(words: str, text: str) -> None:
    with pytest.raises(ConfigError) as fault:
        machine("-M", "g3beige", *words.split())
    assert text in str(fault.value)


def test_a_device_comes_and_goes_while_the_machine_runs(tmp_path: Path) -> None:
    vm = Vm(parse(["-m", "32", "-M", "g3beige", "-bios", "builtin", "-vga", "none", *DEVICES]))
    xhci = vm.machine.part("pci/xhci")
    hotplug.add(vm, "usb-tablet", {"id": "t"})
    assert xhci.core.ports[6].portsc & 0x2_0001 == 0x2_0001  # type: ignore[attr-defined]
    assert vm.machine.part("pci/xhci/tablet").idstr == "pci.0:05.0/3/usb-ptr"
    again = Vm(parse(["-m", "32", "-M", "g3beige", "-bios", "builtin", "-vga", "none", *DEVICES]))
    vm.save(tmp_path / "saved")
    again.restore(tmp_path / "saved")
    assert again.machine.part("pci/xhci/tablet").speed == 3  # type: ignore[attr-defined]
    hotplug.remove(vm, "t")
    assert not xhci.core.ports[6].portsc & 1  # type: ignore[attr-defined]
    again.close()
    vm.close()
