"""Loads and stores of a region: the data TLB is only looked at; a miss leaves for tier 0.

In a loop each base register keeps the page that its last access was in, and asks the TLB only for
another.  A base that the innermost loop loads from memory leads to another page each time: it is
not asked for its page.  Addends are predicted: an access uses the one that the last one found, and
the entry's own is compared beside it, off the way of the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gossamer.base.units import PAGE_SIZE
from gossamer.engine.context import DTLB_ENTRIES
from gossamer.engine.emit import LIKELY, TB_MEM, TB_TLB, swap_bytes
from gossamer.engine.regions.code import Code
from gossamer.engine.regions.exits import APART, Exits
from gossamer.engine.regions.forming import Place, Region
from gossamer.engine.regions.groups import Member, Part, chased, groups_of, supplied
from gossamer.engine.regions.names import Names
from gossamer.isa.architecture import USUAL
from gossamer.isa.body import Probe, Store
from gossamer.isa.expr import Expr
from gossamer.isa.interrupts import Access

MOSTLY: Final = ", !prof !22"
MOSTLY_METADATA: Final = '!22 = !{!"branch_weights", i32 2000, i32 1}\n'


class Memory(Exits):
    """Writes accesses."""

    def __init__(self, intrinsics: set[str], region: Region, names: Names) -> None:
        super().__init__(intrinsics, region, names)
        self.in_loop = False
        #: Whether the instruction accesses a double.
        self.moves_double = True
        #: Base registers whose addends are predicted.
        self.predicted: set[int] = set()
        self._probed = ""  # the addend that a probe found, for the loop after it
        #: Bases whose page is kept, and for which kind of access.
        self.known: set[str] = set()
        #: Bases that the innermost loop loads pointers to; those of each loop.
        self._chased: set[int] = set()
        self._chased_in: dict[int, set[int]] = {}
        self._groups: dict[tuple[int, bool], Member] = {}
        #: Loads of the block that take what its stores stored, and what those stored so far.
        self._supplied: dict[int, list[Part]] = {}
        self._stored: dict[int, tuple[str, int]] = {}

    def begin_loop(self, place: Place) -> None:
        """Find the innermost loop of a block, and what it follows from page to page."""
        loops = [n for n, loop in enumerate(self.region.natural) if place in loop]
        self.in_loop = bool(loops)
        self._chased = set()
        if loops:
            inner = min(loops, key=lambda n: len(self.region.natural[n]))
            if inner not in self._chased_in:
                self._chased_in[inner] = chased(self._codes_of(self.region.natural[inner]))
            self._chased = self._chased_in[inner]

    def _codes_of(self, places: set[Place]) -> list[Code]:
        return [code for p in places for _, code in self.region.blocks[p].instructions]

    def begin_groups(self, instructions: Sequence[tuple[int, Code]]) -> None:
        """Find the accesses of a block that share a look into the TLB."""
        self._groups = groups_of(instructions)
        self._supplied, self._stored = supplied(instructions), {}

    def load(self, e: Expr) -> str:
        size = int(e.arg)
        where = self._place(e.args[0], size, write=False)
        parts = () if self.nested else self._supplied.get(self.index, ())
        if parts and all(part.store in self._stored for part in parts):
            return self._from_stores(size, parts)
        if size == 8 and self.moves_double and not self.region.little:
            raw = self.value(f"load <8 x i8>, ptr {where}, align 1{TB_MEM}")
            return self.value(f"bitcast <8 x i8> {self._reversed(raw)} to i64")
        raw = self.value(f"load i{8 * size}, ptr {where}, align 1{TB_MEM}")
        return self._in_order(8 * size, raw)

    def store(self, s: Store) -> None:
        if s.size == 32:
            self._clear(s)
            return
        value = self.stored(s)
        where = self._place(s.ea, s.size, write=True)
        if not self.nested:
            self._stored[self.index] = value, s.size
        if s.size == 8 and self.moves_double and not self.region.little:
            raw = self._reversed(self.value(f"bitcast i64 {value} to <8 x i8>"))
            self.line(f"store <8 x i8> {raw}, ptr {where}, align 1{TB_MEM}")
            return
        raw = self._in_order(8 * s.size, value)
        self.line(f"store i{8 * s.size} {raw}, ptr {where}, align 1{TB_MEM}")

    def _from_stores(self, size: int, parts: Sequence[Part]) -> str:
        """The value of a load whose bytes stores before it stored."""
        kind, whole = f"i{8 * size}", ""
        for part in parts:
            value, length = self._stored[part.store]
            if length == size == part.size:
                return value
            behind = part.skip, part.offset
            if not self.region.little:
                behind = length - part.skip - part.size, size - part.offset - part.size
            value = self.value(f"lshr i{8 * length} {value}, {8 * behind[0]}")
            if part.size < length:
                value = self.value(f"trunc i{8 * length} {value} to i{8 * part.size}")
            if part.size < size:
                value = self.value(f"zext i{8 * part.size} {value} to {kind}")
                value = self.value(f"shl {kind} {value}, {8 * behind[1]}")
            whole = self.value(f"or {kind} {whole}, {value}") if whole else value
        return whole

    def stored(self, s: Store) -> str:
        """The value that a store stores."""
        return self.expr(s.value)

    def _in_order(self, bits: int, value: str) -> str:
        """What lies in memory as a value, or the other way round."""
        return value if self.region.little else swap_bytes(self, bits, value)

    def _reversed(self, value: str) -> str:
        """A double's eight bytes in the other order, without leaving the vector registers."""
        order = ", ".join(f"i32 {n}" for n in range(7, -1, -1))
        return self.value(f"shufflevector <8 x i8> {value}, <8 x i8> poison, <8 x i32> <{order}>")

    def probe(self, s: Probe) -> None:
        assert s.length.is_const
        if s.length.value:
            write = s.access is Access.WRITE
            self._probed = self._addend(self.expr(s.ea), s.length.value, write, None)

    def loops(self, code: Code) -> None:
        """Carry out the iterations of an instruction's loop, which was probed."""
        outer = self.memo
        for part in code.loops:
            # As in tier 0, registers are read anew and what was computed before the loop stays.
            self.memo = {e: text for e, text in outer.items() if e.op != "reg"}
            self.carry_out(part)
        self._probed = ""

    def _place(self, e: Expr, size: int, *, write: bool) -> str:
        """Host pointer of `size` bytes at `e`."""
        ea = self.expr(e)
        if self._probed:
            return self.value(f"getelementptr i8, ptr {self._probed}, i64 {self.wide(ea)}")
        member = None if self.nested else self._groups.get((self.index, write))
        if member is None:
            return self._pointer(ea, size, write, _base_of(e))
        group, apart = member.group, member.offset - member.group.low
        if not group.pointer:
            low = self.value(f"sub {self.ea} {ea}, {apart}") if apart else ea
            group.pointer = self._pointer(low, group.high - group.low, write, _base_of(e))
        return self.value(f"getelementptr i8, ptr {group.pointer}, i64 {apart}")

    def _pointer(self, ea: str, size: int, write: bool, base: int | None) -> str:
        """Host pointer of `ea`; leaves where the TLB does not hold all of its bytes' page."""
        if base is None or self.nested or not self.in_loop or base in self._chased:
            addend = self._addend(ea, size, write, base)
            return self.value(f"getelementptr i8, ptr {addend}, i64 {self.wide(ea)}")
        return self._in_known_page(ea, size, write, base)

    def _in_known_page(self, ea: str, size: int, write: bool, base: int) -> str:
        """The same where the base's last access found its page: nothing inside changes the TLB."""
        key = f"{base}.{'w' if write else 'r'}"
        self.known.add(key)
        wide = self.wide(ea)
        page = self.value(f"load i64, ptr %page.{key}")
        addend = self.value(f"load ptr, ptr %near.{key}")
        fits = self._fits(wide, page, size)
        known, look, join = self.label("known"), self.label("look"), self.label("join")
        leave = self.exit_here()
        self.line(f"br i1 {fits}, label %{known}, label %{look}{MOSTLY}")
        found: list[str] = []

        def body() -> None:
            entry, hit = self._look_up(ea, size, write)
            new, same, other = self.label("new"), self.label("same"), self.label("other")
            self.line(f"br i1 {hit}, label %{new}, label %{leave}{LIKELY}")
            self.start(new)
            start = self.value(f"and i64 {wide}, {-PAGE_SIZE}")
            self.line(f"store i64 {start}, ptr %page.{key}")
            # Pages of one piece of memory have one addend: the access does not wait for it.
            another = self.value(f"load ptr, ptr {self._addend_of(entry)}{TB_TLB}")
            equal = self.value(f"icmp eq ptr {another}, {addend}")
            self.line(f"br i1 {equal}, label %{same}, label %{other}{MOSTLY}")
            self.start(same)
            self.line(f"br label %{join}")
            self.start(other)
            self.line(APART)
            self.line(f"store ptr {another}, ptr %near.{key}")
            self.line(f"br label %{join}")
            found.extend((f"[ {addend}, %{same} ]", f"[ {another}, %{other} ]"))

        self.aside(look, body)
        self.start(known)
        self.line(f"br label %{join}")
        self.start(join)
        right = self.value(f"phi ptr [ {addend}, %{known} ], {', '.join(found)}")
        return self.value(f"getelementptr i8, ptr {right}, i64 {wide}")

    def _fits(self, wide: str, page: str, size: int) -> str:
        """Whether all bytes of an access lie in a page, which is none at first (`NO_PAGE`)."""
        if self.addresses.width == USUAL:
            inside = self.value(f"sub i64 {wide}, {page}")
            return self.value(f"icmp ule i64 {inside}, {PAGE_SIZE - size}")
        if size & size - 1:
            start = self.value(f"and i64 {wide}, {-PAGE_SIZE}")
            low = self.value(f"and i64 {wide}, {PAGE_SIZE - 1}")
            within = self.value(f"icmp ule i64 {low}, {PAGE_SIZE - size}")
            return self.value(f"and i1 {within}, {self.value(f'icmp eq i64 {start}, {page}')}")
        # What is aligned crosses no page; anything else is looked up.
        start = self.value(f"and i64 {wide}, {-PAGE_SIZE | size - 1}")
        return self.value(f"icmp eq i64 {start}, {page}")

    @property
    def no_page(self) -> int:
        """A page that no address is in, as `_fits` compares."""
        return -(1 << 40) if self.addresses.width == USUAL else PAGE_SIZE - 1

    def _addend_of(self, entry: str) -> str:
        """Where a line of the data TLB has what is added."""
        return self.value(f"getelementptr i8, ptr {entry}, i64 {self.addresses.line.addend}")

    def _clear(self, s: Store) -> None:
        """dcbz: as tier 0, in pages only that are copy-back cached."""
        ea = self.expr(s.ea)
        flags = self.value(f"getelementptr i8, ptr %dtlb, i64 {self.addresses.tables.dtlb_flags}")
        page = self.value(f"lshr {self.ea} {ea}, 12")
        line = self.wide(self.value(f"and {self.ea} {page}, {DTLB_ENTRIES - 1}"))
        flag_at = self.value(f"getelementptr i8, ptr {flags}, i64 {line}")
        flag = self.value(f"load i8, ptr {flag_at}{TB_TLB}")
        self.only_if(self.value(f"icmp eq i8 {flag}, 0"))
        where = self._place(s.ea, 32, write=True)
        self.line(f"store <4 x i64> zeroinitializer, ptr {where}, align 1{TB_MEM}")

    def _addend(self, ea: str, size: int, write: bool, base: int | None) -> str:
        """What to add to `ea` for its host pointer; leaves on a miss, or across a page."""
        entry, hit = self._look_up(ea, size, write)
        self.only_if(hit)
        found_at = self._addend_of(entry)
        if base is None or not self.in_loop:
            return self.value(f"load ptr, ptr {found_at}{TB_TLB}")
        return self._predicted(found_at, base)

    def _look_up(self, ea: str, size: int, write: bool) -> tuple[str, str]:
        """(line of the data TLB for `ea`, whether it holds that page and all bytes lie in it)."""
        entry = self.tlb_line("%dtlb", ea, DTLB_ENTRIES)
        at = self.addresses.line.write
        tag_at = self.value(f"getelementptr i8, ptr {entry}, i64 {at}") if write else entry
        tag = self.value(f"load {self.ea}, ptr {tag_at}{TB_TLB}")
        last = self.value(f"add {self.ea} {ea}, {size - 1}") if size > 1 else ea
        page = self.value(f"and {self.ea} {last}, {-PAGE_SIZE}")
        return entry, self.value(f"icmp eq {self.ea} {page}, {tag}")

    def _predicted(self, found_at: str, base: int) -> str:
        self.predicted.add(base)
        variable = f"%addend.{base}"
        old = self.value(f"load ptr, ptr {variable}")
        found = self.value(f"load ptr, ptr {found_at}{TB_TLB}")
        same, other, join = self.label("same"), self.label("other"), self.label("join")
        equal = self.value(f"icmp eq ptr {found}, {old}")
        self.line(f"br i1 {equal}, label %{same}, label %{other}{MOSTLY}")

        def body() -> None:
            # A select would wait for the value just loaded.
            self.line(APART)
            self.line(f"br label %{join}")

        self.aside(other, body)
        self.start(same)
        self.line(f"br label %{join}")
        self.start(join)
        result = self.value(f"phi ptr [ {old}, %{same} ], [ {found}, %{other} ]")
        self.line(f"store ptr {result}, ptr {variable}")
        return result


def _base_of(e: Expr) -> int | None:
    """The base register of an address: its first GPR."""
    if e.op == "reg" and e.arg == "gpr":
        number: int = e.args[0].value
        return number
    for a in e.args:
        found = _base_of(a)
        if found is not None:
            return found
    return None
