"""Code that native code copies, byte for byte: every stencil of a model, for random words."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import pytest

from gossamer.base.units import PAGE_SIZE, MiB
from gossamer.core.table import Table
from gossamer.cpu.model import find
from gossamer.engine.arena import CodeArena
from gossamer.engine.build import native
from gossamer.engine.context import ENTRY_STRIDE, ITLB_ENTRIES, line_of
from gossamer.engine.elf import AARCH64, Loader, Object
from gossamer.engine.llvm import compile_object
from gossamer.engine.regions.pauses import SLOTS, Pauses
from gossamer.engine.stencils import made
from gossamer.engine.stencils.copying import LONGEST, QUEUE, STENCIL, STOP, TOGETHER
from gossamer.engine.stencils.holes import PLACE, WORD, expr_of, is_hole, name_of
from gossamer.engine.stencils.hosts import HOSTS, Fill
from gossamer.engine.stencils.made import Desk, Stencils
from gossamer.engine.stencils.reading import CONSTANTS, Reader
from gossamer.engine.stencils.sheet import sheet_text
from gossamer.engine.stencils.text import stencils_text
from gossamer.engine.units import units_of
from gossamer.isa.architecture import Architecture
from gossamer.isa.expr import Expr, bits, mask32, sext
from tests.engine.stencils.filling import code_of, value_of

#: A handler that no stencil stands for.
NONE: Final = 8


class Page:
    """One page of entries, at effective address 0, and what copies its blocks."""

    def __init__(self, cpu: str, size: int = MiB) -> None:
        self.architecture = architecture = find(cpu).architecture
        self.tier0 = native(architecture)
        for unit in units_of(architecture):
            self.tier0.unit(unit)
        self.stencils = Stencils(architecture, self.tier0)
        self.stencils.follow(beside=False)
        self.entries = Table(2 * ENTRY_STRIDE // 8, "Q")
        shape = line_of(architecture.word)
        self.lines = Table(ITLB_ENTRIES * shape.size)
        for n in range(1, ITLB_ENTRIES):  # the first has tag 0, as that page has
            self.lines.view[n * shape.size] = 1
        at = self.lines.address + shape.addend
        ctypes.c_uint64.from_address(at).value = self.entries.address
        self.arena = CodeArena(size)
        self.loader = Loader(self.arena, self.tier0.functions)
        self.pauses = Pauses(100)
        self.desk = Desk(
            self.stencils,
            self.loader,
            entries=self.entries.address,
            end=self.entries.address + ENTRY_STRIDE,
            pauses=self.pauses.table.address,
            pause_mask=SLOTS - 1,
        )

    def put(self, offset: int, handler: int, word: int) -> None:
        self.entries.view[offset // 2] = handler
        self.entries.view[offset // 2 + 1] = word

    def copy(self, ea: int = 0, now: int = 0) -> tuple[bool, list[tuple[int, int, int]]]:
        """Whether there was room, and the blocks made: offset, end, address each."""
        addresses = (1 << self.architecture.word) - 1
        is_whole, made = self.desk.copy(ea, now, addresses, self.lines.address)
        first = self.entries.address
        return is_whole, [((entry - first) // 4, end, at) for entry, end, at in made]

    def handler(self, unit: int, name: str) -> int:
        """The address of a handler of tier 0's."""
        return (self.tier0.units[unit] if unit else self.tier0).symbols[name]

    def lead(self, unit: int, what: str) -> int:
        """The address that a unit's code is led to for a name."""
        number = 0 if what == CONSTANTS else 1 + self.stencils.sheets[unit].leads.index(what)
        return self.desk._leads[unit].view[number]

    def code(self, address: int, size: int) -> bytes:
        return self.arena.get(address - self.arena.base, size)


@pytest.fixture
def page() -> Iterator[Page]:
    made = Page("750")
    yield made
    made.arena.close()


def read(cpu: str) -> tuple[dict[int, Reader], Page]:
    """The stencils of each unit, and a page with sheets of the same: LLVM may make others."""
    architecture = find(cpu).architecture
    objects = {
        unit: Object(compile_object(stencils_text(architecture, unit), pic=False))
        for unit in (0, *units_of(architecture))
    }

    def sheet(architecture: Architecture, unit: int = 0) -> bytes:
        return compile_object(sheet_text(architecture, unit, objects[unit]), quick=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made, "stencils_for", sheet)
        return {unit: Reader(obj) for unit, obj in objects.items()}, Page(cpu)


@pytest.mark.parametrize(
    "cpu",
    [
        "750",
        *(
            pytest.param(cpu, marks=pytest.mark.slow)
            for cpu in ("7400", "405gpd", "970mp_v1.1", "power8_v2.0")
        ),
    ],
)
def test_every_stencil_is_copied_byte_for_byte(cpu: str) -> None:
    """Each several times in a row with random words, then what ends a block."""
    readers, page = read(cpu)
    rng, units = random.Random(1), {unit: r.stencils() for unit, r in readers.items()}
    stop = units[0][STOP]
    for unit, named in units.items():
        assert page.stencils.sheets[unit].constants == bytes(readers[unit].constants)
        lead = partial(page.lead, unit)
        for name, s in named.items():
            if name == STOP:
                continue
            handler = page.handler(unit, name.removeprefix(STENCIL))
            offset, words = 4 * rng.randrange(100), [rng.getrandbits(32) for _ in range(4)]
            for n, word in enumerate(words):
                page.put(offset + 4 * n, handler, word)
            page.put(offset + 16, NONE, 0)
            is_whole, blocks = page.copy(offset)
            assert is_whole
            _, end, address = blocks[0]
            used = words if s.goes_on else words[:1]
            assert end == offset + 4 * len(used), name
            expected = b""
            for n, word in enumerate(used):
                here = address + len(expected)
                expected += code_of(s, word, offset + 4 * n, here, lead)
            if s.goes_on:
                here = address + len(expected)
                expected += code_of(stop, 0, 0, here, partial(page.lead, 0))
            assert page.code(address, len(expected)) == expected, name
            page.entries.fill(0)
    page.arena.close()


def usual(page: Page) -> int:
    """The handler of a stencil that goes on and leads nowhere in the page."""
    return next(h for n, h in page.tier0.symbols.items() if n.startswith("h_addi") and h)


def test_leads_to_the_handlers(page: Page) -> None:
    """What the table of leads has are jumps to what they are named for."""
    page.put(0, usual(page), 0)
    page.put(4, usual(page), 0)
    page.put(8, NONE, 0)
    assert page.copy()[1]
    sheet, leads = page.stencils.sheets[0], page.desk._leads[0]
    for n, name in enumerate(sheet.leads, 1):
        stub = page.code(leads.view[n], 16)
        assert (
            int.from_bytes(stub[8:] if page.stencils.machine == AARCH64 else stub[6:14], "little")
            == page.tier0.symbols[name]
        )


def blocks_of(page: Page, now: int = 0) -> list[tuple[int, int]]:
    return [(offset, end) for offset, end, _ in page.copy(now=now)[1]]


def fill(page: Page, count: int, word: int = 0) -> None:
    for n in range(count):
        page.put(4 * n, usual(page), word)
    page.put(4 * count, NONE, 0)


def test_block_has_so_many_instructions_and_the_next_is_another(page: Page) -> None:
    fill(page, 200)
    assert blocks_of(page) == [(0, 4 * LONGEST)]


def test_what_is_not_known_ends_a_block_and_is_gone_to_behind(page: Page) -> None:
    fill(page, 8)
    page.put(12, NONE, 0)
    assert blocks_of(page) == [(0, 12), (16, 32)]


def test_one_instruction_alone_is_no_block(page: Page) -> None:
    fill(page, 1)
    assert blocks_of(page) == []
    assert page.arena.used == page.arena.used // 16 * 16


def test_block_ends_at_another(page: Page) -> None:
    fill(page, 8)
    assert page.copy(16)[1][0][:2] == (16, 32)
    assert blocks_of(page) == [(0, 16)]
    assert blocks_of(page) == []


def test_lines_that_changed_lately_end_a_block_or_begin_none(page: Page) -> None:
    fill(page, 32)
    page.pauses.begin(2, 1000)
    assert blocks_of(page, now=1050) == [(0, 64)]
    assert page.copy(64, now=1050)[1] == []
    assert page.copy(64, now=1100)[1] != []


def test_branches_lead_to_blocks(page: Page) -> None:
    """`bc` to 40 words on; two words behind it go on."""
    handler = next(h for n, h in page.tier0.symbols.items() if n.startswith("h_bc"))
    assert handler in page.stencils
    fill(page, 60)
    page.put(4, handler, 16 << 26 | 160)
    found = blocks_of(page)
    assert (164, 240) in found


def test_page_that_fetches_do_not_know_has_none(page: Page) -> None:
    fill(page, 8)
    assert page.copy(PAGE_SIZE) == (True, [])
    assert page.copy(1 << 20) == (True, [])


def test_arena_that_is_full_says_so_and_nothing_is_written_behind_it() -> None:
    page = Page("750", 1 << 14)
    fill(page, 2)
    assert page.copy()[0]
    rest = page.arena.size - page.arena.used
    made = 0
    for _ in range(rest):
        page.put(0, usual(page), 0)
        is_whole, found = page.copy()
        assert page.arena.used <= page.arena.size
        if not is_whole:
            break
        made += len(found)
    assert not is_whole
    assert made > 10
    page.arena.close()


def test_queue_has_room_for_all_that_one_call_leads_to() -> None:
    assert QUEUE > 2 * (TOGETHER + LONGEST)


# --- holes ----


HOLES: Final[dict[str, tuple[Expr, Any]]] = {
    "register": (bits(WORD, 6, 10), lambda w, p: w >> 21 & 31),
    "immediate": (sext(bits(WORD, 16, 31), 32), lambda w, p: ((w ^ 0x8000) & 0xFFFF) - 0x8000),
    "place": (PLACE + 4, lambda w, p: p + 4),
    "mask": (
        mask32(bits(WORD, 21, 25), bits(WORD, 26, 30)),
        lambda w, p: sum(
            1 << 31 - n
            for n in range(32)
            if (
                (w >> 6 & 31) <= n <= (w >> 1 & 31)
                if (w >> 6 & 31) <= (w >> 1 & 31)
                else n >= (w >> 6 & 31) or n <= (w >> 1 & 31)
            )
        ),
    ),
}


@pytest.mark.parametrize("kind", HOLES)
def test_value_of_a_hole_is_that_of_its_expression(kind: str) -> None:
    e, expected = HOLES[kind]
    assert is_hole(e, {})
    again = expr_of(name_of(e))
    rng = random.Random(kind)
    for _ in range(200):
        word, place = rng.getrandbits(32), rng.randrange(0, 4096, 4)
        assert value_of(again, word, place) == expected(word, place) & 0xFFFF_FFFF


# --- how code of each host is filled, on any host ----


class Filler:
    """The native functions that fill a place."""

    def __init__(self) -> None:
        from gossamer.engine.build import Native
        from gossamer.engine.stencils import copying

        text = (copying._filled() + copying._led()).replace("define internal", "define")
        self._native = Native(compile_object(text))
        pointer, i32, i64 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int64
        self._filled = ctypes.CFUNCTYPE(None, pointer, i32, i64)(self._native.address("filled"))
        self._led = ctypes.CFUNCTYPE(None, pointer, i32, i64, i64)(self._native.address("led"))

    def filled(self, code: bytes, fill: int, value: int) -> bytes:
        place = ctypes.create_string_buffer(code, 4)
        self._filled(ctypes.addressof(place), fill, value)
        return place.raw

    def led(self, code: bytes, fill: int, to: int, here: int) -> bytes:
        place = ctypes.create_string_buffer(code, 4)
        self._led(ctypes.addressof(place), fill, to, here)
        return place.raw


@pytest.fixture(scope="module")
def filler() -> Filler:
    return Filler()


ADRP: Final = bytes.fromhex("08000090")  # adrp x8, symbol
ADD: Final = bytes.fromhex("08010091")  # add x8, x8, :lo12:symbol
NOP: Final = "1f2003d5"


@pytest.mark.parametrize(
    ("value", "first", "second"),
    [
        (0, NOP, "080080d2"),  # movz x8, 0
        (0x5678, NOP, "08cf8ad2"),  # movz x8, 0x5678
        (0x1_0000, "2800a0d2", "080080f2"),  # movz x8, 1, lsl 16; movk x8, 0
        (0x1234_5678, "8846a2d2", "08cf8af2"),
        (0xFFFF_FFFF, "e8ffbfd2", "e8ff9ff2"),
        (-1, "0800a092", "e8ff9ff2"),  # movn x8, 0, lsl 16; movk x8, 0xffff
        ((-0x1235 << 16) + 0x5678, "8846a292", "08cf8af2"),
    ],
)
def test_pair_holds_the_value(filler: Filler, value: int, first: str, second: str) -> None:
    assert filler.filled(ADRP, Fill.HIGH_HALF, value).hex() == first
    assert filler.filled(ADD, Fill.LOW_HALF, value).hex() == second


def test_leads_are_the_loaders_relocations(filler: Filler) -> None:
    """Each kind that a stencil may have, as `elf` does it for regions."""
    from gossamer.engine.elf import KINDS

    rng = random.Random(1)
    for machine, host in HOSTS.items():
        for kind, fill in host.leads.items():
            for _ in range(50):
                here = rng.randrange(1 << 40, 1 << 46, 4)
                to = here + rng.randrange(-1 << 26, 1 << 26, 16)
                code = rng.randbytes(4)
                old = int.from_bytes(code, "little")
                new = KINDS[machine][kind](old, to, here).to_bytes(4, "little")
                assert filler.led(code, fill, to, here) == new, (machine, kind)
