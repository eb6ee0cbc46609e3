"""The RAM section: a reader of its records and a writer for our own saver.

As QEMU 7.2 writes it (`ram` version 4); records of QEMU 10 (multifd flush, mapped-ram) are read
too.  Runs of like records are handled as one numpy array, never a record at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

from gossamer.base.data import Data, field
from gossamer.base.errors import StreamError
from gossamer.base.late import np
from gossamer.base.units import PAGE_SIZE
from gossamer.migrate.source import Source

if TYPE_CHECKING:
    import numpy.typing as npt

U8: TypeAlias = "npt.NDArray[np.uint8]"
U64: TypeAlias = "npt.NDArray[np.uint64]"

VERSION: Final = 4
"""Version of the `ram` section; no other exists in use."""

FULL: Final = 0x001
ZERO: Final = 0x002
MEM_SIZE: Final = 0x004
PAGE: Final = 0x008
EOS: Final = 0x010
CONTINUE: Final = 0x020
XBZRLE: Final = 0x040
HOOK: Final = 0x080
COMPRESS_PAGE: Final = 0x100
MULTIFD_FLUSH: Final = 0x200

FLAG_NAMES: Final = {
    FULL: "FULL", ZERO: "ZERO", MEM_SIZE: "MEM_SIZE", PAGE: "PAGE", EOS: "EOS",
    CONTINUE: "CONTINUE", XBZRLE: "XBZRLE", HOOK: "HOOK", COMPRESS_PAGE: "COMPRESS_PAGE",
    MULTIFD_FLUSH: "MULTIFD_FLUSH",
}  # fmt: skip

MAX_COMPRESSED: Final = 1 << 16
"""No page compresses to more than this; a longer claim is not a page."""
_FIRST_GUESS: Final = 16
_ZERO_RECORD: Final = [("head", ">u8"), ("fill", "u1")]
XBZRLE_ENCODING: Final = 0x01


def flag_names(flags: int) -> str:
    """`ZERO|CONTINUE` for 0x22."""
    names = [name for weight, name in FLAG_NAMES.items() if flags & weight]
    rest = flags & ~sum(FLAG_NAMES)
    return "|".join(names + ([f"{rest:#x}"] if rest else [])) or "none"


class Mapped(Data):
    """Where a block's pages lie in a mapped-ram file (absolute file offsets, lengths in bytes)."""

    page_size: int
    bitmap_offset: int
    pages_offset: int


class Block(Data):
    """A RAM block as the MEM_SIZE record lists it; sizes in bytes.

    `page_size` only where the record carries it (huge pages under postcopy), `address` is the
    guest-physical address that x-ignore-shared adds.
    """

    name: str
    length: int
    page_size: int | None = None
    address: int | None = None
    mapped: Mapped | None = None


class BlockList(Data):
    """The MEM_SIZE record."""

    total: int
    blocks: tuple[Block, ...]
    offset: int


class Run(Data):
    """Records of one kind in one block.

    `kind` is ZERO, PAGE, XBZRLE or COMPRESS_PAGE.  `addresses` are byte offsets in the block.
    ZERO has `fills`, PAGE has `pages` (n x page size), the other two one `payload`.  `named`: the
    (single) record carries the block's name.  `offset` is where the first record starts, `stride`
    the distance to the next, `head` the length of a record's header.
    """

    kind: int
    block: Block
    named: bool
    addresses: U64
    offset: int
    stride: int
    head: int
    fills: U8 | None = None
    pages: U8 | None = None
    payload: memoryview | None = None


class Mark(Data):
    """A record without a page: EOS (`kind` 0x10) or MULTIFD_FLUSH (0x200)."""

    kind: int
    offset: int


Record: TypeAlias = BlockList | Run | Mark


class RamReader(Data, frozen=False):
    """Reads bodies of the `ram` section; keeps the block list and the current block between them.

    `shared_addresses`: capability x-ignore-shared is on.  `mapped`: capability mapped-ram is on.
    """

    page_size: int = PAGE_SIZE
    shared_addresses: bool = False
    mapped: bool = False
    blocks: dict[str, Block] = field(default_factory=dict)
    current: Block | None = None

    def read(self, source: Source) -> Iterator[Record]:
        """The records of one body, the last one is the EOS mark."""
        while True:
            offset = source.offset
            head = source.fill(8) >= 8 and int.from_bytes(source.window[:8], "big")
            if head is False:
                raise source.error("a RAM record needs 8 bytes of address and flags, the file ends")
            flags = head & (self.page_size - 1)
            if flags == ZERO | CONTINUE:
                yield self._zero_run(source)
            elif flags == PAGE | CONTINUE:
                yield self._page_run(source)
            elif flags in (EOS, MULTIFD_FLUSH):
                self._mark(source, head, flags)
                yield Mark(flags, offset)
                if flags == EOS:
                    return
            elif flags == MEM_SIZE:
                yield self._block_list(source)
            else:
                yield self._single(source, head, flags)

    def _mark(self, source: Source, head: int, flags: int) -> None:
        if head != flags:
            raise source.error(f"a {flag_names(flags)} record has address 0, got {head - flags:#x}")
        source.take(8)

    def _zero_run(self, source: Source) -> Run:
        block, offset = self._continued(source), source.offset
        if source.fill(9) < 9:
            raise source.error("a ZERO record needs 9 bytes, the file ends")
        window = source.window
        count, most = _FIRST_GUESS, len(window) // 9
        while True:
            table = np.frombuffer(window, _ZERO_RECORD, min(count, most))
            heads = table["head"].astype(np.uint64)
            other = (heads & np.uint64(self.page_size - 1)) != (ZERO | CONTINUE)
            found = int(other.argmax()) if other.any() else len(heads)
            if found < len(heads) or len(heads) == most:
                break
            count *= 8
        addresses = heads[:found] - np.uint64(ZERO | CONTINUE)
        self._check(source, block, addresses, 9)
        source.take(9 * found)
        return Run(ZERO, block, False, addresses, offset, 9, 8, fills=table["fill"][:found])

    def _page_run(self, source: Source) -> Run:
        block, offset, stride = self._continued(source), source.offset, 8 + self.page_size
        if source.fill(stride) < stride:
            raise source.error(f"a PAGE record needs {stride} bytes, {len(source.window)} left")
        window = source.window
        rows = np.frombuffer(window, np.uint8, len(window) // stride * stride).reshape(-1, stride)
        heads = np.ascontiguousarray(rows[:, :8]).view(">u8")[:, 0].astype(np.uint64)
        other = (heads & np.uint64(self.page_size - 1)) != (PAGE | CONTINUE)
        found = int(other.argmax()) if other.any() else len(heads)
        addresses = heads[:found] - np.uint64(PAGE | CONTINUE)
        self._check(source, block, addresses, stride)
        source.take(found * stride)
        return Run(PAGE, block, False, addresses, offset, stride, 8, pages=rows[:found, 8:])

    def _single(self, source: Source, head: int, flags: int) -> Run:
        offset, kind = source.offset, flags & ~CONTINUE
        if kind not in (ZERO, PAGE, XBZRLE, COMPRESS_PAGE):
            raise source.error(
                f"RAM flags {flags:#x} ({flag_names(flags)}) are not a record that can be read"
            )
        source.take(8)
        named = not flags & CONTINUE
        block = self._named(source) if named else self._continued(source)
        addresses = np.array([head - flags], np.uint64)
        self._check(source, block, addresses, 0, offset)
        before = source.offset - offset
        if kind == ZERO:
            fills = np.frombuffer(source.take(1), np.uint8)
            return Run(ZERO, block, named, addresses, offset, before + 1, before, fills=fills)
        if kind == PAGE:
            pages = np.frombuffer(source.take(self.page_size), np.uint8).reshape(1, -1)
            stride = before + self.page_size
            return Run(PAGE, block, named, addresses, offset, stride, before, pages=pages)
        size = self._packed_size(source, kind)
        before = source.offset - offset
        payload = source.take(size)
        return Run(kind, block, named, addresses, offset, before + size, before, payload=payload)

    def _packed_size(self, source: Source, kind: int) -> int:
        if kind == XBZRLE:
            encoding = source.uint(1)
            if encoding != XBZRLE_ENCODING:
                raise source.error(f"XBZRLE encoding {encoding}, expected {XBZRLE_ENCODING}")
            size, most = source.uint(2), self.page_size
        else:
            size, most = source.uint(4), max(MAX_COMPRESSED, 2 * self.page_size)
        if size > most:
            raise source.error(f"a packed page claims {size} bytes, at most {most} make sense")
        return size

    def _named(self, source: Source) -> Block:
        name = source.cstr()
        if name not in self.blocks:
            known = ", ".join(self.blocks) or "none"
            raise source.error(f"page of RAM block {name!r}, the stream lists {known}")
        self.current = self.blocks[name]
        return self.current

    def _continued(self, source: Source) -> Block:
        if self.current is None:
            raise source.error("a CONTINUE record comes before any record that names a block")
        return self.current

    def _check(
        self, source: Source, block: Block, addresses: U64, stride: int, at: int | None = None
    ) -> None:
        """Every address must lie in its block."""
        beyond = addresses > np.uint64(max(block.length - self.page_size, 0))
        if beyond.any():
            which = int(np.argmax(beyond))
            raise StreamError(
                f"page at {int(addresses[which]):#x}, the block is {block.length:#x} long",
                f"{source.path}/{block.name}",
                (source.offset if at is None else at) + which * stride,
            )

    def _block_list(self, source: Source) -> BlockList:
        offset = source.offset
        total = source.uint(8) - MEM_SIZE
        blocks: dict[str, Block] = {}
        seen = 0
        while seen < total:
            block = self._block(source)
            if block.name in blocks:
                raise source.error(f"RAM block {block.name!r} is listed twice")
            seen += block.length
            if block.length == 0 or seen > total:
                raise source.error(
                    f"RAM block {block.name!r} of {block.length:#x} bytes brings the lengths to "
                    f"{seen:#x}, the record says {total:#x}"
                )
            blocks[block.name] = block
        self.blocks, self.current = blocks, None
        return BlockList(total, tuple(blocks.values()), offset)

    def _block(self, source: Source) -> Block:
        name, length = source.cstr(), source.uint(8)
        address = source.uint(8) if self.shared_addresses else None
        page_size = None
        hint = int.from_bytes(source.peek(8), "big")
        # A name's length byte is never 0 and a record's flags are never 0: so this is a page size.
        if not self.mapped and hint and hint >> 56 == 0 and not hint & (self.page_size - 1):
            page_size = source.uint(8)
        if not self.mapped:
            return Block(name, length, page_size, address)
        version, size = source.uint(4), source.uint(8)
        mapped = Mapped(size, source.uint(8), source.uint(8))
        if version != 1 or size < 512 or size & (size - 1):
            raise source.error(
                f"mapped-ram header version {version} with pages of {size} bytes, expected "
                "version 1 and a power of two"
            )
        bitmap_end = mapped.bitmap_offset + (length // size + 63) // 64 * 8
        if mapped.bitmap_offset < source.offset or mapped.pages_offset < bitmap_end:
            raise source.error(
                f"mapped-ram bitmap at {mapped.bitmap_offset:#x} and pages at "
                f"{mapped.pages_offset:#x} overlap what comes before them"
            )
        source.skip(mapped.pages_offset + length - source.offset)
        return Block(name, length, page_size, address, mapped)


class OpenRamReader(RamReader, frozen=False):
    """Reads records where no block list came before: a postcopy preempt channel.

    Any block name is taken, of any length.
    """

    def _named(self, source: Source) -> Block:
        name = source.cstr()
        if not name:
            raise source.error("a record names no RAM block")
        self.current = self.blocks.setdefault(name, Block(name, 1 << 62))
        return self.current
