"""When a live transfer sends what: rounds over dirty pages until little enough is left.

A state machine without a clock of its own: it is given the time, and asked what comes next.  The
rules are QEMU's: bandwidth is measured and limited in slices of 100 ms; the machine is stopped when
what is left, after a fresh look at the dirty pages, fits into the downtime limit.  What fits is
judged by the slowest of the last slices, and the time that devices take is left for them.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from gossamer.base.data import Data
from gossamer.base.units import NS_PER_S, PAGE_SIZE, MiB
from gossamer.migrate.dirty import DirtyPages, Pages

SLICE_NS: Final = NS_PER_S // 10
"""Bandwidth is limited over so long."""
MOST_PAGES: Final = 4096
LEAST_PAGES: Final = 16
"""Pages sent in one step."""


SLICES: Final = 5
"""Of so many slices the slowest counts: a host that is shared is quick for a moment."""
LEAST_PART: Final = 2
"""One part in so many of the downtime limit is for memory, whatever the devices take."""
FIRST_NS: Final = NS_PER_S // 100
FIRST_BYTES: Final = 8 * MiB
"""Before the first slice is over, bandwidth is known when so much was sent in no less than this."""
SOON_S: Final = 0.0003
FEW_PAGES: Final = 32
"""What goes in so long, or is so little, need not become less."""
SHRINKS: Final = 0.7
MOST_EXTRA: Final = 8
"""When what is left fits, so many rounds more are made while each leaves that part at the most."""


class Parameters(Data, frozen=False):
    """What the user may choose; names and defaults are QEMU's.

    `max_bandwidth` in bytes a second (0: none), `downtime_limit` in ms, throttles in percent;
    `multifd_channels` are the further connections, `announce_*` ms and rounds of frames behind an
    arrival (`control.announcing`).  `max_postcopy_bandwidth` (0: none) limits what
    follows the machine without being asked for.
    """

    max_bandwidth: int = 128 * MiB
    downtime_limit: int = 300
    throttle_trigger_threshold: int = 50
    cpu_throttle_initial: int = 20
    cpu_throttle_increment: int = 10
    max_cpu_throttle: int = 99
    multifd_channels: int = 2
    multifd_compression: str = "none"
    multifd_zlib_level: int = 1
    multifd_zstd_level: int = 1
    announce_initial: int = 50
    announce_max: int = 550
    announce_rounds: int = 5
    announce_step: int = 100
    max_postcopy_bandwidth: int = 0

    @property
    def multifd_level(self) -> int:
        """Of the method that is chosen."""
        return (
            self.multifd_zstd_level
            if self.multifd_compression == "zstd"
            else self.multifd_zlib_level
        )


class Chunk(Data):
    """Pages to send now."""

    pages: Pages


class Pause(Data):
    """The bandwidth of this slice is used up: go on at `until_ns`."""

    until_ns: int


class Sync(Data):
    """What the guest has written must be looked at: call `sync` while it stands still."""


class Switch(Data):
    """Little enough is left: stop the machine and send the rest."""


Step = Chunk | Pause | Sync | Switch


class Figures(Data, frozen=False):
    """Of a transfer, as `query-migrate` shows them: bytes, pages, ms."""

    total: int = 0
    transferred: int = 0
    remaining: int = 0
    duplicate: int = 0
    normal: int = 0
    dirty_sync_count: int = 0
    dirty_pages_rate: int = 0
    bytes_per_second: int = 0
    setup_time: int = 0
    total_time: int = 0
    downtime: int | None = None
    expected_downtime: int = 0
    throttle: int = 0
    postcopy_requests: int = 0


class Precopy:
    """The rounds of one transfer.  A thread may have it while the guest runs, but for `sync`."""

    def __init__(
        self, dirty: DirtyPages, parameters: Parameters, now: int, *, auto_converge: bool = False
    ) -> None:
        self.dirty, self.parameters, self.auto_converge = dirty, parameters, auto_converge
        self.figures = Figures(total=sum(b.size for b in dirty.blocks), dirty_sync_count=1)
        self.figures.remaining = dirty.left * PAGE_SIZE
        self.figures.expected_downtime = parameters.downtime_limit
        self._slice = now
        self._slice_sent = self._paused_until = 0
        self._left_before, self._extra = self.dirty.left, 0
        #: Bytes a second over the last slice: shorter, a buffer on the way would be measured.
        self.bandwidth = 0.0
        self._lately: deque[float] = deque(maxlen=SLICES)
        #: What a standstill takes beside memory.
        self._reserved_ns = 0
        self._synced, self._period_sent, self._high = now, 0, 0
        #: The dirty pages are as of now.
        self._looked = False

    def wrote(self, count: int) -> None:
        """A step's bytes are with the host's network."""
        self._slice_sent += count
        self._period_sent += count
        figures = self.figures
        figures.transferred += count
        figures.remaining = self.dirty.left * PAGE_SIZE

    def step(self, now: int) -> Step:
        """What comes next at `now` (ns of the host's monotonic clock)."""
        if now < self._paused_until:
            return Pause(self._paused_until)
        if now - self._slice >= SLICE_NS:
            self.bandwidth = self._slice_sent * NS_PER_S / (now - self._slice)
            self._lately.append(self.bandwidth)
            self.figures.bytes_per_second = int(self.bandwidth)
            self._slice, self._slice_sent = now, 0
        elif not self.bandwidth and self._first_is_long_enough(now):
            self.bandwidth = self._slice_sent * NS_PER_S / (now - self._slice)
            self._lately.append(self.bandwidth)
        limit = self.parameters.max_bandwidth * SLICE_NS // NS_PER_S
        if limit and self._slice_sent >= limit:
            self._paused_until = self._slice + SLICE_NS * self._slice_sent // limit
            return Pause(self._paused_until)
        if self._fits():
            if not self._looked and self._is_little():
                return Sync()
            if self._looked and self._good_enough():
                return Switch()
        self._looked = False
        most = MOST_PAGES if not limit else (limit - self._slice_sent) // PAGE_SIZE
        return Chunk(self.dirty.take(max(LEAST_PAGES, min(most, MOST_PAGES))))

    def _first_is_long_enough(self, now: int) -> bool:
        """Whether so much was sent that what lies in a buffer on the way does not count."""
        return self._slice_sent >= FIRST_BYTES and now - self._slice >= FIRST_NS

    def _fits(self) -> bool:
        """Whether what is known to be left fits into the downtime that is allowed."""
        limit = self.parameters.downtime_limit * NS_PER_S // 1000
        allowed = max(limit - self._reserved_ns, limit // LEAST_PART)
        sure = min(self._lately, default=0.0)
        return self.dirty.left * PAGE_SIZE * NS_PER_S <= sure * allowed

    def reserve(self, ns: int) -> None:
        """So much of the downtime goes whatever is left of memory."""
        self._reserved_ns = ns

    def _good_enough(self) -> bool:
        """Whether another round would not make what is left much less."""
        left, before = self.dirty.left, self._left_before
        self._left_before = left
        self._extra += 1
        return self._is_little() or left > SHRINKS * before or self._extra > MOST_EXTRA

    def _is_little(self) -> bool:
        """Whether what is known to be left goes in next to no time."""
        return self.dirty.left <= max(FEW_PAGES, self.bandwidth * SOON_S / PAGE_SIZE)

    def sync(self, now: int) -> None:
        """Look at the dirty pages anew, and judge whether the guest is too fast."""
        self._looked = True
        written = self.dirty.sync()
        figures, took = self.figures, max(now - self._synced, 1)
        figures.dirty_sync_count += 1
        figures.remaining = self.dirty.left * PAGE_SIZE
        if took >= SLICE_NS // 10:
            figures.dirty_pages_rate = written * NS_PER_S // took
        if self.bandwidth:
            figures.expected_downtime = int(figures.remaining * 1000 / self.bandwidth)
        self._converge(written * PAGE_SIZE)
        self._synced, self._period_sent = now, 0

    def _converge(self, written: int) -> None:
        """Throttle the guest when twice it dirtied more than the part allowed of what was sent."""
        p = self.parameters
        if not self.auto_converge or not self._period_sent:
            return
        if written * 100 <= self._period_sent * p.throttle_trigger_threshold:
            return
        self._high += 1
        if self._high >= 2:
            self._high = 0
            more = self.figures.throttle + p.cpu_throttle_increment
            first = self.figures.throttle == 0
            self.figures.throttle = min(
                p.cpu_throttle_initial if first else more, p.max_cpu_throttle
            )
