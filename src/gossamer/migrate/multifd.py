"""Captures of multifd channels: a hello, then packets of pages.

As QEMU 7.2 sends them; page data are plain, or one deflate or zstd stream a channel.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from gossamer.base.data import Data
from gossamer.base.errors import StreamError
from gossamer.base.late import np, zstandard
from gossamer.base.units import PAGE_SIZE
from gossamer.migrate.framing import MULTIFD_MAGIC
from gossamer.migrate.ram import U64
from gossamer.migrate.source import Source

MAGIC: Final = MULTIFD_MAGIC
VERSION: Final = 1
SYNC: Final = 1
METHODS: Final = {0: "none", 2: "zlib", 4: "zstd", 16: "qpl", 32: "uadk", 64: "qatzip"}
DEVICE_STATE: Final = 0x80
MAX_PAGES: Final = 1 << 16


class Hello(Data):
    """What opens a channel; `uuid` is the machine's, `channel` its number from 0."""

    uuid: bytes
    channel: int


class Packet(Data):
    """One packet: addresses of the pages sent with data and of pages that are zero (9.0 on).

    `data` holds the pages unpacked, in order of `addresses`.
    """

    offset: int
    flags: int
    number: int
    block: str
    addresses: U64
    zeros: U64
    wire_length: int
    data: bytes

    @property
    def sync(self) -> bool:
        return bool(self.flags & SYNC)

    @property
    def method(self) -> str:
        return METHODS.get(self.flags & 0x7E, f"{self.flags & 0x7E:#x}")


class _Unpacker(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...


def is_channel(start: bytes) -> bool:
    """Whether a file that starts so is a multifd channel."""
    return start[:4] == MAGIC.to_bytes(4, "big")


def walk(
    source: Source, page_size: int = PAGE_SIZE, wait: Callable[[], bool] = lambda: True
) -> Iterator[Hello | Packet]:
    """Hello and packets of one channel, to the end of the capture.

    `wait` is called where nothing of the next packet is there; it ends when that gives False.
    """
    with source.within("multifd"):
        yield _hello(source)
        unpacker: _Unpacker | None = None
        while (source.buffered or wait()) and source.fill(1):
            packet, unpacker = _packet(source, page_size, unpacker)
            yield packet


def _magic(source: Source, what: str) -> None:
    offset = source.offset
    magic, version = source.uint(4), source.uint(4)
    if magic != MAGIC or version != VERSION:
        raise StreamError(
            f"{what} has magic {magic:#x} version {version}, expected {MAGIC:#x} version {VERSION}",
            source.path,
            offset,
        )


def _hello(source: Source) -> Hello:
    _magic(source, "the hello")
    uuid, channel = bytes(source.take(16)), source.uint(1)
    source.take(39)
    return Hello(uuid, channel)


def _packet(
    source: Source, page_size: int, unpacker: _Unpacker | None
) -> tuple[Packet, _Unpacker | None]:
    offset = source.offset
    _magic(source, "a packet")
    flags, allocated, normal, size = (source.uint(4) for _ in range(4))
    number, zero = source.uint(8), source.uint(4)
    source.take(28)
    if flags & DEVICE_STATE:
        raise source.error("a packet of device state cannot be read: its content is one device's")
    raw_name = bytes(source.take(256)).rstrip(b"\0")
    if allocated > MAX_PAGES or normal + zero > allocated:
        raise StreamError(
            f"a packet of {normal} + {zero} pages in {allocated} places", source.path, offset
        )
    places = np.frombuffer(source.take(8 * allocated), ">u8").astype(np.uint64)
    method = flags & 0x7E
    data = b""
    if normal:
        want = normal * page_size
        if size > 2 * want + 4096:
            raise StreamError(f"{size} bytes for {normal} pages", source.path, offset)
        raw = bytes(source.take(size))
        if method and unpacker is None:
            unpacker = _unpacker(method, source)
        data = raw if not method or unpacker is None else _unpack(unpacker, raw, want, source)
        if len(data) != want:
            raise StreamError(f"{len(data)} bytes for {normal} pages", source.path, offset)
    packet = Packet(
        offset, flags, number, raw_name.decode("ascii", "backslashreplace"), places[:normal],
        places[normal : normal + zero], source.offset - offset, data,
    )  # fmt: skip
    return packet, unpacker


def _unpacker(method: int, source: Source) -> _Unpacker:
    if METHODS.get(method) == "zlib":
        return _Inflate()
    if METHODS.get(method) == "zstd":
        return zstandard.ZstdDecompressor().decompressobj()
    raise source.error(f"compression method {METHODS.get(method, hex(method))} cannot be read")


class _Inflate:
    def __init__(self) -> None:
        self.engine = zlib.decompressobj()

    def decompress(self, data: bytes, /) -> bytes:
        return self.engine.decompress(data, MAX_PAGES * PAGE_SIZE)


def _unpack(unpacker: _Unpacker, raw: bytes, want: int, source: Source) -> bytes:
    try:
        data = unpacker.decompress(raw)
    except (zlib.error, zstandard.ZstdError) as fault:
        raise source.error(f"page data cannot be unpacked: {fault}") from None
    if len(data) > want:
        raise source.error(f"page data unpack to {len(data)} bytes, expected {want}")
    return data
