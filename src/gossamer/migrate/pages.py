"""Pages: packing and unpacking, loading records into memory, and an index of what is where."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, BinaryIO, Final, TypeAlias

from gossamer.base.data import Data, field
from gossamer.base.errors import StreamError
from gossamer.base.late import np
from gossamer.base.units import PAGE_SIZE
from gossamer.migrate import ram
from gossamer.migrate.ram import U8, Block, BlockList, Record, Run

if TYPE_CHECKING:
    import numpy.typing as npt

I64: TypeAlias = "npt.NDArray[np.int64]"


def xbzrle_decode(packed: bytes | memoryview, page: bytearray | memoryview, path: str = "") -> None:
    """Apply an XBZRLE delta to `page`, the page's content so far.

    Pairs of counts: bytes to keep, bytes to replace; each 1 or 2 bytes of 7 bits, low ones first.
    """
    at, put, left = 0, 0, len(packed)
    keep = True
    while at < left:
        count = packed[at] & 0x7F
        if packed[at] & 0x80:
            if at + 1 >= left or packed[at + 1] & 0x80:
                raise StreamError("an XBZRLE count is cut or longer than two bytes", path, at)
            count |= packed[at + 1] << 7
            at += 1
        at += 1
        if put + count > len(page):
            raise StreamError(
                f"an XBZRLE delta reaches byte {put + count} of a page of {len(page)}", path, at
            )
        if not keep:
            if at + count > left:
                raise StreamError(f"an XBZRLE delta misses {at + count - left} bytes", path, at)
            page[put : put + count] = packed[at : at + count]
            at += count
        put += count
        keep = not keep


def xbzrle_encode(old: bytes, new: bytes) -> bytes:
    """The delta from `old` to `new` (equal lengths up to 16383); empty when they are equal."""
    changed = np.frombuffer(old, np.uint8) != np.frombuffer(new, np.uint8)
    if not changed.any():
        return b""
    edges = [0, *(np.flatnonzero(np.diff(changed)) + 1).tolist(), len(new)]
    out = bytearray()
    if changed[0]:
        out += _count(0)
    for lo, hi in itertools.pairwise(edges):
        if hi == len(new) and not changed[lo]:
            break
        out += _count(hi - lo)
        if changed[lo]:
            out += new[lo:hi]
    return bytes(out)


def _count(n: int) -> bytes:
    return bytes([n]) if n < 0x80 else bytes([0x80 | n & 0x7F, n >> 7])


def inflate_page(packed: bytes | memoryview, page_size: int, path: str = "") -> bytes:
    """One compressed page; the result is never longer than a page, whatever the data claim."""
    engine = zlib.decompressobj()
    try:
        page = engine.decompress(packed, page_size + 1)
    except zlib.error as fault:
        raise StreamError(f"a compressed page cannot be unpacked: {fault}", path) from None
    if len(page) != page_size or not engine.eof:
        raise StreamError(f"a compressed page unpacks to {len(page)} bytes, not {page_size}", path)
    return page


class RamLoader:
    """Puts records into memory: what a destination does with the RAM section.

    `memory` maps block names to writable arrays of bytes.  Every block of the stream must be there
    and have the same length; the reverse need not hold.
    """

    def __init__(self, memory: Mapping[str, U8], page_size: int = PAGE_SIZE) -> None:
        self.page_size = page_size
        self.memory = {name: block.reshape(-1, page_size) for name, block in memory.items()}

    def __call__(self, record: Record) -> None:
        if isinstance(record, BlockList):
            self._agree(record)
        elif isinstance(record, Run):
            self._store(record)

    def _agree(self, listed: BlockList) -> None:
        for block in listed.blocks:
            path = f"ram/{block.name}"
            if block.name not in self.memory:
                known = ", ".join(self.memory)
                raise StreamError(f"no such RAM block here, there are {known}", path, listed.offset)
            here = self.memory[block.name].size
            if here != block.length:
                raise StreamError(
                    f"length {block.length:#x}, the block here has {here:#x}", path, listed.offset
                )

    def _store(self, run: Run) -> None:
        pages = self.memory[run.block.name]
        numbers = (run.addresses // np.uint64(self.page_size)).astype(np.int64)
        first, count = int(numbers[0]), len(numbers)
        in_row = bool((np.diff(numbers) == 1).all())
        where: slice | I64 = slice(first, first + count) if in_row else numbers
        path = f"ram/{run.block.name}"
        if run.pages is not None:
            pages[where] = run.pages
        elif run.fills is not None:
            pages[where] = run.fills[:, None] if run.fills.any() else 0
        elif run.payload is not None and run.kind == ram.COMPRESS_PAGE:
            page = inflate_page(run.payload, self.page_size, path)
            pages[first] = np.frombuffer(page, np.uint8)
        elif run.payload is not None:
            xbzrle_decode(run.payload, memoryview(pages[first]), path)


ABSENT: Final = 0
FILLED: Final = 1
STORED: Final = 2
PACKED: Final = 3


class PageTable(Data, frozen=False):
    """Where each page of a block has its last content: kind and fill byte or file offset.

    Arrays over the pages that the stream has, ascending by page number.  PACKED pages have their
    history in `chains`.
    """

    block: Block
    numbers: I64
    kinds: U8
    places: I64
    chains: dict[int, list[tuple[int, int, int]]]

    def page(self, file: BinaryIO, at: int, page_size: int) -> bytes:
        """Content of entry `at`."""
        kind, place = int(self.kinds[at]), int(self.places[at])
        if kind == FILLED:
            return bytes([place]) * page_size
        if kind == STORED:
            file.seek(place)
            return file.read(page_size)
        page = bytearray(page_size)
        for what, where, length in self.chains[int(self.numbers[at])]:
            if what == ram.ZERO:
                page[:] = bytes([where]) * page_size
                continue
            file.seek(where)
            raw = file.read(length)
            if what == ram.PAGE:
                page[:] = raw
            elif what == ram.COMPRESS_PAGE:
                page[:] = inflate_page(raw, page_size, f"ram/{self.block.name}")
            else:
                xbzrle_decode(raw, page, f"ram/{self.block.name}")
        return bytes(page)


class _Log(Data, frozen=False):
    numbers: list[I64] = field(default_factory=list)
    kinds: list[U8] = field(default_factory=list)
    places: list[I64] = field(default_factory=list)


class PageIndex:
    """Collects where pages are.  Memory grows with the records read, never with what they claim."""

    def __init__(self, page_size: int = PAGE_SIZE) -> None:
        self.page_size = page_size
        self.blocks: dict[str, Block] = {}
        self._logs: dict[str, _Log] = {}
        self._packed: dict[str, dict[int, list[tuple[int, int, int]]]] = {}

    def __call__(self, record: Record) -> None:
        if isinstance(record, BlockList):
            for block in record.blocks:
                self.blocks[block.name] = block
        elif isinstance(record, Run):
            self._add(record)

    def _add(self, run: Run) -> None:
        log = self._logs.setdefault(run.block.name, _Log())
        numbers = (run.addresses // np.uint64(self.page_size)).astype(np.int64)
        count = len(numbers)
        if run.pages is not None:
            self.page_size = run.pages.shape[1]
            kind = STORED
            places = run.offset + run.head + np.arange(count, dtype=np.int64) * run.stride
        elif run.fills is not None:
            kind, places = FILLED, run.fills.astype(np.int64)
        else:
            kind, places = PACKED, np.array([run.offset + run.head], np.int64)
            assert run.payload is not None
            chain = self._packed.setdefault(run.block.name, {}).setdefault(int(numbers[0]), [])
            chain.append((run.kind, run.offset + run.head, len(run.payload)))
        log.numbers.append(numbers)
        log.kinds.append(np.full(count, kind, np.uint8))
        log.places.append(places)

    def table(self, name: str) -> PageTable:
        """The last word on every page of a block that was sent."""
        log = self._logs.get(name, _Log())
        block = self.blocks.get(name) or Block(name, 0)
        if not log.numbers:
            none = np.empty(0, np.int64)
            return PageTable(block, none, np.empty(0, np.uint8), none, {})
        numbers = np.concatenate(log.numbers)
        kinds, places = np.concatenate(log.kinds), np.concatenate(log.places)
        order = np.argsort(numbers, kind="stable")
        last = np.append(numbers[order][1:] != numbers[order][:-1], True)
        keep = order[last]
        chains = self._chains(name, numbers, kinds, places)
        return PageTable(block, numbers[keep], kinds[keep], places[keep], chains)

    def _chains(
        self, name: str, numbers: I64, kinds: U8, places: I64
    ) -> dict[int, list[tuple[int, int, int]]]:
        """For pages with a packed record: every record in order."""
        packed = self._packed.get(name, {})
        chains: dict[int, list[tuple[int, int, int]]] = {n: [] for n in packed}
        if not packed:
            return chains
        taken = dict.fromkeys(packed, 0)
        wanted = np.flatnonzero(np.isin(numbers, np.fromiter(packed, np.int64)))
        for at in wanted.tolist():
            number, kind, place = int(numbers[at]), int(kinds[at]), int(places[at])
            if kind == PACKED:
                chains[number].append(packed[number][taken[number]])
                taken[number] += 1
            elif kind == FILLED:
                chains[number].append((ram.ZERO, place, 0))
            else:
                chains[number].append((ram.PAGE, place, self.page_size))
        return chains


def mapped_pages(file: BinaryIO, block: Block) -> Iterable[Run]:
    """The pages that a mapped-ram block has in its file, as runs."""
    mapped = block.mapped
    assert mapped is not None
    size, count = mapped.page_size, block.length // mapped.page_size
    for start in range(0, count, 1 << 16):
        some = min(1 << 16, count - start)
        file.seek(mapped.bitmap_offset + start // 8)
        raw = file.read((some + 63) // 64 * 8)
        if len(raw) < (some + 63) // 64 * 8:
            raise StreamError("the bitmap is cut", f"ram/{block.name}", mapped.bitmap_offset)
        # Words are as in the writer's memory; every host that QEMU's mapped-ram ran on is LE.
        bits = np.unpackbits(np.frombuffer(raw, np.uint8), count=some, bitorder="little")
        present = np.flatnonzero(bits)
        if not len(present):
            continue
        for part in np.split(present, np.flatnonzero(np.diff(present) > 1) + 1):
            for lo in range(0, len(part), 256):
                some_pages = part[lo : lo + 256]
                first = start + int(some_pages[0])
                place = mapped.pages_offset + first * size
                file.seek(place)
                data = file.read(len(some_pages) * size)
                if len(data) != len(some_pages) * size:
                    raise StreamError("a page is cut", f"ram/{block.name}", place)
                pages = np.frombuffer(data, np.uint8).reshape(-1, size)
                addresses = (np.arange(len(some_pages), dtype=np.uint64) + np.uint64(first)) * (
                    np.uint64(size)
                )
                yield Run(ram.PAGE, block, False, addresses, place, size, 0, pages=pages)
