"""Counting all references anew, for an image whose refcounts are not in order.

The dirty bit says so (QEMU sets it while it uses lazy refcounts), or `qcow2.audit` finds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.base.late import np
from gossamer.block.errors import ImageError
from gossamer.block.qcow2.audit import Mentions, mentions
from gossamer.block.qcow2.refcounts import Refcounts
from gossamer.block.qcow2.switch import Change, data_mentions, l2_mentions, switch

if TYPE_CHECKING:
    from gossamer.block.qcow2.image import Qcow2Image


def rebuild(image: Qcow2Image) -> None:
    """Replace the refcounts by counted ones and clear the dirty bit, in one step."""
    found = list(mentions(image))
    _refuse_overlap(image, found)
    counts = Refcounts(image.file, image.header)
    counts.table_offset = counts.table_clusters = 0
    counts.reserved = image.refcounts.reserved
    end = -(-image.file.size // image.header.cluster_size)
    counts.start_at(end)
    for clusters, times, _ in found:
        counts.add(clusters, times=times, counting=True)
    counts.place_all()
    image.refcounts = image.tables.refcounts = counts
    active = image.tables.l1
    needed = image.header.l1_needed(image.size)
    change = Change(active, image.size, image.snapshots, image.table_length)
    change.lost = [
        *data_mentions(image, active, needed, len(active)),
        l2_mentions(image, active, 0, len(active)),
    ]
    switch(image, change)


def _refuse_overlap(image: Qcow2Image, found: list[Mentions]) -> None:
    none = np.zeros(0, np.int64)
    metadata = np.concatenate([none, *(m.clusters for m in found if m.metadata)])
    used = np.unique(np.concatenate([none, *(m.clusters for m in found if not m.metadata)]))
    both = np.intersect1d(used, metadata)
    limit = -(-image.file.size // image.header.cluster_size)
    if both.size:
        where = int(both[0]) << image.header.cluster_bits
        message = f"corrupt: {where:#x} is both metadata and guest data; qemu-img check -r all"
        raise ImageError(image.path, message)
    if used.size and int(used[-1]) >= limit:
        where = int(used[-1]) << image.header.cluster_bits
        raise ImageError(image.path, f"corrupt: guest data at {where:#x} is outside the file")
