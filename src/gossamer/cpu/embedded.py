"""The 405's MMU: one TLB that software fills, zones, real mode's attributes.

Source: PPC405 core user's manual chapter 7.
"""

from __future__ import annotations

from gossamer.base.data import Data
from gossamer.cpu import exceptions_405
from gossamer.cpu.translation import (
    MISS_VECTORS,
    MSR_DR,
    MSR_IR,
    MSR_PR,
    NO_EXECUTE,
    NO_LINE,
    NOT_FOUND,
    PROTECTED,
    SWAPPED,
    WIMG_G,
    ZONE,
    Translation,
    with_store,
)
from gossamer.isa.architecture import Architecture
from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, choose, const, eq, gtu, ne, select, trunc, zext
from gossamer.isa.interrupts import Access
from gossamer.isa.spec import utlb
from gossamer.isa.spec.sprs_405 import RealMode


class Embedded(Data):
    """64 entries for code and data; what is in none of them is a miss for software."""

    architecture: Architecture
    lacking = ""
    searches_by_software = True
    miss = NOT_FOUND
    miss_vectors = MISS_VECTORS

    def translate(self, s: Body, ea: Expr, access: Access) -> Translation:
        on = ne(s.msr & (MSR_IR if access is Access.FETCH else MSR_DR), 0)
        found = choose(on, utlb.find(s, ea, trunc(s.pid, 8)), const(0, 64))
        n = utlb.first(found)
        tag, data = s.utlb_tag[n], s.utlb_data[n]
        there = ne(found, 0)
        allowed, writable, zone = _rights(s, data, access)
        page = select(allowed, s.word(0), s.word(PROTECTED) | zone)
        if access is Access.FETCH:
            guarded = ne(data & WIMG_G, 0)
            page = select(guarded, s.word(NO_EXECUTE), page)
        fault = with_store(select(there, page, s.word(NOT_FOUND)), access)
        real, little = _real_mode(s, ea, access)
        frame = utlb.frame(tag)
        swapped = select(on, ne(tag & utlb.LITTLE, 0), little)
        small = on & eq(tag & utlb.SIZE, 0)
        return Translation(
            select(on, data & frame & utlb.RPN | ea & ~frame, ea),
            select(on, fault, s.word(0)),
            select(on, trunc(data, 4), real),
            ~on | writable,
            select(small | swapped, const(NO_LINE, 2), const(0, 2))
            | select(swapped, const(SWAPPED, 2), const(0, 2)),
        )

    def enter(self, s: Body) -> None:
        """Nothing: the registers of exceptions are no MMU's."""

    def enter_miss(self, s: Body, vector: Expr, srr0: Expr, ea: Expr) -> None:
        exceptions_405.enter_miss(s, vector, srr0, ea)


def _rights(s: Body, data: Expr, access: Access) -> tuple[Expr, Expr, Expr]:
    """Whether an access is allowed, whether a store is; the fault bit of a zone that bars it."""
    user = ne(s.msr & MSR_PR, 0)
    place = const(30, 32) - ((data >> 4 & 15) << 1)
    zone = s.zpr >> place & 3
    everything = select(user, eq(zone, 3), gtu(zone, 1))
    nothing = user & eq(zone, 0)
    by_entry = {
        Access.READ: const(1, 1),
        Access.WRITE: ne(data & utlb.WRITE, 0),
        Access.FETCH: ne(data & utlb.EXECUTE, 0),
    }
    allowed, writable = (
        (everything | by_entry[kind]) & ~nothing for kind in (access, Access.WRITE)
    )
    return allowed, writable, select(nothing, s.word(ZONE), s.word(0))


def _real_mode(s: Body, ea: Expr, access: Access) -> tuple[Expr, Expr]:
    """WIMG (4 bits) of `ea` in real mode, and whether its bytes lie the other way round."""

    def of(register: RealMode) -> Expr:
        return trunc(s.real_mode[register] >> (const(31, 32) - (ea >> 27)), 1)

    cached = of(RealMode.CODE_CACHED if access is Access.FETCH else RealMode.DATA_CACHED)
    w, i, g = of(RealMode.WRITE_THROUGH), ~cached, of(RealMode.GUARDED)
    return zext(w, 4) << 3 | zext(i, 4) << 2 | zext(g, 4), of(RealMode.LITTLE)
