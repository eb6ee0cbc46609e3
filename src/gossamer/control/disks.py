"""The disks of a virtual machine: opened once, put into each machine that takes its place.

A `Machine` is made anew by every load; the images stay here.  Which image keeps its content how:
a writable qcow2 in internal snapshots, a writable raw one in an undo log beside it, any behind
``-snapshot`` in an overlay that a save carries along.  `control.disk_state` does the saving.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import xxhash

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError, GossamerError, HostError
from gossamer.base.late import LateModule
from gossamer.base.units import NS_PER_S
from gossamer.control import flushes
from gossamer.control.counted import Counted, Traffic
from gossamer.devices.ide.drive import CDROM
from gossamer.devices.ide.media import BlockBackend
from gossamer.machines import drives_attach
from gossamer.machines.config import Config, Drive, unknown
from gossamer.machines.drives import usual_name
from gossamer.machines.machine import Machine

if TYPE_CHECKING:
    from gossamer import block
else:  # a machine without a disk needs none of it
    block = LateModule(lambda: import_module("gossamer.block"))

PLACES: Final = 4


class Disk(Data, frozen=False):
    """An image in its place; `reopen` opens it once more, as it was."""

    index: int
    image: block.Image
    name: str
    reopen: Callable[[], block.Image]

    @property
    def key(self) -> str:
        """What it is called in save files."""
        return f"drive{self.index}"


class View(BlockBackend, Protocol):
    """What a guest that goes back in time sees of a disk (`control.timeline.blocks`)."""

    backend: BlockBackend

    def content_hash(self) -> str:
        """As an image's."""
        ...

    def commit(self) -> None:
        """Make the image what the guest sees."""
        ...


class Disks:
    """The images of one virtual machine, by place; an empty CD drive has none."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.at: dict[int, Disk] = {}
        self.is_open = False
        #: The writable images are not ours: handed over, or not opened yet.
        self.lent = False
        #: Open what is handed to us when the machine runs, not when it has arrived.
        self.late = False
        #: What a user should know about the images.
        self.warnings: list[str] = []
        self._away: list[Disk] = []
        self._settled_ns = 0
        #: Nodes of -blockdev or of external snapshots that are below a disk's, by name.
        self.below: dict[str, Path] = dict(config.nodes_below)
        #: The disks that a job has: name by place.  They can neither be saved nor sent.
        self.taken: dict[int, str] = {}
        #: What each drive has read and written, by place.
        self.traffic: dict[int, Traffic] = {}
        #: Whether flushes may take time of the host that the guest's clock follows.
        self.in_background = False
        #: What stands between drives and images while a machine has a past, by place.
        self.views: dict[int, View] = {}

    # --- open and close -----------------------------------------------------------------------

    def open(self, *, stand_by: bool = False) -> None:
        """Open every image; when one cannot be opened, none is.

        `stand_by`: what a guest could write is only looked at, until `take_back`.
        """
        if self.is_open:
            return
        try:
            for drive in self.config.drives:
                if drive.file is not None:
                    self._add(drive, stand_by=stand_by and not drive.readonly)
        except BaseException:
            self.abandon()
            raise
        self.is_open = True
        self.lent = bool(self._away)

    def _add(self, drive: Drive, *, stand_by: bool) -> None:
        reopen = partial(_open, drive)
        image = _peek(drive) if stand_by else reopen()
        disk = self.at[drive.index] = Disk(drive.index, image, drive.name, reopen)
        if stand_by:
            self._away.append(disk)
        if image.probed and not image.read_only and not drive.snapshot:
            self.warnings.append(
                f"{disk.name}: {image.path}: no format was given, and it looks raw: a guest that "
                "writes another format's header to its first sector gets an error; format=raw in "
                "-drive allows it"
            )

    def put_back(self) -> None:
        """Let go of the writable images, as if they had not been opened yet."""
        for disk in self.writable if not self.lent else ():
            disk.image.close()
            disk.image = block.StandbyImage(disk.image.path, disk.image.format, disk.image.size, ())
            self._away.append(disk)
        self.lent = bool(self._away)

    def close(self) -> None:
        """Write everything out and let go of the files; the first failure is raised at the end."""
        failed: GossamerError | None = None
        for disk in self._taken():
            try:
                disk.image.close()
            except GossamerError as fault:
                failed = failed or fault
        if failed is not None:
            raise failed

    def abandon(self) -> None:
        """Let go of the files as a kill would: what was never flushed may be lost."""
        for disk in self._taken():
            disk.image.abandon()

    def _taken(self) -> list[Disk]:
        taken, self.at, self.is_open = list(self.at.values()), {}, False
        self.lent, self._away = False, []
        return taken

    @contextmanager
    def handed_over(self) -> Iterator[None]:
        """The receiver gets the writable images; if that fails they are ours again.

        What they hold is in their files by then: ConfigError or HostError where that cannot be,
        and nothing has been given away.
        """
        self.write_back()
        for disk in self.writable:
            if isinstance(disk.image, block.OverlayImage) and disk.image.changed_bytes:
                raise ConfigError(
                    f"{disk.name}: its changes are kept here alone (snapshot=on): the receiver "
                    "would not have them"
                )
        for disk in self.writable:
            disk.image.flush()
        self.lent = True
        try:
            for disk in self.writable:
                self._away.append(disk)
                disk.image.close()
            yield
        except BaseException:
            self.take_back()
            raise

    def take_back(self) -> None:
        """Open what was handed over, if anything was; HostError while another program has it."""
        if not self.lent:
            return
        opened: list[block.Image] = []
        try:
            opened += (disk.reopen() for disk in self._away)
        except BaseException:
            for image in opened:
                image.close()
            raise
        for disk, image in zip(self._away, opened, strict=True):
            disk.image = image
        self.lent, self._away = False, []

    def check_free(self) -> None:
        """ConfigError while a job has one of them."""
        for name in self.taken.values():
            raise ConfigError(f"Node '{name}' is busy: block device is in use by block job: commit")

    # --- in the machine -----------------------------------------------------------------------

    def plug(self, m: Machine, stop: Callable[[int], None]) -> None:
        """Put the images into the drives of a machine; `stop` pauses it for a drive (werror)."""
        for index in drives_attach.drive_kinds(m):
            disk = self.at.get(index)
            traffic = self.traffic.setdefault(index, Traffic())
            media: BlockBackend | None = None
            if disk is not None:
                media = Counted(disk.image, traffic)
                if index in self.views:
                    self.views[index].backend, media = media, self.views[index]
            drives_attach.insert(m, index, media, partial(stop, index))
            if disk is not None:
                drives_attach.drive_at(m, index).ahead = partial(self._flush_ahead, disk.image)

    def write_back(self) -> None:
        """Make each image what the guest sees: a machine that has gone back may see older content.

        HostError where that fails.
        """
        for view in self.views.values():
            view.commit()

    def settle(self, now_ns: int) -> None:
        """Let images write out what only this process knows, once a second of the host."""
        if now_ns - self._settled_ns < NS_PER_S:
            return
        self._settled_ns = now_ns
        for disk in () if self.lent else self.writable:
            with suppress(GossamerError):  # the guest's next flush reports it
                disk.image.settle()

    def _flush_ahead(self, image: block.Image) -> Callable[[], bool]:
        return flushes.begin(image) if self.in_background else lambda: True

    def find(self, m: Machine, name: str) -> tuple[int, drives_attach.AnyDrive]:
        """The place called `name`: ide1-cd0 and the like, or what id= gave."""
        names: dict[str, int] = {}
        for index, kind in drives_attach.drive_kinds(m).items():
            options = m.hardware.drive(index)
            names[usual_name(index, "cdrom" if kind == CDROM else "disk")] = index
            if options is not None:
                names[options.name] = index
        if name not in names:
            raise unknown("drive", name, names)
        return names[name], drives_attach.drive_at(m, names[name])

    # --- what they are ------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Disk]:
        return iter(sorted(self.at.values(), key=lambda disk: disk.index))

    @property
    def writable(self) -> list[Disk]:
        """Those whose content is part of the machine's state."""
        return [disk for disk in self if not disk.image.read_only]

    @property
    def snapshots(self) -> list[tuple[block.Qcow2Image | block.StandbyImage, block.Snapshot]]:
        """The internal snapshots of all writable images, also before they are opened."""
        return [
            (disk.image, snapshot)
            for disk in self.writable
            if isinstance(disk.image, block.Qcow2Image | block.StandbyImage)
            for snapshot in disk.image.snapshots
        ]

    @property
    def qcow2(self) -> list[tuple[Disk, block.Qcow2Image]]:
        """Writable images with internal snapshots."""
        return [(d, d.image) for d in self.writable if isinstance(d.image, block.Qcow2Image)]

    @property
    def captured(self) -> list[tuple[Disk, block.OverlayImage | block.RawDisk]]:
        """Writable images whose content a save captures itself."""
        return [
            (d, d.image)
            for d in self.writable
            if isinstance(d.image, block.OverlayImage | block.RawDisk)
        ]

    @property
    def raw(self) -> list[tuple[Disk, block.RawDisk]]:
        """Those of them that keep it in an undo log."""
        return [(d, d.image) for d in self.writable if isinstance(d.image, block.RawDisk)]

    def content_hash(self) -> bytes:
        """Of all writable disks that are ours; empty when there is none."""
        if self.lent or not self.writable:
            return b""
        h = xxhash.xxh3_64()
        for disk in self.writable:
            seen = self.views.get(disk.index, disk.image)
            h.update(f"{disk.key} {seen.content_hash()}".encode())
        return h.digest()


def _open(drive: Drive) -> block.Image:
    return _named(
        drive,
        lambda file: block.open_image(
            file,
            format=drive.format,
            read_only=drive.readonly,
            snapshot=drive.snapshot and not drive.readonly,
        ),
    )


def _peek(drive: Drive) -> block.Image:
    return _named(drive, lambda file: block.stand_by(file, drive.format))


def _named(drive: Drive, open_: Callable[[Path], block.Image]) -> block.Image:
    """The image of a drive, which errors name."""
    assert drive.file is not None
    try:
        image = open_(drive.file)
    except block.ImageError as fault:
        raise HostError(f"{drive.name}: {fault}") from fault
    if not image.size:
        image.close()
        raise ConfigError(f"{drive.name}: {drive.file}: is empty, a drive needs at least a sector")
    return image
