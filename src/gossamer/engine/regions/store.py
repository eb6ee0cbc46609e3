"""Compiled regions on disk, found by their content.

One file for each key of tier 0's cache (sources, host CPU, features) holds records, each with its
length and checksum, that are only ever appended, under a lock of the file.  A record has the words
that a region was made of; it is used only where every one of them is in memory.  An empty record
says that a place of its name was hot, though not enough to be compiled: later processes compile it
sooner.

As with tier 0's file, one of another owner or that others may read is not used.  A file that has
grown too big is begun anew.  A record cut short (a full disk, a killed process) ends what is read;
the next writer overwrites it.
"""

from __future__ import annotations

import fcntl
import io
import os
import struct
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

import xxhash

from gossamer.base.data import Data
from gossamer.base.units import MiB
from gossamer.engine.build import is_private

_MAGIC: Final = b"gossamer regions 1\n"
#: Length of the record's body, its checksum, its name.
_HEAD: Final = struct.Struct("<I8s8s")
_COUNTS: Final = struct.Struct("<iIII")  # head, instructions, words, pages
_WORD: Final = struct.Struct("<iI")
#: Size of a file at the most, bytes.
MOST: Final = 32 * MiB
#: Regions of one name (equal first words) that are tried.
_SAME_NAME: Final = 4
#: Places that one process notes as hot, at the most.
_MOST_HOT: Final = 1 << 12


class Stored(Data):
    """A compiled region: where its head is, its words by delta, its pages, its object file."""

    head: int
    count: int
    words: dict[int, int]
    pages: tuple[int, ...]
    obj: bytes

    def pack(self) -> bytes:
        parts = [_COUNTS.pack(self.head, self.count, len(self.words), len(self.pages))]
        parts += [_WORD.pack(delta, word) for delta, word in self.words.items()]
        parts += [struct.pack("<i", number) for number in self.pages]
        return b"".join([*parts, self.obj])

    @staticmethod
    def unpack(body: bytes) -> Stored | None:
        """None for a body that is not one (a checksum says nothing of who wrote it)."""
        try:
            head, count, words, pages = _COUNTS.unpack_from(body)
            at = _COUNTS.size + words * _WORD.size
            found = dict(_WORD.iter_unpack(body[_COUNTS.size : at]))
            numbers = struct.unpack_from(f"<{pages}i", body, at)
        except struct.error:
            return None
        return Stored(head, count, found, numbers, body[at + 4 * pages :])


def name_of(head: int, code: bytes) -> bytes:
    """What a region is found by: where its head is in its page, and the bytes of code there."""
    return xxhash.xxh3_64_digest(struct.pack("<I", head) + code)


class RegionStore:
    """The file of regions for one key, read when it is first asked."""

    def __init__(self, path: Path, most: int = MOST) -> None:
        self.path, self.most = path, most
        self._known: dict[bytes, list[bytes]] | None = None
        self._size = 0
        self._new: list[tuple[bytes, bytes]] = []
        #: Names of places that were hot: in processes before this one, and in this one.
        self._hot_before: set[bytes] = set()
        self._hot: set[bytes] = set()

    def find(self, name: bytes) -> Iterator[Stored]:
        """Regions stored under a name, newest first."""
        for body in reversed(self._index().get(name, ())):
            stored = Stored.unpack(body)
            if stored is not None:
                yield stored

    def add(self, name: bytes, stored: Stored) -> None:
        """Keep a region; `flush` writes it."""
        body = stored.pack()
        index = self._index()
        if self._size > self.most:
            index.clear()
            self._size = 0
        self._remember(index, name, body)
        self._new.append((name, body))

    def note_hot(self, name: bytes) -> None:
        """Remember for later processes that a place of this name was hot."""
        if name not in self._hot and not self.was_hot(name) and len(self._hot) < _MOST_HOT:
            self._hot.add(name)
            self._new.append((name, b""))

    def was_hot(self, name: bytes) -> bool:
        """Whether a process before this one found a place of this name hot."""
        self._index()
        return name in self._hot_before

    @property
    def pending(self) -> int:
        """Regions that are not written yet."""
        return sum(1 for _, body in self._new if body)

    def flush(self) -> None:
        """Append what is new; a cache that cannot be written is no error."""
        new, self._new = self._new, []
        if not new:
            return
        data = b"".join(_record(name, body) for name, body in new)
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._open(os.O_RDWR | os.O_CREAT) as f:
                fcntl.flock(f, fcntl.LOCK_EX)
                if is_private(f.fileno()):
                    self._append(f, data)
        except OSError:
            return

    def _append(self, f: io.BufferedRandom, data: bytes) -> None:
        """Write behind the last whole record, or begin anew."""
        old = f.read()
        end = max((end for _, _, end in _records(old)), default=len(_MAGIC))
        if not old.startswith(_MAGIC) or end + len(data) > self.most:
            end, data = 0, _MAGIC + data
        f.seek(end)
        f.truncate()
        f.write(data)

    def _index(self) -> dict[bytes, list[bytes]]:
        if self._known is None:
            self._known = defaultdict(list)
            for name, body, _ in _records(self._read()):
                if body:
                    self._remember(self._known, name, body)
                else:
                    self._hot_before.add(name)
        return self._known

    def _remember(self, index: dict[bytes, list[bytes]], name: bytes, body: bytes) -> None:
        same = index.setdefault(name, [])
        same.append(body)
        del same[:-_SAME_NAME]
        self._size += len(body)

    def _read(self) -> bytes:
        try:
            with self._open(os.O_RDWR) as f:
                fcntl.flock(f, fcntl.LOCK_SH)
                return f.read(self.most + 1) if is_private(f.fileno()) else b""
        except OSError:
            return b""

    def _open(self, flags: int) -> io.BufferedRandom:
        handle = os.open(self.path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        return os.fdopen(handle, "r+b")


def _record(name: bytes, body: bytes) -> bytes:
    return _HEAD.pack(len(body), xxhash.xxh3_64_digest(name + body), name) + body


def _records(data: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """(name, body, end) of the records of a file, up to the first that is not whole."""
    if not data.startswith(_MAGIC):
        return
    at = len(_MAGIC)
    while at + _HEAD.size <= len(data):
        length, checksum, name = _HEAD.unpack_from(data, at)
        end = at + _HEAD.size + length
        body = data[at + _HEAD.size : end]
        if len(body) < length or xxhash.xxh3_64_digest(name + body) != checksum:
            return
        yield name, body, end
        at = end


@lru_cache(maxsize=8)
def shared_store(path: Path) -> RegionStore:
    """The one store of a file in this process."""
    return RegionStore(path)
