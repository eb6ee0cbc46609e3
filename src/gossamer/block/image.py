"""What every disk image offers, whatever its format."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from gossamer.block.errors import ImageError
from gossamer.block.hashing import ContentHash
from gossamer.block.hostfile import Buffer

SECTOR: Final = 512


@runtime_checkable
class Image(Protocol):
    """A disk as a drive sees it: `size` bytes, any offset and length within them.

    Everything that fails is an `ImageError` with an errno; a failed write leaves the image
    consistent, the bytes of that write undefined.
    """

    @property
    def path(self) -> Path: ...
    @property
    def size(self) -> int:
        """Length of the disk in bytes, a multiple of 512."""
        ...

    @property
    def format(self) -> str:
        """``raw`` or ``qcow2``."""
        ...

    @property
    def read_only(self) -> bool: ...

    @property
    def probed(self) -> bool:
        """Whether the format is only a guess; see `raw.RawFile`."""
        ...

    def read(self, offset: int, length: int) -> bytes: ...
    def write(self, offset: int, data: Buffer) -> None: ...
    def zero(self, offset: int, length: int) -> None:
        """Make the range read as zeros; gives the space back where the format can."""
        ...

    def flush(self) -> None:
        """Return when all writes so far would survive a crash of the host."""
        ...

    def sync_ahead(self) -> Callable[[], None] | None:
        """What a thread can do so that the next `flush` finds less to do; none: nothing."""
        ...

    def settle(self) -> None:
        """Called about once a second: what only this process knows goes into the file.

        For guests that never flush; it does not promise more than that a kill loses little.
        """
        ...

    def close(self) -> None:
        """Write everything out and let go of the file; a second call does nothing."""
        ...

    def abandon(self) -> None:
        """Let go of the file as a kill would: what was never flushed may be lost."""
        ...

    def content_hash(self) -> str:
        """Hash of what the guest sees: the same for the same content in any format."""
        ...

    def zero_run(self, offset: int) -> int:
        """How many bytes from `offset` on are known to be zeros without reading them."""
        ...


class BaseImage(ABC):
    """Range checks and the content hash, shared by the formats."""

    format: str = ""

    def __init__(self, path: Path, size: int, *, read_only: bool) -> None:
        self.path = path
        self.size = size
        self.read_only = read_only
        self.closed = self.probed = False
        self._hash = ContentHash()

    def sync_ahead(self) -> Callable[[], None] | None:
        return None

    def settle(self) -> None:
        return None

    @abstractmethod
    def read(self, offset: int, length: int) -> bytes: ...

    @abstractmethod
    def zero_run(self, offset: int) -> int: ...

    def content_hash(self) -> str:
        self._check(0, 0)
        return self._hash.value(self)

    def _check(self, offset: int, length: int) -> None:
        if self.closed:
            raise ImageError(self.path, "the image is closed", errno.EBADF)
        if offset < 0 or length < 0 or offset + length > self.size:
            message = f"bytes {offset:#x}+{length:#x} lie outside the disk of {self.size} bytes"
            raise ImageError(self.path, message, errno.EINVAL)

    def _check_write(self, offset: int, length: int) -> None:
        self._check(offset, length)
        if self.read_only:
            raise ImageError(self.path, "the image is read-only", errno.EROFS)


class ReadImage(BaseImage):
    """An image as far as it is read: a write is checked and refused, and nothing is written out.

    One that is written, too, overrides all of that.
    """

    def write(self, offset: int, data: Buffer) -> None:
        self._check_write(offset, len(data))

    def zero(self, offset: int, length: int) -> None:
        self._check_write(offset, length)

    def flush(self) -> None:
        """There is nothing to write out."""

    @abstractmethod
    def abandon(self) -> None: ...

    def close(self) -> None:
        self.abandon()
