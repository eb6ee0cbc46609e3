"""What is known of an image that is not open yet: its size, its format and its snapshots.

A machine that does not run neither locks nor writes its disks: another process may have them, the
sender of a migration for example, whose changes must not be seen half done.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from gossamer.block.errors import ImageError
from gossamer.block.hostfile import Buffer, HostFile
from gossamer.block.image import SECTOR, BaseImage
from gossamer.block.probe import check_format, probe
from gossamer.block.qcow2 import Qcow2Image, Snapshot
from gossamer.block.qcow2 import header as headers
from gossamer.block.qcow2.snapshots import read_table


class StandbyImage(BaseImage):
    """Stands for an image until it is opened: nothing can be read or written."""

    def __init__(self, path: Path, format: str, size: int, snapshots: Sequence[Snapshot]) -> None:
        super().__init__(path, size, read_only=False)
        self.format = format
        #: Of a qcow2 image, bytes.
        self.cluster_size: int | None = None
        self.snapshots = snapshots
        self._state_bytes: dict[str, int] = {}

    def vmstate_bytes(self, snapshot: Snapshot) -> int:
        """What a snapshot's machine state takes."""
        return self._state_bytes.get(snapshot.id, snapshot.vmstate_size)

    def look_at_states(self, image: Qcow2Image) -> None:
        """Note what the machine states take in an image that is open for reading."""
        for snapshot in self.snapshots:
            if snapshot.vmstate_size:
                self._state_bytes[snapshot.id] = image.vmstate_bytes(snapshot)

    def read(self, offset: int, length: int) -> bytes:
        raise self._not_open()

    def write(self, offset: int, data: Buffer) -> None:
        raise self._not_open()

    def zero(self, offset: int, length: int) -> None:
        raise self._not_open()

    def zero_run(self, offset: int) -> int:
        raise self._not_open()

    def content_hash(self) -> str:
        raise self._not_open()

    def flush(self) -> None:
        """There is nothing to write out."""

    def close(self) -> None:
        self.closed = True

    def abandon(self) -> None:
        self.close()

    def _not_open(self) -> ImageError:
        return ImageError(self.path, "is not open: the machine has not run yet", errno.EBUSY)


def stand_by(path: Path | str, format: str | None = None) -> StandbyImage:
    """Look at an image without locking it; ImageError where it cannot even be read."""
    file = HostFile(path, read_only=True, lock=False)
    try:
        found = format or probe(file)
        check_format(file.path, found)
        if found == "raw":
            image = StandbyImage(file.path, found, -(-file.size // SECTOR) * SECTOR, ())
            image.probed = format is None
            return image
        header = headers.parse(file)
        try:
            snapshots = read_table(file, header)[0]
        except ImageError:  # another process is changing it just now
            snapshots = []
        image = StandbyImage(file.path, found, header.size, snapshots)
        image.cluster_size = header.cluster_size
        if any(snapshot.vmstate_size for snapshot in snapshots):
            with suppress(ImageError):  # as above
                image.look_at_states(Qcow2Image(file, header, None))
        return image
    finally:
        file.close()
