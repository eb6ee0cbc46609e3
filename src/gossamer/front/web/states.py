"""States of the machine as files: one goes to a browser, one comes from there."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from gossamer.base.errors import ConfigError, GossamerError, HostError
from gossamer.base.units import GiB
from gossamer.control.commands.table import failure
from gossamer.control.session import Session
from gossamer.control.snapshots import SUFFIX
from gossamer.control.steps import InThread, Steps
from gossamer.front.web.connection import Connection, Endpoint
from gossamer.front.web.pages import head
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


class UploadEnd(Endpoint):
    """A save file that becomes a snapshot: binary messages, an empty one at the end.

    What is answered is one text: ``{"tag": …}`` or ``{"error": …}``.
    """

    def __init__(self, session: Session, connection: Connection, name: str) -> None:
        self._session, self._connection = session, connection
        name = name.removesuffix(SUFFIX)
        self._path = session.vm.snapshot_store.path(name, make=True)
        if any(one.tag == name for one in session.vm.snapshots()) or self._path.exists():
            raise ConfigError(f"there is a snapshot {name!r} already")
        self._name, self._count = name, 0
        disks = sum(disk.image.size for disk in session.vm.disks.writable)
        self._most = 2 * session.vm.config.ram_size + disks + GiB
        made = tempfile.NamedTemporaryFile(  # noqa: SIM115 - it is open as long as the connection
            dir=self._path.parent, prefix=".upload-", suffix=".part", delete=False
        )
        self._file: IO[bytes] = made
        self._part = Path(made.name)
        self._over = False

    def message(self, data: bytes) -> None:
        if self._over:
            return
        if not data:
            self._over = True
            self._session.spawn(self._check())
            return
        self._count += len(data)
        try:
            if self._count > self._most:
                raise ConfigError(f"a state of this machine has at most {self._most} bytes")
            self._file.write(data)
        except (GossamerError, OSError) as fault:
            self._answer({"error": failure(fault)})

    def _check(self) -> Steps[None]:
        """See that it is whole, and give it its name."""
        try:
            yield InThread(self._whole)
            self._whole_now()
        except (GossamerError, OSError) as fault:
            text = failure(fault).replace(str(self._part), self._name)
            self._answer({"error": text})
        else:
            self._answer({"tag": self._name})

    def _whole(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        with open_container(self._part):
            pass

    def _whole_now(self) -> None:
        if self._path.exists():
            raise ConfigError(f"there is a snapshot {self._name!r} already")
        self._part.replace(self._path)

    def _answer(self, value: dict[str, str]) -> None:
        self._over = True
        self._connection.send(json.dumps(value).encode(), text=True)
        self._connection.finish()

    def closed(self) -> None:
        self._over = True
        self._file.close()
        self._part.unlink(missing_ok=True)
