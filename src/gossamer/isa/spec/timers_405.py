"""The 405's timers: PIT, fixed-interval timer, watchdog; all count with the time base.

Source: PPC405 core user's manual chapter 11.  Times are ticks since virtual time 0, as those of the
time base, so nothing has to count:

- `pit_zero`: the tick at which PIT reaches zero, 0 while it stands still.  With auto-reload, once
  its status bit is set, it may lie behind: PIT is zero then every `pit_reload` ticks from it on.
- FIT and watchdog time out when a bit of the time base goes from 0 to 1; nothing is kept of them.
"""

from __future__ import annotations

from typing import Final

from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, choose, const, eq, low, ltu, ne, select, trunc, udiv, zext
from gossamer.isa.interrupts import Irq405
from gossamer.isa.spec import timebase

# TCR
WP_SHIFT: Final = 30
WRC: Final = 0x3000_0000
WRC_SHIFT: Final = 28
WIE: Final = 0x0800_0000
PIE: Final = 0x0400_0000
FP_SHIFT: Final = 24
FIE: Final = 0x0080_0000
ARE: Final = 0x0040_0000
TCR_BITS: Final = 0xFFC0_0000
# TSR
ENW: Final = 0x8000_0000
WIS: Final = 0x4000_0000
WRS: Final = 0x3000_0000
PIS: Final = 0x0800_0000
FIS: Final = 0x0400_0000
TSR_BITS: Final = 0xFC00_0000

#: Beside the kind of a reset in `irq`: the watchdog asks for it.
BY_WATCHDOG: Final = 4

#: The bit of the time base that times out, for periods 0 to 3: the period is twice its weight.
FIT_BITS: Final = (8, 12, 16, 20)
WATCHDOG_BITS: Final = (16, 20, 24, 28)


def zero_tick(s: Body, now: Expr) -> Expr:
    """The tick, from `now` on, at which PIT is zero next; 0 while it stands still."""
    zero, period = s.pit_zero, zext(s.pit_reload, 64)
    behind = ne(zero, 0) & ~ltu(now, zero)
    safe = select(eq(period, 0), const(1, 64), period)
    ahead = zero + (udiv(now - zero, safe) + 1) * period
    return choose(behind, ahead, zero)


def read_pit(s: Body) -> Expr:
    now = timebase.ticks(s)
    zero = zero_tick(s, now)
    return select(eq(zero, 0), const(0, 32), low(zero - now))


def write_pit(s: Body, value: Expr) -> None:
    """It begins to count; zero stops it."""
    s.pit_reload = value
    at = timebase.ticks(s) + zext(value, 64)
    s.pit_zero = select(eq(value, 0), const(0, 64), at)
    s.effect("timer")


def drive(s: Body, tcr: Expr, tsr: Expr) -> None:
    """The levels that status and enable bits give."""
    for source, status, enable in (
        (Irq405.PIT, PIS, PIE),
        (Irq405.FIT, FIS, FIE),
        (Irq405.WATCHDOG, WIS, WIE),
    ):
        level = ne(tsr & status, 0) & ne(tcr & enable, 0)
        s.write("irq", source, zext(level, 8))


def write_tcr(s: Body, value: Expr) -> None:
    """WRC can only be set; a reset alone clears it."""
    s.pit_zero = zero_tick(s, timebase.ticks(s))
    s.tcr = new = value & TCR_BITS | s.tcr & WRC
    drive(s, new, s.tsr)
    s.effect("timer")


def write_tsr(s: Body, value: Expr) -> None:
    """Ones clear."""
    s.pit_zero = zero_tick(s, timebase.ticks(s))
    s.tsr = new = s.tsr & ~(value & TSR_BITS)
    drive(s, s.tcr, new)
    s.effect("timer")


# --- the time base --------------------------------------------------------------------------------


def chosen(field: Expr, bits: tuple[int, ...]) -> Expr:
    """The weight of the bit of the time base that a period of TCR (2 bits) chooses, 64 bits."""
    weight = const(1 << bits[0], 64)
    for n in range(1, 4):
        weight = select(eq(field, n), const(1 << bits[n], 64), weight)
    return weight


def watchdog_step(tcr: Expr, tsr: Expr) -> tuple[Expr, Expr]:
    """TSR after a time-out of the watchdog, and the reset that it asks for (2 bits, 0: none)."""
    enabled, waiting = ne(tsr & ENW, 0), ne(tsr & WIS, 0)
    kind = select(enabled & waiting, trunc(tcr >> WRC_SHIFT, 2), const(0, 2))
    return tsr | select(enabled, const(WIS, 32), const(ENW, 32)), kind


def write_timebase(s: Body, old: Expr, new: Expr) -> None:
    """A bit that goes from 0 to 1 so is as good as one that counts there."""
    s.tb_offset = new - timebase.ticks(s)
    rising = ~old & new
    fit = ne(rising & chosen(trunc(s.tcr >> FP_SHIFT, 2), FIT_BITS), 0)
    watchdog = ne(rising & chosen(trunc(s.tcr >> WP_SHIFT, 2), WATCHDOG_BITS), 0)
    tsr = s.tsr | select(fit, const(FIS, 32), const(0, 32))
    stepped, kind = watchdog_step(s.tcr, tsr)
    s.tsr = new_tsr = select(watchdog, stepped, tsr)
    drive(s, s.tcr, new_tsr)
    s.write("irq", Irq405.RESET, zext(kind, 8) | BY_WATCHDOG, watchdog & ne(kind, 0))
    s.effect("timer")


def write_tbl(s: Body, value: Expr) -> None:
    old = timebase.timebase(s)
    write_timebase(s, old, (old >> 32) << 32 | zext(value, 64))


def write_tbu(s: Body, value: Expr) -> None:
    old = timebase.timebase(s)
    write_timebase(s, old, zext(value, 64) << 32 | zext(low(old), 64))
