"""Learned accesses: registers whose whole behaviour native code repeats once it has seen it.

A chip's *face* is all of its state that decides what accesses to some of its registers give and
do.  Such an access is a function: from the faces of the machine's chips and what is written to what
is read, the faces afterwards and the level of the line to the CPU.  `Faces` numbers the faces that
it meets; each access that Python carries out teaches the engine one value of the function, which
the engine then repeats without Python.  Nothing about a chip is said twice: what is repeated is
what the chip itself did.

A chip says of each access whether it is of that kind (`Region.learns`).  One that arms or cancels
an alarm, or notes a trace event, is not learned whatever the chip says.  Of a store of data
(`DATA`, `POSTED`) the value decides nothing; the chip gets it when Python runs next
(`Region.take`).  `POSTED` is data that stays in its chip; `DATA` goes outside, and is only learned
where that can wait (`at_leisure`).

The chips are brought to the face that the engine has reached before Python looks at them: in each
call from native code and when it returns.  Any other access, an alarm, and whatever comes from
outside may change chips in other ways: their face is worked out anew then (`forget`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from gossamer.base.data import Data
from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.core.region import Region
from gossamer.core.trace import Trace

NO, YES, DATA, POSTED = 0, 1, 2, 3
"""What `Region.learns` says of an access."""
UNKNOWN: Final = 0
"""The number of the face that has to be worked out."""
MOST: Final = 4096
"""Faces that are kept; then all are forgotten, since a guest may make as many as it likes."""
LAST: Final = (1 << 26) - 1
"""The highest number of a face."""
MOST_KNOWN: Final = 4 * MOST
"""Accesses whose end is kept here as well."""

Face = tuple[Any, ...]


class Faced(Protocol):
    """A chip with a face."""

    def face(self) -> Face:
        """All that decides about learned accesses, or that they change; cheap to compare."""

    def set_face(self, face: Face) -> None:
        """Be as when `face` gave this.  Lines are not driven: their levels are in faces."""


class Learned(Data):
    """What one access does.

    `key` is its place (real address | size << 32), `value` what is written (0 for loads and data);
    it gives `result` and leads from face `face` to face `then` and to the line's level.
    """

    key: int
    store: bool
    data: bool
    face: int
    value: int
    result: int
    then: int
    level: bool


class Faces:
    """The chips whose registers are learned, and where they are.

    `current`: the number of their face, `UNKNOWN` when it has to be worked out.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._chips: list[Faced] = []
        self._clock: Clock | None = None
        self._line: IrqLine | None = None
        self.current = UNKNOWN
        #: Set when an access was carried out here: what came of it is known.
        self.carried = False
        #: Whether the last access was of the kind that is learned, with the face not known: the
        #: first of such is just carried out, for it may be the only one before chips change again.
        self.warm = False
        #: Whether stores of data may reach their chip later than at their instruction.
        self.at_leisure = False
        #: What the engine does with an access, and when numbers begin again; None: it learns none.
        self.learned: Callable[[Learned], None] | None = None
        self.emptied: Callable[[], None] = lambda: None
        self._numbers: dict[Face, int] = {}
        #: What was taught, by key, value, kind and the face before.
        self._known: dict[tuple[int, int, int, int], Learned] = {}
        self._same: dict[Face, Face] = {}
        self._faces: list[Face] = []
        self._first = 1
        self._warming = False
        #: Of accesses with the face not known: the last, and those that others have followed (an
        #: interrupt's first), for which it is worked out at once.
        self._lone = 0
        self._leading: set[int] = set()

    def join(self, clock: Clock, chips: Iterable[Faced], line: IrqLine) -> None:
        """Take on the machine's chips; `line` is the one that their accesses move at the CPU."""
        self._clock, self._chips, self._line = clock, [*chips], line

    @property
    def active(self) -> bool:
        return self.learned is not None and self._clock is not None

    def forget(self) -> None:
        """The chips may have changed in other ways."""
        self.current = UNKNOWN
        self.warm = False

    def accessed(self) -> None:
        """An access has been carried out elsewhere."""
        self.current = UNKNOWN
        self.warm, self._warming = self._warming, False

    def _is_worth_it(self, key: int) -> bool:
        """Whether an access is to be learned; else it is like any other."""
        if self.current != UNKNOWN:
            return True
        if self.warm:
            self._leading.add(self._lone)
            return True
        self._lone = key
        self._warming = key not in self._leading
        return not self._warming

    def clear(self) -> None:
        """Forget all that was learned (registers moved, or there are too many faces)."""
        self._first += len(self._faces)
        self.current = UNKNOWN
        self._numbers.clear()
        self._known.clear()
        self._leading.clear()
        self._same.clear()
        self._faces.clear()
        if self._first + MOST > LAST:
            self._first = 1
            self.emptied()

    # --- accesses -----------------------------------------------------------------------------

    def load(self, region: Region, key: int, offset: int, size: int) -> int:
        """A load that may be learned, carried out."""
        if not self._is_worth_it(key):
            return region.load(offset, size)
        before, mark = self._number(), self._mark()
        self.current = UNKNOWN
        result = region.load(offset, size)
        self._learn((key, 0, NO, before), mark, result)
        return result

    def store(
        self, region: Region, key: int, offset: int, value: int, size: int, kind: int
    ) -> None:
        """A store that may be learned (`kind`: as `Region.learns` says), carried out."""
        if not self._is_worth_it(key):
            region.store(offset, value, size)
            return
        before, mark = self._number(), self._mark()
        self.current = UNKNOWN
        region.store(offset, value, size)
        if kind == DATA and not self.at_leisure:
            mark = (-1, -1)
        self._learn((key, value if kind == YES else 0, kind, before), mark, 0)

    def _mark(self) -> tuple[int, int]:
        """What shows whether something happened that the engine could not repeat."""
        assert self._clock is not None
        return self._clock.moves, self._trace.total

    def _number(self) -> int:
        """The number of the chips' face now."""
        if self.current != UNKNOWN:
            return self.current
        face = tuple([c.face() for c in self._chips])
        number = self._numbers.get(face, UNKNOWN)
        if number == UNKNOWN:
            if len(self._faces) >= MOST:
                self.clear()
            face = tuple([self._same.setdefault(part, part) for part in face])
            number = self._first + len(self._faces)
            self._numbers[face] = number
            self._faces.append(face)
        self.current = number
        return number

    def _learn(self, access: tuple[int, int, int, int], mark: tuple[int, int], result: int) -> None:
        """An access (as in `_known`; the kind of a load is `NO`) has given `result`."""
        if self.learned is None:
            return
        known = self._known.get(access)
        if known is None:
            first, then = self._first, self._number()
            self.carried = True
            if first != self._first or self._mark() != mark:
                return
            assert self._line is not None
            key, value, kind, before = access
            level, data = self._line.level, kind in (DATA, POSTED)
            known = Learned(key, kind != NO, data, before, value, result, then, level)
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[access] = known
        self.current, self.carried = known.then, True
        self.learned(known)

    # --- what the engine has done -------------------------------------------------------------

    def settle(self, number: int) -> None:
        """Bring the chips to the face that the engine has reached."""
        was, now = (self._faces[n - self._first] for n in (self.current, number))
        for chip, old, new in zip(self._chips, was, now, strict=True):
            if old is not new:
                chip.set_face(new)
        self.current = number


__all__ = ["DATA", "NO", "POSTED", "UNKNOWN", "YES", "Face", "Faced", "Faces", "Learned"]
