"""When regions are made and dropped, for one engine.

Nothing here changes what a guest sees: regions are made of code that runs often, looked at every
`interval` instructions or so, and dropped when one of their words changes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from gossamer.base.units import PAGE_SIZE, MiB
from gossamer.core import host
from gossamer.engine.context import ENTRY_STRIDE
from gossamer.engine.regions.arena import CodeArena
from gossamer.engine.regions.code import Codes
from gossamer.engine.regions.compiling import compile_region
from gossamer.engine.regions.elf import Loader
from gossamer.engine.regions.forming import Limits, Region, form
from gossamer.engine.regions.functions import functions_of
from gossamer.engine.regions.installed import Installed, Made
from gossamer.engine.regions.names import Names
from gossamer.engine.regions.view import Here, View
from gossamer.engine.regions.writer import NAME, PLACES, Writer
from gossamer.engine.tier0 import Sample, Tier0

#: Instructions between two looks at where the guest is.
INTERVAL: Final = 1 << 14
#: Looks (a power of two) that make a place a head.
THRESHOLD: Final = 16
ARENA: Final = 64 * MiB
LIMITS: Final = Limits()
#: A head that made no region is tried again after so many instructions.
_RETRY: Final = 50_000_000
_MOST_PLACES: Final = 1 << 14


@dataclass
class Counts:
    """What was done so far, for `info jit`."""

    made: int = 0
    instructions: int = 0
    dropped: int = 0
    changed_pages: int = 0
    cleared: int = 0
    unformed: int = 0
    ns: int = 0


class Regions:
    """Makes regions for an engine and keeps them right."""

    def __init__(
        self,
        engine: Tier0,
        features: frozenset[str],
        *,
        threshold: int = THRESHOLD,
        interval: int = INTERVAL,
        size: int = ARENA,
        limits: Limits = LIMITS,
    ) -> None:
        functions = functions_of(engine.native)
        self.engine = engine
        self.threshold = threshold
        self.limits = limits
        self.counts = Counts()
        self.view = View(engine, functions["h_decode"])
        self.installed = Installed(self.view)
        self._codes, self._names = Codes(features), Names(features)
        self._loader = Loader(CodeArena(size), functions)
        self._refused: dict[int, int] = {}
        arena = self._loader.arena
        engine.set_regions(arena.base, arena.size)
        engine.hot_found, engine.regions_written = self.found, self.code_gone
        engine.sample(interval)

    # --- where the guest is ----

    def found(self, samples: list[Sample]) -> None:
        """Places that the sampler met often enough to say so."""
        for s in samples:
            if s.source or s.count < self.threshold or s.entry in self.installed:
                continue
            if self._refused.get(s.entry, 0) > self.engine.count:
                continue
            page, offset = self.view.place(s.entry)
            if self.view.page(s.page) == page and not self.make(s.page + offset):
                self._refuse(s.entry)

    def _refuse(self, entry: int) -> None:
        if len(self._refused) > _MOST_PLACES:
            self._refused.clear()
        self._refused[entry] = self.engine.count + _RETRY

    # --- making ---

    def make(self, ea: int) -> bool:
        """Make and install the region whose head is at `ea`; False when there is none."""
        page = self.view.page(ea)
        if page is None or self.view.entry(page, ea % PAGE_SIZE) in self.installed:
            return False
        start = host.thread_cpu_ns()
        region = form(Here(self.view, ea), self._codes, ea % PAGE_SIZE, self.limits)
        if region is None:
            self.counts.unformed += 1
            return False
        text = Writer(set(), region, self._names).module()
        made = self._load(region, compile_region(text))
        if made is None:
            return False
        self.installed.install(made)
        self.counts.made += 1
        self.counts.instructions += region.count
        self.counts.ns += host.thread_cpu_ns() - start
        return True

    def _load(self, region: Region, obj: bytes) -> Made | None:
        """Load an object; when the arena is full everything goes and it begins anew."""
        before = self._loader.arena.used
        symbols = self._loader.load(obj)
        if symbols is None:
            self.drop_all()
            self._loader.clear()
            self.counts.cleared += 1
            before = 0
            symbols = self._loader.load(obj)
            if symbols is None:
                return None
        apart = [
            (page - region.pages[0]) * ENTRY_STRIDE for _, page in sorted(region.pages.items())
        ]
        arena = self._loader.arena
        arena.put(symbols[PLACES] - arena.base, struct.pack(f"<{len(apart)}q", *apart))
        self.engine.code_fresh(arena.base + before, arena.base + arena.used)
        return Made(region, symbols[NAME], arena.used - before)

    def report(self) -> str:
        c, arena = self.counts, self._loader.arena
        each = c.ns / 1000 / c.instructions if c.instructions else 0
        rows = (
            ("regions", f"{len(self.installed)} in force, {c.made} made"),
            ("instructions", f"{c.instructions} translated, {each:.0f} us of CPU time each"),
            ("code", f"{arena.used} bytes of {arena.size}, emptied {c.cleared} times"),
            ("dropped", f"{c.dropped} regions, {c.changed_pages} changes of translated pages"),
            ("not formed", str(c.unformed)),
        )
        return "\n".join(f"{name:14} {text}" for name, text in rows)

    # --- dropping ---

    def code_gone(self, page: int) -> None:
        """A decoded word of an arena page changed."""
        self.counts.changed_pages += 1
        self.counts.dropped += self.installed.drop_page(page)

    def drop_all(self) -> None:
        self.counts.dropped += self.installed.drop_all()
