"""The MMU of 64-bit parts below a hypervisor: segments in a lookaside buffer, a hashed page table.

The table is the hypervisor's, outside the guest's memory; its entries are made by hypercalls, the
walk sets R and C.  In real mode the guest's real addresses are effective ones, but for their four
highest bits.  Source: Power ISA 2.03 Book III-S 4.5 to 4.8; 2.07 Book III-S 5.7.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.data import Data
from gossamer.cpu import exceptions_64
from gossamer.cpu.translation import (
    MSR_DR,
    MSR_IR,
    MSR_PR,
    NO_EXECUTE,
    NO_SEGMENT,
    NOT_FOUND,
    PROTECTED,
    WIMG_G,
    WIMG_REAL,
    Translation,
    with_store,
)
from gossamer.isa.architecture import Architecture
from gossamer.isa.body import Body, number
from gossamer.isa.expr import Expr, choose, clz, const, eq, ltu, ne, select, trunc
from gossamer.isa.interrupts import Access, Interrupt

REAL: Final = 0x0FFF_FFFF_FFFF_FFFF
"""What of an effective address counts in real mode."""
ENTRIES: Final = 64

#: The second word of an SLB entry.
B_1T: Final = 1 << 62
VSID: Final = 0x3FFF_FFFF_FFFF_F000
KS, KP, NX = 0x800, 0x400, 0x200
L_LP: Final = 0x130
#: A segment's bytes, and where its VSID stands.
SEGMENT_256M: Final = 0x0FFF_FFFF
SEGMENT_1T: Final = 0xFF_FFFF_FFFF

#: The two doublewords of an HPTE.
V_VALID, V_SECONDARY, V_LARGE = 1, 2, 4
V_AVPN: Final = 0x3FFF_FFFF_FFFF_FF80
R_RPN: Final = 0x0FFF_FFFF_FFFF_F000
R_REFERENCED, R_CHANGED = 0x100, 0x80
R_NX: Final = 4

#: Base page sizes: L || LP of the segment, log2 of bytes; and the sizes of pages in such a segment
#: with L = 1: log2, and what the bits of the real page number below it hold.
BASES: Final = ((0x000, 12), (0x110, 16), (0x100, 24), (0x120, 34))
SIZES: Final = {
    12: ((16, 0x7000), (24, 0x3_8000)),
    16: ((16, 0x1000), (24, 0x8000)),
    24: ((24, 0),),
    34: ((34, 0x3000),),
}

VECTORS: Final = (
    Interrupt.FETCH_SEGMENT,
    Interrupt.DATA_SEGMENT,
    Interrupt.DATA_SEGMENT,
)


class Segments(Data):
    """Strategy of a 64-bit part with an SLB and a hypervisor's hash table."""

    architecture: Architecture
    lacking = ""
    searches_by_software = False
    miss = NO_SEGMENT
    miss_vectors = VECTORS

    def translate(self, s: Body, ea: Expr, access: Access) -> Translation:
        on = ne(s.msr & (MSR_IR if access is Access.FETCH else MSR_DR), 0)
        page = _walk(s, ea, access, on)
        return Translation(
            select(on, page.ra, ea & REAL),
            select(on, page.fault, const(0, 32)),
            select(on, page.wimg, const(WIMG_REAL, 4)),
            ~on | page.writable,
        )

    def enter(self, s: Body) -> None:
        """Nothing but what every part does."""

    def enter_miss(self, s: Body, vector: Expr, srr0: Expr, ea: Expr) -> None:
        """The segment interrupt: DAR for data; SRR1 has no bits of it."""
        s.write("dar", 0, ea, eq(vector, Interrupt.DATA_SEGMENT))
        exceptions_64.enter(s, vector, srr0, s.word(0))


def _walk(s: Body, ea: Expr, access: Access, walking: Expr) -> Translation:
    """The SLB and the table, looked at only when `walking`; the second group when needed."""
    n = choose(walking, s.slb_find(ea), const(0, 8))
    there = ltu(n, ENTRIES)
    segment = s.slb_vsid[number(n) & ENTRIES - 1]
    terabyte = ne(segment & B_1T, 0)
    base = _of_base(s, segment, [(llp, s.word(shift)) for llp, shift in BASES])
    offset = ea & select(terabyte, s.word(SEGMENT_1T), s.word(SEGMENT_256M))
    page = offset >> base
    vsid = (segment & VSID) >> select(terabyte, s.word(24), s.word(12))
    hashed = vsid ^ page ^ select(terabyte, vsid << 25, s.word(0))
    wanted = segment & (VSID | B_1T) | (page << base) >> 16 & V_AVPN | V_VALID
    on = walking & there
    nothing = const(0, 8)
    first = choose(on, s.table_find(hashed, wanted), nothing)
    again = on & eq(first, 0)
    second = choose(again, s.table_find(~hashed, wanted | V_SECONDARY), nothing)
    group = select(again, ~hashed, hashed)
    at = group << 4 | s.word(clz(first | second)) << 1
    some = ne(first | second, 0)
    v = choose(some, s.table(at), s.word(0))
    r = choose(some, s.table(at | 1), s.word(0))
    shift = _page_shift(s, segment, v, r)
    found = some & ne(shift, 0)
    inside = (s.word(1) << shift) - 1
    ra = r & R_RPN & ~inside | ea & inside
    fault, may_write = _fault(s, segment, r, found, access)
    ok = on & eq(fault, 0)
    new = r | R_REFERENCED
    if access is Access.WRITE:
        new = new | R_CHANGED
    s.table_store(at | 1, new, ok & ne(new, r))
    return Translation(
        ra,
        select(there, fault, const(NO_SEGMENT, 32)),
        trunc(r >> 3, 4),
        may_write & ne(new & R_CHANGED, 0),
    )


def _of_base(s: Body, segment: Expr, values: list[tuple[int, Expr]]) -> Expr:
    """The one of `values` that belongs to the segment's L || LP; the first where none does."""
    chosen = values[0][1]
    for encoding, value in values[1:]:
        chosen = select(eq(segment & L_LP, encoding), value, chosen)
    return chosen


def _page_shift(s: Body, segment: Expr, v: Expr, r: Expr) -> Expr:
    """Log2 of the page's bytes, a word; zero where its encoding does not fit its segment."""
    by_base = []
    for encoding, base in BASES:
        large = s.word(0)
        for shift, low_bits in SIZES[base]:
            mask = (1 << shift) - 1 & R_RPN
            large = select(eq(r & mask, low_bits), s.word(shift), large)
        small = s.word(12 if base == 12 else 0)
        by_base.append((encoding, select(ne(v & V_LARGE, 0), large, small)))
    return _of_base(s, segment, by_base)


def _fault(s: Body, segment: Expr, r: Expr, found: Expr, access: Access) -> tuple[Expr, Expr]:
    """Fault bits (32 of them) where the second doubleword is `r`; whether it may be written to."""
    user = ne(s.msr & MSR_PR, 0)
    key = ne(segment & select(user, s.word(KP), s.word(KS)), 0)
    pp = r & 3 | r >> 61 & 4
    may_write = select(key, eq(pp, 2), ltu(pp, 3))
    readable = select(key, eq(pp, 1) | eq(pp, 2) | eq(pp, 3), ltu(pp, 4) | eq(pp, 6))
    allowed = may_write if access is Access.WRITE else readable
    fault = select(allowed, const(0, 32), const(PROTECTED, 32))
    if access is Access.FETCH:
        barred = ne(r & (R_NX | WIMG_G << 3), 0)
        fault = select(barred, const(NO_EXECUTE, 32), fault)
    fault = select(found, fault, const(NOT_FOUND, 32))
    if access is Access.FETCH:
        fault = select(ne(segment & NX, 0), const(NO_EXECUTE, 32), fault)
    return with_store(fault, access), may_write
