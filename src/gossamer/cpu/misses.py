"""What a TLB miss hands to the software that searches the table.  One text for engines.

Source: MPC603eUM 1.1.5.1 and chapters 4 and 5.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.bits import bit
from gossamer.cpu import exceptions, mmu
from gossamer.isa.body import Body, Interrupt
from gossamer.isa.expr import Expr, const, eq, ne, select, zext
from gossamer.isa.spec import software_search
from gossamer.isa.spec.software_search import MSR_TGPR

SRR1_KEY: Final = bit(12)
SRR1_FETCH: Final = bit(13)
SRR1_WAY: Final = bit(14)
SRR1_STORE: Final = bit(15)
SRR1_FROM_MSR: Final = 0xFFFF


def vector_of(fault: int) -> Interrupt:
    """The interrupt of a data access's miss, by its fault bits."""
    return Interrupt.STORE_MISS if fault & mmu.STORE else Interrupt.LOAD_MISS


def enter_miss(s: Body, vector: Expr, srr0: Expr, ea: Expr) -> None:
    """Take the miss interrupt at `vector` (32 bits) for `ea`; GPR0 to GPR3 become others."""
    fetch = eq(vector, Interrupt.FETCH_MISS)
    sr = s.sr[ea >> 28]
    wanted, s.hash1, s.hash2 = mmu.wanted_of(s, sr, ea)
    for prefix, when in (("i", fetch), ("d", ~fetch)):
        s.write(prefix + "miss", const(0, 32), ea, when)
        s.write(prefix + "cmp", const(0, 32), wanted, when)
    way = software_search.next_way(s, ea, sr & 0x00FF_FFFF, zext(fetch, 32))
    srr1 = zext(s.crf[0], 32) << 28 | s.msr & SRR1_FROM_MSR
    for condition, mask in (
        (mmu.key_of(s, sr), SRR1_KEY),
        (fetch, SRR1_FETCH),
        (ne(way, 0), SRR1_WAY),
        (eq(vector, Interrupt.STORE_MISS), SRR1_STORE),
    ):
        srr1 = srr1 | select(condition, const(mask, 32), const(0, 32))
    software_search.exchange(s, eq(s.msr & MSR_TGPR, 0))
    exceptions.go(s, vector, srr0, srr1, MSR_TGPR)
