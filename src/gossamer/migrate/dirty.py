"""Which pages of a machine still have to go: the ones that changed since they were sent.

The engine and every writer of memory set a page's byte in `Arena.dirty`; each consumer owns one bit
of it.  A page is clean for a consumer from the moment that it takes the bit away until the next
write: native code takes the slow path to a page whose byte is not all ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from gossamer.base.late import np
from gossamer.base.units import PAGE_SIZE
from gossamer.core.memory import Arena, RamBlock

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: A transfer's bit of the dirty bytes.
DIRTY_BIT: Final = 0x02

Pages: TypeAlias = "list[tuple[RamBlock, NDArray[np.int64]]]"
"""Page numbers inside each block, ascending."""


class DirtyPages:
    """The pages of `blocks` that have yet to be sent, all of them to begin with.

    `flush` makes the engine forget that a page may be written the fast way.
    """

    def __init__(self, arena: Arena, blocks: list[RamBlock], flush: Callable[[], None]) -> None:
        self.arena, self.blocks, self._flush = arena, blocks, flush
        self._waiting = np.zeros(arena.used // PAGE_SIZE, np.bool_)
        arena.dirty[: len(self._waiting)] |= DIRTY_BIT
        self.left = 0
        self._block = self._at = 0
        #: Pages that are zero: they need not be read.
        self.zero: NDArray[np.bool_] | None = None
        self.sync()

    def look_at_untouched(self) -> None:
        """Find out which pages were never written to, so that none of them is read."""
        self.zero = self.arena.untouched()

    def sync(self) -> int:
        """Take note of what was written since the last time; how many pages that were."""
        marks = self.arena.dirty[: len(self._waiting)]
        written = (marks & DIRTY_BIT) != 0
        count = int(written.sum())
        if count:
            marks[written] &= np.uint8(0xFF ^ DIRTY_BIT)
            self._flush()
            self._waiting |= written
            if self.zero is not None:
                self.zero[written] = False
            self.left = int(self._waiting.sum())
        self._block = self._at = 0
        return count

    def take(self, most: int) -> Pages:
        """Up to `most` pages to be sent now, block after block from where it left off."""
        out: Pages = []
        while most > 0 and self._block < len(self.blocks):
            block = self.blocks[self._block]
            first, pages = block.offset // PAGE_SIZE, block.size // PAGE_SIZE
            rest = self._waiting[first + self._at : first + pages]
            found = np.flatnonzero(rest)[:most]
            if not len(found):
                self._block, self._at = self._block + 1, 0
                continue
            out.append((block, (found + self._at).astype(np.int64)))
            rest[found] = False
            self._at += int(found[-1]) + 1
            most -= len(found)
            self.left -= len(found)
        return out

    # --- on demand (postcopy) ---------------------------------------------------------------------

    def take_from(self, block: RamBlock, number: int, count: int) -> Pages:
        """What of `count` pages has to be sent yet; `take` goes on behind them."""
        first = block.offset // PAGE_SIZE
        rest = self._waiting[first + number : first + number + count]
        found = np.flatnonzero(rest)
        rest[found] = False
        self.left -= len(found)
        self._block, self._at = self.blocks.index(block), number + count
        return [(block, (found + number).astype(np.int64))] if len(found) else []

    def again(self) -> None:
        """Let `take` begin with the first block."""
        self._block = self._at = 0

    def ranges(self, block: RamBlock) -> list[tuple[int, int]]:
        """(first, count) of each row of pages that have to be sent yet."""
        first = block.offset // PAGE_SIZE
        marks = self._waiting[first : first + block.size // PAGE_SIZE]
        edges = np.flatnonzero(np.diff(marks, prepend=False, append=False))
        return [(int(lo), int(hi - lo)) for lo, hi in zip(edges[::2], edges[1::2], strict=True)]

    def arrived(self, block: RamBlock, bitmap: bytes) -> None:
        """The receiver has the pages whose bits are set, and no other."""
        first, count = block.offset // PAGE_SIZE, block.size // PAGE_SIZE
        bits = np.unpackbits(np.frombuffer(bitmap, np.uint8), count=count, bitorder="little")
        self._waiting[first : first + count] = bits == 0
        self.left = int(self._waiting.sum())
