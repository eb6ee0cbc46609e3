"""Commands that save the machine inside its disks or in files, and go back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gossamer.base.errors import ConfigError
from gossamer.control.commands.table import command
from gossamer.control.session import Session
from gossamer.control.snapshots import SnapshotEntry
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


@dataclass(frozen=True, slots=True)
class Saved:
    """A snapshot that was made; `chosen`: its tag was chosen here."""

    tag: str
    chosen: bool


@command("x-savevm")
def savevm(session: Session, tag: str | None = None, form: str = "") -> Saved:
    """Save the machine as a snapshot; FORM: for QEMU's loadvm, as qemu-7.2."""
    name = free_tag(session.vm) if tag is None else checked_tag(tag)
    session.vm.savevm(name, form)
    return Saved(name, chosen=tag is None)


@command("x-loadvm")
def loadvm(session: Session, tag: str, clock: str = "freeze") -> None:
    """Go back to a snapshot; CLOCK: freeze, continue, step."""
    session.vm.loadvm(tag, clock)


@command("x-delvm")
def delvm(session: Session, tag: str) -> None:
    """Remove a snapshot."""
    session.vm.delvm(tag)


@command("x-query-snapshots")
def query_snapshots(session: Session) -> tuple[SnapshotEntry, ...]:
    """Saved states."""
    return tuple(session.vm.snapshots())


@command("x-save")
def save(session: Session, file: str) -> Written:
    """Save the machine in a file."""
    return session.vm.save(Path(file))


@command("x-load")
def load(session: Session, file: str) -> None:
    """Load the machine from a file."""
    session.vm.restore(Path(file))


@command("x-query-save", held=True)
def query_save(session: Session) -> Written | None:
    """What the last save cost."""
    return session.vm.last_save
