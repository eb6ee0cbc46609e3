"""What has happened in an act of the story: its hops, and what the guest said."""

from __future__ import annotations

from typing import Final

from gossamer.base.data import Data, field
from gossamer.machines.guests.watcher import TICK_HZ

NS_A_TICK: Final = 1_000_000_000 // TICK_HZ
COMPLAINTS: Final = ("no tick for ", "time ran back by ", "old code was executed")
"""How the guest's own words begin when it has noticed something (`machines.guests.watcher`)."""


class Hop(Data, frozen=False):
    """One stay in one process."""

    number: int
    expected: int = 0
    seen: int = 0
    size: int = 0
    save_ms: float = 0.0
    load_ms: float = 0.0

    @property
    def lost(self) -> int:
        """Ticks that should have come and did not; one may be due this very moment."""
        gone = self.expected - self.seen
        return gone if gone > 1 else 0


class Act(Data, frozen=False):
    """A machine and its hops so far; `lossy` saves forget what QEMU 7.2's forget."""

    machine: str
    lossy: bool
    hops: list[Hop] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    missed: int = 0
    """Ticks that the guest itself knows to have come too late to count."""
    _tail: str = ""
    _origin: tuple[int, int] | None = None
    """Virtual ns at which a tick was due, and which one it was."""

    @property
    def last(self) -> Hop:
        return self.hops[-1]

    @property
    def whole(self) -> bool:
        """Whether the guest ran, every tick was counted, and it noticed nothing."""
        last = self.last
        return bool(last.seen) and not last.lost and not self.missed and not self.complaints

    def wrote(self, text: str) -> None:
        """The guest wrote something."""
        *whole, self._tail = (self._tail + text).split("\n")
        for line in (piece.rstrip("\r") for piece in whole):
            self.lines.append(line)
            if line.startswith(COMPLAINTS):
                self.complaints.append(line)
            words = line.split()
            if words[:1] == ["tick"] and words[-2:-1] == ["missed"] and words[-1].isdigit():
                self.missed = int(words[-1])

    def counted(self, clock_ns: int, ticks: int, since_ns: int = 0) -> None:
        """The guest has counted `ticks` at virtual `clock_ns`, `since_ns` after one was due."""
        if self._origin is None:
            if not ticks:
                return
            self._origin = clock_ns - since_ns, ticks
        start, first = self._origin
        self.last.expected, self.last.seen = (clock_ns - start) // NS_A_TICK + first, ticks
