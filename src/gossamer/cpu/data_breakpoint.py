"""DABR's match as a body in the language of instructions, so that there is one text for engines.

Source: MPC750UM 2.1.2.2 (DABR), 4.5.3 (DSISR bit 9).
"""

from __future__ import annotations

from typing import Final

from gossamer.base.bits import bit
from gossamer.cpu.breakpoints import DABR_BT, DABR_DR, DABR_DW
from gossamer.cpu.msr import MSR_DR
from gossamer.cpu.translation import STORE
from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, const, eq, ltu, ne, select
from gossamer.isa.interrupts import Access

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
