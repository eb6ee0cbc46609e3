"""Going back to a save: the machine and what was on its disks, all of it or nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Final, cast

from gossamer.base.data import replace
from gossamer.base.errors import ConfigError, GossamerError
from gossamer.block import Going, ImageError, Qcow2Image, Snapshot
from gossamer.control import disk_capture
from gossamer.control.disk_state import (
    SNAPSHOT,
    UNDO,
    counted,
    existing,
    forget,
    made_discs,
    named,
    with_state,
)
from gossamer.control.fitted import check_fitted
from gossamer.control.hotplug import as_saved
from gossamer.control.loading import Arrived, fit, read_machine
from gossamer.control.placed import Standing, mark_saved, settle_memory
from gossamer.control.restore_clock import FREEZE, check_policy, pass_downtime
from gossamer.control.runner import Runner
from gossamer.control.steps import InThread, Steps
from gossamer.core import host
from gossamer.machines.build import build
from gossamer.machines.config import Config
from gossamer.machines.machine import Machine
from gossamer.migrate.area import Area
from gossamer.migrate.container import Container, open_container
from gossamer.migrate.container_frame import MAGIC, MAGICS
from gossamer.migrate.container_meta import DiskMeta

Source = tuple[Qcow2Image, Snapshot]
_BEFORE: Final = "gossamer: before loadvm"
_KEPT_RUNNING: Final = ("running", "prelaunch")


def loading_vm(vm: Runner, name: str, clock: str = FREEZE) -> Steps[None]:
    """Go back to snapshot `name`; whether the machine runs stays as it is."""
    check_policy(clock)
    found = with_state(vm, name)
    if found is None:
        state = yield from loading_file(vm, existing(vm, name), clock)
    else:
        image, snapshot = found
        # By the id: a name that looks like a number could be another's id.
        with image.open_vmstate(snapshot.id) as file:
            where = f"{image.path}@{snapshot.name}"
            state = yield from _load_vmstate(vm, file, where, (image, snapshot), clock)
    vm.run_state = state if state in _KEPT_RUNNING else "paused"
    if vm.run_state == "running":
        vm.cont()  # requests that an error of the host had stopped are tried again


def _load_vmstate(vm: Runner, file: BinaryIO, label: str, source: Source, clock: str) -> Steps[str]:
    is_ours = file.read(len(MAGIC)) in MAGICS
    file.seek(0)
    if is_ours:
        container = Container(file, label, verify=False)
        return (yield from _restore(vm, container, clock, source))
    snapshot = source[1]
    if vm.disks.captured:
        keys = ", ".join(disk.name for disk, _ in vm.disks.captured)
        raise ConfigError(
            f"{label}: has nothing for {keys}, which are writable; use qcow2 for them"
        )
    going = _snapshots_of(vm, snapshot.name, snapshot.date_ns)
    state = yield from _take_on(vm, file, going, list, vm.config)
    pass_downtime(vm.machine, clock, host.utc_ns() - snapshot.date_ns)
    return state


def loading_file(vm: Runner, path: Path | str, clock: str = FREEZE) -> Steps[str]:
    """Take on the state of a save file, disks included; on an error all stays as it was.

    Gives the run state that the machine had until then.
    """
    check_policy(clock)
    with open_container(path, verify=False) as container:
        return (yield from _restore(vm, container, clock))


def _restore(
    vm: Runner, container: Container, clock: str, source: Source | None = None
) -> Steps[str]:
    meta = container.meta
    for what, got, mine in (
        ("machine", meta.machine, vm.config.machine),
        ("RAM in bytes", meta.ram_size, vm.config.ram_size),
    ):
        if got != mine:
            raise ConfigError(f"{container.path}: {what}: expected {mine}, got {got}")
    _check_disks(vm, container)
    config = as_saved(vm.config, meta.hardware, container.path) if meta.hardware else vm.config
    into = build(config, arrives=True) if config is not vm.config else None
    if meta.devices:  # a save from before they were noted has none
        check_fitted(container.path, meta.devices, into or vm.machine)
    going = list[tuple[Qcow2Image, Snapshot]]()
    for one in meta.disks:
        if one.identity.startswith(SNAPSHOT):
            disk = vm.disks.at[_index(one)]
            image = cast(Qcow2Image, disk.image)
            label = one.identity.removeprefix(SNAPSHOT)
            going.append((image, _of_date(image, label, meta.created_ns, disk.name)))
    state = yield from _take_on(
        vm, container.read_stream(), going, lambda: _prepared(vm, container), config, into
    )
    if container.area is not None:
        _keep_in_mind(vm, container.area, source)
    if meta.hardware and not meta.hardware.get("boot_once"):
        vm.machine.booted()
    pass_downtime(vm.machine, clock, host.utc_ns() - meta.created_ns)
    return state


def _keep_in_mind(vm: Runner, area: Area, source: Source | None) -> None:
    """Let memory become the machine's own; the next snapshot writes what changes from here on."""
    if source is None:
        settle_memory(vm.machine.arena, None)
        return
    image, snapshot = source
    settle_memory(vm.machine.arena, image.pin)
    vm.standing_save = Standing(vm.machine, image, snapshot.id, snapshot.date_ns, area)


def _index(meta: DiskMeta) -> int:
    digits = meta.name.removeprefix("drive")
    return int(digits) if digits.isdecimal() and digits.isascii() and len(digits) < 3 else -1


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
        before = "snapshots" if meta.identity.startswith(SNAPSHOT) else "an overlay"
        if kept != before:
            raise ConfigError(
                f"{container.path}: {disk.name} was saved in {before}, now it has {kept}"
            )
        # A qcow2 image takes the size it had; an overlay checks its own.
    _check_discs(vm, container)


def _check_discs(vm: Runner, container: Container) -> None:
    """A disc made of a folder is what it was: the guest has read of it, and will read on."""
    saved = dict(one.partition(": ")[::2] for one in container.meta.discs)
    for key, found in made_discs(vm).items():
        if found != saved.get(key, found):
            path = next(disk.image.path for disk in vm.disks if disk.key == key)
            raise ConfigError(
                f"{container.path}: {key}: the folder {path} makes another disc now: its sum was "
                f"{saved[key]}, it is {found}; without it in the drive this can be loaded"
            )


def _snapshots_of(vm: Runner, name: str, date_ns: int) -> list[tuple[Qcow2Image, Snapshot]]:
    return [(image, _of_date(image, name, date_ns, d.name)) for d, image in vm.disks.qcow2]


def _of_date(image: Qcow2Image, name: str, date_ns: int, disk: str) -> Snapshot:
    """The image's part of a save: by the date, which all parts share."""
    for snapshot in image.snapshots:
        if snapshot.date_ns == date_ns:
            return snapshot
    if named(image, name) is None:
        raise ImageError(image.path, f"{disk} has no snapshot {name!r}")
    raise ImageError(image.path, f"{disk}: snapshot {name!r} belongs to another save")


def _prepared(vm: Runner, container: Container) -> list[Going]:
    """What the save holds of disks without internal snapshots, checked and unpacked."""
    made: list[Going] = []
    identities = {meta.name: meta.identity for meta in container.meta.disks}
    if vm.disks.captured:
        total = sum(container.disk_size(disk.key) for disk, _ in vm.disks.captured)
        vm.progress.phase("disks", total)
    try:
        for disk, image in vm.disks.captured:
            chunks = counted(vm, container.read_disk(disk.key))
            capture = disk_capture.unpacked(chunks, container.path)
            identity = identities[disk.key]
            if identity.startswith(UNDO):
                capture = replace(capture, id=identity.removeprefix(UNDO))
            made.append(image.prepare(capture))
    except BaseException:
        for going in made:
            going.close()
        raise
    return made


def _take_on(
    vm: Runner,
    file: object,
    snapshots: Sequence[tuple[Qcow2Image, Snapshot]],
    prepare: Callable[[], list[Going]],
    config: Config,
    into: Machine | None = None,
) -> Steps[str]:
    """Load the machine, then turn the disks back, then let it run: each can still refuse.

    A thread does what takes long.  Gives the run state that the machine had until then.
    """
    fresh = into or vm.unused() or build(config, arrives=True)
    prepared: list[Going] = []

    def read() -> Arrived:
        prepared.extend(prepare())
        arrived = read_machine(fresh, cast(BinaryIO, file), vm.progress)
        mark_saved(fresh)
        return arrived

    try:
        arrived: Arrived = yield InThread(read)
        lines = fit(vm, arrived, mend=vm.mends)
        yield InThread(_going_back(vm, snapshots, prepared))
    finally:
        for going in prepared:
            going.close()
    state, vm.config, vm.repairs = vm.run_state, config, lines
    vm.adopt(arrived.machine, arrived.run_state, arrived.loaded.carried)
    return state


def _going_back(
    vm: Runner, snapshots: Sequence[tuple[Qcow2Image, Snapshot]], prepared: Sequence[Going]
) -> Callable[[], None]:
    """Turn all images back, or (where one fails) none."""
    several = len(snapshots) + len(prepared) > 1

    def apply() -> None:
        undo: list[Qcow2Image] = []
        if snapshots or prepared:
            vm.progress.phase("disks")
        try:
            with contextlib.ExitStack() as failed:
                for going in prepared:
                    going.apply()
                    failed.callback(going.take_back)
                for image, snapshot in snapshots:
                    if several:
                        image.create_snapshot(_BEFORE, vm_clock_ns=0, date_ns=0, replaces=True)
                        undo.append(image)
                    image.apply_snapshot(snapshot.id)
                    failed.callback(_apply_before, image)
                for going in prepared:
                    going.confirm()
                failed.pop_all()
        finally:
            for image in undo:
                with contextlib.suppress(GossamerError):
                    forget(image, _BEFORE)

    return apply


def _apply_before(image: Qcow2Image) -> None:
    before = named(image, _BEFORE)
    if before is not None:
        image.apply_snapshot(before.id)
