"""The MMU of the 603e: TLBs that software fills, and what a miss hands to it.

Source: MPC603eUM 1.1.5.1 and chapters 4 and 5.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.bits import bit
from gossamer.base.data import Data
from gossamer.cpu import bats, exceptions
from gossamer.cpu.hashed import (
    PTE_C,
    direct_fault,
    joined,
    key_of,
    page_fault,
    translates,
    wanted_of,
)
from gossamer.cpu.translation import MISS_VECTORS, NOT_FOUND, STORE, Translation
from gossamer.isa.architecture import Architecture
from gossamer.isa.body import Body, number
from gossamer.isa.expr import Expr, eq, ne, select, trunc
from gossamer.isa.interrupts import Access, Interrupt
from gossamer.isa.spec import software_search
from gossamer.isa.spec.software_search import MSR_TGPR

SRR1_KEY: Final = bit(12)
SRR1_FETCH: Final = bit(13)
SRR1_WAY: Final = bit(14)
SRR1_STORE: Final = bit(15)
SRR1_FROM_MSR: Final = 0xFFFF


class Loaded(Data):
    """BATs, segments, and pages that are looked up in the TLBs which software fills."""

    architecture: Architecture
    lacking = ""
    searches_by_software = True
    miss = NOT_FOUND
    miss_vectors = MISS_VECTORS

    def translate(self, s: Body, ea: Expr, access: Access) -> Translation:
        on = translates(s, access)
        block = bats.match(s, ea, access, self.architecture)
        return joined(s, on, block, _look_up(s, ea, access), ea)

    def enter(self, s: Body) -> None:
        """GPR0 to GPR3 are the program's again."""
        software_search.exchange(s, ne(s.msr & MSR_TGPR, 0))

    def enter_miss(self, s: Body, vector: Expr, srr0: Expr, ea: Expr) -> None:
        enter_miss(s, vector, srr0, ea)


def _look_up(s: Body, ea: Expr, access: Access) -> Translation:
    """Segment and TLB.  R is not looked at; a store to an unchanged page is a miss."""
    sr = s.sr[ea >> 28]
    fetch = access is Access.FETCH
    found, low = software_search.look_up(s, ea, sr & 0x00FF_FFFF, fetch)
    key = key_of(s, sr)
    wimg = trunc(low >> 3, 4)
    changed = ne(low & PTE_C, 0)
    fault = page_fault(s, sr, key, low, wimg, found, access)
    if access is Access.WRITE:
        fault = select(eq(fault, 0) & ~changed, s.word(NOT_FOUND | STORE), fault)
    fault = select(ne(sr & bit(0), 0), s.word(direct_fault(access)), fault)
    pp = low & 3
    may_write = select(key, eq(pp, 2), ne(pp, 3))
    return Translation(low & 0xFFFF_F000 | ea & 0xFFF, fault, wimg, may_write & changed)


def enter_miss(s: Body, vector: Expr, srr0: Expr, ea: Expr) -> None:
    """Take the miss interrupt at `vector` (32 bits) for `ea`; GPR0 to GPR3 become others."""
    fetch = eq(vector, Interrupt.FETCH_MISS)
    sr = s.sr[ea >> 28]
    wanted, s.hash1, s.hash2 = wanted_of(s, sr, ea)
    for prefix, when in (("i", fetch), ("d", ~fetch)):
        s.write(prefix + "miss", 0, ea, when)
        s.write(prefix + "cmp", 0, wanted, when)
    way = software_search.next_way(s, ea, sr & 0x00FF_FFFF, number(fetch))
    srr1 = s.word(s.crf[0]) << 28 | s.msr & SRR1_FROM_MSR
    for condition, mask in (
        (key_of(s, sr), SRR1_KEY),
        (fetch, SRR1_FETCH),
        (ne(way, 0), SRR1_WAY),
        (eq(vector, Interrupt.STORE_MISS), SRR1_STORE),
    ):
        srr1 = srr1 | select(condition, s.word(mask), s.word(0))
    software_search.exchange(s, eq(s.msr & MSR_TGPR, 0))
    exceptions.go(s, vector, srr0, srr1, MSR_TGPR)
