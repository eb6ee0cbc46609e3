"""-d, -D, -trace: what chips note of unexpected accesses, as lines of text."""

from __future__ import annotations

import os
import sys
from collections import Counter
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Final, TextIO

from gossamer.base.errors import HostError
from gossamer.machines.config import Logging
from gossamer.machines.option_objects import check_log_items

ALIKE: Final = 10
"""Lines of the same chip and text; behind them only each doubling is written."""
MOST: Final = 100_000
"""Lines in all: a guest must not fill the host's disk."""
_DISTINCT: Final = 4096


class TraceLog:
    """Writes the events of chips whose path fits a pattern.  HostError when the file cannot be."""

    def __init__(self, wanted: Logging) -> None:
        self._patterns = wanted.patterns
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lines = 0
        self._file: TextIO | None = None
        if wanted.file is not None:
            self.write_to("-D", str(wanted.file))

    def write_to(self, where: str, name: str) -> None:
        """Write into the file `name` from now on; where that cannot be, into the one before."""
        path = name.replace("%d", str(os.getpid()))
        try:
            file = open(path, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - kept open
        except OSError as fault:
            raise HostError(f"{where}: {path}: cannot be written: {fault.strerror}") from None
        if self._file is not None:
            self._file.close()
        self._file = file

    def choose(self, items: str) -> None:
        """Record the items of -d, all of them, or none."""
        if items not in ("all", "none"):
            check_log_items("log", items)
        self._patterns = () if items == "none" else ("*",)

    def event(self, chip: str, text: str) -> None:
        """One event, as `Trace` reports it."""
        if self._lines >= MOST or not any(fnmatchcase(chip, p) for p in self._patterns):
            return
        key = (chip, text) if len(self._counts) < _DISTINCT else (chip, "")
        self._counts[key] += 1
        times = self._counts[key]
        if times > ALIKE and times & (times - 1):
            return
        self._lines += 1
        line = f"{chip}: {text}" + (f" ({times} times)" if times > ALIKE else "")
        if self._lines == MOST:
            line = f"{MOST} lines were written; the rest is left out"
        print(line, file=self._file or sys.stderr, flush=True)

    def __enter__(self) -> TraceLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
