"""Stencils as LLVM made them: read from their object file, when a sheet is made of them."""

from __future__ import annotations

from typing import Final

from gossamer.base.data import Data
from gossamer.engine.elf import KINDS, Object, Relocation, Symbol
from gossamer.engine.stencils.copying import NEXT, STENCIL, STOP
from gossamer.engine.stencils.holes import PREFIX
from gossamer.engine.stencils.hosts import HOSTS

_ALLOC: Final = 2
#: What places lead to that lead to a stencil's constants.
CONSTANTS: Final = "constants"


class Mark(Data):
    """A place at `offset` of a stencil's code that is filled (`hosts.Fill`) when it is copied.

    With the value of the hole `name` plus `addend`, or with the way to the function `name` or the
    `CONSTANTS`, plus `addend` bytes.
    """

    offset: int
    fill: int
    name: str
    addend: int


class Stencil(Data):
    """Code of one instruction; `goes_on`: it may end at what is copied behind it."""

    code: bytes
    marks: tuple[Mark, ...]
    goes_on: bool


class Reader:
    """Reads an object file; `constants` are the bytes that its stencils share."""

    def __init__(self, obj: Object) -> None:
        self.obj = obj
        self.host, self.kinds = HOSTS[obj.machine], KINDS[obj.machine]
        #: Where the sections of constants begin, put one behind the other.
        self._sections: dict[int, int] = {}
        self.constants = bytearray()
        self._relocations: dict[int, list[Relocation]] = {}

    def stencils(self) -> dict[str, Stencil]:
        """Those that are understood, by the names of their functions."""
        obj = self.obj
        functions = {s.name: s for s in obj.symbols if s.name.startswith((STENCIL, STOP))}
        code = {s.section for s in functions.values()}
        for n, section in enumerate(obj.sections):
            if not section.flags & _ALLOC or not section.size or n in code:
                continue
            if not any(True for _ in obj.relocations(n)):
                self.constants += bytes(-len(self.constants) % max(section.alignment, 16))
                self._sections[n] = len(self.constants)
                self.constants += obj.content(n)
        self._relocations = {n: sorted(obj.relocations(n), key=_offset) for n in code}
        read = {name: self._stencil(symbol) for name, symbol in functions.items()}
        return {name: s for name, s in read.items() if s is not None}

    def _stencil(self, function: Symbol) -> Stencil | None:
        """None for a function that has what is not understood here."""
        first, end = function.value, function.value + function.size
        code = bytearray(self.obj.content(function.section)[first:end])
        mine = [r for r in self._relocations[function.section] if first <= r.offset < end]
        marks: list[Mark] = []
        to_next: list[Relocation] = []
        for r in mine:
            if self.obj.symbols[r.symbol].name == NEXT and r.kind in self.host.leads:
                to_next.append(r)
                continue
            mark = self._mark(r, code, r.offset - first)
            if mark is None:
                return None
            marks.append(mark)
        goes_on, jump = bool(to_next), self.host.jump
        if goes_on and to_next[-1].offset == end - 4 and code.endswith(jump):
            to_next.pop()
            del code[-len(jump) :]
        for r in to_next:
            at = r.offset - first
            old = int.from_bytes(code[at : at + 4], "little")
            new = self.kinds[r.kind](old, len(code) + r.addend, at)
            code[at : at + 4] = new.to_bytes(4, "little")
        return Stencil(bytes(code), tuple(marks), goes_on)

    def _mark(self, r: Relocation, code: bytearray, at: int) -> Mark | None:
        """What a relocation asks for at a place of code; None where that is not understood."""
        symbol = self.obj.symbols[r.symbol]
        fill, lead = self.host.fills.get(r.kind), self.host.leads.get(r.kind)
        if symbol.name.startswith(PREFIX):
            if fill is None or not self.host.holds(code, at, r.kind):
                return None
            return Mark(at, fill, symbol.name, r.addend)
        if lead is None:
            return None
        if symbol.section in self._sections:
            place = self._sections[symbol.section] + symbol.value
            return Mark(at, lead, CONSTANTS, place + r.addend)
        return Mark(at, lead, symbol.name, r.addend) if symbol.section == 0 else None


def _offset(r: Relocation) -> int:
    return r.offset
