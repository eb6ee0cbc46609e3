"""Commands for character devices and for descriptors that clients pass."""

from __future__ import annotations

import os
from typing import Literal

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.control.commands.table import command
from gossamer.control.fd_sets import MOST_FDS, PassedFd
from gossamer.control.session import Session
from gossamer.machines.chardev_options import KINDS, device_text
from gossamer.machines.values import identifier


@command("getfd", held=True)
def getfd(session: Session, fdname: str) -> None:
    """Give a name to a descriptor that came with this command."""
    if not session.passed_fds:
        raise ConfigError("No file descriptor supplied via SCM_RIGHTS")
    if fdname[:1].isdigit():
        raise ConfigError("Parameter 'fdname' expects a name not starting with a digit")
    if fdname not in session.named_fds and len(session.named_fds) >= MOST_FDS:
        raise ConfigError(f"{MOST_FDS} descriptors have names: closefd comes first")
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


class AddfdInfo(Data):
    """Where a descriptor is now: its set, and its number in this process."""

    fdset_id: int
    fd: int


@command("add-fd", held=True)
def add_fd(session: Session, fdset_id: int | None = None, opaque: str | None = None) -> AddfdInfo:
    """Put a descriptor that came with this command into a set, for /dev/fdset/N."""
    if not session.passed_fds:
        raise ConfigError("No file descriptor supplied via SCM_RIGHTS")
    number = session.fd_sets.add(fdset_id, session.passed_fds[0], opaque)
    return AddfdInfo(number, session.passed_fds.popleft())


@command("remove-fd", held=True)
def remove_fd(session: Session, fdset_id: int, fd: int | None = None) -> None:
    """Close a descriptor of a set, or all."""
    session.fd_sets.remove(fdset_id, fd)


class FdsetInfo(Data):
    """A set of descriptors."""

    fdset_id: int
    fds: tuple[PassedFd, ...]


@command("query-fdsets", held=True)
def query_fdsets(session: Session) -> tuple[FdsetInfo, ...]:
    """The sets of descriptors."""
    return tuple(FdsetInfo(n, tuple(fds)) for n, fds in sorted(session.fd_sets.sets.items()))


# --- character devices --------------------------------------------------------------------------


class ChardevInfo(Data):
    """A character device; `frontend_open`: something of the machine uses it."""

    label: str
    filename: str
    frontend_open: bool


@command("query-chardev", held=True)
def query_chardev(session: Session) -> tuple[ChardevInfo, ...]:
    """The character devices."""
    return tuple(ChardevInfo(*one) for one in session.chardevs())


class ChardevBackendInfo(Data):
    """A kind of character device."""

    name: str


@command("query-chardev-backends", held=True)
def query_chardev_backends(session: Session) -> tuple[ChardevBackendInfo, ...]:
    """The kinds of character devices that -chardev takes."""
    del session
    return tuple(ChardevBackendInfo(name) for name in KINDS)


class Nothing(Data):
    """No properties."""


class FileData(Data):
    """Output goes to the file `out`."""

    out: str
    append: bool = False


class UnixAddress(Data):
    """A Unix socket's path."""

    path: str


class InetAddress(Data):
    """A TCP port."""

    host: str
    port: str


class FdAddress(Data):
    """A socket that was passed: getfd's name or a number."""

    str_: str


class UnixSocket(Data):
    """At a path."""

    type: Literal["unix"]
    data: UnixAddress


class InetSocket(Data):
    """At a TCP port."""

    type: Literal["inet"]
    data: InetAddress


class FdSocket(Data):
    """One that is open."""

    type: Literal["fd"]
    data: FdAddress


class SocketData(Data):
    """A socket; nothing here waits for a client."""

    addr: UnixSocket | InetSocket | FdSocket
    server: bool = True
    wait: bool = False
    nodelay: bool = False


class NullBackend(Data):
    """Nowhere."""

    type: Literal["null"]
    data: Nothing


class PtyBackend(Data):
    """A terminal of the host, made now."""

    type: Literal["pty"]
    data: Nothing


class FileBackend(Data):
    """A file for output."""

    type: Literal["file"]
    data: FileData


class SocketBackend(Data):
    """A socket."""

    type: Literal["socket"]
    data: SocketData


Backend = NullBackend | PtyBackend | FileBackend | SocketBackend


class ChardevReturn(Data):
    """`pty`: the terminal that was made."""

    pty: str | None = None


@command("chardev-add", held=True)
def chardev_add(session: Session, id_: str, backend: Backend) -> ChardevReturn:
    """Make a character device, for gdbserver; a socket must not wait for its client."""
    identifier("chardev-add: id", id_)
    given: dict[str, str] = {}
    match backend:
        case FileBackend(data=data):
            given = {"path": session.fd_sets.path(data.out), "append": _on(data.append)}
        case SocketBackend(data=data):
            if data.server and data.wait:
                raise ConfigError("chardev-add: wait: the machine is there already: give false")
            given = _place(session, data) | {"server": _on(data.server)}
            given |= {"wait": "off"} if data.server else {}
    text = device_text("chardev-add", backend.type, given)
    return ChardevReturn(session.chardev_add(id_, text) or None)


def _place(session: Session, data: SocketData) -> dict[str, str]:
    match data.addr:
        case UnixSocket(data=where):
            return {"path": where.path}
        case InetSocket(data=inet):
            return {"host": inet.host, "port": inet.port}
        case FdSocket(data=fd):
            return {"fd": str(session.take_fd(fd.str_))}


def _on(value: bool) -> str:
    return "on" if value else "off"


@command("chardev-remove", held=True)
def chardev_remove(session: Session, id_: str) -> None:
    """Close a character device of chardev-add that nothing uses."""
    session.chardev_remove(id_)
