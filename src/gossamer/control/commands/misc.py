"""Commands about the emulator itself: the human monitor, passed descriptors, what this QEMU can."""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from gossamer.base.errors import ConfigError
from gossamer.control.commands.table import command
from gossamer.control.session import Session
from gossamer.control.steps import Waiting
from gossamer.machines.chardev_options import KINDS
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


@command("getfd", held=True)
def getfd(session: Session, fdname: str) -> None:
    """Give a name to a descriptor that came with this command."""
    if not session.passed_fds:
        raise ConfigError("No file descriptor supplied via SCM_RIGHTS")
    if fdname[:1].isdigit():
        raise ConfigError("Parameter 'fdname' expects a name not starting with a digit")
    fd = session.passed_fds.popleft()
    if fdname in session.named_fds:
        os.close(session.named_fds.pop(fdname))
    session.named_fds[fdname] = fd


@command("closefd", held=True)
def closefd(session: Session, fdname: str) -> None:
    """Close a descriptor that getfd has named."""
    if fdname not in session.named_fds:
        raise ConfigError(f"File descriptor named '{fdname}' not found")
    os.close(session.named_fds.pop(fdname))


@dataclass(frozen=True, slots=True)
class TargetInfo:
    """The architecture of the guest."""

    arch: str


@command("query-target", held=True)
def query_target(session: Session) -> TargetInfo:
    """The architecture of the guest."""
    del session
    return TargetInfo("ppc")


@dataclass(frozen=True, slots=True)
class KvmInfo:
    """Whether the host's own virtual machines are used."""

    enabled: bool
    present: bool


@command("query-kvm", held=True)
def query_kvm(session: Session) -> KvmInfo:
    """Whether the host's own virtual machines are used: never."""
    del session
    return KvmInfo(enabled=False, present=False)


@dataclass(frozen=True, slots=True)
class ChardevInfo:
    """A character device; `frontend_open`: something of the machine uses it."""

    label: str
    filename: str
    frontend_open: bool


@command("query-chardev", held=True)
def query_chardev(session: Session) -> tuple[ChardevInfo, ...]:
    """The character devices."""
    return tuple(ChardevInfo(*one) for one in session.chardevs())


@dataclass(frozen=True, slots=True)
class ChardevBackend:
    """A kind of character device."""

    name: str


@command("query-chardev-backends", held=True)
def query_chardev_backends(session: Session) -> tuple[ChardevBackend, ...]:
    """The kinds of character devices that -chardev takes."""
    del session
    return tuple(ChardevBackend(name) for name in KINDS)


@dataclass(frozen=True, slots=True)
class CommandLineOption:
    """An option; its parts are not listed."""

    option: str
    parameters: tuple[object, ...]


@command("query-command-line-options", held=True)
def query_command_line_options(
    session: Session, option: str | None = None
) -> tuple[CommandLineOption, ...]:
    """The options of the command line that do something here.

    As a QEMU without seccomp, it does not name sandbox: a caller would switch it on.
    """
    del session
    found = [
        name.lstrip("-") for name, o in OPTIONS.items() if not o.refused and name != "-sandbox"
    ]
    if option is not None and option not in found:
        raise ConfigError(f"invalid option name: {option}")
    return tuple(CommandLineOption(name, ()) for name in found if option in (None, name))
