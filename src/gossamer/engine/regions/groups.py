"""Accesses of a block that share one look into the data TLB.

Accesses through one base register, unchanged between them and at constant distances, lie in one
page nearly always: the first looks for all of them.  A hit says that each of them would hit, since
nothing inside a region changes the TLB.  Loads and stores are apart: a page may be read only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from gossamer.engine.regions.code import Code
from gossamer.engine.statements import is_true
from gossamer.isa.body import Do, Store
from gossamer.isa.expr import Expr

#: From the first byte to the last, at the most: longer groups cross pages too often.
_SPAN: Final = 256


@dataclass(slots=True)
class Group:
    """Accesses through GPR `base`, from `low` up to `high` bytes from it.

    `pointer` is the host's to the byte at `low`, once it is known.
    """

    base: int
    low: int
    high: int
    count: int = 1
    pointer: str = ""

    def takes(self, low: int, high: int) -> bool:
        """Take an access in, unless the group grew too long."""
        least, most = min(self.low, low), max(self.high, high)
        if most - least > _SPAN:
            return False
        self.low, self.high = least, most
        self.count += 1
        return True


def groups_of(instructions: Sequence[tuple[int, Code]]) -> dict[tuple[int, bool], Group]:
    """The group of each access that shares one, by (number of its instruction, store)."""
    found: dict[tuple[int, bool], Group] = {}
    open_: dict[tuple[int, bool], Group] = {}
    for n, (_, code) in enumerate(instructions):
        access = None if code.loops else access_of(code)
        if access is not None:
            base, offset, size, write = access
            group = open_.get((base, write))
            if group is None or not group.takes(offset, offset + size):
                group = open_[base, write] = Group(base, offset, offset + size)
            found[n, write] = group
        for file, number in code.writes:
            if file == "gpr":
                open_.pop((number, False), None)
                open_.pop((number, True), None)
    return {key: group for key, group in found.items() if group.count > 1}


def access_of(code: Code) -> tuple[int, int, int, bool] | None:
    """(base register, offset, size, store) of an instruction with one plain access."""
    accesses = [s for s in code.trace if isinstance(s, Do | Store)]
    if len(accesses) != 1:
        return None
    s = accesses[0]
    if isinstance(s, Store):
        ea, size = s.ea, s.size
        if not is_true(s.when):
            return None
    else:
        ea, size = s.expr.args[0], int(s.expr.arg)
    place = place_of(ea)
    return None if place is None else (*place, size, isinstance(s, Store))


def place_of(ea: Expr) -> tuple[int, int] | None:
    """(base register, offset) of an address of that form."""
    offset = 0
    if ea.op == "add" and ea.args[1].is_const:
        offset = ea.args[1].value
        offset -= (offset >> 31) << 32
        ea = ea.args[0]
    return (ea.args[0].value, offset) if _is_gpr(ea) else None


def chased(codes: Iterable[Code]) -> set[int]:
    """GPRs that are loaded from memory: as bases they lead from page to page."""
    return {
        number
        for code in codes
        if any(isinstance(s, Do) for s in code.trace) or code.loops
        for file, number in code.writes
        if file == "gpr" and not _updates(code, number)
    }


def _updates(code: Code, number: int) -> bool:
    """Whether an instruction writes its own base register (lwzu)."""
    return (
        any(
            isinstance(s, Do)
            and (place := place_of(s.expr.args[0])) is not None
            and place[0] == number
            for s in code.trace
        )
        and ("gpr", number) in code.reads
        and len(code.writes) > 1
    )


def _is_gpr(e: Expr) -> bool:
    return e.op == "reg" and e.arg == "gpr" and e.args[0].is_const
