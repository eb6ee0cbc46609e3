"""A snapshot out of a qcow2 image, as an image of its own: what a second machine goes on with.

The image may be written to meanwhile, by the machine that has it: a snapshot's clusters do not
change as long as it is there, and whether it still is is looked at when all has been copied.
"""

from __future__ import annotations

import errno
import os
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final, cast

from gossamer.block.errors import ImageError
from gossamer.block.open import create, open_image
from gossamer.block.qcow2 import Qcow2Image, Snapshot

_PIECE: Final = 1 << 20
_SPARE: Final = 64 << 20
"""Bytes that stay free on the medium of the copy."""


def part_snapshot(source: Path | str, date_ns: int, to: Path) -> None:
    """Make `to` a qcow2 image: the disk as it was in the snapshot of that date, and the snapshot.

    ImageError when there is no such snapshot (any more), or no room.
    """
    with closing(_shared(source)) as image:
        snapshot = _of_date(image, date_ns)
        medium = os.statvfs(to.parent)
        room, needed = medium.f_bavail * medium.f_frsize, image.file.size + _SPARE
        if room < needed:
            message = f"{room >> 20} MiB are free, {needed >> 20} needed for a copy of {source}"
            raise ImageError(to, message, errno.ENOSPC)
        create(to, "qcow2", snapshot.disk_size)
        with closing(cast(Qcow2Image, open_image(to, format="qcow2"))) as target:
            _copy(image, snapshot, target)
            _keep(image, snapshot, target)
    with closing(_shared(source)) as image:
        if _of_date(image, date_ns) != snapshot:
            raise ImageError(image.path, f"snapshot {snapshot.name!r} was made anew meanwhile")


def _shared(path: Path | str) -> Qcow2Image:
    image = open_image(path, format="qcow2", read_only=True, force_share=True)
    return cast(Qcow2Image, image)


def _of_date(image: Qcow2Image, date_ns: int) -> Snapshot:
    found = next((one for one in image.snapshots if one.date_ns == date_ns), None)
    if found is None:
        raise ImageError(image.path, "the snapshot is not there (any more)", errno.ENOENT)
    return found


def _copy(image: Qcow2Image, snapshot: Snapshot, target: Qcow2Image) -> None:
    """The disk; what is zero stays a hole."""
    for offset in range(0, snapshot.disk_size, _PIECE):
        data = image.read_snapshot(snapshot, offset, min(_PIECE, snapshot.disk_size - offset))
        if data.count(0) != len(data):
            target.write(offset, data)


def _keep(image: Qcow2Image, snapshot: Snapshot, target: Qcow2Image) -> None:
    """The snapshot itself, with its machine state where it has one."""
    made = partial(
        target.create_snapshot,
        snapshot.name,
        vm_clock_ns=snapshot.vm_clock_ns,
        date_ns=snapshot.date_ns,
        icount=snapshot.icount,
    )
    if not snapshot.vmstate_size:
        made()
        return
    with image.open_vmstate(snapshot.id) as state:
        made(state)
