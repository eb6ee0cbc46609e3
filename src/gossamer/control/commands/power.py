"""Commands that run, stop, reset and end the machine, and say how it does."""

from __future__ import annotations

from typing import Annotated

from gossamer.base.data import Data
from gossamer.base.version import VERSION
from gossamer.control.commands.table import command
from gossamer.control.session import Session
from gossamer.control.shapes import Name, Size


@command("cont", held=True)
def cont(session: Session) -> None:
    """Run the machine."""
    if session.vm.run_state == "inmigrate":
        session.autostart = True  # it goes on when it has arrived
    else:
        arriving = session.vm.transfers.arriving
        comes = arriving is not None and arriving.follows  # it runs here while its memory comes
        if session.vm.busy or not comes:
            session.check_idle()
        session.vm.cont()


@command("stop", held=True)
def stop(session: Session) -> None:
    """Stop the machine between two instructions."""
    session.autostart = False
    session.stops += 1
    session.vm.stop()


@command("quit", held=True)
def quit_(session: Session) -> None:
    """End the emulator."""
    session.vm.quit()


@command("system_reset")
def system_reset(session: Session) -> None:
    """Reset the machine."""
    session.vm.reset()


@command("system_powerdown")
def system_powerdown(session: Session) -> None:
    """Press the power key."""
    session.vm.power_down()


class StatusInfo(Data):
    """How the machine does: `status` in QEMU's words, instructions since power-on, virtual ns."""

    running: bool
    singlestep: bool
    status: str
    instructions: Size
    clock_ns: Size


@command("query-status", held=True)
def query_status(session: Session) -> StatusInfo:
    """Whether the machine runs, and how far it is."""
    vm = session.vm
    return StatusInfo(
        running=vm.run_state == "running",
        singlestep=False,
        status=vm.run_state,
        instructions=Size(vm.instructions),
        clock_ns=Size(vm.clock_ns),
    )


class NameInfo(Data):
    """What -name gave; `machine` is the machine with its version."""

    machine: str
    name: str | None = None


@command("query-name", held=True)
def query_name(session: Session) -> NameInfo:
    """The machine's name."""
    config = session.vm.config
    return NameInfo(config.full_name, config.name or None)


class UuidInfo(Data):
    """What -uuid gave, or zeroes."""

    uuid: Annotated[str, Name("UUID")]


@command("query-uuid", held=True)
def query_uuid(session: Session) -> UuidInfo:
    """The machine's UUID."""
    return UuidInfo(session.vm.config.uuid or "00000000-0000-0000-0000-000000000000")


class VersionTriple(Data):
    """A version in three numbers."""

    major: int
    minor: int
    micro: int


class VersionInfo(Data):
    """`qemu` is the release whose behaviour is followed; `package` is gossamer's version."""

    qemu: VersionTriple
    package: str


@command("query-version", held=True)
def query_version(session: Session) -> VersionInfo:
    """Gossamer's version."""
    del session
    return VersionInfo(VersionTriple(7, 2, 22), f"gossamer {VERSION}")
