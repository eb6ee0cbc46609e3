"""Exception entry of the 405: two pairs of save registers, EVPR, ESR and DEAR.

Source: PPC405 core user's manual chapter 10.  What bodies and engines leave in `dar` and `dsisr`,
registers that the part does not have, goes into DEAR and ESR here and is cleared.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from gossamer.base.bits import bit
from gossamer.cpu.translation import STORE, ZONE
from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, const, eq, ne, select
from gossamer.isa.interrupts import SRR1_ILLEGAL, SRR1_PRIVILEGED, SRR1_TRAP, Interrupt, Irq405

MSR_CE: Final = bit(14)
MSR_EE: Final = bit(16)
MSR_ME: Final = bit(19)
MSR_DE: Final = bit(22)

ESR_DST: Final = 0x0080_0000
ESR_DIZ: Final = 0x0040_0000
#: PIL, PPR and PTR lie so far above the bits of SRR1 that say the same elsewhere.
ESR_PROGRAM_SHIFT: Final = 8


class Vector(IntEnum):
    """Offsets from EVPR that other parts have otherwise."""

    CRITICAL = 0x100
    MACHINE_CHECK = 0x200
    EXTERNAL = 0x500
    PIT = 0x1000
    FIT = 0x1010
    WATCHDOG = 0x1020
    DATA_MISS = 0x1100
    FETCH_MISS = 0x1200
    DEBUG = 0x2000


#: Those that save in SRR2 and SRR3.
SAVED_APART: Final = (Vector.CRITICAL, Vector.MACHINE_CHECK, Vector.WATCHDOG, Vector.DEBUG)

#: As `exceptions.ASYNCHRONOUS`; but for the machine check all are levels.
ASYNCHRONOUS: Final = (
    (Irq405.MACHINE_CHECK, Vector.MACHINE_CHECK, MSR_ME, True),
    (Irq405.CRITICAL, Vector.CRITICAL, MSR_CE, False),
    (Irq405.WATCHDOG, Vector.WATCHDOG, MSR_CE, False),
    (Irq405.EXTERNAL, Vector.EXTERNAL, MSR_EE, False),
    (Irq405.FIT, Vector.FIT, MSR_EE, False),
    (Irq405.PIT, Vector.PIT, MSR_EE, False),
)


def is_due(irq: list[int], msr: int) -> bool:
    """Whether an interrupt must be taken, or a reset made."""
    return bool(irq[Irq405.RESET]) or any(irq[one] and msr & by for one, _, by, _ in ASYNCHRONOUS)


def _any(value: Expr, of: tuple[int, ...]) -> Expr:
    found = eq(value, of[0])
    for one in of[1:]:
        found = found | eq(value, one)
    return found


def _flag(condition: Expr, mask: int) -> Expr:
    return select(condition, const(mask, 32), const(0, 32))


def enter(s: Body, vector: Expr, srr0: Expr, srr1: Expr) -> None:
    """Take the interrupt at offset `vector`; `srr1` says what a program interrupt is for."""
    program = srr1 & (SRR1_ILLEGAL | SRR1_PRIVILEGED | SRR1_TRAP)
    data = _flag(ne(s.dsisr & STORE, 0), ESR_DST) | _flag(ne(s.dsisr & ZONE, 0), ESR_DIZ)
    esr = select(eq(vector, Interrupt.PROGRAM), program << ESR_PROGRAM_SHIFT, s.esr)
    esr = select(eq(vector, Interrupt.DSI), data, esr)
    esr = select(eq(vector, Interrupt.ISI), _flag(ne(srr1 & ZONE, 0), ESR_DIZ), esr)
    s.esr = esr
    address = _any(vector, (Interrupt.DSI, Interrupt.ALIGNMENT))
    s.dear = select(address, s.dar, s.dear)
    s.dar = s.dsisr = const(0, 32)
    _go(s, vector, srr0)


def enter_miss(s: Body, vector: Expr, srr0: Expr, ea: Expr) -> None:
    """Take the miss interrupt that engines know by the 603e's `vector`."""
    fetch = eq(vector, Interrupt.FETCH_MISS)
    data = _flag(eq(vector, Interrupt.STORE_MISS), ESR_DST)
    s.esr = select(fetch, s.esr, data)
    s.dear = select(fetch, s.dear, ea)
    _go(s, select(fetch, s.word(Vector.FETCH_MISS), s.word(Vector.DATA_MISS)), srr0)


def _go(s: Body, vector: Expr, srr0: Expr) -> None:
    apart = _any(vector, SAVED_APART)
    s.write("srr0", 0, srr0, ~apart)
    s.write("srr1", 0, s.msr, ~apart)
    s.write("srr2", 0, srr0, apart)
    s.write("srr3", 0, s.msr, apart)
    kept = select(apart, s.word(MSR_ME), s.word(MSR_CE | MSR_ME | MSR_DE))
    kept = select(eq(vector, Vector.MACHINE_CHECK), s.word(0), kept)
    s.msr = s.msr & kept
    s.effect("msr")
    s.branch(s.evpr | vector)
