"""How many references each host cluster has; finds free clusters.

Counts change in memory at once.  What reaches the file, and when, keeps one promise: at every
moment the counts in the file are at least the references in the file.  So an increment is
written before the reference (`write_out` before L2 tables), a decrement is asked for with
`release_later` and done when the reference is gone from the file, and an operation on
snapshots changes no block in place (`relocate`).
"""

from __future__ import annotations

import errno
from bisect import bisect_left
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, TypeAlias

from gossamer.base.late import np
from gossamer.block.errors import ImageError
from gossamer.block.hostfile import HostFile
from gossamer.block.qcow2.entries import Clusters, decode, distinct, encode, tally
from gossamer.block.qcow2.header import MAX_TABLE_BYTES, Header

if TYPE_CHECKING:
    from numpy.typing import NDArray

Block: TypeAlias = "NDArray[np.unsignedinteger]"
_TABLE_RESERVED: Final = 511
_MAX_OFFSET: Final = 1 << 56
_UNPLACED: Final = 0


class Refcounts:
    """The refcount table and its blocks, every block that was looked at staying in memory."""

    def __init__(self, file: HostFile, header: Header) -> None:
        self.file = file
        self.cluster_bits = header.cluster_bits
        self.cluster_size = header.cluster_size
        self.bits = 1 << header.refcount_order
        self.block_entries = self.cluster_size * 8 // self.bits
        self.table_offset = header.table_offset
        self.table_clusters = header.table_clusters
        self.table: list[int] = []
        self.blocks: dict[int, Block] = {}
        self.dirty: set[int] = set()  # differ from the file
        self.fresh: set[int] = set()  # have no place in the file's table yet
        self.reserved: set[int] = {0}  # clusters with metadata: never guest data
        #: Free clusters that are taken only while `switching` (see `qcow2.spare`), ascending.
        self.spare: list[int] = []
        self.switching = False
        self._unplaced: list[int] = []
        self._later: list[Clusters] = []
        self._hint = 1

    def load(self) -> None:
        """Read the table; refuse one that points out of the file or twice to one block."""
        length = self.table_clusters << self.cluster_bits
        table = decode(self.file.read_at(self.table_offset, length))
        used = table[table != 0]
        if used.size:
            last = int(used.max())
            if int((used & np.uint64(self.cluster_size - 1)).max()):
                raise self._corrupt("a refcount block is not aligned to a cluster")
            if last >= self.file.size:
                raise self._corrupt(f"refcount block at {last:#x} is outside the file")
            if distinct(used).size != used.size:
                raise self._corrupt("two refcount table entries point to one block")
        last_used = np.flatnonzero(table)[-1:]
        self.table = table[: int(last_used[0]) + 1 if last_used.size else 0].tolist()
        first = self.table_offset >> self.cluster_bits
        self.reserved.update(range(first, first + self.table_clusters))
        self.reserved.update((used >> np.uint64(self.cluster_bits)).tolist())

    @property
    def maximum(self) -> int:
        return (1 << self.bits) - 1

    def _corrupt(self, message: str) -> ImageError:
        return ImageError(self.file.path, f"corrupt: {message}", errno.EIO)

    # Reading

    def block(self, index: int) -> Block | None:
        """The counts of block `index`, or None when all of them are zero."""
        found = self.blocks.get(index)
        if found is None and index < len(self.table) and self.table[index]:
            raw = self.file.read_at(self.table[index], self.cluster_size)
            found = self.blocks[index] = self._decode(raw)
        return found

    def get(self, cluster: int) -> int:
        index, at = divmod(cluster, self.block_entries)
        block = self.block(index)
        return 0 if block is None else int(block[at])

    def get_many(self, clusters: Clusters) -> NDArray[np.uint64]:
        """The counts of many clusters at once."""
        counts = np.zeros(clusters.size, np.uint64)
        indexes, places = np.divmod(clusters, self.block_entries)
        for index in distinct(indexes).tolist():
            block = self.block(index)
            if block is not None:
                here = indexes == index
                counts[here] = block[places[here]]
        return counts

    def _decode(self, raw: bytes) -> Block:
        if self.bits >= 8:
            size = self.bits // 8
            return np.frombuffer(raw, f">u{size}").astype(f"=u{size}")
        bits = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")
        weights = (1 << np.arange(self.bits)).astype(np.uint8)
        block: Block = (bits.reshape(-1, self.bits) * weights).sum(axis=1, dtype=np.uint8)
        return block

    def _encode(self, block: Block) -> bytes:
        if self.bits >= 8:
            return block.astype(f">u{self.bits // 8}").tobytes()
        bits = (block[:, None] >> np.arange(self.bits, dtype=np.uint8)) & np.uint8(1)
        return np.packbits(bits.astype(np.uint8), bitorder="little").tobytes()

    # Changing

    def add(self, clusters: Clusters, *, times: int = 1, counting: bool = False) -> None:
        """So many more references for each mention of a cluster.

        Only when `counting` from nothing may a cluster be new.
        """
        for index, block, places, mentioned in self._grouped(clusters, create=counting):
            more = mentioned * times
            if not (counting or block[places].all()):
                raise self._corrupt("a cluster is used but counted as free")
            if int(np.max(more)) > self.maximum - int(np.max(block[places])):
                self._refuse_overflow(block, places, more)
            block[places] += more.astype(block.dtype)
            self.dirty.add(index)

    def _refuse_overflow(self, block: Block, places: Clusters, times: Clusters) -> None:
        sums = block[places].astype(object) + times
        if max(sums) > self.maximum:
            message = (
                f"a cluster would have {max(sums)} references, refcounts of {self.bits} bits "
                f"hold {self.maximum}; qemu-img convert -o refcount_bits=16 makes wider ones"
            )
            raise ImageError(self.file.path, message, errno.EOVERFLOW)

    def subtract(self, clusters: Clusters) -> None:
        """One reference less for each mention of a cluster; it may be reused at zero."""
        for index, block, places, times in self._grouped(clusters, create=False):
            counts = block[places]
            if bool((counts < times.astype(np.uint64)).any()):
                bad = (int(places[0]) + index * self.block_entries) << self.cluster_bits
                raise self._corrupt(f"more references than counted near cluster {bad:#x}")
            block[places] = left = counts - times.astype(block.dtype)
            self.dirty.add(index)
            gone = (places[left == 0] + index * self.block_entries).tolist()
            if gone:
                self.reserved.difference_update(gone)
                self._hint = min(self._hint, *gone) if len(gone) > 1 else min(self._hint, gone[0])

    def _grouped(
        self, clusters: Clusters, *, create: bool
    ) -> Iterable[tuple[int, Block, Clusters, Clusters]]:
        """The mentions by block: index, counts, distinct places in it, how often each."""
        found, times = tally(clusters)
        indexes, places = np.divmod(found, self.block_entries)
        for index in distinct(indexes).tolist():
            block = self.block(index)
            if block is None:
                if not create:
                    where = int(found[indexes == index][0]) << self.cluster_bits
                    raise self._corrupt(f"cluster {where:#x} is used but not counted")
                block = self._create_unplaced(index)
                self._unplaced.append(index)
            here = indexes == index
            yield index, block, places[here], times[here]

    def release_later(self, clusters: Iterable[int] | Clusters) -> None:
        """Give up one reference each, once `settle` says that the file has none any more."""
        found = np.fromiter(clusters, np.int64)
        if found.size:
            self._later.append(found)

    @property
    def waiting(self) -> bool:
        return bool(self._later)

    def settle(self) -> None:
        """The file refers no more to what was released: do the decrements."""
        while self._later:
            self.subtract(self._later[-1])
            self._later.pop()

    # Finding free clusters

    def allocate_run(self, limit: int) -> tuple[int, int]:
        """Take 1..`limit` free clusters in a row: (first, count)."""
        at = self._hint
        while True:
            index, place = divmod(at, self.block_entries)
            block = self.block(index)
            if block is None:
                block = self._create(index)
            if block[place]:
                place += int(np.argmin(block[place:]))
                if block[place]:
                    at = (index + 1) * self.block_entries
                    continue
            used = np.flatnonzero(block[place : place + limit])
            count = int(used[0]) if used.size else min(limit, self.block_entries - place)
            first = index * self.block_entries + place
            count = self._without_spare(first, count)
            if not count:
                at = first + 1
                continue
            self._take(first, count)
            self._hint = first + count
            return first, count

    def _without_spare(self, first: int, count: int) -> int:
        """How many of `count` clusters in a row come before the first spare one."""
        if self.switching or not self.spare:
            return count
        at = bisect_left(self.spare, first)
        return count if at == len(self.spare) else min(count, self.spare[at] - first)

    def switch_over(self) -> None:
        """From now on until the image is read again the spare clusters are for use."""
        self.switching = True
        if self.spare:
            self._hint = min(self._hint, self.spare[0])

    def start_at(self, cluster: int) -> None:
        """Look for free clusters from `cluster` on."""
        self._hint = cluster

    def place_all(self) -> None:
        """Find a place for the blocks that `add` has made."""
        while self._unplaced:
            self._place(self._unplaced.pop())

    def allocate_one(self, *, metadata: bool = True) -> int:
        first, _ = self.allocate_run(1)
        if metadata:
            self.reserved.add(first)
        return first

    def allocate_table(self, count: int) -> int:
        """Take `count` contiguous clusters for metadata; returns the first."""
        if count == 1:
            return self.allocate_one()
        at = max(self._hint, -(-self.file.size // self.cluster_size))
        if self.switching:
            at = next((n for n in self.spare if self._first_used(n, count) is None), at)
        while (used := self._first_used(at, count)) is not None:
            at = used + 1
        first_index, last_index = at // self.block_entries, (at + count - 1) // self.block_entries
        self._check_free(at, count)
        missing = [n for n in range(first_index, last_index + 1) if self.block(n) is None]
        for index in missing:
            self._create_unplaced(index)
        self._take(at, count)
        for index in missing:
            self._place(index)
        self.reserved.update(range(at, at + count))
        return at

    def _first_used(self, at: int, count: int) -> int | None:
        """The last used cluster of the range, to start again behind it."""
        for cluster in range(at + count - 1, at - 1, -1):
            if self.get(cluster):
                return cluster
        return None

    def _check_free(self, first: int, count: int) -> None:
        if (first + count) << self.cluster_bits > _MAX_OFFSET:
            raise ImageError(self.file.path, "the image is full (64 PiB)", errno.EFBIG)
        if not self.reserved.isdisjoint(range(first, first + count)):
            where = first << self.cluster_bits
            raise self._corrupt(f"metadata near {where:#x} is counted as free")

    def _take(self, first: int, count: int) -> None:
        self._check_free(first, count)
        while count:
            index, place = divmod(first, self.block_entries)
            block = self.block(index)
            assert block is not None
            here = min(count, self.block_entries - place)
            block[place : place + here] = 1
            self.dirty.add(index)
            first, count = first + here, count - here

    def _create(self, index: int) -> Block:
        """A new block, which counts itself as the first cluster of its own range."""
        first = index * self.block_entries
        self._check_free(first, 1)
        block = self._create_unplaced(index)
        self._take(first, 1)
        self.reserved.add(first)
        self.table[index] = first << self.cluster_bits
        return block

    def _create_unplaced(self, index: int) -> Block:
        if index >= MAX_TABLE_BYTES // 8:
            raise ImageError(self.file.path, "the refcount table is full", errno.EFBIG)
        self.table.extend([_UNPLACED] * (index + 1 - len(self.table)))
        dtype = np.dtype(f"=u{max(self.bits // 8, 1)}")
        block: Block = np.zeros(self.block_entries, dtype)
        self.blocks[index] = block
        self.fresh.add(index)
        self.dirty.add(index)
        return block

    def _place(self, index: int) -> None:
        self.table[index] = self.allocate_one() << self.cluster_bits

    # Writing

    def write_out(self, header: Header) -> bool:
        """Bring the file up to date, in place; True when anything was written.

        Blocks first; then the table, which moves when it must grow (the header's fields follow).
        """
        if not self.dirty:
            return False
        grown = self._grow_table() if self._table_needed() > self.table_clusters else None
        self._write_blocks()
        if grown is not None:
            self._write_table(*grown)
            self.file.sync()
            old = range(
                self.table_offset >> self.cluster_bits,
                (self.table_offset >> self.cluster_bits) + self.table_clusters,
            )
            header.table_offset, header.table_clusters = grown
            self.file.write_at(0, header.pack())
            self.file.sync()
            self.table_offset, self.table_clusters = grown
            self.release_later(old)
        elif self.fresh:
            self.file.sync()
            for index in sorted(self.fresh):
                entry = self.table[index].to_bytes(8, "big")
                self.file.write_at(self.table_offset + index * 8, entry)
        self.dirty.clear()
        self.fresh.clear()
        return True

    def _table_needed(self) -> int:
        return -(-len(self.table) * 8 // self.cluster_size)

    def _grow_table(self) -> tuple[int, int]:
        """A place for a table with room for the blocks that the place itself needs."""
        while True:
            wanted = self._table_needed() + self._table_needed() // 2 + 1
            first = self.allocate_table(wanted)
            if self._table_needed() <= wanted:
                return first << self.cluster_bits, wanted
            self.subtract(np.arange(first, first + wanted))

    def _write_blocks(self) -> None:
        for index in sorted(self.dirty):
            if self.table[index] == _UNPLACED:  # the search for a place found corruption
                raise self._corrupt(f"refcount block {index} has no place")
            self.file.write_at(self.table[index], self._encode(self.blocks[index]))

    def _write_table(self, offset: int, clusters: int) -> None:
        table = np.zeros((clusters << self.cluster_bits) // 8, np.uint64)
        table[: len(self.table)] = self.table
        self.file.write_at(offset, encode(table))

    def relocate(self, frees: list[Clusters]) -> tuple[int, int]:
        """Move every changed block and the table to free clusters, then do `frees`.

        Nothing of the old structure is overwritten: the file changes over when the header is
        written with the place of the new table, which is returned (offset, clusters).
        """
        frees = list(frees)
        first = self.table_offset >> self.cluster_bits
        frees.append(np.arange(first, first + self.table_clusters))
        place: tuple[int, int] | None = None
        moved: set[int] = set()
        while True:
            touched = set(self.dirty)
            for clusters in frees:
                touched.update(distinct(clusters // self.block_entries).tolist())
            todo = sorted(touched - self.fresh - moved)
            for index in todo:
                if self.block(index) is None:
                    raise self._corrupt(f"clusters of refcount block {index} are not counted")
                frees.append(np.array([self.table[index] >> self.cluster_bits]))
                self._place(index)
                moved.add(index)
            if place is None or self._table_needed() > place[1]:
                if place is not None:
                    start = place[0] >> self.cluster_bits
                    frees.append(np.arange(start, start + place[1]))
                place = self._grow_table()
            elif not todo:
                break
        for clusters in frees:
            self.subtract(clusters)
        return place

    def write_relocated(self, place: tuple[int, int]) -> None:
        self._write_blocks()
        self._write_table(*place)

    def relocated(self, place: tuple[int, int]) -> None:
        """The header now points to the new table."""
        self.table_offset, self.table_clusters = place
        self.dirty.clear()
        self.fresh.clear()
