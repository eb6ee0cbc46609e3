"""Saving a machine together with what is on its disks, and going back to both.

A snapshot (`savevm`) lives in the first writable qcow2 image; without one it is a file of
`control.snapshots`.  A save file (`save`) carries the overlays of raw disks, and names an internal
snapshot of each qcow2 one.  docs/disks.md tells what is where and in which order it is written.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final, cast

import gossamer
from gossamer.base.errors import ConfigError, GossamerError
from gossamer.block import ImageError, OverlayImage, Qcow2Image, Snapshot
from gossamer.block.overlay import Prepared
from gossamer.control import disk_capture
from gossamer.control.disks import Disk
from gossamer.control.fitted import check_fitted, fitted
from gossamer.control.globalstate import GlobalState
from gossamer.control.handover import cut_for, settle
from gossamer.control.loading import take_over
from gossamer.control.restore_clock import FREEZE, check_policy, pass_downtime
from gossamer.control.runner import Runner
from gossamer.control.snapshots import SnapshotEntry
from gossamer.control.stream import Extra, Out, save_stream
from gossamer.core import host
from gossamer.machines.stored import stored
from gossamer.migrate.container import Container, open_container
from gossamer.migrate.container_frame import MAGIC
from gossamer.migrate.container_meta import DiskMeta, Meta
from gossamer.migrate.container_writer import ContainerWriter, FrameWriter, Written
from gossamer.migrate.releases import release
from gossamer.state.transfer import OURS as OURS_PROFILE
from gossamer.state.transfer import Profile

OVERLAY: Final = "overlay"
_SNAPSHOT: Final = "snapshot:"
_UNDO: Final = "gossamer: before loadvm"
_KEPT_RUNNING: Final = ("running", "prelaunch")


# --- writing --------------------------------------------------------------------------------------


def _meta(vm: Runner, name: str, date_ns: int, disks: Sequence[DiskMeta]) -> Meta:
    return Meta(
        machine=vm.config.machine,
        machine_version=vm.config.version,
        ram_size=vm.config.ram_size,
        created_ns=date_ns,
        icount=vm.instructions,
        name=name,
        gossamer=gossamer.__version__,
        clock_ns=vm.clock_ns,
        disks=tuple(disks),
        devices=fitted(vm.machine),
        hardware=stored(replace(vm.config, boot_once=vm.machine.hardware.boot_once)),
    )


def _disk_metas(vm: Runner, label: str) -> list[DiskMeta]:
    """What a save says of the writable disks; `label`: the snapshot that qcow2 images got."""
    return [
        DiskMeta(
            disk.key,
            disk.image.size,
            disk.image.format,
            str(disk.image.path.absolute()),
            _SNAPSHOT + label if isinstance(disk.image, Qcow2Image) else OVERLAY,
        )
        for disk in vm.disks.writable
    ]


def _write_stream(vm: Runner, out: Out, profile: Profile = OURS_PROFILE) -> None:
    extra = Extra("globalstate", GlobalState(vm.run_state))
    save_stream(vm.machine, out, extra, profile, carried=vm.carried, progress=vm.progress)


def _write_all(vm: Runner, out: FrameWriter) -> None:
    _write_stream(vm, out)
    if vm.disks.overlays:
        vm.progress.phase("disks", sum(image.changed_bytes for _, image in vm.disks.overlays))
    for disk, image in vm.disks.overlays:
        out.disk(disk.key, _told(vm, disk_capture.packed(image.capture())))


def _told(vm: Runner, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks of a disk, as they are taken."""
    for chunk in chunks:
        yield chunk
        vm.progress.advance(len(chunk))


def save_file(vm: Runner, path: Path | str, name: str = "") -> Written:
    """Write a save file; qcow2 disks keep their part in an internal snapshot of their own.

    The snapshots of a save file that this one replaces are deleted afterwards.
    """
    date = host.utc_ns()
    label = f"save {host.random_bytes(8).hex()}" if vm.disks.qcow2 else ""
    replaced = _labels_in(Path(path)) if label else set()
    with _new_snapshots(vm, vm.disks.qcow2, label, date):
        meta = _meta(vm, name, date, _disk_metas(vm, label))
        with ContainerWriter(path, meta) as out:
            _write_all(vm, out)
            vm.progress.phase("writing out")
            written = out.commit()
    for _, image in vm.disks.qcow2:
        for old in replaced:
            _forget(image, old)
    return written


def _labels_in(path: Path) -> set[str]:
    """The snapshots that an existing save file needs."""
    with contextlib.suppress(GossamerError), open_container(path, verify=False) as container:
        names = [d.identity for d in container.meta.disks]
        return {n.removeprefix(_SNAPSHOT) for n in names if n.startswith(_SNAPSHOT)}
    return set()


@contextmanager
def _new_snapshots(
    vm: Runner, disks: Sequence[tuple[Disk, Qcow2Image]], label: str, date_ns: int
) -> Iterator[None]:
    """Give each image a snapshot without machine state, taken back when the body fails."""
    done: list[Qcow2Image] = []
    if disks:
        vm.progress.phase("disks")
    try:
        for _, image in disks:
            _take(vm, image, label, date_ns)
            done.append(image)
        yield
    except BaseException:
        for image in done:
            with contextlib.suppress(GossamerError):
                _forget(image, label)
        raise


def _take(
    vm: Runner, image: Qcow2Image, label: str, date_ns: int, *, replaces: bool = False
) -> None:
    image.create_snapshot(
        label,
        vm_clock_ns=vm.clock_ns,
        date_ns=date_ns,
        icount=_icount(vm),
        replaces=replaces,
    )


def _icount(vm: Runner) -> int | None:
    """QEMU counts instructions under -icount only."""
    return vm.instructions if vm.config.icount is not None else None


def savevm(vm: Runner, name: str) -> Written:
    """Save as snapshot `name`, in place of one of that name.

    All disks are told apart by the date they share: killed anywhere, the old snapshot is whole on
    all of them, or the new one is.
    """
    disks = vm.disks.qcow2
    if not disks:
        path = vm.snapshot_store.path(name, make=True)
        _check_whose(vm, path)
        return save_file(vm, path, name)
    (_, first), *others = disks
    date, before = host.utc_ns(), _synced_ns(vm)
    fresh = [one for one in others if not _named(one[1], name)]
    standing = [one for one in others if _named(one[1], name)]
    interim = f"{name} {date}"
    with (
        _new_snapshots(vm, fresh, name, date),
        _new_snapshots(vm, standing, interim, date),
        first.vmstate_writer() as state,
    ):
        written = _write_vmstate(vm, state, name, date)
        vm.progress.phase("writing out")
        first.create_snapshot(
            name, state, vm_clock_ns=vm.clock_ns, date_ns=date, icount=_icount(vm), replaces=True
        )
    for _, image in standing:
        _take(vm, image, name, date, replaces=True)
        _forget(image, interim)
    return replace(written, fsync_ns=_synced_ns(vm) - before)


def _synced_ns(vm: Runner) -> int:
    """How long the qcow2 images have waited for their medium since they were opened."""
    return sum(image.file.sync_ns for _, image in vm.disks.qcow2)


def _write_vmstate(vm: Runner, out: BinaryIO | object, name: str, date_ns: int) -> Written:
    """The machine, in our frames; for another receiver the bare stream that it expects."""
    target = cast(BinaryIO, out)
    to = release(vm.wire_profile)
    if to.ours:
        frames = FrameWriter(target.write, _meta(vm, name, date_ns, _disk_metas(vm, name)))
        _write_all(vm, frames)
        return frames.end()
    if vm.disks.overlays:
        keys = ", ".join(disk.name for disk, _ in vm.disks.overlays)
        raise ConfigError(f"{keys}: {to.title} keeps no snapshots of raw disks; use qcow2")
    state = vm.run_state
    settle(vm, to)
    vm.run_state = state
    counted = _Counted(target)
    _write_stream(vm, counted, cut_for(vm.machine, to, keep_tb=vm.keep_tb).profile)
    return Written(counted.size, 0, counted.size, 0)


class _Counted:
    """Counts what it passes on."""

    def __init__(self, out: BinaryIO) -> None:
        self._out, self.size = out, 0

    def write(self, data: bytes | memoryview, /) -> None:
        self._out.write(data)
        self.size += len(data)


# --- finding --------------------------------------------------------------------------------------


def _named(image: Qcow2Image, name: str) -> Snapshot | None:
    return next((s for s in image.snapshots if s.name == name), None)


def _forget(image: Qcow2Image, name: str) -> bool:
    """Delete the snapshot called so, if there is one: by its id, which may be another's name."""
    found = _named(image, name)
    if found is not None:
        image.delete_snapshot(found.id)
    return found is not None


def _with_state(vm: Runner, name: str) -> tuple[Qcow2Image, Snapshot] | None:
    """Where the machine of snapshot `name` (or with that id) is."""
    found = [
        (image, snapshot)
        for _, image in vm.disks.qcow2
        for snapshot in image.snapshots
        if snapshot.vmstate_size and name in (snapshot.name, snapshot.id)
    ]
    named = [one for one in found if one[1].name == name]
    return next(iter(named or found), None)


def entries(vm: Runner) -> list[SnapshotEntry]:
    """Everything that `loadvm` can go back to."""
    found = [
        SnapshotEntry(s.id, s.name, s.vmstate_size, s.date_ns, s.vm_clock_ns, s.icount)
        for _, image in vm.disks.qcow2
        for s in image.snapshots
        if s.vmstate_size
    ]
    return found + list(vm.snapshot_store.entries())


def delvm(vm: Runner, name: str) -> None:
    """Forget a snapshot, on every disk that has it; the machine's state goes first."""
    found = False
    for _, image in vm.disks.qcow2:
        while _forget(image, name):
            found = True
    if not found:
        path = _existing(vm, name)
        _check_whose(vm, path)
        path.unlink()


def _check_whose(vm: Runner, path: Path) -> None:
    """ConfigError when the file is a save of a machine with other disks.

    All machines of a kind that have no -name keep their saves in one folder.
    """
    mine = {str(disk.image.path.absolute()) for disk in vm.disks.writable}
    theirs = mine
    with contextlib.suppress(GossamerError), open_container(path, verify=False) as container:
        theirs = {disk.backing for disk in container.meta.disks}
    if theirs != mine:
        listed = ", ".join(sorted(theirs)) or "none"
        raise ConfigError(
            f"{path}: the save of a machine with other disks ({listed}); give this one a -name, "
            "or the save another tag"
        )


def _existing(vm: Runner, name: str) -> Path:
    """The file of snapshot `name`; ConfigError says what there is, in images too."""
    tags = [e.tag for e in entries(vm)]
    if name not in tags:
        raise ConfigError(f"no snapshot {name!r} (there is: {', '.join(tags) or 'none'})")
    return vm.snapshot_store.existing(name)


# --- going back -----------------------------------------------------------------------------------


def loadvm(vm: Runner, name: str, clock: str = FREEZE) -> None:
    """Go back to snapshot `name`; whether the machine runs stays as it is."""
    check_policy(clock)
    state = vm.run_state if vm.run_state in _KEPT_RUNNING else "paused"
    found = _with_state(vm, name)
    if found is None:
        restore_file(vm, _existing(vm, name), clock)
    else:
        image, snapshot = found
        # By the id: a name that looks like a number could be another's id.
        with image.open_vmstate(snapshot.id) as file:
            _load_vmstate(vm, file, f"{image.path}@{snapshot.name}", snapshot, clock)
    vm.run_state = state
    if state == "running":
        vm.cont()  # requests that an error of the host had stopped are tried again


def _load_vmstate(vm: Runner, file: BinaryIO, label: str, snapshot: Snapshot, clock: str) -> None:
    is_ours = file.read(len(MAGIC)) == MAGIC
    file.seek(0)
    if is_ours:
        container = Container(file, label, verify=False)
        _restore(vm, container, clock, snapshot)
        return
    if vm.disks.overlays:
        keys = ", ".join(disk.name for disk, _ in vm.disks.overlays)
        raise ConfigError(f"{label}: has nothing for {keys}, which are writable; add readonly=on")
    _take_on(vm, file, _going_back(vm, _snapshots_of(vm, snapshot.name, snapshot.date_ns)), [])
    pass_downtime(vm.machine, clock, host.utc_ns() - snapshot.date_ns)


def restore_file(vm: Runner, path: Path | str, clock: str = FREEZE) -> None:
    """Take on the state of a save file, disks included; on an error all stays as it was."""
    check_policy(clock)
    with open_container(path, verify=False) as container:
        _restore(vm, container, clock)


def _restore(
    vm: Runner, container: Container, clock: str, snapshot: Snapshot | None = None
) -> None:
    meta = container.meta
    for what, got, mine in (
        ("machine", meta.machine, vm.config.machine),
        ("RAM in bytes", meta.ram_size, vm.config.ram_size),
    ):
        if got != mine:
            raise ConfigError(f"{container.path}: {what}: expected {mine}, got {got}")
    _check_disks(vm, container)
    if meta.devices:  # a save from before they were noted has none
        check_fitted(container.path, meta.devices, vm.machine)
    going = list[tuple[Qcow2Image, Snapshot]]()
    for one in meta.disks:
        if one.identity.startswith(_SNAPSHOT):
            disk = vm.disks.at[_index(one)]
            image = cast(Qcow2Image, disk.image)
            label = one.identity.removeprefix(_SNAPSHOT)
            going.append((image, _of_date(image, label, meta.created_ns, disk.name)))
    _take_on(vm, container.read_stream(), _going_back(vm, going), _overlays(vm, container))
    if meta.hardware and not meta.hardware.get("boot_once"):
        vm.machine.booted()
    pass_downtime(vm.machine, clock, host.utc_ns() - meta.created_ns)


def _index(meta: DiskMeta) -> int:
    digits = meta.name.removeprefix("drive")
    return int(digits) if digits in ("0", "1", "2", "3") else -1


def _check_disks(vm: Runner, container: Container) -> None:
    """The writable disks must be those of the save."""
    saved = {_index(meta): meta for meta in container.meta.disks}
    mine = {disk.index: disk for disk in vm.disks.writable}
    for index in sorted(saved.keys() - mine.keys()):
        raise ConfigError(
            f"{container.path}: {saved[index].name} ({saved[index].backing}) was writable; this "
            "machine has no such disk"
        )
    for index, disk in sorted(mine.items()):
        meta = saved.get(index)
        if meta is None:
            raise ConfigError(f"{container.path}: has nothing for the writable disk {disk.name}")
        kept = "snapshots" if isinstance(disk.image, Qcow2Image) else "an overlay"
        before = "snapshots" if meta.identity.startswith(_SNAPSHOT) else "an overlay"
        if kept != before:
            raise ConfigError(
                f"{container.path}: {disk.name} was saved in {before}, now it has {kept}"
            )
        # A qcow2 image takes the size it had; an overlay checks its own.


def _snapshots_of(vm: Runner, name: str, date_ns: int) -> list[tuple[Qcow2Image, Snapshot]]:
    return [(image, _of_date(image, name, date_ns, d.name)) for d, image in vm.disks.qcow2]


def _of_date(image: Qcow2Image, name: str, date_ns: int, disk: str) -> Snapshot:
    """The image's part of a save: by the date, which all parts share."""
    for snapshot in image.snapshots:
        if snapshot.date_ns == date_ns:
            return snapshot
    if _named(image, name) is None:
        raise ImageError(image.path, f"{disk} has no snapshot {name!r}")
    raise ImageError(image.path, f"{disk}: snapshot {name!r} belongs to another save")


def _overlays(vm: Runner, container: Container) -> list[tuple[OverlayImage, Prepared]]:
    """The overlays of a save, checked and unpacked."""
    made: list[tuple[OverlayImage, Prepared]] = []
    if vm.disks.overlays:
        total = sum(container.disk_size(disk.key) for disk, _ in vm.disks.overlays)
        vm.progress.phase("disks", total)
    try:
        for disk, image in vm.disks.overlays:
            chunks = _told(vm, container.read_disk(disk.key))
            capture = disk_capture.unpacked(chunks, container.path)
            made.append((image, image.prepare(capture)))
    except BaseException:
        for _, prepared in made:
            prepared.close()
        raise
    return made


def _take_on(
    vm: Runner,
    file: object,
    go_back: Callable[[], None],
    overlays: Sequence[tuple[OverlayImage, Prepared]],
) -> None:
    """Load the machine, then turn the disks back, then let it run: each can still refuse."""
    try:
        _, vm.repairs = take_over(
            vm, cast(BinaryIO, file), mend=vm.mends, before=go_back, into=vm.unused()
        )
    except BaseException:
        for _, prepared in overlays:
            prepared.close()
        raise
    for image, prepared in overlays:
        image.adopt(prepared)


def _going_back(vm: Runner, disks: Sequence[tuple[Qcow2Image, Snapshot]]) -> Callable[[], None]:
    """Applies snapshots: to all images, or (where one fails) to none."""

    def apply() -> None:
        undo: list[Qcow2Image] = []
        done: list[Qcow2Image] = []
        if disks:
            vm.progress.phase("disks")
        try:
            for image, snapshot in disks:
                if len(disks) > 1:
                    image.create_snapshot(_UNDO, vm_clock_ns=0, date_ns=0, replaces=True)
                    undo.append(image)
                image.apply_snapshot(snapshot.id)
                done.append(image)
        except BaseException:
            for image in done:
                undone = _named(image, _UNDO)
                if undone is not None:
                    image.apply_snapshot(undone.id)
            raise
        finally:
            for image in undo:
                with contextlib.suppress(GossamerError):
                    _forget(image, _UNDO)

    return apply
