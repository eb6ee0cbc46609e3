"""Tier 0: the interpreter, driven from Python.

Owns the native context: register block, translation caches, predecoded entries.  `run` executes
an exact number of instructions or less; less only when something asked for an exit.
"""

from __future__ import annotations

import ctypes
import mmap
from array import array
from collections.abc import Callable, Iterable
from struct import Struct
from typing import TYPE_CHECKING, Final, Literal

from gossamer.base.data import Data
from gossamer.base.units import PAGE_SIZE
from gossamer.core import host
from gossamer.core.clock import NEVER
from gossamer.core.faces import Learned
from gossamer.core.htab import ENTRY, GROUP, LARGE, HashTable
from gossamer.core.memory import AddressMap, PageEntries
from gossamer.core.table import PRIVATE, Table
from gossamer.cpu.block import RegisterBlock
from gossamer.engine import build
from gossamer.engine.addresses import addresses_of
from gossamer.engine.context import (
    ANSWER_ARGUMENTS,
    ANSWER_RESULT,
    ANSWER_SIZE,
    BANKS,
    CALL_DATA,
    DATA_SLOTS,
    DTLB_ENTRIES,
    EFFECT_CODES,
    ENTRY_STRIDE,
    HELD_STORE,
    HOT_SLOTS,
    IRQ_EXIT,
    ITLB_ENTRIES,
    JOURNAL,
    LINE,
    MOVE_DATA,
    MOVE_FACE,
    MOVE_LEVEL,
    MOVE_SLOT,
    MOVE_STORE,
    MOVES,
    NO_TAG,
    SAMPLE_SLOT,
    SAMPLER_EXIT,
    SAMPLES,
    TIMER_EXIT,
    TLB_CHUNK,
)
from gossamer.engine.plain_bytes import PlainBytes
from gossamer.engine.protocol import InstructionTime
from gossamer.engine.units import units_of
from gossamer.isa.answers import ANSWERS
from gossamer.isa.architecture import Architecture

if TYPE_CHECKING:
    pass

#: A straight line of code can overrun the budget by a page of instructions at the most.
_SLACK: Final = PAGE_SIZE // 4
#: Calls of Python (a power of two), for chips above all, after which `run` comes back: they take
#: far longer than instructions, and the engine's caller looks at the host's clock in between.
_ACCESSES: Final = 256
_CODE, _BUSY, _ABSENT, _TURNED, _ANSWER, _UNIT = (
    EFFECT_CODES[name] for name in ("code", "busy", "absent", "turned", "answer", "unit")
)

#: A word, and the callbacks that loads and stores take: real address, value, size.
_WORDS: Final = {32: ctypes.c_uint32, 64: ctypes.c_uint64}
_LOADS: Final = {
    width: ctypes.CFUNCTYPE(ctypes.c_uint64, word, ctypes.c_uint32)
    for width, word in _WORDS.items()
}
_STORES: Final = {
    width: ctypes.CFUNCTYPE(None, word, ctypes.c_uint64, ctypes.c_uint32)
    for width, word in _WORDS.items()
}
_EFFECT = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32)

#: A slot of the sampler's table, as native code lays it out.
_SLOTS: Final = {32: Struct("<QQII"), 64: Struct("<QQIxxxxQ")}
_COUNT_AT: Final = 16
#: What tables of translations are filled with, by the width of a tag.
_TAGS: Final[dict[int, Literal["I", "Q"]]] = {32: "I", 64: "Q"}


class Sample(Data):
    """A place where slices of the budget have ended `count` times.

    `entry` is its predecoded entry's address, `page` its effective page; `source` is the entry of
    the branch that led there, 0: however it was reached.
    """

    entry: int
    source: int
    count: int
    page: int


class Decoded:
    """Predecoded entries of all RAM, and where there are any: one for all CPUs of a machine.

    `entries` is the address of the entries of arena page 0; those of page n are n x `ENTRY_STRIDE`
    on.  One CPU runs at a time, so nothing here is ever used by two.
    """

    def __init__(self, pages: int) -> None:
        self.memory = mmap.mmap(-1, (pages + 4) * ENTRY_STRIDE, PRIVATE | host.MAP_NORESERVE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.entries = -(-start // ENTRY_STRIDE) * ENTRY_STRIDE
        self.ready = Table(pages)
        self.code_writes = Table(pages, "H")
        self.code_lines = Table(pages * PAGE_SIZE // LINE // 8)
        #: Of parts with two orders of bytes: 1 for a page whose entries are of words in
        #: little-endian order; how often a page's order has changed.
        self.orders = Table(pages)
        self.turned = Table(1, "Q")
        #: What CPUs have to know of each other's translations (`runtime_journal`).
        self.journal = Table(1 + JOURNAL, "Q")


class Tier0(InstructionTime):
    """The interpreter for one CPU on one address map; `beside`: of another CPU's engine.

    `count` is the number of instructions executed so far; `effect` is called with a code of
    `context.EFFECT_CODES` and an argument.
    """

    def __init__(
        self, memory: AddressMap, architecture: Architecture, beside: Tier0 | None = None
    ) -> None:
        self.memory, self.architecture = memory, architecture
        pages = memory.arena.capacity // PAGE_SIZE
        assert beside is None or beside.architecture == architecture
        self.decoded: Decoded = Decoded(pages) if beside is None else beside.decoded
        self.entries, self.ready = self.decoded.entries, self.decoded.ready.view
        self.effect: Callable[[int, int], None] = lambda code, argument: None
        #: Called with the virtual ns at which DEC expires next, where native code saw to it.
        self.timer_moved: Callable[[int], None] = lambda when: None
        #: Called between two native runs with places whose counts have reached a power of two.
        self.hot_found: Callable[[list[Sample]], None] = lambda samples: None
        #: Called with the number (arena offset / 4) of a decoded word that was written, in a page
        #: whose `ready` flag is `WITH_REGIONS`, before its entry is forgotten.
        self.regions_written: Callable[[int], None] = lambda word: None
        #: Called with such a page when data were stored beside its code for a long time: when no
        #: regions are left in it, all its code is forgotten.
        self.regions_busy: Callable[[int], None] = lambda page: None
        #: Called with such a page whose words are fetched in another order of bytes from now on:
        #: no region with a word of it may be entered again.
        self.regions_turned: Callable[[int], None] = lambda page: None
        #: Called before native code runs, and never while it does.
        self.before_run: Callable[[], None] = lambda: None
        #: Called with True when breakpoints are set, which regions would run past, False when not.
        self.hold_regions: Callable[[bool], None] = lambda held: None
        self.native = build.native(architecture)
        self._words = addresses_of(architecture)
        self._fields = self._words.fields
        self._context = mmap.mmap(-1, self._words.context_size, PRIVATE)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._context))
        self.block = RegisterBlock(memoryview(self._context), architecture.word)
        super().__init__()
        self._bytes = PlainBytes(self._set64)
        self._running = False
        self._still = self._holding = False
        self._error: BaseException | None = None
        self._accesses = 0
        self._slice = 1 << 62
        self._hash_table: PageEntries | None = None
        self._samples = Table(SAMPLES * SAMPLE_SLOT)
        self._hot = Table(HOT_SLOTS, "I")
        #: Entries whose slots are still to be emptied.
        self._forgotten: set[int] = set()
        self._moves = Table(MOVES * MOVE_SLOT)
        self._data = Table(2 * DATA_SLOTS, "Q")
        self._allocate()
        self._bind()
        self.faces = memory.faces
        self._prepare(self._address)
        self.set_time(0, self._rate)
        self.flush()
        self.attach()

    # --- set-up -----------------------------------------------------------------------------------

    def _allocate(self) -> None:
        arena = self.memory.arena
        pages = arena.capacity // PAGE_SIZE
        entries = self.entries
        # A tag of zero could only be matched in a table's first line, and in its last one by an
        # access that runs over the end of the address space: their chunks count as used.
        size, tag = self._words.tables, _TAGS[self._words.width]
        banks = BANKS * size.bank
        self._tlbs = mmap.mmap(-1, banks + size.dtlb + size.itlb + PAGE_SIZE, PRIVATE)
        tlbs = ctypes.addressof(ctypes.c_char.from_buffer(self._tlbs))
        self._null = Table((size.dtlb + size.itlb) // (self._words.width // 8), tag)
        self._null.view[:] = memoryview(array(tag, [NO_TAG]) * self._null.count)
        null = self._null.address
        chunks = [n // TLB_CHUNK for n in (DTLB_ENTRIES, DTLB_ENTRIES, ITLB_ENTRIES, ITLB_ENTRIES)]
        for name, tables in (("bank_used", chunks * BANKS), ("real_used", chunks[1:3])):
            for n, count in enumerate(tables):
                self._set64(name, 1 | 1 << count - 1, n)
        self._write_lines = Table(pages, "H")
        self._no_table = Table(GROUP * ENTRY)
        real = tlbs + banks
        pointers = {
            "arena": arena.address,
            "pages": self.memory.page_table.address,
            "dirty": arena.dirty_table.address,
            "code": arena.code_table.address,
            "absent": arena.absent_table.address,
            "code_lines": self.decoded.code_lines.address,
            "code_writes": self.decoded.code_writes.address,
            "ready": self.decoded.ready.address,
            "entries": entries,
            "entries_end": entries + pages * ENTRY_STRIDE,
            "journal": self.decoded.journal.address,
            "scratch": entries + (pages + 1) * ENTRY_STRIDE,
            "banks": tlbs,
            "d_real": real,
            "i_real": real + size.dtlb,
            "d_null": null,
            "i_null": null + size.dtlb,
            "write_lines": self._write_lines.address,
            "moves": self._moves.address,
            "data": self._data.address,
        }
        for name, value in pointers.items():
            self._set64(name, value)
        for unit in self.native.units:
            self._take_unit(unit)
        if self._words.width == 64:
            self._find_table()
            self._set64("orders", self.decoded.orders.address)
            self._set64("turned", self.decoded.turned.address)
        self._set64("slack", _SLACK)
        self._set64("next_look", self._slice)

    def _find_table(self) -> None:
        """Point native code to the hypervisor's hash table, or to a group of zeros."""
        self._hash_table = table = self.memory.hash_table
        if table is None:
            place, count, dirty = self._no_table.address, GROUP, self._no_table.address
        else:
            assert isinstance(table, HashTable), table
            place, count, dirty = table.address, table.count, table.dirty.address
        self._set64("table", place)
        self._set64("table_mask", 2 * count - 1)
        self._set64("table_dirty", dirty)

    def _bind(self) -> None:
        """Native functions and the callbacks that they call."""
        pointer, i64 = ctypes.c_void_p, ctypes.c_int64
        width = self._words.width
        word = _WORDS[width]
        address = self.native.address
        self._drive = ctypes.CFUNCTYPE(None, pointer, i64, i64)(address("drive"))
        if width == 64:
            self._forget = ctypes.CFUNCTYPE(None, pointer, word)(address("forget"))
        self._interrupt = ctypes.CFUNCTYPE(None, pointer, word, word, word)(address("interrupt"))
        self._effect_msr = ctypes.CFUNCTYPE(None, pointer)(address("effect_msr"))
        self._flush = ctypes.CFUNCTYPE(None, pointer)(address("flush_for_all"))
        self._catch_up = ctypes.CFUNCTYPE(None, pointer)(address("catch_up"))
        self._written = ctypes.CFUNCTYPE(None, pointer, i64, i64)(address("code_written"))
        self._decode = ctypes.CFUNCTYPE(None, pointer, pointer)(address("decode"))
        self._code_fresh = ctypes.CFUNCTYPE(None, i64, i64)(address("code_fresh"))
        self._prepare = ctypes.CFUNCTYPE(None, pointer)(address("prepare"))
        self._learn_move = ctypes.CFUNCTYPE(None, pointer, i64, i64, i64, i64)(address("learn"))
        self._hold = ctypes.CFUNCTYPE(None, pointer, i64, i64)(address("hold"))
        self._held_era = ctypes.c_uint64.from_address(self._address + self._fields["held_era"])
        self._held_era.value = 1
        self._callbacks = (
            _LOADS[width](self._load),
            _STORES[width](self._store),
            _EFFECT(self._on_effect),
        )
        names = ("load_callback", "store_callback", "effect_callback")
        for name, callback in zip(names, self._callbacks, strict=True):
            self._set64(name, ctypes.cast(callback, ctypes.c_void_p).value or 0)
        self._line_of_time = tuple(
            ctypes.c_int64.from_address(self._address + self._fields[name])
            for name in ("base_ns", "base_count", "rate")
        )
        self._hot_count = ctypes.c_uint32.from_address(self._address + self._fields["hot_count"])
        self._current_left = ctypes.c_int64.from_address(
            self._address + self._fields["current_left"]
        )
        self._end_count = ctypes.c_int64.from_address(self._address + self._fields["end_count"])
        self._exit = ctypes.c_uint32.from_address(self._address + self._fields["exit_request"])
        self._takes_irqs = ctypes.c_uint32.from_address(self._address + self._fields["takes_irqs"])
        self._news = ctypes.c_uint32.from_address(self._address + self._fields["news"])
        self._run_limit = ctypes.c_int64.from_address(self._address + self._fields["run_limit"])
        self._dec_count = ctypes.c_int64.from_address(self._address + self._fields["dec_count"])
        self._dec_when = ctypes.c_int64.from_address(self._address + self._fields["dec_when"])
        self._timer_moved = ctypes.c_uint32.from_address(
            self._address + self._fields["timer_moved"]
        )
        self._face = ctypes.c_uint32.from_address(self._address + self._fields["face"])
        self._data_count = ctypes.c_uint32.from_address(self._address + self._fields["data_count"])
        self._bypass = ctypes.c_uint32.from_address(self._address + self._fields["bypass"])

    def pointer(self, name: str) -> int:
        """A 64-bit field of the context."""
        return ctypes.c_uint64.from_address(self._address + self._fields[name]).value

    def set_regions(self, base: int, size: int) -> None:
        """Say where the code of regions lies: what an entry leads to there is no handler."""
        self._set64("region_base", base)
        self._set64("region_size", size)

    def word(self, name: str) -> int:
        """A 32-bit field of the context."""
        return ctypes.c_uint32.from_address(self._address + self._fields[name]).value

    def address(self, name: str) -> int:
        """A field of the context that holds an effective address."""
        word = _WORDS[self._words.width]
        return word.from_address(self._address + self._fields[name]).value

    def answer_calls(self, memory: int) -> None:
        """Answer some hypercalls in native code (`cpu.table_calls`): of pages below `memory`."""
        self._set64("call_memory", memory)

    def answer_terminal(self, unit: int, take: Callable[[bytes], None]) -> None:
        """Answer its hypercalls in native code (`cpu.terminal_calls`)."""
        self._set64("call_unit", unit)
        self._terminal = take
        at = self._address + self._fields["call_waits"]
        self._call_waits = ctypes.c_uint32.from_address(at)

    _terminal: Callable[[bytes], None] | None = None

    def terminal_silent(self, silent: bool) -> None:
        self.set_word("call_silent", int(silent))

    def set_word(self, name: str, value: int) -> None:
        ctypes.c_uint32.from_address(self._address + self._fields[name]).value = value

    def set_pointer(self, name: str, value: int) -> None:
        """Set a 64-bit field of the context."""
        self._set64(name, value)

    def decode_again(self, offsets: Iterable[int]) -> None:
        """Forget what was decoded at these offsets of every page."""
        decoded = [n for n, has in enumerate(self.memory.arena.code_table.view) if has]
        for page in decoded:
            for offset in offsets:
                self._written(self._address, page * PAGE_SIZE + offset, 4)

    def _set64(self, name: str, value: int, index: int = 0) -> None:
        ctypes.c_uint64.from_address(self._address + self._fields[name] + 8 * index).value = value

    # --- callbacks: everything is caught, kept and raised when native code has returned ----

    def _load(self, ra: int, size: int) -> int:
        self._count_access()
        self._still = self.faces.carried = False
        try:
            if self._news.value:
                self._settle()
            value = self.memory.load(ra, size)
        except BaseException as e:
            self._keep(e)
            value = 0
        self._accessed()
        return value

    def _accessed(self) -> None:
        """After an access that came from native code: what is still known there."""
        faces = self.faces
        if not (self._still or faces.carried):
            if self._holding:
                self._forget_held()
            faces.accessed()
        self._face.value = faces.current

    def _held(self, ra: int, size: int, value: int, store: bool) -> None:
        """A still register was accessed: native code sees to it from now on."""
        self._still = self._holding = True
        self._hold(self._address, ra | size << 32 | (HELD_STORE if store else 0), value)

    def _forget_held(self) -> None:
        """A chip may have changed: its registers are read anew."""
        if self._holding:
            self._holding = False
            self._held_era.value += 1

    def _store(self, ra: int, value: int, size: int) -> None:
        self._count_access()
        self._still = self.faces.carried = False
        try:
            if self._news.value:
                self._settle()
            self.memory.store(ra, value, size)
        except BaseException as e:
            self._keep(e)
        self._accessed()

    # --- learned accesses (`core.faces`) ------------------------------------------------------

    def _learn(self, access: Learned) -> None:
        kind = (MOVE_STORE if access.store else 0) | (MOVE_DATA if access.data else 0)
        key = access.key | kind | access.face << MOVE_FACE
        then = access.then | (MOVE_LEVEL << 32 if access.level else 0)
        self._learn_move(self._address, key, access.value, access.result, then)
        self._learned = True

    #: Whether there is something in the table of moves.
    _learned = False

    def _unlearn(self) -> None:
        if self._learned:
            self._learned = False
            self._moves.fill(0)

    def _settle(self) -> None:
        """Bring the chips to where native code has got."""
        if not self._news.value:
            return
        self._news.value = 0
        if self._face.value != self.faces.current:
            self.faces.settle(self._face.value)
        if self._timer_moved.value:
            self._timer_moved.value = 0
            self.timer_moved(self._dec_when.value)
        if count := self._data_count.value:
            self._data_count.value = 0
            data = self._data.view[: 2 * count].tolist()
            said = bytearray()
            for place, value in zip(data[::2], data[1::2], strict=True):
                if place & CALL_DATA:
                    said += value.to_bytes(8, "big")[: place & 0xF]
                else:
                    self.memory.take(place, value)
            if said:
                assert self._terminal is not None
                self._terminal(bytes(said))

    def _on_effect(self, code: int, argument: int) -> None:
        try:
            if code == _CODE:
                self.regions_written(argument)
            elif code == _BUSY:
                self.regions_busy(argument)
            elif code == _TURNED:
                self.regions_turned(argument)
            elif code == _ANSWER:
                self._answer(argument)
            elif code == _UNIT:
                self._take_unit(argument)
            elif code == _ABSENT:
                self.memory.arena.need(argument * PAGE_SIZE, PAGE_SIZE)
            else:
                self._count_access()
                self._settle()
                self.effect(code, argument)
        except BaseException as e:
            self._keep(e)

    def _take_unit(self, unit: int) -> None:
        """Let decoding find the handlers of a unit."""
        self._set64("units", self.native.unit(unit).address("decode_rows"), unit)

    def take_all_units(self) -> None:
        """Have every unit at once: what is decoded from here on has its own handlers."""
        for unit in units_of(self.architecture):
            self._take_unit(unit)

    def _answer(self, n: int) -> None:
        """Answer a service whose arguments are in the context."""
        self._count_access()
        answer = ANSWERS[n]
        at = self._fields["answer"]
        places = range(at, at + ANSWER_SIZE * ANSWER_ARGUMENTS, ANSWER_SIZE)
        values = [
            int.from_bytes(self._context[place : place + width // 8], "little")
            for place, width in zip(places, answer.widths, strict=False)
        ]
        at = self._fields["answered"]
        result = answer.compute(*values)
        self._context[at : at + ANSWER_RESULT] = result.to_bytes(ANSWER_RESULT, "little")

    def _count_access(self) -> None:
        self._accesses += 1
        if self._accesses % _ACCESSES == 0:
            self.request_exit()

    def _keep(self, e: BaseException) -> None:
        if self._error is None:
            self._error = e
        self.request_exit()

    # --- running ------------------------------------------------------------------------------

    def request_exit(self) -> None:
        self._exit.value = 1

    def look_at_interrupts(self) -> None:
        self._exit.value |= IRQ_EXIT

    def end_by(self, ns: int) -> None:
        count = self.count_at(ns)
        if count < self._run_limit.value:
            self._run_limit.value = count
            self._exit.value |= TIMER_EXIT

    def run(self, limit: int) -> int:
        """Execute at most `limit` instructions; how many.  Raises what a device raised."""
        assert not self._closed, "the machine was given up"
        start = self.count
        end = start + limit
        self._forget_held()
        if self._hash_table is not self.memory.hash_table:
            self._find_table()
            self.flush()
        if self.decoded.turned.view[0] != self._turned:
            self.flush()  # another CPU fetches some page in the other order
        self._bytes.look()
        self._exit.value = 0
        self._effect_msr(self._address)  # an interrupt that is due, MSR changed from Python
        self._exit.value = 0
        self.before_run()
        if not self.calm:
            self.faces.forget()
        self.calm = False
        self._face.value = self.faces.current
        if self._terminal is not None:
            self._call_waits.value = self.faces.at_leisure
        self._run_limit.value, self._dec_count.value = end, NEVER
        self._running = True
        try:
            while self.count < self._run_limit.value and not self._exit.value:
                self._drive(self._address, self.count, self._slice)
                self.count = self._end_count.value
                self._settle()
                if self._hot_count.value:
                    self.hot_found(self._take_hot())
                if self._asked() == SAMPLER_EXIT:
                    self._exit.value = 0
        finally:
            self._running = False
            self._turned = self.decoded.turned.view[0]
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return self.count - start

    #: How often a page's order of bytes had changed when `run` came back.
    _turned = 0

    #: Nothing outside has touched a chip since `run` came back: what is known of them still holds.
    calm = False

    @property
    def is_running(self) -> bool:
        """Whether native code is under way: what asks was called by a chip."""
        return self._running

    def take_interrupts(self, on: bool) -> None:
        """Whether external and decrementer interrupts may be taken without coming back."""
        self._takes_irqs.value = int(on)

    def close(self) -> None:
        """Give back what decoded code takes; nothing can run afterwards."""
        for memory in (self.decoded.memory, self._tlbs):
            host.forget(memory)
        self._closed = True
        # A machine that waits for the garbage collector keeps none of its tables.
        for table in (self.decoded.code_lines, self._moves, self._null, self._samples):
            table.close()

    _closed = False

    def _asked(self) -> int:
        return self._exit.value

    # --- sampling -----------------------------------------------------------------------------

    def sample(self, interval: int) -> None:
        """Count where the guest is every `interval` instructions (a power of two) or so."""
        assert interval.bit_count() == 1, interval
        self._slice = interval
        self._samples.fill(0)
        self._hot_count.value = 0
        self._set64("slice", interval * 16)
        self._set64("next_look", self.count + interval)
        self._set64("samples", self._samples.address)
        self._set64("hot", self._hot.address)

    def _take_hot(self) -> list[Sample]:
        """Places whose counts have reached a power of two since the last call."""
        if self._forgotten:
            self._forget_samples()
        count = self._hot_count.value
        self._hot_count.value = 0
        form = _SLOTS[self._words.width]
        slots, hot = self._samples.view, self._hot.view[:count].tolist()
        return [Sample(*form.unpack_from(slots, n * SAMPLE_SLOT)) for n in hot]

    def samples_in(self, page: int) -> int:
        """How often the guest was found in an arena page, as far as it is remembered."""
        if self._forgotten:
            self._forget_samples()
        first = self.entries + page * ENTRY_STRIDE
        counts = self._samples.view.cast("I")[_COUNT_AT // 4 :: SAMPLE_SLOT // 4].tolist()
        there = zip(self._sampled(), counts, strict=True)
        return sum(count for entry, count in there if first <= entry < first + ENTRY_STRIDE)

    def forget_samples(self, entries: list[int]) -> None:
        """Count these entries anew, from the next look at the samples on."""
        self._forgotten.update(entries)

    def _forget_samples(self) -> None:
        counts = self._samples.view.cast("I")
        for slot, entry in enumerate(self._sampled()):
            if entry in self._forgotten:
                counts[(slot * SAMPLE_SLOT + _COUNT_AT) // 4] = 0
        self._forgotten.clear()

    def _sampled(self) -> list[int]:
        """The entry of each slot of the sampler's table.

        Without numpy: a process that is not asked for anything has no other use for it.
        """
        return self._samples.view.cast("Q")[:: SAMPLE_SLOT // 8].tolist()

    def slots(self) -> list[tuple[int, int, int, int]]:
        """The sampler's table: entry, source, count and page of each slot."""
        form, slots = _SLOTS[self._words.width], range(SAMPLES)
        return [form.unpack_from(self._samples.view, n * SAMPLE_SLOT) for n in slots]

    def decode(self, entry: int) -> None:
        """Decode an entry, by its address, before it is executed."""
        self._decode(self._address, entry)

    def code_fresh(self, start: int, end: int) -> None:
        """Code was written from host address `start` to `end`: let the host fetch it."""
        self._code_fresh(start, end)

    def deliver(self, vector: int, srr1: int = 0) -> None:
        """Take an interrupt now, between two instructions."""
        self._interrupt(self._address, vector, self.block.get("nia"), srr1)

    def attach(self) -> None:
        """Be the engine that hears of changes of memory; what others changed is forgotten."""
        self.memory.changed = self.flush
        self.memory.code_written = self._code_written
        self.memory.hold = self._held
        self.memory.bytes_found = self._bytes.found
        self.faces.learned, self.faces.emptied = self._learn, self._unlearn
        self._unlearn()
        self._catch_up(self._address)

    def flush(self) -> None:
        """Forget every translation (map, dirty bits or registers were changed from Python).

        So do the engines of other CPUs, before they run again.
        """
        self._bytes.forget()
        self._flush(self._address)

    def forget_entry(self, n: int, v: int) -> None:
        """Forget what an entry of the hash table translated: its number and V."""
        if v & LARGE:
            self.flush()
        else:
            self._forget(self._address, HashTable.page_of(n, v) * PAGE_SIZE)

    def bypass(self, on: bool) -> None:
        """Send every data access down the slow path (watchpoints)."""
        if self._bypass.value != on:
            self._bypass.value = int(on)
            self.flush()

    def _code_written(self, offset: int, length: int) -> None:
        self._written(self._address, offset, length)

    # --- time ---------------------------------------------------------------------------------

    @property
    def count_now(self) -> int:
        """Instructions completed, exact inside a call out of native code too."""
        if self._running:
            return self._end_count.value - (self._current_left.value >> 4)
        return self.count

    def _note_time(self) -> None:
        base_ns, base_count, rate = self._line_of_time
        base_ns.value, base_count.value, rate.value = self._base_ns, self._base_count, self._rate
