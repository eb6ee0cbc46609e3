"""The memory that native code works on: the register block, then the engine's own fields.

What follows the block is never state: pointers, translation caches, the budget of this run.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from gossamer.base.bits import align_up
from gossamer.base.data import Data
from gossamer.cpu.block import layout
from gossamer.engine.units import UNITS
from gossamer.isa.architecture import SLB_ENTRIES, USUAL
from gossamer.isa.registers import WORD


class Line(Data):
    """A line of a translation table, bytes: the tag for reads at 0, for writes, the addend."""

    size: int
    write: int
    addend: int


def line_of(word: int) -> Line:
    """The line for words of `word` bits: tags are words, the addend is the host's."""
    tag = word // 8
    return Line(4 * tag, tag, 2 * tag)


#: Translation caches are direct-mapped; a line is the page's tag for reads, for writes, and what
#: is added to an effective address for the host's.  Pages 32 MiB apart share a line of data: a
#: kernel that copies itself from 16 MiB down to 0 has two.
DTLB_ENTRIES: Final = 8192
ITLB_ENTRIES: Final = 256


class Tables(Data):
    """Bytes of tables of translations.

    Behind the lines of a data table: a byte a line, not zero where dcbz must not clear it (W or I).
    A bank has four tables: data supervisor, data user, fetch supervisor, fetch user.
    """

    entry: int
    dtlb_flags: int
    dtlb: int
    itlb: int
    bank: int


@lru_cache(maxsize=2)
def tables_of(word: int) -> Tables:
    """The tables for words of `word` bits."""
    entry = line_of(word).size
    flags, itlb = DTLB_ENTRIES * entry, ITLB_ENTRIES * entry
    dtlb = flags + DTLB_ENTRIES
    return Tables(entry, flags, dtlb, itlb, 2 * dtlb + 2 * itlb)


#: Those of 32-bit models.
TLB_ENTRY: Final = tables_of(USUAL).entry
DTLB_FLAGS: Final = tables_of(USUAL).dtlb_flags
#: Lines of a table are cleared in chunks; a table has a 64-bit mask of those that were used.
TLB_CHUNK: Final = 128
#: Pages whose numbers are equal modulo this go together where one of them is invalidated.
TLB_CLASSES: Final = 64
#: Segment contexts whose translations are kept at once: `BANK_SETS` sets of `BANK_WAYS`, chosen by
#: a hash of the segment registers.
BANK_SETS: Final = 8
BANK_WAYS: Final = 4
BANKS: Final = BANK_SETS * BANK_WAYS
#: Bit of `segments_dirty` beside the segments': there is no bank.
NO_BANK: Final = 1 << 16
#: A tag that no page matches.
NO_TAG: Final = 1
#: Bit of a write tag: the page may have code, a store looks (`runtime_code`).
BESIDE: Final = 2
#: Bytes of code that have one bit in `code_lines`.
LINE: Final = 32
#: Stores beside the code of a page (a power of two) after which its code is forgotten.
PATIENCE: Final = 1 << 12

#: `write_lines` of a page that was writable through several lines.
MANY_LINES: Final = 0xFFFF

#: What native code calls Python for, beside memory.
EFFECT_CODES: Final = {
    "timer": 1,
    "breakpoint": 2,
    "stop": 3,
    "code": 4,
    "busy": 5,
    "dcr": 6,
    "hypercall": 7,
    "absent": 8,
    "turned": 9,
    "answer": 10,
    "unit": 11,
}
#: Arguments of a service that Python answers (`isa.service`), and bytes of each, and of its result.
ANSWER_ARGUMENTS: Final = 4
ANSWER_SIZE: Final = 16
ANSWER_RESULT: Final = 32
#: The sampler's table: slots, bytes of one (entry 8, source 8, count 4, effective page 4, 8 free),
#: and how many hot ones are listed at the most.
SAMPLES: Final = 4096
SAMPLE_SLOT: Final = 32
HOT_SLOTS: Final = 64
#: `exit_request` of the sampler alone: nothing for the run loop to do.
SAMPLER_EXIT: Final = 2
#: Values of still registers (`runtime_devices`): slots, bytes of one (key, era, value, free), and
#: the key's bit of stores.
HELD: Final = 16
HELD_STORE: Final = 1 << 40
HELD_SLOT: Final = 32
#: Learned accesses (`core.faces`, `runtime_faces`): slots, bytes of one (key 8, value 8, result 8,
#: then 4, flags 4), how many are looked at, and the bits of a key above real address and size: a
#: store, a store of data, the face.
MOVES: Final = 1 << 13
MOVE_SLOT: Final = 32
MOVE_PROBES: Final = 4
MOVE_STORE: Final = 1 << 36
MOVE_DATA: Final = 1 << 37
MOVE_FACE: Final = 38
#: Data that was stored and that Python has not taken yet: slots of 16 bytes (place, value).  Of a
#: hypercall's the place is a bit that no real address has, and how many of the first bytes count.
DATA_SLOTS: Final = 1024
CALL_DATA: Final = 1 << 63
#: The journal (`runtime_journal`): entries that are kept, and the bit of a page that has code now.
JOURNAL: Final = 256
JOURNAL_CODE: Final = 1 << 63
#: `exit_request` of an interrupt alone: native code takes it where it may (`runtime_faces`).
IRQ_EXIT: Final = 4
#: Flag of a learned access: it changes the level of a line.
MOVE_LEVEL: Final = 1
#: Kinds of what a debugger's stop was (`met`).
BREAK, READ, WRITE = 1, 2, 3
#: `exit_request` of an end that has come nearer: DEC or an alarm (`runtime_timer`).
TIMER_EXIT: Final = 8
#: Entries that an exact step executes at once.
CHUNK: Final = 16

#: Predecoded entries: 16 bytes an instruction, 1024 a page and a sentinel, pages at this stride.
ENTRY: Final = 16
ENTRY_STRIDE: Final = 0x8000
#: From `entries_end` on: entries of all pages that a 405 may not keep (`runtime_parts`).
EMBEDDED_ENTRIES: Final = 2 * ENTRY_STRIDE

#: What `ready` says of a page: 0 no entries yet, this: entries; regions contain words of it.
FILLED: Final = 1
WITH_REGIONS: Final = 3

_FIELDS: Final = (
    ("fpage", WORD),  # effective page that the running entries stand for
    ("exit_request", 4),
    ("reason", 4),
    ("x_fault", 4),  # fault bits of the last slow access, zero when it went well
    ("x_dar", WORD),
    ("x_vector", WORD),
    ("x_srr1", WORD),
    ("segments_dirty", 4),  # segments whose register changed since the bank was chosen; NO_BANK
    ("bank", 4),
    ("met", 4),  # what a debugger waits for was met: a kind of `stops`, 0: nothing
    ("met_ea", WORD),
    ("break_count", 4),  # breakpoints and watchpoints (see `stops`)
    ("watch_count", 4),
    ("break_offsets", 8),  # a byte an offset in a page, null: no breakpoint anywhere
    ("breaks", 8),
    ("break_passed", 8),  # a breakpoint here is passed once; -1: none
    ("watches", 8),
    ("bypass", 4),  # no data TLB: every access takes the slow path (watchpoints)
    ("hot_count", 4),  # numbers on the list of hot slots
    ("left", 8),  # 16 x instructions left of the budget, at exit
    ("current_left", 8),  # the same, at the instruction that calls out
    ("end_count", 8),  # instruction count at which the budget ends
    ("more", 8),  # 16 x instructions of the budget that follow after `end_count`
    ("slice", 8),  # 16 x instructions of a slice on average, a power of two
    ("slice_seed", 8),
    ("next_look", 8),  # instruction count at which the present slice ends, whatever runs it spans
    ("samples", 8),  # table of `SAMPLES` slots, null: nothing is counted
    ("hot", 8),  # list of numbers of slots, 4 bytes each
    ("chunk", 8),  # first entry, bytes and copy of the entries that `step` is executing
    ("chunk_bytes", 8),
    ("chunk_copy", 8),
    ("region_base", 8),  # where translated regions lie: handlers there are not tier 0's
    ("region_size", 8),
    ("base_ns", 8),  # virtual time = base_ns + ((count - base_count) * rate >> 20)
    ("base_count", 8),
    ("rate", 8),
    ("dtlb", 8),  # tables in force, and their masks of used chunks
    ("itlb", 8),
    ("dused", 8),
    ("iused", 8),
    ("arena", 8),
    ("pages", 8),
    ("dirty", 8),
    ("code", 8),
    ("absent", 8),  # a byte a page, not zero: its content is still with a sender
    ("code_lines", 8),  # a bit a line of 32 bytes
    ("code_writes", 8),  # 2 bytes a page: stores beside its code
    ("ready", 8),
    ("write_lines", 8),  # 2 bytes a page: 0, 1 + the line of its write tags, MANY_LINES
    ("entries", 8),
    ("entries_end", 8),
    ("scratch", 8),
    ("decode_table", 8),
    ("units", 8 * len(UNITS)),  # the decode tables of units, null where one is not there yet
    ("held_era", 8),  # the era of values of still registers that count
    ("held", HELD * HELD_SLOT),
    ("bytes_at", 8),  # a chip that is bytes: real address, how many there, log2 of their distance
    ("bytes_size", 8),
    ("bytes_shift", 8),
    ("bytes_first", 8),  # how far its first byte is before `bytes_at`
    ("bytes", 8),
    ("face", 4),  # number of the chips' face, 0: to be worked out
    ("data_count", 4),
    ("moves", 8),  # table of what was learned
    ("data", 8),
    ("journal", 8),  # what other CPUs' engines have to know (`runtime_journal`)
    ("journal_seen", 8),  # how much of it this engine has seen to
    ("takes_irqs", 4),  # whether native code takes interrupts, and sees to DEC
    ("news", 4),  # native code has moved chips, stored data or moved DEC: Python has to know
    ("timer_moved", 4),  # `dec_when` is news to Python
    ("dec_when", 8),  # virtual ns at which DEC expires, once it was written in this run
    ("dec_count", 8),  # the instruction count of that; NEVER: not within this run
    ("slack", 8),  # instructions at the end of a run that are executed one by one
    ("run_limit", 8),  # instruction count at which this run ends
    ("load_callback", 8),
    ("store_callback", 8),
    ("effect_callback", 8),
    ("d_real", 8),
    ("i_real", 8),
    ("d_null", 8),
    ("i_null", 8),
    ("banks", 8),
    ("region_count", 8),  # 16 x instructions that regions have executed
    ("fp_kind", 4),  # not 0: FPSCR is put off (runtime_float)
    ("fp_a", 8),
    ("fp_c", 8),
    ("fp_b", 8),
    ("fp_convert", 8),
    ("zero", 8),  # always: what a stencil reads for (RA|0)
    ("bank_hash", BANKS * 4),  # of a bank's segment registers, odd; zero: it holds nothing
    ("bank_next", BANK_SETS),  # the way of a set that gives way next
    ("bank_used", BANKS * 32),  # masks of used chunks of a bank's four tables
    ("real_used", 16),  # the same of the tables without translation: data, fetch
    ("null_used", 8),
    ("bank_segments", BANKS * 64),
)

#: Behind them, where words have 64 bits: what the CPU computes with (`Body.mode`), and the
#: hypervisor's hash table: its bytes, the mask of a doubleword's number, a byte a group; then the
#: order of bytes, of models that have two.
_FIELDS_64: Final = (
    ("mode", 8),
    ("table", 8),
    ("table_mask", 8),
    ("table_dirty", 8),
    ("call_memory", 8),  # real addresses below are memory; 0: Python answers every hypercall
    ("call_unit", 8),  # the unit address of the terminal whose hypercalls are answered
    ("call_waits", 4),  # whether what it prints may reach Python later; 0: Python answers
    ("call_silent", 4),  # whether it has nothing for the guest
    ("le", 8),  # MSR[LE] as the tables in force have it
    ("orders", 8),  # a byte a page: 1 where its entries are of words in little-endian order
    ("turned", 8),  # where how often a page's order changed is counted
    ("kernel_bank", 4),  # the bank with the supervisor's tables (`runtime_slb`)
    ("next_bank", 4),  # the bank that gives way next
    ("slb_twice", 4),  # two entries of the SLB translate one address
    ("high_in_user", 4),  # some user's table knows a high address
    ("name_low", 16),  # sums over the SLB's entries for low and for high addresses
    ("name_high", 16),
    ("known_esid", 8 * SLB_ENTRIES),  # the SLB as it was seen last
    ("known_vsid", 8 * SLB_ENTRIES),
    ("bank_low", BANKS * 16),  # chunks of supervisors' tables with low addresses: data, fetch
    ("answer", ANSWER_ARGUMENTS * ANSWER_SIZE),  # what a service that Python answers is given
    ("answered", ANSWER_RESULT),  # and its result
)


@lru_cache(maxsize=2)
def fields_of(word: int) -> tuple[dict[str, int], int]:
    """Byte offset of each field from the start of the register block, and the whole size."""
    at = layout(word).size
    out: dict[str, int] = {}
    for name, width in _FIELDS if word == USUAL else (*_FIELDS, *_FIELDS_64):
        size = width or word // 8
        at = align_up(at, min(size, 8))
        out[name] = at
        at += size
    return out, align_up(at, 64)


#: The same of 32-bit models.
CONTEXT: Final[dict[str, int]] = fields_of(USUAL)[0]
