"""Files that come from a browser: binary messages, an empty one at the end.

What is answered is one text: ``{"name": …}`` or ``{"error": …}``.  A file has its name only when it
is whole; until then it is one beside, which goes with the connection.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from gossamer.base.errors import ConfigError, GossamerError
from gossamer.control.commands.table import failure
from gossamer.control.session import Session
from gossamer.control.steps import InThread, Steps
from gossamer.front.web.connection import Connection, Endpoint


class UploadEnd(Endpoint):
    """One file, to be at `path`: of `most` bytes; `check` looks at all of it (in a thread)."""

    def __init__(
        self,
        session: Session,
        connection: Connection,
        path: Path,
        name: str,
        most: int,
        check: Callable[[Path], None],
    ) -> None:
        self._session, self._connection = session, connection
        self._path, self._name, self._most, self._check = path, name, most, check
        self._count = 0
        self._check_new()
        made = tempfile.NamedTemporaryFile(  # noqa: SIM115 - it is open as long as the connection
            dir=path.parent, prefix=".upload-", suffix=".part", delete=False
        )
        self._file: IO[bytes] = made
        self._part = Path(made.name)
        self._over = False

    def _check_new(self) -> None:
        if self._path.exists():
            raise ConfigError(f"there is a {self._name!r} already")

    def message(self, data: bytes) -> None:
        if self._over:
            return
        if not data:
            self._over = True
            self._session.spawn(self._end())
            return
        self._count += len(data)
        try:
            if self._count > self._most:
                raise ConfigError(f"{self._name}: it may have {self._most} bytes")
            self._file.write(data)
        except (GossamerError, OSError) as fault:
            self._answer({"error": failure(fault)})

    def _end(self) -> Steps[None]:
        """See that it is whole, and give it its name."""
        try:
            yield InThread(self._whole)
            self._check_new()
            self._part.replace(self._path)
        except (GossamerError, OSError) as fault:
            self._answer({"error": failure(fault).replace(str(self._part), self._name)})
        else:
            self._answer({"name": self._name})

    def _whole(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._check(self._part)

    def _answer(self, value: dict[str, str]) -> None:
        self._give_up()
        self._connection.send(json.dumps(value).encode(), text=True)
        self._connection.finish()

    def closed(self) -> None:
        self._give_up()

    def _give_up(self) -> None:
        """No more of it; a file that has its name keeps it."""
        self._over = True
        self._file.close()
        self._part.unlink(missing_ok=True)
