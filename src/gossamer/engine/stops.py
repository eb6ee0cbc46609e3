"""What a debugger waits for: breakpoints, watchpoints, and what was met.

None of it is state, and none changes what the guest sees or how many instructions it executes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gossamer.base.data import Data
from gossamer.base.late import np
from gossamer.base.units import PAGE_SIZE
from gossamer.engine.context import BREAK, READ
from gossamer.engine.tier0 import Tier0

_OFFSETS: Final = PAGE_SIZE // 4


class Watch(Data):
    """`length` bytes from the effective address `ea`, whose loads or stores end the run."""

    ea: int
    length: int
    reads: bool
    writes: bool


class Met(Data):
    """Why a run ended.

    ``break``: before the instruction at `ea`; ``read``, ``write``: behind an access to what is
    watched from `ea` on.  `cpu`: the number of the CPU that met it.
    """

    kind: str
    ea: int
    cpu: int = 0


class Stops:
    """The breakpoints and watchpoints of one engine."""

    def __init__(self, engine: Tier0) -> None:
        self._engine = engine
        self._offsets = np.zeros(_OFFSETS, np.uint8)
        wide = engine.architecture.word == 64
        self._word = np.uint64 if wide else np.uint32
        ea, at = ("<u8", 8) if wide else ("<u4", 4)
        self._row = np.dtype(
            {
                "names": ["ea", "length", "kinds"],
                "formats": [ea, "<u4", "<u4"],
                "offsets": [0, at, at + 4],
                "itemsize": 16,
            }
        )
        self._breaks = np.zeros(0, self._word)
        self._watches = np.zeros(0, self._row)
        self.breakpoints: frozenset[int] = frozenset()
        self.watchpoints: tuple[Watch, ...] = ()

    @property
    def active(self) -> bool:
        return bool(self.breakpoints or self.watchpoints)

    def set(self, breakpoints: frozenset[int], watchpoints: tuple[Watch, ...] = ()) -> None:
        """Stop before these addresses and behind these accesses, and at no others."""
        if breakpoints != self.breakpoints:
            self._set_breakpoints(breakpoints)
        if watchpoints != self.watchpoints:
            self._set_watchpoints(watchpoints)

    def _set_breakpoints(self, breakpoints: frozenset[int]) -> None:
        engine, before = self._engine, self.breakpoints
        self.breakpoints = breakpoints
        engine.hold_regions(bool(breakpoints))
        self._breaks = np.array(sorted(breakpoints), self._word)
        self._offsets[:] = 0
        self._offsets[[ea % PAGE_SIZE >> 2 for ea in breakpoints]] = 1
        engine.set_pointer("breaks", self._breaks.ctypes.data)
        engine.set_word("break_count", len(self._breaks))
        engine.set_pointer("break_offsets", self._offsets.ctypes.data if breakpoints else 0)
        engine.set_pointer("break_passed", -1)
        engine.decode_again({ea % PAGE_SIZE & ~3 for ea in breakpoints ^ before})

    def _set_watchpoints(self, watchpoints: tuple[Watch, ...]) -> None:
        engine = self._engine
        self.watchpoints = watchpoints
        rows = [(w.ea, w.length, w.reads | w.writes << 1) for w in watchpoints]
        self._watches = np.array(rows, self._row)
        engine.set_pointer("watches", self._watches.ctypes.data)
        engine.set_word("watch_count", len(rows))
        engine.flush()

    def pass_once(self, ea: int, cpu: int = 0) -> None:
        """Let the CPU (the one that there is) not stop before `ea` the next time."""
        self._engine.set_pointer("break_passed", ea)

    def take(self) -> Met | None:
        """What ended the last run, once."""
        kind, ea = self._engine.word("met"), self._engine.address("met_ea")
        if not kind:
            return None
        self._engine.set_word("met", 0)
        return Met("break" if kind == BREAK else "read" if kind == READ else "write", ea)


class StopsOfAll:
    """The breakpoints and watchpoints of several engines: every CPU stops at each of them."""

    def __init__(self, engines: Sequence[Tier0]) -> None:
        self._each = tuple(Stops(engine) for engine in engines)

    @property
    def active(self) -> bool:
        return self._each[0].active

    @property
    def breakpoints(self) -> frozenset[int]:
        return self._each[0].breakpoints

    @property
    def watchpoints(self) -> tuple[Watch, ...]:
        return self._each[0].watchpoints

    def set(self, breakpoints: frozenset[int], watchpoints: tuple[Watch, ...] = ()) -> None:
        """Stop before these addresses and behind these accesses, and at no others."""
        for one in self._each:
            one.set(breakpoints, watchpoints)

    def pass_once(self, ea: int, cpu: int = 0) -> None:
        """Let that CPU not stop before `ea` the next time."""
        self._each[cpu].pass_once(ea)

    def take(self) -> Met | None:
        """What ended the last run, once."""
        for n, one in enumerate(self._each):
            met = one.take()
            if met is not None:
                return Met(met.kind, met.ea, n)
        return None
