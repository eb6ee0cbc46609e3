"""How far a build is: one line that is written over on a terminal, else a line a step."""

from __future__ import annotations

import sys
import time
from typing import Final, TextIO

_AGAIN_S: Final = 0.2
_CLEAR: Final = "\r\x1b[K"


class Shown:
    """Draws on `file`.  `total` of a step is about how many units it has; 0: unknown."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._live = file, file.isatty()
        self._name, self._total, self._done = "", 0, 0
        self._began = self._drawn = 0.0

    def begin(self, name: str, total: int = 0) -> None:
        self._name, self._total, self._done = name, total, 0
        self._began, self._drawn = time.monotonic(), 0.0
        if self._live:
            self.moved(0)
        else:
            self._write(f"  {name} …\n")

    def moved(self, units: int = 1) -> None:
        """So many units more are done."""
        self._done += units
        now = time.monotonic()
        if self._live and now - self._drawn >= _AGAIN_S:
            self._drawn = now
            self._write(f"{_CLEAR}  {self._name:24}{self._part()}  {self._elapsed(now)}")

    def end(self) -> None:
        took = self._elapsed(time.monotonic())
        self._write(f"{_CLEAR}  {self._name:24}{took}\n" if self._live else f"    {took}\n")

    def _part(self) -> str:
        """The share that is done; an estimate never says more than 99 %."""
        if not self._total:
            return "     "
        return f"{min(99, self._done * 100 // self._total):3} %"

    def _elapsed(self, now: float) -> str:
        minutes, seconds = divmod(round(now - self._began), 60)
        return f"{minutes}:{seconds:02}"

    def _write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()


def on_stderr() -> Shown:
    return Shown(sys.stderr)
