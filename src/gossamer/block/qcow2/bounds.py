"""Whether everything that an image's tables lead to lies inside its file.

A file that was cut off still opens, and fails only where the guest gets to the missing part.  So
the tables are looked through before.  Like QEMU we let a file end anywhere inside its last cluster.
"""

from __future__ import annotations

import errno

from gossamer.base.late import np
from gossamer.block.errors import ImageError
from gossamer.block.hostfile import HostFile
from gossamer.block.qcow2.entries import COMPRESSED, OFFSET, ZERO, Table, decode, distinct
from gossamer.block.qcow2.header import MAX_L1_BYTES, Header, check_extent
from gossamer.block.qcow2.snapshots import read_table


def check_bounds(file: HostFile, header: Header) -> None:
    """Refuse an image of which a part is missing; the header's own tables are checked already."""
    l1s = {(header.l1_offset, header.l1_size): "active L1 table"}
    for snapshot in read_table(file, header)[0]:
        what = f"L1 table of snapshot {snapshot.name!r}"
        l1s.setdefault((snapshot.l1_offset, snapshot.l1_size), what)
    tables: Table = np.zeros(0, np.uint64)
    for (offset, entries), what in l1s.items():
        check_extent(file, header, what, offset, entries * 8, MAX_L1_BYTES)
        found = decode(file.read_at(offset, entries * 8)) & OFFSET
        _check(file, f"{what} leads to an L2 table", int(np.max(found, initial=0)))
        tables = distinct(np.concatenate((tables, found)))
    for l2 in tables.tolist():
        if l2 and l2 % header.cluster_size == 0:  # a misaligned one is refused on use
            table = decode(file.read_at(l2, header.cluster_size))
            _check(file, f"L2 table at {l2:#x} maps a cluster", _last(table, header.cluster_bits))


def _last(table: Table, cluster_bits: int) -> int:
    """The largest offset in an L2 table whose content is needed."""
    packed = (table & COMPRESSED) != 0
    data = table[~packed & ((table & ZERO) == 0)] & OFFSET
    mask = np.uint64((1 << (62 - (cluster_bits - 8))) - 1)
    return max(int(data.max(initial=0)), int((table[packed] & mask).max(initial=0)))


def _check(file: HostFile, what: str, last: int) -> None:
    if last and last >= file.size:
        message = f"truncated: its {what} at {last:#x}, the file ends at {file.size:#x}"
        raise ImageError(file.path, message, errno.EIO)
