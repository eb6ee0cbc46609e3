"""The `timer` section: the virtual clock.  Source: facts section 6, `timer` v2."""

from __future__ import annotations

from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.engine.processor import Processor
from gossamer.state.codec import I64, U64, Unused
from gossamer.state.declare import wiring
from gossamer.state.layout import NOTHING, Constant, View, subsection


def _put_clock(timer: Timer, value: int) -> None:
    if value < 0:
        raise ValueError(f"the virtual clock must not be negative, got {value}")
    timer.processor.set_clock(value)


def _put_count(timer: Timer, value: int) -> None:
    now = timer.clock.now
    timer.processor.engine.count = value
    timer.processor.set_clock(now)


class Timer(Device):
    """Virtual time in ns and, in our streams, the number of instructions executed.

    The fields of `-icount` (bias, count) are read from QEMU's streams and not needed.
    """

    vmsd = "timer"
    version = 2
    minimum = 1
    layouts = {
        "": [
            View("cpu_ticks_offset", I64, lambda t: 0, lambda t, value: None),
            Constant("unused", Unused(8)),
            View("cpu_clock_offset", I64, lambda t: t.clock.now, _put_clock, since=2, clock=True),
        ]
    }
    counted = subsection(
        "timer/gossamer",
        ours=True,
        lost=NOTHING,  # the number of instructions matters to -icount alone
        layout=[View("count", U64, lambda t: t.processor.engine.count, _put_count)],
    )
    icount = subsection(
        "timer/icount",
        layout=[
            View("qemu_icount_bias", I64, lambda t: 0, lambda t, value: None),
            View("qemu_icount", I64, lambda t: 0, lambda t, value: None),
        ],
    )

    processor: Processor = wiring()

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.idstr = "timer"

    @icount.needed
    def icount_needed(self) -> bool:
        """Read only."""
        return False

    def reset(self) -> None:
        """Virtual time goes on through a system reset."""
