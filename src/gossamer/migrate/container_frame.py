"""The frames of a save file: their header, their kinds and the order they come in.

File: 8 bytes magic, then META (JSON), STRM (the stream in chunks), for each disk NAME and DISK (its
content in chunks), END.  A frame is a 48-byte header (big-endian: kind 4cc, codec u32, number u64,
raw length u64, stored length u64, XXH3-64 of the stored payload, XXH3-64 of these 40 bytes) and the
stored payload.  Form 2 has AREA in the place of STRM: its stream is not in frames but in one piece,
behind which the frames go on (`migrate.area`).  END carries the counts and XXH3-128 of all headers
before it, so that neither a flipped bit nor a missing, repeated or foreign frame passes.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

import xxhash

MAGIC: Final = b"\x89GSMR\r\n\x01"
MAGIC_PLACED: Final = b"\x89GSMR\r\n\x02"
MAGICS: Final = (MAGIC, MAGIC_PLACED)
CHUNK: Final = 4 << 20
"""Bytes of stream or disk in a frame; no frame is longer, packed or not."""
MAX_DISKS: Final = 64
MAX_NAME: Final = 255
HEADER: Final = struct.Struct(">4sIQQQQQ")
TAIL: Final = struct.Struct(">QQQ16s")
"""END's payload: frames before it, bytes of stream, bytes of disks, XXH3-128 of the headers."""
RAW: Final = 0
ZSTD: Final = 1
META, STRM, NAME, DISK, END = b"META", b"STRM", b"NAME", b"DISK", b"END "
AREA: Final = b"AREA"
FOLLOWERS: Final = {
    META: (STRM, NAME, END),
    STRM: (STRM, NAME, END),
    NAME: (DISK, NAME, END),
    DISK: (DISK, NAME, END),
}
FOLLOWERS_PLACED: Final = {**FOLLOWERS, META: (AREA,), AREA: (NAME, END), STRM: ()}


class Frame(NamedTuple):
    """A frame's header; `offset` is where the header begins in the file."""

    offset: int
    kind: bytes
    codec: int
    number: int
    raw: int
    stored: int
    digest: int

    @property
    def end(self) -> int:
        """Offset of the next frame."""
        return self.offset + HEADER.size + self.stored


def header(
    kind: bytes, codec: int, number: int, raw: int, payload: bytes | bytearray | memoryview
) -> bytes:
    """The 48 bytes before a payload."""
    digest = xxhash.xxh3_64_intdigest(payload)
    front = HEADER.pack(kind, codec, number, raw, len(payload), digest, 0)[:-8]
    return front + xxhash.xxh3_64_digest(front)
