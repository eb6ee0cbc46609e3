"""A file that much is written to in steps: neither a slow disk nor a slow reader stops the loop.

A regular file is written by threads, a piece at a time; a pipe or a socket as its reader reads.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable
from typing import Final

from gossamer.base.errors import HostError
from gossamer.control.steps import InThread, Steps, Wait
from gossamer.core import host

PIECE: Final = 1 << 20
"""Bytes at a time."""
_LOOK_NS: Final = 100_000_000
"""So often is looked whether it is still wanted, while there is no reader."""


class FileOut:
    """`fd` (ours from now on), or what `path` names: made if it is not there, emptied if it is.

    `wanted` says whether to go on.  HostError with `path` in it when it cannot be written; a file
    that was made for this is removed then.
    """

    def __init__(self, path: str, wanted: Callable[[], bool], fd: int | None = None) -> None:
        self._path, self._wanted = path, wanted
        self._made = False
        try:
            self._fd = self._opened() if fd is None else fd
            kind = os.fstat(self._fd).st_mode
        except OSError as fault:
            raise self._failed(fault) from None
        self._waits = stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)
        if self._waits:
            os.set_blocking(self._fd, False)

    def _opened(self) -> int:
        # Without waiting for the reader of a named pipe.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC
        with contextlib.suppress(FileExistsError):
            fd = os.open(self._path, flags | os.O_EXCL, 0o666)
            self._made = True
            return fd
        return os.open(self._path, flags, 0o666)

    def _failed(self, fault: OSError) -> HostError:
        return HostError(f"{self._path}: cannot be written: {fault.strerror or fault}")

    def write(self, pieces: Iterable[bytes]) -> Steps[int]:
        """Write all pieces and close; the bytes that were written."""
        total = 0
        try:
            for piece in pieces:
                if self._waits:
                    yield from self._to_reader(piece)
                else:
                    yield InThread(lambda data=piece: self._to_disk(data))  # type: ignore[misc]
                total += len(piece)
                if not self._wanted():
                    raise HostError(f"{self._path}: was given up after {total} bytes")
            fd, self._fd = self._fd, -1
            os.close(fd)  # some file systems report here what they could not write
        except BaseException as fault:
            self._give_up()
            if isinstance(fault, OSError):
                raise self._failed(fault) from None
            raise
        return total

    def _to_disk(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def _to_reader(self, data: bytes) -> Steps[None]:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                yield Wait(write=(self._fd,), until_ns=host.monotonic_ns() + _LOOK_NS)
                if not self._wanted():
                    raise HostError(f"{self._path}: was given up: it has no reader") from None

    def _give_up(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
        if self._made:
            with contextlib.suppress(OSError):
                os.unlink(self._path)  # noqa: PTH108 - a name as it was given
