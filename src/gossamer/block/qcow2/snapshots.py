"""The snapshot table: what each internal snapshot is called, where its L1 table is.

Source: qcow2 specification, "Snapshots"; QEMU 7.2 writes 24 bytes of extra data.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from typing import Final

from gossamer.base.data import Data
from gossamer.block.errors import ImageError
from gossamer.block.hostfile import HostFile
from gossamer.block.qcow2.header import MAX_L1_BYTES, Header, check_extent

_ENTRY: Final = struct.Struct(">QIHHIIQII")
_EXTRA: Final = struct.Struct(">QQQ")
_NO_ICOUNT: Final = (1 << 64) - 1
_MAX_EXTRA: Final = 1024
_MAX_TABLE: Final = 64 << 20
_MAX_ID, _MAX_NAME = 127, 255
_NS: Final = 1_000_000_000


class Snapshot(Data):
    """One entry of the table; times in ns, sizes in bytes.

    `date_ns` counts from the Unix epoch; `vm_clock_ns` is the virtual clock when it was taken;
    `icount` the instructions executed, None when they were not counted.
    """

    id: str
    name: str
    date_ns: int
    vm_clock_ns: int
    vmstate_size: int
    disk_size: int
    icount: int | None
    l1_offset: int
    l1_size: int
    more: bytes = b""

    def pack(self) -> bytes:
        seconds, fraction = divmod(self.date_ns, _NS)
        raw_id, raw_name = _raw(self.id), _raw(self.name)
        icount = _NO_ICOUNT if self.icount is None else self.icount
        extra = _EXTRA.pack(self.vmstate_size, self.disk_size, icount) + self.more
        small = self.vmstate_size if self.vmstate_size < 1 << 32 else 0
        entry = _ENTRY.pack(
            self.l1_offset,
            self.l1_size,
            len(raw_id),
            len(raw_name),
            seconds & 0xFFFF_FFFF,
            fraction,
            self.vm_clock_ns,
            small,
            len(extra),
        )
        entry += extra + raw_id + raw_name
        return entry + bytes(-len(entry) % 8)


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def read_table(file: HostFile, header: Header) -> tuple[list[Snapshot], int]:
    """All snapshots of an image, and the bytes their table takes."""
    at = header.snapshots_offset
    found = []
    for number in range(header.snapshot_count):
        snapshot, length = _read_entry(file, header, at, number)
        found.append(snapshot)
        at += length
        if at - header.snapshots_offset > _MAX_TABLE:
            raise ImageError(file.path, f"snapshot table above {_MAX_TABLE} bytes", errno.EFBIG)
    return found, at - header.snapshots_offset


def _read_entry(file: HostFile, header: Header, at: int, number: int) -> tuple[Snapshot, int]:
    what = f"snapshot {number + 1} of {header.snapshot_count}"

    def take(length: int) -> bytes:
        nonlocal at
        if at + length > file.size:
            raise ImageError(file.path, f"{what} reaches beyond the end of the file", errno.EIO)
        at += length
        return file.read_at(at - length, length)

    start = at
    fields = _ENTRY.unpack(take(_ENTRY.size))
    l1_offset, l1_size, id_size, name_size, seconds, fraction, clock, small, extra_size = fields
    if extra_size > _MAX_EXTRA:
        message = f"{what} has {extra_size} bytes of extra data, at most {_MAX_EXTRA} are allowed"
        raise ImageError(file.path, message, errno.EFBIG)
    extra = take(extra_size)
    vmstate_size = int.from_bytes(extra[:8], "big") if extra_size >= 8 else small
    disk_size = int.from_bytes(extra[8:16], "big") if extra_size >= 16 else header.size
    icount = int.from_bytes(extra[16:24], "big") if extra_size >= 24 else _NO_ICOUNT
    snapshot = Snapshot(
        id=take(id_size).decode("utf-8", "surrogateescape"),
        name=take(name_size).decode("utf-8", "surrogateescape"),
        date_ns=seconds * _NS + fraction,
        vm_clock_ns=clock,
        vmstate_size=vmstate_size,
        disk_size=disk_size,
        icount=None if icount == _NO_ICOUNT else icount,
        l1_offset=l1_offset,
        l1_size=l1_size,
        more=extra[24:],
    )
    return snapshot, at - start + (start - at) % 8


def check_l1(file: HostFile, header: Header, snapshot: Snapshot) -> None:
    """The snapshot's L1 table must lie in the file and map its whole disk."""
    what = f"L1 table of snapshot {snapshot.name!r}"
    length = snapshot.l1_size * 8
    check_extent(file, header, what, snapshot.l1_offset, length, MAX_L1_BYTES)
    needed = header.l1_needed(snapshot.disk_size)
    if snapshot.l1_size < needed or snapshot.disk_size % 512:
        message = f"{what} has {snapshot.l1_size} entries, {snapshot.disk_size} bytes need {needed}"
        raise ImageError(file.path, message, errno.EINVAL)


def find(snapshots: Sequence[Snapshot], name_or_id: str) -> Snapshot | None:
    """By id first, then by name, as QEMU looks one up."""
    for snapshot in snapshots:
        if snapshot.id == name_or_id:
            return snapshot
    for snapshot in snapshots:
        if snapshot.name == name_or_id:
            return snapshot
    return None


def next_id(snapshots: Sequence[Snapshot]) -> str:
    """One more than the highest number in use."""
    numbers = [int(s.id) for s in snapshots if s.id.isascii() and s.id.isdigit()]
    return str(max(numbers, default=0) + 1)


def check_name(file: HostFile, name: str) -> None:
    length = len(_raw(name))
    if not 0 < length <= _MAX_NAME or "\0" in name:
        message = f"a snapshot name has 1 to {_MAX_NAME} bytes and no NUL, got {name!r:.80}"
        raise ImageError(file.path, message, errno.EINVAL)
