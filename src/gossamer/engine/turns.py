"""Several CPUs on one clock: they run in turn, one at a time.

There is one line of time and one count: an instruction of any CPU is one instruction of the
machine.  A turn is `TURN` instructions; a CPU that waits gives its turn away and gets none, so that
one which works alone goes on; when all wait, time goes on to the next alarm.  Whose turn it is and
how much of it is over is state, so that a machine that is cut, saved and loaded goes on as one that
is not.

At each change of turn the CPU that leaves loses its reservation.  The one that comes keeps its
translations but for those that another has changed meanwhile (`engine.runtime_journal`); decoded
words are one set for all.  So nothing depends on what an engine happens to keep.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from gossamer.core.clock import NEVER, Clock
from gossamer.cpu.cpu import Cpu
from gossamer.cpu.msr import MSR_EE
from gossamer.engine.processor import Processor
from gossamer.engine.protocol import Engine
from gossamer.engine.tier0 import Tier0

if TYPE_CHECKING:
    from gossamer.engine.stops import Stops, StopsOfAll

#: Instructions of a turn.
TURN: Final = 1 << 16


class Turns(Processor):
    """The run loop of several CPUs; `cpu` and `engine` are those whose turn it is."""

    def __init__(self, members: Sequence[tuple[Cpu, Engine]], clock: Clock) -> None:
        self.members = tuple(members)
        super().__init__(*self.members[0], clock)
        #: Number of the CPU whose turn it is, and instructions of it that are over.
        self.turn = self.used = 0
        count = len(self.members)
        #: Of each CPU the others, the one whose turn comes next first.
        self._others = [[(n + k) % count for k in range(1, count)] for n in range(count)]
        #: Numbers of CPUs that get no turn for now (`hold`).
        self.held: frozenset[int] = frozenset()
        clock.deadline_moved = self._exit
        for cpu, engine in self.members:
            cpu.changed = self._exit
            engine.effect, engine.timer_moved = self._effect, cpu.decrement.set
        self._attach()

    def _exit(self) -> None:
        self.engine.request_exit()

    def debug(self) -> Stops | StopsOfAll:
        """Breakpoints and watchpoints of every CPU."""
        if self.stops is None:
            from gossamer.engine.stops import StopsOfAll  # noqa: PLC0415 - most runs need none

            engines = [engine for _, engine in self.members if isinstance(engine, Tier0)]
            assert len(engines) == len(self.members), "the reference engine has none"
            self.stops = StopsOfAll(engines)
        return self.stops

    def give(self, turn: int, used: int = 0) -> None:
        """Let it be the turn of CPU number `turn`, of which `used` instructions are over."""
        if turn != self.turn:
            self.cpu.block.set("reserved", 0)
            before, self.turn = self.engine, turn
            self.cpu, self.engine = self.members[turn]
            self.engine.take_over(before)
            self._attach()
            self.engine.take_interrupts(not self.holds_interrupts)
            self._watching_data = False  # of this engine: each has its own
            self.engine.bypass(False)
            self.breakpoints_changed()
        self.used = used

    def hold(self, numbers: Iterable[int]) -> None:
        """Let these CPUs, and no others, stand still between two instructions; never all."""
        self.held = frozenset(numbers)
        assert len(self.held) < len(self.members), self.held
        if self.turn in self.held:
            self.give(next(n for n in self._others[self.turn] if n not in self.held))

    def pass_turn(self) -> None:
        """The CPU whose turn it is gives up the rest of it: for what it has called just now."""
        self.used = TURN

    def _call_hypervisor(self) -> None:
        """It may have given another CPU the turn."""
        super()._call_hypervisor()
        self.engine.request_exit()

    def _attach(self) -> None:
        self.engine.attach()
        # The line of learned accesses goes to one CPU, and it need not be its turn.
        self.engine.memory.faces.learned = None

    def _execute(self, end: int) -> None:
        while self._take_turn(end):
            pass

    def _take_turn(self, end: int) -> bool:
        """What is left of this turn, up to `end`; whether the next one may follow at once."""
        engine = self.engine
        start = engine.count
        last = end if self._next() is None else min(end, start + TURN - self.used)
        super()._execute(last)
        self.used += engine.count - start
        if self.used < TURN:
            return False
        following = self._next()
        if following is None:
            self.used = TURN - 1  # it goes on until another has something to do
            return False
        self.give(following)
        return self._goes_straight_on(end)

    def _goes_straight_on(self, end: int) -> bool:
        """Whether the run loop would do nothing between two turns but begin the next one."""
        engine, deadline = self.engine, self.clock.deadline
        return (
            engine.count < end
            and (deadline >= NEVER or engine.count_at(deadline) >= end)
            and not (self._stop or self.stops is not None or self.cpu.block.any("irq"))
        )

    def _next(self) -> int | None:
        """The next CPU that has something to do, but for the one whose turn it is."""
        for n in self._others[self.turn]:
            if n not in self.held:
                cpu, _ = self.members[n]
                if not cpu.waiting or cpu.pending() is not None:
                    return n
        return None

    def _idle(self, deadline: int, until_ns: int) -> bool:
        """The next CPU that has something to do takes the turn; none: all wait."""
        following = self._next()
        if following is not None:
            self.give(following)
            return True
        return super()._idle(deadline, until_ns)

    def _can_wake(self) -> bool:
        return any(cpu.block.get("msr") & MSR_EE for cpu, _ in self.members)
