"""Writes an area: memory from where it is, what is around it from pieces, each 64 KiB once.

Pieces that a snapshot before has already are shared with it where the file can do that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from gossamer.base.bits import align_up
from gossamer.base.data import Data
from gossamer.base.late import np
from gossamer.base.units import PAGE_SIZE, MiB
from gossamer.migrate.area import PIECE, Sums, digest, runs

if TYPE_CHECKING:
    import numpy.typing as npt

Flags: TypeAlias = "npt.NDArray[np.bool_]"
PAGES: Final = PIECE // PAGE_SIZE
"""Pages in a piece."""
_MOST: Final = MiB // PIECE
"""Pieces that are written at once."""


class Sparse:
    """Bytes at places of a stream, kept until they are asked for; a channel for `MappedOut`."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, bytearray]] = []
        self.length = 0

    def write(self, data: bytes | memoryview, /) -> None:
        place, last = self._parts[-1] if self._parts else (0, bytearray())
        if place + len(last) == self.length and self._parts:
            last += data
        else:
            self.write_at(self.length, data)
        self.length += len(data)

    def write_at(self, place: int, data: bytes | memoryview, /) -> None:
        self._parts.append((place, bytearray(data)))

    def place(self) -> int:
        """Where the next bytes go."""
        return self.length

    def go_to(self, place: int) -> None:
        """Leave room: the next bytes go to `place`."""
        self.length = place

    def touch(self, flags: Flags) -> None:
        """Flag the pieces in which something lies."""
        for place, data in self._parts:
            flags[place // PIECE : -(-(place + len(data)) // PIECE)] = True

    def into(self, piece: bytearray, offset: int) -> None:
        """Put in what lies in [offset, offset + len(piece))."""
        for place, data in self._parts:
            lo, hi = max(place, offset), min(place + len(data), offset + len(piece))
            if lo < hi:
                piece[lo - offset : hi - offset] = data[lo - place : hi - place]


class Memory(Data):
    """A block at byte `offset` of the area; `blank` and `changed` are flags of its pages.

    Blank pages are known to be zero; unchanged ones are as in the area written before.
    """

    name: str
    offset: int
    view: memoryview
    blank: Flags
    changed: Flags

    @property
    def whole(self) -> tuple[int, int]:
        """The pieces that hold nothing else: first, and behind the last."""
        return -(-self.offset // PIECE), (self.offset + len(self.view)) // PIECE

    def by_piece(self, flags: Flags) -> Flags:
        """Flags of pages, for each of the whole pieces; a row has a page's each."""
        first, stop = self.whole
        skipped = (first * PIECE - self.offset) // PAGE_SIZE
        return flags[skipped : skipped + (stop - first) * PAGES].reshape(-1, PAGES)


class AreaWriter:
    """`put(piece, buffers)` takes pieces in a row, `share(first, stop)` those of `before`.

    `unit`: pieces that can only be shared together.
    """

    def __init__(
        self,
        rest: Sparse,
        memory: Sequence[Memory],
        put: Callable[[int, Sequence[memoryview]], None],
        share: Callable[[int, int], None],
        *,
        before: Sums | None = None,
        unit: int = 1,
    ) -> None:
        self._rest, self._memory, self._put, self._share = rest, memory, put, share
        self._unit = unit
        self.length = rest.length
        count = -(-self.length // PIECE)
        self.sums: Sums = np.zeros(count, np.uint64)
        self._same = np.zeros(count, np.bool_)
        self._loose = np.ones(count, np.bool_)
        if before is not None:
            self._compare(before)

    def _compare(self, before: Sums) -> None:
        """Find the pieces that are as they were."""
        for block in self._memory:
            first, stop = block.whole
            if first < stop <= len(before):
                self._same[first:stop] = ~block.by_piece(block.changed).any(axis=1)
        padded = np.zeros(align_up(len(self._same), self._unit), np.bool_)
        padded[: len(self._same)] = self._same
        together = padded.reshape(-1, self._unit).all(axis=1)
        self._same = np.repeat(together, self._unit)[: len(self._same)]
        same = np.flatnonzero(self._same)
        self.sums[same] = before[same]

    def memory(self, advance: Callable[[int], None]) -> dict[str, Flags]:
        """Write the whole pieces of all blocks; by block, the pages that are in the file."""
        present = {}
        for block in self._memory:
            first, stop = block.whole
            flags = np.ones(len(block.view) // PAGE_SIZE, np.bool_)
            if first < stop:
                self._loose[first:stop] = False
                self._block(block, first, stop, advance)
                inside = block.by_piece(flags)
                inside[:] = (self.sums[first:stop] != 0)[:, None]
            present[block.name] = flags
        return present

    def _block(self, block: Memory, first: int, stop: int, advance: Callable[[int], None]) -> None:
        at = first * PIECE - block.offset
        view = block.view[at : at + (stop - first) * PIECE]
        words = np.frombuffer(view, np.uint64).reshape(-1, PIECE // 8)
        todo = np.flatnonzero(~self._same[first:stop] & ~block.by_piece(block.blank).all(axis=1))
        # Most pieces that are not zero show it in the first line: only the others are read whole.
        todo = np.array(
            [n for n in todo.tolist() if words[n, :8].any() or words[n].any()], np.int64
        )
        sums = self.sums[first:stop]
        for low in range(0, len(todo), _MOST):
            some = todo[low : low + _MOST].tolist()
            for n in some:
                sums[n] = digest(view[n * PIECE : (n + 1) * PIECE])
            advance(len(some) * PIECE)
        flags = np.zeros(stop - first, np.bool_)
        flags[todo] = True
        if self._unit > 1:
            flags = self._rounded(flags, first)
        most = align_up(_MOST, self._unit)
        for lo, hi in runs(flags):
            for n in range(lo, hi, most):
                end = min(n + most, hi)
                self._put(first + n, [view[n * PIECE : end * PIECE]])

    def _rounded(self, flags: Flags, first: int) -> Flags:
        """What is inside whole units of the block; the rest becomes loose."""
        unit = self._unit
        for lo, hi in runs(flags):
            lo, hi = (first + lo) // unit * unit, align_up(first + hi, unit)
            inside = lo >= first and hi <= first + len(flags)
            if inside:
                flags[lo - first : hi - first] = True
            else:
                self._loose[lo : min(hi, len(self._loose))] = True
                flags[max(lo - first, 0) : hi - first] = False
        return flags

    def others(self) -> Sums:
        """Write what is not memory alone, and share what has not changed; the checksums."""
        touched = np.zeros(len(self._loose), np.bool_)
        self._rest.touch(touched)
        for block in self._memory:
            touched[block.offset // PIECE : -(-(block.offset + len(block.view)) // PIECE)] = True
        flags = self._loose & touched
        if self._unit > 1:
            padded = np.zeros(align_up(len(flags), self._unit), np.bool_)
            padded[: len(flags)] = flags
            grouped = padded.reshape(-1, self._unit).any(axis=1)
            flags = np.repeat(grouped, self._unit)[: len(flags)]
        for lo, hi in self._whole_units(flags):
            hi = min(hi, len(flags))
            for first in range(lo, hi, self._unit):
                self._loose_unit(first, min(first + self._unit, hi))
        shared = self._same & (self.sums != 0) & ~flags
        for lo, hi in self._whole_units(shared):
            self._share(lo, hi)
        return self.sums

    def _loose_unit(self, first: int, stop: int) -> None:
        """Write pieces that are put together, unless all of them are zero."""
        pieces = [memoryview(self._piece(n)) for n in range(first, stop)]
        for n, piece in enumerate(pieces, first):
            self.sums[n] = digest(piece) if np.frombuffer(piece, np.uint8).any() else 0
        if self.sums[first:stop].any():
            self._put(first, pieces)

    def _whole_units(self, flags: Flags) -> Iterator[tuple[int, int]]:
        """Runs of units of which a piece is flagged."""
        unit = self._unit
        padded = np.zeros(align_up(len(flags), unit), np.bool_)
        padded[: len(flags)] = flags
        fold: Any = np.logical_or.reduce  # the stubs of numpy 2.5 know no axis here
        units: Flags = fold(padded.reshape(-1, unit), axis=1)
        for lo, hi in runs(units):
            yield lo * unit, hi * unit

    def _piece(self, number: int) -> bytearray:
        """A piece put together from all that lies in it."""
        offset = number * PIECE
        piece = bytearray(min(PIECE, self.length - offset))
        self._rest.into(piece, offset)
        for block in self._memory:
            lo = max(block.offset, offset)
            hi = min(block.offset + len(block.view), offset + len(piece))
            if lo < hi:
                at = block.offset
                piece[lo - offset : hi - offset] = block.view[lo - at : hi - at]
        return piece
