"""Big-endian reading and writing, with the offset and the path of the field in every error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gossamer.base.errors import StreamError


class WireReader:
    """Reads a byte string from the front; `path` is what is being read, for errors."""

    def __init__(self, data: bytes | bytearray | memoryview, base: int = 0) -> None:
        self.data = memoryview(data)
        self.at = 0
        self.base = base
        self.parts: list[str] = []

    @property
    def offset(self) -> int:
        """Offset in the stream of the next byte."""
        return self.base + self.at

    @property
    def path(self) -> str:
        return "/".join(self.parts)

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    @contextmanager
    def within(self, part: str) -> Iterator[None]:
        """Name what is read inside the `with`."""
        self.parts.append(part)
        try:
            yield
        finally:
            self.parts.pop()

    def error(self, message: str) -> StreamError:
        return StreamError(message, self.path, self.offset)

    def take(self, n: int) -> memoryview:
        """The next `n` bytes; StreamError when there are fewer."""
        if n < 0 or n > self.left:
            raise self.error(f"needs {n} bytes, {self.left} left")
        self.at += n
        return self.data[self.at - n : self.at]

    def ready(self, n: int) -> memoryview | None:
        """The next `n` bytes; None where there are fewer, and none is taken."""
        if n > len(self.data) - self.at:
            return None
        self.at += n
        return self.data[self.at - n : self.at]

    def next_byte(self) -> int:
        """The next byte, without reading it; -1 at the end."""
        ahead = self.peek(1)
        return ahead[0] if ahead else -1

    def peek(self, n: int) -> bytes:
        """Up to `n` of the next bytes, without reading them."""
        return bytes(self.data[self.at : self.at + n])

    def uint(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def sint(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big", signed=True)

    def cstr(self) -> str:
        """A counted string: u8 length, then the bytes (ASCII)."""
        raw = bytes(self.take(self.uint(1)))
        try:
            return raw.decode("ascii")
        except UnicodeDecodeError:
            raise self.error(f"a name must be ASCII, got {raw!r}") from None


class WireWriter:
    """Collects bytes."""

    def __init__(self) -> None:
        self.data = bytearray()

    def raw(self, data: bytes | bytearray | memoryview) -> None:
        self.data += data

    def uint(self, value: int, size: int) -> None:
        self.data += value.to_bytes(size, "big")

    def sint(self, value: int, size: int) -> None:
        self.data += value.to_bytes(size, "big", signed=True)

    def cstr(self, text: str) -> None:
        raw = text.encode("ascii")
        self.uint(len(raw), 1)
        self.data += raw
