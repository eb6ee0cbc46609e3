"""What every backend is: a source of frames with file descriptors, which never blocks."""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

MOST_FRAME: Final = 68 << 10
"""Bytes of a frame; longer ones are none.  As QEMU: 4 KiB beside the largest packet of IP."""
MOST_WAITING: Final = 1 << 20
"""Bytes of frames that wait to leave; more are lost, as on a wire that is busy."""
MOST_PENDING: Final = 64
"""Frames that were read and wait for room in the card; then reading stops."""
ENDED: Final = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Backend:
    """One end of a cable.  `deliver` gives the card frames: how many it took, the rest has no room.

    `changed` reports that a connection was made (with its place) or has ended (None).
    """

    kind = ""

    def __init__(self, name: str) -> None:
        self.name = name
        self.deliver: Callable[[Sequence[bytes]], int] = len
        self.changed: Callable[[str | None], None] = lambda place: None
        self.pending: deque[bytes] = deque()
        self.dropped = 0

    @property
    def info(self) -> str:
        """As QEMU's ``info network`` shows it."""
        return ""

    def events(self) -> Mapping[int, int]:
        """Poll masks by descriptor."""
        return {}

    def handle(self, fd: int, mask: int) -> None:
        """A descriptor is ready."""

    def send(self, frame: bytes) -> None:
        """A frame of the guest's."""

    def flush(self) -> None:
        """Write what the host takes at once."""

    def take(self, frames: Iterable[bytes]) -> None:
        """Frames for the guest: delivered in order, now or when there is room."""
        self.pending += [frame for frame in frames if 0 < len(frame) <= MOST_FRAME]
        Backend.retry(self)

    @property
    def reads(self) -> bool:
        """Whether it should take more from its peer."""
        return len(self.pending) < MOST_PENDING

    def retry(self) -> None:
        """Deliver what waits, as far as there is room."""
        while self.pending and (taken := self.deliver(self.pending)):
            for _ in range(taken):
                self.pending.popleft()

    def close(self) -> None:
        """Give everything back."""
