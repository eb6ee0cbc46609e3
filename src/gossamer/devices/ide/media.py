"""What an IDE drive is given: its medium, its DMA channel, and what to do about host errors."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final, Protocol

from gossamer.base.errors import ConfigError, GossamerError

SECTOR: Final = 512
CD_SECTOR: Final = 2048


TO_MEMORY, FROM_MEMORY = 0, 1
"""Directions of a DMA channel."""


class BlockBackend(Protocol):
    """An image: `size` bytes that can be read and, unless `read_only`, written."""

    @property
    def size(self) -> int: ...
    @property
    def read_only(self) -> bool: ...
    def read(self, offset: int, length: int) -> bytes: ...
    def write(self, offset: int, data: bytes) -> None: ...
    def flush(self) -> None: ...


class DmaChannel(Protocol):
    """One channel of the DBDMA controller, as a drive sees it.

    The channel calls the cell's `dma_ready` when a descriptor with room has become active.
    """

    def wanted(self, direction: int) -> int:
        """Bytes that can move now in `direction`: TO_MEMORY or FROM_MEMORY."""

    def push(self, data: bytes | memoryview) -> int:
        """Put bytes into memory; how many were taken."""

    def pull(self, count: int) -> bytes:
        """Take up to `count` bytes from memory."""

    def scatter(self, data: bytes | memoryview) -> int:
        """As `push`, but on into the descriptors that follow, which take no time."""

    def gather(self, count: int) -> bytes:
        """As `pull`, but on into the descriptors that follow, which take no time."""

    def finish(self) -> None:
        """The drive's transfer is over, whatever the descriptor has left."""


REPORT: Final = "report"
IGNORE: Final = "ignore"
STOP: Final = "stop"
ENOSPC: Final = "enospc"

ErrorPolicy = Callable[[bool, GossamerError], str]
"""(is it a write, the error) -> REPORT, IGNORE or STOP; STOP: the drive waits for `retry`."""


def error_policy(rerror: str, werror: str, stop: Callable[[], None]) -> ErrorPolicy:
    """The policy that `rerror=` and `werror=` name; `stop` pauses the machine.

    `enospc` (writes only): stop when the host has no space left, report everything else.
    """
    if rerror not in (REPORT, IGNORE, STOP):
        raise ConfigError(f"rerror must be report, ignore or stop, got {rerror!r}")
    if werror not in (REPORT, IGNORE, STOP, ENOSPC):
        raise ConfigError(f"werror must be report, ignore, stop or enospc, got {werror!r}")

    def decide(write: bool, error: GossamerError) -> str:
        action = werror if write else rerror
        if action == ENOSPC:
            code = getattr(error, "errno", None) or getattr(error.__cause__, "errno", None)
            action = STOP if code in (errno.ENOSPC, errno.EDQUOT) else REPORT
        if action == STOP:
            stop()
        return action

    return decide


def report(_write: bool, _error: GossamerError) -> str:
    """The policy of a drive that was given none."""
    return REPORT
