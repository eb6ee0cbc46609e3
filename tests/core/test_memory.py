"""The map of real addresses: overlaps, priorities, split accesses, ROM, dirty pages, code."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.base.errors import ConfigError
from gossamer.core import host
from gossamer.core.memory import (
    MMIO,
    MOST_LEAVES,
    READ_ONLY,
    AddressMap,
    Arena,
    Mapping,
    RamBlock,
)
from gossamer.core.region import Region
from gossamer.core.trace import Trace


class Chip:
    """Bytes with a log of accesses."""

    def __init__(self, size: int = 0x100, **kw) -> None:
        self.data = bytearray(range(256)) * (size // 256)
        self.log: list[tuple[str, int, int, int]] = []
        self.region = Region("chip", size, self.read, self.write, **kw)

    def read(self, offset: int, size: int) -> int:
        value = int.from_bytes(self.data[offset : offset + size], "big")
        self.log.append(("r", offset, size, value))
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        self.log.append(("w", offset, size, value))


@pytest.fixture
def memory() -> AddressMap:
    arena = Arena(0x1_0000)
    m = AddressMap(arena, Trace())
    m.map(arena.add("ram", 0x4000), 0)
    m.map(arena.add("rom", 0x1000, read_only=True), 0xFFFF_F000)
    arena.view[0x4000:0x4008] = b"firmware"
    arena.dirty[:] = 0
    return m


def test_overlap_at_equal_priority_is_refused(memory: AddressMap) -> None:
    with pytest.raises(ConfigError, match="chip at 0x3f80 overlaps ram"):
        memory.map(Chip().region, 0x3F80)


def test_place_outside_four_gib_is_refused(memory: AddressMap) -> None:
    with pytest.raises(ConfigError, match=r"chip: 0xffffff80\.\.0x100000080 is outside 4 GiB"):
        memory.map(Chip().region, 0xFFFF_FF80)


def test_a_block_above_four_gib_is_reached_like_a_device(memory: AddressMap) -> None:
    """Where a guest puts the ROM of a PCI function."""
    at, block = 0x2000_B000_0000, memory.arena.add("option rom", 0x1000, read_only=True)
    memory.arena.view[block.offset : block.offset + 4] = b"\x55\xaaQ!"
    mapping = memory.map(block, at)
    assert memory.page(at) == MMIO
    assert memory.load(at, 4) == 0x55AA_5121
    assert memory.read(at, 4) == b"\x55\xaaQ!"
    memory.store(at, 0, 4)
    assert memory.load(at, 2) == 0x55AA
    memory.unmap(mapping)
    assert memory.load(at, 1) == 0xFF


def test_what_one_call_reaches_is_at_its_address_alone(memory: AddressMap) -> None:
    """Above 4 GiB an address has bits where short keys would have the size."""
    chip = Chip(0x1000, reader=lambda offset, size: lambda: 7, writer=lambda offset, size: None)
    memory.map(chip.region, 0x2100_0000_0000)
    memory.load(0x2100_0000_0000, 4)
    assert memory.load(0x2100_0000_0000, 4) == 7
    assert memory.load(0x2104_0000_0000, 4) == 0xFFFF_FFFF


def test_ram_off_a_page_is_refused(memory: AddressMap) -> None:
    block = memory.arena.add("odd", 0x1000)
    with pytest.raises(ConfigError, match="odd: RAM must begin on a page, got 0x80000200"):
        memory.map(block, 0x8000_0200)


@pytest.mark.parametrize("size", [0, -4096, 100, 0x1_0000])
def test_block_of_a_bad_size_is_refused(size: int) -> None:
    arena = Arena(0x8000)
    with pytest.raises(ConfigError, match=r"x: (size must be|65536 bytes do not fit)"):
        arena.add("x", size)


def test_higher_priority_covers_and_uncovers(memory: AddressMap) -> None:
    memory.store(0x1004, 0x1122_3344, 4)
    chip = Chip()
    mapping = memory.map(chip.region, 0x1000, priority=1)
    assert memory.load(0x1004, 4) == 0x0405_0607
    assert memory.page(0x1000) == MMIO
    assert memory.page(0x2000) == 2
    assert memory.load(0x1100, 4) == 0  # the rest of the page is RAM still
    memory.unmap(mapping)
    assert memory.load(0x1004, 4) == 0x1122_3344
    assert memory.page(0x1000) == 1


def test_pages_show_ram_rom_and_nothing(memory: AddressMap) -> None:
    assert [memory.page(n * 0x1000) for n in range(5)] == [0, 1, 2, 3, MMIO]
    assert memory.page(0xFFFF_F000) == 4 | READ_ONLY
    assert memory.pages[:5].tolist() == [1, 2, 3, 4, 0]


def test_change_of_the_map_is_reported(memory: AddressMap) -> None:
    reported = []
    memory.changed = lambda: reported.append(1)
    memory.unmap(memory.map(Chip().region, 0x8000_0000))
    assert len(reported) == 2


def test_access_over_an_edge_is_split_into_bytes(memory: AddressMap) -> None:
    chip = Chip()
    memory.map(chip.region, 0x4000)
    memory.store(0x3FFE, 0xAABB_CCDD, 4)
    assert chip.log == [("w", 0, 1, 0xCC), ("w", 1, 1, 0xDD)]
    assert memory.read(0x3FFE, 2) == b"\xaa\xbb"
    assert memory.load(0x3FFE, 4) == 0xAABB_0001
    assert memory.load(0x40FE, 4) == 0xFEFF_FFFF  # and nothing after the chip


def test_nothing_reads_as_ones_and_is_counted(memory: AddressMap) -> None:
    assert memory.load(0x5000_0123, 2) == 0xFFFF
    memory.store(0x5000_0123, 1, 2)
    assert memory.read(0x5000_0000, 3) == b"\xff\xff\xff"
    texts = [text for _, text in memory.trace.counts]
    assert texts == ["read of nothing at 0x50000000", "write to nothing at 0x50000000"]


def test_rom_is_not_written(memory: AddressMap) -> None:
    memory.store(0xFFFF_F000, 0, 4)
    memory.write(0xFFFF_F000, b"xxxx")
    assert memory.read(0xFFFF_F000, 8) == b"firmware"
    assert not memory.arena.dirty.any()


def test_writes_mark_every_page_dirty(memory: AddressMap) -> None:
    memory.write(0x0FFF, b"ab")
    assert memory.arena.dirty[:5].tolist() == [0xFF, 0xFF, 0, 0, 0]
    memory.store(0x3000, 1, 1)
    assert memory.arena.dirty[3] == 0xFF


def test_writes_to_pages_with_code_are_reported(memory: AddressMap) -> None:
    reported = []
    memory.code_written = lambda offset, length: reported.append((offset, length))
    memory.write(0x1000, b"quiet")
    memory.arena.code[1] = 1
    memory.write(0x0FFE, b"four")
    memory.store(0x1004, 5, 2)
    memory.write(0x2000, b"quiet")
    assert reported == [(0x0FFE, 4), (0x1004, 2)]


def test_read_and_write_go_over_pages_and_gaps(memory: AddressMap) -> None:
    memory.write(0x3FFE, b"abcdef")
    assert memory.read(0x3FFE, 6) == b"ab\xff\xff\xff\xff"
    memory.write(0xFFFF_FFFF, b"xyz")  # around the end: ROM, then address 0
    assert memory.read(0, 2) == b"yz"


def test_block_content_by_block(memory: AddressMap) -> None:
    memory.write(0x10, b"here")
    ram, rom = memory.arena.blocks
    assert bytes(memory.arena.bytes_of(ram)[0x10:0x14]) == b"here"
    assert bytes(memory.arena.bytes_of(rom)[:8]) == b"firmware"


# --- regions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("widths", "size", "log"),
    [
        ((1, 2, 4), 4, [(0x10, 4)]),
        ((1, 2), 4, [(0x10, 2), (0x12, 2)]),
        ((1,), 4, [(0x10, 1), (0x11, 1), (0x12, 1), (0x13, 1)]),
        ((1, 2, 4), 8, [(0x10, 4), (0x14, 4)]),
        ((4,), 8, [(0x10, 4), (0x14, 4)]),
    ],
)
def test_wide_access_is_split(widths, size, log) -> None:
    chip = Chip(widths=widths)
    assert chip.region.load(0x10, size) == int.from_bytes(range(0x10, 0x10 + size), "big")
    assert [(o, s) for _, o, s, _ in chip.log] == log
    chip.log.clear()
    value = int.from_bytes(range(0x10, 0x10 + size), "big")
    chip.region.store(0x10, value, size)
    assert [(o, s) for _, o, s, _ in chip.log] == log
    assert all(v == int.from_bytes(range(o, o + s), "big") for _, o, s, v in chip.log)


@pytest.mark.parametrize("offset", [0x10, 0x11, 0x12, 0x13])
def test_narrow_access_takes_its_lane_of_a_wide_register(offset: int) -> None:
    chip = Chip(widths=(4,))
    assert chip.region.load(offset, 1) == offset
    assert chip.log == [("r", 0x10, 4, 0x1011_1213)]
    chip.log.clear()
    chip.region.store(offset, 0xAB, 1)
    assert chip.log == [("w", 0x10, 4, 0xAB << 8 * (0x13 - offset))]


def test_little_endian_chip_sees_numbers_of_its_manual() -> None:
    chip = Chip(little=True)
    assert chip.region.load(0x10, 4) == 0x1312_1110
    assert chip.region.load(0x10, 2) == 0x1110
    assert chip.region.load(0x10, 1) == 0x10
    chip.log.clear()
    chip.region.store(0x20, 0x1122_3344, 4)
    assert chip.log == [("w", 0x20, 4, 0x4433_2211)]


def test_value_wider_than_the_access_is_cut() -> None:
    region = Region("x", 4, lambda o, s: 0x1_2345_6789, lambda o, s, v: None)
    assert region.load(0, 1) == 0x89


def test_places_that_were_looked_up_are_forgotten_at_some_number() -> None:
    memory = AddressMap(Arena(4096))
    for page in range(3 * MOST_LEAVES):
        assert memory.load(page << 12, 4) == 0xFFFF_FFFF
    assert len(memory._leaves) <= MOST_LEAVES


def test_what_was_never_written_to_is_known_and_stays_untouched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arena = Arena(1 << 20)
    arena.add("ram", 0x10000)
    assert arena.untouched().all()
    arena.view[0x3005] = 1
    expected = [n != 3 for n in range(16)]
    assert arena.untouched().tolist() == expected
    assert arena.untouched().tolist() == expected, "asking touches nothing"
    arena.close()
    assert arena.untouched().all(), "given back to the host"
    # A host that hides its pages, or has no such table.
    monkeypatch.setattr(host, "page_map", lambda address, count: bytes(8 * count))
    assert not arena.untouched().any()
    monkeypatch.setattr(host, "page_map", lambda address, count: None)
    assert not arena.untouched().any()


PLACES = st.tuples(
    st.integers(0, 40).map(lambda n: n * 0x400),
    st.integers(1, 24).map(lambda n: n * 0x400),
    st.booleans(),
)
PAGES = 20


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(PLACES, st.integers(0, 7)), max_size=14))
def test_whatever_comes_and_goes_the_highest_is_on_top(steps: list[object]) -> None:
    """A place adds a mapping above all before it; a number takes one away."""
    memory = AddressMap(Arena(1 << 20))
    there: list[Mapping] = []
    for n, step in enumerate(steps):
        if isinstance(step, int):
            if there:
                memory.unmap(there.pop(step % len(there)))
        else:
            base, size, is_ram = step
            if is_ram:
                base, size = base & ~0xFFF, (size + 0xFFF) & ~0xFFF
                target = memory.arena.add(f"ram{n}", size)
            else:
                target = Region(f"chip{n}", size, lambda at, size: 0, lambda at, value, size: None)
            there.append(memory.map(target, base, priority=n))
        flat = memory.mappings
        assert all(one[0] < one[1] <= two[0] for one, two in pairwise([*flat, (1 << 60, 0, None)]))
        assert not any(one[1:] == (two[0], two[2]) for one, two in pairwise(flat)), "in one piece"
        for at in range(0, PAGES * 0x1000, 0x400):
            over = [m for m in there if m.base <= at < m.end]
            found = memory.find(at)
            assert (found and found[2]) is (max(over, key=lambda m: m.priority) if over else None)
        for page in range(PAGES):
            covers = [memory.find(page * 0x1000 + at) for at in range(0, 0x1000, 0x400)]
            tops = {id(one[2]): one[2] for one in covers if one is not None}
            top = next(iter(tops.values())) if len(tops) == 1 and None not in covers else None
            number = MMIO
            if top is not None and isinstance(top.target, RamBlock):
                number = (top.target.offset + page * 0x1000 - top.base) // 0x1000
            assert memory.page(page * 0x1000) == number
