"""Rounding to single and conversion to integers (stfiwx is in `float_memory`).

Source: PowerPC Programming Environments Manual 4.2.2.3, chapter 8.
"""

from __future__ import annotations

from gossamer.isa import float_fast as fast
from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, choose, const, lts, ne, node, select, trunc
from gossamer.isa.float_commit import commit
from gossamer.isa.fpscr import FI, FR, FX, XE, XX, has, pack
from gossamer.isa.insn import insn
from gossamer.isa.softfloat.convert import below_word, float_round, float_to_word, integer_result
from gossamer.isa.spec.forms import XRc


@insn(XRc, "frsp{Rc} FRT,FRB", needs="FP", OPCD=63, XO=12)
def frsp(s: Body, i: XRc) -> None:
    b, fpscr = s.fpr[i.FRB], s.fpscr
    quick = fast.to_single(fast.Fast(b, const(0, 64), fast.allowed(fpscr)))
    commit(s, i, choose(quick.ok, fast.deliver(fpscr, quick), float_round(b, fpscr)))


@insn(XRc, "fctiw{Rc} FRT,FRB", needs="FP", OPCD=63, XO=14)
def fctiw(s: Body, i: XRc) -> None:
    commit(s, i, float_to_word(s.fpr[i.FRB], s.fpscr, const(0, 8)))


@insn(XRc, "fctiwz{Rc} FRT,FRB", needs="FP", OPCD=63, XO=15)
def fctiwz(s: Body, i: XRc) -> None:
    b, fpscr = s.fpr[i.FRB], s.fpscr
    ok = below_word(b) & ~has(fpscr, XE)
    commit(s, i, choose(ok, _truncated(b, fpscr), float_to_word(b, fpscr, const(1, 8))))


def _truncated(b: Expr, fpscr: Expr) -> Expr:
    """The result of fctiwz for |FRB| below 2**31 when inexact results do not trap."""
    word = integer_result(node("fcvt_i32", 32, b), trunc(b >> 63, 1))
    exponent = (b >> 52 & 0x7FF) - 1023
    below_one = lts(exponent, 0)
    inexact = ne(b << select(below_one, const(1, 64), exponent + 12 & 63), 0)
    first = select(has(fpscr, XX), const(0, 32), const(FX, 32))
    kept = fpscr & ~(FR | FI)
    new = select(inexact, kept | FI | XX | first, kept)
    return pack(word, new, const(1, 1), const(0, 1))
