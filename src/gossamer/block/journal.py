"""Commits to a raw file that a crash cannot tear, and that lose nothing where there is no room.

The changes go into a journal first.  Once it is whole and on the medium, they are written into
the image; then it is removed.  A journal that is found when the image is opened is played again,
or removed when it is not whole.

The journal stands beside the image; where it cannot be written there, in the user's state folder
under a hash of the image's path; where not even there, the changes are written into the image
without one: a crash can then tear the image, but nothing is thrown away.

Format, all integers big-endian: 8 bytes magic, u64 size of the image; records of u64 offset,
u64 length and the bytes; at the end a record of length 0 whose offset is the xxh3-64 of
everything before it.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

import xxhash

from gossamer.block.errors import ImageError
from gossamer.block.hostfile import HostFile

_HEAD: Final = struct.Struct(">8sQ")
_MAGIC: Final = b"gossCMT1"
_RECORD: Final = struct.Struct(">QQ")
_MAX_RECORD: Final = 1 << 24
_FOLDER: Final = "raw-commits"
Changes = Callable[[], Iterable[tuple[int, bytes]]]


def journal_path(path: Path) -> Path:
    """Where the journal of an image stands when there is room beside it."""
    real = Path(os.path.realpath(path))
    return real.with_name(real.name + ".commit")


def journal_paths(path: Path) -> list[Path]:
    """Every place where the journal of an image may stand, the best one first."""
    places = [journal_path(path)]
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    with suppress(RuntimeError):  # a user without a home has one place less
        if not base.is_absolute():
            base = Path.home() / ".local" / "state"
        name = xxhash.xxh3_128_hexdigest(os.fsencode(os.path.realpath(path)))
        places.append(base / "gossamer" / _FOLDER / f"{name}.commit")
    return places


def commit(file: HostFile, changes: Changes) -> None:
    """Write what `changes()` gives into `file`; on an error it can be tried again.

    After a crash `recover` sees to it that all of them are there or none, unless no journal could
    be written anywhere.
    """
    recover(file)
    journal = _write_somewhere(file, changes)
    if journal is not None:
        _play(file, journal)
        return
    for offset, data in changes():
        _change(file, offset, data)
    file.sync()


def recover(file: HostFile) -> None:
    """Finish or forget a commit that was interrupted; `file` must be open for writing."""
    for journal in filter(os.path.lexists, journal_paths(file.path)):
        if file.read_only:
            message = "a commit to it was interrupted; open it writable once to finish that"
            raise ImageError(file.path, message, errno.EUCLEAN)
        try:
            whole = _is_whole(journal, file.size)
            if not whole:
                journal.unlink()
        except OSError as error:
            raise ImageError.of(journal, "read the commit journal", error) from None
        if whole:
            _play(file, journal)


def _write_somewhere(file: HostFile, changes: Changes) -> Path | None:
    """Make a journal in the first place that takes it; None when none does."""
    mode = os.fstat(file.fd).st_mode & 0o666
    for journal in journal_paths(file.path):
        try:
            if journal.parent.name == _FOLDER:
                journal.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(journal, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
        except OSError:
            continue
        try:
            with os.fdopen(fd, "wb") as out:
                _write(out, file.size, changes())
            _sync_folder(journal.parent)
        except OSError:
            journal.unlink()
        except BaseException:
            journal.unlink()
            raise
        else:
            return journal
    return None


def _write(out: BinaryIO, size: int, changes: Iterable[tuple[int, bytes]]) -> None:
    head = _HEAD.pack(_MAGIC, size)
    state = xxhash.xxh3_64(head)
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
    try:
        with journal.open("rb") as stream:
            stream.seek(_HEAD.size)
            for offset, data, _ in _records(stream):
                _change(file, offset, data)
        file.sync()
        journal.unlink()
    except OSError as error:
        raise ImageError.of(journal, "play the commit journal", error) from None
    with suppress(OSError):  # should it come back after a crash, it is played once more
        _sync_folder(journal.parent)


def _change(file: HostFile, offset: int, data: bytes) -> None:
    """Write one change; what lies behind the end of the file is filling."""
    file.write_at(offset, data[: max(file.size - offset, 0)])
