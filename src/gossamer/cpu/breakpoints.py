"""Breakpoints: DABR on data, IABR on instructions, and which instructions a trace follows.

DABR's match is a body in the language of instructions, so that there is one text for engines.
Source: MPC750UM 2.1.2.2 (DABR, IABR), 4.5.3 (DSISR bit 9), 4.5.11 (trace).
"""

from __future__ import annotations

from typing import Final

from gossamer.base.bits import bit
from gossamer.cpu.translation import MSR_DR, MSR_IR, STORE
from gossamer.isa.body import Access, Body
from gossamer.isa.expr import Expr, const, eq, ltu, ne, select

#: DABR: translation that must be on or off (BT), stores (DW) and loads (DR) watched.
DABR_BT: Final = bit(29)
DABR_DW: Final = bit(30)
DABR_DR: Final = bit(31)
#: IABR: breakpoint enabled (BE), translation that must be on or off (TE).
IABR_BE: Final = bit(30)
IABR_TE: Final = bit(31)
#: DSISR bit of a data breakpoint.
DATA_BREAKPOINT: Final = bit(9)


def data_breakpoint(s: Body, ea: Expr, length: Expr, access: Access) -> Expr:
    """DSISR bits when an access of `length` bytes (at least 1) at `ea` touches DABR's doubleword.

    Zero when it does not.
    """
    write = access is Access.WRITE
    enabled = ne(s.dabr & (DABR_DW if write else DABR_DR), 0)
    alike = eq(ne(s.dabr & DABR_BT, 0), ne(s.msr & MSR_DR, 0))
    first = ea & ~7
    span = (ea + s.word(length - 1)) - first  # bytes to the last one, across address 0 too
    beyond = ltu(span, (s.dabr & ~7) - first)
    bits = DATA_BREAKPOINT | (STORE if write else 0)
    return select(enabled & alike & ~beyond, const(bits, 32), const(0, 32))


def watches_data(dabr: int) -> bool:
    """Whether any data access must be compared with DABR."""
    return bool(dabr & (DABR_DW | DABR_DR))


def stops_at(iabr: int, cia: int, msr: int) -> bool:
    """Whether the instruction at `cia` is the one that IABR names."""
    alike = bool(iabr & IABR_TE) == bool(msr & MSR_IR)
    return bool(iabr & IABR_BE) and alike and (iabr ^ cia) & ~3 == 0


def is_branch(word: int) -> bool:
    """Whether MSR[BE] traces the instruction: b, bc, bclr, bcctr, taken or not."""
    opcode = word >> 26
    return opcode in (16, 18) or (opcode == 19 and word >> 1 & 0x3FF in (16, 528))


def is_return(word: int) -> bool:
    """Whether the instruction is rfi, which no trace follows."""
    return word >> 26 == 19 and word >> 1 & 0x3FF == 50
