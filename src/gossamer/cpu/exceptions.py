"""Exception entry: what taking an interrupt does to the registers.  One text for engines.

Source: MPC750UM 4.3 (table 4-7 MSR settings) and 4.5.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.bits import bit
from gossamer.cpu import exceptions_64
from gossamer.cpu.translation import Mmu
from gossamer.isa.body import Body, Interrupt, Irq
from gossamer.isa.expr import Expr, eq, ne, select

MSR_POW: Final = bit(13)
MSR_ILE: Final = bit(15)
MSR_EE: Final = bit(16)
MSR_PR: Final = bit(17)
MSR_FP: Final = bit(18)
MSR_ME: Final = bit(19)
MSR_SE: Final = bit(21)
MSR_BE: Final = bit(22)
MSR_IP: Final = bit(25)
MSR_IR: Final = bit(26)
MSR_DR: Final = bit(27)
MSR_RI: Final = bit(30)

#: MSR bits that SRR1 receives: 0, 5..9, 16..31.
SRR1_FROM_MSR: Final = 0x87C0_FFFF
#: MSR bits that survive into the handler (ME too, except for machine check; IP, ILE).
MSR_KEPT: Final = MSR_ILE | MSR_ME | MSR_IP

#: Interrupts that arrive between instructions: source, vector, MSR bits that all must be set,
#: in order of priority (MPC750UM table 4-3).  Edge sources are cleared when taken.
ASYNCHRONOUS: Final = (
    (Irq.RESET, Interrupt.RESET, 0, True),
    (Irq.MACHINE_CHECK, Interrupt.MACHINE_CHECK, MSR_ME, True),
    (Irq.SMI, Interrupt.SMI, MSR_EE, True),
    (Irq.EXTERNAL, Interrupt.EXTERNAL, MSR_EE, False),
    (Irq.PERFORMANCE, Interrupt.PERFORMANCE, MSR_EE, True),
    (Irq.DECREMENTER, Interrupt.DECREMENTER, MSR_EE, True),
    (Irq.THERMAL, Interrupt.THERMAL, MSR_EE, True),
)


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
