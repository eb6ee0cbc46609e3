"""Floating-point comparisons.

Source: PowerPC Programming Environments Manual 4.2.2.4, chapter 8; 3.3.6.1.1 for VXVC.
"""

from __future__ import annotations

from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, const, eq, gtu, ltu, ne, select, trunc
from gossamer.isa.float_commit import trap
from gossamer.isa.fpscr import (
    FPCC,
    FPRF_SHIFT,
    FX,
    INFINITY,
    QUIET,
    SIGN,
    VE,
    VXSNAN,
    VXVC,
    flag,
    has,
    summarize,
)
from gossamer.isa.insn import insn
from gossamer.isa.spec.forms import X


def order(x: Expr) -> Expr:
    """An unsigned number that orders as the double does, NaNs apart."""
    magnitude = x & (SIGN - 1)
    negative = ne(x & SIGN, 0)
    return select(negative, const(SIGN, 64) - magnitude, magnitude | SIGN)


def compare(s: Body, field: Expr, a: Expr, b: Expr, ordered: bool) -> None:
    """FL FG FE FU into FPCC and a CR field; an invalid operation stops neither."""
    fpscr = s.fpscr
    nan_a, nan_b = (gtu(x & (SIGN - 1), INFINITY) for x in (a, b))
    unordered = nan_a | nan_b
    signaling = nan_a & ~has(a, QUIET) | nan_b & ~has(b, QUIET)
    x, y = order(a), order(b)
    code = select(ltu(x, y), const(8, 32), select(eq(x, y), const(2, 32), const(4, 32)))
    code = select(unordered, const(1, 32), code)

    events = flag(signaling, VXSNAN)
    if ordered:
        events = events | flag(unordered & ~(signaling & has(fpscr, VE)), VXVC)
    new = fpscr & ~FPCC | code << FPRF_SHIFT | events
    s.fpscr = summarize(new | flag(ne(events & ~fpscr, 0), FX))
    s.crf[field] = trunc(code, 8)
    trap(s, ne(events, 0) & has(fpscr, VE))


@insn(X, "fcmpu BF,FRA,FRB", needs="FP", OPCD=63, XO=0)
def fcmpu(s: Body, i: X) -> None:
    compare(s, i.BF, s.fpr[i.FRA], s.fpr[i.FRB], ordered=False)


@insn(X, "fcmpo BF,FRA,FRB", needs="FP", OPCD=63, XO=32)
def fcmpo(s: Body, i: X) -> None:
    compare(s, i.BF, s.fpr[i.FRA], s.fpr[i.FRB], ordered=True)
