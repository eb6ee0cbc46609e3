"""Modules that a running machine may need at any moment, loaded while the guest runs.

A start imports what it takes to run the guest.  What may be asked for later (compiling hot code,
commands, saves) is named here, and a thread imports it beside the guest, one load after the other:
neither the start nor what is asked for waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from threading import Thread


class Loading(Thread):
    """One load; `load` imports, or reads what stays.  What it raises comes again at its use."""

    def __init__(self, load: Callable[[], object], after: Loading | None) -> None:
        super().__init__(name="ahead", daemon=True)
        self._load, self._after = load, after

    def run(self) -> None:
        if self._after is not None:
            self._after.join()
            self._after = None
        with suppress(Exception):
            self._load()

    @property
    def is_done(self) -> bool:
        return not self.is_alive()


class _Queue:
    last: Loading | None = None


def load(modules: Callable[[], object]) -> Loading:
    """Begin to load: call it when the guest is about to run."""
    loading = _Queue.last = Loading(modules, _Queue.last)
    loading.start()
    return loading


def settle() -> None:
    """Wait for what is under way: a fork of the process must not hold half of an import."""
    if _Queue.last is not None:
        _Queue.last.join()
        _Queue.last = None
