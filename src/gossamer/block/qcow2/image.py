"""A qcow2 image with its internal snapshots."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO, Final

from gossamer.base.data import replace
from gossamer.base.late import np
from gossamer.block.errors import ImageError
from gossamer.block.hostfile import HostFile
from gossamer.block.image import Image
from gossamer.block.qcow2 import header as headers
from gossamer.block.qcow2 import snapshots as tables
from gossamer.block.qcow2 import spare
from gossamer.block.qcow2.audit import counts_suffice
from gossamer.block.qcow2.disk import Qcow2Disk
from gossamer.block.qcow2.entries import COPIED, Clusters, Table, encode
from gossamer.block.qcow2.repair import rebuild
from gossamer.block.qcow2.snapshots import Snapshot
from gossamer.block.qcow2.switch import Change, data_mentions, extent, l2_mentions, switch
from gossamer.block.qcow2.tables import read_l1
from gossamer.block.qcow2.vmstate import VmstateReader, VmstateWriter

_CHUNK: Final = 1 << 20
_UNFLAGGED: Final = ~COPIED & ((1 << 64) - 1)


class Qcow2Image(Qcow2Disk):
    """What `open_image` returns for qcow2.  Snapshots are QEMU's, with or without a vmstate."""

    def __init__(self, file: HostFile, header: headers.Header, backing: Image | None) -> None:
        self._snapshots: list[Snapshot] = []
        self._l2_tables = 0
        self.table_length = 0
        super().__init__(file, header, backing)

    def attach(self, header: headers.Header) -> None:
        super().attach(header)
        self._snapshots, self.table_length = tables.read_table(self.file, header)
        if self.read_only:
            return
        if header.incompatible & headers.DIRTY:
            rebuild(self)
            self.attach(headers.parse(self.file))
            return
        self._reserve_snapshots()

    def audit(self) -> None:
        """Count the references anew if the counts are too low; ImageError where that cannot be."""
        if self.read_only or counts_suffice(self):
            return
        rebuild(self)
        self.read_again()

    def _reserve_snapshots(self) -> None:
        """The metadata of snapshots is never overwritten with guest data."""
        reserved = self.refcounts.reserved
        reserved.update(extent(self, self.header.snapshots_offset, self.table_length).tolist())
        self._l2_tables = int(np.count_nonzero(self.tables.l1))
        # Hostile images let thousands of snapshots share one table.
        for snapshot in {(s.l1_offset, s.l1_size): s for s in self._snapshots}.values():
            l1 = self._l1_of(snapshot)
            reserved.update(extent(self, snapshot.l1_offset, snapshot.l1_size * 8).tolist())
            reserved.update(l2_mentions(self, l1, 0, len(l1)).tolist())
            self._l2_tables = max(self._l2_tables, int(np.count_nonzero(l1)))
        if self._snapshots:
            self.refcounts.spare = spare.find(self, self._spare_wanted())

    def _spare_wanted(self) -> int:
        """How many clusters stay free so that snapshots can be applied and deleted."""
        tables = max(self._l2_tables, int(np.count_nonzero(self.tables.l1)))
        entries = max([self.header.l1_size, *(s.l1_size for s in self._snapshots)])
        return spare.wanted(self, tables, entries)

    def _l1_of(self, snapshot: Snapshot) -> Table:
        tables.check_l1(self.file, self.header, snapshot)
        return read_l1(self.file, snapshot.l1_offset, snapshot.l1_size)

    @property
    def snapshots(self) -> Sequence[Snapshot]:
        """The internal snapshots, oldest first."""
        return tuple(self._snapshots)

    def find_snapshot(self, name_or_id: str) -> Snapshot:
        """By id, then by name; ImageError lists what there is."""
        found = tables.find(self._snapshots, name_or_id)
        if found is None:
            names = ", ".join(repr(s.name) for s in self._snapshots) or "none"
            message = f"no snapshot {name_or_id!r}; there are: {names}"
            raise ImageError(self.path, message, errno.ENOENT)
        return found

    def vmstate_writer(self) -> VmstateWriter:
        """Where to write a machine state before `create_snapshot` is called with it."""
        self._check_write(0, 0)
        return VmstateWriter(self)

    def open_vmstate(self, name_or_id: str) -> BinaryIO:
        """The machine state of a snapshot, seekable."""
        self._check(0, 0)
        snapshot = self.find_snapshot(name_or_id)
        if not snapshot.vmstate_size:
            message = f"snapshot {snapshot.name!r} has no machine state"
            raise ImageError(self.path, message, errno.ENOENT)
        l1 = self._l1_of(snapshot)
        first = self.header.l1_needed(snapshot.disk_size)
        start, room = first * self.header.l1_span, (len(l1) - first) * self.header.l1_span
        if snapshot.vmstate_size > room:
            message = f"machine state of {snapshot.vmstate_size} bytes, its L1 table maps {room}"
            raise ImageError(self.path, message)
        raw = VmstateReader(self, l1, start, snapshot.vmstate_size)
        return io.BufferedReader(raw, _CHUNK)

    def read_snapshot(self, snapshot: Snapshot, offset: int, length: int) -> bytes:
        """Bytes of the disk as it was in a snapshot."""
        assert 0 <= offset <= offset + length <= snapshot.disk_size, (offset, length)
        return self.read_through(self._l1_of(snapshot), offset, length) if length else b""

    def vmstate_bytes(self, snapshot: Snapshot) -> int:
        """What a snapshot's machine state takes, holes left out, shared clusters counted."""
        clusters = int(np.count_nonzero(self.vmstate_entries(snapshot)))
        return min(clusters * self.header.cluster_size, snapshot.vmstate_size)

    def vmstate_entries(self, snapshot: Snapshot) -> Table:
        """The L2 entries of a snapshot's machine state, cluster by cluster."""
        l1 = self._l1_of(snapshot)
        first = self.header.l1_needed(snapshot.disk_size) * self.header.l2_entries
        count = -(-snapshot.vmstate_size // self.header.cluster_size)
        room = max(len(l1) * self.header.l2_entries - first, 0)
        return self.entries(l1, first, min(count, room))

    def create_snapshot(
        self,
        name: str,
        vmstate: VmstateWriter | BinaryIO | Iterable[bytes] | None = None,
        *,
        vm_clock_ns: int,
        date_ns: int,
        icount: int | None = None,
        replaces: bool = False,
    ) -> Snapshot:
        """Keep the disk as it is now, with `vmstate`, under `name`.

        `date_ns` counts from the Unix epoch.  With `replaces`, snapshots of the same name go away
        in the same step; without, an existing name is refused.  Whatever fails, the image and its
        snapshots are as they were.
        """
        self._check_write(0, 0)
        tables.check_name(self.file, name)
        same = [s for s in self._snapshots if s.name == name]
        if same and not replaces:
            raise ImageError(self.path, f"there is a snapshot {name!r} already", errno.EEXIST)
        if same:
            self.unpin()
        self.write_metadata()
        spare.make(self, self._spare_wanted())
        writer = self._write_vmstate(vmstate)
        snapshot = Snapshot(
            id=tables.next_id(self._snapshots),
            name=name,
            date_ns=date_ns,
            vm_clock_ns=vm_clock_ns,
            vmstate_size=writer.length,
            disk_size=self.size,
            icount=icount,
            l1_offset=0,
            l1_size=0,
        )
        try:
            self._transact(lambda: self._create(snapshot, writer, same))
        except ImageError:
            if snapshot.id not in [s.id for s in self._snapshots]:  # not even half there
                self._return_clusters(writer)
            raise
        writer.done()
        return self._snapshots[-1]

    def _return_clusters(self, writer: VmstateWriter) -> None:
        """After a failure: what the file counts of the machine state is not used by anything."""
        clusters = writer.clusters()
        self.refcounts.subtract(clusters[self.refcounts.get_many(clusters) > 0])
        writer.done()

    def _write_vmstate(
        self, vmstate: VmstateWriter | BinaryIO | Iterable[bytes] | None
    ) -> VmstateWriter:
        writer = vmstate if isinstance(vmstate, VmstateWriter) else VmstateWriter(self)
        try:
            if vmstate is None or vmstate is writer:
                pass
            elif isinstance(vmstate, Iterable) and not hasattr(vmstate, "read"):
                for part in vmstate:
                    writer.write(part)
            else:
                while part := vmstate.read(_CHUNK):
                    writer.write(part)
            writer.finish()
        except BaseException:
            writer.abort()
            raise
        return writer

    def _create(
        self, snapshot: Snapshot, writer: VmstateWriter, replaced: list[Snapshot]
    ) -> Change:
        """The snapshot takes over the active L2 tables; the disk goes on with copies."""
        active, needed = self.tables.l1, self.header.l1_needed(self.size)
        l1 = list((active[:needed] & _UNFLAGGED).tolist())
        for table in writer.tables():
            place = self.refcounts.allocate_one() << self.header.cluster_bits
            self.file.write_at(place, encode(table))
            l1.append(place)
        l1 = l1 or [0]
        clusters = -(-len(l1) * 8 // self.header.cluster_size)
        l1_offset = self.refcounts.allocate_table(clusters) << self.header.cluster_bits
        self.file.write_at(l1_offset, encode(np.array(l1, np.uint64)))
        change = self._without(replaced)
        change.snapshots = [
            *change.snapshots,
            replace(snapshot, l1_offset=l1_offset, l1_size=len(l1)),
        ]
        change.gained += [*data_mentions(self, active, 0, needed), writer.shared]
        change.lost += self._behind_the_disk()
        return change

    def _behind_the_disk(self) -> list[Clusters]:
        """What a `loadvm` by QEMU left in the active L1 table behind the disk."""
        active, needed = self.tables.l1, self.header.l1_needed(self.size)
        stop = len(active)
        return [
            *data_mentions(self, active, needed, stop),
            l2_mentions(self, active, needed, stop),
        ]

    def _without(self, dropped: list[Snapshot]) -> Change:
        """The image without some snapshots; the active L2 tables stay counted."""
        kept = [s for s in self._snapshots if s not in dropped]
        change = Change(self.tables.l1, self.size, kept, self.table_length)
        for snapshot in dropped:
            l1 = self._l1_of(snapshot)
            change.lost += data_mentions(self, l1, 0, len(l1))
            change.lost.append(l2_mentions(self, l1, 0, len(l1)))
            change.lost.append(extent(self, snapshot.l1_offset, snapshot.l1_size * 8))
        return change

    def delete_snapshot(self, name_or_id: str) -> None:
        """Forget a snapshot and free what only it used."""
        self._check_write(0, 0)
        snapshot = self.find_snapshot(name_or_id)
        self.unpin()
        self.write_metadata()

        def build() -> Change:
            change = self._without([snapshot])
            active = self.tables.l1
            change.lost.append(l2_mentions(self, active, 0, self.header.l1_needed(self.size)))
            change.lost += self._behind_the_disk()
            return change

        self._transact(build)

    def apply_snapshot(self, name_or_id: str) -> Snapshot:
        """Make the disk what it was; what was written since is lost.  `size` may change."""
        self._check_write(0, 0)
        snapshot = self.find_snapshot(name_or_id)
        self.write_metadata()

        def build() -> Change:
            active, l1 = self.tables.l1, self._l1_of(snapshot)
            size = snapshot.disk_size
            change = Change(l1, size, self._snapshots, self.table_length)
            change.gained = data_mentions(self, l1, 0, self.header.l1_needed(size))
            change.lost = data_mentions(self, active, 0, len(active))
            change.lost.append(l2_mentions(self, active, 0, len(active)))
            return change

        self._transact(build)
        self._hash.forget()
        return snapshot

    def _transact(self, build: Callable[[], Change]) -> None:
        """Do what `build` plans; on failure the image is read again from the file."""
        self._announced = self._changing = True
        self.refcounts.switch_over()
        try:
            switch(self, build())
        except ImageError:
            self.read_again()
            raise
        self.read_again()
