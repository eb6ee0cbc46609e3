"""Commands for drives and what is in them."""

from __future__ import annotations

from pathlib import Path

from gossamer.control.commands.table import command
from gossamer.control.drive_state import DriveState, drive_states
from gossamer.control.session import Session


@command("x-query-drives", held=True)
def query_drives(session: Session) -> tuple[DriveState, ...]:
    """The drives and what is in them."""
    return drive_states(session.vm)


@command("eject")
def eject(session: Session, device: str, force: bool = False) -> None:
    """Take the disc out of a CD drive."""
    session.vm.eject(device, force=force)


@command("x-change")
def change(session: Session, device: str, filename: str, format: str | None = None) -> None:
    """Put another disc into a CD drive."""
    session.vm.change_disc(device, Path(filename), format)
