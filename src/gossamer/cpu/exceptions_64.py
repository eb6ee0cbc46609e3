"""Exception entry of 64-bit parts, below a hypervisor.

Source: Power ISA 2.03 Book III-S 4.3 (SRR1), 4.5 (vectors, MSR); 2.07 Book III-S 6.4.3, 6.5.
"""

from __future__ import annotations

from typing import Final

from gossamer.isa.architecture import MSR_SF
from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, eq, gtu, ne, select
from gossamer.isa.interrupts import Interrupt

MSR_ME: Final = 0x1000
MSR_BOTH: Final = 0x30  # IR, DR
#: LPCR[AIL] 2 and 3, and what they add to a vector (Power ISA 2.07 Book III-S 2.2).
AIL_SHIFT: Final = 23
AIL_2: Final = 0x1_8000
AIL_3: Final = 0xC000_0000_0000_4000
#: LPCR[ILE]: what MSR[LE] becomes (2.07 Book III-S 2.2; zero on a 970).
ILE_SHIFT: Final = 25
#: MSR bits that SRR1 receives: all but 33 to 36 and 42 to 47, which say what happened.
SRR1_FROM_MSR: Final = ~0x783F_0000


def enter(s: Body, vector: Expr, srr0: Expr, srr1: Expr) -> None:
    """Take the interrupt at `vector`: SRR0, SRR1 (`srr1`: further bits), MSR, NIA; all words.

    In 64-bit mode, without translation; a CPU that the hypervisor let wait goes on.
    """
    s.srr0 = srr0
    s.srr1 = s.msr & SRR1_FROM_MSR | srr1
    machine_check = eq(vector, Interrupt.MACHINE_CHECK)
    kept = select(machine_check, s.word(0), s.msr & MSR_ME) | MSR_SF | s.lpcr >> ILE_SHIFT & 1
    # LPCR[AIL] (zero on a 970): with translation, at an offset, if both were on
    mode = s.lpcr >> AIL_SHIFT & 3
    real = eq(vector, Interrupt.RESET) | machine_check | ne(s.msr & MSR_BOTH, MSR_BOTH)
    moved = gtu(mode, 1) & ~real
    offset = select(eq(mode, 3), s.word(AIL_3), s.word(AIL_2))
    s.msr = select(moved, kept | MSR_BOTH, kept)
    s.halted = 0
    s.effect("msr")
    s.branch_anywhere(select(moved, vector | offset, vector))
