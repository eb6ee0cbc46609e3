"""The guest-to-host map: the active L1 table and a cache of L2 tables."""

from __future__ import annotations

import errno
from collections import OrderedDict
from typing import Final

from gossamer.base.late import np
from gossamer.block.errors import ImageError
from gossamer.block.hostfile import HostFile
from gossamer.block.qcow2.entries import (
    COMPRESSED,
    COPIED,
    L1_RESERVED,
    OFFSET,
    STANDARD_RESERVED,
    Table,
    decode,
    distinct,
    encode,
)
from gossamer.block.qcow2.header import Header
from gossamer.block.qcow2.refcounts import Refcounts

_CACHE_BYTES: Final = 32 << 20
_MIN_CACHED: Final = 8
_DIRTY_BYTES: Final = 8 << 20
_MIN_DIRTY: Final = 4
_SLICE: Final = 64  # entries: L2 tables are written in units of 512 bytes


def read_l1(file: HostFile, offset: int, entries: int) -> Table:
    """An L1 table; refused when it has reserved bits or leads twice to one L2 table."""
    table = decode(file.read_at(offset, entries * 8))
    if bool((table & np.uint64(L1_RESERVED)).any()):
        at = int(np.argmax(table & np.uint64(L1_RESERVED)))
        message = f"corrupt: L1 entry {at} at {offset:#x} has reserved bits: {int(table[at]):#x}"
        raise ImageError(file.path, message, errno.EIO)
    used = table[table != 0] & np.uint64(OFFSET)
    if distinct(used).size != used.size:
        message = f"corrupt: two entries of the L1 table at {offset:#x} share an L2 table"
        raise ImageError(file.path, message, errno.EIO)
    return table


class Tables:
    """Reads L2 tables by their host offset, changes those of the active L1."""

    def __init__(self, file: HostFile, header: Header, refcounts: Refcounts) -> None:
        self.file, self.header, self.refcounts = file, header, refcounts
        self.cluster_size = header.cluster_size
        self.l1: Table = np.zeros(header.l1_size, np.uint64)
        self._dirty_l1: set[int] = set()
        self._cache: OrderedDict[int, Table] = OrderedDict()
        self._dirty: dict[int, tuple[int, int]] = {}  # L2 offset -> first, last changed entry
        self._capacity = max(_CACHE_BYTES // self.cluster_size, _MIN_CACHED)
        self.dirty_limit = max(_DIRTY_BYTES // self.cluster_size, _MIN_DIRTY)

    def load(self) -> None:
        """Read the active L1 table."""
        header = self.header
        self.l1 = read_l1(self.file, header.l1_offset, header.l1_size)
        shift = header.cluster_bits
        first = header.l1_offset >> shift
        clusters = -(-header.l1_size * 8 // self.cluster_size)
        self.refcounts.reserved.update(range(first, first + clusters))
        used = self.l1[self.l1 != 0] & np.uint64(OFFSET)
        self.refcounts.reserved.update((used >> np.uint64(shift)).tolist())

    def l2(self, offset: int) -> Table:
        """The L2 table at a host offset, from the cache or the file."""
        found = self._cache.get(offset)
        if found is not None:
            self._cache.move_to_end(offset)
            return found
        table = self._read(offset)
        self._keep(offset, table)
        return table

    def peek(self, offset: int) -> Table:
        """The same, for a scan that must not push the guest's tables out of the cache."""
        found = self._cache.get(offset)
        return self._read(offset) if found is None else found

    def _read(self, offset: int) -> Table:
        if offset % self.cluster_size or offset + 8 > self.file.size:
            message = f"corrupt: L2 table at {offset:#x} is misaligned or outside the file"
            raise ImageError(self.file.path, message, errno.EIO)
        table = decode(self.file.read_at(offset, self.cluster_size))
        self._check(table, offset)
        return table

    def _check(self, table: Table, offset: int) -> None:
        """Reserved bits and misaligned offsets of standard entries."""
        wrong = STANDARD_RESERVED | (self.cluster_size - 1) & ~1
        if self.header.version == 2:
            wrong |= 1
        standard = (table & np.uint64(COMPRESSED)) == 0
        bad = standard & ((table & np.uint64(wrong)) != 0)
        if bool(bad.any()):
            at = int(bad.argmax())
            message = f"corrupt: entry {at} of the L2 table at {offset:#x}: {int(table[at]):#x}"
            raise ImageError(self.file.path, message, errno.EIO)

    def _keep(self, offset: int, table: Table) -> None:
        self._cache[offset] = table
        if len(self._cache) > self._capacity:
            for old in self._cache:
                if old not in self._dirty and old != offset:
                    del self._cache[old]
                    break

    def writable(self, index: int) -> tuple[int, Table]:
        """The L2 table of an active L1 entry, ours alone: (host offset, table)."""
        entry = int(self.l1[index])
        offset = entry & OFFSET
        if entry & COPIED and offset:
            return offset, self.l2(offset)
        table = np.zeros(self.header.l2_entries, np.uint64)
        if offset:
            table[:] = self.l2(offset)
        new = self.refcounts.allocate_one() << self.header.cluster_bits
        self._dirty[new] = (0, len(table) - 1)
        self._keep(new, table)
        self.l1[index] = new | COPIED
        self._dirty_l1.add(index)
        if offset:
            self.refcounts.release_later([offset >> self.header.cluster_bits])
        return new, table

    def mark(self, offset: int, first: int, count: int) -> None:
        """Entries of the L2 table at `offset` have changed."""
        low, high = self._dirty.get(offset, (first, first))
        self._dirty[offset] = min(low, first), max(high, first + count - 1)

    @property
    def crowded(self) -> bool:
        """So much is unwritten that it should be written now."""
        return len(self._dirty) > self.dirty_limit

    @property
    def is_dirty(self) -> bool:
        return bool(self._dirty or self._dirty_l1)

    def write_out(self) -> None:
        """L2 tables, then the L1 entries that lead to new ones."""
        for offset in sorted(self._dirty):
            first, last = self._dirty[offset]
            first, last = first // _SLICE * _SLICE, last // _SLICE * _SLICE + _SLICE
            self.file.write_at(offset + first * 8, encode(self._cache[offset][first:last]))
        if self._dirty_l1:
            self.file.sync()
            for index in sorted(self._dirty_l1):
                entry = int(self.l1[index]).to_bytes(8, "big")
                self.file.write_at(self.header.l1_offset + index * 8, entry)
        self._dirty.clear()
        self._dirty_l1.clear()

    def next_mapped(self, index: int) -> int:
        """The first L1 entry from `index` on that leads to an L2 table, or the table's end."""
        rest = self.l1[index:] != 0
        return index + int(rest.argmax()) if bool(rest.any()) else len(self.l1)
