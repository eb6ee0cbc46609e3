"""Counting all references anew, for an image that was not closed with its refcounts in order.

The dirty bit says so: QEMU sets it while it uses lazy refcounts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gossamer.block.errors import ImageError
from gossamer.block.qcow2.entries import Clusters
from gossamer.block.qcow2.refcounts import Refcounts
from gossamer.block.qcow2.snapshots import check_l1
from gossamer.block.qcow2.switch import Change, data_mentions, extent, l2_mentions, switch
from gossamer.block.qcow2.tables import read_l1

if TYPE_CHECKING:
    from gossamer.block.qcow2.image import Qcow2Image


def rebuild(image: Qcow2Image) -> None:
    """Replace the refcounts by counted ones and clear the dirty bit, in one step."""
    metadata, guest = _references(image)
    _refuse_overlap(image, metadata, guest)
    counts = Refcounts(image.file, image.header)
    counts.table_offset = counts.table_clusters = 0
    counts.reserved = image.refcounts.reserved
    end = -(-image.file.size // image.header.cluster_size)
    counts.start_at(end)
    for clusters in (*metadata, *guest):
        counts.add(clusters, counting=True)
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


def _references(image: Qcow2Image) -> tuple[list[Clusters], list[Clusters]]:
    """Every mention of a cluster: by metadata, by guest data."""
    header = image.header
    tables = [image.tables.l1]
    metadata = [np.array([0])]
    metadata.append(extent(image, header.l1_offset, header.l1_size * 8))
    metadata.append(extent(image, header.snapshots_offset, image.table_length))
    for snapshot in image.snapshots:
        check_l1(image.file, header, snapshot)
        tables.append(read_l1(image.file, snapshot.l1_offset, snapshot.l1_size))
        metadata.append(extent(image, snapshot.l1_offset, snapshot.l1_size * 8))
    guest: list[Clusters] = []
    for l1 in tables:
        metadata.append(l2_mentions(image, l1, 0, len(l1)))
        guest += data_mentions(image, l1, 0, len(l1))
    return metadata, guest


def _refuse_overlap(image: Qcow2Image, metadata: list[Clusters], guest: list[Clusters]) -> None:
    used = np.unique(np.concatenate(guest)) if guest else np.zeros(0, np.int64)
    both = np.intersect1d(used, np.concatenate(metadata))
    limit = -(-image.file.size // image.header.cluster_size)
    if both.size:
        where = int(both[0]) << image.header.cluster_bits
        message = f"corrupt: {where:#x} is both metadata and guest data; qemu-img check -r all"
        raise ImageError(image.path, message)
    if used.size and int(used[-1]) >= limit:
        where = int(used[-1]) << image.header.cluster_bits
        raise ImageError(image.path, f"corrupt: guest data at {where:#x} is outside the file")
