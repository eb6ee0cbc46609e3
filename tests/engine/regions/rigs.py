"""Engines that make regions of everything, early, for comparing with tier 0."""

from __future__ import annotations

import ctypes
import random
from typing import Final

from gossamer.base.units import PAGE_SIZE
from gossamer.core.memory import AddressMap
from gossamer.engine.context import ENTRY_STRIDE, ITLB_ENTRIES, line_of
from gossamer.engine.processor import Stop
from gossamer.engine.regions.forming import Limits
from gossamer.engine.regions.regions import Regions
from gossamer.engine.regions.view import View
from gossamer.engine.tier0 import Tier0
from gossamer.isa.architecture import Architecture
from tests.engine import programs_64
from tests.engine.programs import CODE, CODE_PAGES, set_up
from tests.engine.rig import Rig, difference

#: Instructions of a straight line in these programs, and what a run leaves for single steps.
LINE: Final = 24
SLACK: Final = 64
SMALL: Final = Limits(instructions=24, in_line=40)


class Eager(Tier0):
    """Tier 0 with regions of every place that it is found at.

    Runs are cut short, most of them at random, and the registers noted there: at its end a run has
    single steps, which would hide what a region leaves wrong.
    """

    def __init__(self, memory: AddressMap, architecture: Architecture) -> None:
        super().__init__(memory, architecture)
        self.regions = Regions(
            self,
            architecture,
            threshold=2,
            interval=128,
            limits=SMALL,
            pause=0,
            after_blocks=1,
        )
        self.noted: list[tuple[int, bytes]] = []
        self._rng = random.Random(1)
        self._whole = self._drive
        self._drive = self._cut_short  # type: ignore[assignment]

    def _cut_short(self, address: int, start: int, piece: int) -> None:
        """First without the single steps at its end, coming back for interrupts; then the rest."""
        end, takes = self._run_limit.value, self.word("takes_irqs")
        last = min(end, self._dec_count.value) - SLACK
        if last <= start:
            self._whole(address, start, piece)
            return
        if self._rng.random() < 0.8:
            last = min(last, start + self._rng.randrange(30, 400))
        self._run_limit.value = last
        self._set64("slack", 0)
        self.set_word("takes_irqs", 0)
        self._cutting = True
        self._whole(address, start, piece)
        self._cutting = False
        self._run_limit.value = end
        self._set64("slack", SLACK)
        self.set_word("takes_irqs", takes)
        if not self._exit.value:
            self.noted.append((self._end_count.value, bytes(self.block.bytes())))

    _cutting = False

    def end_by(self, ns: int) -> None:
        """Without single steps a run can't end in the middle of a line: it ends at once."""
        if self._cutting:
            self.request_exit()
        else:
            super().end_by(ns)

    def take_noted(self) -> list[tuple[int, bytes]]:
        """(count, register block) where native runs ended since the last call."""
        noted, self.noted = self.noted, []
        return noted


def eager(seed: int, words: tuple[int, ...], cpu: str = "750", little: str = "") -> Rig:
    return prepared(Rig(Eager, cpu=cpu), seed, words, little)


def plain(seed: int, words: tuple[int, ...], cpu: str = "750", little: str = "") -> Rig:
    return prepared(Rig(Tier0, cpu=cpu), seed, words, little)


def prepared(rig: Rig, seed: int, words: tuple[int, ...], little: str = "") -> Rig:
    """The program of `seed`, with a branch to the next word every so often.

    So a straight line overruns a budget by little (`SLACK`).  `little` as in `programs_64`.
    """
    translated = bool(seed & 1)
    if rig.cpu.model.architecture.word == 64:
        programs_64.set_up(rig, seed, translated=translated, words=words, little=little)
    else:
        set_up(rig, seed, translated=translated, words=words)
    branch = (0x4800_0004).to_bytes(4, "little" if little else "big")
    for at in range(CODE, CODE + CODE_PAGES * PAGE_SIZE, 4 * LINE):
        rig.write(at, branch)
    return rig


def regions_of(rig: Rig) -> Regions:
    assert isinstance(rig.engine, Eager)
    return rig.engine.regions


def run_both(a: Rig, b: Rig, instructions: int) -> Stop:
    """Run both; they must agree at the end, and wherever a native run of `a` ended."""
    assert isinstance(a.engine, Eager)
    where = f"{instructions} instructions after {b.engine.count} at {b.get('nia'):#x}"
    a.engine.take_noted()
    end = a.engine.count + instructions
    stop = a.run(instructions)
    for count, registers in a.engine.take_noted():
        if count < b.engine.count:
            continue
        if b.processor.run(count) is not Stop.LIMIT:
            break
        if b.block.bytes() != registers:
            a.block.view[: len(registers)] = registers
            raise AssertionError(f"{where}: at {count}: {difference(a, b)}")
    assert b.processor.run(end) is stop, where
    assert not (d := difference(a, b)), f"{where}: {d}"
    return stop


def prepare_all(rig: Rig, places: list[tuple[int, int]], as_in: Rig | None = None) -> None:
    """Let entries of the program be decoded from the start: (arena page, offset) each.

    In the orders of bytes that pages have in another rig.
    """
    engine = rig.engine
    assert isinstance(engine, Tier0)
    if as_in is not None:
        assert isinstance(as_in.engine, Tier0)
        engine.decoded.orders.view[:] = as_in.engine.decoded.orders.view
    handlers = engine.native.symbols
    for page in {page for page, _ in places}:
        if not engine.ready[page]:
            first = engine.entries + page * ENTRY_STRIDE
            for n in range(PAGE_SIZE // 4):
                ctypes.c_uint64.from_address(first + 16 * n).value = handlers["h_decode"]
            end = ctypes.c_uint64.from_address(first + 4 * PAGE_SIZE)
            end.value = handlers["h_page_end"]
            engine.ready[page] = 1
    for page, offset in places:
        engine.decode(engine.entries + page * ENTRY_STRIDE + 4 * offset)
    engine.flush()


def decoded_places(rig: Rig) -> list[tuple[int, int]]:
    """What a run decoded of the program's pages and the vectors: (arena page, offset) each."""
    assert isinstance(rig.engine, Tier0)
    view = View(rig.engine, rig.engine.native.symbols["h_decode"])
    pages = [0, *range(CODE // PAGE_SIZE, CODE // PAGE_SIZE + CODE_PAGES)]
    return [
        (page, offset)
        for page in pages
        if rig.engine.ready[page]
        for offset in range(0, PAGE_SIZE, 4)
        if view.word(page, offset) is not None
    ]


def copy_all(rig: Rig, places: list[tuple[int, int]]) -> None:
    """Make a block of every place that no other block has; the pages lie as for `make_all`."""
    view = regions_of(rig).view
    shape, (entries, _) = line_of(view.engine.architecture.word), view.bounds
    before = ctypes.string_at(view.lines, ITLB_ENTRIES * shape.size)
    for page, offset in places:
        line = view.lines + page % ITLB_ENTRIES * shape.size
        word = ctypes.c_uint64 if view.engine.architecture.word == 64 else ctypes.c_uint32
        word.from_address(line).value = page * PAGE_SIZE
        ctypes.c_uint64.from_address(line + shape.addend).value = entries + page * ENTRY_STRIDE
        copy(rig, page * PAGE_SIZE + offset)
    ctypes.memmove(view.lines, before, len(before))


def copy(rig: Rig, ea: int) -> None:
    regions = regions_of(rig)
    assert regions.blocks is not None
    assert regions.blocks.make(ea)


def copy_some(rig: Rig, rng: random.Random, count: int) -> None:
    """Make blocks anywhere in the decoded code that can be fetched now."""
    for head in some_heads(rig, rng, count):
        copy(rig, head)


def make_all(rig: Rig, places: list[tuple[int, int]]) -> None:
    """Make a region of every place; the pages lie where their addresses say."""
    regions = regions_of(rig)
    real = regions.view.page
    regions.view.page = lambda ea, then=None: ea // PAGE_SIZE  # type: ignore[method-assign]
    for page, offset in places:
        regions.make(page * PAGE_SIZE + offset)
    regions.view.page = real  # type: ignore[method-assign]


def drop_some(rig: Rig, rng: random.Random) -> None:
    """Drop some regions, or all, as a change of the machine could at any moment."""
    regions = regions_of(rig)
    if rng.random() < 0.2:
        regions.drop_all()
        return
    for entry in regions.installed.entries:
        if rng.random() < 0.3:
            regions.installed.drop(entry)
    for entry in regions.blocks.entries if regions.blocks is not None else ():
        if rng.random() < 0.3:
            regions.blocks.drop(entry)


def make_some(rig: Rig, rng: random.Random, count: int) -> None:
    """Make regions whose heads are anywhere in the decoded code that can be fetched now."""
    for head in some_heads(rig, rng, count):
        regions_of(rig).make(head)


def some_heads(rig: Rig, rng: random.Random, count: int) -> list[int]:
    regions = regions_of(rig)
    heads = [
        page + offset
        for page in sorted({rig.get("nia") & ~0xFFF, *(CODE + 0x1000 * n for n in range(3))})
        if (found := regions.view.page(page)) is not None
        for offset in range(0, 0x1000, 4)
        if regions.view.word(found, offset) is not None
    ]
    return rng.sample(heads, min(count, len(heads)))
