"""When regions are made and dropped, for one engine.

Nothing here changes what a guest sees: regions are made of code that runs often, looked at every
`interval` instructions or so, installed between two native runs, and dropped when one of their
words changes.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gossamer.base.data import Data
from gossamer.base.errors import HostError
from gossamer.base.units import PAGE_SIZE, MiB
from gossamer.core import host
from gossamer.engine import build
from gossamer.engine.arena import CodeArena
from gossamer.engine.context import ENTRY_STRIDE, LINE
from gossamer.engine.elf import Loader, LoadError
from gossamer.engine.regions.blocks import Blocks
from gossamer.engine.regions.forming import Limits, Region, form
from gossamer.engine.regions.installed import Installed, Made
from gossamer.engine.regions.names import NAME, PLACES, names_of
from gossamer.engine.regions.pauses import Pauses
from gossamer.engine.regions.put_by import Found, PutBy
from gossamer.engine.regions.store import RegionStore, Stored, name_of
from gossamer.engine.regions.view import Fetches, Here, Targets, View
from gossamer.engine.regions.weighing import weigh
from gossamer.engine.regions.worker import Worker
from gossamer.engine.stencils.made import made as stencils
from gossamer.engine.tier0 import Sample, Tier0
from gossamer.isa.architecture import Architecture

if TYPE_CHECKING:
    from gossamer.engine.regions.compiling import Compiled

#: Instructions between two looks at where the guest is.
INTERVAL: Final = 1 << 14
#: Looks after which a place is compiled, for each `UNIT` instructions that its region would have:
#: what was interpreted there took about as long as compiling does.  Looks are counted up to the
#: next power of two.  Among stored regions a place is looked up as soon as it is found.
THRESHOLD: Final = 128
#: The same where blocks are copied first: compiling gains so many times less then.  Not where one
#: instruction of `_FLOATING` is floating point, which regions do several times as fast as blocks.
_FLOATING: Final = 8
#: Looks that the first region costs more: LLVM has to be loaded, 0.15 s of CPU time and 64 MiB.
_LOADING: Final = 1 << 13
AFTER_BLOCKS: Final = 16
UNIT: Final = 32
#: A place that was hot in an earlier process is compiled so many times sooner (LLVM's loading not
#: counted): a first boot pays for its hottest places only, and a guest that runs again and again
#: is compiled in its second and third run, for all those that follow.
_AGAIN: Final = 2
_AGAIN_BLOCKS: Final = 16
#: What such places take at the most: one part in so many of the process' CPU time.
_INVESTED: Final = 4
#: CPU time of compiling a region, ns, before it is known.
_USUAL_NS: Final = 40_000_000
#: A place inside a region is looked for this many times as often: slices end there, too.  Not one
#: that indirect branches go to: they enter a region at its head only.
_COVERED: Final = 8
_COVERED_AGAIN: Final = 2
#: Looks after which a place is compiled when the guest rests, and what that takes at the most of
#: the process' CPU time.
PUT_BY: Final = 32
_RESTING: Final = 3 / 4
ARENA: Final = 64 * MiB
#: Looks after which a place is copied: about what it saves from then on pays for it.
COPIED: Final = 2
LIMITS: Final = Limits()
#: Behind the code, where it is for a 64-bit CPU's 32-bit mode.
_NARROW: Final = b"narrow"
#: Bytes of code from the head on that a stored region is found by.
_NAMED: Final = 16
#: New regions that are written to disk together.
_BATCH: Final = 16
#: A head that made no region is tried again after so many instructions.
_RETRY: Final = 50_000_000
_MOST_REFUSED: Final = 1 << 14
#: A line of code that changed under a region is left alone for so many instructions, twice as many
#: each time that follows soon.
PAUSE: Final = 1_000_000
#: Instructions between two looks at a page whose code has data beside it.
_LOOK: Final = 1_000_000
_MOST_BUSY: Final = 1 << 12


class Counts(Data, frozen=False):
    """What was done so far, for `info jit`."""

    made: int = 0
    instructions: int = 0
    found: int = 0
    dropped: int = 0
    woken: int = 0
    changed_words: int = 0
    busy_pages: int = 0
    cleared: int = 0
    unformed: int = 0
    stale: int = 0
    failed: int = 0
    ns: int = 0


def store_path(architecture: Architecture) -> Path:
    """The file of compiled regions for this source, host and CPU model."""
    return build.cache_folder() / f"regions-{build.cache_key(architecture)}.cache"


class Regions:
    """Makes regions for an engine and keeps them right.

    `beside`: the engines of the machine's other CPUs, which have the same entries and run in turn
    (`Turns`); `engine` is the one that ran last.
    `threaded` compiles beside the machine; `store` keeps compiled regions on disk.  `blocks` are
    copied first; where `compiles` is false there are no others.
    """

    def __init__(
        self,
        engine: Tier0,
        architecture: Architecture,
        *,
        threshold: int = THRESHOLD,
        interval: int = INTERVAL,
        size: int = ARENA,
        limits: Limits = LIMITS,
        threaded: bool = False,
        store: RegionStore | None = None,
        pause: int = PAUSE,
        unit: int = UNIT,
        blocks: bool = True,
        compiles: bool = True,
        after_blocks: int = AFTER_BLOCKS,
        beside: Sequence[Tier0] = (),
    ) -> None:
        self.engine, self.architecture = engine, architecture
        self.engines = (engine, *beside)
        self.threshold, self.unit, self.limits = threshold, unit, limits
        self.counts = Counts()
        self._begun = engine.count
        self._copies, self._after_blocks = blocks, after_blocks
        self.compiles = compiles
        self.size = size
        self.store = store
        self._worker = Worker(architecture) if threaded else None
        self._refused: dict[int, int] = {}
        self._put_by = PutBy()
        #: Sizes of regions that were not worth it yet, by entry.
        self._sizes: dict[int, int] = {}
        #: Words of the regions that are being compiled, by entry.
        self._asked: dict[int, int] = {}
        self._changed = Pauses(pause)
        #: Pages whose code has data beside it: (instruction count, samples) of the last look.
        self._busy: dict[int, tuple[int, int]] = {}
        self.targets = Targets()
        #: Entries that indirect branches were seen to go to, or regions that they were left for.
        self._jumped_to: set[int] = set()
        #: The latter: what comes there is the rest of code that a region was too short for.
        self._rests: set[int] = set()
        self.last_fault = ""
        for each in self.engines:
            each.hot_found, each.regions_written = self.found, self.code_gone
            each.regions_busy, each.regions_turned = self.page_busy, self.page_turned
            each.before_run, each.hold_regions = partial(self._begin, each), self.hold
            each.sample(interval)

    def _begin(self, engine: Tier0) -> None:
        """An engine is about to run: what is found from here on is where it fetches."""
        if engine is not self.engine:
            self.engine = engine
            if "view" in self.__dict__:
                self.view.engine = engine
        self.take_compiled()

    # Made when the first hot place is found: most machines of a test never get there.

    @cached_property
    def view(self) -> View:
        return View(self.engine, self.engine.native.symbols["h_decode"])

    @cached_property
    def installed(self) -> Installed:
        return Installed(self.view, self._give_way)

    @cached_property
    def blocks(self) -> Blocks | None:
        """Blocks that are copied; None where there are none."""
        if not self._copies:
            return None
        found = stencils(self.architecture, self.engine.native)
        beside = self._worker is not None
        return Blocks(self.view, found, lambda: self._loader, self._changed, beside=beside)

    def _give_way(self, entry: int) -> None:
        if self.blocks is not None:
            self.blocks.give_way(entry)

    @cached_property
    def _loader(self) -> Loader:
        arena = CodeArena(self.size)
        for each in self.engines:
            each.set_regions(arena.base, arena.size)
        return Loader(arena, self.engine.native.functions)

    def close(self) -> None:
        """Make no more regions."""
        if self._worker is not None:
            self._worker.close()
        if self.store is not None:
            self.store.flush()

    def standing(self) -> AbstractContextManager[None]:
        """Nothing is compiled meanwhile: the process may fork."""
        return nullcontext() if self._worker is None else self._worker.standing()

    def forked(self) -> None:
        """In a fork, whose code is its parent's: what there is stays in force, nothing is added."""
        self._put_by.clear()
        for each in self.engines:
            each.hot_found, each.before_run = lambda samples: None, lambda: None

    def leave(self, *, ends: bool = False) -> None:
        """Leave the engine to tier 0, and give back the memory of the code.

        `ends`: the engine runs no more; what leads to the code is left as it is.
        """
        if ends:
            self._keep_last()
        self.close()
        if not ends:
            self.drop_all()
        self._give_back(ends=ends)
        for each in self.engines:
            each.hot_found, each.before_run = lambda samples: None, lambda: None
            each.hold_regions = lambda held: None
            each.regions_busy = each.regions_written = lambda where: None
            each.regions_turned = lambda page: None

    def _keep_last(self) -> None:
        """Store what was compiled and is not in force yet: else the next process would, again."""
        if self._worker is None or self.store is None:
            return
        for region, compiled in self._worker.last():
            if not isinstance(compiled, Exception) and self.installed.is_current(region):
                self._store(region, compiled)

    def _give_back(self, *, ends: bool) -> None:
        loader = self.__dict__.pop("_loader", None)
        if loader is not None:
            if not ends:
                self._forget()
            for each in self.engines:
                each.set_regions(0, 0)
            loader.arena.close()

    held = False

    def hold(self, held: bool) -> None:
        """Drop all and make none while there are breakpoints: only tier 0 looks at those."""
        self.held = held
        if held:
            self.drop_all()

    # --- where the guest is ----

    def found(self, samples: list[Sample]) -> None:
        """Places that the sampler met often enough to say so."""
        if self.held:
            return
        for s in samples:
            if s.source:
                self._note_jump(s)
        for s in samples:
            if s.source or s.entry in self.installed or s.entry in self._asked:
                continue
            page, offset = self.view.place(s.entry)
            if self.view.page(s.page) != page or self._is_barred(page, offset):
                continue
            if self.installed.wake(s.entry, self._is_barred):
                self.counts.woken += 1
                continue
            is_refused = self._refused.get(s.entry, 0) > self.engine.count
            name = b""
            if self.store is not None:
                name = self._name(page, offset, narrow=self.view.narrow)
            if not is_refused and self._from_store(s.page + offset, name):
                continue
            if s.count >= min(COPIED, self.threshold) and s.entry not in (self.blocks or ()):
                self.copy(s.page + offset)
            if is_refused or not self.compiles:
                continue
            threshold = self._threshold(name, s.count)
            if s.count >= threshold and not self._consider(s, page, offset, threshold):
                self._refuse(s.entry)
            elif s.count >= PUT_BY and s.entry not in self._asked:
                self._put_by.put(s.entry, Found(s.count, s.page + offset, self.view.fetches()))

    def copy(self, ea: int) -> None:
        """Make the block at `ea`, if there is none; a full arena begins anew."""
        blocks = self.blocks
        if blocks is None:
            return
        try:
            if not blocks.make(ea):
                self._begin_anew()
        except (LoadError, HostError) as fault:
            self._failed(fault)
            self.__dict__["blocks"] = None

    def _threshold(self, name: bytes, count: int) -> int:
        """Looks after which a place is compiled; it is noted for later processes before that."""
        if self.store is None:
            return self.threshold
        if self.store.was_hot(name):
            return max(self.threshold // (_AGAIN * min(self._after_blocks, _AGAIN_BLOCKS)), 1)
        if count >= self.threshold // _AGAIN:
            self.store.note_hot(name)
        return self.threshold

    def _may_invest(self) -> bool:
        """Whether compiling for later processes has taken no more than its part so far."""
        spent = self.counts.ns + len(self._asked) * _USUAL_NS
        return spent * _INVESTED <= host.process_cpu_ns()

    def _note_jump(self, s: Sample) -> None:
        """An indirect branch went to a place, or a region was left for it (`h_seam`)."""
        if s.source == s.entry:
            self._rests.add(s.entry)
        else:
            self.targets.note(s.source, s.page + self.view.place(s.entry)[1])
        if len(self._jumped_to) > _MOST_REFUSED:
            self._jumped_to.clear()
            self._rests.clear()
        self._jumped_to.add(s.entry)

    def _consider(self, s: Sample, page: int, offset: int, threshold: int) -> bool:
        """Make the region of a hot place once it is worth it; False: there is none."""
        size = self._sizes.get(s.entry)
        if size is None:
            size = self._weight(s.page + offset)
            if not size:
                self.counts.unformed += 1
                return False
            if len(self._sizes) > _MOST_REFUSED:
                self._sizes.clear()
            self._sizes[s.entry] = size
        need, was_hot = threshold * max(size // self.unit, 1), threshold < self.threshold
        if not was_hot and self._after_blocks > 1 and "llvmlite.binding" not in sys.modules:
            need += _LOADING
        if s.entry not in self._jumped_to and self.installed.has_word(page, offset):
            need *= _COVERED_AGAIN if was_hot else _COVERED
        if s.count < need or (was_hot and not self._may_invest()):
            return True  # it will be asked for again while it stays hot
        return self.make(s.page + offset)

    def _weight(self, ea: int) -> int:
        """The instructions of a region or so; as many times more as compiling it gains less."""
        here = self._here(ea)
        w = weigh(here, ea % PAGE_SIZE, self.limits)
        if self.blocks is None or w.floating * _FLOATING >= w.instructions:
            return w.instructions
        return w.instructions * self._after_blocks

    def _is_barred(self, page: int, offset: int) -> bool:
        """Whether the line of a word changed too short a time ago."""
        line = (page * PAGE_SIZE + offset) // LINE
        return self._changed.holds(line, self.engine.count)

    def _refuse(self, entry: int) -> None:
        if len(self._refused) > _MOST_REFUSED:
            self._refused.clear()
        self._refused[entry] = self.engine.count + _RETRY

    def rest(self) -> None:
        """The guest waits, and its thread too: what was put by is compiled, one after the other."""
        if self.held or self._worker is None or not self._put_by:
            return
        self.take_compiled()
        if self._worker.has_work:
            return
        spent = self.counts.ns + _USUAL_NS
        while spent <= host.process_cpu_ns() * _RESTING and (taken := self._put_by.take()):
            entry, found = taken
            if self._lacks(entry, found.looks) and self.make(found.ea, found.fetches):
                return

    def _lacks(self, entry: int, looks: int) -> bool:
        """Whether a place lacks a region; one that is inside another is to be met more often."""
        if entry in self.installed:
            return False
        if looks >= PUT_BY * _COVERED or entry in self._jumped_to:
            return True
        return not self.installed.has_word(*self.view.place(entry))

    # --- making ---

    def make(self, ea: int, then: Fetches | None = None) -> bool:
        """Make the region whose head is at `ea`, now or soon; False when there is none.

        With the pages that fetches find now, or found `then`.
        """
        page = self.view.page(ea, then)
        if page is None:
            return False
        entry = self.view.entry(page, ea % PAGE_SIZE)
        if entry in self.installed or entry in self._asked:
            return False
        if self._worker is not None and self._worker.is_full:
            return True  # it will be asked for again while it stays hot
        region = self._form(ea, then)
        if region is None:
            self.counts.unformed += 1
            return False
        if self._worker is not None:
            self._asked[entry] = len(region.words)
            self._worker.add(region)
            return True
        from gossamer.engine.regions.compiling import compile_text

        compiled = compile_text(region, names_of(self.architecture))
        return self._finish(region, compiled)

    def _here(self, ea: int, then: Fetches | None = None) -> Here:
        page = self.view.page(ea, then)
        is_rest = page is not None and self.view.entry(page, ea % PAGE_SIZE) in self._rests
        barred, size_at = self._is_barred, self._size_at
        return Here(self.view, ea, barred, self.targets, size_at, then, is_rest=is_rest)

    def _size_at(self, entry: int) -> int:
        """Words of the region of an entry, which may still be compiled; 0 where there is none."""
        return self._asked.get(entry, 0) or self.installed.size_at(entry)

    def _form(self, ea: int, then: Fetches | None) -> Region | None:
        from gossamer.engine.regions.code import codes_of  # not needed to run what is kept

        here = self._here(ea, then)
        codes = codes_of(self.architecture, narrow=here.narrow)
        region = form(here, codes, ea % PAGE_SIZE, self.limits)
        if region is not None and self.architecture.both_orders:
            region.orders, region.little = True, self.view.is_little(region.pages[0])
        return region

    def take_compiled(self) -> None:
        """Install what the worker has compiled: between two native runs."""
        if self._worker is None or self._worker.is_idle:
            return
        for region, compiled in self._worker.done():
            self._asked.pop(self.view.entry(region.pages[0], region.head), None)
            if isinstance(compiled, Exception):
                self._failed(compiled)
            elif self.held or not self.installed.is_current(region):
                self.counts.stale += 1
            else:
                self._finish(region, compiled)
        if self.store is not None and self.store.pending >= _BATCH:
            self._worker.run(self.store.flush)

    def _finish(self, region: Region, compiled: Compiled) -> bool:
        self.counts.ns += compiled.ns
        self.counts.made += 1
        self.counts.instructions += region.count
        region.settle()
        if not self._install(region, compiled.obj):
            return False
        self._store(region, compiled)
        if self._worker is None and self.store is not None and self.store.pending >= _BATCH:
            self.store.flush()
        return True

    def _store(self, region: Region, compiled: Compiled) -> None:
        if self.store is not None:
            name = self._name(region.pages[0], region.head, narrow=region.narrow)
            pages = tuple(sorted(region.pages))
            self.store.add(
                name, Stored(region.head, region.count, region.words, pages, compiled.obj)
            )

    def _install(self, region: Region, obj: bytes) -> bool:
        try:
            made = self._load(region, obj)
        except (LoadError, HostError) as fault:
            self._failed(fault)
            return False
        if made is not None:
            self.installed.install(made)
        return made is not None

    def _failed(self, fault: Exception) -> None:
        """A region could not be made: its code stays with tier 0; `info jit` says why."""
        self.counts.failed += 1
        self.last_fault = f"{type(fault).__name__}: {fault}"

    def _load(self, region: Region, obj: bytes) -> Made | None:
        """Load an object; when the arena is full everything goes and it begins anew."""
        before = self._loader.arena.used
        symbols = self._loader.load(obj)
        if symbols is None:
            self._begin_anew()
            before = 0
            symbols = self._loader.load(obj)
            if symbols is None:
                return None
        if NAME not in symbols or PLACES not in symbols:
            raise LoadError("region: expected a function and its pages, got neither")
        apart = [
            (page - region.pages[0]) * ENTRY_STRIDE for _, page in sorted(region.pages.items())
        ]
        arena = self._loader.arena
        arena.put(symbols[PLACES] - arena.base, struct.pack(f"<{len(apart)}q", *apart))
        self.engine.code_fresh(arena.base + before, arena.base + arena.used)
        return Made(region, symbols[NAME], arena.used - before)

    def _begin_anew(self) -> None:
        """Let everything go: the arena is full."""
        self.counts.dropped += len(self.installed)
        self._forget()
        self._loader.clear()
        self.counts.cleared += 1

    def _forget(self) -> None:
        self.installed.forget()
        if self.blocks is not None:
            self.blocks.forget()

    # --- regions on disk ---

    def _name(self, page: int, head: int, *, narrow: bool) -> bytes:
        code = self.view.code(page, head, min(_NAMED, PAGE_SIZE - head))
        return name_of(head, code + _NARROW if narrow else code)

    def _from_store(self, ea: int, name: bytes) -> bool:
        """Install a stored region for the head at `ea` if its words are all there."""
        if self.store is None:
            return False
        here, head = self._here(ea), ea % PAGE_SIZE
        for stored in self.store.find(name):
            region = here.recognize(stored.head, stored.words, stored.pages)
            if region is not None and stored.head == head and self._install(region, stored.obj):
                self.counts.found += 1
                return True
        return False

    # --- figures ---

    def executed(self) -> int:
        """Instructions that regions have executed."""
        return sum(each.pointer("region_count") for each in self.engines) >> 4

    def _used(self) -> int:
        """Bytes of the arena in use; 0 where there is none yet."""
        loader = self.__dict__.get("_loader")
        return 0 if loader is None else int(loader.arena.used)

    @property
    def blocks_made(self) -> int:
        blocks: Blocks | None = self.__dict__.get("blocks")
        return 0 if blocks is None else blocks.made

    def _blocks_text(self) -> str:
        blocks: Blocks | None = self.__dict__.get("blocks")
        if blocks is None:
            return "none"
        return f"{len(blocks)} in force, {blocks.made} copied, {blocks.instructions} instructions"

    def report(self) -> str:
        """Translated code for `info jit`."""
        c, used = self.counts, self._used()
        each = c.ns / 1000 / c.instructions if c.instructions else 0
        done = max(self.engine.count - self._begun, self.executed(), 1)
        share = 100 * self.executed() / done
        rows = [
            (
                "executed",
                f"{share:.1f} % of {done} instructions in regions, {100 - share:.1f} % interpreted",
            ),
            ("blocks", self._blocks_text()),
            ("regions", f"{len(self.installed)} in force, {c.made} compiled, {c.found} from disk"),
            ("instructions", f"{c.instructions} compiled, {each:.0f} us of CPU time each"),
            ("code", f"{used} bytes of {self.size}, emptied {c.cleared} times"),
            (
                "dropped",
                f"{c.dropped} regions, {c.changed_words} words changed, {c.woken} came back",
            ),
            ("in vain", f"{c.unformed} not formed, {c.stale} changed meanwhile, {c.failed} failed"),
        ]
        if self.last_fault:
            rows.append(("last failure", self.last_fault))
        return "\n".join(f"{name:14} {text}" for name, text in rows)

    # --- dropping ---

    def code_gone(self, word: int) -> None:
        """A decoded word, by its number in the arena, was written: what was made of it goes."""
        dropped = self.installed.drop_word(word)
        if self.blocks is not None:
            dropped += self.blocks.drop_word(word)
        if dropped:
            self.counts.changed_words += 1
            self._note_dropped(dropped)
            self._changed.begin(4 * word // LINE, self.engine.count_now)

    def page_busy(self, page: int) -> None:
        """Data were stored beside the code of an arena page for long: it may be code no more.

        Regions in which the guest was not found since the last look go.
        """
        now = self.engine.count_now
        samples = sum(each.samples_in(page) for each in self.engines)
        since, before = self._busy.get(page, (now, samples))
        if now - since >= _LOOK:
            since = now
            if samples <= before:
                self.counts.busy_pages += 1
                self._note_dropped(self.installed.drop_page(page))
                if self.blocks is not None:
                    self.blocks.drop_page(page)
        if len(self._busy) >= _MOST_BUSY:
            self._busy.clear()
        self._busy[page] = since, samples if since == now else before

    def page_turned(self, page: int) -> None:
        """An arena page's words are read in the other order of bytes from here on."""
        self._note_dropped(self.installed.drop_page(page))
        if self.blocks is not None:
            self.blocks.drop_page(page)

    def _note_dropped(self, entries: list[int]) -> None:
        """These places begin anew to become hot."""
        self.counts.dropped += len(entries)
        for each in self.engines:
            each.forget_samples(entries)

    def drop_all(self) -> None:
        self.counts.dropped += self.installed.drop_all()
        if self.blocks is not None:
            self.blocks.drop_all()
