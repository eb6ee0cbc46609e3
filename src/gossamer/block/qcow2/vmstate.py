"""The saved machine inside a snapshot: guest data behind the end of the virtual disk."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from gossamer.base.late import np
from gossamer.block.errors import ImageError
from gossamer.block.hostfile import Buffer
from gossamer.block.qcow2.entries import COMPRESSED, COPIED, OFFSET, ZERO, Clusters, Table

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
        #: Clusters of other snapshots that this state has in common with them.
        self._shared: list[int] = []
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

    def put(self, offset: int, *parts: Buffer) -> None:
        """Put bytes at a place that begins a cluster; the last cluster is filled up with zeros.

        What no `put` or `share` has given reads as zeros.  Not to be mixed with `write`.
        """
        self.check()
        header = self._disk.header
        length = sum(len(part) for part in parts)
        assert offset % header.cluster_size == 0, offset
        self.length = max(self.length, offset + length)
        padding = bytes(-length % header.cluster_size)
        self._grow(offset + length)
        self._store(*parts, padding, at=offset >> header.cluster_bits)

    def share(self, offset: int, entries: Table) -> None:
        """Let clusters from `offset` on be those of another snapshot (L2 entries; 0: none)."""
        self.check()
        header = self._disk.header
        first = offset >> header.cluster_bits
        self.length = max(self.length, offset + len(entries) * header.cluster_size)
        self._grow(self.length)
        places = (entries & np.uint64(OFFSET)).tolist()
        self.entries[first : first + len(places)] = places
        self._shared += [place >> header.cluster_bits for place in places if place]

    def _grow(self, length: int) -> None:
        needed = -(-length // self._disk.header.cluster_size)
        self.entries += [0] * (needed - len(self.entries))

    @property
    def shared(self) -> Clusters:
        """Clusters that are mentioned once more when a snapshot owns this state."""
        return np.array(self._shared, np.int64)

    def finish(self) -> None:
        """Write the last, partial cluster, padded with zeros."""
        self.check()
        if not self._batch:
            return
        cluster = self._disk.header.cluster_size
        self._batch += bytes(-len(self._batch) % cluster)
        self._store(bytes(self._batch))
        self._batch.clear()

    def check(self) -> None:
        if self.closed or self._disk.generation != self._generation or self._disk.closed:
            message = "this machine state was given up before it was complete"
            raise ImageError(self._disk.path, message, errno.EBADF)

    def _store(self, *parts: Buffer, at: int | None = None) -> None:
        """Put whole clusters, the parts one after the other, where there is room.

        They are the state's clusters from `at` on; without it the next ones.
        """
        bits = self._disk.header.cluster_bits
        left = sum(len(part) for part in parts)
        try:
            while left:
                start, got = self._disk.refcounts.allocate_run(left >> bits)
                found = [(start + n) << bits | COPIED for n in range(got)]
                at = len(self.entries) if at is None else at
                self.entries[at : at + got] = found
                at += got
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
        """The clusters that were taken for this state."""
        bits = self._disk.header.cluster_bits
        own = [(entry & ~COPIED) >> bits for entry in self.entries if entry & COPIED]
        return np.array(own, np.int64)

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

    def extents(self, offset: int, length: int) -> list[tuple[int, int, int]] | None:
        """Where a part lies in the file: (offset, place, length), ascending; the rest is zero.

        None where some of it is neither in the file as it is, nor zero.
        """
        bits, disk = self._disk.header.cluster_bits, self._disk
        first = offset >> bits
        count = max(-(-min(offset + length, self.size) // (1 << bits)) - first, 0)
        entries = disk.entries(self._l1, (self._start >> bits) + first, count)
        if bool((entries & np.uint64(COMPRESSED)).any()):
            return None
        places = np.where(entries & np.uint64(ZERO), 0, entries & np.uint64(OFFSET))
        data = np.flatnonzero(places)
        if len(data) and int(places[data].max()) + (1 << bits) > disk.file.size:
            return None
        breaks = (np.diff(data) != 1) | (np.diff(places[data].astype(np.int64)) != 1 << bits)
        return [
            ((first + int(run[0])) << bits, int(places[run[0]]), len(run) << bits)
            for run in np.split(data, np.flatnonzero(breaks) + 1)
            if len(run)
        ]

    def fileno(self) -> int:
        """The descriptor of the file that `extents` speaks of."""
        return self._disk.file.fd

    def pin(self, settled: Callable[[], bool]) -> None:
        """Something shows this state's clusters until `settled`, which waits, gives True."""
        self._disk.pin(settled)

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
