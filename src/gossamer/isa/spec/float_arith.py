"""Floating-point arithmetic: add, subtract, multiply, divide, multiply-add, select, estimates.

Source: PowerPC Programming Environments Manual 4.2.2.1 to 4.2.2.3, chapter 8.
"""

from __future__ import annotations

from gossamer.isa import float_fast as fast
from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, choose, const, gtu, select, trunc
from gossamer.isa.float_commit import commit, record
from gossamer.isa.fpscr import INFINITY, SIGN
from gossamer.isa.insn import insn
from gossamer.isa.softfloat.arith import (
    NEGATE,
    NO_ADDEND,
    ONE,
    SINGLE,
    SUBTRACT,
    float_divide,
    float_fma,
)
from gossamer.isa.softfloat.estimate import float_reciprocal, float_reciprocal_root
from gossamer.isa.spec.forms import A


def _finish(s: Body, i: A, fpscr: Expr, quick: fast.Fast, options: int, exact: Expr) -> None:
    """Round `quick` on to single where asked, take it or the exact result, and commit."""
    if options & SINGLE:
        quick = fast.to_single(quick)
    negate = const(1, 1) if options & NEGATE else None
    ok = quick.ok & fast.allowed(fpscr)
    commit(s, i, choose(ok, fast.deliver(fpscr, quick, negate), exact))


def _add(s: Body, i: A, options: int) -> None:
    a, b, fpscr = s.fpr[i.FRA], s.fpr[i.FRB], s.fpscr
    quick = fast.add(a, b ^ SIGN if options & SUBTRACT else b)
    exact = float_fma(a, const(ONE, 64), b, fpscr, const(options, 8))
    _finish(s, i, fpscr, quick, options, exact)


def _multiply(s: Body, i: A, options: int) -> None:
    a, c, fpscr = s.fpr[i.FRA], s.fpr[i.FRC], s.fpscr
    exact = float_fma(a, c, const(0, 64), fpscr, const(options | NO_ADDEND, 8))
    _finish(s, i, fpscr, fast.multiply(a, c), options, exact)


def _divide(s: Body, i: A, options: int) -> None:
    a, b, fpscr = s.fpr[i.FRA], s.fpr[i.FRB], s.fpscr
    exact = float_divide(a, b, fpscr, const(options, 8))
    _finish(s, i, fpscr, fast.divide(a, b), options, exact)


def _multiply_add(s: Body, i: A, options: int) -> None:
    a, c, b, fpscr = s.fpr[i.FRA], s.fpr[i.FRC], s.fpr[i.FRB], s.fpscr
    sum_ = fast.multiply_add_single if options & SINGLE else fast.multiply_add
    quick = sum_(a, c, b ^ SIGN if options & SUBTRACT else b)
    _finish(s, i, fpscr, quick, options, float_fma(a, c, b, fpscr, const(options, 8)))


@insn(A, "fadd{Rc} FRT,FRA,FRB", needs="FP", OPCD=63, XO=21)
def fadd(s: Body, i: A) -> None:
    _add(s, i, 0)


@insn(A, "fadds{Rc} FRT,FRA,FRB", needs="FP", OPCD=59, XO=21)
def fadds(s: Body, i: A) -> None:
    _add(s, i, SINGLE)


@insn(A, "fsub{Rc} FRT,FRA,FRB", needs="FP", OPCD=63, XO=20)
def fsub(s: Body, i: A) -> None:
    _add(s, i, SUBTRACT)


@insn(A, "fsubs{Rc} FRT,FRA,FRB", needs="FP", OPCD=59, XO=20)
def fsubs(s: Body, i: A) -> None:
    _add(s, i, SUBTRACT | SINGLE)


@insn(A, "fmul{Rc} FRT,FRA,FRC", needs="FP", OPCD=63, XO=25)
def fmul(s: Body, i: A) -> None:
    _multiply(s, i, 0)


@insn(A, "fmuls{Rc} FRT,FRA,FRC", needs="FP", OPCD=59, XO=25)
def fmuls(s: Body, i: A) -> None:
    _multiply(s, i, SINGLE)


@insn(A, "fdiv{Rc} FRT,FRA,FRB", needs="FP", OPCD=63, XO=18)
def fdiv(s: Body, i: A) -> None:
    _divide(s, i, 0)


@insn(A, "fdivs{Rc} FRT,FRA,FRB", needs="FP", OPCD=59, XO=18)
def fdivs(s: Body, i: A) -> None:
    _divide(s, i, SINGLE)


@insn(A, "fmadd{Rc} FRT,FRA,FRC,FRB", needs="FP", OPCD=63, XO=29)
def fmadd(s: Body, i: A) -> None:
    _multiply_add(s, i, 0)


@insn(A, "fmadds{Rc} FRT,FRA,FRC,FRB", needs="FP", OPCD=59, XO=29)
def fmadds(s: Body, i: A) -> None:
    _multiply_add(s, i, SINGLE)


@insn(A, "fmsub{Rc} FRT,FRA,FRC,FRB", needs="FP", OPCD=63, XO=28)
def fmsub(s: Body, i: A) -> None:
    _multiply_add(s, i, SUBTRACT)


@insn(A, "fmsubs{Rc} FRT,FRA,FRC,FRB", needs="FP", OPCD=59, XO=28)
def fmsubs(s: Body, i: A) -> None:
    _multiply_add(s, i, SUBTRACT | SINGLE)


@insn(A, "fnmadd{Rc} FRT,FRA,FRC,FRB", needs="FP", OPCD=63, XO=31)
def fnmadd(s: Body, i: A) -> None:
    _multiply_add(s, i, NEGATE)


@insn(A, "fnmadds{Rc} FRT,FRA,FRC,FRB", needs="FP", OPCD=59, XO=31)
def fnmadds(s: Body, i: A) -> None:
    _multiply_add(s, i, NEGATE | SINGLE)


@insn(A, "fnmsub{Rc} FRT,FRA,FRC,FRB", needs="FP", OPCD=63, XO=30)
def fnmsub(s: Body, i: A) -> None:
    _multiply_add(s, i, NEGATE | SUBTRACT)


@insn(A, "fnmsubs{Rc} FRT,FRA,FRC,FRB", needs="FP", OPCD=59, XO=30)
def fnmsubs(s: Body, i: A) -> None:
    _multiply_add(s, i, NEGATE | SUBTRACT | SINGLE)


@insn(A, "fsel{Rc} FRT,FRA,FRC,FRB", needs="FP", OPCD=63, XO=23)
def fsel(s: Body, i: A) -> None:
    """FRC when FRA is at least zero (-0 is), FRB when it is less or a NaN; FPSCR stays."""
    a = s.fpr[i.FRA]
    magnitude = a & (SIGN - 1)
    less = trunc(a >> 63, 1) & gtu(magnitude, 0) | gtu(magnitude, INFINITY)
    s.fpr[i.FRT] = select(less, s.fpr[i.FRB], s.fpr[i.FRC])
    record(s, i, s.fpscr)


@insn(A, "fres{Rc} FRT,FRB", needs="FP", OPCD=59, XO=24)
def fres(s: Body, i: A) -> None:
    commit(s, i, float_reciprocal(s.fpr[i.FRB], s.fpscr))


@insn(A, "frsqrte{Rc} FRT,FRB", needs="FP", OPCD=63, XO=26)
def frsqrte(s: Body, i: A) -> None:
    commit(s, i, float_reciprocal_root(s.fpr[i.FRB], s.fpscr))
