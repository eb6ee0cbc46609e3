"""The part of a save whose bytes lie at fixed places: memory, page by page, and the stream around.

It is a stream as QEMU writes with the capability mapped-ram, from `start` of the file on.  The AREA
frame says where, and has a checksum of each 64 KiB; 0 is a hole, which is not in the file and reads
as zeros.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, TypeAlias, cast

import xxhash

from gossamer.base.data import Data
from gossamer.base.errors import StreamError
from gossamer.base.late import np
from gossamer.core import host
from gossamer.core.memory import Arena
from gossamer.migrate.container_frame import CHUNK as FRAME

if TYPE_CHECKING:
    import numpy.typing as npt

PIECE: Final = 64 << 10
"""Bytes that share a checksum."""
MOST_SHOWN: Final = 8192
"""So many parts of a file are put under memory at the most; what is left is read."""
_HEAD: Final = struct.Struct(">QQQI")
_MOST_GAP: Final = 4 << 20
Sums: TypeAlias = "npt.NDArray[np.uint64]"
Flags: TypeAlias = "npt.NDArray[np.bool_]"


def digest(data: bytes | memoryview) -> int:
    """The checksum of a piece that is not a hole."""
    return xxhash.xxh3_64_intdigest(data) or 1


class Area(Data):
    """`length` bytes from `start` of the file on, and the checksums of their pieces.

    The frames go on at `end`, which need not be right behind.
    """

    start: int
    length: int
    end: int
    sums: Sums

    @staticmethod
    def frame_size(length: int) -> int:
        """Bytes that `pack` makes for an area of `length` bytes."""
        return _HEAD.size + -(-length // PIECE) * 8

    def pack(self) -> bytes:
        return (
            _HEAD.pack(self.start, self.length, self.end, PIECE) + self.sums.astype(">u8").tobytes()
        )

    @classmethod
    def parse(cls, data: bytes, path: str, offset: int) -> Area:
        """Read `pack`'s bytes; StreamError when they are not."""
        if len(data) < _HEAD.size:
            raise StreamError(f"AREA of {len(data)} bytes", path, offset)
        start, length, end, piece = _HEAD.unpack(data[: _HEAD.size])
        if piece != PIECE or start % PIECE or start <= offset or len(data) > FRAME:
            text = f"AREA at {start:#x} in pieces of {piece} bytes, expected {PIECE}"
            raise StreamError(text, path, offset)
        if not length or len(data) != cls.frame_size(length):
            text = f"AREA of {length} bytes has {len(data) - _HEAD.size} bytes of checksums"
            raise StreamError(text, path, offset)
        if not 0 <= end - start - length < _MOST_GAP:
            raise StreamError(f"AREA goes on at {end:#x}", path, offset)
        sums = np.frombuffer(data, ">u8", offset=_HEAD.size).astype(np.uint64)
        return cls(start, length, end, sums)


class Placed(Protocol):
    """A file that says where in a file of the host its bytes are."""

    def fileno(self) -> int: ...

    def extents(self, offset: int, length: int) -> list[tuple[int, int, int]] | None:
        """(offset, place, length), ascending, the rest being zero; None when they are nowhere."""


class AreaReader(io.RawIOBase):
    """The stream in an area as a file that can seek; `read` gives verified bytes only."""

    def __init__(self, file: BinaryIO, area: Area, path: str) -> None:
        super().__init__()
        self.area = area
        self._file, self._path = file, path
        self._at = 0
        self._piece, self._data = -1, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.area.length}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def readinto(self, buffer: object, /) -> int:
        """As much as one piece has left."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        number, inside = divmod(self._at, PIECE)
        if self._at >= self.area.length or not len(view):
            return 0
        got = self.piece(number)[inside : inside + len(view)]
        view[: len(got)] = got
        self._at += len(got)
        return len(got)

    def piece(self, number: int) -> bytes:
        """A piece, verified."""
        if number != self._piece:
            size = min(PIECE, self.area.length - number * PIECE)
            if not self.area.sums[number]:
                data = bytes(size)
            else:
                data = self._read(number * PIECE, size)
                self._check(number, data)
            self._piece, self._data = number, data
        return self._data

    def verify(self) -> None:
        """Read all of it; StreamError at the first piece that is wrong."""
        for number in np.flatnonzero(self.area.sums).tolist():
            self.piece(number)

    def _read(self, offset: int, size: int) -> bytes:
        place = self.area.start + offset
        try:
            self._file.seek(place)
            data = self._file.read(size)
        except OSError as fault:
            raise StreamError(f"cannot be read: {fault}", self._path, place) from None
        if len(data) < size:
            text = f"the file ends too early: {size} bytes needed, {len(data)} left"
            raise StreamError(text, self._path, place)
        return data

    def _check(self, number: int, data: bytes | memoryview) -> None:
        if digest(data) != int(self.area.sums[number]):
            place = self.area.start + number * PIECE
            text = f"piece {number} of memory and devices: damaged (checksum)"
            raise StreamError(text, self._path, place)

    # --- into memory ------------------------------------------------------------------------------

    def bring(
        self, arena: Arena, at: int, offset: int, length: int, advance: Callable[[int], None]
    ) -> None:
        """Let the arena have [offset, offset + length) from byte `at` on, verified.

        Memory there is clear.  Where the host can, it shows the file (`Arena.take_own`).
        """
        first, stop = -(-offset // PIECE), (offset + length) // PIECE
        if first >= stop:
            self._copy(arena, at, offset, length)
            return
        self._copy(arena, at, offset, first * PIECE - offset)
        end = stop * PIECE
        self._copy(arena, at + end - offset, end, offset + length - end)
        shown = self._show(arena, at - offset, first, stop)
        there = np.flatnonzero(self.area.sums[first:stop]) + first
        for count, number in enumerate(there.tolist()):
            place = at - offset + number * PIECE
            view = arena.view[place : place + PIECE]
            if not shown[number - first]:
                view[:] = self._read(number * PIECE, PIECE)
            self._check(number, view)
            if not count % 64:
                advance(64 * PIECE)

    def _copy(self, arena: Arena, at: int, offset: int, length: int) -> None:
        """By way of `read`: parts of pieces."""
        self.seek(offset)
        while length:
            data = self.read(length)
            if not data:
                raise StreamError("memory reaches beyond the area", self._path, self.area.start)
            arena.view[at : at + len(data)] = data
            at, length = at + len(data), length - len(data)

    def _show(self, arena: Arena, moved: int, first: int, stop: int) -> Flags:
        """Put what is in the file of these pieces under memory; which of them."""
        shown = np.zeros(stop - first, np.bool_)
        if (file := _placed(self._file)) is None:
            return shown
        extents = file.extents(self.area.start + first * PIECE, (stop - first) * PIECE)
        if extents is None or len(extents) > MOST_SHOWN:
            return shown
        there = self.area.sums[first:stop] != 0
        fd = host.open_anew(file.fileno())
        if fd is None:
            return shown
        try:
            for lo, hi, place in self._stretches(extents, there, first, stop):
                if not arena.show_file(moved + lo * PIECE, (hi - lo) * PIECE, fd, place):
                    break
                shown[lo - first : hi - first] = True
        finally:
            os.close(fd)
        return shown

    def _stretches(
        self, extents: list[tuple[int, int, int]], there: Flags, first: int, stop: int
    ) -> Iterator[tuple[int, int, int]]:
        """Pieces in a row that lie in a row in the file: first, behind the last, place."""
        start = self.area.start
        for begin, place, length in extents:
            lo = max(-(-(begin - start) // PIECE), first)
            hi = min((begin - start + length) // PIECE, stop)
            for low, high in runs(there[lo - first : hi - first]) if lo < hi else ():
                yield lo + low, lo + high, place + start + (lo + low) * PIECE - begin


def runs(flags: Flags) -> list[tuple[int, int]]:
    """Stretches where the flags are set: (first, behind the last)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])))).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


class _Whole:
    """A plain file: every byte is where it is."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file

    def fileno(self) -> int:
        return self._file.fileno()

    def extents(self, offset: int, length: int) -> list[tuple[int, int, int]] | None:
        size = self._file.seek(0, io.SEEK_END)
        return [(offset, offset, length)] if offset + length <= size else None


def _placed(file: BinaryIO) -> Placed | None:
    """Where the bytes of an open file are, if they are anywhere."""
    raw: object = getattr(file, "raw", file)
    if isinstance(raw, io.FileIO):
        return _Whole(raw)
    return cast(Placed, raw) if hasattr(raw, "extents") else None
