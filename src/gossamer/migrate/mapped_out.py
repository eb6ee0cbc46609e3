"""Writes memory to fixed places of a file, as QEMU 9.0 and later do with the capability mapped-ram.

Each block of the list has a bitmap (a bit for each page that is not zero) and room for all of its
pages behind it, so that a page that is sent again goes to the same place.
Source: QEMU 10.0, docs/devel/migration/mapped-ram.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Protocol

from gossamer.base.bits import align_up
from gossamer.base.data import Data
from gossamer.base.late import np
from gossamer.base.units import PAGE_SIZE, MiB
from gossamer.base.wire import WireWriter
from gossamer.migrate import ram
from gossamer.migrate.ram import U8, U64, Block

if TYPE_CHECKING:
    import numpy.typing as npt

CAPABILITY: Final = "mapped-ram"
ALIGNMENT: Final = MiB
"""Pages of a block begin at a multiple of this."""
_HEADER: Final = struct.Struct(">IQQQ")
_VERSION: Final = 1


class Room(Data, frozen=False):
    """Where a block is in the file, and which of its pages are there."""

    bitmap: int
    pages: int
    present: npt.NDArray[np.bool_]


class Places(Protocol):
    """A file that is written anywhere, as a `Channel`."""

    def place(self) -> int: ...

    def write_at(self, place: int, data: bytes | memoryview, /) -> object: ...

    def go_to(self, place: int) -> None: ...


class MappedOut:
    """The pages of one file.  `flushes`: no record says when they are all there."""

    most = 256
    flushes = False

    def __init__(self, channel: Places) -> None:
        self._channel = channel
        self.rooms: dict[str, Room] = {}
        self.sent = 0

    def block_list(self, blocks: Iterable[Block]) -> None:
        """The MEM_SIZE record and the room for all pages; the stream goes on behind it."""
        blocks = tuple(blocks)
        out = WireWriter()
        out.uint(sum(b.length for b in blocks) | ram.MEM_SIZE, 8)
        at = self._channel.place()
        for block in blocks:
            count = block.length // PAGE_SIZE
            out.cstr(block.name)
            out.uint(block.length, 8)
            bitmap = at + len(out.data) + _HEADER.size
            pages = align_up(bitmap + _bitmap_size(count), ALIGNMENT)
            out.raw(_HEADER.pack(_VERSION, PAGE_SIZE, bitmap, pages))
            self._channel.write_at(at, bytes(out.data))
            self.rooms[block.name] = Room(bitmap, pages, np.zeros(count, np.bool_))
            at, out = pages + block.length, WireWriter()
        self._channel.go_to(at)

    def pages(self, name: str, addresses: U64, pages: U8) -> None:
        """Put pages (ascending) where they belong, those in a row at once."""
        room = self.rooms[name]
        numbers = (addresses // np.uint64(PAGE_SIZE)).astype(np.int64)
        edges = np.flatnonzero(np.diff(numbers) != 1) + 1
        for part, some in zip(np.split(numbers, edges), np.split(pages, edges), strict=True):
            data = np.ascontiguousarray(some).reshape(-1).data
            self._channel.write_at(room.pages + int(part[0]) * PAGE_SIZE, data)
            self.sent += len(data)
        room.present[numbers] = True

    def zeros(self, name: str, addresses: U64) -> bool:
        """Pages that are zero (again) are not in the file."""
        self.rooms[name].present[(addresses // np.uint64(PAGE_SIZE)).astype(np.int64)] = False
        return True

    def sync(self) -> None:
        """Nothing can overtake anything."""

    def hold(self) -> None:
        """A file takes what it gets at once."""

    def release(self) -> None:
        """Write the bitmaps as they are now."""
        for room in self.rooms.values():
            bits = np.packbits(room.present, bitorder="little").tobytes()
            self._channel.write_at(room.bitmap, bits.ljust(_bitmap_size(len(room.present)), b"\0"))


def _bitmap_size(pages: int) -> int:
    """Bytes: words of 64 bits, little-endian, as on the hosts that QEMU writes them on."""
    return (pages + 63) // 64 * 8
