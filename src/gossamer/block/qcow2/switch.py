"""Changing over to new metadata in one step: how snapshots are made, applied and deleted.

Everything that changes (the active L1 and L2 tables, refcount blocks and table, the snapshot
table) is written to free clusters while the file's own structures stay as they are.  Then one
write of the header, which holds all four places, makes the new ones valid.  Killed before it,
the image is the old one; after it, the new one.  There is no state in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gossamer.base.data import Data, field, replace
from gossamer.base.late import np
from gossamer.block.qcow2.entries import (
    COMPRESSED,
    COPIED,
    OFFSET,
    Clusters,
    Table,
    all_clusters,
    distinct,
    encode,
)
from gossamer.block.qcow2.header import DIRTY
from gossamer.block.qcow2.snapshots import Snapshot

if TYPE_CHECKING:
    from gossamer.block.qcow2.disk import Qcow2Disk


class Change(Data, frozen=False):
    """What the image becomes.

    `source` is the L1 table that the new active one copies, `size` the length of the disk;
    `gained` and `lost` are mentions of clusters that begin and cease to be; `table_length` is
    the length of the present snapshot table in bytes.
    """

    source: Table
    size: int
    snapshots: Sequence[Snapshot]
    table_length: int
    gained: list[Clusters] = field(default_factory=list)
    lost: list[Clusters] = field(default_factory=list)


def data_mentions(disk: Qcow2Disk, l1: Table, first: int, stop: int) -> list[Clusters]:
    """Guest data that part of an L1 table refers to, one array for each L2 table."""
    entries = l1[first:stop].tolist()
    tables = [disk.tables.peek(entry & OFFSET) for entry in entries if entry & OFFSET]
    return [all_clusters(table, disk.header.cluster_bits) for table in tables]


def l2_mentions(disk: Qcow2Disk, l1: Table, first: int, stop: int) -> Clusters:
    """The L2 tables themselves."""
    used = l1[first:stop] & np.uint64(OFFSET)
    found: Clusters = (used[used != 0] >> np.uint64(disk.header.cluster_bits)).astype(np.int64)
    return found


def extent(disk: Qcow2Disk, offset: int, length: int) -> Clusters:
    """The clusters of a contiguous table."""
    first = offset >> disk.header.cluster_bits
    return np.arange(first, first + -(-length // disk.header.cluster_size))


def switch(disk: Qcow2Disk, change: Change) -> None:
    """Carry out `change`; the caller reloads the image if this raises."""
    header, refcounts = disk.header, disk.refcounts
    assert not refcounts.waiting
    gained, gone = _balance(change)
    refcounts.add(gained)
    tables = _copy_tables(disk, change)
    l1_size = max(header.l1_needed(change.size), 1)
    l1_offset = _place(disk, l1_size * 8)
    packed = b"".join(snapshot.pack() for snapshot in change.snapshots)
    table_offset = _place(disk, len(packed))
    lost = [gone, extent(disk, header.l1_offset, header.l1_size * 8)]
    lost.append(extent(disk, header.snapshots_offset, change.table_length))
    place = refcounts.relocate(lost)

    l1 = np.zeros(l1_size, np.uint64)
    for index, (offset, table) in tables.items():
        mark_copied(disk, table)
        disk.file.write_at(offset, encode(table))
        l1[index] = offset | COPIED
    disk.file.write_at(l1_offset, encode(l1))
    disk.file.write_at(table_offset, packed)
    refcounts.write_relocated(place)
    disk.file.sync()
    new = replace(
        header,
        size=change.size,
        l1_size=l1_size,
        l1_offset=l1_offset,
        table_offset=place[0],
        table_clusters=place[1],
        snapshot_count=len(change.snapshots),
        snapshots_offset=table_offset,
        autoclear=0,
        incompatible=header.incompatible & ~DIRTY,
    )
    disk.file.write_at(0, new.pack())
    disk.file.sync()
    refcounts.relocated(place)


def _balance(change: Change) -> tuple[Clusters, Clusters]:
    """Mentions gained and lost on balance: a count need not hold both for a moment."""
    none = np.zeros(0, np.int64)
    more = np.concatenate([none, *change.gained])
    less = np.concatenate([none, *change.lost])
    used = distinct(np.concatenate([more, less]))
    net = np.bincount(np.searchsorted(used, more), minlength=len(used))
    net -= np.bincount(np.searchsorted(used, less), minlength=len(used))
    return np.repeat(used, np.maximum(net, 0)), np.repeat(used, np.maximum(-net, 0))


def _place(disk: Qcow2Disk, length: int) -> int:
    if not length:
        return 0
    clusters = -(-length // disk.header.cluster_size)
    return disk.refcounts.allocate_table(clusters) << disk.header.cluster_bits


def _copy_tables(disk: Qcow2Disk, change: Change) -> dict[int, tuple[int, Table]]:
    """A copy of every L2 table of the disk, with a place for each."""
    copies = {}
    for index, entry in enumerate(change.source[: disk.header.l1_needed(change.size)].tolist()):
        if entry & OFFSET:
            table = disk.tables.peek(entry & OFFSET).copy()
            place = disk.refcounts.allocate_one() << disk.header.cluster_bits
            copies[index] = (place, table)
    return copies


def mark_copied(disk: Qcow2Disk, table: Table) -> None:
    """Set or clear each entry's COPIED flag by the reference count."""
    table &= np.uint64(~COPIED & ((1 << 64) - 1))
    hosts = table & np.uint64(OFFSET)
    standard = np.flatnonzero(((table & np.uint64(COMPRESSED)) == 0) & (hosts != 0))
    clusters = (hosts[standard] >> np.uint64(disk.header.cluster_bits)).astype(np.int64)
    single = standard[disk.refcounts.get_many(clusters) == 1]
    table[single] |= np.uint64(COPIED)
