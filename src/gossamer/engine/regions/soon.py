"""Regions for an engine as soon as what makes them is loaded, which happens beside the guest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Final

from gossamer.core import ahead
from gossamer.engine.tier0 import Tier0

if TYPE_CHECKING:
    from gossamer.engine.regions.regions import Regions

#: Some 5 ms of tier 0: what is loaded takes as long, in the thread.
FIRST: Final = 400_000


class Soon:
    """`make` makes the regions; it is called between two native runs.

    Before that `load` is called in a thread, once the modules are there.  Loading begins when the
    guest has executed `FIRST` instructions: what it answers first, a guest that goes on from a save
    above all, is not held up by it, and one that waits for a key costs nothing.  Where all of it
    `is_loaded` in this process, for a machine before, nothing is waited for.
    """

    def __init__(
        self,
        engine: Tier0,
        make: Callable[[], Regions],
        load: Callable[[], object] = lambda: None,
        is_loaded: Callable[[], bool] = lambda: False,
        beside: Sequence[Tier0] = (),
    ) -> None:
        """`beside`: the engines of a machine's other CPUs."""
        self._make, self._load, self._is_loaded = make, load, is_loaded
        self._loading: ahead.Loading | None = None
        self._made: Regions | None = None
        self._began: int | None = None
        self._engines = (engine, *beside)
        for each in self._engines:
            each.before_run = partial(self._look, each)

    def _look(self, engine: Tier0) -> None:
        if self._loading is None:
            if self._is_loaded():
                self.regions()
                return
            count = engine.count
            if self._began is None or count < self._began:  # it has gone back
                self._began = count
            elif count - self._began >= FIRST:
                self._loading = ahead.load(self._load_all)
        elif self._loading.is_done:
            self.regions()

    def regions(self) -> Regions:
        """The regions, now."""
        if self._made is None:
            self._made = self._make()
        return self._made

    def rest(self) -> None:
        """The guest has nothing to do for a while."""
        if self._made is not None:
            self._made.rest()

    def leave(self, *, ends: bool = False) -> None:
        """Leave the engine to tier 0; `ends`: it runs no more."""
        if self._made is not None:
            self._made.leave(ends=ends)
        else:
            for each in self._engines:
                each.before_run = lambda: None

    def _load_all(self) -> None:
        import_module("gossamer.engine.regions.regions")
        self._load()
