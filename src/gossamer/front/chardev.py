"""Character devices: where the bytes of serial ports and monitors come from and go to.

A device never blocks and has no thread: it says which file descriptors it waits for (`events`)
and is called when they are ready (`handle`).  Input is read only while the other side has room.
Output is kept until it can be written; a device that holds `LIMIT` bytes is `full`, and the
console lets the guest wait.
"""

from __future__ import annotations

import errno
import os
import select
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gossamer.base.errors import HostError

LIMIT: Final = 64 << 10
"""Bytes of output that wait before the guest has to."""
CHUNK: Final = 4096
WRITE_CHUNK: Final = 512
"""A pipe or terminal that is ready for output takes at least so many bytes without blocking."""
HANGUP: Final = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Chardev:
    """A device without file descriptors; what is written to it is dropped.

    `receive` takes the bytes that come in, `room` says how many it can take, `opened` is called
    when a reader is there, `closed` when it has gone.
    """

    is_terminal = False
    """Whether a person types into it: then monitors echo and offer line editing."""
    stuck = ""
    """Why output waits for the host (a full medium), one line; cleared, it is tried again."""
    mid_line = False
    """Whether what was written last did not end its line."""
    pty_path = ""
    """What peers open, where it is a pseudo-terminal."""
    queued = False
    """Whether lines that came wait for a monitor to begin them."""

    def __init__(self, label: str) -> None:
        self.label = label
        #: What -chardev's id= calls it, or the port that it serves.
        self.id = label
        self.receive: Callable[[bytes], None] = lambda data: None
        self.room: Callable[[], int] = lambda: CHUNK
        self.opened: Callable[[], None] = lambda: None
        self.closed: Callable[[], None] = lambda: None
        self.out = bytearray()
        #: Descriptors that came with the bytes.
        self.passed_fds: deque[int] = deque()

    @property
    def filename(self) -> str:
        """What it is, as QEMU's `query-chardev` spells it."""
        return self.label

    @property
    def connected(self) -> bool:
        """Whether a peer reads; output is dropped while none does."""
        return False

    @property
    def waiting(self) -> bool:
        """Whether the machine must not start before a peer connects."""
        return False

    @property
    def full(self) -> bool:
        return len(self.out) >= LIMIT

    def start(self) -> None:
        """The machine and its monitors are there: greet the peer that is already connected."""
        if self.connected:
            self.opened()

    def suspend(self) -> None:
        """The emulator is about to be stopped by its shell; `resume` follows."""

    def resume(self) -> None:
        """The shell lets the emulator run again."""

    def hang_up(self) -> None:
        """End the connection, if it is one."""

    most: int | None = None
    """Bytes of output that may wait; None: the writer looks at `full` and waits itself."""

    def write(self, data: bytes) -> None:
        """Queue output."""
        if self.connected:
            self.out += data
            if self.most is not None and len(self.out) > self.most:
                self.overflowed()

    def overflowed(self) -> None:
        """More than `most` bytes wait: they are dropped."""
        self.out.clear()

    def events(self) -> dict[int, int]:
        """Poll masks by file descriptor."""
        return {}

    def handle(self, fd: int, mask: int) -> None:
        """File descriptor `fd` of `events` is ready."""

    def handle_ready(self) -> None:
        """Handle what is ready now, without waiting: for a caller that keeps the loop busy."""
        poller = select.poll()
        for fd, mask in self.events().items():
            poller.register(fd, mask)
        for fd, mask in poller.poll(0):
            self.handle(fd, mask)

    def flush(self) -> None:
        """Write what can be written at once."""

    def close(self) -> None:
        """Give back everything; calling it again does nothing."""


class Null(Chardev):
    """Nowhere."""


class FdChardev(Chardev):
    """A device on file descriptors; -1 for a direction that is closed."""

    def __init__(self, label: str, read_fd: int, write_fd: int) -> None:
        super().__init__(label)
        self.read_fd, self.write_fd = read_fd, write_fd

    @property
    def connected(self) -> bool:
        return self.write_fd >= 0

    def events(self) -> dict[int, int]:
        wanted: dict[int, int] = {}
        if self.read_fd >= 0 and self.room() > 0:
            wanted[self.read_fd] = select.POLLIN
        if self.write_fd >= 0 and self.out:
            wanted[self.write_fd] = wanted.get(self.write_fd, 0) | select.POLLOUT
        return wanted

    def handle(self, fd: int, mask: int) -> None:
        if fd == self.write_fd and self.out and mask & (select.POLLOUT | HANGUP):
            self._drain()
        if fd == self.read_fd and mask & (select.POLLIN | HANGUP):
            self._fetch()

    def flush(self) -> None:
        """Write while the host takes it without blocking."""
        while self.out and self.write_fd >= 0 and not self.stuck:
            poller = select.poll()
            poller.register(self.write_fd, select.POLLOUT)
            if not poller.poll(0):
                return
            self._drain()

    def _fetch(self) -> None:
        room = self.room()
        if room <= 0:
            return
        try:
            data = self.read_some(min(room, CHUNK))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            self.receive(data)
        else:
            self.input_ended()

    def read_some(self, room: int) -> bytes:
        return os.read(self.read_fd, room)

    def _drain(self) -> None:
        try:
            done = os.write(self.write_fd, self.out[:WRITE_CHUNK])
        except (BlockingIOError, InterruptedError):
            return
        except OSError as fault:
            self.output_failed(fault)
            return
        self.mid_line = done > 0 and self.out[done - 1] not in b"\r\n"
        del self.out[:done]

    def input_ended(self) -> None:
        """The other side sends no more."""
        self.read_fd = -1

    def output_failed(self, fault: OSError) -> None:
        """The other side takes no more."""
        del fault
        self.out.clear()
        self.write_fd = -1


class FileOut(FdChardev):
    """Output into a file, which is emptied first unless `append` is set."""

    def __init__(self, path: str, *, append: bool = False) -> None:
        how = os.O_APPEND if append else os.O_TRUNC
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | how | os.O_CLOEXEC, 0o666)
        except OSError as fault:
            raise HostError(f"{path}: cannot be opened for output: {fault.strerror}") from None
        super().__init__(f"file:{path}", -1, fd)
        self.path = Path(path)

    def output_failed(self, fault: OSError) -> None:
        """A log with a hole in it is worse than none: the machine has to wait."""
        if fault.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            self.stuck = f"{self.path}: cannot be written: {fault.strerror}"
        else:
            super().output_failed(fault)

    def events(self) -> dict[int, int]:
        return {} if self.stuck else super().events()

    def close(self) -> None:
        if self.write_fd >= 0:
            self.stuck = ""
            self.flush()
            os.close(self.write_fd)
            self.write_fd = -1
            if self.stuck:
                raise HostError(self.stuck)
