"""Places that are compiled when the guest rests: hot, but not enough to compile them while it runs.

A place is kept with where fetches went when it was found: a guest that rests is somewhere else,
most often in another address space.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.data import Data
from gossamer.engine.regions.view import Fetches

#: Places that are kept, each with a copy of a fetch TLB (4 KiB); the least hot give way.
MOST: Final = 512


class Found(Data):
    """A place that was met `looks` times, at an effective address."""

    looks: int
    ea: int
    fetches: Fetches


class PutBy:
    """Places by their entries."""

    def __init__(self) -> None:
        self._found: dict[int, Found] = {}

    def __len__(self) -> int:
        return len(self._found)

    def put(self, entry: int, found: Found) -> None:
        """Keep a place, as it was found last."""
        self._found[entry] = found
        if len(self._found) > MOST:
            del self._found[min(self._found, key=self._looks)]

    def take(self) -> tuple[int, Found] | None:
        """The hottest place, which is not kept any more; None where there is none."""
        if not self._found:
            return None
        entry = max(self._found, key=self._looks)
        return entry, self._found.pop(entry)

    def clear(self) -> None:
        self._found.clear()

    def _looks(self, entry: int) -> int:
        return self._found[entry].looks
