"""Saving a machine together with what is on its disks; finding and forgetting such saves.

A snapshot (`savevm`) lives in the first writable qcow2 image; without one it is a file of
`control.snapshots`.  A save file (`save`) names an internal snapshot of each qcow2 disk and an
entry in the undo log of each raw one, and carries temporary overlays.  docs/disks.md says what is
where and in which order it is written; `control.disk_restore` goes back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gossamer.base.data import replace
from gossamer.base.errors import ConfigError, GossamerError, there_is
from gossamer.base.version import VERSION
from gossamer.block import Capture, FolderDisc, OverlayImage, Qcow2Image, Snapshot, VmstateWriter
from gossamer.control import disk_capture
from gossamer.control.disks import Disk
from gossamer.control.fitted import fitted
from gossamer.control.globalstate import GlobalState
from gossamer.control.handover import cut_for, settle
from gossamer.control.placed import (
    FileTarget,
    Standing,
    Target,
    VmstateTarget,
    mark_saved,
    write_machine,
)
from gossamer.control.runner import Runner
from gossamer.control.snapshots import SnapshotEntry
from gossamer.control.stream_out import Extra, Out, save_stream
from gossamer.core import host
from gossamer.machines.stored import stored
from gossamer.migrate.area import Area
from gossamer.migrate.container import open_container
from gossamer.migrate.container_meta import DiskMeta, Meta
from gossamer.migrate.container_writer import ContainerWriter, FrameWriter, Written
from gossamer.migrate.releases import Release, release
from gossamer.state.transfer import OURS as OURS_PROFILE
from gossamer.state.transfer import Profile

OVERLAY: Final = "overlay"
SNAPSHOT: Final = "snapshot:"
UNDO: Final = "undo:"
Captures = Mapping[str, Capture]
"""By the disk's key."""


# --- writing --------------------------------------------------------------------------------------


def _meta(vm: Runner, name: str, date_ns: int, disks: Sequence[DiskMeta]) -> Meta:
    return Meta(
        machine=vm.config.machine,
        machine_version=vm.config.version,
        ram_size=vm.config.ram_size,
        created_ns=date_ns,
        icount=vm.instructions,
        name=name,
        gossamer=VERSION,
        clock_ns=vm.clock_ns,
        disks=tuple(disks),
        devices=fitted(vm.machine),
        hardware=stored(replace(vm.config, boot_once=vm.machine.hardware.boot_once)),
        discs=tuple(f"{key}: {value}" for key, value in sorted(made_discs(vm).items())),
    )


def made_discs(vm: Runner) -> dict[str, str]:
    """Hash of what is on each disc that was made of a folder, by its key."""
    discs = [disk for disk in vm.disks if isinstance(disk.image, FolderDisc)]
    return {disk.key: disk.image.content_hash() for disk in discs}


def _disk_metas(vm: Runner, label: str, captures: Captures) -> list[DiskMeta]:
    """What a save says of the writable disks; `label`: the snapshot that qcow2 images got."""
    return [
        DiskMeta(
            disk.key,
            disk.image.size,
            disk.image.format,
            str(disk.image.path.absolute()),
            _identity(disk, label, captures),
        )
        for disk in vm.disks.writable
    ]


def _identity(disk: Disk, label: str, captures: Captures) -> str:
    if isinstance(disk.image, Qcow2Image):
        return SNAPSHOT + label
    kept = captures[disk.key].id
    return UNDO + kept if kept else OVERLAY


@contextmanager
def _captured(vm: Runner, owner: str) -> Iterator[Captures]:
    """What the disks without internal snapshots hold, for the save that `owner` names.

    When the body fails, their undo logs forget it; else what `owner` had before.
    """
    captures: dict[str, Capture] = {}
    if vm.disks.captured:
        vm.progress.phase("disks")
    try:
        for disk, image in vm.disks.captured:
            captures[disk.key] = image.capture(owner)
        yield captures
    except BaseException:
        for disk, raw in vm.disks.raw:
            if disk.key in captures:
                with contextlib.suppress(GossamerError):
                    raw.forget(captures[disk.key].id)
        raise
    for disk, raw in vm.disks.raw:
        with contextlib.suppress(GossamerError):  # it takes room until the next save
            raw.forget_all_of(owner, but=captures[disk.key].id)


def _write_stream(vm: Runner, out: Out, profile: Profile = OURS_PROFILE) -> None:
    extra = Extra("globalstate", GlobalState(vm.run_state))
    save_stream(vm.machine, out, extra, profile, carried=vm.carried, progress=vm.progress)


def _write_all(vm: Runner, out: FrameWriter, captures: Captures) -> None:
    _write_stream(vm, out)
    _write_disks(vm, out, captures)


def _write_machine(
    vm: Runner, meta: Meta, target: Target, before: Area | None = None
) -> tuple[FrameWriter, Area]:
    extra = Extra("globalstate", GlobalState(vm.run_state))
    return write_machine(
        vm.machine,
        meta,
        target,
        extra,
        carried=vm.carried,
        before=before,
        progress=vm.progress,
    )


def _write_disks(vm: Runner, out: FrameWriter, captures: Captures) -> None:
    overlays = [one.image for one in vm.disks.writable if isinstance(one.image, OverlayImage)]
    if overlays:
        vm.progress.phase("disks", sum(image.changed_bytes for image in overlays))
    for key, capture in captures.items():
        out.disk(key, counted(vm, disk_capture.packed(capture)))


def counted(vm: Runner, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks of a disk, counted by `vm.progress` as they are taken."""
    for chunk in chunks:
        yield chunk
        vm.progress.advance(len(chunk))


def save_file(vm: Runner, path: Path | str, name: str = "", *, placed: bool = False) -> Written:
    """Write a save file; qcow2 disks keep their part in an internal snapshot of their own.

    `placed`: memory lies at fixed places of it, so that a load need not read it first; else it is
    compressed.

    The snapshots of a save file that this one replaces are deleted afterwards.
    """
    date = host.utc_ns()
    label = f"save {host.random_bytes(8).hex()}" if vm.disks.qcow2 else ""
    replaced = _labels_in(Path(path)) if label else set()
    owner = str(Path(path).absolute())
    with _new_snapshots(vm, vm.disks.qcow2, label, date), _captured(vm, owner) as captures:
        meta = _meta(vm, name, date, _disk_metas(vm, label, captures))
        with ContainerWriter(path, meta, packs=not placed, placed=placed) as out:
            if placed:
                _write_machine(vm, meta, FileTarget(out))
                _write_disks(vm, out, captures)
            else:
                _write_all(vm, out, captures)
            vm.progress.phase("writing out")
            written = out.commit()
    for _, image in vm.disks.qcow2:
        for old in replaced:
            forget(image, old)
    return written


def _labels_in(path: Path) -> set[str]:
    """The snapshots that an existing save file needs."""
    with contextlib.suppress(GossamerError), open_container(path, verify=False) as container:
        names = [d.identity for d in container.meta.disks]
        return {n.removeprefix(SNAPSHOT) for n in names if n.startswith(SNAPSHOT)}
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
                forget(image, label)
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


def savevm(vm: Runner, name: str, *, settled: bool = False) -> Written:
    """Save as snapshot `name`, in place of one of that name.

    `settled`: the guest has run on already to where another receiver can take it over.

    The disks of one save are recognised by the date they share: killed anywhere, the old snapshot
    is whole on all of them, or the new one is.
    """
    disks = vm.disks.qcow2
    if not disks:
        path = vm.snapshot_store.path(name, make=True)
        _check_whose(vm, path)
        return save_file(vm, path, name, placed=True)
    (_, first), *others = disks
    date, before = host.utc_ns(), _synced_ns(vm)
    fresh = [one for one in others if not named(one[1], name)]
    standing = [one for one in others if named(one[1], name)]
    interim = f"{name} {date}"
    with (
        _new_snapshots(vm, fresh, name, date),
        _new_snapshots(vm, standing, interim, date),
        _captured(vm, _owner(first, name)) as captures,
        first.vmstate_writer() as state,
    ):
        meta = _meta(vm, name, date, _disk_metas(vm, name, captures))
        written, area = _write_vmstate(vm, first, state, meta, captures, settled=settled)
        vm.progress.phase("writing out")
        made = first.create_snapshot(
            name, state, vm_clock_ns=vm.clock_ns, date_ns=date, icount=_icount(vm), replaces=True
        )
    if area is not None:
        vm.standing_save = Standing(vm.machine, first, made.id, date, area)
        mark_saved(vm.machine)
    for _, image in standing:
        _take(vm, image, name, date, replaces=True)
        forget(image, interim)
    return replace(written, fsync_ns=_synced_ns(vm) - before)


def _owner(image: Qcow2Image, name: str) -> str:
    """What the undo logs of raw disks call a snapshot in an image."""
    return f"{image.path.absolute()}@{name}"


def _synced_ns(vm: Runner) -> int:
    """How long the qcow2 images have waited for their medium since they were opened."""
    return sum(image.file.sync_ns for _, image in vm.disks.qcow2)


def _write_vmstate(
    vm: Runner,
    image: Qcow2Image,
    out: VmstateWriter,
    meta: Meta,
    captures: Captures,
    *,
    settled: bool,
) -> tuple[Written, Area | None]:
    """The machine at fixed places; for another receiver the bare stream that it expects."""
    to = release(vm.wire_profile)
    if to.ours:
        target = VmstateTarget(image, out, vm.standing_save)
        frames, area = _write_machine(vm, meta, target, target.before)
        _write_disks(vm, frames, captures)
        written = frames.end()
        target.finish()
        return written, area
    if captures:
        keys = ", ".join(disk.name for disk, _ in vm.disks.captured)
        raise ConfigError(f"{keys}: {to.title} keeps no snapshots of raw disks; use qcow2")
    if not settled:
        settle_here(vm, to)
    counted = _Counted(out)
    _write_stream(vm, counted, cut_for(vm.machine, to, keep_tb=vm.keep_tb).profile)
    return Written(counted.size, 0, counted.size, 0), None


def settle_here(vm: Runner, to: Release) -> None:
    """Run the guest on to where `to` can take it over; its run state stays as it is."""
    state = vm.run_state
    settle(vm, to)
    vm.run_state = state


class _Counted:
    """Counts what it passes on."""

    def __init__(self, out: VmstateWriter) -> None:
        self._out, self.size = out, 0

    def write(self, data: bytes | memoryview, /) -> None:
        self._out.write(data)
        self.size += len(data)


# --- finding --------------------------------------------------------------------------------------


def named(image: Qcow2Image, name: str) -> Snapshot | None:
    return next((s for s in image.snapshots if s.name == name), None)


def forget(image: Qcow2Image, name: str) -> bool:
    """Delete the snapshot called so, if there is one: by its id, which may be another's name."""
    found = named(image, name)
    if found is not None:
        image.delete_snapshot(found.id)
    return found is not None


def with_state(vm: Runner, name: str) -> tuple[Qcow2Image, Snapshot] | None:
    """Where the machine of snapshot `name` is; by its tag alone, as QEMU's loadvm."""
    found = (
        (image, snapshot)
        for _, image in vm.disks.qcow2
        for snapshot in image.snapshots
        if snapshot.vmstate_size and snapshot.name == name
    )
    return next(found, None)


def entries(vm: Runner) -> list[SnapshotEntry]:
    """Everything that `loadvm` can go back to."""
    found = [
        SnapshotEntry(s.id, s.name, image.vmstate_bytes(s), s.date_ns, s.vm_clock_ns, s.icount)
        for image, s in vm.disks.snapshots
        if s.vmstate_size
    ]
    return found + list(vm.snapshot_store.entries())


def delvm(vm: Runner, name: str) -> None:
    """Forget a snapshot, on every disk that has it; the machine's state goes first."""
    owners = []
    for _, image in vm.disks.qcow2:
        while forget(image, name):
            owners.append(_owner(image, name))
    if not owners:
        path = existing(vm, name)
        _check_whose(vm, path)
        path.unlink()
        owners.append(str(path.absolute()))
    for _, raw in vm.disks.raw:
        for owner in owners:
            raw.forget_all_of(owner)


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


def existing(vm: Runner, name: str) -> Path:
    """The file of snapshot `name`; ConfigError says what there is, in images too."""
    tags = [e.tag for e in entries(vm)]
    if name not in tags:
        raise ConfigError(f"no snapshot {name!r} ({there_is(tags)})")
    return vm.snapshot_store.existing(name)
