"""L1 and L2 entries: their bits, and which host clusters a whole table refers to.

Tables are kept as native-endian uint64 arrays.  Source: qcow2 specification, "Cluster mapping".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from gossamer.base.late import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = TypeVar("Numbers", NDArray[np.uint64], NDArray[np.int64])

Table: TypeAlias = "NDArray[np.uint64]"
Clusters: TypeAlias = "NDArray[np.int64]"

COPIED: Final = 1 << 63  # refcount is exactly one: may be written in place
COMPRESSED: Final = 1 << 62
ZERO: Final = 1  # reads as zeros whatever the offset says (version 3)
OFFSET: Final = 0x00FF_FFFF_FFFF_FE00
STANDARD_RESERVED: Final = ((1 << 62) - 1) & ~OFFSET & ~ZERO
L1_RESERVED: Final = ~(OFFSET | COPIED) & ((1 << 64) - 1)
_SECTOR: Final = 512


def decode(raw: bytes) -> Table:
    """A table as it stands in the file → native integers, writable."""
    return np.frombuffer(raw, ">u8").astype(np.uint64)


def encode(table: Table) -> bytes:
    return table.astype(">u8").tobytes()


def distinct(numbers: Numbers) -> Numbers:
    """Each of the numbers once, in order.

    `np.unique` does the same, and takes 8 ms in a process that has not used it yet.
    """
    ordered = np.sort(numbers)
    return ordered[np.flatnonzero(_firsts(ordered))]


def tally(clusters: Clusters) -> tuple[Clusters, Clusters]:
    """Each of the clusters once, in order, and how often it is there."""
    ordered = np.sort(clusters)
    at = np.flatnonzero(_firsts(ordered))
    return ordered[at], np.diff(at, append=ordered.size)


def _firsts(ordered: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a number stands for the first time."""
    first = np.ones(ordered.size, np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    return first


def compressed_extent(entry: int, cluster_bits: int) -> tuple[int, int]:
    """Byte offset and longest possible length of a compressed cluster's data."""
    shift = 62 - (cluster_bits - 8)
    offset = entry & ((1 << shift) - 1)
    sectors = ((entry & (COMPRESSED - 1)) >> shift) + 1
    return offset, sectors * _SECTOR - offset % _SECTOR


def standard_clusters(table: Table, cluster_bits: int) -> Clusters:
    """Host cluster of every standard entry that has one (preallocated zeros too)."""
    standard = table[(table & np.uint64(COMPRESSED)) == 0] & np.uint64(OFFSET)
    found: Clusters = (standard[standard != 0] >> np.uint64(cluster_bits)).astype(np.int64)
    return found


def compressed_clusters(table: Table, cluster_bits: int) -> Clusters:
    """Host clusters under compressed data, one mention for each entry that touches them."""
    entries = table[(table & np.uint64(COMPRESSED)) != 0]
    found: list[int] = []
    for entry in entries.tolist():
        offset, length = compressed_extent(entry, cluster_bits)
        found.extend(range(offset >> cluster_bits, ((offset + length - 1) >> cluster_bits) + 1))
    return np.array(found, np.int64)


def all_clusters(table: Table, cluster_bits: int) -> Clusters:
    """Every mention of a host cluster in an L2 table, as the refcounts count them."""
    parts = standard_clusters(table, cluster_bits), compressed_clusters(table, cluster_bits)
    return np.concatenate(parts)


def entry_clusters(entry: int, cluster_bits: int) -> range:
    """Host clusters that one L2 entry refers to."""
    if entry & COMPRESSED:
        offset, length = compressed_extent(entry, cluster_bits)
        return range(offset >> cluster_bits, ((offset + length - 1) >> cluster_bits) + 1)
    cluster = (entry & OFFSET) >> cluster_bits
    return range(cluster, cluster + 1) if cluster else range(0)
