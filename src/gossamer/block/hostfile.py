"""A file of the host with positioned reads and writes; every failure is an `ImageError`."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from weakref import WeakSet

from gossamer.block import locks
from gossamer.block.errors import ImageError
from gossamer.core import host

Buffer = bytes | bytearray | memoryview
_MAX_VECTORS: Final = 512
_files: WeakSet[HostFile] = WeakSet()


class HostFile:
    """An open image file.

    `size` is the length in bytes (kept up to date by our own writes), `identity` the host's
    device and inode, which distinguishes two names of one file from two files.
    """

    def __init__(self, path: Path | str, *, read_only: bool, lock: bool = True) -> None:
        self.path = Path(path)
        self.read_only = read_only
        self.sync_ns = 0
        self._lost: OSError | None = None
        status = self._status()
        flags = os.O_RDONLY if read_only else os.O_RDWR
        try:
            self.fd = os.open(self.path, flags | os.O_CLOEXEC)
        except OSError as error:
            if not read_only and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
                message = "cannot be written by this user"
                raise ImageError(self.path, message, error.errno) from None
            raise ImageError.of(self.path, "open", error) from None
        self.identity = (status.st_dev, status.st_ino)
        try:
            self.size = os.lseek(self.fd, 0, os.SEEK_END)
            self.locked = self._lock() if lock else False
        except BaseException:
            self.close()
            raise
        _files.add(self)

    def _status(self) -> os.stat_result:
        try:
            status = self.path.stat()
        except OSError as error:
            raise ImageError.of(self.path, "open", error) from None
        except ValueError:
            raise ImageError(repr(str(self.path)), "not a file name", errno.EINVAL) from None
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)):
            raise ImageError(self.path, "neither a file nor a block device", errno.EINVAL)
        return status

    def _lock(self) -> bool:
        """Keep other users out, as QEMU does; ImageError says whether we are the other one."""
        try:
            return locks.lock(self.fd, self.path, write=not self.read_only)
        except ImageError as error:
            others = (other for other in _files if other is not self and not other.closed)
            if all(other.identity != self.identity for other in others):
                raise
            message = (
                "the image is in use: this very process has it open already; is it given twice?"
            )
            raise ImageError(self.path, message, error.errno) from None

    @property
    def failed(self) -> bool:
        """Whether a flush has failed: every later one does, until the file is opened anew."""
        return self._lost is not None

    @property
    def closed(self) -> bool:
        return self.fd < 0

    def read_at(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; what lies behind the end of the file reads as zeros."""
        if not length:
            return b""
        try:
            data = os.pread(self.fd, length, offset)
            while len(data) < length:
                more = os.pread(self.fd, length - len(data), offset + len(data))
                if not more:
                    return data + bytes(length - len(data))
                data += more
        except OSError as error:
            raise ImageError.of(self.path, f"read {length} bytes at {offset:#x}", error) from None
        return data

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill `view` from `offset`; what lies behind the end of the file reads as zeros."""
        done = 0
        try:
            while done < len(view):
                got = os.preadv(self.fd, [view[done:]], offset + done)
                if not got:
                    view[done:] = bytes(len(view) - done)
                    return
                done += got
        except OSError as error:
            message = f"read {len(view)} bytes at {offset:#x}"
            raise ImageError.of(self.path, message, error) from None

    def write_at(self, offset: int, *buffers: Buffer) -> None:
        """Write the buffers one after the other from `offset` on."""
        parts: Sequence[Buffer] = [part for part in buffers if len(part)]
        at = offset
        try:
            while parts:
                done = os.pwritev(self.fd, parts[:_MAX_VECTORS], at)
                at += done
                parts = _drop(parts, done)
        except OSError as error:
            raise ImageError.of(self.path, f"write at {at:#x}", error) from None
        finally:
            self.size = max(self.size, at)

    def resize(self, size: int) -> None:
        try:
            os.ftruncate(self.fd, size)
        except OSError as error:
            raise ImageError.of(self.path, f"resize to {size} bytes", error) from None
        self.size = size

    def allocate(self, offset: int, length: int) -> None:
        """Let the host set room aside for a range; the file grows to hold it."""
        try:
            host.set_aside(self.fd, offset, length)
        except OSError as error:
            raise ImageError.of(self.path, f"set {length} bytes aside", error) from None
        self.size = max(self.size, offset + length)

    def sync(self) -> None:
        """Return when everything written so far is on the medium; `sync_ns` adds up how long.

        A host that could not write a page forgets that it was written, and the next call would
        succeed.  So after one failure every call fails, as in QEMU.
        """
        start = host.monotonic_ns()
        try:
            host.sync_data(self.fd)
        except OSError as error:
            self._lost = self._lost or error
        finally:
            self.sync_ns += host.monotonic_ns() - start
        if self._lost is not None:
            why = self._lost.strerror or self._lost
            message = f"cannot flush: {why}; what was written before may be lost, open it anew"
            raise ImageError(self.path, message, self._lost.errno or errno.EIO)

    def sync_ahead(self) -> Callable[[], None]:
        """A call for any thread, once: brings what is written so far to the medium.

        It knows nothing but a descriptor of its own; what goes wrong the next `sync` reports.
        """
        try:
            fd = os.dup(self.fd)
        except OSError as error:
            raise ImageError.of(self.path, "flush", error) from None

        def call() -> None:
            try:
                host.sync_data(fd)
            except OSError as error:
                self._lost = self._lost or error
            finally:
                os.close(fd)

        return call

    def hole_at(self, offset: int) -> int:
        """Length of the hole that begins at `offset`; 0 where data is, or the host cannot say."""
        if offset >= self.size:
            return 0
        try:
            return os.lseek(self.fd, offset, os.SEEK_DATA) - offset
        except OSError as error:
            return self.size - offset if error.errno == errno.ENXIO else 0

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _drop(parts: Sequence[Buffer], count: int) -> list[Buffer]:
    """What is left of the buffers when the first `count` bytes are written."""
    left: list[Buffer] = []
    for part in parts:
        if count >= len(part):
            count -= len(part)
            continue
        left.append(memoryview(part)[count:])
        count = 0
    return left
