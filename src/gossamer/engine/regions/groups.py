"""Accesses of a block that share one look into the data TLB.

Accesses at constant distances from one value, whatever registers hold it and its sums, lie in one
page nearly always: the first looks for all of them.  A hit says that each of them would hit, since
nothing inside a region changes the TLB.  Loads and stores are apart: a page may be read only.

A load of bytes that stores before it in the block stored takes their values.  Compilers make a
double of two words so, and hosts wait for both stores to be done before they load it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from gossamer.base.bits import signed
from gossamer.base.data import Data, replace
from gossamer.base.units import PAGE_SIZE
from gossamer.engine.regions.code import Code
from gossamer.engine.statements import is_true
from gossamer.isa.body import Do, Probe, Store, Write
from gossamer.isa.expr import Expr

#: Bytes of the longest access that hands on its value.
_WORD: Final = 8
#: How far apart two accesses from one value can't be of the same byte, whatever pages are mapped.
_APART: Final = PAGE_SIZE - 16
#: From the first byte to the last, at the most: longer groups cross pages too often.
_SPAN: Final = 256


class Group(Data, frozen=False):
    """Accesses from `low` up to `high` bytes from one value.

    `pointer` is the host's to the byte at `low`, once it is known.
    """

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


class Member(Data):
    """One access of a group, `offset` bytes from the group's value."""

    group: Group
    offset: int


class _Sums:
    """What GPRs hold: (value, by number; what was added to it)."""

    def __init__(self) -> None:
        self._of: dict[int, tuple[int, int]] = {}
        self._values = 0

    def of(self, register: int) -> tuple[int, int]:
        found = self._of.get(register)
        return self._another(register) if found is None else found

    def _another(self, register: int) -> tuple[int, int]:
        self._values += 1
        self._of[register] = self._values, 0
        return self._values, 0

    def follow(self, code: Code) -> None:
        """Take in what an instruction writes."""
        sums = {}
        for s in code.trace:
            if isinstance(s, Write) and s.reg == "gpr" and is_true(s.when):
                place = _sum_of(s.value)
                if place is not None:
                    value, offset = self.of(place[0])
                    sums[s.index.value] = value, offset + place[1]
        for file, register in code.writes:
            if file == "gpr" and register in sums:
                self._of[register] = sums[register]
            elif file == "gpr":
                self._another(register)


def _accesses(
    instructions: Sequence[tuple[int, Code]],
) -> Iterator[tuple[int, Code, tuple[int, int, int, bool] | None]]:
    """Each instruction's number, code, and access: (value, distance from it, bytes, store)."""
    sums = _Sums()
    for n, (_, code) in enumerate(instructions):
        access = None if code.loops else access_of(code)
        if access is None:
            yield n, code, None
        else:
            base, apart, size, write = access
            value, added = sums.of(base)
            yield n, code, (value, added + apart, size, write)
        sums.follow(code)


def groups_of(instructions: Sequence[tuple[int, Code]]) -> dict[tuple[int, bool], Member]:
    """The group of each access that shares one, by (number of its instruction, store)."""
    found: dict[tuple[int, bool], Member] = {}
    open_: dict[tuple[int, bool], Group] = {}
    for n, _, access in _accesses(instructions):
        if access is not None:
            value, offset, size, write = access
            group = open_.get((value, write))
            if group is None or not group.takes(offset, offset + size):
                group = open_[value, write] = Group(offset, offset + size)
            found[n, write] = Member(group, offset)
    return {key: member for key, member in found.items() if member.group.count > 1}


class Part(Data):
    """Bytes of a load that a store stored: `size` of them, `offset` from the load's first.

    `store` is the number of its instruction, `skip` how many of its bytes come before them.
    """

    store: int
    offset: int
    size: int
    skip: int


def supplied(instructions: Sequence[tuple[int, Code]]) -> dict[int, list[Part]]:
    """What stores before it have of each load that they have all of, by its instruction."""
    found: dict[int, list[Part]] = {}
    #: Of the bytes from one value, which are all that is known: (number of the store, its offset).
    known: dict[int, tuple[int, int]] = {}
    value = 0
    for n, code, access in _accesses(instructions):
        if access is not None:
            this, at, size, write = access
            if size > _WORD:
                known = {}
            elif write:
                if this != value or any(abs(at - other) > _APART for other in known):
                    known = {}
                value = this
                known |= dict.fromkeys(range(at, at + size), (n, at))
            elif this == value and all(at + k in known for k in range(size)):
                found[n] = _parts(at, [known[at + k] for k in range(size)])
        elif code.loops or any(isinstance(s, Store | Probe) for s in code.trace):
            known = {}
    return found


def _parts(at: int, stores: Sequence[tuple[int, int]]) -> list[Part]:
    """Runs of bytes of one store, of a load `at` bytes from the value."""
    out: list[Part] = []
    for k, (n, first) in enumerate(stores):
        if out and out[-1].store == n:
            out[-1] = replace(out[-1], size=out[-1].size + 1)
        else:
            out.append(Part(n, k, 1, at + k - first))
    return out


def _sum_of(e: Expr) -> tuple[int, int] | None:
    """(register, what is added) of a value of that form; `or` of a register with itself is one."""
    place = place_of(e)
    if place is None and e.op == "or":
        place = place_of(e.args[0])
        return place if place == place_of(e.args[1]) else None
    return place


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
        offset = signed(ea.args[1].value, ea.width)
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
