"""Breakpoints: DABR on data, IABR on instructions, and which instructions a trace follows.

DABR's match is a body (`cpu.data_breakpoint`).
Source: MPC750UM 2.1.2.2 (DABR, IABR), 4.5.3 (DSISR bit 9), 4.5.11 (trace).
"""

from __future__ import annotations

from typing import Final

from gossamer.base.bits import bit
from gossamer.cpu.msr import MSR_IR

#: DABR: translation that must be on or off (BT), stores (DW) and loads (DR) watched.
DABR_BT: Final = bit(29)
DABR_DW: Final = bit(30)
DABR_DR: Final = bit(31)
#: IABR: breakpoint enabled (BE), translation that must be on or off (TE).
IABR_BE: Final = bit(30)
IABR_TE: Final = bit(31)


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
