"""Trace events: counted notes of what a guest did that a chip does not expect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

DISTINCT: Final = 4096
"""Events that are counted apart: a guest chooses addresses, and must not fill the host's memory."""
OTHERS: Final = "others"


class Trace:
    """Counts events by (chip, text); an optional listener sees each as it happens."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.listener: Callable[[str, str], None] | None = None
        #: Events so far.
        self.total = 0

    def event(self, chip: str, text: str) -> None:
        self.total += 1
        key = (chip, text) if len(self.counts) < DISTINCT else (chip, OTHERS)
        self.counts[key if (chip, text) not in self.counts else (chip, text)] += 1
        if self.listener is not None:
            self.listener(chip, text)


#: A sink for devices used outside a machine.
QUIET = Trace()
