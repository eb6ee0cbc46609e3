"""A serial port: the character device that it is bound to, those who watch, what was typed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from gossamer.front.chardev import Chardev

INPUT: Final = 256
"""Typed bytes that wait for room in a serial port."""
RECENT: Final = 64 << 10
"""Bytes of output that are kept for a watcher that comes later."""


class Channel:
    """One serial port: its device, and what was typed and not yet taken."""

    def __init__(self, number: int, device: Chardev) -> None:
        self.number, self.device = number, device
        self.typed: deque[int] = deque()
        self.watchers: list[Callable[[bytes], None]] = []
        self.recent = bytearray()
        #: Whether what is written is kept for watchers.
        self.keeps = False
        device.receive = self.typed.extend
        device.room = lambda: INPUT - len(self.typed)

    def write(self, data: bytes) -> None:
        """The guest has sent bytes."""
        self.device.write(data)
        if self.keeps:
            self.recent += data
            if len(self.recent) > 2 * RECENT:
                del self.recent[:-RECENT]
            for watcher in self.watchers:
                watcher(data)
