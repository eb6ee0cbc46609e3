"""The monitor's words for what stands outside of the machine: boot device, pointer, cable, log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gossamer.control import outside
from tests.front.qmp.client import Host


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    one = Host(
        tmp_path_factory.mktemp("m"), "-M", "mac99", "-bios", "builtin", "-m", "8", "-S", "-usb",
        "-device", "usb-tablet,id=tab", "-device", "sungem,id=net0", "-boot", "once=d,order=c",
    )  # fmt: skip
    yield one
    assert one.end() == 0


def said(host: Host, line: str) -> str:
    return str(host.client.do("human-monitor-command", command_line=line)).strip()


def test_boot_set_holds_for_the_next_reset_and_every_load(host: Host, tmp_path: Path) -> None:
    vm = host.console._session.vm  # type: ignore[union-attr]

    def found() -> int:
        fw_cfg = vm.machine.part("fw_cfg")
        return int(fw_cfg.entries[0x0C][0])  # type: ignore[attr-defined]

    assert found() == ord("d")
    assert said(host, f"save {tmp_path}/before") == ""
    assert said(host, "boot_set cd") == "boot device list now set to cd"
    assert found() == ord("c")
    host.client.do("system_reset")
    assert found() == ord("c")
    assert said(host, "boot_set dc") == "boot device list now set to dc"
    host.client.do("system_reset")
    assert found() == ord("d")
    assert said(host, f"save {tmp_path}/after") == ""
    for name in ("before", "after"):
        assert said(host, f"load {tmp_path}/{name}") == ""
        assert found() == ord("d"), name
    for letters, text in (("xy", "letters of a, c, d, n"), ("cc", "letters"), ("n", "starts from")):
        assert text in said(host, f"boot_set {letters}")
        assert found() == ord("d")


def test_mouse_set_stays_through_a_load(host: Host, tmp_path: Path) -> None:
    def current() -> list[bool]:
        """Which is chosen; an ADB mouse stands in for one that the guest has not set up."""
        machine = host.console._session.vm.machine  # type: ignore[union-attr]
        return [one is machine.mouse for one in outside.pointers(machine)]

    mice = current()
    assert mice[-1] is True
    assert mice.count(True) == 1
    assert said(host, "mouse_set 0") == ""
    assert current()[0] is True
    assert said(host, f"save {tmp_path}/s") == ""
    assert said(host, f"load {tmp_path}/s") == ""
    assert current()[0] is True
    assert "not found" in said(host, "mouse_set 9")
    assert said(host, "device_add usb-mouse,id=m2") == ""
    assert current()[-1] is True
    assert said(host, "mouse_set 0") == ""
    assert said(host, "device_del m2") == ""
    assert current()[-1] is True


def test_a_cable_stays_as_it_is_through_a_load(host: Host, tmp_path: Path) -> None:
    def link() -> bool:
        vm = host.console._session.vm  # type: ignore[union-attr]
        phy = next(p.device.phy for p in vm.machine.parts if p.device.vmsd == "sungem")  # type: ignore[attr-defined]
        return bool(phy.read(1) & 4)

    assert not link()
    assert "no cable" in said(host, "info network")
    assert said(host, "set_link net0 on") == ""
    assert link()
    assert "no cable" not in said(host, "info network")
    assert said(host, f"save {tmp_path}/s") == ""
    assert said(host, f"load {tmp_path}/s") == ""
    assert link()
    assert said(host, "set_link net0 off") == ""
    assert not link()


def test_log_begins_and_ends(host: Host, tmp_path: Path) -> None:
    def note() -> None:
        vm = host.console._session.vm  # type: ignore[union-attr]
        vm.machine.trace.event("chip", "something odd")

    assert said(host, f"logfile {tmp_path}/log") == ""
    note()
    assert said(host, "log unimp,guest_errors") == ""
    note()
    assert said(host, "log none") == ""
    note()
    assert (tmp_path / "log").read_text() == "chip: something odd\n"
    assert "there is: guest_errors" in said(host, "log nonsense")
    assert "cannot be written" in said(host, "logfile /no/where")
    assert said(host, "log all") == ""
    note()
    assert (tmp_path / "log").read_text() == "chip: something odd\n" * 2
