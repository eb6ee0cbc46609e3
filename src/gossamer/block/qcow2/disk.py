"""A qcow2 image as a disk: reading, writing, zeroing, flushing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from gossamer.base.late import np
from gossamer.block.errors import ImageError
from gossamer.block.hostfile import Buffer, HostFile
from gossamer.block.image import BaseImage, Image
from gossamer.block.qcow2 import header as headers
from gossamer.block.qcow2.codec import Decompressor
from gossamer.block.qcow2.entries import COMPRESSED, COPIED, OFFSET, ZERO, Table, entry_clusters
from gossamer.block.qcow2.refcounts import Refcounts
from gossamer.block.qcow2.tables import Tables

_MAX_ZERO_WRITE: Final = 1 << 20
_LONGEST_WAIT: Final = 10
"""Calls of `settle` for which the tables may lag behind a guest that goes on writing."""


class Run(NamedTuple):
    """A stretch of a request that is read in one way.

    `kind` is "data" (host offset in `where`), "zero", "backing" or "packed" (the L2 entry in
    `where`).
    """

    kind: str
    offset: int
    length: int
    where: int


class Mapping(BaseImage):
    """The read side: what `Qcow2Disk` and the tables of snapshots have in common."""

    format = "qcow2"

    def __init__(self, file: HostFile, header: headers.Header, backing: Image | None) -> None:
        super().__init__(file.path, header.size, read_only=file.read_only)
        self.file, self.backing = file, backing
        self.backing_size = backing.size if backing is not None else 0
        self.generation = 0
        self._pins: list[Callable[[], bool]] = []
        self.attach(header)

    def attach(self, header: headers.Header) -> None:
        """Read the tables that the header leads to, forgetting what is in memory."""
        self.header = header
        self.generation += 1
        self._bits, self._cluster = header.cluster_bits, header.cluster_size
        self._span_bits = header.cluster_bits * 2 - 3
        self._l2_mask = header.l2_entries - 1
        self.refcounts = Refcounts(self.file, header)
        self.tables = Tables(self.file, header, self.refcounts)
        self.packed = Decompressor(self.file, header)
        self.size = header.size
        if not self.read_only and not header.incompatible & headers.DIRTY:
            self.refcounts.load()
        self.tables.load()

    def read(self, offset: int, length: int) -> bytes:
        self._check(offset, length)
        if not length:
            return b""
        return self.read_through(self.tables.l1, offset, length)

    def read_through(self, l1: Table, offset: int, length: int) -> bytes:
        """Read guest addresses as `l1` maps them, also those behind the end of the disk."""
        runs = self._runs(l1, offset, length)
        first = next(runs)
        if first.length == length:
            return self._read_run(first)
        parts = [self._read_run(first)]
        parts += [self._read_run(run) for run in runs]
        return b"".join(parts)

    def read_through_into(self, l1: Table, offset: int, view: memoryview) -> None:
        """As `read_through`, into `view`."""
        at = 0
        for run in self._runs(l1, offset, len(view)):
            piece = view[at : at + run.length]
            if run.kind == "data":
                self.file.read_into(run.where, piece)
            else:
                piece[:] = self._read_run(run)
            at += run.length

    def _read_run(self, run: Run) -> bytes:
        if run.kind == "data":
            return self.file.read_at(run.where, run.length)
        if run.kind == "zero":
            return bytes(run.length)
        if run.kind == "packed":
            inside = run.offset & (self._cluster - 1)
            return self.packed.read(run.where)[inside : inside + run.length]
        assert self.backing is not None
        there = max(0, min(run.length, self.backing_size - run.offset))
        data = self.backing.read(run.offset, there) if there else b""
        return data + bytes(run.length - there)

    def _runs(self, l1: Table, offset: int, length: int) -> Iterator[Run]:
        """Cut a request into runs, joining clusters that lie side by side in the file."""
        current: Run | None = None
        end = offset + length
        while offset < end:
            piece = min(self._cluster - (offset & (self._cluster - 1)), end - offset)
            run = self._lookup(l1, offset, piece)
            if current is None:
                current = run
            elif self._joins(current, run):
                current = current._replace(length=current.length + run.length)
            else:
                yield current
                current = run
            offset += piece
        if current is not None:
            yield current

    @staticmethod
    def _joins(left: Run, right: Run) -> bool:
        if left.kind != right.kind or left.kind == "packed":
            return False
        return left.kind != "data" or left.where + left.length == right.where

    def entries(self, l1: Table, first: int, count: int) -> Table:
        """The L2 entries of `count` guest clusters from number `first` on."""
        found = np.zeros(count, np.uint64)
        at, per_table = 0, self._l2_mask + 1
        while at < count:
            index, inside = divmod(first + at, per_table)
            step = min(per_table - inside, count - at)
            l2_offset = int(l1[index]) & OFFSET if index < len(l1) else 0
            if l2_offset:
                found[at : at + step] = self.tables.l2(l2_offset)[inside : inside + step]
            at += step
        return found

    def pin(self, settled: Callable[[], bool]) -> None:
        """Clusters of a snapshot are in use until `settled`, which waits, gives True."""
        self._pins.append(settled)

    def unpin(self) -> None:
        """Wait until no snapshot's clusters are in use; ImageError when they stay so."""
        while self._pins:
            if not self._pins[-1]():
                message = "the machine's memory still lies in a snapshot here: restart it first"
                raise ImageError(self.path, message)
            self._pins.pop()

    def _entry(self, l1: Table, offset: int) -> int:
        """The L2 entry of a guest offset."""
        at = offset >> self._span_bits
        l2_offset = int(l1[at]) & OFFSET if at < len(l1) else 0
        if not l2_offset:
            return 0
        return int(self.tables.l2(l2_offset)[offset >> self._bits & self._l2_mask])

    def _lookup(self, l1: Table, offset: int, length: int) -> Run:
        entry = self._entry(l1, offset)
        if entry & COMPRESSED:
            return Run("packed", offset, length, entry)
        if entry & ZERO:
            return Run("zero", offset, length, 0)
        host = entry & OFFSET
        if host:
            if host >= self.file.size:
                message = f"corrupt: guest offset {offset:#x} maps to {host:#x}, outside the file"
                raise ImageError(self.path, message)
            return Run("data", offset, length, host + (offset & (self._cluster - 1)))
        return Run("backing" if offset < self.backing_size else "zero", offset, length, 0)

    def held(self, offset: int, length: int) -> Iterator[tuple[int, int, bool]]:
        """What of a range does not come from the backing file: start, length, whether zeros."""
        at, end = offset, offset + length
        while at < end:
            index = at >> self._span_bits
            mapped = self.tables.next_mapped(index)
            if mapped > index and self.backing is not None:
                at = mapped << self._span_bits
                continue
            stop = min(end, (index + 1) << self._span_bits)
            for run in self._runs(self.tables.l1, at, stop - at):
                if run.kind != "backing":
                    yield run.offset, run.length, run.kind == "zero"
            at = stop

    def zero_run(self, offset: int) -> int:
        """Unmapped L1 entries in one step, single clusters otherwise."""
        l1 = self.tables.l1
        if self.backing is None:
            at = offset >> self._span_bits
            mapped = self.tables.next_mapped(at)
            if mapped > at:
                return min(mapped << self._span_bits, self.size) - offset
        total, limit = 0, min(1 << self._span_bits, self.size - offset)
        while total < limit:
            piece = min(self._cluster - (offset & (self._cluster - 1)), limit - total)
            run = self._lookup(l1, offset, piece)
            if run.kind == "backing" and self.backing is not None:
                piece = min(piece, self.backing.zero_run(offset))
            elif run.kind != "zero":
                piece = 0
            if not piece:
                break
            total, offset = total + piece, offset + piece
        return total


class Qcow2Disk(Mapping):
    """The write side.

    Errors of the host leave the tables in memory right.  What interrupts Python at any place
    (KeyboardInterrupt) does not: then the next call reads them from the file again, and what was
    never flushed is lost, as after a kill.
    """

    def __init__(self, file: HostFile, header: headers.Header, backing: Image | None) -> None:
        self._changing = False
        self._changes = self._changes_seen = self._waited = 0
        super().__init__(file, header, backing)
        self._announced = False

    def _check(self, offset: int, length: int) -> None:
        super()._check(offset, length)
        if self._changing:
            self._hash.forget()
            self.read_again()

    def read_again(self) -> None:
        """Take the tables from the file as it is; what was not written out is forgotten."""
        self.attach(headers.parse(self.file))
        self._changing = False

    def _change(self, action: Callable[[], None]) -> None:
        """Change tables in memory; `_changing` stays set when that is interrupted."""
        self._changing = True
        self._changes += 1
        try:
            action()
        except ImageError:
            self._changing = False
            raise
        self._changing = False

    def write(self, offset: int, data: Buffer) -> None:
        view = memoryview(data).cast("B")
        self._check_write(offset, len(view))
        if len(view):
            self._change(lambda: self._write(offset, view))

    def _write(self, offset: int, view: memoryview) -> None:
        self.announce()
        self._hash.touch(offset, len(view))
        at = 0
        while at < len(view):
            at += self._write_some(offset + at, view[at:])
        if self.tables.crowded:
            self._write_metadata()

    def announce(self) -> None:
        """Before the first change: features that a foreign writer must clear are cleared."""
        if self._announced:
            return
        if self.header.autoclear:
            self.header.autoclear = 0
            self.file.write_at(0, self.header.pack())
            self.file.sync()
        self._announced = True

    def _write_some(self, offset: int, view: memoryview) -> int:
        """Write as much of `view` as one step can; returns how much."""
        l2_offset, table = self.tables.writable(offset >> self._span_bits)
        first = offset >> self._bits & self._l2_mask
        inside = offset & (self._cluster - 1)
        count = min(-(-(inside + len(view)) >> self._bits), self._l2_mask + 1 - first)
        if self._in_place(int(table[first])):
            return self._overwrite(table, first, count, inside, view)
        fresh = 1
        while fresh < count and not self._in_place(int(table[first + fresh])):
            fresh += 1
        start, got = self.refcounts.allocate_run(fresh)
        length = min(len(view), (got << self._bits) - inside)
        host = start << self._bits
        try:
            self._write_filled(host, offset, view[:length], got)
        except ImageError:
            self.refcounts.subtract(np.arange(start, start + got))
            raise
        old = table[first : first + got].tolist()
        self._drop_entries(old)
        for n in range(got):
            table[first + n] = host + (n << self._bits) | COPIED
        self.tables.mark(l2_offset, first, got)
        return length

    @staticmethod
    def _in_place(entry: int) -> bool:
        return bool(entry & COPIED) and not entry & (ZERO | COMPRESSED)

    def _overwrite(
        self, table: Table, first: int, count: int, inside: int, view: memoryview
    ) -> int:
        """Write into clusters that are ours alone and lie side by side."""
        host = int(table[first]) & OFFSET
        run = 1
        while run < count and int(table[first + run]) == host + (run << self._bits) | COPIED:
            run += 1
        clusters = range(host >> self._bits, (host >> self._bits) + run)
        if not self.refcounts.reserved.isdisjoint(clusters):
            message = f"corrupt: guest data is mapped onto metadata near {host:#x}"
            raise ImageError(self.path, message)
        if host >= self.file.size:
            message = f"corrupt: a cluster is mapped to {host:#x}, outside the file"
            raise ImageError(self.path, message)
        length = min(len(view), (run << self._bits) - inside)
        self.file.write_at(host + inside, view[:length])
        return length

    def _write_filled(self, host: int, offset: int, view: memoryview, clusters: int) -> None:
        """Write new clusters whole: what the request leaves out keeps its old content."""
        start = offset & -self._cluster
        end = start + (clusters << self._bits)
        l1 = self.tables.l1
        head = self.read_through(l1, start, offset - start) if offset > start else b""
        stop = offset + len(view)
        tail = self.read_through(l1, stop, end - stop) if stop < end else b""
        self.file.write_at(host, head, view, tail)

    def _drop_entries(self, entries: list[int]) -> None:
        """The guest has no more use for what these L2 entries refer to."""
        freed: list[int] = []
        for entry in entries:
            if entry:
                freed.extend(entry_clusters(entry, self._bits))
        self.refcounts.release_later(freed)

    def zero(self, offset: int, length: int) -> None:
        self._check_write(offset, length)
        if length:
            self._change(lambda: self._zero(offset, length))

    def _zero(self, offset: int, length: int) -> None:
        self.announce()
        self._hash.touch(offset, length)
        end = offset + length
        while offset < end:
            inside = offset & (self._cluster - 1)
            is_whole = not inside and (end - offset >= self._cluster or end == self.size)
            if is_whole:
                offset = self._zero_clusters(offset, end)
            else:
                piece = min(self._cluster - inside, end - offset)
                self._zero_part(offset, piece)
                offset += piece
        if self.tables.crowded:
            self._write_metadata()

    def _zero_part(self, offset: int, length: int) -> None:
        if self._lookup(self.tables.l1, offset, length).kind != "zero":
            zeros = memoryview(bytes(min(length, _MAX_ZERO_WRITE)))
            at = 0
            while at < length:
                at += self._write_some(offset + at, zeros[: length - at])

    def _zero_clusters(self, offset: int, end: int) -> int:
        """Whole clusters, as many as one L2 table maps; returns where it stopped."""
        span_end = ((offset >> self._span_bits) + 1) << self._span_bits
        stop = min(end, span_end)
        if stop != self.size:
            stop &= -self._cluster
        index = offset >> self._span_bits
        if not int(self.tables.l1[index]) and offset >= self.backing_size:
            return stop
        if self.header.version == 2 and offset < self.backing_size:
            self._zero_part(offset, min(self._cluster, stop - offset))
            return min(offset + self._cluster, stop)
        l2_offset, table = self.tables.writable(index)
        first = offset >> self._bits & self._l2_mask
        count = -(-(stop - offset) >> self._bits)
        old = table[first : first + count].tolist()
        self._drop_entries(old)
        table[first : first + count] = ZERO if self.header.version == 3 else 0
        self.tables.mark(l2_offset, first, count)
        return stop

    def flush(self) -> None:
        self._check(0, 0)
        if not self.read_only:
            self.write_metadata()
            self.file.sync()

    def settle(self) -> None:
        """Write the tables when the guest has paused, or has written for a while."""
        self._check(0, 0)
        if self.read_only or not (self.tables.is_dirty or self.refcounts.dirty):
            return
        busy = self._changes != self._changes_seen
        self._changes_seen, self._waited = self._changes, self._waited + 1
        if not busy or self._waited >= _LONGEST_WAIT:
            self._waited = 0
            self.write_metadata()

    def sync_ahead(self) -> Callable[[], None] | None:
        return None if self.read_only else self.file.sync_ahead()

    def write_metadata(self) -> None:
        """Bring the file's tables up to date so that it is consistent after every write."""
        self._check_write(0, 0)
        self._change(self._write_metadata)

    def _write_metadata(self) -> None:
        if self.refcounts.write_out(self.header) and self.tables.is_dirty:
            self.file.sync()
        if self.tables.is_dirty:
            self.tables.write_out()
        if self.refcounts.waiting:
            self.file.sync()
            self.packed.forget()
            self.refcounts.settle()
            self.refcounts.write_out(self.header)
            if self.refcounts.waiting:
                self.refcounts.settle()
                self.refcounts.write_out(self.header)

    def close(self) -> None:
        if self.closed:
            return
        try:
            for settled in self._pins:
                settled()
            if not self.read_only:
                self.flush()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Let go of the file without writing anything."""
        self.closed = True
        self.file.close()
        if self.backing is not None:
            self.backing.close()
