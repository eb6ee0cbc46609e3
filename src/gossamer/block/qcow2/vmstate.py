"""The saved machine inside a snapshot: guest data behind the end of the virtual disk."""

from __future__ import annotations

import errno
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from gossamer.block.errors import ImageError
from gossamer.block.hostfile import Buffer
from gossamer.block.qcow2.entries import COPIED, Clusters, Table

if TYPE_CHECKING:
    from gossamer.block.qcow2.disk import Qcow2Disk

_BATCH: Final = 1 << 20


class VmstateWriter(io.RawIOBase):
    """Takes the bytes of a machine state and puts them into free clusters of the image.

    Nothing refers to them until `create_snapshot` gets this writer; `abort` gives them back.
    """

    def __init__(self, disk: Qcow2Disk) -> None:
        super().__init__()
        self._disk = disk
        self._generation = disk.generation
        self._batch = bytearray()
        self._size_unit = max(_BATCH, disk.header.cluster_size)
        self.entries: list[int] = []
        self.length = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:  # type: ignore[override]
        """Append; ImageError (ENOSPC, …) gives back what was taken so far."""
        self.check()
        view = memoryview(data).cast("B")
        size, waiting = len(view), len(self._batch)
        self.length += size
        if waiting + size < self._size_unit:
            self._batch += view
            return size
        whole = (waiting + size) & -self._disk.header.cluster_size
        self._store(bytes(self._batch), view[: whole - waiting])
        self._batch[:] = view[whole - waiting :]
        return size

    def finish(self) -> None:
        """Write the last, partial cluster, padded with zeros."""
        self.check()
        cluster = self._disk.header.cluster_size
        self._batch += bytes(-len(self._batch) % cluster)
        self._store(bytes(self._batch))
        self._batch.clear()

    def check(self) -> None:
        if self.closed or self._disk.generation != self._generation or self._disk.closed:
            message = "this machine state was given up before it was complete"
            raise ImageError(self._disk.path, message, errno.EBADF)

    def _store(self, *parts: Buffer) -> None:
        """Put whole clusters, the parts one after the other, where there is room."""
        bits = self._disk.header.cluster_bits
        left = sum(len(part) for part in parts)
        try:
            while left:
                start, got = self._disk.refcounts.allocate_run(left >> bits)
                self.entries += [(start + n) << bits | COPIED for n in range(got)]
                now, parts = _split(parts, got << bits)
                self._disk.file.write_at(start << bits, *now)
                left -= got << bits
        except ImageError:
            self.abort()
            raise

    def tables(self) -> list[Table]:
        """The L2 tables that map the state."""
        per_table = self._disk.header.l2_entries
        found = []
        for at in range(0, len(self.entries), per_table):
            table = np.zeros(per_table, np.uint64)
            part = self.entries[at : at + per_table]
            table[: len(part)] = np.array(part, np.uint64)
            found.append(table)
        return found

    def clusters(self) -> Clusters:
        bits = self._disk.header.cluster_bits
        return np.array([(entry & ~COPIED) >> bits for entry in self.entries], np.int64)

    def abort(self) -> None:
        """Give the clusters back."""
        is_ours = self._disk.generation == self._generation and not self._disk.closed
        clusters = self.clusters()
        self.entries.clear()  # before: interrupted, they are not given back twice
        if clusters.size and is_ours and not self.closed:
            self._disk.refcounts.subtract(clusters)
        super().close()

    def done(self) -> None:
        """A snapshot owns the clusters now."""
        self.entries.clear()
        super().close()

    def close(self) -> None:
        self.abort()


def _split(parts: Sequence[Buffer], length: int) -> tuple[list[Buffer], tuple[Buffer, ...]]:
    """The first `length` bytes of the parts, and the rest."""
    first: list[Buffer] = []
    for n, part in enumerate(parts):
        if len(part) > length:
            view = memoryview(part)
            return [*first, view[:length]], (view[length:], *parts[n + 1 :])
        first.append(part)
        length -= len(part)
    return first, ()


class VmstateReader(io.RawIOBase):
    """Reads a snapshot's machine state; seekable."""

    def __init__(self, disk: Qcow2Disk, l1: Table, start: int, size: int) -> None:
        super().__init__()
        self._disk, self._l1, self._start, self.size = disk, l1, start, size
        self._generation = disk.generation
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def readinto(self, buffer: Buffer) -> int:  # type: ignore[override]
        """Fill as much of the buffer as the state has bytes left."""
        if self._disk.generation != self._generation or self._disk.closed:
            message = "the snapshots have changed since this machine state was opened"
            raise ImageError(self._disk.path, message, errno.EBADF)
        view = memoryview(buffer).cast("B")
        length = min(len(view), max(self.size - self._at, 0))
        if length:
            self._disk.read_through_into(self._l1, self._start + self._at, view[:length])
            self._at += length
        return length
