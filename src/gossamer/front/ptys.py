"""A pseudo-terminal as a character device."""

from __future__ import annotations

import os
import pty
import select
import sys
import tty

from gossamer.base.errors import HostError
from gossamer.front.chardev import HANGUP, FdChardev


class PtyChardev(FdChardev):
    """A pseudo-terminal that peers open at `pty_path`; output is dropped while none has."""

    is_terminal = True

    def __init__(self) -> None:
        try:
            master, slave = pty.openpty()
        except OSError as fault:
            raise HostError(f"pty: cannot be opened: {fault.strerror or fault}") from None
        tty.setraw(slave)
        self.pty_path = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(master, False)
        super().__init__("pty", master, master)
        self._present = False
        print(f"character device redirected to {self.pty_path}", file=sys.stderr, flush=True)

    @property
    def filename(self) -> str:
        return f"pty:{self.pty_path}"

    @property
    def connected(self) -> bool:
        return self.write_fd >= 0 and self.look()

    def start(self) -> None:
        self._present = False
        self.look()

    def look(self) -> bool:
        """Whether a peer has the other end open; notices that it came or left."""
        poller = select.poll()
        poller.register(self.read_fd, select.POLLIN)
        present = not any(mask & HANGUP for _, mask in poller.poll(0))
        if present and not self._present:
            self._present = True
            self.opened()
        elif not present and self._present:
            self.out.clear()
        self._present = present
        return present

    def events(self) -> dict[int, int]:
        # A terminal that no peer has open hangs up at once, for ever: not worth waiting for.
        return super().events() if self.read_fd >= 0 and self.look() else {}

    def input_ended(self) -> None:
        """The other end was closed; it may be opened again."""

    def output_failed(self, fault: OSError) -> None:
        del fault
        self.out.clear()

    def close(self) -> None:
        if self.read_fd >= 0:
            self.flush()
            os.close(self.read_fd)
        self.read_fd = self.write_fd = -1
