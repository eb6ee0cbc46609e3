"""Commands about the emulator itself: the human monitor, passed descriptors, what this QEMU can."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.control import look
from gossamer.control.commands.table import command
from gossamer.control.session import Session
from gossamer.control.steps import Waiting
from gossamer.core import sandbox
from gossamer.machines.option_table import OPTIONS


@command("human-monitor-command", held=True)
def human_monitor_command(
    session: Session, command_line: str, cpu_index: int = 0
) -> Generator[Waiting, Any, str]:
    """Do one line of the human monitor; what it says."""
    if cpu_index:
        raise ConfigError(f"Parameter 'cpu-index' expects a CPU number: 0, got {cpu_index}")
    if session.human is None:
        raise ConfigError("there is no human monitor here")
    text = yield from session.human(command_line)
    return text.replace("\n", "\r\n")


class TargetInfo(Data):
    """The architecture of the guest."""

    arch: str


@command("query-target", held=True)
def query_target(session: Session) -> TargetInfo:
    """The architecture of the guest."""
    return TargetInfo(look.architecture(session.vm.machine))


class KvmInfo(Data):
    """Whether the host's own virtual machines are used."""

    enabled: bool
    present: bool


@command("query-kvm", held=True)
def query_kvm(session: Session) -> KvmInfo:
    """Whether the host's own virtual machines are used: never."""
    del session
    return KvmInfo(enabled=False, present=False)


class CommandLineParameter(Data):
    """A part of an option."""

    name: str
    type: str


class CommandLineOption(Data):
    """An option; only callers of -sandbox look for its parts."""

    option: str
    parameters: tuple[CommandLineParameter, ...]


_SANDBOX = (
    CommandLineParameter("enable", "boolean"),
    *(
        CommandLineParameter(group, "string")
        for group in (sandbox.OBSOLETE, sandbox.PRIVILEGES, sandbox.SPAWN, sandbox.RESOURCES)
    ),
)


@command("query-command-line-options", held=True)
def query_command_line_options(
    session: Session, option: str | None = None
) -> tuple[CommandLineOption, ...]:
    """The options of the command line that do something here; the parts of -sandbox are listed."""
    del session
    found = [
        name.lstrip("-")
        for name, o in OPTIONS.items()
        if not o.refused and (name != "-sandbox" or sandbox.here() is not None)
    ]
    if option is not None and option not in found:
        raise ConfigError(f"invalid option name: {option}")
    return tuple(
        CommandLineOption(name, _SANDBOX if name == "sandbox" else ())
        for name in found
        if option in (None, name)
    )
