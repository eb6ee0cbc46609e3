"""Exception entry: what taking an interrupt does to the registers.  One text for engines.

Source: MPC750UM 4.3 (table 4-7 MSR settings) and 4.5.
"""

from __future__ import annotations

from typing import Final

from gossamer.cpu import exceptions_64
from gossamer.cpu.msr import MSR_ILE, MSR_IP, MSR_ME
from gossamer.cpu.translation import Mmu
from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, eq, ne, select
from gossamer.isa.interrupts import Interrupt

#: MSR bits that SRR1 receives: 0, 5..9, 16..31.
SRR1_FROM_MSR: Final = 0x87C0_FFFF
#: MSR bits that survive into the handler (ME too, except for machine check; IP, ILE).
MSR_KEPT: Final = MSR_ILE | MSR_ME | MSR_IP


def enter(s: Body, vector: Expr, srr0: Expr, srr1: Expr, mmu: Mmu) -> None:
    """Take the interrupt at `vector`: SRR0, SRR1 (`srr1`: further bits), MSR, NIA; all words."""
    mmu.enter(s)
    if s.width == 64:
        exceptions_64.enter(s, vector, srr0, srr1)
    else:
        go(s, vector, srr0, s.msr & SRR1_FROM_MSR | srr1)


def go(s: Body, vector: Expr, srr0: Expr, srr1: Expr, also: int = 0) -> None:
    """Set SRR0, SRR1, MSR (with the bits of `also`) and NIA."""
    s.srr0 = srr0
    s.srr1 = srr1
    machine_check = eq(vector, Interrupt.MACHINE_CHECK)
    kept = select(machine_check, s.word(MSR_KEPT & ~MSR_ME), s.word(MSR_KEPT))
    s.msr = s.msr & kept | also
    base = select(ne(s.msr & MSR_IP, 0), s.word(0xFFF0_0000), s.word(0))
    s.effect("msr")
    s.branch(base | vector)
