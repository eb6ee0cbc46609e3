"""The four timers of an OpenPIC: 31-bit down counters that really count, each with a toggle bit.

The clock is the KeyLargo's 4.16 MHz, which TFRR reports.  A counter reloads from its base count
when it reaches zero, flips its toggle and asks for service, so that its period is the base count.
Counts are formulas of (loaded count, load time, now) in whole ticks of the free-running clock:
nothing accumulates rounding.  Source: OpenPIC Register Interface Specification 1.2, global timers;
docs page openpic.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.base.units import tick_time, ticks_at
from gossamer.core.clock import Alarm, Clock
from gossamer.state.codec import U32
from gossamer.state.declare import Stateful, alarm, u32, vtime, wiring
from gossamer.state.layout import View

FREQUENCY: Final = 4_160_000
"""Hz; the reset value of TFRR."""
INHIBIT: Final = 0x8000_0000
TOGGLE: Final = 0x8000_0000
COUNT: Final = 0x7FFF_FFFF


def _put_count(timer: OpenPicTimer, value: int) -> None:
    """A count of a stream; it holds from the stream's clock on unless our subsection says more."""
    timer.tccr = value
    timer.load_time = int(timer.clock.now)


class OpenPicTimer(Stateful):
    """A counter that showed `tccr` (toggle and count) at `load_time` ns.

    `tbcr` is the base count, its top bit inhibits counting.  `timer` is armed for the next end of
    a period while `idle` says that its interrupt is not pending.
    """

    vmsd = "openpic_timer"

    tccr: int = u32()
    tbcr: int = u32(INHIBIT)
    load_time: int = vtime()
    timer: Alarm = alarm("expired")

    clock: Clock = wiring()
    fire: Callable[[], None] = wiring()
    idle: Callable[[], bool] = wiring()

    layouts = {"": [View("tccr", U32, lambda timer: timer.current, _put_count), "tbcr"]}

    def __init__(self, clock: Clock, fire: Callable[[], None], idle: Callable[[], bool]) -> None:
        super().__init__()
        self.clock, self.fire, self.idle = clock, fire, idle

    def post_load(self, version: int) -> None:
        if not self.running:
            self.load_time = 0

    @property
    def running(self) -> bool:
        return not self.tbcr & INHIBIT and self.tbcr & COUNT != 0

    @property
    def _passed(self) -> int:
        """Whole ticks since the load."""
        since = ticks_at(self.load_time, FREQUENCY)
        return max(ticks_at(int(self.clock.now), FREQUENCY) - since, 0)

    @property
    def current(self) -> int:
        """GTCCR now."""
        if not self.running:
            return self.tccr
        base, passed = self.tbcr & COUNT, self._passed
        first = self.tccr & COUNT or base
        if passed < first:
            return self.tccr & TOGGLE | first - passed
        periods, into = divmod(passed - first, base)
        toggle = self.tccr & TOGGLE if periods % 2 else ~self.tccr & TOGGLE
        return toggle | base - into

    def write_base(self, value: int) -> None:
        """Write GTBCR: counting begins with the base when the inhibit bit falls.

        A new base of a counter that runs is used from its next reload.
        """
        starts = self.tbcr & INHIBIT and not value & INHIBIT
        self.tccr = value & COUNT if starts else self.current
        self.tbcr = value
        self.load_time = int(self.clock.now) if self.running else 0
        self.arm()

    def arm(self) -> None:
        """Arm the alarm for the end of the present period."""
        if self.running and self.idle():
            left = self.current & COUNT
            end = ticks_at(int(self.clock.now), FREQUENCY) + left
            self.timer.set(tick_time(end, FREQUENCY))
        elif self.timer.armed:
            self.timer.cancel()

    def expired(self) -> None:
        """The alarm's handler."""
        self.fire()
        self.arm()
