"""What the clock does across the time that a machine lay in a save: one policy for all timers.

`freeze`: the guest sees no gap.  `continue`: real time has passed, for every clock alike.
`step`: as freeze, but the real-time clock chip follows, as after sleep.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.units import NS_PER_S
from gossamer.core.clock import Alarm
from gossamer.devices.cuda import Cuda
from gossamer.machines.config import CLOCK_POLICIES, unknown
from gossamer.machines.machine import Machine

FREEZE, CONTINUE, STEP = CLOCK_POLICIES
#: So often in a row must an alarm come again after the same time to be taken for periodic.
REPEATS: Final = 16


def check_policy(policy: str) -> str:
    if policy not in CLOCK_POLICIES:
        raise unknown("clock policy", policy, CLOCK_POLICIES)
    return policy


def pass_downtime(m: Machine, policy: str, downtime_ns: int) -> None:
    """Carry out `policy` for `downtime_ns` (below zero, by a wrong date: none)."""
    downtime = max(downtime_ns, 0)
    if policy == CONTINUE:
        catch_up(m, m.clock.now + downtime)
    elif policy == STEP:
        step_rtc(m, downtime)


def step_rtc(m: Machine, downtime_ns: int) -> None:
    """Put the clock chip on, to the second that it would have come to."""
    from gossamer.devices.m48t59 import M48t59  # noqa: PLC0415 - of one board

    now = int(m.clock.now)
    for part in m.parts:
        moved = (now + downtime_ns) // NS_PER_S - now // NS_PER_S
        if isinstance(part.device, M48t59):
            part.device.epoch += moved
        elif isinstance(part.device, Cuda):
            part.device.tick_offset = (part.device.tick_offset + moved) & 0xFFFF_FFFF


def catch_up(m: Machine, to: int) -> None:
    """Move virtual time on to `to` while the CPU stands still, alarms firing on the way.

    The CPU serves no interrupts meanwhile, so an alarm that comes again and again does nothing
    new: after `REPEATS` equal periods the rest are skipped at once, an even number of them (a
    timer may toggle something).
    """
    clock, processor = m.clock, m.processor
    history: dict[Alarm, tuple[int, int]] = {}
    while clock.deadline <= to:
        when = clock.deadline
        due = [alarm for alarm in clock.alarms if alarm.armed and alarm.when == when]
        processor.set_clock(max(when, int(clock.now)))
        clock.advance(when)
        for alarm in due:
            if not alarm.armed:
                history.pop(alarm, None)
                continue
            period = alarm.when - when
            last, count = history.get(alarm, (period, 0))
            count = count + 1 if period == last and period > 0 else 0
            history[alarm] = period, count
            if count >= REPEATS:
                skipped = max((to - alarm.when) // period, 0) & ~1
                alarm.set(alarm.when + skipped * period)
    processor.set_clock(max(to, int(clock.now)))
