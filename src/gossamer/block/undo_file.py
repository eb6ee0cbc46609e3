"""One file of an undo log: clusters of an image as they were, in the order of their first change.

Format, all integers big-endian.  Head: 8 bytes magic, u64 size of the disk, u32 length of the
owner's name, the name, xxh3-64 of all that.  Then groups: u32 number of clusters, u64 bytes of
data, xxh3-64 of both and of what follows; for each cluster u64 index and u32 length (0: it was
zeros); the bytes.  A group is on the medium before anything that it keeps is overwritten, so only
the last one can be torn, and then nothing needed it: it is cut off.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import xxhash

from gossamer.block.errors import ImageError
from gossamer.block.hashing import CHUNK
from gossamer.core import host

_HEAD: Final = struct.Struct(">8sQI")
_MAGIC: Final = b"gossUND1"
_GROUP: Final = struct.Struct(">IQQ")
_RECORD: Final = struct.Struct(">QI")
_MAX_GROUP: Final = 1 << 16
_MAX_OWNER: Final = 8192


class Kept(NamedTuple):
    """Where the old content of a cluster stands; `length` 0: it was zeros."""

    at: int
    length: int


class UndoFile:
    """A file of the log; `kept` says what it holds, by the cluster's index.

    It is opened again whenever it is used after `rest`.
    """

    def __init__(self, path: Path, fd: int, size: int, owner: str, end: int) -> None:
        self.path, self.disk_size, self.owner = path, size, owner
        self.kept: dict[int, Kept] = {}
        self._file, self._end = fd, end

    @property
    def _fd(self) -> int:
        if self._file < 0:
            self._file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        return self._file

    @classmethod
    def create(cls, path: Path, size: int, owner: str, mode: int) -> UndoFile:
        """A new file, on the medium; OSError, and there is none."""
        name = os.fsencode(owner)[:_MAX_OWNER]
        head = _HEAD.pack(_MAGIC, size, len(name)) + name
        head += xxhash.xxh3_64_digest(head)
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, mode)
        try:
            _write_all(fd, head, 0)
            os.fsync(fd)
        except BaseException:
            os.close(fd)
            path.unlink()
            raise
        return cls(path, fd, size, owner, len(head))

    @classmethod
    def open(cls, path: Path) -> UndoFile | None:
        """A file that is there; None when not even its head is whole (it was never used)."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise ImageError.of(path, "open", error) from None
        try:
            found = cls._read(path, fd)
        except OSError as error:
            os.close(fd)
            raise ImageError.of(path, "read", error) from None
        if found is None:
            os.close(fd)
        return found

    @classmethod
    def _read(cls, path: Path, fd: int) -> UndoFile | None:
        head = os.pread(fd, _HEAD.size, 0)
        if len(head) < _HEAD.size:
            return None
        magic, size, length = _HEAD.unpack(head)
        if magic != _MAGIC or length > _MAX_OWNER:
            return None
        name = os.pread(fd, length, len(head))
        end = len(head) + length + 8
        if os.pread(fd, 8, end - 8) != xxhash.xxh3_64_digest(head + name):
            return None
        found = cls(path, fd, size, os.fsdecode(name), end)
        found._scan()
        return found

    def _scan(self) -> None:
        """Read where everything stands; the last group must be whole."""
        size = os.fstat(self._fd).st_size
        while (group := self._group_at(self._end, size)) is not None:
            following, records, digest = group
            is_last = following + _GROUP.size > size or not self._group_at(following, size)
            if is_last and digest != self._digest(self._end, following):
                break
            at = self._end + _GROUP.size + len(records) * _RECORD.size
            for index, length in records:
                self.kept.setdefault(index, Kept(at, length))
                at += length
            self._end = following

    def _group_at(self, at: int, size: int) -> tuple[int, list[tuple[int, int]], int] | None:
        """Of a group that lies in the file: where the next begins, its records, its hash."""
        head = os.pread(self._fd, _GROUP.size, at)
        if len(head) < _GROUP.size:
            return None
        count, length, digest = _GROUP.unpack(head)
        start = at + _GROUP.size + count * _RECORD.size
        if not 0 < count <= _MAX_GROUP or start + length > size:
            return None
        raw = os.pread(self._fd, count * _RECORD.size, at + _GROUP.size)
        records = list(_RECORD.iter_unpack(raw))
        if sum(length for _, length in records) != length or max(r[1] for r in records) > CHUNK:
            return None
        return start + length, records, digest

    def _digest(self, at: int, following: int) -> int:
        state = xxhash.xxh3_64(os.pread(self._fd, _GROUP.size - 8, at))
        at += _GROUP.size
        while at < following:
            part = os.pread(self._fd, min(following - at, 1 << 20), at)
            if not part:
                break
            state.update(part)
            at += len(part)
        return state.intdigest()

    def append(self, clusters: Sequence[tuple[int, bytes]]) -> None:
        """Keep clusters (index, content; b"" for zeros), and wait until they are on the medium.

        OSError: none of them is kept.
        """
        head = b"".join(_RECORD.pack(index, len(data)) for index, data in clusters)
        length = sum(len(data) for _, data in clusters)
        state = xxhash.xxh3_64(_GROUP.pack(len(clusters), length, 0)[:-8])
        for part in (head, *(data for _, data in clusters)):
            state.update(part)
        group = _GROUP.pack(len(clusters), length, state.intdigest())
        try:
            _write_all(
                self._fd, b"".join((group, head, *(data for _, data in clusters))), self._end
            )
            host.sync_data(self._fd)
        except BaseException:
            os.ftruncate(self._fd, self._end)
            raise
        at = self._end + len(group) + len(head)
        for index, data in clusters:
            self.kept.setdefault(index, Kept(at, len(data)))
            at += len(data)
        self._end = at

    def read(self, index: int) -> bytes:
        """What cluster `index` held; b"" for zeros."""
        at, length = self.kept[index]
        try:
            data = os.pread(self._fd, length, at) if length else b""
        except OSError as error:
            raise ImageError.of(self.path, "read", error) from None
        if len(data) != length:
            raise ImageError(self.path, f"truncated: it ends before {at + length:#x}")
        return data

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._end

    def rename(self, path: Path) -> None:
        self.path = self.path.rename(path)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.rest()

    def rest(self) -> None:
        """Give back the descriptor."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _write_all(fd: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, at)
        view, at = view[done:], at + done
