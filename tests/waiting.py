"""Waits of tests: as long as a host that does much else needs, and then with what was seen."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

PATIENCE: Final = 600.0
"""Seconds that nothing which works takes, however slow the host is."""


def nothing() -> None:
    """What is done between two looks, where the other side is a thread or a process."""


def until(
    come: Callable[[], object],
    between: Callable[[], object] = nothing,
    *,
    saw: Callable[[], object] = nothing,
    pause: float = 0.005,
) -> None:
    """Wait until `come()`, calling `between()` before each further look.

    Where it does not come, the failure has what `saw()` gives.
    """
    end = time.monotonic() + PATIENCE
    while not come():
        assert time.monotonic() < end, f"not after {PATIENCE:g} s; seen: {saw()!r}"
        between()
        time.sleep(pause)


def ended(pid: int) -> bool:
    """Whether a process is gone, or has ended and waits for its parent to ask."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True
