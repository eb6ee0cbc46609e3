"""Writes RAM records: whole blocks for a saver, single runs for a re-emitter."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from gossamer.base.late import np
from gossamer.base.units import PAGE_SIZE
from gossamer.base.wire import WireWriter
from gossamer.migrate import ram
from gossamer.migrate.ram import U8, U64, Block, BlockList, Mark, Record, Run

if TYPE_CHECKING:
    import numpy.typing as npt


class Sink(Protocol):
    """Takes bytes, which are its own during the call only: a file, a socket, a compressor."""

    def write(self, data: bytes | memoryview, /) -> object: ...


class Elsewhere(Protocol):
    """Another way for pages that are not zero, up to `most` at a time (multifd, mapped-ram).

    What went there before `sync` must come before what follows; `flushes`: a record says so.
    `zeros` gives whether it has taken pages that are zero.
    """

    most: int
    flushes: bool

    def pages(self, name: str, addresses: U64, pages: U8) -> None: ...

    def zeros(self, name: str, addresses: U64) -> bool: ...

    def sync(self) -> None: ...


def block_list(blocks: Iterable[Block], total: int | None = None) -> bytes:
    """The MEM_SIZE record; blocks in the order given (QEMU sends the largest first)."""
    blocks = tuple(blocks)
    out = WireWriter()
    out.uint((sum(b.length for b in blocks) if total is None else total) | ram.MEM_SIZE, 8)
    for block in blocks:
        out.cstr(block.name)
        out.uint(block.length, 8)
        if block.address is not None:
            out.uint(block.address, 8)
        if block.page_size is not None:
            out.uint(block.page_size, 8)
    return bytes(out.data)


def mark(kind: int = ram.EOS) -> bytes:
    """EOS or MULTIFD_FLUSH."""
    return kind.to_bytes(8, "big")


def zero_run(addresses: U64, fills: U8 | int = 0) -> bytes:
    """ZERO|CONTINUE records, 9 bytes each."""
    table = np.empty(len(addresses), np.dtype([("head", ">u8"), ("fill", "u1")]))
    table["head"] = addresses | np.uint64(ram.ZERO | ram.CONTINUE)
    table["fill"] = fills
    return table.tobytes()


def page_run(addresses: U64, pages: U8) -> bytes:
    """PAGE|CONTINUE records, 8 bytes and a page each."""
    table = np.empty((len(addresses), 8 + pages.shape[1]), np.uint8)
    _heads(table, addresses)
    table[:, 8:] = pages
    return table.tobytes()


def _heads(table: U8, addresses: U64) -> None:
    """Begin PAGE|CONTINUE records, a row each."""
    heads = (addresses | np.uint64(ram.PAGE | ram.CONTINUE)).astype(">u8")
    table[:, :8] = heads.view(np.uint8).reshape(-1, 8)


def _copy(to: U8, pages: U8, numbers: npt.NDArray[np.int64]) -> None:
    """Copy the pages of these (ascending) numbers, row by row of consecutive ones."""
    edges = np.flatnonzero(np.diff(numbers) != 1) + 1
    if len(edges) > len(numbers) // _SHORT_ROW:
        to[:] = pages[numbers]
        return
    for lo, hi in itertools.pairwise([0, *edges.tolist(), len(numbers)]):
        first = int(numbers[lo])
        to[lo:hi] = pages[first : first + hi - lo]


def first_page(name: str, address: int, page: bytes | memoryview | None, fill: int = 0) -> bytes:
    """The record that names its block: PAGE, or ZERO when `page` is None."""
    out = WireWriter()
    out.uint(address | (ram.ZERO if page is None else ram.PAGE), 8)
    out.cstr(name)
    if page is None:
        out.uint(fill, 1)
    else:
        out.raw(page)
    return bytes(out.data)


def packed_page(run: Run) -> bytes:
    """An XBZRLE or COMPRESS_PAGE record."""
    out = WireWriter()
    out.uint(int(run.addresses[0]) | run.kind | (0 if run.named else ram.CONTINUE), 8)
    if run.named:
        out.cstr(run.block.name)
    payload = run.payload if run.payload is not None else memoryview(b"")
    if run.kind == ram.XBZRLE:
        out.uint(ram.XBZRLE_ENCODING, 1)
        out.uint(len(payload), 2)
    else:
        out.uint(len(payload), 4)
    out.raw(payload)
    return bytes(out.data)


def record(item: Record) -> bytes:
    """Exactly the bytes that `item` was read from (mapped-ram block lists excepted)."""
    if isinstance(item, Mark):
        return mark(item.kind)
    if isinstance(item, BlockList):
        return block_list(item.blocks, item.total)
    if item.payload is not None:
        return packed_page(item)
    if item.fills is not None:
        if item.named:
            return first_page(item.block.name, int(item.addresses[0]), None, int(item.fills[0]))
        return zero_run(item.addresses, item.fills)
    assert item.pages is not None
    if item.named:
        return first_page(item.block.name, int(item.addresses[0]), item.pages[0].tobytes())
    return page_run(item.addresses, item.pages)


def is_zero(memory: U8, page_size: int = PAGE_SIZE) -> npt.NDArray[np.bool_]:
    """For each page of `memory`, whether all its bytes are 0."""
    fold: Any = np.bitwise_or.reduce  # the stubs of numpy 2.5 know no axis here
    words = memory.reshape(-1, page_size).view(np.uint64)
    # Most pages that are not zero show it in the first line: only the others are read whole.
    zero: npt.NDArray[np.bool_] = np.logical_not(words[:, :8].any(axis=1))
    candidates = np.flatnonzero(zero)
    for start in range(0, len(candidates), 1024):
        part = candidates[start : start + 1024]
        lo, hi = int(part[0]), int(part[-1]) + 1
        rows = words[lo:hi] if hi - lo == len(part) else words[part]
        zero[part] = fold(rows, axis=1) == 0
    return zero


class RamWriter:
    """Writes pages of blocks; keeps the current block between bodies as QEMU does.

    Memory is anything with a buffer whose length is a multiple of the page size.  `advance` is
    called with the bytes of memory done, a run of pages at a time.
    """

    def __init__(
        self,
        out: Sink,
        page_size: int = PAGE_SIZE,
        advance: Callable[[int], None] = lambda done: None,
    ) -> None:
        self._advance = advance
        self.out = out
        self.page_size = page_size
        self.current: str | None = None
        self.elsewhere: Elsewhere | None = None
        #: Of the pages that come at a time those that are zero go first, not all in their order:
        #: the reader then has long rows of each kind, which takes a fraction of the time.
        self.grouped = False
        self._table = np.empty((_TABLE_ROWS, 8 + page_size), np.uint8)
        self.sent = self.zeros = self.normals = 0
        """Bytes, zero pages and other pages written so far."""

    def block_list(self, blocks: Iterable[Block]) -> None:
        self._write(block_list(blocks))
        self.current = None

    def end(self) -> None:
        """Close the body."""
        if self.elsewhere is not None:
            self.elsewhere.sync()
            if self.elsewhere.flushes:
                self._write(mark(ram.MULTIFD_FLUSH))
        self._write(mark())

    def block(self, name: str, memory: Buffer) -> None:
        """Every page of a block, ascending: zero pages as ZERO records."""
        pages = self._pages(memory)
        self._send(name, pages, np.arange(len(pages), dtype=np.int64), None)

    def pages(
        self,
        name: str,
        memory: Buffer,
        numbers: npt.NDArray[np.int64],
        blank: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """The given pages (numbers, ascending) of a block: what a later round sends.

        `blank`: for each page of the block, whether it is known to be zero; it is not read then.
        """
        self._send(name, self._pages(memory), numbers, blank)

    def _pages(self, memory: Buffer) -> U8:
        flat = np.frombuffer(memory, np.uint8)
        return flat.reshape(-1, self.page_size)

    def _zero(
        self, pages: U8, numbers: npt.NDArray[np.int64], blank: npt.NDArray[np.bool_] | None
    ) -> npt.NDArray[np.bool_]:
        """For each of `numbers`, whether that page is zero."""
        if blank is None:
            return is_zero(_rows(pages, numbers), self.page_size)
        zero = blank[numbers]
        seen = np.flatnonzero(~zero)
        for lo, hi in _rows_of(numbers[seen]):
            part = numbers[seen[lo:hi]]
            zero[seen[lo:hi]] = is_zero(_rows(pages, part), self.page_size)
        return zero

    def _send(
        self,
        name: str,
        pages: U8,
        numbers: npt.NDArray[np.int64],
        blank: npt.NDArray[np.bool_] | None,
    ) -> None:
        if not len(numbers):
            return
        zero = self._zero(pages, numbers, blank)
        if self.elsewhere is not None and not zero.all():
            self._elsewhere(name, pages, numbers[~zero])
            numbers, zero = numbers[zero], zero[zero]
            if not len(numbers):
                return
        if self.elsewhere is not None and self.elsewhere.zeros(
            name, numbers.astype(np.uint64) * np.uint64(self.page_size)
        ):
            self.zeros += len(numbers)
            self._advance(len(numbers) * self.page_size)
            return
        addresses = numbers.astype(np.uint64) * np.uint64(self.page_size)
        start = 0
        if self.current != name:
            page = None if zero[0] else pages[int(numbers[0])].tobytes()
            self._write(first_page(name, int(addresses[0]), page))
            self.zeros += page is None
            self.normals += page is not None
            self._advance(self.page_size)
            self.current, start = name, 1
        if self.grouped:
            order = np.argsort(~zero[start:], kind="stable") + start
            numbers, addresses, zero = numbers[order], addresses[order], zero[order]
            start = 0
        edges = np.flatnonzero(np.diff(zero[start:])) + 1 + start
        bounds = [start, *edges.tolist(), len(numbers)]
        for lo, hi in itertools.pairwise(bounds):
            if lo < hi:
                self._run(pages, numbers[lo:hi], addresses[lo:hi], bool(zero[lo]))

    def _elsewhere(self, name: str, pages: U8, numbers: npt.NDArray[np.int64]) -> None:
        """Let pages that are not zero go another way."""
        assert self.elsewhere is not None
        for start in range(0, len(numbers), self.elsewhere.most):
            some = numbers[start : start + self.elsewhere.most]
            addresses = some.astype(np.uint64) * np.uint64(self.page_size)
            self.elsewhere.pages(name, addresses, _rows(pages, some))
            self.normals += len(some)
            self._advance(len(some) * self.page_size)

    def _run(self, pages: U8, numbers: npt.NDArray[np.int64], addresses: U64, zero: bool) -> None:
        if zero:
            self._write(zero_run(addresses))
            self.zeros += len(numbers)
            self._advance(len(numbers) * self.page_size)
            return
        for start in range(0, len(numbers), _TABLE_ROWS):
            part = slice(start, start + _TABLE_ROWS)
            some = numbers[part]
            table = self._table[: len(some)]
            _heads(table, addresses[part])
            _copy(table[:, 8:], pages, some)
            self._write(table.reshape(-1).data)
            self.normals += len(some)
            self._advance(len(some) * self.page_size)

    def _write(self, data: bytes | memoryview) -> None:
        self.out.write(data)
        self.sent += len(data)


_TABLE_ROWS: Final = 256
"""Page records that are made at a time: they stay in the host's cache until they are written."""


def _rows(pages: U8, numbers: npt.NDArray[np.int64]) -> U8:
    """The pages of these (ascending) numbers: a view where they are in a row."""
    first, last = int(numbers[0]), int(numbers[-1])
    return pages[first : last + 1] if last - first + 1 == len(numbers) else pages[numbers]


def _rows_of(numbers: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Where in `numbers` there are long rows of consecutive ones, and what lies between them."""
    if not len(numbers):
        return
    edges = np.flatnonzero(np.diff(numbers) != 1) + 1
    start = 0
    for lo, hi in itertools.pairwise([0, *edges.tolist(), len(numbers)]):
        if hi - lo < _LONG_ROW:
            continue
        if start < lo:
            yield start, lo
        yield lo, hi
        start = hi
    if start < len(numbers):
        yield start, len(numbers)


_LONG_ROW: Final = 64
_SHORT_ROW: Final = 2


Buffer: TypeAlias = "bytes | bytearray | memoryview | U8"
"""Memory of a block."""


def largest_first(lengths: Mapping[str, int] | Sequence[tuple[str, int]]) -> list[Block]:
    """Blocks in QEMU's order: by length, largest first, equal lengths in the order given."""
    pairs = list(lengths.items()) if isinstance(lengths, Mapping) else list(lengths)
    return [Block(name, length) for name, length in sorted(pairs, key=lambda p: -p[1])]
