"""A progress bar for saves, loads and transfers that take longer than half a second.

It is drawn on standard error, if that is a terminal in whose foreground we are; nothing of it goes
anywhere else.  The machine's thread only counts; a thread of its own draws.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from gossamer.control.progress import Progress

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

DELAY_S: Final = 0.5


class Countdown(Protocol):
    """Calls a function from another thread after some seconds, unless it is cancelled."""

    def start(self) -> None: ...
    def cancel(self) -> None: ...


def thread_timer(seconds: float, call: Callable[[], None]) -> Countdown:
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    return timer


class ProgressBar(Progress):
    """Draws on `file`; `settle` is called before, and says whether a line must be ended first."""

    def __init__(
        self,
        file: TextIO,
        settle: Callable[[], bool] = lambda: False,
        timer: Callable[[float, Callable[[], None]], Countdown] = thread_timer,
    ) -> None:
        self._file, self._settle, self._timer = file, settle, timer
        self._lock = threading.Lock()
        self._name = self._phase = ""
        self._total: int | None = None
        self._done = 0
        self._under_way = False
        self._live: Live | None = None

    # --- the machine's side -------------------------------------------------------------------

    @contextmanager
    def operation(self, name: str) -> Iterator[None]:
        if self._under_way or not may_draw(self._file):
            yield
            return
        self._under_way, self._name = True, name
        self.phase("")
        mid_line = self._settle()
        timer = self._timer(DELAY_S, lambda: self._begin(mid_line))
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            with self._lock:  # what draws has begun, or will not
                self._under_way = False
                live, self._live = self._live, None
            if live is not None:
                live.stop()

    def phase(self, name: str, total: int | None = None) -> None:
        self._phase, self._total, self._done = name, total, 0

    def advance(self, done: int) -> None:
        self._done += done

    # --- drawing ------------------------------------------------------------------------------

    def _begin(self, mid_line: bool) -> None:
        from gossamer.front import progress_view  # noqa: PLC0415 - most runs need no rich

        def picture() -> Table:
            return progress_view.row(f"{self._name}: {self._phase}", self._done, self._total)

        with self._lock:
            if self._under_way:
                self._live = progress_view.shown(self._file, picture, mid_line=mid_line)


def may_draw(file: TextIO) -> bool:
    """Whether `file` is a terminal, and not one that another job is using just now."""
    if not file.isatty():
        return False
    try:
        return os.tcgetpgrp(file.fileno()) == os.getpgrp()
    except OSError:  # not our session's terminal: no job takes turns at it
        return True
