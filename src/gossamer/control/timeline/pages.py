"""Content at checkpoints: a version of a page for each checkpoint at which it had changed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from operator import itemgetter
from typing import TYPE_CHECKING, Final, TypeAlias

from gossamer.base.late import np, zstandard
from gossamer.base.units import PAGE_SIZE
from gossamer.core.memory import AddressMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: This consumer's bit of the dirty bytes.
DIRTY_BIT: Final = 0x04
#: What a version costs beside its bytes: a tuple, its key, its place in a list.
OVERHEAD: Final = 160
Key = tuple[int, int]
Numbers: TypeAlias = "NDArray[np.int64]"
_ZERO: Final = b""
_CLEAR: Final = bytes(PAGE_SIZE)
_key: Final = itemgetter(0)


class Versions(ABC):
    """Versions of the pages of one store; `kept` is what they take, bytes."""

    def __init__(self) -> None:
        self.kept = 0
        self._versions: dict[int, list[tuple[Key, bytes]]] = {}
        self._pack = zstandard.ZstdCompressor(level=1)
        self._unpack = zstandard.ZstdDecompressor()

    @abstractmethod
    def written(self) -> Numbers:
        """Pages written since the last call of `clean`."""

    @abstractmethod
    def clean(self) -> None:
        """Take note of writes from here on."""

    @abstractmethod
    def touch(self, pages: Numbers) -> None:
        """Let these count as written."""

    @abstractmethod
    def everything(self) -> Numbers:
        """Pages of which the first checkpoint needs the content."""

    @abstractmethod
    def content(self, page: int) -> bytes | memoryview:
        """What a page holds now."""

    @abstractmethod
    def give(self, page: int, content: bytes) -> None:
        """Make a page hold this."""

    def packed(self, content: bytes | memoryview) -> bytes:
        return _ZERO if content == _CLEAR else self._pack.compress(content)

    def unpacked(self, data: bytes) -> bytes:
        return _CLEAR if data == _ZERO else self._unpack.decompress(data)

    def keep(self, key: Key, pages: Numbers) -> None:
        """Keep these pages as they are now, as of `key`."""
        for n in pages.tolist():
            self._insert(key, n, self.packed(self.content(n)))

    def _insert(self, key: Key, page: int, data: bytes) -> None:
        versions = self._versions.setdefault(page, [])
        versions.insert(bisect_right(versions, key, key=_key), (key, data))
        self.kept += len(data) + OVERHEAD

    def put_back(self, key: Key, pages: Numbers) -> None:
        """Give these pages the content that they had at `key`."""
        for n in pages.tolist():
            content = self.unpacked(self._at(key, n))
            if self.content(n) != content:
                self.give(n, content)

    def _at(self, key: Key, page: int) -> bytes:
        versions = self._versions.get(page, [])
        n = bisect_right(versions, key, key=_key) - 1
        return versions[n][1] if n >= 0 else _ZERO

    def forget(self, pages: Numbers, after: Key | None, until: Key | None) -> None:
        """Forget versions of these pages that are later than `after`, up to and with `until`."""
        for n in pages.tolist():
            versions = self._versions.get(n)
            if versions is None:
                continue
            first = 0 if after is None else bisect_right(versions, after, key=_key)
            last = len(versions) if until is None else bisect_right(versions, until, key=_key)
            for _, data in versions[first:last]:
                self.kept -= len(data) + OVERHEAD
            del versions[first:last]
            if not versions:
                del self._versions[n]


class Pages(Versions):
    """The pages of a machine's memory."""

    def __init__(self, memory: AddressMap) -> None:
        super().__init__()
        self.memory, self.arena = memory, memory.arena
        self._given: list[int] = []
        self.count = memory.arena.used // PAGE_SIZE

    def written(self) -> Numbers:
        self.arena.need_all()
        return np.flatnonzero(self.arena.dirty[: self.count] & DIRTY_BIT)

    def clean(self) -> None:
        """Take note of writes from here on; the engine's translations must be flushed."""
        self.arena.dirty[: self.count] &= np.uint8(0xFF ^ DIRTY_BIT)

    def touch(self, pages: Numbers) -> None:
        self.arena.dirty[pages] |= 0xFF

    def everything(self) -> Numbers:
        """Pages that may hold anything but zeros."""
        self.arena.need_all()
        memory = self.arena.bytes[: self.count * PAGE_SIZE].reshape(-1, PAGE_SIZE)
        there = np.flatnonzero(~self.arena.untouched())
        return there[[memory[n].any() for n in there.tolist()]] if len(there) else there

    def content(self, page: int) -> memoryview:
        return self.arena.view[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]

    def give(self, page: int, content: bytes) -> None:
        self.arena.view[page * PAGE_SIZE : (page + 1) * PAGE_SIZE] = content
        self._given.append(page)

    def put_back(self, key: Key, pages: Numbers) -> None:
        """As any store's; what follows from a change is done for all of them at once."""
        super().put_back(key, pages)
        changed, self._given = np.array(self._given, np.int64), []
        self.arena.dirty[changed] = 0xFF
        for n in changed[self.arena.code[changed] != 0].tolist():
            self.memory.code_written(n * PAGE_SIZE, PAGE_SIZE)
