"""The terminal, or whatever standard input and output are, as a character device."""

from __future__ import annotations

from gossamer.front.chardev import FdChardev
from gossamer.front.terminal import Terminal


class Stdio(FdChardev):
    """Standard input and output.

    Their descriptors are left in blocking mode, since other processes share them; reads and
    writes follow a poll.  With `signals`, C-c still interrupts the emulator.
    """

    def __init__(self, *, signals: bool, read_fd: int = 0, write_fd: int = 1) -> None:
        super().__init__("stdio", read_fd, write_fd)
        self.terminal = Terminal(read_fd, signals=signals)
        self.is_terminal = self.terminal.is_terminal
        self.terminal.raw()

    def suspend(self) -> None:
        self.flush()
        self.terminal.restore()

    def resume(self) -> None:
        self.terminal.raw()

    def close(self) -> None:
        self.flush()
        self.terminal.restore()
        self.read_fd = self.write_fd = -1
