"""The file of a commit journal of gossamer 0.1.0: whether it is ours, whole, and of this image.

Format, all integers big-endian: 8 bytes magic, u64 size of the image; records of u64 offset,
u64 length, the xxh3-64 of each sector (512 bytes) that stood there before, and the new bytes; at
the end a record of length 0 whose offset is the xxh3-64 of everything before it.

While a journal is played every sector of the image is the old one or the new one, since a medium
writes a sector whole; a host that fails (a limit, a full disk) can tear one, behind which all are
old.  Anything else was written by a program that did not know of the journal; what it wrote where
the journal writes nothing cannot be seen here.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import xxhash

from gossamer.block.hostfile import HostFile
from gossamer.block.image import SECTOR

_HEAD: Final = struct.Struct(">8sQ")
_MAGIC: Final = b"gossCMT2"
_RECORD: Final = struct.Struct(">QQ")
_MAX_RECORD: Final = 1 << 24
_DIGEST: Final = 8
NEW, OLD, BOTH, FOREIGN = "new", "old", "both", "foreign"


class Record(NamedTuple):
    """New bytes, and the hashes of the sectors that they replace."""

    offset: int
    hashes: bytes
    data: bytes


def is_ours(path: Path) -> bool:
    """Whether there is a journal, or the beginning of one, and not a user's file."""
    try:
        status = path.lstat()
    except OSError:
        return False
    if not stat.S_ISREG(status.st_mode):
        return False
    with path.open("rb") as stream:
        return _MAGIC.startswith(stream.read(len(_MAGIC)))


def image_size(path: Path) -> int | None:
    """How large the image of this journal was; None for a journal that is not whole."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return None
        state = xxhash.xxh3_64(head)
        for offset, hashes, data in _records(stream):
            if not data:
                return int(_HEAD.unpack(head)[1]) if offset == state.intdigest() else None
            for part in (_RECORD.pack(offset, len(data)), hashes, data):
                state.update(part)
    return None


def records(path: Path) -> Iterator[Record]:
    """What a whole journal changes."""
    with path.open("rb") as stream:
        stream.seek(_HEAD.size)
        yield from (record for record in _records(stream) if record.data)


def sector_states(file: HostFile, record: Record) -> Iterator[tuple[int, str]]:
    """For each sector its place, and whether it is NEW, OLD, BOTH or FOREIGN."""
    offset, hashes, data = record
    now = file.read_at(offset, len(data))
    for n, at in enumerate(range(0, len(data), SECTOR)):
        sector, new = now[at : at + SECTOR], data[at : at + SECTOR]
        is_old = xxhash.xxh3_64_digest(sector) == hashes[n * _DIGEST : (n + 1) * _DIGEST]
        if sector == new:
            yield offset + at, BOTH if is_old else NEW
        else:
            yield offset + at, OLD if is_old else FOREIGN


def _records(stream: BinaryIO) -> Iterator[Record]:
    """Each record that is there completely; the last one has no bytes."""
    while len(head := stream.read(_RECORD.size)) == _RECORD.size:
        offset, length = _RECORD.unpack(head)
        if length > _MAX_RECORD:
            return
        hashes = stream.read(-(-length // SECTOR) * _DIGEST)
        data = stream.read(length)
        if len(data) != length:
            return
        yield Record(offset, hashes, data)
        if not length:
            return
