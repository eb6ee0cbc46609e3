"""A region as LLVM text: its entry, blocks and edges.

The function has the signature of tier 0's handlers.  Its entry looks whether everything that the
code was written for holds (budget, MSR, FPSCR, pages where they were) and else goes on in tier 0.
Nothing of the text depends on where the code lies: entries are relative to `e`, addresses to
`fpage`, and `places` holds how far the entries of each page are from the head's page.
"""

from __future__ import annotations

from typing import Final

import llvmlite.binding as llvm

from gossamer.base.units import PAGE_SIZE
from gossamer.engine.emit import CHAIN, LIKELY, METADATA, TB_CPU
from gossamer.engine.regions.code import Code, Key
from gossamer.engine.regions.forming import Block, Edge, Place, Region
from gossamer.engine.regions.memory import MOSTLY_METADATA
from gossamer.engine.regions.names import NAME, PLACES, Names
from gossamer.engine.regions.singles import Singles
from gossamer.engine.regions.values import RANGE_METADATA, record_of
from gossamer.engine.runtime_fields import SIGNATURE
from gossamer.engine.statements import is_true
from gossamer.engine.variants import is_deferred
from gossamer.isa.architecture import USUAL
from gossamer.isa.body import Branch, Effect, Raise
from gossamer.isa.expr import Expr


class Writer(Singles):
    """Writes one region."""

    def __init__(self, intrinsics: set[str], region: Region, names: Names) -> None:
        super().__init__(intrinsics, region, names)
        self._labels = {place: f"block{n}" for n, place in enumerate(region.blocks)}
        self._branch: tuple[Branch, str, str] | None = None
        #: Other functions of tier 0 that it calls, as they are declared.
        self.declared: set[str] = set()
        self._owed = self._flow()

    # --- the whole ----

    def module(self) -> str:
        """The text of a module with this region alone."""
        text = self._function()
        pages = len(self.region.pages)
        return "\n".join(
            [
                f'target triple = "{llvm.get_process_triple()}"',
                *sorted(self.intrinsics),
                f"@{PLACES} = hidden global [{pages} x i64] zeroinitializer",
                *(f"declare hidden {CHAIN} void @{n}(ptr, ptr, i64)" for n in sorted(self.externs)),
                *self.declared,
                text,
                METADATA,
                RANGE_METADATA,
                MOSTLY_METADATA,
            ]
        )

    def _function(self) -> str:
        self._entry()
        for place, block in self.region.blocks.items():
            self._block(place, block)
        addends = [f"  %addend.{n} = alloca ptr" for n in sorted(self.predicted)]
        clear = [f"  store ptr null, ptr %addend.{n}" for n in sorted(self.predicted)]
        for key in sorted(self.known):
            addends += [f"  %page.{key} = alloca i64", f"  %near.{key} = alloca ptr"]
            clear += [f"  store i64 {self.no_page}, ptr %page.{key}"]
            clear += [f"  store ptr null, ptr %near.{key}"]
        head = f"define {CHAIN} void @{NAME}{SIGNATURE} nounwind {{"
        parts = [head, "entry:", *self.allocas, *addends, *clear, *self.lines, *self.cold, "}"]
        return "\n".join(parts)

    # --- the entry ----

    def _entry(self) -> None:
        head = self.names.handler(self.region.words[self.region.head], self.region.head)
        self.delta = self.region.head
        self.allocas += ["  %left = alloca i64"]
        self.line("%here = ptrtoint ptr %e to i64")
        left = self.value("sub i64 %K, %here")
        reduced = self.value(f"sub i64 {left}, {16 * self.longest}")
        self._guard(self.value(f"icmp sgt i64 {reduced}, 0"), head)
        self.line(f"store i64 {reduced}, ptr %left")
        self.line(f"%fpage = load {self.ea}, ptr {self.at(self.addresses.fields['fpage'])}{TB_CPU}")
        self.line(f"%msr = load {self.ea}, ptr {self.register('msr', _ZERO)}{TB_CPU}")
        self._guard_mode(head)
        for condition in self._msr_guards():
            self._guard(self.value(f"xor i1 {self.expr(condition)}, true"), head)
        self.memo = {}
        if self.puts_off:
            self._guard(self.allowed(), head)
        if self.region.looks_up():
            self._guard_pages(head)
        self.line(f"%dtlb = load ptr, ptr {self.at(self.addresses.fields['dtlb'])}{TB_CPU}")
        for key in sorted(self.held):
            self.declare(key)
        where = self.at(self.addresses.fields["region_count"])
        count = self.value(f"load i64, ptr {where}{TB_CPU}")
        self.line(f"store i64 {self.value(f'add i64 {count}, {left}')}, ptr {where}{TB_CPU}")
        self.line(f"br label %{self._labels[self.region.start]}")

    def _guard(self, condition: str, head: str) -> None:
        """Go on in tier 0 unless `condition` holds."""
        on, off = self.label("on"), self.label("off")
        self.line(f"br i1 {condition}, label %{on}, label %{off}{LIKELY}")
        self.start(off)
        self.tail_to(head, "%e", "%K")
        self.start(on)

    def _guard_mode(self, head: str) -> None:
        """The mode and the order of bytes are those that the code is for."""
        if self.region.width != USUAL:
            test = "sge" if self.region.narrow else "slt"
            self._guard(self.value(f"icmp {test} i64 %msr, 0"), head)
        if self.region.orders:
            little = self.value("trunc i64 %msr to i1")
            is_right = little if self.region.little else self.value(f"xor i1 {little}, true")
            self._guard(is_right, head)

    def _msr_guards(self) -> list[Expr]:
        found = {_spelled(e): e for code in self.region.codes() for e in code.guards}
        return [found[text] for text in sorted(found)]

    def _guard_pages(self, head: str) -> None:
        """Tier 0 would find these pages in the fetch TLB, where they were."""
        for number in sorted(self.first):
            self._guard(self._is_there(number), head)

    def _is_there(self, number: int) -> str:
        """Whether the fetch TLB has a page, where it was when the code was made."""
        line, hit = self.fetch_line(self.field("itlb", "ptr"), self.near(number * PAGE_SIZE))
        entries = self.line_entries(line)
        start = self.value(
            f"getelementptr i8, ptr {self.page_entries(number)}, i64 {-4 * self.region.head}"
        )
        same = self.value(f"icmp eq ptr {entries}, {start}")
        return self.value(f"and i1 {hit}, {same}")

    # --- blocks ----

    def _flow(self) -> dict[Place, set[Key]]:
        """What blocks before may not have stored: CR fields, and what short loops write."""
        blocks = self.region.blocks
        owed: dict[Place, set[Key]] = {place: set() for place in blocks}
        again = True
        while again:
            again = False
            for place, b in blocks.items():
                tight = place in self.sinking.places
                late = self.fields | (self.sinking.keys if tight else set())
                made = (c.writes | record_of(c) for _, c in b.instructions)
                out = owed[place].union(*made) & late
                for e in b.edges:
                    if e.place not in blocks:
                        continue
                    on = out if e.place in self.sinking.places else out & self.fields
                    if not on <= owed[e.place]:
                        owed[e.place] |= on
                        again = True
        return owed

    def _block(self, place: Place, block: Block) -> None:
        self.start(self._labels[place])
        self.begin(place, self._owed[place])
        self.begin_left()
        self.begin_groups(block.instructions)
        self.begin_loop(place)
        for n, (delta, code) in enumerate(block.instructions):
            self.delta, self.index = delta, n
            self._instruction(code)
        self._edges(place, block)
        self.end_ways_out()

    def _instruction(self, code: Code) -> None:
        self.memo, self._branch = {}, None
        self.begin_instruction(code)
        if code.put_off:
            self.put_off(code)
            return
        self.carry_out(code.trace)
        self.loops(code)

    # --- what StatementWriter asks for ----

    def _choose(self, e: Expr) -> str:
        """Quick arithmetic, or tier 0 where a service would be called."""
        if not is_deferred(e):
            return super()._choose(e)
        self.only_if(self.expr(e.args[0]))
        return self.expr(e.args[1])

    def interrupt(self, s: Raise) -> None:
        if not s.when.is_const:
            self.unless(self.expr(s.when))

    def prepare_ends(self, ends: list[Raise | Effect | Branch]) -> None:
        for s in ends:
            if isinstance(s, Raise):
                self.interrupt(s)
            elif isinstance(s, Branch) and not (s.when.is_const and not s.when.arg):
                target = "" if s.offset is not None else self.expr(s.target)
                self._branch = s, target, "" if is_true(s.when) else self.expr(s.when)

    # --- edges ----

    def _edges(self, place: Place, block: Block) -> None:
        """Go on behind the block's last instruction."""
        self.store_all()
        self.store_record()
        done = len(block.instructions)
        following = [e for e in block.edges if e.kind == "next"]
        if self._branch is None:
            self._follow(place, following[0], done)
            return
        _, target, when = self._branch
        if when:
            taken, on = self.label("taken"), self.label("on")
            self.line(f"br i1 {when}, label %{taken}, label %{on}")
            self.start(on)
            self._keeping(lambda: self._follow(place, following[0], done))
            self.start(taken)
        rest = [e for e in block.edges if e.kind != "next"]
        if target:
            self._guesses(place, rest, target, done)
        else:
            self._follow(place, rest[0], done)

    def _guesses(self, place: Place, edges: list[Edge], target: str, done: int) -> None:
        """An indirect branch: compare its target with those expected, else through the TLB."""
        for e in edges:
            if not self.region.is_inside(e.place):
                continue
            expected = self.near(e.delta)
            yes, no = self.label("guess"), self.label("no")
            same = self.value(f"icmp eq {self.ea} {target}, {expected}")
            self.line(f"br i1 {same}, label %{yes}, label %{no}")
            self.start(yes)
            self._keeping(lambda e=e: self._follow(place, e, done))
            self.start(no)
        self.store_rest()
        self.go_far(target, self.leaving(done))

    def _keeping(self, body: object) -> None:
        """Write `body`, then forget the values that it learned: what follows is another way."""
        assert callable(body)
        kept = dict(self.now), dict(self.as_bits), self._left
        body()
        self.now, self.as_bits, self._left = kept

    def _follow(self, place: Place, edge: Edge, done: int) -> None:
        if edge.place is None or edge.place not in self.region.blocks:
            self.go_to(edge.delta, done)
            return
        if not self.is_looked_up(edge.delta):
            there, gone = self.label("there"), self.label("gone")
            self.line(f"br i1 {self._is_there(edge.delta // PAGE_SIZE)}, label %{there}, "
                      f"label %{gone}{LIKELY}")  # fmt: skip
            self.aside(gone, lambda: self._go_out(edge.delta, done))
            self.start(there)
        if self.is_tight and edge.place not in self.sinking.places:
            self.store_owed(self.sinking.keys)
        self.leave_in_variables()
        reduced = self.value(f"sub i64 {self.reduced()}, {16 * done}")
        self.line(f"store i64 {reduced}, ptr %left")
        label = self._labels[edge.place]
        if (place, edge.place) not in self.region.back:
            self.line(f"br label %{label}")
            return
        spent = self.label("spent")
        enough = self.value(f"icmp sgt i64 {reduced}, 0")
        self.line(f"br i1 {enough}, label %{label}, label %{spent}{LIKELY}")
        self.aside(spent, lambda: self._spent(edge.delta, reduced, label))

    def _go_out(self, delta: int, done: int) -> None:
        """Leave for an address whose page is somewhere else now."""
        self.store_rest()
        self.go_far(self.near(delta), self.leaving(done))

    def _spent(self, delta: int, reduced: str, label: str) -> None:
        """The budget, not spent yet, may not last for another round: go round in the next slice.

        Where there is none, or it does not last either, tier 0 goes on at `delta`.
        """
        self.declared.add("declare hidden i64 @next_slice(ptr) nounwind")
        more = self.value("call i64 @next_slice(ptr %cpu)")
        self._count(self.value(f"sub i64 0, {more}"))
        total = self.value(f"add i64 {reduced}, {more}")
        self.line(f"store i64 {total}, ptr %left")
        leave = self.label("leave")
        enough = self.value(f"icmp sgt i64 {total}, 0")
        self.line(f"br i1 {enough}, label %{label}, label %{leave}{LIKELY}")
        self.start(leave)
        self.store_rest()
        self._enter_page(delta)
        e = self.entry(delta)
        left = self.value(f"add i64 {total}, {16 * self.longest}")
        self._count(left)
        k = self.value(f"add i64 {left}, {self.value(f'ptrtoint ptr {e} to i64')}")
        name = self.names.handler(self.region.words[delta], delta % PAGE_SIZE)
        self.tail_to(name, e, k)


def _spelled(e: Expr) -> str:
    """A condition on MSR as text: equal for equal conditions."""
    return f"{e.op}{e.width}[{e.arg}]({','.join(map(_spelled, e.args))})"


_ZERO: Final = Expr("const", 32, (), 0)
