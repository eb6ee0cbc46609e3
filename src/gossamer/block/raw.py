"""A raw image: the file is the disk, and is written in place.

What saves of the machine need of its older content is kept in an undo log (`block.undo`).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Final

from gossamer.block.capture import ZERO_SLOT, Capture, Unpacked, check_covered, go_back, unpack
from gossamer.block.errors import ImageError
from gossamer.block.hashing import CHUNK, digest_of
from gossamer.block.hostfile import Buffer, HostFile
from gossamer.block.image import SECTOR, ReadImage
from gossamer.block.probe import probe_bytes
from gossamer.block.undo import Undo

_ZEROS: Final = bytes(1 << 20)


class RawFile(ReadImage):
    """The file itself, to be read.  A last partial sector is filled up with zeros."""

    format = "raw"

    def __init__(self, file: HostFile, *, probed: bool = False) -> None:
        size = -(-file.size // SECTOR) * SECTOR
        super().__init__(file.path, size, read_only=file.read_only)
        self.file = file
        self.probed = probed

    def read(self, offset: int, length: int) -> bytes:
        self._check(offset, length)
        return self.file.read_at(offset, length)

    def zero_run(self, offset: int) -> int:
        if offset >= self.file.size:
            return self.size - offset
        return self.file.hole_at(offset)

    def abandon(self) -> None:
        self.closed = True
        self.file.close()


class RawDisk(RawFile):
    """A raw image that is open for writing.

    `flush` returns when all is on the medium.  An image that was `probed` to be raw must not become
    one of another format because the guest writes that format's magic into its first sector: such
    a write is refused.
    """

    def __init__(self, file: HostFile, *, probed: bool = False) -> None:
        super().__init__(file, probed=probed)
        self.undo = Undo(file, self.size)

    def write(self, offset: int, data: Buffer) -> None:
        view = memoryview(data).cast("B")
        self._check_write(offset, len(view))
        if self.probed and offset < SECTOR and len(view):
            self._check_first_sector(offset, view)
        self.undo.protect(offset, len(view))
        self._hash.touch(offset, len(view))
        self.file.write_at(offset, view)

    def _check_first_sector(self, offset: int, view: memoryview) -> None:
        first = bytearray(self.read(0, SECTOR))
        part = view[: SECTOR - offset]
        first[offset : offset + len(part)] = part
        if probe_bytes(bytes(first)) != "raw":
            message = "the guest writes another format's magic; say format=raw to allow that"
            raise ImageError(self.path, message, errno.EPERM)

    def zero(self, offset: int, length: int) -> None:
        self._check_write(offset, length)
        end = offset + length
        while offset < end:
            piece = min(len(_ZEROS), end - offset)
            self.write(offset, memoryview(_ZEROS)[:piece])
            offset += piece

    def flush(self) -> None:
        self._check(0, 0)
        self.file.sync()

    def sync_ahead(self) -> Callable[[], None]:
        return self.file.sync_ahead()

    def close(self) -> None:
        if not self.closed:
            try:
                self.flush()
            finally:
                self.abandon()

    def abandon(self) -> None:
        super().abandon()
        self.undo.close()

    # --- saves ----------------------------------------------------------------------------------

    def capture(self, owner: str = "") -> Capture:
        """Keep what the disk holds for a save, until `forget`; `owner` says where the save is."""
        self.flush()
        self._hash.value(self)
        return Capture(self.size, self._hash.digests(), (), self.undo.begin(owner))

    def forget(self, capture_id: str) -> None:
        """A save is gone: what only it needed is given up."""
        self._check_write(0, 0)
        self.undo.drop(capture_id)

    def forget_all_of(self, owner: str, *, but: str = "") -> None:
        """All saves that `owner` held are gone, except one."""
        self._check_write(0, 0)
        self.undo.release(owner, but=but)

    def restore(self, capture: Capture) -> None:
        """Make the disk what it was at `capture`; on any error it stays as it is."""
        go_back(self.prepare(capture))

    def prepare(self, capture: Capture) -> RawGoing:
        """Find everything that a capture needs, without changing the disk."""
        self._check_write(0, 0)
        unpacked = unpack(capture, self.path, self.size)
        try:
            self._hash.value(self)
            changed = self._hash.differences(unpacked.base) - unpacked.slots.keys()
            going = RawGoing(self, unpacked, capture.id, sorted(changed | unpacked.slots.keys()))
            check_covered(self.path, (n for n in sorted(changed) if not going.is_right(n)))
        except BaseException:
            unpacked.scratch.close()
            raise
        return going

    def replace(self, clusters: Sequence[int], content: Callable[[int], bytes]) -> None:
        """Give clusters of 64 KiB other content, by index, in one step.

        On an error, and after a kill, the image is as it was; what saves need of it is kept.
        """
        if not clusters:
            return
        self._check_write(0, 0)
        try:
            self.undo.go_back(clusters, content)
            self.undo.confirm()
        finally:
            for index in clusters:
                self.changed_at(index)

    def changed_at(self, index: int) -> None:
        """Chunk `index` was written behind the image's back."""
        self._hash.touch(index * CHUNK, 1)


class RawGoing:
    """A raw disk on its way back; see `capture.Going`."""

    def __init__(
        self, disk: RawDisk, unpacked: Unpacked, capture_id: str, clusters: list[int]
    ) -> None:
        self._disk, self._unpacked, self._id, self._clusters = disk, unpacked, capture_id, clusters
        self._applied = False

    def content(self, index: int) -> bytes:
        """What the capture holds in a cluster that differs from the image."""
        length = min(CHUNK, self._disk.size - index * CHUNK)
        slot = self._unpacked.slots.get(index)
        if slot is not None and slot != ZERO_SLOT:
            return self._unpacked.scratch.read(slot, 0, length)
        if slot == ZERO_SLOT or index not in self._unpacked.base:
            return bytes(length)
        return self._disk.undo.old(self._id, index) or b""

    def is_right(self, index: int) -> bool:
        """Whether the undo log holds what the capture's digest says."""
        wanted = self._unpacked.base.get(index, 0)
        return digest_of(index, self.content(index)) == wanted

    def apply(self) -> None:
        if self._clusters:
            self._change(lambda: self._disk.undo.go_back(self._clusters, self.content))
            self._applied = True

    def _change(self, action: Callable[[], None]) -> None:
        try:
            action()
        finally:
            for index in self._clusters:
                self._disk.changed_at(index)

    def confirm(self) -> None:
        if self._applied:
            self._disk.undo.confirm()
            self._applied = False

    def take_back(self) -> None:
        if self._applied:
            self._applied = False
            self._change(self._disk.undo.take_back)

    def close(self) -> None:
        self._unpacked.scratch.close()
