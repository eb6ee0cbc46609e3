"""Sends pages over further connections, as QEMU 7.2 does with the capability multifd.

Zero pages and the rest of the stream stay on the first connection.  At each end of a body every
connection gets a SYNC packet, so that a page that is sent again is never overtaken.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final, Protocol

from gossamer.base.errors import ConfigError
from gossamer.base.late import np, zstandard
from gossamer.migrate.channels import Channel
from gossamer.migrate.multifd import MAGIC, METHODS, SYNC, VERSION
from gossamer.migrate.ram import U8, U64

MOST_PAGES: Final = 128
"""Pages in a packet: 512 KiB."""
_HELLO: Final = struct.Struct(">II16sB39x")
_HEAD: Final = struct.Struct(">IIIIIIQ32x256s")
_FLAGS: Final = {METHODS[flag]: flag for flag in (0, 2, 4)}
COMPRESSION: Final = tuple(_FLAGS)
"""What `multifd-compression` may be."""


class _Packer(Protocol):
    def pack(self, data: memoryview) -> bytes: ...


class _Deflate:
    def __init__(self, level: int) -> None:
        self._engine = zlib.compressobj(level)

    def pack(self, data: memoryview) -> bytes:
        return self._engine.compress(data) + self._engine.flush(zlib.Z_SYNC_FLUSH)


class _Zstd:
    def __init__(self, level: int) -> None:
        self._engine = zstandard.ZstdCompressor(level).compressobj()

    def pack(self, data: memoryview) -> bytes:
        return self._engine.compress(data) + self._engine.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


def _packer(method: str, level: int) -> _Packer | None:
    if method == "zlib":
        return _Deflate(level)
    return _Zstd(level) if method == "zstd" else None


def hello(channel: Channel, number: int) -> Channel:
    """Say what a connection is for: QEMU takes no other one before it has read this."""
    channel.write(_HELLO.pack(MAGIC, VERSION, bytes(16), number))
    return channel


class MultifdOut:
    """The further connections of one transfer.  `method`: none, zlib or zstd, with its level."""

    def __init__(self, channels: Sequence[Channel], method: str = "none", level: int = 1) -> None:
        if method not in _FLAGS:
            known = ", ".join(_FLAGS)
            raise ConfigError(f"multifd-compression: expected one of {known}, got {method!r}")
        self.channels, self.most = channels, MOST_PAGES
        self._flags, self._number = _FLAGS[method], 0
        self._packers = [_packer(method, level) for _ in channels]
        self._held: list[tuple[Channel, bytes]] | None = None
        #: As releases from 8.1 on have it: a record says when connections are in step.
        self.flushes = False

    def hold(self) -> None:
        """From here on keep what is to be sent until `release`, so that nothing waits here."""
        self._held = []

    def release(self) -> None:
        """Send what has been kept; from another thread."""
        held, self._held = self._held or [], []
        for channel, data in held:
            channel.write(data)

    def _write(self, channel: Channel, data: bytes | memoryview) -> None:
        if self._held is None:
            channel.write(data)
        else:
            self._held.append((channel, bytes(data)))

    @property
    def sent(self) -> int:
        """Bytes on all of them."""
        return sum(channel.sent for channel in self.channels)

    def pages(self, name: str, addresses: U64, pages: U8) -> None:
        """Send up to `MOST_PAGES` pages of a block on the connection whose turn it is."""
        turn = self._number % len(self.channels)
        channel, packer = self.channels[turn], self._packers[turn]
        data: memoryview = np.ascontiguousarray(pages).reshape(-1).data
        content = data if packer is None else packer.pack(data)
        self._write(channel, self._packet(self._flags, name, addresses, len(content)))
        self._write(channel, content)

    def zeros(self, name: str, addresses: U64) -> bool:
        """They stay on the first connection."""
        del name, addresses
        return False

    def sync(self) -> None:
        """All that was sent so far comes before all that follows."""
        for channel in self.channels:
            self._write(channel, self._packet(SYNC, "", np.empty(0, np.uint64), 0))

    def _packet(self, flags: int, name: str, addresses: U64, size: int) -> bytes:
        head = _HEAD.pack(
            MAGIC, VERSION, flags, MOST_PAGES, len(addresses), size, self._number,
            name.encode("ascii"),
        )  # fmt: skip
        self._number += 1
        places = np.zeros(MOST_PAGES, ">u8")
        places[: len(addresses)] = addresses
        return head + places.tobytes()

    def close(self) -> None:
        for channel in self.channels:
            channel.close()
