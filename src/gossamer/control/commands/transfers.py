"""Commands that send the machine to another emulator, or take one over."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from gossamer.base.errors import ConfigError, GossamerError
from gossamer.control.commands.table import command
from gossamer.control.receiving import Received
from gossamer.control.sending import Sent
from gossamer.control.session import Session
from gossamer.control.steps import Steps, Waiting


@command("migrate", held=True)
def migrate(
    session: Session, uri: str, detach: bool = True
) -> Generator[Waiting, Any, Sent | None]:
    """Send the machine to another emulator; with -d others are served meanwhile."""
    if session.vm.run_state == "inmigrate":
        raise ConfigError("Guest is waiting for an incoming migration")
    steps = session.vm.transfers.send(uri)
    return _in_background(session, steps) if detach else steps


def _in_background(session: Session, steps: Steps[Sent]) -> Steps[None]:
    session.spawn(_quietly(steps))
    return
    yield  # a generator, as the other way is


def _quietly(steps: Steps[Any]) -> Steps[None]:
    """The same steps; how they end is found in query-migrate."""
    try:
        yield from steps
    except (GossamerError, OSError):
        return


@command("migrate_cancel", held=True)
def migrate_cancel(session: Session) -> None:
    """Stop sending the machine."""
    session.vm.transfers.cancel()


@command("migrate-incoming", held=True)
def migrate_incoming(session: Session, uri: str, exit_on_error: bool = True) -> None:
    """Wait at URI for a machine; after -incoming defer."""
    if session.vm.run_state != "inmigrate":
        raise ConfigError("'-incoming' was not specified on the command line")
    session.take_in(uri, exit_on_error=exit_on_error)


@dataclass(frozen=True, slots=True)
class MigrationInfo:
    """The transfer under way, or the last ones: what was lost or repaired in lines of text."""

    status: str | None = None
    error_desc: str | None = None
    sent: str | None = None
    received: str | None = None


@command("query-migrate", held=True)
def query_migrate(session: Session) -> MigrationInfo:
    """The migration under way, or the last one."""
    transfers = session.vm.transfers
    shown = transfers.outgoing or transfers.arriving
    if shown is None:
        return MigrationInfo()
    sent, received = transfers.last_sent, transfers.last_received
    return MigrationInfo(
        shown.status,
        shown.error or None,
        None if sent is None else sent.text,
        None if received is None else received.text,
    )


__all__ = ["MigrationInfo", "Received", "Sent"]
