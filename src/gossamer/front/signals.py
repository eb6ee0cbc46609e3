"""Signals that end or stop the emulator, noticed between two slices."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

ENDING: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
INTERRUPTED: Final = 130


class Signals:
    """What came: `status` is the exit status that it asks for, None while none asks.

    `suspend` is called when the shell wants the process to stop.
    """

    def __init__(self, suspend: Callable[[], None]) -> None:
        self.status: int | None = None
        self._suspend = suspend
        self._came = 0

    @contextlib.contextmanager
    def caught(self, wake_fd: int) -> Iterator[None]:
        """Catch them; each writes a byte to `wake_fd`.  A second SIGINT interrupts at once."""
        numbers = (*ENDING, signal.SIGINT, signal.SIGTSTP)
        before = {number: signal.signal(number, self._note) for number in numbers}
        fd = signal.set_wakeup_fd(wake_fd, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(fd)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._came == signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._came = number

    def look(self) -> None:
        """Act on what came since the last look."""
        if self._came == signal.SIGTSTP:
            self._came = 0
            self._suspend()
        elif self._came and self.status is None:
            if self._came == signal.SIGINT:
                self.status = INTERRUPTED
            else:
                name = signal.Signals(self._came).name
                print(f"gossamer: ended by {name}", file=sys.stderr, flush=True)
                self.status = 0


def stop_process() -> None:
    """Stop as the shell asked."""
    os.kill(os.getpid(), signal.SIGSTOP)
