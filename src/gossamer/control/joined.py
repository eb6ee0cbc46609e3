"""Small pieces of a stream put together before they go to its channel."""

from __future__ import annotations

from typing import Final

from gossamer.migrate.outgoing import Outgoing

_SMALL: Final = 1 << 16
"""Bytes below which pieces are put together."""


class Joined:
    """Puts small pieces together before they go to `out`; `keep`: all of them, until `take`."""

    def __init__(self, out: Outgoing) -> None:
        self._out = out
        self._waiting = bytearray()
        self._pieces = 0
        self.keep = False

    def begin(self, out: Outgoing) -> None:
        """Write to another connection; what waits for the one before is forgotten."""
        self._waiting.clear()
        self._out = out

    def write(self, data: bytes | memoryview, /) -> None:
        if self.keep or len(data) < _SMALL:
            self._waiting += data
            if not self.keep and len(self._waiting) >= _SMALL:
                self.flush()
            return
        self.flush()
        self._out.write(data)

    def flush(self) -> None:
        if self._waiting:
            self._out.write(self.take())

    def piece(self) -> None:
        """A piece is whole: send what waits behind the first, the second, the fourth, the eighth.

        So the receiver begins at once, and is kept busy by few calls of the host.
        """
        self._pieces += 1
        if self._pieces & (self._pieces - 1) == 0:
            self.put()

    def put(self) -> None:
        """Send what the host takes at once."""
        if self._waiting:
            left = self._out.put(memoryview(bytes(self._waiting)))
            self._waiting = bytearray(left)

    def take(self) -> bytes:
        data = bytes(self._waiting)
        self._waiting.clear()
        return data
