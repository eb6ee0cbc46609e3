"""What a pseries has without a word about it, and what words take away: as in QEMU 7.2."""

from __future__ import annotations

import pytest

from gossamer.base.errors import ConfigError
from gossamer.devices.usb.device import HIGH, UsbFunction
from gossamer.machines.build import build
from gossamer.machines.machine import Machine
from gossamer.machines.options import parse

PLACE = "pci@800000020000000"
LAN = ["l-lan@71000002/spapr_llan"]
SCSI = ["v-scsi@71000003/spapr_vscsi", "v-scsi@71000003/0:2:0/scsi-disk"]


def machine(line: str, version: str = "7.2") -> Machine:
    usual = ["-M", f"pseries-{version}", "-m", "256", "-serial", "null", "-rtc", "base=2020-01-01"]
    return build(parse([*usual, *line.split()]))


def display(slot: int) -> list[str]:
    return [f"{PLACE}:{slot:02x}.0/vga"]


def usb(slot: int, *, alone: bool = False) -> list[str]:
    where = f"{PLACE}:{slot:02x}.0"
    return [f"{where}/xhci", *([] if alone else [f"{where}/1/usb-kbd", f"{where}/2/usb-ptr"])]


LINES = {
    "": [*LAN, *SCSI, *display(0), *usb(1), "spapr"],
    "-nographic": [*LAN, *SCSI, *display(0), *usb(1), "spapr"],
    "-display none": [*LAN, *SCSI, *display(0), *usb(1), "spapr"],
    "-device VGA": [*LAN, *SCSI, *usb(0), "spapr", *display(1)],
    "-global VGA.edid=off": [*LAN, *SCSI, *usb(0), "spapr"],
    "-vga none": [*LAN, *SCSI, "spapr"],
    "-vga none -usb": [*LAN, *SCSI, *usb(0, alone=True), "spapr"],
    "-vga none -device VGA": [*LAN, *SCSI, "spapr", *display(0)],
    "-vga none -device VGA -usb": [*LAN, *SCSI, *usb(0, alone=True), "spapr", *display(1)],
    "-M usb=off": [*LAN, *SCSI, *display(0), "spapr"],
    "-nodefaults": ["spapr"],
    "-nodefaults -vga std": [*display(0), "spapr"],
    "-nodefaults -usb": [*usb(0, alone=True), "spapr"],
    "-nodefaults -vga std -usb": [*display(0), *usb(1), "spapr"],
    "-nodefaults -device VGA": ["spapr", *display(0)],
    "-nodefaults -device VGA -usb": [*usb(0), "spapr", *display(1)],
}


@pytest.mark.parametrize("line", LINES)
def test_the_devices_and_the_order_of_their_sections(line: str) -> None:
    found = [part.idstr for part in machine(line).sections]
    between = found[found.index("PCIBUS") + 1 :]
    windows = "spapr_iommu", "spapr/htab"
    assert [name for name in between if not name.startswith(windows)] == LINES[line]


@pytest.mark.parametrize(("version", "number"), [("2.8", "42"), ("3.1", "42"), ("4.0", "")])
def test_input_devices_have_the_serial_numbers_of_the_version(version: str, number: str) -> None:
    m = machine("-device usb-tablet -device usb-hub", version)
    said = [p.device.serial for p in m.parts if isinstance(p.device, UsbFunction)]
    where = f"{PLACE}:01.0"
    own = [f"{kind}-{where}-{n}" for n, kind in ((1, 68284), (2, 89126), (3, 28754))]
    assert said == [*([number] * 3 if number else own), f"314159-{where}-4"]
    assert machine("-device usb-tablet,serial=T", version).part("pci/xhci/tablet").serial == "T"  # type: ignore[attr-defined]


def test_keys_and_movement_go_to_them() -> None:
    m = machine("")
    assert m.keyboard is m.part("pci/xhci/keyboard")
    assert m.mouse is m.part("pci/xhci/mouse")
    for path in ("pci/xhci/keyboard", "pci/xhci/mouse"):
        assert m.part(path).speed == HIGH  # type: ignore[attr-defined]
    assert machine("-vga none").keyboard is None


def test_no_usb_no_usb_device() -> None:
    with pytest.raises(ConfigError, match=r"pseries-7.2 has no USB bus; -M usb=on gives it one"):
        machine("-vga none -device usb-kbd")
    m = machine("-vga none -device nec-usb-xhci,id=x -device usb-kbd,bus=x.0")
    assert m.keyboard is m.part("pci/xhci/keyboard")


@pytest.mark.parametrize(
    ("version", "section"), [("2.1", "ohci"), ("2.2", "ohci"), ("2.5", "ohci"), ("2.6", "xhci")]
)
def test_the_controller_is_that_of_the_version(version: str, section: str) -> None:
    found = [part.idstr for part in machine("", version).sections]
    assert [f"{PLACE}:01.0/{one}" for one in (section, "1/usb-kbd", "2/usb-ptr")] == [
        name for name in found if name.startswith(f"{PLACE}:01.0")
    ]
