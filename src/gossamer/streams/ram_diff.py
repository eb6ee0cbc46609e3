"""Which RAM pages of two streams differ."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from gossamer.base.data import Data, field
from gossamer.migrate.inspect import StreamFile
from gossamer.migrate.pages import FILLED, I64, STORED, PageIndex, PageTable, mapped_pages


class BlockDiff(Data, frozen=False):
    """One block: page numbers that differ, and those that only one stream has."""

    name: str
    pages: int
    differ: list[int] = field(default_factory=list)
    only_a: list[int] = field(default_factory=list)
    only_b: list[int] = field(default_factory=list)
    lengths: tuple[int, int] | None = None
    """Lengths in bytes when they differ, 0 for a block that is not there."""

    @property
    def equal(self) -> bool:
        return not (self.differ or self.only_a or self.only_b or self.lengths)


class Memory(Data, frozen=False):
    """A stream's pages: where they are, and the file to read them from."""

    file: BinaryIO
    index: PageIndex
    page_size: int

    @classmethod
    def of(cls, stream: StreamFile, index: PageIndex) -> Memory:
        """Finish the index of a walked stream."""
        for block in list(index.blocks.values()):
            if block.mapped is not None:
                for run in mapped_pages(stream.file, block):
                    index(run)
        return cls(stream.file, index, stream.page_size)


def compare_ram(a: Memory, b: Memory) -> Iterator[BlockDiff]:
    """Block by block, in the order of `a`."""
    for name in dict.fromkeys([*a.index.blocks, *b.index.blocks]):
        one, two = a.index.blocks.get(name), b.index.blocks.get(name)
        lengths = (one.length if one else 0, two.length if two else 0)
        found = BlockDiff(name, max(lengths) // a.page_size)
        if lengths[0] != lengths[1]:
            found.lengths = lengths
        if one is not None and two is not None and a.page_size == b.page_size:
            _block(a, b, a.index.table(name), b.index.table(name), found)
        yield found


def _block(a: Memory, b: Memory, x: PageTable, y: PageTable, found: BlockDiff) -> None:
    found.only_a = np.setdiff1d(x.numbers, y.numbers, assume_unique=True).tolist()
    found.only_b = np.setdiff1d(y.numbers, x.numbers, assume_unique=True).tolist()
    _, i, j = np.intersect1d(x.numbers, y.numbers, assume_unique=True, return_indices=True)
    kinds_x, kinds_y = x.kinds[i], y.kinds[j]
    filled = (kinds_x == FILLED) & (kinds_y == FILLED)
    differ = filled & (x.places[i] != y.places[j])
    stored = (kinds_x == STORED) & (kinds_y == STORED)
    at = np.flatnonzero(stored)
    differ[at] = _stored(a, b, x.places[i[at]], y.places[j[at]])
    for k in np.flatnonzero(~filled & ~stored).tolist():
        page_x = x.page(a.file, int(i[k]), a.page_size)
        differ[k] = page_x != y.page(b.file, int(j[k]), b.page_size)
    found.differ = x.numbers[i[np.flatnonzero(differ)]].tolist()


def _stored(a: Memory, b: Memory, x: I64, y: I64) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether plain pages differ; neighbours in both files are read together."""
    out = np.zeros(len(x), np.bool_)
    if not len(x):
        return out
    stride = a.page_size + 8
    row = (np.diff(x) == stride) & (np.diff(y) == stride)
    bounds = [0, *(np.flatnonzero(~row) + 1).tolist(), len(x)]
    for lo, hi in itertools.pairwise(bounds):
        for start in range(lo, hi, 256):
            count = min(256, hi - start)
            one = _rows(a.file, int(x[start]), count, stride)
            two = _rows(b.file, int(y[start]), count, stride)
            size = a.page_size
            out[start : start + count] = (one[:, :size] != two[:, :size]).any(axis=1)
    return out


def _rows(
    file: BinaryIO, place: int, count: int, stride: int
) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    file.seek(place)
    length = (count - 1) * stride + stride - 8
    raw = bytearray(file.read(length)) + bytes(8)
    return np.frombuffer(raw, np.uint8, count * stride).reshape(count, stride)


def ranges_text(pages: list[int], most: int = 12) -> str:
    """`0-3, 7, 9-12`, with a count of what was left out."""
    if not pages:
        return ""
    numbers = np.array(pages)
    parts = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    shown = [
        f"{part[0]:#x}" if len(part) == 1 else f"{part[0]:#x}-{part[-1]:#x}"
        for part in parts[:most]
    ]
    if len(parts) > most:
        shown.append(f"… {len(parts) - most} more ranges")
    return ", ".join(shown)
