"""A binary file read from the front through one window: files, pipes and sockets alike."""

from __future__ import annotations

import os
from typing import BinaryIO, Final

from gossamer.base.errors import StreamError
from gossamer.base.wire import WireReader

CHUNK: Final = 4 << 20
"""Bytes asked of the file at a time; also the most that is held without being asked for."""


class Source(WireReader):
    """A `WireReader` over a file of any length.

    Nothing is allocated because a stream claims it: `take(n)` collects what the file really has,
    a chunk at a time, and fails when the file ends first.  Views handed out stay valid.
    `limit` is the offset that must not be passed (a package inside a stream), None for none.
    """

    def __init__(self, file: BinaryIO, base: int = 0) -> None:
        super().__init__(b"", base)
        self.file = file
        self.limit: int | None = None
        self.size = _size_of(file, base)
        self._ended = False
        self._next = memoryview(b"")

    @property
    def left(self) -> int:
        """Bytes known to be left: of the whole file when its size is known, else of the window."""
        end = self.limit if self.limit is not None else self.size
        return end - self.offset if end is not None else self.buffered

    @property
    def buffered(self) -> int:
        """Bytes that are in memory and not read yet."""
        return len(self.data) - self.at + len(self._next)

    @property
    def window(self) -> memoryview:
        """What is in memory and not read yet; `fill` makes it longer."""
        end = len(self.data)
        if self.limit is not None:
            end = min(end, max(self.at, self.limit - self.base))
        return self.data[self.at : end]

    def fill(self, n: int) -> int:
        """Have `n` bytes in the window if the file has them; returns how many there are."""
        have = len(self.data) - self.at
        if have < n:
            self._refill(n, have)
        return len(self.window)

    def _refill(self, n: int, have: int) -> None:
        """Put behind the `have` bytes that are left what makes them `n`, if the file has so much.

        What was read beyond that waits in `_next` and becomes the window as it is, without being
        copied, once all before it has been taken.
        """
        parts = [self.data[self.at :]] if have else []
        place = self.base + len(self.data) + len(self._next)
        while have < n:
            if not len(self._next):
                if self._ended:
                    break
                self._next = memoryview(self._read(place, max(CHUNK, min(n - have, CHUNK * 16))))
                place += len(self._next)
                self._ended = not len(self._next)
                continue
            step = self._next[: n - have] if parts else self._next
            self._next = self._next[len(step) :]
            parts.append(step)
            have += len(step)
        self.base += self.at
        self.at = 0
        self.data = parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    def take(self, n: int) -> memoryview:
        """The next `n` bytes; StreamError when there are fewer."""
        if n < 0:
            raise self.error(f"needs {n} bytes: a length cannot be negative")
        if len(self.data) - self.at < n or self.limit is not None:
            self._need(n)
        self.at += n
        return self.data[self.at - n : self.at]

    def ready(self, n: int) -> memoryview | None:
        """The next `n` bytes if the file has them; else None, and none is taken."""
        if self.limit is not None or len(self.data) - self.at < n:
            return super().ready(n) if self.fill(n) >= n else None
        self.at += n
        return self.data[self.at - n : self.at]

    def next_byte(self) -> int:
        """The next byte, without reading it; -1 at the end."""
        if self.limit is None and self.at < len(self.data):
            return self.data[self.at]
        return super().next_byte()

    def peek(self, n: int) -> bytes:
        """Up to `n` of the next bytes, without reading them."""
        if self.limit is None and len(self.data) - self.at >= n:
            return bytes(self.data[self.at : self.at + n])
        self.fill(n)
        return bytes(self.window[:n])

    def skip(self, n: int) -> None:
        """Pass over `n` bytes without keeping them; StreamError when there are fewer."""
        if n < 0:
            raise self.error(f"cannot go back {-n} bytes")
        if n <= len(self.window):
            self.at += n
            return
        if self.size is not None:
            if n > self.left:
                raise self.error(f"needs {n} bytes, {self.left} left")
            target = self.offset + n
            self.data, self.at, self.base, self._ended = memoryview(b""), 0, target, False
            self._next = self.data
            return
        while n:
            step = min(n, CHUNK)
            self.take(step)
            n -= step

    def _need(self, n: int) -> None:
        if self.size is not None and n > self.left:
            raise self.error(f"needs {n} bytes, {max(self.left, 0)} left")
        got = self.fill(n)
        if got < n:
            raise self.error(f"needs {n} bytes, {got} left")

    def _read(self, place: int, n: int) -> bytes:
        try:
            if self.size is not None:
                # The file may be read elsewhere between two chunks.
                self.file.seek(place)
            return self.file.read(n) or b""
        except OSError as fault:
            raise StreamError(f"cannot be read: {fault}", self.path, self.offset) from fault


def _size_of(file: BinaryIO, base: int) -> int | None:
    """Length of a file that can seek; None for a pipe.  Leaves the file at `base`."""
    try:
        if not file.seekable():
            return None
        size = file.seek(0, os.SEEK_END)
        file.seek(base)
    except (OSError, AttributeError):
        return None
    return size
