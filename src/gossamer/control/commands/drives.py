"""Commands for drives and what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

from gossamer.base.data import Data
from gossamer.block import Image, Qcow2Image, StandbyImage
from gossamer.control.commands.table import command
from gossamer.control.counted import Traffic
from gossamer.control.disks import Disk
from gossamer.control.drive_state import DriveState, drive_places, drive_states
from gossamer.control.session import Session
from gossamer.control.shapes import Name, Size

_NS = 1_000_000_000


@command("x-query-drives", held=True)
def query_drives(session: Session) -> tuple[DriveState, ...]:
    """The drives and what is in them."""
    return drive_states(session.vm)


# --- what QEMU's clients ask --------------------------------------------------------------------


class SnapshotInfo(Data):
    """A snapshot inside an image."""

    id: str
    name: str
    vm_state_size: Size
    date_sec: int
    date_nsec: int
    vm_clock_sec: int
    vm_clock_nsec: int
    icount: Size | None = None


class ImageInfo(Data):
    """An image's file."""

    filename: str
    format: str
    virtual_size: Size
    dirty_flag: bool
    actual_size: Size | None = None
    cluster_size: int | None = None
    snapshots: tuple[SnapshotInfo, ...] | None = None


class BlockdevCacheInfo(Data):
    """How the host caches an image: what is written is acknowledged, what is flushed is there."""

    writeback: bool = True
    direct: bool = False
    no_flush: bool = False


class BlockDeviceInfo(Data):
    """An open image; nothing is throttled, so that those limits are 0."""

    file: str
    node_name: str
    ro: bool
    drv: str
    backing_file_depth: Annotated[int, Name("backing_file_depth")]
    encrypted: bool
    image: ImageInfo
    cache: BlockdevCacheInfo = BlockdevCacheInfo()
    detect_zeroes: Annotated[str, Name("detect_zeroes")] = "off"
    bps: int = 0
    bps_rd: Annotated[int, Name("bps_rd")] = 0
    bps_wr: Annotated[int, Name("bps_wr")] = 0
    iops: int = 0
    iops_rd: Annotated[int, Name("iops_rd")] = 0
    iops_wr: Annotated[int, Name("iops_wr")] = 0
    write_threshold: Annotated[int, Name("write_threshold")] = 0


class BlockInfo(Data):
    """A drive; `qdev` is the id that -device gave it, or its place in the tree of objects."""

    device: str
    type: str
    removable: bool
    locked: bool
    qdev: str | None = None
    tray_open: Annotated[bool | None, Name("tray_open")] = None
    io_status: str | None = None
    inserted: BlockDeviceInfo | None = None


def block_infos(session: Session) -> Iterator[tuple[BlockInfo, int, Disk | None]]:
    """Each drive in QEMU's form, with its place and image."""
    vm = session.vm
    for place in drive_places(vm):
        drive, options = place.drive, place.options
        tray = place.tray
        named = options.device if options else ""
        disk = place.disk
        info = BlockInfo(
            device="" if named else place.name,
            type="unknown",
            removable=tray is not None,
            locked=tray is not None and bool(tray.tray_locked),
            qdev=named or None,
            tray_open=None if tray is None else bool(tray.tray_open),
            io_status="failed" if drive.stalled else "ok",
            inserted=None if disk is None else _opened(disk.name, disk.image),
        )
        yield info, place.index, disk


@command("query-block", held=True)
def query_block(session: Session) -> tuple[BlockInfo, ...]:
    """The drives, in QEMU's form."""
    return tuple(info for info, _, _ in block_infos(session))


class BlockDeviceStats(Data):
    """What a drive has done; times are not measured, nothing is merged, discarded or invalid."""

    rd_bytes: Annotated[int, Name("rd_bytes")]
    wr_bytes: Annotated[int, Name("wr_bytes")]
    rd_operations: Annotated[int, Name("rd_operations")]
    wr_operations: Annotated[int, Name("wr_operations")]
    flush_operations: Annotated[int, Name("flush_operations")]
    failed_rd_operations: Annotated[int, Name("failed_rd_operations")]
    failed_wr_operations: Annotated[int, Name("failed_wr_operations")]
    failed_flush_operations: Annotated[int, Name("failed_flush_operations")]
    wr_highest_offset: Annotated[int, Name("wr_highest_offset")]
    rd_total_time_ns: Annotated[int, Name("rd_total_time_ns")] = 0
    wr_total_time_ns: Annotated[int, Name("wr_total_time_ns")] = 0
    flush_total_time_ns: Annotated[int, Name("flush_total_time_ns")] = 0
    rd_merged: Annotated[int, Name("rd_merged")] = 0
    wr_merged: Annotated[int, Name("wr_merged")] = 0
    unmap_bytes: Annotated[int, Name("unmap_bytes")] = 0
    unmap_operations: Annotated[int, Name("unmap_operations")] = 0
    unmap_merged: Annotated[int, Name("unmap_merged")] = 0
    unmap_total_time_ns: Annotated[int, Name("unmap_total_time_ns")] = 0
    failed_unmap_operations: Annotated[int, Name("failed_unmap_operations")] = 0
    invalid_rd_operations: Annotated[int, Name("invalid_rd_operations")] = 0
    invalid_wr_operations: Annotated[int, Name("invalid_wr_operations")] = 0
    invalid_flush_operations: Annotated[int, Name("invalid_flush_operations")] = 0
    invalid_unmap_operations: Annotated[int, Name("invalid_unmap_operations")] = 0
    account_invalid: Annotated[bool, Name("account_invalid")] = False
    account_failed: Annotated[bool, Name("account_failed")] = True
    timed_stats: Annotated[tuple[object, ...], Name("timed_stats")] = ()


class BlockStats(Data):
    """A drive and its figures."""

    device: str
    stats: BlockDeviceStats
    qdev: str | None = None
    node_name: str | None = None


@command("query-blockstats", held=True)
def query_blockstats(session: Session, query_nodes: bool = False) -> tuple[BlockStats, ...]:
    """What the drives, or the open images, have read and written."""
    vm = session.vm
    found = []
    for info, index, disk in block_infos(session):
        traffic = vm.disks.traffic.get(index) or Traffic()
        stats = BlockDeviceStats(
            rd_bytes=traffic.read_bytes,
            wr_bytes=traffic.written_bytes,
            rd_operations=traffic.reads,
            wr_operations=traffic.writes,
            flush_operations=traffic.flushes,
            failed_rd_operations=traffic.failed_reads,
            failed_wr_operations=traffic.failed_writes,
            failed_flush_operations=traffic.failed_flushes,
            wr_highest_offset=traffic.highest,
        )
        node = None if disk is None else disk.name
        if not query_nodes:
            found.append(BlockStats(info.device, stats, info.qdev, node))
        elif node is not None:
            found.append(BlockStats("", stats, node_name=node))
    return tuple(found)


@command("query-named-block-nodes", held=True)
def query_named_block_nodes(session: Session, flat: bool = False) -> tuple[BlockDeviceInfo, ...]:
    """The open images."""
    del flat  # backing files are part of their image here
    placed = [_opened(disk.name, disk.image) for disk in session.vm.disks]
    loose = [_opened(name, image) for name, (_, _, image) in session.vm.media.nodes.items()]
    return (*placed, *loose)


def _opened(name: str, image: Image) -> BlockDeviceInfo:
    return BlockDeviceInfo(
        file=str(image.path),
        node_name=name,
        ro=image.read_only,
        drv=image.format,
        backing_file_depth=0,
        encrypted=False,
        image=_image(image),
    )


def _image(image: Image) -> ImageInfo:
    try:
        actual = Size(512 * image.path.stat().st_blocks)
    except OSError:
        actual = None
    return ImageInfo(
        filename=str(image.path),
        format=image.format,
        virtual_size=Size(image.size),
        dirty_flag=False,
        actual_size=actual,
        cluster_size=_cluster_size(image),
        snapshots=(snapshot_infos(image) or None) if isinstance(image, _WITH_SNAPSHOTS) else None,
    )


def _cluster_size(image: Image) -> int | None:
    if isinstance(image, Qcow2Image):
        return image.header.cluster_size
    return image.cluster_size if isinstance(image, StandbyImage) else None


#: Those whose snapshots are known; the second is not open yet.
_WITH_SNAPSHOTS: Final = (Qcow2Image, StandbyImage)


def snapshot_infos(image: Qcow2Image | StandbyImage) -> tuple[SnapshotInfo, ...]:
    """The snapshots inside an image, in their order."""
    return tuple(
        SnapshotInfo(
            id=s.id,
            name=s.name,
            vm_state_size=Size(s.vmstate_size),
            date_sec=s.date_ns // _NS,
            date_nsec=s.date_ns % _NS,
            vm_clock_sec=s.vm_clock_ns // _NS,
            vm_clock_nsec=s.vm_clock_ns % _NS,
            icount=None if s.icount is None else Size(s.icount),
        )
        for s in image.snapshots
    )


# --- discs --------------------------------------------------------------------------------------


@command("eject")
def eject(
    session: Session, device: str | None = None, id_: str | None = None, force: bool = False
) -> None:
    """Take the disc out of a CD drive."""
    place = session.vm.media.find(device, id_)
    session.vm.media.open_tray(place, force=force)
    session.vm.media.take_out(place)


@command("x-change")
def change(session: Session, device: str, filename: str, format: str | None = None) -> None:
    """Put another disc into a CD drive."""
    session.vm.change_disc(device, Path(filename), format)


@command("blockdev-change-medium")
def blockdev_change_medium(
    session: Session,
    filename: str,
    device: str | None = None,
    id_: str | None = None,
    format: str | None = None,
    force: bool = False,
) -> None:
    """Put another disc into a CD drive: open, take out, put in, close."""
    place = session.vm.media.find(device, id_)
    session.vm.media.change(place, Path(session.fd_sets.path(filename)), format, force=force)


@command("blockdev-open-tray")
def blockdev_open_tray(
    session: Session, device: str | None = None, id_: str | None = None, force: bool = False
) -> None:
    """Open the tray of a CD drive."""
    session.vm.media.open_tray(session.vm.media.find(device, id_), force=force)


@command("blockdev-close-tray")
def blockdev_close_tray(
    session: Session, device: str | None = None, id_: str | None = None
) -> None:
    """Close the tray of a CD drive."""
    session.vm.media.close_tray(session.vm.media.find(device, id_))


@command("blockdev-remove-medium")
def blockdev_remove_medium(session: Session, id_: str) -> None:
    """Take the disc out of an open tray."""
    session.vm.media.take_out(session.vm.media.find(None, id_))


@command("blockdev-insert-medium")
def blockdev_insert_medium(session: Session, id_: str, node_name: str) -> None:
    """Put an image of blockdev-add into an open, empty tray."""
    session.vm.media.put_in(session.vm.media.find(None, id_), node_name)
