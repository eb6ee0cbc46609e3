"""The content of pages at checkpoints: a version of a page for each at which it had changed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from operator import itemgetter
from typing import Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from gossamer.base.units import PAGE_SIZE
from gossamer.core.memory import Arena

#: This consumer's bit of the dirty bytes.
DIRTY_BIT: Final = 0x04
#: What a version costs beside its bytes: a tuple, its key, its place in a list.
OVERHEAD: Final = 160
Key = tuple[int, int]
_ZERO: Final = b""
_CLEAR: Final = bytes(PAGE_SIZE)
_key: Final = itemgetter(0)


class Pages:
    """Versions of the pages of one arena; `size` is what they take, bytes."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.count = arena.used // PAGE_SIZE
        self.size = 0
        self._versions: dict[int, list[tuple[Key, bytes]]] = {}
        self._pack = zstandard.ZstdCompressor(level=1)
        self._unpack = zstandard.ZstdDecompressor()

    def written(self) -> NDArray[np.int64]:
        """Pages written since the last call of `clean`."""
        return np.flatnonzero(self.arena.dirty[: self.count] & DIRTY_BIT)

    def clean(self) -> None:
        """Take note of writes from here on; the engine's translations must be flushed."""
        self.arena.dirty[: self.count] &= np.uint8(0xFF ^ DIRTY_BIT)

    def everything(self) -> NDArray[np.int64]:
        """Pages that may hold anything but zeros."""
        memory = self.arena.bytes[: self.count * PAGE_SIZE].reshape(-1, PAGE_SIZE)
        there = np.flatnonzero(~self.arena.untouched())
        return there[[memory[n].any() for n in there.tolist()]] if len(there) else there

    def keep(self, key: Key, pages: NDArray[np.int64]) -> None:
        """Keep these pages as they are now, as of `key`."""
        view = self.arena.view
        for n in pages.tolist():
            content = view[n * PAGE_SIZE : (n + 1) * PAGE_SIZE]
            data = _ZERO if content == _CLEAR else self._pack.compress(content)
            versions = self._versions.setdefault(n, [])
            versions.insert(bisect_right(versions, key, key=_key), (key, data))
            self.size += len(data) + OVERHEAD

    def put_back(
        self, key: Key, pages: NDArray[np.int64], write: Callable[[int, bytes], None]
    ) -> None:
        """Give these pages the content that they had at `key`."""
        view = self.arena.view
        for n in pages.tolist():
            data = self._at(key, n)
            content = _CLEAR if data == _ZERO else self._unpack.decompress(data)
            at = n * PAGE_SIZE
            if view[at : at + PAGE_SIZE] != content:
                write(at, content)

    def _at(self, key: Key, page: int) -> bytes:
        versions = self._versions.get(page, [])
        n = bisect_right(versions, key, key=_key) - 1
        return versions[n][1] if n >= 0 else _ZERO

    def forget(self, pages: NDArray[np.int64], after: Key | None, until: Key | None) -> None:
        """Forget versions of these pages that are later than `after`, up to and with `until`."""
        for n in pages.tolist():
            versions = self._versions.get(n)
            if versions is None:
                continue
            first = 0 if after is None else bisect_right(versions, after, key=_key)
            last = len(versions) if until is None else bisect_right(versions, until, key=_key)
            for _, data in versions[first:last]:
                self.size -= len(data) + OVERHEAD
            del versions[first:last]
            if not versions:
                del self._versions[n]
