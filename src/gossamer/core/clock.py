"""Virtual time and alarms.

One clock, in ns, moved only by the run loop.  Alarms due at the same time fire in the order of
their owners' paths, then of their handlers' names, so that order never depends on arming history.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

from gossamer.base.units import Ns

NEVER: Final = Ns(1 << 62)
STALE: Final = 64
"""Entries that the heap keeps, beside two for each alarm, before those of no use are dropped."""


class Alarm:
    """A call due at a point of virtual time; `when` is -1 while not armed.

    Inside `fire`, `due` is the time it was due at: what a periodic alarm counts on from.
    """

    __slots__ = ("_clock", "due", "fire", "key", "private", "quiet", "serial", "skip", "when")

    def __init__(self, clock: Clock, fire: Callable[[], None]) -> None:
        self._clock, self.fire = clock, fire
        self.quiet: Callable[[], bool] | None = None
        self.skip: Callable[[int], None] = lambda before: None
        self.key = ("", getattr(fire, "__name__", ""))
        self.serial = 0
        #: Changes nothing but its owner, which is no chip on a bus (the CPU's decrementer).
        self.private = False
        self.when = self.due = -1

    @property
    def armed(self) -> bool:
        return self.when >= 0

    def set(self, when: int) -> None:
        """Be due at `when` ns (a time already passed: at the next boundary)."""
        self.when = max(when, 0)
        self._clock.arm(self)

    def cancel(self) -> None:
        self.when = -1
        self.serial += 1
        self._clock.moves += 1


class Clock:
    """The machine's virtual clock.

    `now` is exact whenever a device is called: the engine brings it up to date before each MMIO
    access and each alarm.  `deadline_moved` is called when a deadline appears before `horizon`: the
    time up to which the CPU is running.
    """

    def __init__(self) -> None:
        self._now = 0
        self._heap: list[tuple[int, tuple[str, str], int, Alarm]] = []
        self.alarms: list[Alarm] = []
        self._skippable: list[Alarm] = []
        self.read_now: Callable[[], int] | None = None
        self.deadline_moved: Callable[[], None] = lambda: None
        self.horizon: int = NEVER
        #: How often alarms were armed or cancelled, and how often one that may change chips fired.
        self.moves = self.fired = 0

    @property
    def now(self) -> Ns:
        """The virtual time, ns."""
        return Ns(self._now if self.read_now is None else self.read_now())

    def alarm(self, fire: Callable[[], None]) -> Alarm:
        """A new alarm, not armed."""
        made = Alarm(self, fire)
        made.key = ("", f"{len(self.alarms):06}")  # unique until the composition names it
        self.alarms.append(made)
        return made

    def arm(self, alarm: Alarm) -> None:
        alarm.serial += 1
        self.moves += 1
        heapq.heappush(self._heap, (alarm.when, alarm.key, alarm.serial, alarm))
        if len(self._heap) > STALE + 2 * len(self.alarms):
            self._drop_stale()
        if alarm.when < self.horizon:
            self.deadline_moved()

    def _drop_stale(self) -> None:
        """Forget entries of alarms that were armed again or cancelled since.

        A guest may do that as often as it likes; what is left is at most one entry an alarm.
        """
        self._heap = [e for e in self._heap if (e[0], e[2]) == (e[3].when, e[3].serial)]
        heapq.heapify(self._heap)

    # --- while the CPU idles ------------------------------------------------------------------

    def may_skip(
        self, alarm: Alarm, quiet: Callable[[], bool], skip: Callable[[int], None]
    ) -> None:
        """An alarm that comes again and again, and often for nothing, wakes no idle host.

        `quiet`: whether it would do nothing but count now: it moves no line, and nothing can see
        when it fires while the CPU is idle; `skip(before)`: do at once what firing before then
        would have done, or some of it.
        """
        alarm.quiet, alarm.skip = quiet, skip
        self._skippable.append(alarm)

    def _quiet(self) -> list[Alarm]:
        return [a for a in self._skippable if a.when >= 0 and a.quiet is not None and a.quiet()]

    def _next_beside(self, quiet: list[Alarm]) -> int:
        """When the first alarm is due that is none of `quiet`."""
        beside = (
            when
            for when, _, serial, alarm in self._heap
            if when == alarm.when and serial == alarm.serial and alarm not in quiet
        )
        return min(beside, default=NEVER)

    @property
    def idle_deadline(self) -> int:
        """When an idle CPU has to be looked at; quiet alarms do not count."""
        quiet = self._quiet()
        return self._next_beside(quiet) if quiet else self.deadline

    def skip_quiet(self, until: int) -> None:
        """Pass over quiet alarms, up to `until` and before anything else is due."""
        quiet = self._quiet()
        if quiet:
            before = min(until, self._next_beside(quiet))
            for alarm in quiet:
                if alarm.when < before:
                    alarm.skip(before)

    @property
    def deadline(self) -> int:
        """When the next alarm is due; NEVER without one."""
        heap = self._heap
        while heap and (heap[0][3].when != heap[0][0] or heap[0][3].serial != heap[0][2]):
            heapq.heappop(heap)
        return heap[0][0] if heap else NEVER

    def advance(self, to: int) -> None:
        """Move to `to` ns, firing what is due on the way, each at its own time or at `to`'s past.

        The run loop stops at each deadline, so `to` never passes one by more than an instruction.
        """
        self.set(to)
        read, self.read_now = self.read_now, None  # no instruction is executed meanwhile
        try:
            while self.deadline <= to:
                when, _, _, due = heapq.heappop(self._heap)
                due.cancel()
                due.due = when
                self.fired += not (due.private or (due.quiet is not None and due.quiet()))
                due.fire()
        finally:
            self.read_now = read

    def set(self, now: int) -> None:
        """Set the time without firing anything (load, run loop)."""
        self._now = now
