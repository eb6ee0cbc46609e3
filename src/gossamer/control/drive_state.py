"""What is in which drive, as data."""

from __future__ import annotations

from gossamer.base.data import Data
from gossamer.block import OverlayImage, RawDisk, StandbyImage
from gossamer.control.disks import Disk
from gossamer.control.runner import Runner
from gossamer.control.shapes import Size
from gossamer.devices.ide.drive import CDROM, DISK
from gossamer.machines import drives_attach
from gossamer.machines.config import Drive
from gossamer.machines.drives import usual_name


class Medium(Data):
    """An image in a drive; `handed_over`: it is not open, `standing_by`: it has not been yet.

    `changed`: bytes that are kept here alone (snapshot=on).  `saves`: how many saves of a raw disk
    its undo log serves, with `kept` bytes of older content.
    """

    file: str
    format: str
    size: Size
    read_only: bool
    handed_over: bool
    standing_by: bool = False
    changed: Size | None = None
    saves: int | None = None
    kept: Size | None = None


class DriveState(Data):
    """A drive; `stalled`: it waits for cont after an error of the host."""

    device: str
    kind: str
    model: str
    serial: str
    medium: Medium | None = None
    tray_open: bool | None = None
    tray_locked: bool | None = None
    rerror: str | None = None
    werror: str | None = None
    stalled: bool = False


class DrivePlace(Data):
    """A drive of the machine: its place, what it was made from, its image if it has one."""

    index: int
    drive: drives_attach.AnyDrive
    options: Drive | None
    disk: Disk | None

    @property
    def name(self) -> str:
        """What the user calls it, or QEMU by its place."""
        media = "cdrom" if self.kind == CDROM else "disk"
        return self.options.name if self.options else usual_name(self.index, media)

    @property
    def kind(self) -> str:
        """DISK or CDROM."""
        return DISK if self.tray is None else CDROM

    @property
    def tray(self) -> drives_attach.TrayDrive | None:
        """The drive, where it has a tray."""
        return drives_attach.tray_of(self.drive)


def drive_places(vm: Runner) -> list[DrivePlace]:
    """The drives by place."""
    m = vm.machine
    found = ((n, drives_attach.drive_at(m, n)) for n in sorted(drives_attach.drive_kinds(m)))
    return [DrivePlace(n, drive, m.hardware.drive(n), vm.disks.at.get(n)) for n, drive in found]


def drive_states(vm: Runner) -> tuple[DriveState, ...]:
    """The drives by place, as data."""
    found = []
    for place in drive_places(vm):
        drive, disk, options = place.drive, place.disk, place.options
        tray = place.tray
        writable = disk is not None and not disk.image.read_only and options is not None
        found.append(
            DriveState(
                device=place.name,
                kind="disk" if tray is None else "CD-ROM",
                model=drive.model,
                serial=drive.serial,
                medium=None if disk is None else _medium(disk, lent=vm.disks.lent),
                tray_open=None if tray is None else bool(tray.tray_open),
                tray_locked=None if tray is None else bool(tray.tray_locked),
                rerror=options.rerror if writable and options else None,
                werror=options.werror if writable and options else None,
                stalled=bool(drive.stalled),
            )
        )
    return tuple(found)


def _medium(disk: Disk, *, lent: bool) -> Medium:
    image = disk.image
    gone = lent and not image.read_only
    overlay = image if isinstance(image, OverlayImage) and not gone else None
    undo = image.undo if isinstance(image, RawDisk) and not gone else None
    return Medium(
        file=str(image.path),
        format=image.format,
        size=Size(image.size),
        read_only=image.read_only,
        handed_over=gone,
        standing_by=isinstance(image, StandbyImage),
        changed=None if overlay is None else Size(overlay.changed_bytes),
        saves=None if undo is None else len(undo.entries),
        kept=None if undo is None else Size(undo.kept_bytes),
    )
