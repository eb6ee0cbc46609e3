"""The picture that all viewers are shown, and which parts of it one of them has yet to get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from gossamer.base.late import np
from gossamer.control.screen import EMPTY, Look, Pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

CELL_WIDTH: Final = 64
CELL_HEIGHT: Final = 16
BAND: Final = 1 << 18
"""Pixels of one rectangle at the most."""
Cells: TypeAlias = "NDArray[np.bool_]"
Rectangle = tuple[int, int, int, int]
"""x, y, width, height."""


def cells(width: int, height: int, value: bool = False) -> Cells:
    """A mark for each cell of a screen."""
    return np.full((-(-height // CELL_HEIGHT), -(-width // CELL_WIDTH)), value, np.bool_)


class Picture:
    """What the screen showed at the last look."""

    def __init__(self) -> None:
        self.pixels: Pixels = np.zeros(EMPTY[::-1], np.uint32)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.pixels.shape[1], self.pixels.shape[0]

    def apply(self, look: Look) -> Cells | None:
        """Take a look on; the cells that changed, None: the size did."""
        new = look.pixels()
        if look.whole:
            before, self.pixels = self.pixels, new
            return None if before.shape != new.shape else _changed(before, new, 0)
        first, last = look.first, look.first + new.shape[0]
        if new.shape[1] != self.pixels.shape[1] or last > self.pixels.shape[0]:
            return None  # the mode changed under a look at lines: a whole one comes next
        part = self.pixels[first:last]
        found = cells(*self.size)
        changed = _changed(part, new, first)
        top = first // CELL_HEIGHT
        found[top : top + changed.shape[0]] = changed
        part[:] = new
        return found

    def part(self, where: Rectangle) -> Pixels:
        """Pixels of a rectangle; black where there is no picture (any more)."""
        x, y, width, height = where
        found = self.pixels[y : y + height, x : x + width]
        if found.shape == (height, width):
            return found
        padded = np.zeros((height, width), np.uint32)
        padded[: found.shape[0], : found.shape[1]] = found
        return padded


def _changed(before: Pixels, now: Pixels, first: int) -> Cells:
    """Cells in which two pictures differ; their first line is line `first` of the screen."""
    skip = first % CELL_HEIGHT
    height, width = now.shape
    found = cells(width, skip + height)
    differs: Cells = np.not_equal(before, now, dtype=np.bool_)
    if not differs.any():
        return found
    padded = np.zeros((found.shape[0] * CELL_HEIGHT, found.shape[1] * CELL_WIDTH), np.bool_)
    padded[skip : skip + height, :width] = differs
    shape = (found.shape[0], CELL_HEIGHT, found.shape[1], CELL_WIDTH)
    return np.asarray(padded.reshape(shape).any(axis=(1, 3)))


def rectangles(marks: Cells, size: tuple[int, int], widest: int) -> list[Rectangle]:
    """Rectangles that cover the marked cells of a screen, each of at most `BAND` pixels."""
    width, height = size
    found: list[Rectangle] = []
    open_: dict[tuple[int, int], int] = {}
    for row in range(marks.shape[0] + 1):
        runs = _runs(marks[row], widest) if row < marks.shape[0] else []
        for run in [r for r in open_ if r not in runs]:
            found += _bands(run, open_.pop(run), row, width, height)
        for run in runs:
            open_.setdefault(run, row)
    return sorted(found, key=lambda r: (r[1], r[0]))


def _runs(row: Cells, widest: int) -> list[tuple[int, int]]:
    """Columns from and to of marked cells side by side, at most `widest` pixels."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], row, [False])).astype(np.int8)))
    most = widest // CELL_WIDTH
    return [
        (at, min(at + most, end))
        for start, end in edges.reshape(-1, 2).tolist()
        for at in range(start, end, most)
    ]


def _bands(run: tuple[int, int], top: int, bottom: int, width: int, height: int) -> list[Rectangle]:
    x, end = run[0] * CELL_WIDTH, min(run[1] * CELL_WIDTH, width)
    y, last = top * CELL_HEIGHT, min(bottom * CELL_HEIGHT, height)
    lines = max(BAND // (end - x) // CELL_HEIGHT, 1) * CELL_HEIGHT
    return [(x, at, end - x, min(lines, last - at)) for at in range(y, last, lines)]
