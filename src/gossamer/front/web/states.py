"""States of the machine as files: one goes to a browser, one comes from there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from gossamer.base.errors import ConfigError, HostError
from gossamer.base.units import GiB
from gossamer.control.session import Session
from gossamer.control.snapshots import SUFFIX
from gossamer.control.steps import Steps
from gossamer.front.web.connection import Connection
from gossamer.front.web.pages import head
from gossamer.front.web.uploads import UploadEnd
from gossamer.migrate.container import open_container

_PIECE: Final = 256 << 10


def send_file(connection: Connection, path: Path, name: str, *, last: bool = False) -> None:
    """Send a file; `last`: its name goes as soon as it is open."""
    try:
        file = path.open("rb")
        size = os.fstat(file.fileno()).st_size
        if last:
            path.unlink()
    except OSError as fault:
        raise HostError(f"{path.name}: cannot be read: {fault.strerror}") from None
    more = {"Content-Disposition": f'attachment; filename="{name}"'}
    connection.stream(head(200, "bin", size, more), _pieces(file, size))


def _pieces(file: IO[bytes], size: int) -> Iterator[bytes]:
    """All of a file; one that is cut while it is read ends the connection early."""
    with file:
        while size > 0:
            piece = file.read(min(_PIECE, size))
            if not piece:
                raise OSError("the file has become shorter")
            size -= len(piece)
            yield piece


def send_now(session: Session, connection: Connection) -> Steps[None]:
    """Save the machine as it is, and send that."""
    with tempfile.TemporaryDirectory(prefix="gossamer-web-") as folder:
        path = Path(folder) / f"state{SUFFIX}"
        yield from session.vm.saving_file(path)
        if connection.peer.fileno() < 0:
            return  # the browser has gone
        send_file(connection, path, path.name, last=True)


def receive(session: Session, connection: Connection, name: str) -> UploadEnd:
    """What takes a save file that becomes a snapshot; ConfigError for a name that is none."""
    name = name.removesuffix(SUFFIX)
    path = session.vm.snapshot_store.path(name, make=True)
    if any(one.tag == name for one in session.vm.snapshots()):
        raise ConfigError(f"there is a {name!r} already")
    disks = sum(disk.image.size for disk in session.vm.disks.writable)
    most = 2 * session.vm.config.ram_size + disks + GiB
    return UploadEnd(session, connection, path, name, most, _check)


def _check(path: Path) -> None:
    with open_container(path):
        pass
