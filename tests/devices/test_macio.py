"""mac-io: cells behind one BAR, and the recorded configuration space."""

from __future__ import annotations

import pytest

from gossamer.base.errors import ConfigError
from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.core.memory import AddressMap, Arena
from gossamer.core.region import Region
from gossamer.devices.macio import MacIoNewWorld, MacIoOldWorld
from gossamer.devices.pci import PciBus, Window
from gossamer.state.transfer import OURS
from tests.devices.captures import load_body, named, save_body


class Cell:
    """A cell that remembers accesses."""

    def __init__(self, size=0x100, widths=(1, 2, 4), little=False):
        self.seen = []
        self.region = Region("cell", size, self.load, self.store, widths=widths, little=little)

    def load(self, offset, size):
        self.seen.append(("r", offset, size))
        return 0x0102_0304 >> 8 * (4 - size)

    def store(self, offset, size, value):
        self.seen.append(("w", offset, size, value))


@pytest.fixture
def bus():
    memory = AddressMap(Arena(4096))
    window = Window(memory, 0x8000_0000, 0x1000_0000, 0x8000_0000)
    return PciBus(Clock(), "pci.0", [IrqLine() for _ in range(4)], memory=window)


def test_cells_are_reached_through_the_bar(bus):
    macio, cell = MacIoOldWorld(Clock(), bus, 0x10 << 3), Cell()
    macio.add(0x13000, cell.region)
    macio.write_config(0x10, 4, 0x8108_0000)
    macio.write_config(4, 2, 2)
    memory = bus.memory.map
    assert memory.load(0x8109_3010, 4) == 0x0102_0304
    memory.store(0x8109_3020, 0xAB, 1)
    assert cell.seen == [("r", 0x10, 4), ("w", 0x20, 1, 0xAB)]


def test_little_endian_cell_swaps_once(bus):
    macio, cell = MacIoOldWorld(Clock(), bus, 0x10 << 3), Cell(widths=(4,), little=True)
    macio.add(0, cell.region)
    macio.bars[0].target.store(0, 0x0000_0480, 4)
    assert cell.seen == [("w", 0, 4, 0x8004_0000)]
    assert macio.bars[0].target.load(0, 4) == 0x0403_0201


def test_holes_are_noted_and_harmless(bus):
    macio = MacIoOldWorld(Clock(), bus, 0x10 << 3)
    assert macio.read_cell(0x7FFFC, 4) == 0
    macio.write_cell(0x50000, 1, 1)
    assert macio.trace.counts["MacIoOldWorld", "write to nothing at 0x50000"] == 1


def test_overlapping_and_outlying_cells_are_refused(bus):
    macio = MacIoOldWorld(Clock(), bus, 0x10 << 3)
    macio.add(0x100, Cell().region)
    with pytest.raises(ConfigError, match="cell at mac-io 0x1ff overlaps cell"):
        macio.add(0x1FF, Cell().region)
    with pytest.raises(ConfigError, match=r"cell: 0x7ff80\.\.0x80080 is outside mac-io"):
        macio.add(0x7FF80, Cell().region)


def test_recorded_sections_load_and_save_to_the_same_bytes(shared, bus):
    for number, (name, kind) in enumerate(
        (("macio-oldworld", MacIoOldWorld), ("macio-newworld", MacIoNewWorld))
    ):
        found = named(shared, name)
        assert len(found) >= 6
        macio = kind(Clock(), bus, number << 3)
        for section in found:
            load_body(macio, section)
            assert save_body(macio) == section.body, section
            assert save_body(macio, OURS) == section.body, section
