"""Stencils in memory, and the desk at which native code copies them (`copying`)."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Final

from gossamer.core import ahead
from gossamer.core.table import Table
from gossamer.engine.build import Native, Tier0Code, stencils_for
from gossamer.engine.elf import REACH, Loader
from gossamer.engine.stencils.copying import (
    BLOCK,
    DESK,
    MOST,
    QUEUE,
    ROW,
    SLOT,
    SPREAD,
    STENCIL,
    STOP,
    UNIT,
)
from gossamer.isa.architecture import Architecture

_WORD: Final = (1 << 64) - 1
_CONSTANTS_AT: Final = 64
#: What was made: entry, end of its words in the page, address.
Made = tuple[int, int, int]


class Sheet(Native):
    """A unit's sheet, loaded: `rows` are the addresses of its stencils by tier 0's handler."""

    def __init__(self, obj: bytes, handlers: Mapping[str, int]) -> None:
        super().__init__(obj)
        size, self.machine = struct.unpack("<2I", ctypes.string_at(self.address("sizes"), 8))
        self.constants = ctypes.string_at(self.address("constants"), size)
        #: The functions that places lead to; the first stands for the constants.
        self.leads = self._lines("leads")[1:]
        self.rows: dict[int, int] = {}
        self.stop = 0
        for row, name in enumerate(self._lines("names")):
            at = self.address("rows") + row * ROW.size
            handler = handlers.get(name.removeprefix(STENCIL))
            if name == STOP:
                self.stop = at
            elif handler is not None:
                self.rows[handler] = at

    def _lines(self, name: str) -> list[str]:
        return ctypes.string_at(self.address(name)).decode().split("\n")


class Stencils:
    """Those of a model; they of a unit come after tier 0 has it."""

    def __init__(self, architecture: Architecture, tier0: Tier0Code) -> None:
        self._architecture, self._tier0 = architecture, tier0
        core = Sheet(stencils_for(architecture), tier0.symbols)
        self.machine, self.stop = core.machine, core.stop
        kind = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_uint64)
        #: Makes blocks: the address of a desk, an effective address.
        self.copy = kind(core.address("copy"))
        self.sheets = {0: core}
        self._coming: dict[int, ahead.Loading] = {}
        self._objects: dict[int, bytes] = {}
        self._find()

    def __contains__(self, handler: int) -> bool:
        return any(handler in sheet.rows for sheet in self.sheets.values())

    def follow(self, *, beside: bool) -> None:
        """Have those of the units that tier 0 has by now; `beside`: as soon as a thread has."""
        for unit, native in list(self._tier0.units.items()):
            if unit in self.sheets:
                continue
            if unit not in self._coming:
                self._coming[unit] = ahead.load(partial(self._make, unit))
            coming = self._coming[unit]
            if not beside:
                coming.join()
            if coming.is_done:
                obj = self._objects.pop(unit, None) or stencils_for(self._architecture, unit)
                self.sheets[unit] = Sheet(obj, native.symbols)
                self._find()

    def _make(self, unit: int) -> None:
        self._objects[unit] = stencils_for(self._architecture, unit)

    def _find(self) -> None:
        """Make the table in which native code finds stencils by handler, half full at the most."""
        found = [(h, at, u) for u, s in self.sheets.items() for h, at in s.rows.items()]
        bits = (2 * len(found)).bit_length()
        self.shift, self.mask = 64 - bits, (1 << bits) - 1
        self.slots = Table(SLOT.size // 8 << bits, "Q")
        view = self.slots.view
        for slot in found:
            n = (slot[0] * SPREAD & _WORD) >> self.shift
            while view[3 * n]:
                n = n + 1 & self.mask
            view[3 * n], view[3 * n + 1], view[3 * n + 2] = slot


class Desk:
    """What one arena's blocks are made with; `loader` has the arena."""

    def __init__(self, stencils: Stencils, loader: Loader, **fixed: int) -> None:
        """`fixed` are values of the desk that are not known here and stay as they are."""
        self._stencils, self._loader = stencils, loader
        self._values = (ctypes.c_uint64 * len(DESK))()
        self._address = ctypes.addressof(self._values)
        self._queue, self._blocks = Table(QUEUE, "Q"), Table(MOST * BLOCK.size // 8, "Q")
        self._units = Table(UNIT.size // 8, "Q")
        #: By unit, the addresses that its code leads to: its constants, then functions.
        self._leads: dict[int, Table] = {}
        self._of = 0, -1
        arena = loader.arena
        self._set(write=arena.writable, run=arena.base, size=arena.size, **fixed)
        self._set(queue=self._queue.address, blocks=self._blocks.address)

    def _set(self, **values: int) -> None:
        for name, value in values.items():
            self._values[DESK.index(name)] = value

    def copy(self, ea: int, now: int, addresses: int, lines: int) -> tuple[bool, list[Made]]:
        """Make the block at an address and those it leads to; false: the arena is full.

        `now` is the instruction count, `addresses` the bits that an address has, `lines` the
        address of the fetch TLB.
        """
        arena, values = self._loader.arena, self._values
        if self._of != self._now() and not self._lay_out():
            return False, []
        values[_CHANGING] = [arena.used, now, addresses, lines]
        is_whole = bool(self._stencils.copy(self._address, ea))
        arena.used = values[_USED]
        made = iter(self._blocks.view[: 3 * values[_COUNT]].tolist())
        return is_whole, list(zip(made, made, made, strict=True))

    def _now(self) -> tuple[int, int]:
        """What the tables in the arena were made for: units; where branches reach them from."""
        return len(self._stencils.sheets), self._loader.arena.used // REACH

    def _lay_out(self) -> bool:
        """Put constants, and jumps to tier 0's handlers, into the arena; false: it is full."""
        stencils, loader, arena = self._stencils, self._loader, self._loader.arena
        units = Table((max(stencils.sheets) + 1) * UNIT.size // 8, "Q")
        for unit, sheet in stencils.sheets.items():
            constants = arena.reserve(len(sheet.constants), _CONSTANTS_AT)
            if constants is None:
                return False
            arena.put(constants, sheet.constants)
            stubs = loader.stubs(sheet.leads, stencils.machine)
            if stubs is None:
                return False
            leads = self._leads[unit] = Table(len(sheet.leads) + 1, "Q")
            for n, at in enumerate((constants, *stubs)):
                leads.view[n] = arena.base + at
            places = (*map(sheet.address, ("code", "marks", "values")), leads.address)
            for n, place in enumerate(places):
                units.view[4 * unit + n] = place
        self._units, self._of = units, self._now()
        self._set(units=units.address, slots=stencils.slots.address, stop=stencils.stop)
        self._set(shift=stencils.shift, mask=stencils.mask)
        return True


_COUNT, _USED = DESK.index("count"), DESK.index("used")
_CHANGING: Final = slice(_USED, _USED + 4)


@lru_cache(maxsize=4)
def made(architecture: Architecture, tier0: Tier0Code) -> Stencils:
    """The stencils for a model's tier 0 where it is loaded, made once."""
    return Stencils(architecture, tier0)
