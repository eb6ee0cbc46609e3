"""Whether a stream has every page of its RAM blocks.

A sender's first pass sends every page of every block.  Where pages lack, they went another way: the
other connections of a multifd migration, memory on demand after a postcopy switch-over, a file of
the host (x-ignore-shared); or the stream is a forgery.  Such a stream is no whole machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gossamer.base.data import Data, field
from gossamer.base.late import np
from gossamer.base.units import PAGE_SIZE
from gossamer.migrate import ram
from gossamer.migrate.ram import BlockList, Record, Run

if TYPE_CHECKING:
    import numpy.typing as npt

MOST: Final = 1 << 40
"""Bytes of all blocks together up to which pages are counted (a quarter of a gigabyte of marks,
of which only those of pages that came are ever touched)."""


class Coverage(Data, frozen=False):
    """Pages of each block that have come; what `on_ram` of a walk may call."""

    page_size: int = PAGE_SIZE
    flushed: bool = False
    """A MULTIFD_FLUSH record was there."""
    _seen: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    _elsewhere: set[str] = field(default_factory=set)
    _beyond: int = 0

    def __call__(self, record: Record) -> None:
        if isinstance(record, Run):
            seen = self._seen.get(record.block.name)
            if seen is not None:
                seen[(record.addresses // np.uint64(self.page_size)).astype(np.int64)] = True
        elif isinstance(record, BlockList):
            self._list(record)
        elif record.kind == ram.MULTIFD_FLUSH:
            self.flushed = True

    def _list(self, record: BlockList) -> None:
        self._seen, self._elsewhere = {}, set()
        self._beyond = record.total if record.total > MOST else 0
        for block in () if self._beyond else record.blocks:
            if block.mapped is not None:
                self._elsewhere.add(block.name)  # absent pages of a mapped-ram file are zero
            else:
                self._seen[block.name] = np.zeros(-(-block.length // self.page_size), np.bool_)

    def missing(self) -> dict[str, tuple[int, int]]:
        """By block: pages that did not come, and pages in all; only where some did not."""
        counted = {
            name: (len(seen) - int(np.count_nonzero(seen)), len(seen))
            for name, seen in self._seen.items()
        }
        return {name: found for name, found in counted.items() if found[0]}

    @property
    def fault(self) -> str:
        """Why this is no whole machine, in one line; empty when every page is there."""
        if self._beyond:
            return f"RAM of {self._beyond:#x} bytes cannot be checked for missing pages"
        lacking = self.missing()
        if not lacking:
            return ""
        listed = ", ".join(f"{name} ({few:,} of {all_:,})" for name, (few, all_) in lacking.items())
        why = "" if not self.flushed else ": their records are on the other connections"
        return f"pages are missing in {listed}{why}; {NOT_WHOLE}"


NOT_WHOLE: Final = (
    "it is not a whole machine, but perhaps one connection of a multifd migration, or a part of a "
    "postcopy"
)
