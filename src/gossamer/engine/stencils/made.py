"""Stencils as bytes: read from their object file, holes filled for an instruction word."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Final

from gossamer.base.data import Data, field
from gossamer.core import ahead
from gossamer.engine.build import Native, Tier0Code, stencils_for
from gossamer.engine.elf import KINDS, Apply, Object, Relocation, Symbol, absolute64
from gossamer.engine.stencils.holes import PREFIX, is_placed, mask_of, value_of
from gossamer.engine.stencils.hosts import HOSTS, Fill
from gossamer.engine.stencils.text import NEXT, STENCIL, STOP
from gossamer.isa.architecture import Architecture

_ALLOC: Final = 2
#: Values of one hole that are remembered.
_KEPT: Final = 1 << 10


class Hole(Data):
    """What `fill` makes hold the value of `name` plus `addend`, at `offset`.

    The value depends on the bits `mask` of the word, and where `is_placed` on its place.
    """

    offset: int
    name: str
    addend: int
    fill: Fill
    mask: int
    is_placed: bool
    _known: dict[int, int] = field(default_factory=dict, init=False)

    def value(self, word: int, place: int) -> int:
        """What it holds for `word` at `place` bytes of its page."""
        if self.is_placed:
            return value_of(self.name, word, place) + self.addend
        known, key = self._known, word & self.mask
        value = known.get(key)
        if value is None:
            if len(known) >= _KEPT:
                known.clear()
            value = known[key] = value_of(self.name, key, 0) + self.addend
        return value


class Distance(Data):
    """Four bytes at `offset` that `apply` makes lead to `to` plus `addend`."""

    offset: int
    to: str
    addend: int
    apply: Apply


class Constant(Data):
    """Four bytes at `offset` that `apply` makes lead to byte `place` of the constants."""

    offset: int
    place: int
    apply: Apply


class Stencil(Data):
    """Code of one instruction.

    `goes_on`: it may end at what is copied behind it.  `distances` lead to tier 0's handlers;
    `constants` to bytes of the stencils' own.
    """

    code: bytes
    holes: tuple[Hole, ...]
    distances: tuple[Distance, ...]
    constants: tuple[Constant, ...]
    goes_on: bool

    def filled(self, word: int, place: int) -> bytes:
        """The code for `word` at `place` bytes of its page, distances left open."""
        code = bytearray(self.code)
        for h in self.holes:
            h.fill(code, h.offset, h.value(word, place))
        return bytes(code)

    @property
    def depends_on_place(self) -> bool:
        return any(h.is_placed for h in self.holes)


class Stencils:
    """Those of a model, by the address of tier 0's handler; `constants` are the bytes they share.

    `machine` is the host's, as object files number it.  Those of a unit come after tier 0 has it.
    """

    def __init__(self, architecture: Architecture, tier0: Tier0Code) -> None:
        self._architecture, self._tier0 = architecture, tier0
        obj = Object(stencils_for(architecture))
        self.machine = obj.machine
        self.constants = b""
        named = self._read(obj)
        self.stop = named.pop(STOP)
        self.by_handler: dict[int, Stencil] = {}
        self._units = {0}
        self._coming: dict[int, ahead.Loading] = {}
        self._objects: dict[int, bytes] = {}
        self._add(named, tier0)

    def follow(self, *, beside: bool) -> None:
        """Have those of the units that tier 0 has by now; `beside`: as soon as a thread has."""
        for unit, native in list(self._tier0.units.items()):
            if unit in self._units:
                continue
            if unit not in self._coming:
                self._coming[unit] = ahead.load(partial(self._make, unit))
            coming = self._coming[unit]
            if not beside:
                coming.join()
            if coming.is_done:
                self._units.add(unit)
                obj = self._objects.pop(unit, None) or stencils_for(self._architecture, unit)
                self._add(self._read(Object(obj)), native)

    def _make(self, unit: int) -> None:
        self._objects[unit] = stencils_for(self._architecture, unit)

    def _read(self, obj: Object) -> dict[str, Stencil]:
        reader = _Reader(obj, self.constants)
        named = reader.stencils()
        self.constants = bytes(reader.bytes)
        return named

    def _add(self, named: dict[str, Stencil], handlers: Native) -> None:
        found = {name: handlers.symbols.get(name.removeprefix(STENCIL)) for name in named}
        self.by_handler |= {at: named[name] for name, at in found.items() if at is not None}


@lru_cache(maxsize=4)
def made(architecture: Architecture, tier0: Tier0Code) -> Stencils:
    """The stencils for a model's tier 0 where it is loaded, made once."""
    return Stencils(architecture, tier0)


class _Reader:
    """Reads an object file, whose constants come behind the `before`."""

    def __init__(self, obj: Object, before: bytes) -> None:
        self.obj = obj
        self.host, self.kinds = HOSTS[obj.machine], KINDS[obj.machine]
        #: Where the sections of constants begin, put one behind the other.
        self.constants: dict[int, int] = {}
        self.bytes = bytearray(before)
        self.relocations: dict[int, list[Relocation]] = {}

    def stencils(self) -> dict[str, Stencil]:
        """Those that are understood, by the names of their functions."""
        obj = self.obj
        functions = {s.name: s for s in obj.symbols if s.name.startswith((STENCIL, STOP))}
        code = {s.section for s in functions.values()}
        for n, section in enumerate(obj.sections):
            if not section.flags & _ALLOC or not section.size or n in code:
                continue
            if not any(True for _ in obj.relocations(n)):
                self.bytes += bytes(-len(self.bytes) % max(section.alignment, 16))
                self.constants[n] = len(self.bytes)
                self.bytes += obj.content(n)
        self.relocations = {n: sorted(obj.relocations(n), key=_offset) for n in code}
        read = {name: self._stencil(symbol) for name, symbol in functions.items()}
        return {name: s for name, s in read.items() if s is not None}

    def _stencil(self, function: Symbol) -> Stencil | None:
        """None for a function that has what is not understood here."""
        first, end = function.value, function.value + function.size
        code = bytearray(self.obj.content(function.section)[first:end])
        mine = [r for r in self.relocations[function.section] if first <= r.offset < end]
        holes: list[Hole] = []
        distances: list[Distance] = []
        constants: list[Constant] = []
        to_next: list[Relocation] = []
        for r in mine:
            at, symbol = r.offset - first, self.obj.symbols[r.symbol]
            apply, fill = self.kinds.get(r.kind), self.host.fills.get(r.kind)
            if symbol.name.startswith(PREFIX):
                if fill is None or not self.host.holds(code, at, r.kind):
                    return None
                placed = is_placed(symbol.name)
                holes.append(Hole(at, symbol.name, r.addend, fill, mask_of(symbol.name), placed))
            elif apply is None or apply is absolute64:
                return None
            elif symbol.name == NEXT:
                to_next.append(r)
            elif symbol.section in self.constants:
                place = self.constants[symbol.section] + symbol.value
                constants.append(Constant(at, place + r.addend, apply))
            elif symbol.section == 0:
                distances.append(Distance(at, symbol.name, r.addend, apply))
            else:
                return None
        goes_on, jump = bool(to_next), self.host.jump
        if goes_on and to_next[-1].offset == end - 4 and code.endswith(jump):
            to_next.pop()
            del code[-len(jump) :]
        for r in to_next:
            at = r.offset - first
            old = int.from_bytes(code[at : at + 4], "little")
            new = self.kinds[r.kind](old, len(code) + r.addend, at)
            code[at : at + 4] = new.to_bytes(4, "little")
        return Stencil(bytes(code), tuple(holes), tuple(distances), tuple(constants), goes_on)


def _offset(r: Relocation) -> int:
    return r.offset
