"""Clusters that are kept free, so that a snapshot can be applied or deleted on a full host.

Changing over (`qcow2.switch`) writes new tables to free clusters before the old ones are free.  On
a host without room the file cannot grow, so as many clusters as that takes stay out of the reach of
guest data and machine states: free ones that the file has already, or new ones when a snapshot is
made.  Nothing of this is in the file; another program may use them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gossamer.base.late import np
from gossamer.block.errors import ImageError

if TYPE_CHECKING:
    from gossamer.block.qcow2.image import Qcow2Image

_MORE: Final = 4
_MAX_LOOKED_AT: Final = 1 << 16
"""Free clusters that are looked at, to find some that are not holes."""


def wanted(image: Qcow2Image, l2_tables: int, l1_entries: int) -> int:
    """Clusters that changing over takes at most; `l2_tables`, `l1_entries`: of the largest disk."""
    cluster, refcounts = image.header.cluster_size, image.refcounts
    blocks = sum(1 for at in refcounts.table if at) + 1
    table = -(-len(refcounts.table) * 8 // cluster)
    l1 = -(-l1_entries * 8 // cluster)
    snapshots = -(-image.table_length // cluster) + 1
    return l2_tables + blocks + table * 3 // 2 + 1 + l1 + snapshots + _MORE


def find(image: Qcow2Image, count: int) -> list[int]:
    """Up to `count` free clusters that the file has, in ascending order, from its end."""
    refcounts, bits = image.refcounts, image.header.cluster_bits
    end, entries = image.file.size >> bits, refcounts.block_entries
    found: list[int] = []
    looked_at = 0
    for index in range((end - 1) // entries, -1, -1):
        block = refcounts.block(index)
        if block is None:  # a hole in a file from elsewhere
            continue
        first = index * entries
        for place in np.flatnonzero(block[: end - first] == 0)[::-1].tolist():
            cluster = first + place
            looked_at += 1
            if len(found) == count or looked_at > _MAX_LOOKED_AT:
                return sorted(found)
            if cluster not in refcounts.reserved and not image.file.hole_at(cluster << bits):
                found.append(cluster)
    return sorted(found)


def make(image: Qcow2Image, count: int) -> None:
    """Let the file grow until `count` clusters are spare; ImageError (ENOSPC) if it cannot."""
    refcounts, cluster = image.refcounts, image.header.cluster_size
    missing = count - len(refcounts.spare)
    if missing <= 0:
        return
    first = -(-image.file.size // cluster)
    if any(refcounts.get(n) for n in range(first, first + missing)):
        raise ImageError(image.path, "corrupt: clusters behind its end are counted as used")
    image.file.allocate(first * cluster, missing * cluster)
    refcounts.spare = [*refcounts.spare, *range(first, first + missing)]
