"""Branches.  Source: Book I 2.4.1; MPC750UM chapter 12."""

from __future__ import annotations

from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, const, eq, trunc
from gossamer.isa.insn import insn
from gossamer.isa.spec.forms import XLLK, B, I

# True, false, CTR not zero, CTR zero, always: what compilers write.
_USUAL = [{"BO": bo, "LK": 0} for bo in (12, 4, 16, 18, 20)]


def link(s: Body, lk: Expr) -> None:
    s.write("lr", 0, s.address(s.cia + 4), lk)


def condition(s: Body, i: B | XLLK) -> Expr:
    """Decrement CTR when BO says so; whether the branch is taken.

    BO from its most significant bit: ignore CR, CR value wanted, keep CTR, CTR zero wanted, hint.
    """
    any_cr, wanted, keep_ctr, zero_wanted = (trunc(i.BO >> n, 1) for n in (4, 3, 2, 1))
    ctr = s.ctr - 1
    s.write("ctr", 0, ctr, ~keep_ctr)
    ctr_ok = either(keep_ctr, eq(s.in_mode(ctr), 0) ^ zero_wanted ^ 1)
    cr_ok = either(any_cr, s.cr_bit(i.BI) ^ wanted ^ 1)
    return both(ctr_ok, cr_ok)


def either(a: Expr, b: Expr) -> Expr:
    """A or b, where a constant one makes b unnecessary."""
    return a if a.is_const and a.value else b if a.is_const else a | b


def both(a: Expr, b: Expr) -> Expr:
    """A and b, where a constant one leaves the other."""
    if a.is_const and a.value:
        return b
    return a if b.is_const and b.value else a & b


@insn(I, "b{LK}{AA} LI", OPCD=18)
def b(s: Body, i: I) -> None:
    link(s, i.LK)
    absolute_or_relative(s, i.AA, i.LI, const(1, 1))


def absolute_or_relative(s: Body, aa: Expr, offset: Expr, taken: Expr) -> None:
    if not (aa.is_const and aa.value):
        s.branch_by(offset, both(~aa, taken))
    if not (aa.is_const and not aa.value):
        s.branch(offset, both(aa, taken))


@insn(B, "bc{LK}{AA} BO,BI,BD", OPCD=16, special=[row | {"AA": 0} for row in _USUAL])
def bc(s: Body, i: B) -> None:
    taken = condition(s, i)
    link(s, i.LK)
    absolute_or_relative(s, i.AA, i.BD, taken)


@insn(XLLK, "bclr{LK} BO,BI", OPCD=19, XO=16, special=_USUAL)
def bclr(s: Body, i: XLLK) -> None:
    taken = condition(s, i)
    s.branch(s.lr, taken)
    link(s, i.LK)


@insn(XLLK, "bcctr{LK} BO,BI", OPCD=19, XO=528, special=[{"BO": 20}])
def bcctr(s: Body, i: XLLK) -> None:
    """Decrementing forms are invalid; here they test CTR - 1 and go to the old CTR."""
    taken = condition(s, i)
    s.branch(s.ctr, taken)
    link(s, i.LK)
