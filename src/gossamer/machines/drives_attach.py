"""Drives in their places: what stands on the two IDE cells of a Mac, and what is in the drives.

The places and serial numbers are QEMU 7.2's (``info qtree``, IDENTIFY data): index 0 and 1 are
master and slave of the first cell, 2 and 3 of the second, ``QM00001`` to ``QM00004``; a CD drive
stands at index 2 unless the user left it out or wants something else there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, TypeAlias

from gossamer.base.data import Data
from gossamer.base.late import LateModule
from gossamer.devices.ide import atapi
from gossamer.devices.ide.cell import MacioIde
from gossamer.devices.ide.drive import CDROM, DISK, NONE, IdeDrive
from gossamer.devices.ide.media import BlockBackend, error_policy
from gossamer.machines.config import FIRST_SCSI, FIRST_VIRTIO
from gossamer.machines.machine import Machine

if TYPE_CHECKING:
    from gossamer.devices.scsi import disk as scsi_disk
    from gossamer.devices.spapr import vscsi
    from gossamer.devices.virtio import blk, net
    from gossamer.devices.virtio import scsi as virtio_scsi
else:  # most machines have no virtio
    scsi_disk = LateModule(lambda: import_module("gossamer.devices.scsi.disk"))
    vscsi = LateModule(lambda: import_module("gossamer.devices.spapr.vscsi"))
    virtio_scsi = LateModule(lambda: import_module("gossamer.devices.virtio.scsi"))
    blk = LateModule(lambda: import_module("gossamer.devices.virtio.blk"))
    net = LateModule(lambda: import_module("gossamer.devices.virtio.net"))

AnyDrive: TypeAlias = "IdeDrive | blk.VirtioBlk | scsi_disk.ScsiDisk"
TrayDrive: TypeAlias = "IdeDrive | scsi_disk.ScsiDisk"
Adapter: TypeAlias = "vscsi.VirtualScsi | virtio_scsi.VirtioScsi"


def serial_number(index: int) -> str:
    return f"QM{index + 1:05}"


def cell(m: Machine, n: int) -> MacioIde:
    """IDE cell 0 or 1."""
    found = m.part(m.kind.ide[n])
    assert isinstance(found, MacioIde)
    return found


def drive_at(m: Machine, index: int) -> AnyDrive:
    """The drive, or the empty place, at `index`."""
    if index >= FIRST_SCSI:
        return next(disk for disk in scsi_disks(m) if disk.place == index)
    if index >= FIRST_VIRTIO:
        return virtio_disks(m)[index - FIRST_VIRTIO]
    return cell(m, index // 2).bus.drives[index % 2]


def virtio_disks(m: Machine) -> list[blk.VirtioBlk]:
    """The virtio disks, in the order of their devices."""
    if not m.kind.virtio:
        return []
    return [part.device for part in m.parts if isinstance(part.device, blk.VirtioBlk)]


def scsi_disks(m: Machine) -> list[scsi_disk.ScsiDisk]:
    """The disks and drives on SCSI buses."""
    return [one for bus in m.scsi for one in bus.devices]


def adapters(m: Machine) -> list[Adapter]:
    """What has a SCSI bus."""
    if not m.scsi:
        return []
    kinds = (vscsi.VirtualScsi, virtio_scsi.VirtioScsi)
    return [part.device for part in m.parts if isinstance(part.device, kinds)]


def drive_kinds(m: Machine) -> dict[int, str]:
    """What stands at which index: DISK or CDROM."""
    kinds = {d.index: DISK if d.media == "disk" else CDROM for d in m.hardware.drives}
    if m.hardware.cd_drive and m.kind.cd_place is not None:
        kinds.setdefault(m.kind.cd_place, CDROM)
    return kinds


def place_drives(m: Machine) -> None:
    """Put the drives that the configuration asks for in their places, with nothing in them."""
    for index, kind in drive_kinds(m).items():
        if index >= FIRST_VIRTIO:
            continue  # a device of -device
        drive = m.hardware.drive(index)
        cell(m, index // 2).attach(
            index % 2,
            kind,
            None,
            serial=(drive.serial if drive else "") or serial_number(index),
            model=drive.model if drive else "",
            firmware=drive.firmware if drive else "",
            wwn=drive.wwn if drive else 0,
        )


class ChipDrive(Data):
    """A drive on an IDE cell, in QEMU's words."""

    bus: str
    unit: int
    driver: str
    id: str
    serial: str
    model: str
    firmware: str


def chip_drives(m: Machine, path: str) -> Iterator[ChipDrive]:
    """The drives on the cell at `path`."""
    if path not in m.kind.ide:
        return
    n = m.kind.ide.index(path)
    for unit, drive in enumerate(cell(m, n).bus.drives):
        options = m.hardware.drive(2 * n + unit)
        if drive.kind != NONE:
            yield ChipDrive(
                bus=f"ide.{n}",
                unit=unit,
                driver="ide-hd" if drive.kind == DISK else "ide-cd",
                id=options.device if options else "",
                serial=drive.serial,
                model=drive.model,
                firmware=drive.firmware,
            )


# --- trays ----------------------------------------------------------------------------------------


def tray_of(drive: AnyDrive) -> TrayDrive | None:
    """The drive, where it has a tray."""
    if isinstance(drive, IdeDrive):
        return drive if drive.kind == CDROM else None
    return drive if isinstance(drive, scsi_disk.ScsiDisk) and drive.is_cd else None


def request_eject(drive: TrayDrive) -> bool:
    """The user presses the button: whether the tray opens; locked, the guest is asked."""
    return atapi.request_eject(drive) if isinstance(drive, IdeDrive) else drive.request_eject()


def open_tray(drive: TrayDrive) -> None:
    if isinstance(drive, IdeDrive):
        drive.tray_open = True
    else:
        drive.open_tray()


def change_media(drive: TrayDrive, media: BlockBackend | None) -> None:
    """Put another disc in, or none; the tray ends up closed, and the guest hears of it."""
    if isinstance(drive, IdeDrive):
        atapi.change_media(drive, media)
    else:
        drive.change_media(media)


def take_out(drive: TrayDrive) -> None:
    """Take the disc out of an open tray."""
    if isinstance(drive, IdeDrive):
        atapi.change_media(drive, None)
        drive.tray_open = True
    else:
        drive.media = None


def insert(m: Machine, index: int, media: BlockBackend | None, stop: Callable[[], None]) -> None:
    """Give a drive its medium, as if it had always been there; the guest is not notified.

    `stop` pauses the machine, where the drive's werror or rerror says so.
    """
    drive = drive_at(m, index)
    drive.media = media
    options = m.hardware.drive(index)
    if options is not None:
        drive.policy = error_policy(options.rerror, options.werror, stop)


def stalled(m: Machine) -> bool:
    """Whether a failure of the host has stopped a request, here or in QEMU."""
    if any(one.stalled for one in (*virtio_disks(m), *adapters(m))):
        return True
    return any(
        bus.error_status or any(drive.stalled for drive in bus.drives)
        for bus in (cell(m, n).bus for n in range(len(m.kind.ide)))
    )


def retry(m: Machine) -> None:
    """Repeat the requests that a failure of the host stopped."""
    for n in range(len(m.kind.ide)):
        cell(m, n).retry()
    for one in (*virtio_disks(m), *adapters(m)):
        one.retry()
    if m.kind.virtio:
        for part in m.parts:
            if isinstance(part.device, net.VirtioNet):
                part.device.retry()
