"""The mac-io functions: a PCI function whose one BAR holds the cells of the I/O controller.

Heathrow (old world, beige G3) and KeyLargo (new world, mac99).  The BAR is 0x80000 bytes; a cell
is a region at an offset in it.  Source: Linux arch/powerpc/include/asm/{heathrow,keylargo}.h;
docs page macio.md.
"""

from __future__ import annotations

from typing import ClassVar, Final

from gossamer.base.errors import ConfigError
from gossamer.base.units import PAGE_SIZE
from gossamer.core.clock import Clock
from gossamer.core.region import Region
from gossamer.devices.pci import PciBus, PciDevice, pci_struct
from gossamer.state.declare import wiring
from gossamer.state.layout import Layout

SIZE: Final = 0x80000
APPLE: Final = 0x106B
CLASS_OTHER: Final = 0xFF_0000


class MacIo(PciDevice):
    """The container: `add` puts a cell's region at an offset; BAR 0 shows them all."""

    cells: list[tuple[int, int, Region]] = wiring()
    pages: list[tuple[int, int, Region] | None] = wiring()

    def __init__(
        self, clock: Clock, bus: PciBus, devfn: int, *, device: int, revision: int = 0
    ) -> None:
        super().__init__(
            clock,
            bus,
            devfn,
            vendor=APPLE,
            device=device,
            class_code=CLASS_OTHER,
            revision=revision,
            pin=1,
        )
        self.cells, self.pages = [], [None] * (SIZE // PAGE_SIZE)
        region = Region(self.vmsd, SIZE, self.read_cell, self.write_cell, widths=(1, 2, 4))
        region.cell = lambda offset: self.find(offset, 1)
        self.add_bar(0, region)
        self.reset()

    def add(self, offset: int, region: Region) -> None:
        """Map a cell; cells may not overlap."""
        end = offset + region.size
        if offset < 0 or end > SIZE:
            raise ConfigError(f"{region.name}: {offset:#x}..{end:#x} is outside mac-io ({SIZE:#x})")
        for start, stop, other in self.cells:
            if offset < stop and start < end:
                raise ConfigError(f"{region.name} at mac-io {offset:#x} overlaps {other.name}")
        self.cells.append((offset, end, region))
        self.cells.sort(key=lambda cell: cell[0])
        for page in range(offset // PAGE_SIZE, (end - 1) // PAGE_SIZE + 1):
            self.pages[page] = (offset, end, region)  # one that shares its page is found by `find`

    def find(self, offset: int, size: int) -> tuple[int, int, Region] | None:
        """(start, end, region) of the cell that an access is wholly inside."""
        for cell in self.cells:
            if cell[0] <= offset and offset + size <= cell[1]:
                return cell
        return None

    def read_cell(self, offset: int, size: int) -> int:
        cell = self.pages[offset // PAGE_SIZE]
        if cell is None or offset < cell[0] or offset + size > cell[1]:
            cell = self.find(offset, size)
            if cell is None:
                self.note(f"read of nothing at {offset & ~0xFF:#x}")
                return 0
        return cell[2].load(offset - cell[0], size)

    def write_cell(self, offset: int, size: int, value: int) -> None:
        cell = self.pages[offset // PAGE_SIZE]
        if cell is None or offset < cell[0] or offset + size > cell[1]:
            cell = self.find(offset, size)
            if cell is None:
                self.note(f"write to nothing at {offset & ~0xFF:#x}")
                return
        cell[2].store(offset - cell[0], value, size)


class MacIoOldWorld(MacIo):
    """Heathrow, as in the beige G3."""

    vmsd = "macio-oldworld"
    layouts: ClassVar[dict[str, Layout]] = {"": [pci_struct("parent_obj.parent")]}

    def __init__(self, clock: Clock, bus: PciBus, devfn: int) -> None:
        super().__init__(clock, bus, devfn, device=0x0010)


class MacIoNewWorld(MacIo):
    """KeyLargo, as in mac99."""

    vmsd = "macio-newworld"
    layouts: ClassVar[dict[str, Layout]] = {"": [pci_struct("parent_obj.parent")]}

    def __init__(self, clock: Clock, bus: PciBus, devfn: int) -> None:
        super().__init__(clock, bus, devfn, device=0x0022)
