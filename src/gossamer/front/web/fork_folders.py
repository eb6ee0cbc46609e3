"""Where the disks of a fork are: a folder for temporary files, gone with the fork.

The fork holds a lock on it, through a descriptor that it is started with. So a folder whose fork
and parent were killed is known: its lock is free. The next fork of any machine takes it away.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

_PREFIX: Final = "gossamer-fork-"
_LOCK: Final = "lock"


class ForkFolder:
    """A new one, locked; OSError where none can be made."""

    def __init__(self) -> None:
        self.path: Final = Path(tempfile.mkdtemp(prefix=_PREFIX))
        #: For the fork to be started with.
        self.lock = -1
        try:
            # Named once it is locked: a lock that is found free was left.
            unnamed = self.path / f"{_LOCK}.new"
            self.lock = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self.lock, fcntl.LOCK_EX)
            unnamed.rename(self.path / _LOCK)
        except BaseException:
            self.remove()
            raise

    def hand_over(self) -> None:
        """Leave the lock to the fork alone."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1

    def remove(self) -> None:
        self.hand_over()
        shutil.rmtree(self.path, ignore_errors=True)


def remove_left() -> None:
    """Take away what killed forks have left; what cannot be looked at stays."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid != os.getuid():
                continue
            fd = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(fd)
