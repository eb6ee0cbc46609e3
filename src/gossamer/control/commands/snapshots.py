"""Commands that save the machine inside its disks or in files, and go back."""

from __future__ import annotations

from pathlib import Path

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.block import Qcow2Image
from gossamer.control.commands.table import command
from gossamer.control.session import Session
from gossamer.control.snapshots import SnapshotEntry
from gossamer.control.steps import Steps
from gossamer.control.vm import Vm
from gossamer.migrate.container_writer import Written


def free_tag(vm: Vm) -> str:
    """The first of vm1, vm2, … that no snapshot has."""
    taken = {snapshot.tag for snapshot in vm.snapshots()}
    return next(f"vm{n}" for n in range(1, len(taken) + 2) if f"vm{n}" not in taken)


def checked_tag(tag: str) -> str:
    """A snapshot's name, so that it can be shown, stored and typed again."""
    if not 0 < len(tag.encode()) <= 255 or not tag.isprintable():
        raise ConfigError(f"a snapshot's name has 1 to 255 printable bytes, got {tag!r}")
    return tag


class Saved(Data):
    """A snapshot that was made; `chosen`: its tag was chosen here."""

    tag: str
    chosen: bool


@command("x-savevm")
def savevm(session: Session, tag: str | None = None, form: str = "") -> Steps[Saved]:
    """Save the machine as a snapshot; FORM: for QEMU's loadvm, as qemu-7.2."""
    name = free_tag(session.vm) if tag is None else checked_tag(tag)
    yield from session.vm.saving_vm(name, form)
    return Saved(name, chosen=tag is None)


@command("x-loadvm")
def loadvm(session: Session, tag: str, clock: str = "freeze") -> Steps[None]:
    """Go back to a snapshot; CLOCK: freeze, continue, step."""
    return session.vm.loading_vm(tag, clock)


@command("x-delvm")
def delvm(session: Session, tag: str) -> Steps[None]:
    """Remove a snapshot."""
    return session.vm.deleting_vm(tag)


@command("x-query-snapshots")
def query_snapshots(session: Session) -> tuple[SnapshotEntry, ...]:
    """Saved states."""
    return tuple(session.vm.snapshots())


@command("x-save")
def save(session: Session, file: str) -> Steps[Written]:
    """Save the machine in a file."""
    return session.vm.saving_file(Path(file))


@command("x-load")
def load(session: Session, file: str) -> Steps[None]:
    """Load the machine from a file."""
    return session.vm.loading_file(Path(file))


class LastSave(Data):
    """What the last save cost, if there was one."""

    cost: Written | None = None


@command("x-query-save", held=True)
def query_save(session: Session) -> LastSave:
    """What the last save cost."""
    return LastSave(session.vm.last_save)


# --- as jobs ------------------------------------------------------------------------------------


def _on(vm: Vm, devices: tuple[str, ...]) -> list[Qcow2Image]:
    """The images that are named; ConfigError for one that cannot keep a snapshot."""
    vm.take_back_disks()  # before the machine runs they are only looked at
    named = {disk.name: disk.image for disk in vm.disks}
    found: list[Qcow2Image] = []
    for name in devices:
        image = named.get(name)
        if image is None:
            raise ConfigError(f"No block device node '{name}'")
        if not isinstance(image, Qcow2Image) or image.read_only:
            raise ConfigError(f"Device '{name}' is writable but does not support snapshots")
        found.append(image)
    return found


def _tagged(images: list[Qcow2Image], tag: str) -> list[bool]:
    return [any(s.name == tag for s in image.snapshots) for image in images]


@command("snapshot-save")
def snapshot_save(
    session: Session, job_id: str, tag: str, vmstate: str, devices: tuple[str, ...]
) -> None:
    """Begin a job that saves the machine as a snapshot on the devices."""
    vm = session.vm

    def work() -> Steps[None]:
        images = _on(vm, devices)
        if any(_tagged(images, checked_tag(tag))):
            raise ConfigError(f"Snapshot '{tag}' already exists in one or more devices")
        if vmstate not in devices:
            raise ConfigError(f"vmstate block device '{vmstate}' does not exist")
        left = [d.name for d in vm.disks.writable if d.name not in devices]
        if left:
            raise ConfigError(f"devices: {', '.join(left)} is writable and would not go along")
        yield from vm.saving_vm(tag)

    session.spawn(session.jobs.begin(job_id, "snapshot-save", work))


@command("snapshot-load")
def snapshot_load(
    session: Session, job_id: str, tag: str, vmstate: str, devices: tuple[str, ...]
) -> None:
    """Begin a job that goes back to a snapshot."""
    vm = session.vm

    def work() -> Steps[None]:
        images = _on(vm, (*devices, vmstate))
        if not all(_tagged(images, tag)):
            raise ConfigError(f"Snapshot '{tag}' does not exist in one or more devices")
        yield from vm.loading_vm(tag)

    session.spawn(session.jobs.begin(job_id, "snapshot-load", work))


@command("snapshot-delete")
def snapshot_delete(session: Session, job_id: str, tag: str, devices: tuple[str, ...]) -> None:
    """Begin a job that removes a snapshot."""
    vm = session.vm

    def work() -> Steps[None]:
        if any(_tagged(_on(vm, devices), tag)):
            yield from vm.deleting_vm(tag)

    session.spawn(session.jobs.begin(job_id, "snapshot-delete", work))
