"""Commits to a raw file that a crash cannot tear.

The changes go into a journal beside the image first.  Once it is whole and on the medium, they
are written into the image; then it is removed.  A journal that is found when the image is opened
is played again, or removed when it is not whole.

Format, all integers big-endian: 8 bytes magic, u64 size of the image; records of u64 offset,
u64 length and the bytes; at the end a record of length 0 whose offset is the xxh3-64 of
everything before it.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import xxhash

from gossamer.block.errors import ImageError
from gossamer.block.hostfile import HostFile

_HEAD: Final = struct.Struct(">8sQ")
_MAGIC: Final = b"gossCMT1"
_RECORD: Final = struct.Struct(">QQ")
_MAX_RECORD: Final = 1 << 24


def journal_path(path: Path) -> Path:
    """Where the journal of an image stands."""
    return path.with_name(path.name + ".commit")


def commit(file: HostFile, changes: Iterable[tuple[int, bytes]]) -> None:
    """Write `changes` into `file`: all of them, or (after a crash, see `recover`) none."""
    journal = journal_path(file.path)
    try:
        _write(journal, file.size, changes)
        _sync_folder(journal.parent)
    except OSError as error:
        journal.unlink(missing_ok=True)
        raise ImageError.of(journal, "write the commit journal", error) from None
    except BaseException:
        journal.unlink(missing_ok=True)
        raise
    try:
        _play(file, journal)
    except OSError as error:
        raise ImageError.of(journal, "play the commit journal", error) from None


def recover(file: HostFile) -> None:
    """Finish or forget a commit that was interrupted; `file` must be open for writing."""
    journal = journal_path(file.path)
    if not journal.exists():
        return
    if file.read_only:
        message = "a commit to it was interrupted; open it writable once to finish that"
        raise ImageError(file.path, message, errno.EUCLEAN)
    try:
        if _is_whole(journal, file.size):
            _play(file, journal)
        else:
            journal.unlink()
    except OSError as error:
        raise ImageError.of(journal, "play the commit journal", error) from None


def _write(journal: Path, size: int, changes: Iterable[tuple[int, bytes]]) -> None:
    head = _HEAD.pack(_MAGIC, size)
    state = xxhash.xxh3_64(head)
    with journal.open("wb") as out:
        out.write(head)
        for offset, data in changes:
            head = _RECORD.pack(offset, len(data))
            state.update(head)
            state.update(data)
            out.write(head)
            out.write(data)
        out.write(_RECORD.pack(state.intdigest(), 0))
        out.flush()
        os.fsync(out.fileno())


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _records(stream: BinaryIO) -> Iterator[tuple[int, bytes, bytes]]:
    """(offset, bytes, record head) of each record; the last one has no bytes."""
    while len(head := stream.read(_RECORD.size)) == _RECORD.size:
        offset, length = _RECORD.unpack(head)
        data = stream.read(length) if length <= _MAX_RECORD else b""
        if len(data) != length:
            return
        yield offset, data, head
        if not length:
            return


def _is_whole(journal: Path, size: int) -> bool:
    """Whether the journal is complete, and of an image that was as large as this one is."""
    head = _HEAD.pack(_MAGIC, size)
    state = xxhash.xxh3_64(head)
    with journal.open("rb") as stream:
        if stream.read(_HEAD.size) != head:
            return False
        for offset, data, record in _records(stream):
            if not data:
                return bool(offset == state.intdigest())
            state.update(record)
            state.update(data)
    return False


def _play(file: HostFile, journal: Path) -> None:
    with journal.open("rb") as stream:
        stream.seek(_HEAD.size)
        for offset, data, _ in _records(stream):
            file.write_at(offset, data[: max(file.size - offset, 0)])
    file.sync()
    journal.unlink()
