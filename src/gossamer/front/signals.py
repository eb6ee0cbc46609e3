"""Signals that end or stop the emulator, noticed between two slices.

No signal interrupts what is going on, in whatever order they come: the first one ends the run at
the next look, and while the disks are written out all are held.  The one exception is a second
SIGINT for what has not ended half a second after the first (a command that hangs, say).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

ENDING: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
INTERRUPTED: Final = 130
PATIENCE_S: Final = 0.5
_HELD: Final = (
    b"gossamer: the disks are being written out, please wait (SIGKILL loses only what the guest "
    b"has not flushed)\n"
)


class Signals:
    """What came: `status` is the exit status that it asks for, None while none asks.

    `suspend` is called when the shell wants the process to stop.
    """

    def __init__(self, suspend: Callable[[], None]) -> None:
        self.status: int | None = None
        #: The process ends after the run: a signal that comes then is too late to change how.
        self.last = False
        self._suspend = suspend
        self._came = 0
        self._since = 0.0
        self._catches = self._closing = self._said = False
        self._wake_fd = -1

    @contextlib.contextmanager
    def caught(self, wake_fd: int) -> Iterator[None]:
        """Catch them, unless that is done already; each writes a byte to `wake_fd`."""
        if self._catches:
            yield
            self._closing = True
            return
        numbers = (*ENDING, signal.SIGINT, signal.SIGTSTP)
        before = {number: signal.signal(number, self._note) for number in numbers}
        fd = signal.set_wakeup_fd(wake_fd, warn_on_full_buffer=False)
        self._catches, self._wake_fd = True, wake_fd
        try:
            yield
        finally:
            self._catches = False
            signal.set_wakeup_fd(fd)
            for number, handler in before.items():
                late = self.last and number != signal.SIGTSTP
                signal.signal(number, signal.SIG_IGN if late else handler)

    def beside(self, call: Callable[[], int], wake_fd: int) -> int:
        """Do `call` in a thread of its own, while this one, the main thread, takes the signals."""
        ended: list[int | BaseException] = []

        def work() -> None:
            try:
                ended.append(call())
            except BaseException as fault:
                ended.append(fault)

        with self.caught(wake_fd):
            thread = threading.Thread(target=work, name="machine", daemon=True)
            thread.start()
            try:
                thread.join()
            except KeyboardInterrupt:  # the machine's thread hangs: nothing else could end it
                os._exit(INTERRUPTED)
        (how,) = ended
        if isinstance(how, BaseException):
            raise how
        return how

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._closing:
            if number != signal.SIGTSTP and not self._said:
                self._said = True
                with contextlib.suppress(OSError):
                    os.write(2, _HELD)
            return
        now = time.monotonic()
        if self._came == signal.SIGINT == number and self.status is None:
            if now - self._since > PATIENCE_S:
                raise KeyboardInterrupt
            return
        self._came, self._since = number, now
        if self._wake_fd >= 0:  # the loop may have looked before this thread came to note it
            with contextlib.suppress(OSError):
                os.write(self._wake_fd, b"s")

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


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Let no signal interrupt the body; the first one is answered with a request to wait."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals do not reach this thread: `Signals.beside` answers them
        return
    said = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal said
        del number, frame
        if not said:
            said = True
            with contextlib.suppress(OSError):
                os.write(2, _HELD)

    before = {number: signal.signal(number, note) for number in (*ENDING, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
