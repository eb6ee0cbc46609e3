"""Stencils as bytes: read from their object file, holes filled for an instruction word.

x86-64 only: a host whose holes are several instructions (AArch64) has none, and `made` says so.
Source of the relocations: System V ABI, AMD64 supplement, 4.4.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from gossamer.base.data import Data
from gossamer.engine.build import Native, stencils_for
from gossamer.engine.elf import X86_64, Object, Relocation, Symbol
from gossamer.engine.stencils.holes import PLACED, PREFIX, value_of
from gossamer.engine.stencils.text import NEXT, STENCIL, STOP
from gossamer.isa.architecture import Architecture

#: R_X86_64_32, 32S and 8: bytes that they fill.
_VALUES: Final = {10: 4, 11: 4, 14: 1}
#: R_X86_64_PC32 and PLT32, four bytes.
_DISTANCES: Final = (2, 4)
#: A jump of 32 bits' distance.
_JUMP: Final = 0xE9
_JUMP_SIZE: Final = 5
_ALLOC: Final = 2


class Hole(Data):
    """`size` bytes at `offset` that hold the value of `name` plus `addend`."""

    offset: int
    size: int
    name: str
    addend: int


class Distance(Data):
    """Four bytes at `offset`: how far it is from there to `to`, plus `addend`."""

    offset: int
    to: str
    addend: int


class Stencil(Data):
    """Code of one instruction.

    `goes_on`: it may end at what is copied behind it.  `distances` lead to tier 0's handlers;
    `constants` to bytes of the stencils' own, by offset.
    """

    code: bytes
    holes: tuple[Hole, ...]
    distances: tuple[Distance, ...]
    constants: tuple[tuple[int, int], ...]
    goes_on: bool

    def filled(self, word: int, place: int) -> bytes:
        """The code for `word` at `place` bytes of its page, distances left open."""
        code = bytearray(self.code)
        for h in self.holes:
            value = value_of(h.name, word, place) + h.addend
            end = h.offset + h.size
            code[h.offset : end] = (value & (1 << 8 * h.size) - 1).to_bytes(h.size, "little")
        return bytes(code)

    @property
    def depends_on_place(self) -> bool:
        return any(PLACED in f"{h.name} " for h in self.holes)


class Stencils(Data):
    """All of a model: by the address of tier 0's handler; `constants` are the bytes they share."""

    by_handler: dict[int, Stencil]
    stop: Stencil
    constants: bytes


@lru_cache(maxsize=4)
def made(architecture: Architecture, tier0: Native) -> Stencils | None:
    """The stencils for a model's tier 0 where it is loaded, made once.

    None where there are none: see above.
    """
    obj = Object(stencils_for(architecture))
    return None if obj.machine != X86_64 else _Reader(obj).stencils(tier0.symbols)


class _Reader:
    """Reads an object file."""

    def __init__(self, obj: Object) -> None:
        self.obj = obj
        #: Where the sections of constants begin, put one behind the other.
        self.constants: dict[int, int] = {}
        self.bytes = bytearray()
        self.relocations: dict[int, list[Relocation]] = {}

    def stencils(self, handlers: dict[str, int]) -> Stencils:
        obj = self.obj
        functions = {s.name: s for s in obj.symbols if s.name.startswith((STENCIL, STOP))}
        code = {s.section for s in functions.values()}
        for n, section in enumerate(obj.sections):
            if section.flags & _ALLOC and section.size and n not in code:
                self.bytes += bytes(-len(self.bytes) % max(section.alignment, 16))
                self.constants[n] = len(self.bytes)
                self.bytes += obj.content(n)
        self.relocations = {n: sorted(obj.relocations(n), key=_offset) for n in code}
        read = {name: self._stencil(symbol) for name, symbol in functions.items()}
        found = {name.removeprefix(STENCIL): s for name, s in read.items() if s is not None}
        stop = found.pop(STOP)
        by_handler = {handlers[name]: s for name, s in found.items() if name in handlers}
        return Stencils(by_handler, stop, bytes(self.bytes))

    def _stencil(self, function: Symbol) -> Stencil | None:
        """None for a function that has what is not understood here."""
        first, end = function.value, function.value + function.size
        code = bytearray(self.obj.content(function.section)[first:end])
        mine = [r for r in self.relocations[function.section] if first <= r.offset < end]
        holes, distances, constants, to_next = [], [], [], []
        for r in mine:
            at, symbol = r.offset - first, self.obj.symbols[r.symbol]
            if symbol.name.startswith(PREFIX) and r.kind in _VALUES:
                holes.append(Hole(at, _VALUES[r.kind], symbol.name, r.addend))
            elif symbol.name == NEXT and r.kind in _DISTANCES and r.addend == -4:
                to_next.append(at)
            elif symbol.section in self.constants and r.kind in _DISTANCES:
                place = self.constants[symbol.section] + symbol.value
                constants.append((at, place + r.addend))
            elif symbol.section == 0 and r.kind in _DISTANCES:
                distances.append(Distance(at, symbol.name, r.addend))
            else:
                return None
        size = len(code)
        if to_next and to_next[-1] == size - 4 and code[size - _JUMP_SIZE] == _JUMP:
            to_next.pop()
            size -= _JUMP_SIZE
            del code[size:]
            goes_on = True
        else:
            goes_on = bool(to_next)
        for at in to_next:
            code[at : at + 4] = (size - at - 4).to_bytes(4, "little")
        return Stencil(bytes(code), tuple(holes), tuple(distances), tuple(constants), goes_on)


def _offset(r: Relocation) -> int:
    return r.offset
