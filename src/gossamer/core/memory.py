"""Real memory: RAM blocks in one arena, MMIO regions, and the map of real addresses.

All RAM, ROM and video memory lies in one host mapping (the arena), page by page, so that native
code reaches any of it by one base and an offset.  `pages` has the number of the arena page and one
for each of the real pages; 0: none, so that the host gives memory to what is mapped only.  Writes
that Python makes (DMA, loaders, debuggers) go through `write`, which marks pages dirty and
notifies the engine when code may have changed.
"""

from __future__ import annotations

import ctypes
import mmap
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Final, Protocol

from gossamer.base.bits import align_down, align_up
from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.base.late import np
from gossamer.base.units import PAGE_SIZE, MiB
from gossamer.core import host, mappings
from gossamer.core.faces import Faces
from gossamer.core.region import Region
from gossamer.core.table import PRIVATE, Table
from gossamer.core.trace import QUIET, Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray

MMIO: Final = 0xFFFF_FFFF
READ_ONLY: Final = 0x8000_0000
REAL_BITS: Final = 32
"""Bits of a real address, whatever the width of the model's word."""
MOST_REAL_BITS: Final = 60
"""Bits of one that registers of a 64-bit model's chips can have; RAM lies below 4 GiB."""
REAL_MASK: Final = (1 << REAL_BITS) - 1
PAGE_COUNT: Final = (1 << REAL_BITS) // PAGE_SIZE
MOST_LEAVES: Final = 4096
"""Pages of registers (or of nothing) whose region is remembered."""

_OWN_STEP: Final = 4 * MiB
"""Bytes that are copied in one step when memory becomes the machine's own."""


class RamBlock(Data, frozen=False, eq=False):
    """A piece of memory with a name on the wire.  `offset` is its place in the arena, bytes."""

    name: str
    size: int
    offset: int
    read_only: bool = False


class Arena:
    """The one host mapping that holds every RAM block, page-aligned."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.map = mmap.mmap(-1, capacity, PRIVATE)
        host.prefer_big_pages(self.map)
        self.view = memoryview(self.map)
        self.used = 0
        self.blocks: list[RamBlock] = []
        pages = capacity // PAGE_SIZE
        #: A byte a page; each consumer (state hash, migration, display) owns one bit.
        self.dirty_table = Table(pages)
        #: One when decoded code of the page may exist in the engine.
        self.code_table = Table(pages)
        # Quicker where a single page is concerned.
        self.dirty_view, self.code_view = self.dirty_table.view, self.code_table.view
        #: One while a page's content is still with the sender of the machine (postcopy).
        self.absent_table = Table(pages)
        #: Gets the pages first to last, before they are used; None: all of memory is here.
        self.arriving: Callable[[int, int], None] | None = None
        #: Where a file shows: offset and length in bytes.
        self._shows: list[tuple[int, int]] = []
        self.closed = False
        self._turn = host.lock()
        #: Host address of the arena.
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.map))

    @cached_property
    def bytes(self) -> NDArray[np.uint8]:
        return np.frombuffer(self.map, dtype=np.uint8)

    @property
    def dirty(self) -> NDArray[np.uint8]:
        return self.dirty_table.array

    @property
    def code(self) -> NDArray[np.uint8]:
        return self.code_table.array

    @property
    def absent(self) -> NDArray[np.uint8]:
        return self.absent_table.array

    def need(self, offset: int, length: int) -> None:
        """Have the content of a range here before it is read or written from Python.

        HostError when the sender that has it cannot be reached.
        """
        if self.arriving is not None and length:
            first, last = offset // PAGE_SIZE, (offset + length - 1) // PAGE_SIZE
            if self.absent_table.memory.find(b"\1", first, last + 1) >= 0:
                self.arriving(first, last)

    def need_all(self) -> None:
        """Have all of it here, as what reads memory as a whole must: saves, hashes, dumps."""
        self.need(0, self.used)

    def add(self, name: str, size: int, *, read_only: bool = False) -> RamBlock:
        if size <= 0 or size % PAGE_SIZE:
            raise ConfigError(f"{name}: size must be a positive multiple of 4096, got {size}")
        if self.used + size > self.capacity:
            raise ConfigError(f"{name}: {size} bytes do not fit in the arena")
        block = RamBlock(name, size, self.used, read_only)
        self.used += size
        self.blocks.append(block)
        return block

    def show_file(self, offset: int, length: int, fd: int, place: int) -> bool:
        """Let a range have the content of a file at `place`, read as it is touched.

        Whether the host can.  What is written stays here; until `take_own` has returned, pages not
        written to follow the file, which must not become shorter or another.
        """
        if not mappings.can_map():
            return False
        if not mappings.map_file(self.address + offset, length, fd, place):
            return False
        self._shows.append((offset, length))
        return True

    def take_own(self) -> bool:
        """Copy what still follows a file; whether the host could.  For a thread, once.

        The machine may run meanwhile, or be closed.
        """
        for offset, length in tuple(self._shows):
            for at in range(offset, offset + length, _OWN_STEP):
                with self._turn:
                    if self.closed:
                        return True
                    step = min(_OWN_STEP, offset + length - at)
                    if not mappings.make_own(self.address + at, step):
                        return False
        return True

    def have_ready(self, offset: int, length: int) -> None:
        """Let the host make pages that will soon be written to; what is in memory stays.

        For a thread: clearing them takes the host 0.05 to 1 ms a MiB.
        """
        for at in range(offset, offset + length, _OWN_STEP):
            with self._turn:
                step = min(_OWN_STEP, offset + length - at)
                if self.closed or not mappings.make_own(self.address + at, step):
                    return

    def close(self) -> None:
        """Give the memory back to the host at once; what is read from it afterwards is zero."""
        with self._turn:
            self.closed = True
            for offset, length in self._shows:
                mappings.map_nothing(self.address + offset, length)
            self._shows.clear()
        host.forget(self.map)

    def untouched(self) -> NDArray[np.bool_]:
        """Which pages were never written to, as far as the host says so: they are zero.

        Asking touches none of them, where reading one costs the host a fault.
        """
        pages = self.used // PAGE_SIZE
        never = _never_there(self.address, pages)
        if never is None:
            return np.zeros(pages, np.bool_)
        for offset, length in self._shows:  # the host makes those when they are read
            never[offset // PAGE_SIZE : (offset + length) // PAGE_SIZE] = False
        return never

    def bytes_of(self, block: RamBlock) -> NDArray[np.uint8]:
        return self.bytes[block.offset : block.offset + block.size]


#: Bits of a page map's entry: in memory, or swapped out.
_THERE: Final = 3 << 62


def _never_there(address: int, pages: int) -> NDArray[np.bool_] | None:
    """Pages of private anonymous memory that the host has never made; None if it does not say."""
    if mmap.PAGESIZE != PAGE_SIZE:
        return None
    probe = np.frombuffer(mmap.mmap(-1, 2 * PAGE_SIZE, mmap.MAP_PRIVATE), np.uint8)
    probe[0] = 1
    maps = [host.page_map(int(probe.ctypes.data), 2), host.page_map(address, pages)]
    if maps[0] is None or maps[1] is None:
        return None
    known, asked = ((np.frombuffer(m, np.uint64) & _THERE) == 0 for m in (maps[0], maps[1]))
    # A host that hides its pages shows them all as missing.
    return asked if known.tolist() == [False, True] else None


class Mapping(Data):
    """A RAM block or region at a real address; higher `priority` covers lower."""

    base: int
    size: int
    target: RamBlock | Region
    priority: int = 0

    @property
    def end(self) -> int:
        return self.base + self.size


_counted = [array("I")]
"""0, 1, 2 and so on, as far as was needed yet; a longer one takes the place of one in use."""


def _numbers(first: int, count: int, most: int) -> memoryview:
    """`count` numbers from `first` on; others up to `most` will be asked for, too."""
    if first & READ_ONLY:
        return memoryview(array("I", range(first, first + count)))
    if len(_counted[0]) < first + count:
        _counted[0] = array("I", range(max(first + count, most)))
    return memoryview(_counted[0])[first : first + count]


class PageEntries(Protocol):
    """A page table outside real memory: `count` entries of two doublewords."""

    @property
    def count(self) -> int: ...
    def read(self, n: int) -> tuple[int, int]: ...
    def write(self, n: int, v: int, r: int) -> None: ...


class AddressMap:
    """What is where in the real address space."""

    def __init__(self, arena: Arena, trace: Trace = QUIET) -> None:
        self.arena, self.trace = arena, trace
        self.page_table = Table(PAGE_COUNT, "I")
        self.pages = self.page_table.view
        self._mappings: list[Mapping] = []
        self._bases: list[int] = []
        self._flat: list[tuple[int, int, Mapping]] = []
        self._leaves: dict[int, tuple[Region, int, bool] | None] = {}
        #: Accesses (real address, size above it) that are one call, as their chip offers it.
        self._readers: dict[int, Callable[[], int]] = {}
        self._writers: dict[int, Callable[[int], None]] = {}
        self.faces = Faces(trace)
        #: What each byte reads as where nothing is.
        self.open_bus = 0xFF
        #: The hypervisor's hash table of a guest that has one.
        self.hash_table: PageEntries | None = None
        #: Called when a mapping changed, so that the engine forgets translations.
        self.changed: Callable[[], None] = lambda: None
        #: Called with (real address, size, value, whether it is a store) of an access to a still
        #: register.
        self.hold: Callable[[int, int, int, bool], None] = lambda ra, size, value, store: None
        #: Called with (real addresses from and to, that of the first byte, region) when one of the
        #: bytes of a chip was accessed that is nothing else.
        self.bytes_found: Callable[[int, int, int, Region], None] = lambda low, high, base, r: None
        #: Called with (arena offset, length) after Python wrote to pages with decoded code.
        self.code_written: Callable[[int, int], None] = lambda offset, length: None

    # --- mapping ------------------------------------------------------------------------------

    def map(self, target: RamBlock | Region, base: int, *, priority: int = 0) -> Mapping:
        """Put `target` at real address `base`; overlap at equal priority is refused.

        A block above 4 GiB (a ROM behind a PCI bridge) has no pages: it is reached like a device.
        """
        m = Mapping(base, target.size, target, priority)
        ends = base < 1 << REAL_BITS < m.end
        if base < 0 or ends or m.end > 1 << MOST_REAL_BITS:
            raise ConfigError(f"{target.name}: {base:#x}..{m.end:#x} is outside 4 GiB")
        if isinstance(target, RamBlock) and base % PAGE_SIZE:
            raise ConfigError(f"{target.name}: RAM must begin on a page, got {base:#x}")
        for other in self._mappings:
            if other.priority == priority and m.base < other.end and other.base < m.end:
                raise ConfigError(f"{target.name} at {base:#x} overlaps {other.target.name}")
        self._mappings.append(m)
        self._rebuild(m)
        return m

    def close(self) -> None:
        """Give back the table of pages; nothing can be reached any more."""
        self.page_table.close()

    def unmap(self, mapping: Mapping) -> None:
        self._mappings.remove(mapping)
        self._rebuild(mapping)

    def _rebuild(self, changed: Mapping) -> None:
        """Flatten the mappings anew where one changed: sorted, disjoint (start, end, mapping)."""
        low, high = changed.base, changed.end
        first, behind = bisect_right(self._bases, low), bisect_left(self._bases, high)
        first -= first > 0 and self._flat[first - 1][1] > low
        flat, old, rest = self._flat[:first], self._flat[first:behind], self._flat[behind:]
        if old and old[0][0] < low:
            flat.append((old[0][0], low, old[0][2]))
        if old and old[-1][1] > high:
            rest.insert(0, (high, old[-1][1], old[-1][2]))
        for start, end, top in chain(self._on_top(low, high), rest[:1]):
            if flat and flat[-1][2] is top and flat[-1][1] == start:
                flat[-1] = (flat[-1][0], end, top)
            else:
                flat.append((start, end, top))
        flat += rest[1:]
        self._flat = flat
        self._bases = [f[0] for f in flat]
        self._leaves.clear()
        self._readers.clear()
        self._writers.clear()
        self.faces.clear()
        self._number_pages(align_down(low, PAGE_SIZE), align_up(high, PAGE_SIZE))
        self.changed()

    def _on_top(self, low: int, high: int) -> Iterator[tuple[int, int, Mapping]]:
        """What covers each part of [low, high), in order; nothing where nothing is."""
        near = [m for m in self._mappings if m.base < high and low < m.end]
        edges = {edge for m in near for edge in (m.base, m.end) if low < edge < high}
        for start, end in pairwise(sorted({low, high} | edges)):
            over = [m for m in near if m.base <= start and end <= m.end]
            if over:
                yield start, end, max(over, key=lambda m: m.priority)

    def _number_pages(self, lowest: int, highest: int) -> None:
        """Number the pages of [lowest, highest) anew."""
        if lowest < 1 << REAL_BITS:
            self.page_table.empty(lowest // PAGE_SIZE, min(highest // PAGE_SIZE, PAGE_COUNT))
        begin = max(bisect_right(self._bases, lowest) - 1, 0)
        for start, end, m in self._flat[begin : bisect_left(self._bases, highest)]:
            block = m.target
            # A page that is RAM in part only is reached byte by byte, as if it were a device.
            start = max(align_up(start, PAGE_SIZE), lowest)
            end = min(align_down(end, PAGE_SIZE), highest)
            if isinstance(block, RamBlock) and start < end <= 1 << REAL_BITS:
                first = (block.offset + start - m.base) // PAGE_SIZE
                first |= READ_ONLY if block.read_only else 0
                most = self.arena.capacity // PAGE_SIZE + 1
                with _numbers(first + 1, (end - start) // PAGE_SIZE, most) as numbers:
                    self.pages[start // PAGE_SIZE : end // PAGE_SIZE] = numbers

    def page(self, ra: int) -> int:
        """The arena's page at a real address, `READ_ONLY` with it; `MMIO` where no RAM is."""
        n = ra // PAGE_SIZE
        return self.pages[n] - 1 & MMIO if n < PAGE_COUNT else MMIO

    def find(self, ra: int) -> tuple[int, int, Mapping] | None:
        """(start, end, mapping) of what covers real address `ra`."""
        n = bisect_right(self._bases, ra) - 1
        if n >= 0 and ra < self._flat[n][1]:
            return self._flat[n]
        return None

    @property
    def mappings(self) -> list[tuple[int, int, Mapping]]:
        """Everything mapped, in address order (for `info mtree`)."""
        return list(self._flat)

    # --- access from Python -------------------------------------------------------------------

    def _leaf(self, page: int) -> tuple[Region, int, bool] | None:
        """The innermost region that holds a whole page, and where it begins; found once.

        And whether all there is to its accesses is to carry them out.
        """
        ra = page * PAGE_SIZE
        found = self.find(ra)
        leaf: tuple[Region, int, bool] | None = None
        if found is not None and isinstance(found[2].target, Region):
            region, base, end = found[2].target, found[2].base, found[1]
            while region.cell is not None and (cell := region.cell(ra - base)) is not None:
                end = min(end, base + cell[1])
                region, base = cell[2], base + cell[0]
            if base <= ra and ra + PAGE_SIZE <= end and region.cell is None:
                leaf = region, base, region.plain
        if len(self._leaves) >= MOST_LEAVES:
            self._leaves.clear()  # a guest that looks everywhere
        self._leaves[page] = leaf
        return leaf

    def _small(self, ra: int, size: int) -> tuple[Region, int, bool] | None:
        """The region that an access is wholly inside, of those that share a page or cross one."""
        found = self.find(ra)
        if found is None or ra + size > found[1]:
            return None
        region = found[2].target
        if not isinstance(region, Region) or region.cell is not None:
            return None
        return region, found[2].base, region.plain

    def _tell_bytes(self, ra: int, region: Region, base: int) -> None:
        """Say where the bytes of `region`, which begins at `base`, are to be had around `ra`."""
        found = self.find(ra)
        assert found is not None
        low, high, mapping = found
        outer, at = mapping.target, mapping.base
        while isinstance(outer, Region) and outer.cell is not None:
            cell = outer.cell(ra - at)
            assert cell is not None
            low, high = max(low, at + cell[0]), min(high, at + cell[1])
            outer, at = cell[2], at + cell[0]
        self.bytes_found(low, high, base, region)

    def load(self, ra: int, size: int) -> int:
        """One access of `size` bytes (1, 2, 4, 8): the big-endian value; ones where nothing is."""
        short = self._readers.get(ra | size << MOST_REAL_BITS)
        if short is not None:
            return short()
        page = ra >> 12
        leaf = self._leaves[page] if page in self._leaves else self._leaf(page)
        if leaf is None or (ra & 0xFFF) + size > PAGE_SIZE:
            leaf = self._small(ra, size)
        if leaf is not None:
            region, base, plain = leaf
            offset = ra - base
            if region.reader is not None:
                short = region.reader(offset, size)
                if short is not None:
                    self._readers[ra | size << MOST_REAL_BITS] = short
                    return short()
            if plain:
                return region.load(offset, size)
            if region.content is not None:
                self._tell_bytes(ra, region, base)
            if region.learns is not None and size in region.widths and self.faces.active:
                if region.learns(offset, None):
                    return self.faces.load(region, ra | size << 32, offset, size)
                return region.load(offset, size)
            if region.still is None or not region.still(offset) or size not in region.widths:
                return region.load(offset, size)
            value = region.load(offset, size)
            self.hold(ra, size, value, False)
            return value
        found = self.find(ra)
        if found is None or ra + size > found[1]:
            if found is None:
                self.trace.event("bus", f"read of nothing at {ra & ~0xFFF:#010x}")
                return int.from_bytes(bytes([self.open_bus]) * size, "big")
            return int.from_bytes(bytes(self.load(ra + n, 1) for n in range(size)), "big")
        m = found[2]
        if isinstance(m.target, RamBlock):
            at = m.target.offset + ra - m.base
            self.arena.need(at, size)
            return int.from_bytes(self.arena.view[at : at + size], "big")
        return m.target.load(ra - m.base, size)

    def store(self, ra: int, value: int, size: int) -> None:
        """One access of `size` bytes (1, 2, 4, 8)."""
        short = self._writers.get(ra | size << MOST_REAL_BITS)
        if short is not None:
            short(value)
            return
        page = ra >> 12
        leaf = self._leaves[page] if page in self._leaves else self._leaf(page)
        if leaf is None or (ra & 0xFFF) + size > PAGE_SIZE:
            leaf = self._small(ra, size)
        if leaf is not None:
            region, base, plain = leaf
            offset = ra - base
            if region.writer is not None:
                short = region.writer(offset, size)
                if short is not None:
                    self._writers[ra | size << MOST_REAL_BITS] = short
                    short(value)
                    return
            if plain:
                region.store(offset, value, size)
                return
            if region.content is not None:
                self._tell_bytes(ra, region, base)
            if region.learns is not None and size in region.widths and self.faces.active:
                kind = region.learns(offset, value)
                if kind:
                    self.faces.store(region, ra | size << 32, offset, value, size, kind)
                    return
            if region.idle is not None and size in region.widths and region.idle(offset, value):
                self.hold(ra, size, value, True)
            region.store(offset, value, size)
            return
        found = self.find(ra)
        if found is None or ra + size > found[1]:
            if found is None:
                self.trace.event("bus", f"write to nothing at {ra & ~0xFFF:#010x}")
                return
            for n, byte in enumerate(value.to_bytes(size, "big")):
                self.store(ra + n, byte, 1)
            return
        m = found[2]
        if isinstance(m.target, RamBlock):
            if not m.target.read_only:
                at = m.target.offset + ra - m.base
                self.write_arena(at, value.to_bytes(size, "big"))
        else:
            m.target.store(ra - m.base, value, size)

    def take(self, ra: int, value: int) -> None:
        """Hand a chip the value of a data store to `ra` that an engine has carried out."""
        page = ra >> 12
        leaf = self._leaves[page] if page in self._leaves else self._leaf(page)
        assert leaf is not None
        assert leaf[0].take is not None
        leaf[0].take(ra - leaf[1], value)

    def read(self, ra: int, length: int) -> bytes:
        """Bytes of RAM (DMA, debugger); ones where no RAM is."""
        at = self._in_page(ra, length)
        if at < 0:
            at = self._in_ram(ra, length)
        if at >= 0:
            self.arena.need(at, length)
            return bytes(self.arena.view[at : at + length])
        out = bytearray()
        while length:
            found = self.find(ra)
            step = min(length, PAGE_SIZE - ra % PAGE_SIZE)
            if found is not None and isinstance(found[2].target, RamBlock):
                step = min(length, found[1] - ra)
                at = found[2].target.offset + ra - found[2].base
                self.arena.need(at, step)
                out += self.arena.view[at : at + step]
            else:
                out += b"\xff" * step
            ra = (ra + step) & REAL_MASK
            length -= step
        return bytes(out)

    def write(self, ra: int, data: bytes | bytearray | memoryview) -> None:
        """Write bytes to RAM (DMA, debugger); what is not writable RAM stays as it is."""
        at = self._in_page(ra, len(data), write=True)
        if at < 0:
            at = self._in_ram(ra, len(data), write=True)
        if at >= 0:
            self.write_arena(at, data)
            return
        data = memoryview(data)
        while data:
            found = self.find(ra)
            step = min(len(data), PAGE_SIZE - ra % PAGE_SIZE)
            if found is not None and isinstance(found[2].target, RamBlock):
                step = min(len(data), found[1] - ra)
                if not found[2].target.read_only:
                    at = found[2].target.offset + ra - found[2].base
                    self.write_arena(at, data[:step])
            ra = (ra + step) & REAL_MASK
            data = data[step:]

    def has_ram(self, ra: int, length: int) -> bool:
        """Whether a range lies in one block of RAM that can be written."""
        return self._in_ram(ra, length, write=True) >= 0

    def _in_page(self, ra: int, length: int, *, write: bool = False) -> int:
        """As `_in_ram`, for what lies in one page that is all RAM; -1: look there."""
        n = ra >> 12
        if (ra & 0xFFF) + length > PAGE_SIZE or not length or n >= PAGE_COUNT:
            return -1
        page = self.pages[n] - 1 & MMIO
        if page & READ_ONLY:
            if write or page == MMIO:
                return -1
            page ^= READ_ONLY
        return page << 12 | ra & 0xFFF

    def _in_ram(self, ra: int, length: int, *, write: bool = False) -> int:
        """Arena offset of a range that lies in one RAM block (that can be written); else -1."""
        found = self.find(ra)
        if found is None or ra + length > found[1] or not length:
            return -1
        block = found[2].target
        if not isinstance(block, RamBlock) or (write and block.read_only):
            return -1
        return block.offset + ra - found[2].base

    def write_arena(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write at an arena offset, marking pages dirty and code changed."""
        arena, end = self.arena, offset + len(data)
        if arena.arriving is not None:
            arena.need(offset, len(data))
        arena.view[offset:end] = data
        first, last = offset // PAGE_SIZE, (end - 1) // PAGE_SIZE
        if first == last:
            arena.dirty_view[first] = 0xFF
            if arena.code_view[first]:
                self.code_written(offset, len(data))
            return
        arena.dirty_table.fill(0xFF, first, last + 1)
        if arena.code_table.memory.find(b"\1", first, last + 1) >= 0:
            self.code_written(offset, len(data))


__all__ = ["MMIO", "READ_ONLY", "AddressMap", "Arena", "Mapping", "RamBlock"]
