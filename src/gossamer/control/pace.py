"""How fast virtual time goes: a fixed time an instruction, or along with the host's clock."""

from __future__ import annotations

from typing import Final

from gossamer.core.clock import NEVER
from gossamer.engine.processor import Processor

#: Rate of one ns an instruction.
UNIT: Final = 1 << 20
_FASTEST: Final = UNIT * 4096
_SLOWEST: Final = UNIT // 64
_LEAST_PER_MS: Final = 250
_CATCHING_UP: Final = 4
"""How many times real time the guest's goes, at the most, after the host has been away."""


class Pace:
    """Steers a processor's rate.

    `shift` as of ``-icount``: an instruction takes 2**shift ns, always; None: virtual time follows
    the host's, by small changes of the rate at the ends of slices only.
    """

    def __init__(self, processor: Processor, shift: int | None, host_ns: int) -> None:
        self.processor, self.shift = processor, shift
        self.per_ms = 100_000
        self.restart(host_ns)
        processor.set_rate(UNIT if shift is None else UNIT << shift)

    def restart(self, host_ns: int) -> None:
        """Virtual time goes on from where it is, now (after a pause or a load)."""
        self._host, self._virtual = host_ns, self.processor.clock.now

    def target(self, host_ns: int) -> int:
        """Where virtual time should be when the host's clock shows `host_ns`."""
        return self._virtual + host_ns - self._host

    def measured(self, instructions: int, host_ns: int) -> None:
        """A slice took that long."""
        if instructions and host_ns:
            seen = instructions * 1_000_000 // host_ns
            # Half of each new figure, and at most four times the old: a short slice may mislead.
            mean = (self.per_ms + min(seen, 7 * self.per_ms)) // 2
            self.per_ms = max(mean, _LEAST_PER_MS)

    def instructions_in(self, host_ns: int) -> int:
        """How many instructions are likely to be executed in so much host time."""
        return max(1000, self.per_ms * host_ns // 1_000_000)

    def steer(self, host_ns: int, slice_ns: int) -> int:
        """Before a slice of about `slice_ns`: choose the rate that makes virtual time meet.

        Gives the virtual time at which the slice ends even when it took less host time than
        expected, so that a phase of quick instructions does not leap ahead.
        """
        if self.shift is not None:
            return NEVER
        behind = self.target(host_ns) - self.processor.clock.now
        if abs(behind) > 200_000_000:  # the host was away: the guest does not see it
            self.restart(host_ns)
            behind = 0
        goal = min(max(slice_ns + behind, slice_ns // 8), _CATCHING_UP * slice_ns)
        rate = goal * UNIT // self.instructions_in(slice_ns)
        self.processor.set_rate(min(max(rate, _SLOWEST), _FASTEST))
        return self.processor.clock.now + goal
