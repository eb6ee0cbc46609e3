"""Commands for images by name: opened for drives, made, put above others."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.block import Qcow2Image, StandbyImage, create, create_over
from gossamer.block.open import backing_path
from gossamer.control import overlays
from gossamer.control.commands.drives import SnapshotInfo, snapshot_infos
from gossamer.control.commands.snapshots import checked_tag
from gossamer.control.commands.table import command
from gossamer.control.disk_state import forget
from gossamer.control.disks import Disk
from gossamer.control.session import Session
from gossamer.control.shapes import Size
from gossamer.core import host


class CacheOptions(Data):
    """About the host's cache: nothing that a guest can see."""

    direct: bool = False
    no_flush: bool = False


class FileNode(Data):
    """A file of the host."""

    driver: Literal["file"]
    filename: str
    node_name: str | None = None
    read_only: bool = True
    auto_read_only: bool = False
    discard: str = ""
    cache: CacheOptions = CacheOptions()


@command("blockdev-add")
def blockdev_add(
    session: Session,
    driver: Literal["raw", "qcow2", "file"],
    node_name: str,
    file: FileNode | str | None = None,
    filename: str | None = None,
    read_only: bool = False,
    auto_read_only: bool = False,
    discard: str = "",
    detect_zeroes: str = "",
    cache: CacheOptions | None = None,
    backing: object = None,
) -> None:
    """Open an image for a CD drive, or name one that blockdev-snapshot puts above another."""
    del auto_read_only, discard, detect_zeroes, cache
    media = session.vm.media
    if driver == "file":
        if filename is None:
            raise ConfigError("Parameter 'filename' is missing")
        media.add_file(node_name, Path(session.fd_sets.path(filename)))
        return
    if backing is not None:
        raise ConfigError("backing: it is the one that the image names, or null")
    path = _file(session, file)
    if read_only:
        media.add(node_name, path, driver)
    elif driver == "qcow2":
        media.add_writable(node_name, path, driver)
    else:
        raise ConfigError("blockdev-add: read-only: only discs can be added while it runs")


def _file(session: Session, file: FileNode | str | None) -> Path:
    if file is None:
        raise ConfigError("Parameter 'file' is missing")
    if isinstance(file, FileNode):
        return Path(session.fd_sets.path(file.filename))
    files = session.vm.media.files
    if file not in files:
        raise ConfigError(f"Cannot find device='' nor node-name='{file}'")
    return files[file]


@command("blockdev-del")
def blockdev_del(session: Session, node_name: str) -> None:
    """Close an image of blockdev-add that is in no drive."""
    session.vm.media.remove(node_name)


# --- new images ---------------------------------------------------------------------------------


class CreateFile(Data):
    """A file; one that is there must be empty."""

    driver: Literal["file"]
    filename: str
    size: Size


class CreateQcow2(Data):
    """An empty image in a file that is empty, above the one called `backing_file`."""

    driver: Literal["qcow2"]
    file: FileNode | str
    size: Size
    backing_file: str | None = None
    backing_fmt: str | None = None
    cluster_size: int = 65536
    version: Literal["v3"] = "v3"


@command("blockdev-create")
def blockdev_create(session: Session, job_id: str, options: CreateFile | CreateQcow2) -> None:
    """Begin a job that makes a file, or an image in it."""

    def work() -> None:
        if isinstance(options, CreateFile):
            path = Path(session.fd_sets.path(options.filename))
            if path.exists() and path.stat().st_size == 0 and options.size == 0:
                return
            create(path, "raw", options.size)
            return
        path = _file(session, options.file)
        if options.backing_file is None or options.backing_fmt is None:
            raise ConfigError("blockdev-create: needs backing-file and backing-fmt")
        below = backing_path(path, options.backing_file)
        create_over(
            path, options.size, str(below), options.backing_fmt, cluster_size=options.cluster_size
        )

    session.spawn(session.jobs.begin(job_id, "create", work))


# --- external snapshots -------------------------------------------------------------------------


class SnapshotSync(Data):
    """A disk by `device` or `node_name` goes on in the new image `snapshot_file`."""

    snapshot_file: str
    device: str | None = None
    node_name: str | None = None
    snapshot_node_name: str | None = None
    format: Literal["qcow2"] = "qcow2"
    mode: Literal["existing", "absolute-paths"] = "absolute-paths"


class SnapshotNode(Data):
    """Disk `node` goes on in the image that blockdev-add called `overlay`."""

    node: str
    overlay: str


def disk_of(session: Session, device: str | None, node: str | None) -> Disk:
    vm, name = session.vm, node or device or ""
    for disk in vm.disks:
        options = vm.machine.hardware.drive(disk.index)
        if disk.name == name or (options is not None and name in (options.name, options.device)):
            return disk
    raise ConfigError(f"Cannot find device='{device or ''}' nor node-name='{node or ''}'")


def _above(session: Session, one: SnapshotSync | SnapshotNode) -> overlays.Above:
    if isinstance(one, SnapshotSync):
        disk = disk_of(session, one.device, one.node_name)
        path = Path(session.fd_sets.path(one.snapshot_file))
        made = one.mode != "existing"
        return overlays.Above(disk, path, made, one.snapshot_node_name or "")
    disk = disk_of(session, None, one.node)
    found = session.vm.media.nodes.get(one.overlay)
    if found is None or not isinstance(found[2], StandbyImage):
        raise ConfigError(f"Cannot find device='' nor node-name='{one.overlay}'")
    return overlays.Above(disk, found[0], made=False, name=one.overlay)


def _go_on(session: Session, all_: list[SnapshotSync | SnapshotNode]) -> None:
    session.check_idle()
    overlays.go_on(session.vm, [_above(session, one) for one in all_])
    for one in all_:
        if isinstance(one, SnapshotNode):  # it is the disk's now
            session.vm.media.nodes.pop(one.overlay)[2].close()


@command("blockdev-snapshot-sync")
def blockdev_snapshot_sync(
    session: Session,
    snapshot_file: str,
    device: str | None = None,
    node_name: str | None = None,
    snapshot_node_name: str | None = None,
    format: Literal["qcow2"] = "qcow2",
    mode: Literal["existing", "absolute-paths"] = "absolute-paths",
) -> None:
    """Let a disk go on in a new image above the one that it has."""
    one = SnapshotSync(snapshot_file, device, node_name, snapshot_node_name, format, mode)
    _go_on(session, [one])


@command("blockdev-snapshot")
def blockdev_snapshot(session: Session, node: str, overlay: str) -> None:
    """Let a disk go on in an image of blockdev-add above the one that it has."""
    _go_on(session, [SnapshotNode(node, overlay)])


# --- snapshots inside an image, without the machine ---------------------------------------------


class InternalSnapshot(Data):
    """A snapshot `name` in the image of disk `device`."""

    device: str
    name: str


def _keeps_snapshots(session: Session, device: str) -> Qcow2Image:
    disk = disk_of(session, device, None)
    session.vm.take_back_disks()
    if not isinstance(disk.image, Qcow2Image) or disk.image.read_only:
        raise ConfigError(f"Block format '{disk.image.format}' used by device '{device}' does not "
                          "support internal snapshots")  # fmt: skip
    return disk.image


def _inside(session: Session, all_: Sequence[InternalSnapshot]) -> None:
    """Give each disk its snapshot, or none."""
    images = [(_keeps_snapshots(session, one.device), one.name) for one in all_]
    for n, (image, name) in enumerate(images):
        checked_tag(name)
        if any(s.name == name for s in image.snapshots) or (image, name) in images[:n]:
            raise ConfigError(f"Snapshot with name '{name}' already exists")
    date, clock = host.utc_ns(), session.vm.clock_ns
    with ExitStack() as failed:
        for image, name in images:
            image.create_snapshot(name, vm_clock_ns=clock, date_ns=date)
            failed.callback(forget, image, name)
        failed.pop_all()


@command("blockdev-snapshot-internal-sync")
def blockdev_snapshot_internal_sync(session: Session, device: str, name: str) -> None:
    """Keep what a disk holds as a snapshot in its image, without the machine."""
    _inside(session, [InternalSnapshot(device, name)])


@command("blockdev-snapshot-delete-internal-sync")
def blockdev_snapshot_delete_internal_sync(
    session: Session, device: str, id_: str | None = None, name: str | None = None
) -> SnapshotInfo:
    """Delete a snapshot in a disk's image, by its id, its name or both."""
    image = _keeps_snapshots(session, device)
    if id_ is None and name is None:
        raise ConfigError("Name or id must be provided")
    for found, info in zip(image.snapshots, snapshot_infos(image), strict=True):
        if id_ in (None, found.id) and name in (None, found.name):
            image.delete_snapshot(found.id)
            return info
    raise ConfigError(
        f"Snapshot with id '{id_ or 'null'}' and name '{name or 'null'}' does not exist on device "
        f"'{device}'"
    )


# --- several at once ----------------------------------------------------------------------------


class SyncAction(Data):
    """As blockdev-snapshot-sync."""

    type: Literal["blockdev-snapshot-sync"]
    data: SnapshotSync


class NodeAction(Data):
    """As blockdev-snapshot."""

    type: Literal["blockdev-snapshot"]
    data: SnapshotNode


class InternalAction(Data):
    """As blockdev-snapshot-internal-sync."""

    type: Literal["blockdev-snapshot-internal-sync"]
    data: InternalSnapshot


class NoData(Data):
    """Nothing."""


class AbortAction(Data):
    """The whole transaction fails."""

    type: Literal["abort"]
    data: NoData


Action = SyncAction | NodeAction | InternalAction | AbortAction


@command("transaction")
def transaction(session: Session, actions: tuple[Action, ...]) -> None:
    """Take snapshots of several disks, all of them or none; external ones, or internal ones."""
    if any(isinstance(one, AbortAction) for one in actions):
        raise ConfigError("Transaction aborted using Abort action")
    inside = [one.data for one in actions if isinstance(one, InternalAction)]
    above = [one.data for one in actions if isinstance(one, SyncAction | NodeAction)]
    if inside and above:
        raise ConfigError("transaction: internal and external snapshots exclude each other")
    _inside(session, inside)
    _go_on(session, above)
