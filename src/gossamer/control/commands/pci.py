"""What is on the PCI bus."""

from __future__ import annotations

from typing import Annotated, Final

from gossamer.base.data import Data
from gossamer.control.commands.table import command
from gossamer.control.session import Session
from gossamer.control.shapes import Name, Size
from gossamer.core.memory import RamBlock
from gossamer.devices.pci import PciDevice
from gossamer.machines.machine import Part

_NOWHERE = -1
#: What QEMU calls the classes of these machines' functions.
_CLASSES: Final = {
    0x0200: "Ethernet controller",
    0x0300: "VGA controller",
    0x0600: "Host bridge",
    0x0C03: "USB controller",
}


class PciRegion(Data):
    """A base address register; `address` -1 while the function does not decode it."""

    bar: int
    type: str
    address: int
    size: Size
    prefetch: bool | None = None
    mem_type_64: Annotated[bool | None, Name("mem_type_64")] = None


class PciClass(Data):
    """Class and subclass."""

    class_: int
    desc: str | None = None


class PciId(Data):
    """Vendor and device."""

    vendor: int
    device: int
    subsystem: int | None = None
    subsystem_vendor: int | None = None


class PciDeviceInfo(Data):
    """A function."""

    bus: int
    slot: int
    function: int
    class_info: Annotated[PciClass, Name("class_info")]
    id: PciId
    qdev_id: Annotated[str, Name("qdev_id")]
    irq_pin: Annotated[int, Name("irq_pin")]
    regions: tuple[PciRegion, ...]
    irq: int | None = None


class PciInfo(Data):
    """A bus."""

    bus: int
    devices: tuple[PciDeviceInfo, ...]


@command("query-pci", held=True)
def query_pci(session: Session) -> tuple[PciInfo, ...]:
    """What is on the PCI bus."""
    parts = session.vm.machine.parts
    found = tuple(_function(p, p.device) for p in parts if isinstance(p.device, PciDevice))
    return (PciInfo(0, found),) if found else ()


def _function(part: Part, device: PciDevice) -> PciDeviceInfo:
    word = device.read_config
    pin = word(0x3D, 1)
    return PciDeviceInfo(
        bus=0,
        slot=device.devfn >> 3,
        function=device.devfn & 7,
        class_info=PciClass(word(0x0A, 2), _CLASSES.get(word(0x0A, 2))),
        id=PciId(word(0, 2), word(2, 2), word(0x2E, 2), word(0x2C, 2)),
        qdev_id=part.known_as.partition(", id ")[2].strip('"'),
        irq_pin=pin,
        regions=tuple(_region(device, n) for n in range(len(device.bars))),
        irq=word(0x3C, 1) if pin else None,
    )


def _region(device: PciDevice, n: int) -> PciRegion:
    bar = device.bars[n]
    address = device.bar_address(bar)
    is_io = bar.kind == "io"
    return PciRegion(
        bar=bar.number,
        type="io" if is_io else "memory",
        address=_NOWHERE if address is None else address,
        size=Size(bar.target.size),
        prefetch=None if is_io else isinstance(bar.target, RamBlock),
        mem_type_64=None if is_io else bar.width == 8,
    )
