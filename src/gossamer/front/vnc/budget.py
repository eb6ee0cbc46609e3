"""How much of a machine's time its viewers take: a twentieth at the most, however fast the host is.

The machine has had the CPU time of its thread, and the time that the loop waited with nothing to
do.  What a look at the screen, pixels, encoding and sending cost is CPU time too, of whichever
thread: twenty times as much must have gone by before the next one.  So a host that is slow, or
busy with others, shows fewer pictures; the guest goes on as without a viewer, but for that part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.core import host

SHARE: Final = 20


class Budget:
    """`had_ns`: how much time the machine has had so far; `cpu_ns`: CPU time of the thread."""

    def __init__(
        self, had_ns: Callable[[], int], cpu_ns: Callable[[], int] = host.thread_cpu_ns
    ) -> None:
        self._had_ns, self.cpu_ns = had_ns, cpu_ns
        self._due = 0

    @property
    def left_ns(self) -> int:
        """How much time the machine has to have before more may be done for viewers."""
        return max(self._due - self._had_ns(), 0)

    def spent(self, ns: int) -> None:
        """So much CPU time was taken."""
        self._due = max(self._due, self._had_ns()) + SHARE * ns
