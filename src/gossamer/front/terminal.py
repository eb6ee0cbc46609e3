"""The user's terminal in raw mode, and its old mode back however the process ends.

Leaving the `with`, the end of the interpreter and signals restore it from inside; a process that
crashes or is killed is outlived by a small guard that does it from outside.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import termios
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import subprocess

# The guard knows the mode that was and the mode that we set, and gives back the first only while
# the second is still there: a shell that came first has set its own.
_GUARD: Final = """
import ast, os, sys, termios
fd, old, raw = int(sys.argv[1]), ast.literal_eval(sys.argv[2]), ast.literal_eval(sys.argv[3])
if os.read(0, 1) == b"" and termios.tcgetattr(fd)[:4] == raw[:4]:
    termios.tcsetattr(fd, termios.TCSANOW, old)
"""


class Terminal:
    """Raw mode for terminal `fd`; `signals` leaves C-c, C-z and C-backslash to the host.

    Does nothing when `fd` is no terminal.  `with` or `raw` and `restore`.
    """

    def __init__(self, fd: int, *, signals: bool = False) -> None:
        self.fd, self.signals = fd, signals
        self.is_terminal = os.isatty(fd)
        self._old: list[Any] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    def raw(self) -> None:
        """Enter raw mode."""
        if not self.is_terminal or self._old is not None:
            return
        self._old = termios.tcgetattr(self.fd)
        mode = raw_mode(self._old, signals=self.signals)
        self._start_guard(mode)
        atexit.register(self.restore)
        termios.tcsetattr(self.fd, termios.TCSANOW, mode)

    def restore(self) -> None:
        """Give the terminal the mode it had."""
        if self._old is None:
            return
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self._old)
        self._old = None
        atexit.unregister(self.restore)
        guard, self._guard = self._guard, None
        if guard is not None and guard.stdin is not None:
            with contextlib.suppress(OSError):
                guard.stdin.write(b"k")
            with contextlib.suppress(OSError):
                guard.stdin.close()
            guard.wait()

    def _start_guard(self, mode: list[Any]) -> None:
        # A copy: the guard's own standard input is its line to us.
        copy = os.dup(self.fd)
        command = [sys.executable, "-I", "-S", "-c", _GUARD, str(copy)]
        import subprocess

        self._guard = subprocess.Popen(  # noqa: S603 - our own text
            [*command, repr(self._old), repr(mode)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[copy],
            bufsize=0,
            # Another session: no signal of the terminal reaches it.
            start_new_session=True,
        )
        os.close(copy)

    def __enter__(self) -> Terminal:
        self.raw()
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()


def raw_mode(mode: list[Any], *, signals: bool) -> list[Any]:
    """Terminal attributes for passing every key on; output keeps its newline translation."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, cc = mode
    iflag &= ~(termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP)
    iflag &= ~(termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON)
    oflag |= termios.OPOST
    cflag = (cflag & ~(termios.CSIZE | termios.PARENB)) | termios.CS8
    lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.IEXTEN)
    if not signals:
        lflag &= ~termios.ISIG
    cc = list(cc)
    cc[termios.VMIN], cc[termios.VTIME] = 1, 0
    return [iflag, oflag, cflag, lflag, ispeed, ospeed, cc]
