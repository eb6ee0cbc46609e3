"""Types for numbers that must not be mixed up."""

from __future__ import annotations

from typing import Final, NewType

Ns = NewType("Ns", int)
"""A point or span of virtual time, in nanoseconds."""
Hz = NewType("Hz", int)
"""A frequency in ticks a second."""
Ea = NewType("Ea", int)
"""An effective address, as an instruction computes it."""
Ra = NewType("Ra", int)
"""A real (physical) address."""

NS_PER_S: Final = 1_000_000_000
KiB: Final = 1 << 10
MiB: Final = 1 << 20
GiB: Final = 1 << 30
PAGE_SIZE: Final = 4096


def ticks_at(clock: int, frequency: int) -> int:
    """Whole ticks of `frequency` that have passed when the clock shows `clock` ns."""
    return clock * frequency // NS_PER_S


def tick_time(tick: int, frequency: int) -> Ns:
    """The first ns at which `ticks_at` gives `tick`."""
    return Ns(-(-tick * NS_PER_S // frequency))
