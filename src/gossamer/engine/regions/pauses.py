"""For how long code that changed is left alone: longer each time, from the start after a calm."""

from __future__ import annotations

from typing import Final

from gossamer.base.data import Data
from gossamer.core.table import Table

#: Doublings of a pause, at the most.
_LONGEST: Final = 10
#: Things remembered, at the most.
_MOST: Final = 1 << 12
#: Slots of the table: a thing's number, and until when its pause lasts.
SLOTS: Final = 1 << 12


class _Pause(Data, frozen=False):
    times: int
    until: int


class Pauses:
    """Pauses of things by their number, in instructions; bounded.

    `table` says the same to native code: of the things that share a slot the latest alone.
    """

    def __init__(self, first: int) -> None:
        self._first = first
        self._of: dict[int, _Pause] = {}
        self.table = Table(2 * SLOTS, "Q")

    def holds(self, thing: int, now: int) -> bool:
        """Whether a thing's pause lasts still."""
        pause = self._of.get(thing)
        return pause is not None and pause.until > now

    def begin(self, thing: int, now: int) -> bool:
        """Let a pause of `thing` begin, unless one lasts: what belongs together counts once."""
        pause = self._of.get(thing)
        if pause is None:
            if len(self._of) >= _MOST:
                self._make_room(now)
            pause = self._of[thing] = _Pause(0, 0)
        elif pause.until > now:
            return False
        else:
            calm = now - pause.until > self._length(pause)
            pause.times = 0 if calm else min(pause.times + 1, _LONGEST)
        pause.until = now + self._length(pause)
        slot = 2 * (thing & SLOTS - 1)
        self.table.view[slot], self.table.view[slot + 1] = thing, pause.until
        return True

    def _length(self, pause: _Pause) -> int:
        return self._first << pause.times

    def _make_room(self, now: int) -> None:
        """Forget the things that are calm; all where none is."""
        self._of = {n: p for n, p in self._of.items() if now - p.until <= self._length(p)}
        if len(self._of) >= _MOST:
            self._of.clear()
            self.table.fill(0)
