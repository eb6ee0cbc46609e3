"""The memory that native code works on: the register block, then the engine's own fields.

What follows the block is never state: pointers, translation caches, the budget of this run.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.bits import align_up
from gossamer.cpu.block import BLOCK_SIZE

DTLB_ENTRIES: Final = 1024
ITLB_ENTRIES: Final = 256
#: Segment contexts whose translations are kept at once.
BANKS: Final = 8
TLB_ENTRY: Final = 16
DTLB_SIZE: Final = DTLB_ENTRIES * TLB_ENTRY
ITLB_SIZE: Final = ITLB_ENTRIES * TLB_ENTRY
#: Tables of one bank: data supervisor, data user, fetch supervisor, fetch user.
BANK_SIZE: Final = 2 * DTLB_SIZE + 2 * ITLB_SIZE
#: A tag that no page matches.
NO_TAG: Final = 1

#: What native code calls Python for, beside memory.
EFFECT_CODES: Final = {"timer": 1, "breakpoint": 2, "stop": 3, "code": 4}

#: What `ready` says of a page: 0 no entries yet, 1 entries, this: regions contain words of it.
WITH_REGIONS: Final = 3

#: Predecoded entries: 16 bytes an instruction, 1024 a page and a sentinel, pages at this stride.
ENTRY: Final = 16
ENTRY_STRIDE: Final = 0x8000

_FIELDS: Final = (
    ("fpage", 4),  # effective page that the running entries stand for
    ("exit_request", 4),
    ("reason", 4),
    ("x_fault", 4),  # fault bits of the last slow access, zero when it went well
    ("x_dar", 4),
    ("x_vector", 4),
    ("x_srr1", 4),
    ("segments_dirty", 4),  # segment registers changed since a bank was chosen
    ("bank", 4),
    ("next_bank", 4),
    ("bypass", 4),  # no data TLB: every access takes the slow path (watchpoints)
    ("pad", 4),
    ("left", 8),  # 16 x instructions left of the budget, at exit
    ("current_left", 8),  # the same, at the instruction that calls out
    ("end_count", 8),  # instruction count at which the budget ends
    ("base_ns", 8),  # virtual time = base_ns + ((count - base_count) * rate >> 20)
    ("base_count", 8),
    ("rate", 8),
    ("dtlb", 8),
    ("itlb", 8),
    ("arena", 8),
    ("pages", 8),
    ("dirty", 8),
    ("code", 8),
    ("code_writes", 8),
    ("ready", 8),
    ("entries", 8),
    ("entries_end", 8),
    ("scratch", 8),
    ("decode_table", 8),
    ("load_callback", 8),
    ("store_callback", 8),
    ("effect_callback", 8),
    ("d_real", 8),
    ("i_real", 8),
    ("d_null", 8),
    ("i_null", 8),
    ("banks", 8),
    ("bank_valid", BANKS),
    ("bank_segments", BANKS * 64),
)


def _offsets() -> tuple[dict[str, int], int]:
    at = align_up(BLOCK_SIZE, 64)
    out: dict[str, int] = {}
    for name, size in _FIELDS:
        at = align_up(at, min(size, 8))
        out[name] = at
        at += size
    return out, align_up(at, 64)


_laid_out = _offsets()
#: Byte offset of each field from the start of the register block.
CONTEXT: Final[dict[str, int]] = _laid_out[0]
CONTEXT_SIZE: Final[int] = _laid_out[1]
