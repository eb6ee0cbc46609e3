"""Every mention of a cluster in an image, and whether the reference counts know of all.

Counts that are too low lose data in silence: a cluster that is counted as free is taken for new
data, one that is shared and counted once is written in place or given back.  Writers other than
QEMU and we have made such images.  So they are counted when an image is opened for writing.
Tables that several snapshots share are read once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from gossamer.base.late import np
from gossamer.block.qcow2.entries import (
    COMPRESSED,
    COPIED,
    OFFSET,
    Clusters,
    Table,
    all_clusters,
    distinct,
)
from gossamer.block.qcow2.snapshots import check_l1
from gossamer.block.qcow2.switch import extent, l2_mentions
from gossamer.block.qcow2.tables import read_l1

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossamer.block.qcow2.image import Qcow2Image


class Mentions(NamedTuple):
    """Clusters that are mentioned `times` times each (or more often, where one comes twice)."""

    clusters: Clusters
    times: int
    metadata: bool


def mentions(image: Qcow2Image) -> Iterator[Mentions]:
    """All but those of the refcount structures."""
    header = image.header
    yield Mentions(np.array([0]), 1, True)
    yield Mentions(extent(image, header.snapshots_offset, image.table_length), 1, True)
    l1s = Counter([(header.l1_offset, header.l1_size)])
    for snapshot in image.snapshots:
        check_l1(image.file, header, snapshot)
        l1s[snapshot.l1_offset, snapshot.l1_size] += 1
    l2s: Counter[int] = Counter()
    for (offset, entries), times in l1s.items():
        yield Mentions(extent(image, offset, entries * 8), times, True)
        l1 = read_l1(image.file, offset, entries)
        for cluster in l2_mentions(image, l1, 0, len(l1)).tolist():
            l2s[cluster] += times
    for times in set(l2s.values()):
        yield Mentions(np.array([c for c, n in l2s.items() if n == times], np.int64), times, True)
    for cluster, times in l2s.items():
        table = image.tables.peek(cluster << header.cluster_bits)
        yield Mentions(all_clusters(table, header.cluster_bits), times, False)


class _Needed:
    """How many references there are to each cluster, in blocks as the refcounts have them."""

    def __init__(self, block_entries: int) -> None:
        self._entries = block_entries
        self.blocks: dict[int, NDArray[np.uint64]] = {}

    def add(self, clusters: Clusters, times: int) -> None:
        indexes, places = np.divmod(clusters, self._entries)
        for index in distinct(indexes).tolist():
            block = self.blocks.setdefault(index, np.zeros(self._entries, np.uint64))
            counts = np.bincount(places[indexes == index], minlength=self._entries)
            block += counts.astype(np.uint64) * np.uint64(times)

    def is_shared(self, clusters: Clusters) -> bool:
        """Whether one of them has more than one reference."""
        indexes, places = np.divmod(clusters, self._entries)
        return any(
            bool((self.blocks[index][places[indexes == index]] > 1).any())
            for index in distinct(indexes).tolist()
        )


def counts_suffice(image: Qcow2Image) -> bool:
    """Whether every count is at least the references, and what COPIED says is ours alone is."""
    refcounts, bits = image.refcounts, image.header.cluster_bits
    needed = _Needed(refcounts.block_entries)
    for clusters, times, _ in mentions(image):
        needed.add(clusters, times)
    needed.add(extent(image, refcounts.table_offset, refcounts.table_clusters << bits), 1)
    needed.add(np.array([at >> bits for at in refcounts.table if at], np.int64), 1)
    for index, block in needed.blocks.items():
        counted = refcounts.block(index)
        if bool((block > (0 if counted is None else counted)).any()):
            return False
    l1 = image.tables.l1
    copied = l1[(l1 & COPIED) != 0]
    if needed.is_shared(_hosts(copied, bits)):
        return False
    for cluster in l2_mentions(image, l1, 0, len(l1)).tolist():
        table = image.tables.peek(cluster << bits)
        ours = table[((table & COPIED) != 0) & ((table & COMPRESSED) == 0)]
        if needed.is_shared(_hosts(ours, bits)):
            return False
    return True


def _hosts(entries: Table, bits: int) -> Clusters:
    hosts = entries & OFFSET
    found: Clusters = (hosts[hosts != 0] >> np.uint64(bits)).astype(np.int64)
    return found
