"""How a floating-point instruction ends: FRT, FPSCR, CR1 and the enabled exception."""

from __future__ import annotations

from typing import Any

from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, const, ne, trunc, zext
from gossamer.isa.fpscr import TRAPS_BIT, WRITES_BIT
from gossamer.isa.interrupts import SRR1_FP_ENABLED, Interrupt

#: MSR[FE0] and MSR[FE1]: floating-point enabled exceptions are taken when either is set.  The 750
#: takes them precisely in every mode (MPC750UM 4.5.7.1).
MSR_FE = 0x0900


def record(s: Body, i: Any, fpscr: Expr) -> None:  # noqa: ANN401 -- any form with an Rc field
    """Rc: CR1 becomes FX, FEX, VX and OX."""
    s.write("crf", const(1, 32), trunc(fpscr >> 28, 8), i.Rc)


def trap(s: Body, met: Expr) -> None:
    """The program interrupt of an enabled exception `met` by this instruction, after its writes."""
    taken = met & ne(s.msr & MSR_FE, 0)
    s.interrupt(Interrupt.PROGRAM, taken, SRR1_FP_ENABLED, commit=True)


def commit(s: Body, i: Any, result: Expr) -> None:  # noqa: ANN401 -- a form with FRT and Rc
    """Write what a service (or the fast side) returned; see `fpscr.finish`."""
    fpscr = trunc(result >> 64, 32)
    s.write("fpr", zext(i.FRT, 32), trunc(result, 64), trunc(result >> WRITES_BIT, 1))
    s.fpscr = fpscr
    record(s, i, fpscr)
    trap(s, trunc(result >> TRAPS_BIT, 1))
