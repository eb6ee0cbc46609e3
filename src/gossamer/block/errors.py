"""The one error of disk images: a line for the user and an errno for the drive."""

from __future__ import annotations

import errno as codes
from pathlib import Path

from gossamer.base.errors import HostError


class ImageError(HostError):
    """An image file that cannot be opened, read or written.

    `errno` says why in the host's terms (ENOSPC, EIO, EROFS, …), so that a drive can choose
    between reporting an I/O error to the guest and stopping the machine (QEMU's ``werror``).
    """

    def __init__(self, path: Path | str, message: str, errno: int = codes.EIO) -> None:
        super().__init__(f"{path}: {message}")
        self.path, self.message, self.errno = str(path), message, errno

    @classmethod
    def of(cls, path: Path | str, action: str, error: OSError) -> ImageError:
        """The host refused `action`; keep its errno."""
        return cls(path, f"cannot {action}: {error.strerror or error}", error.errno or codes.EIO)
