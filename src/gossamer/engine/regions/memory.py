"""Loads and stores of a region: the data TLB is only looked at; a miss leaves for tier 0.

In a loop each base register has its addend predicted: the access uses the addend that the last one
found, and the entry's own is compared beside it, off the way of the data.
"""

from __future__ import annotations

from typing import Final

from gossamer.engine.context import DTLB_ENTRIES
from gossamer.engine.emit import TB_MEM, TB_TLB, swap_bytes
from gossamer.engine.regions.code import Code
from gossamer.engine.regions.exits import Exits
from gossamer.engine.regions.forming import Region
from gossamer.engine.regions.names import Names
from gossamer.isa.body import Access, Probe, Store
from gossamer.isa.expr import Expr

USUAL: Final = ", !prof !22"
USUAL_METADATA: Final = '!22 = !{!"branch_weights", i32 2000, i32 1}\n'


class Memory(Exits):
    """Writes accesses."""

    def __init__(
        self, intrinsics: set[str], region: Region, names: Names, counting: bool = False
    ) -> None:
        super().__init__(intrinsics, region, names, counting)
        self.in_loop = False
        #: Base registers whose addends are predicted.
        self.predicted: set[int] = set()
        self._probed = ""  # the addend that a probe found, for the loop after it

    def load(self, e: Expr) -> str:
        size = int(e.arg)
        where = self._place(e.args[0], size, write=False)
        raw = self.value(f"load i{8 * size}, ptr {where}, align 1{TB_MEM}")
        return swap_bytes(self, 8 * size, raw)

    def store(self, s: Store) -> None:
        value = self.expr(s.value)
        where = self._place(s.ea, s.size, write=True)
        raw = swap_bytes(self, 8 * s.size, value)
        self.line(f"store i{8 * s.size} {raw}, ptr {where}, align 1{TB_MEM}")

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
        addend = self._probed or self._addend(ea, size, write, _base_of(e))
        return self.value(f"getelementptr i8, ptr {addend}, i64 {self._wide(ea)}")

    def _wide(self, ea: str) -> str:
        return self.value(f"zext i32 {ea} to i64")

    def _addend(self, ea: str, size: int, write: bool, base: int | None) -> str:
        """What to add to `ea` for its host pointer; leaves on a miss, or across a page."""
        index = self.value(f"and i32 {self.value(f'lshr i32 {ea}, 8')}, {(DTLB_ENTRIES - 1) * 16}")
        entry = self.value(f"getelementptr i8, ptr %dtlb, i64 {self._wide(index)}")
        tag_at = self.value(f"getelementptr i8, ptr {entry}, i64 4") if write else entry
        tag = self.value(f"load i32, ptr {tag_at}{TB_TLB}")
        last = self.value(f"add i32 {ea}, {size - 1}") if size > 1 else ea
        hit = self.value(f"icmp eq i32 {self.value(f'and i32 {last}, -4096')}, {tag}")
        self.only_if(hit)
        found_at = self.value(f"getelementptr i8, ptr {entry}, i64 8")
        if base is None or not self.in_loop:
            return self.value(f"load ptr, ptr {found_at}{TB_TLB}")
        return self._predicted(found_at, base)

    def _predicted(self, found_at: str, base: int) -> str:
        self.predicted.add(base)
        variable = f"%addend.{base}"
        old = self.value(f"load ptr, ptr {variable}")
        # LLVM must not put the value just loaded in place of the old one once they are equal.
        hidden = self.value(f'call ptr asm "", "=r,0"(ptr {old})')
        found = self.value(f"load ptr, ptr {found_at}{TB_TLB}")
        same, other, join = self.label("same"), self.label("other"), self.label("join")
        equal = self.value(f"icmp eq ptr {found}, {old}")
        self.line(f"br i1 {equal}, label %{same}, label %{other}{USUAL}")
        self.aside(other, lambda: self.line(f"br label %{join}"))
        self.start(same)
        self.line(f"br label %{join}")
        self.start(join)
        result = self.value(f"phi ptr [ {hidden}, %{same} ], [ {found}, %{other} ]")
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
