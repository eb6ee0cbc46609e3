"""Ways out of a region: the state before instruction i, then tier 0's handler of i.

`left` is kept less 16 x the longest way through the region, so that it says by its sign whether
another round may begin: a region never spends more than the budget that it was entered with.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from gossamer.base.data import Data, field
from gossamer.base.units import PAGE_SIZE
from gossamer.engine.context import ITLB_ENTRIES
from gossamer.engine.emit import CHAIN, LIKELY, TB_CPU, TB_ENTRY, TB_TLB, UNLIKELY
from gossamer.engine.regions.code import Key
from gossamer.engine.regions.forming import Region
from gossamer.engine.regions.names import Names
from gossamer.engine.regions.values import Difference, Values
from gossamer.isa.expr import Expr

#: Nothing: what LLVM may not take out of a branch, nor make without one.
APART: Final = 'call void asm sideeffect "", ""()'
_PAGE_MASK: Final = PAGE_SIZE - 1
#: Bits of 16 x the instructions left, beside an entry's place in one constant.
_LEFT_BITS: Final = 24


class Meeting(Data):
    """Where ways out of one block of the region meet that have to store the same, from one page."""

    label: str
    #: Values that the block made of what is owed; the others are in variables.
    values: dict[Key, str | Difference]
    owed: set[Key]
    page: int
    #: (block, handler, the entry's place and what is left) of each.
    ways: list[tuple[str, str, int]] = field(default_factory=list)


class Exits(Values):
    """Writes exits and edges that leave."""

    def __init__(self, intrinsics: set[str], region: Region, names: Names) -> None:
        super().__init__(intrinsics, region)
        self.names = names
        self.longest = region.longest()
        self.first = region.looked_up_first()
        self.cold: list[str] = []
        self.externs: set[str] = set()
        self.leaves = {"cia": self._cia, "now": self._now}
        #: The instruction being written: where it lies, how many of its block came before it.
        self.delta = self.index = 0
        self._left = ""
        self._meetings: dict[object, Meeting] = {}

    def begin_left(self) -> None:
        self._left = ""

    def _cia(self, e: Expr) -> str:
        return self.near(self.delta)

    def near(self, delta: int) -> str:
        """The effective address at `delta`."""
        ea = self.value(f"add {self.ea} %fpage, {delta}")
        return self.value(f"and i64 {ea}, {0xFFFF_FFFF}") if self.region.narrow else ea

    def _now(self, e: Expr) -> str:
        """Virtual time as `now_of` makes it of the budget left before this instruction."""
        n = self.value(f"ashr i64 {self.left(self.index)}, 4")
        here = self.value(f"sub i64 {self.field('end_count', 'i64')}, {n}")
        done = self.value(f"sub i64 {here}, {self.field('base_count', 'i64')}")
        scaled = self.value(f"mul i64 {done}, {self.field('rate', 'i64')}")
        ns = self.value(f"lshr i64 {scaled}, 20")
        return self.value(f"add i64 {self.field('base_ns', 'i64')}, {ns}")

    # --- the budget -------------------------------------------------------------------------------

    def reduced(self) -> str:
        """What `left` is kept as, at the start of this block."""
        if not self._left:
            text = self.value("load i64, ptr %left")
            if self.nested:
                return text
            self._left = text
        return self._left

    def left(self, done: int) -> str:
        """16 x the instructions left when `done` of this block have been executed."""
        return self.value(f"add i64 {self.reduced()}, {16 * (self.longest - done)}")

    def leaving(self, done: int) -> str:
        """`left` on a way out; what was executed is counted (that costs nothing measured)."""
        left = self.left(done)
        self._count(left)
        return left

    def _count(self, left: str) -> None:
        where = self.at(self.addresses.fields["region_count"])
        count = self.value(f"load i64, ptr {where}{TB_CPU}")
        self.line(f"store i64 {self.value(f'sub i64 {count}, {left}')}, ptr {where}{TB_CPU}")

    # --- cold text --------------------------------------------------------------------------------

    def aside(self, label: str, body: Callable[[], None]) -> None:
        """Write `body` under `label` after the region's blocks; values known here are known there.

        What the body learns is forgotten.
        """
        kept = (self.lines, self.block, self._left, dict(self.now), dict(self.as_bits),
                dict(self.memo))  # fmt: skip
        self.lines = self.cold
        self.start(label)
        body()
        self.lines, self.block, self._left, self.now, self.as_bits, self.memo = kept

    # --- leaving ----------------------------------------------------------------------------------

    def tail(self, target: str, e: str, k: str) -> None:
        self.line(f"musttail call {CHAIN} void {target}(ptr %cpu, ptr {e}, i64 {k})")
        self.line("ret void")

    def tail_to(self, name: str, e: str, k: str) -> None:
        """Go on in a function of tier 0."""
        self.externs.add(name)
        self.tail(f"@{name}", e, k)

    def store_rest(self) -> None:
        """Store what is not written through: the block is whole then."""
        self.store_owed(self.owed)

    def entry(self, delta: int) -> str:
        """The entry at `delta`, in a page of the region."""
        page = self.page_entries(delta // PAGE_SIZE)
        offset = (delta % PAGE_SIZE - self.region.head) * 4
        return self.value(f"getelementptr i8, ptr {page}, i64 {offset}")

    def page_entries(self, number: int) -> str:
        """The entry in a page of the region that is as far from its start as the head is."""
        if number == 0:
            return "%e"
        place = sorted(self.region.pages).index(number)
        slot = self.value(f"getelementptr i64, ptr @places, i64 {place}")
        apart = self.value(f"load volatile i64, ptr {slot}")
        return self.value(f"getelementptr i8, ptr %e, i64 {apart}")

    def _enter_page(self, delta: int) -> None:
        if delta // PAGE_SIZE:
            page = self.near(delta & ~_PAGE_MASK)
            self.set_field("fpage", self.ea, page)

    def exit_here(self) -> str:
        """Label of a way out to tier 0's handler of this instruction, the state as before it."""
        self.store_all()
        label = self.label("exit")
        self.aside(label, self._leave_here)
        return label

    def _leave_here(self) -> None:
        """What only this way out has: the rest is done where ways of the same state meet."""
        # Else LLVM would make the constants of this way out before the branch to it.
        self.line(APART)
        values = {key: self.now[key] for key in sorted(self.owed & self.written)}
        number = self.delta // PAGE_SIZE
        key = tuple(values.items()), frozenset(self.owed), number
        if key not in self._meetings:
            self._meetings[key] = Meeting(self.label("leave"), values, set(self.owed), number)
        meeting = self._meetings[key]
        word = self.region.words[self.delta]
        handler = self.names.handler(word, self.delta % PAGE_SIZE)
        self.externs.add(handler)
        place = (self.delta % PAGE_SIZE - self.region.head) * 4 << _LEFT_BITS
        left = 16 * (self.longest - self.index)
        meeting.ways.append((self.block, f"@{handler}", place | left))
        self.line(f"br label %{meeting.label}")

    def end_ways_out(self) -> None:
        """Write where the ways out of this block of the region meet."""
        for meeting in self._meetings.values():
            self.aside(meeting.label, partial(self._meet, meeting))
        self._meetings = {}

    def _meet(self, m: Meeting) -> None:
        handlers = ", ".join(f"[ {handler}, %{block} ]" for block, handler, _ in m.ways)
        places = ", ".join(f"[ {place}, %{block} ]" for block, _, place in m.ways)
        handler = self.value(f"phi ptr {handlers}")
        place = self.value(f"phi i64 {places}")
        self.now, self.memo, self._left = dict(m.values), {}, ""
        self.owed = m.owed
        self.store_owed(m.owed)
        self._enter_page(m.page * PAGE_SIZE)
        page = self.page_entries(m.page)
        apart = self.value(f"ashr i64 {place}, {_LEFT_BITS}")
        e = self.value(f"getelementptr i8, ptr {page}, i64 {apart}")
        done = self.value(f"and i64 {place}, {(1 << _LEFT_BITS) - 1}")
        left = self.value(f"add i64 {self.reduced()}, {done}")
        self._count(left)
        k = self.value(f"add i64 {left}, {self.value(f'ptrtoint ptr {e} to i64')}")
        self.tail(handler, e, k)

    def unless(self, condition: str) -> None:
        """Leave when `condition` (i1) holds."""
        on = self.label("on")
        self.line(f"br i1 {condition}, label %{self.exit_here()}, label %{on}{UNLIKELY}")
        self.start(on)

    def only_if(self, condition: str) -> None:
        """Leave unless `condition` (i1) holds."""
        on = self.label("on")
        self.line(f"br i1 {condition}, label %{on}, label %{self.exit_here()}{LIKELY}")
        self.start(on)

    def is_looked_up(self, delta: int) -> bool:
        """Whether the fetch TLB was seen to have the page of `delta`, on each way to here."""
        number = delta // PAGE_SIZE
        return number == self.delta // PAGE_SIZE or number in self.first

    def go_to(self, delta: int, done: int) -> None:
        """Leave for an address relative to the head's page, with `done` instructions executed.

        The budget is not spent: a region is entered, and goes round, only when it lasts.  What is
        left of a slice may be short, though: then the place gone to is where the sampler finds the
        guest, so that straight code behind a region becomes one, too.
        """
        self.store_rest()
        if delta // PAGE_SIZE in self.region.pages and self.is_looked_up(delta):
            self._enter_page(delta)
            e = self.entry(delta)
            here = self.value(f"ptrtoint ptr {e} to i64")
            k = self.value(f"add i64 {self.leaving(done)}, {here}")
            far, seam = self.label("far"), self.label("seam")
            lasts = self.value(f"icmp sgt i64 {self.reduced()}, {16 * done}")
            self.line(f"br i1 {lasts}, label %{far}, label %{seam}{LIKELY}")
            self.aside(seam, lambda: self.tail_to("h_seam", e, k))
            self.start(far)
            self.tail(self.value(f"load ptr, ptr {e}{TB_ENTRY}"), e, k)
        else:
            self.go_far(self.near(delta), self.leaving(done))

    def go_far(self, ea: str, left: str) -> None:
        """Leave for an effective address through the fetch TLB; the rest is stored already."""
        base = self.field("itlb", "ptr")
        line, hit = self.fetch_line(base, ea)
        go, miss = self.label("go"), self.label("miss")
        self.line(f"br i1 {hit}, label %{go}, label %{miss}{LIKELY}")
        self.start(miss)
        nia = self.at(self.addresses.layout.offset["nia"])
        self.line(f"store {self.ea} {ea}, ptr {nia}{TB_CPU}")
        self.tail_to("h_jump", "null", left)
        self.start(go)
        page = self.value(f"and {self.ea} {ea}, {~_PAGE_MASK}")
        self.set_field("fpage", self.ea, page)
        entries = self.line_entries(line)
        word = self.value(f"and {self.ea} {ea}, {_PAGE_MASK & ~3}")
        offset = self.wide(self.value(f"shl {self.ea} {word}, 2"))
        e = self.value(f"getelementptr i8, ptr {entries}, i64 {offset}")
        k = self.value(f"add i64 {left}, {self.value(f'ptrtoint ptr {e} to i64')}")
        self.tail(self.value(f"load ptr, ptr {e}{TB_ENTRY}"), e, k)

    def fetch_line(self, table: str, ea: str) -> tuple[str, str]:
        """(line of the fetch TLB for `ea`, whether it holds that page)."""
        line = self.tlb_line(table, ea, ITLB_ENTRIES)
        tag = self.value(f"load {self.ea}, ptr {line}{TB_TLB}")
        page = self.value(f"and {self.ea} {ea}, {~_PAGE_MASK}")
        return line, self.value(f"icmp eq {self.ea} {tag}, {page}")

    def tlb_line(self, table: str, ea: str, entries: int) -> str:
        """The line where a table of so many has the page of `ea`, if it has it."""
        shifted = self.value(f"lshr {self.ea} {ea}, {self.addresses.line_shift}")
        index = self.value(f"and {self.ea} {shifted}, {self.addresses.lines(entries)}")
        return self.value(f"getelementptr i8, ptr {table}, i64 {self.wide(index)}")

    def line_entries(self, line: str) -> str:
        where = self.value(f"getelementptr i8, ptr {line}, i64 {self.addresses.line.addend}")
        return self.value(f"load ptr, ptr {where}{TB_TLB}")
