"""Floating-point loads, stores and register moves.

Source: Book I 4.6.2 to 4.6.5 (formats and conversion by bits); MPC750UM 2.3.4.4 and 4.5.6.
Moves and memory accesses never signal: a signaling NaN goes through unchanged.
"""

from __future__ import annotations

from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, clz, const, eq, gtu, ltu, select, trunc, zext
from gossamer.isa.insn import insn
from gossamer.isa.spec.alignment import check_multiple
from gossamer.isa.spec.forms import D, X, XRc
from gossamer.isa.spec.load_store import ea_d, ea_du, ea_x, ea_xu


def widen(word: Expr) -> Expr:
    """DOUBLE(word): the double that represents a single, by its bits."""
    sign = zext(word >> 31, 64) << 63
    biased, fraction = word >> 23 & 0xFF, word & 0x7F_FFFF
    normal = zext(word & 0x7FFF_FFFF, 64) << 29
    rebias = select(eq(biased, 0xFF), const(0x700 << 52, 64), const(0x380 << 52, 64))
    zeros = clz(fraction | 1) - 8  # left shift that brings the leading one to the hidden place
    tiny_fraction = zext(fraction << zeros & 0x7F_FFFF, 64) << 29
    tiny = zext(const(897, 32) - zeros, 64) << 52 | tiny_fraction
    small = select(eq(fraction, 0), const(0, 64), tiny)
    return sign | select(eq(biased, 0), small, normal + rebias)


def narrow(double: Expr) -> Expr:
    """SINGLE(double).

    A non-zero value below the range of denormal singles has no defined result; 750-family parts
    then store the bits as for a normal number.
    """
    plain = trunc(double >> 62, 32) << 30 | trunc(double >> 29, 32) & 0x3FFF_FFFF
    exponent = trunc(double >> 52, 32) & 0x7FF
    significand = trunc(double >> 29, 32) & 0x7F_FFFF | 0x80_0000
    denormal = ltu(exponent, 897) & gtu(exponent, 873)
    shift = select(denormal, const(897, 32) - exponent, 0)
    return select(denormal, trunc(double >> 63, 32) << 31 | significand >> shift, plain)


# --- loads ----------------------------------------------------------------------------------------


def load_single(s: Body, i: D | X, ea: Expr) -> None:
    check_multiple(s, i, ea)
    s.fpr[i.FRT] = widen(s.load(ea, 4))


def load_double(s: Body, i: D | X, ea: Expr) -> None:
    check_multiple(s, i, ea)
    s.fpr[i.FRT] = s.load(ea, 8)


@insn(D, "lfs FRT,D(RA)", OPCD=48, needs="FP")
def lfs(s: Body, i: D) -> None:
    load_single(s, i, ea_d(s, i))


@insn(D, "lfsu FRT,D(RA)", OPCD=49, needs="FP")
def lfsu(s: Body, i: D) -> None:
    load_single(s, i, ea := ea_du(s, i))
    s.gpr[i.RA] = ea


@insn(X, "lfsx FRT,RA,RB", OPCD=31, XO=535, needs="FP")
def lfsx(s: Body, i: X) -> None:
    load_single(s, i, ea_x(s, i))


@insn(X, "lfsux FRT,RA,RB", OPCD=31, XO=567, needs="FP")
def lfsux(s: Body, i: X) -> None:
    load_single(s, i, ea := ea_xu(s, i))
    s.gpr[i.RA] = ea


@insn(D, "lfd FRT,D(RA)", OPCD=50, needs="FP")
def lfd(s: Body, i: D) -> None:
    load_double(s, i, ea_d(s, i))


@insn(D, "lfdu FRT,D(RA)", OPCD=51, needs="FP")
def lfdu(s: Body, i: D) -> None:
    load_double(s, i, ea := ea_du(s, i))
    s.gpr[i.RA] = ea


@insn(X, "lfdx FRT,RA,RB", OPCD=31, XO=599, needs="FP")
def lfdx(s: Body, i: X) -> None:
    load_double(s, i, ea_x(s, i))


@insn(X, "lfdux FRT,RA,RB", OPCD=31, XO=631, needs="FP")
def lfdux(s: Body, i: X) -> None:
    load_double(s, i, ea := ea_xu(s, i))
    s.gpr[i.RA] = ea


# --- stores ---------------------------------------------------------------------------------------


def store_single(s: Body, i: D | X, ea: Expr) -> None:
    check_multiple(s, i, ea)
    s.store(ea, narrow(s.fpr[i.FRS]), 4)


def store_double(s: Body, i: D | X, ea: Expr) -> None:
    check_multiple(s, i, ea)
    s.store(ea, s.fpr[i.FRS], 8)


@insn(D, "stfs FRS,D(RA)", OPCD=52, needs="FP")
def stfs(s: Body, i: D) -> None:
    store_single(s, i, ea_d(s, i))


@insn(D, "stfsu FRS,D(RA)", OPCD=53, needs="FP")
def stfsu(s: Body, i: D) -> None:
    store_single(s, i, ea := ea_du(s, i))
    s.gpr[i.RA] = ea


@insn(X, "stfsx FRS,RA,RB", OPCD=31, XO=663, needs="FP")
def stfsx(s: Body, i: X) -> None:
    store_single(s, i, ea_x(s, i))


@insn(X, "stfsux FRS,RA,RB", OPCD=31, XO=695, needs="FP")
def stfsux(s: Body, i: X) -> None:
    store_single(s, i, ea := ea_xu(s, i))
    s.gpr[i.RA] = ea


@insn(D, "stfd FRS,D(RA)", OPCD=54, needs="FP")
def stfd(s: Body, i: D) -> None:
    store_double(s, i, ea_d(s, i))


@insn(D, "stfdu FRS,D(RA)", OPCD=55, needs="FP")
def stfdu(s: Body, i: D) -> None:
    store_double(s, i, ea := ea_du(s, i))
    s.gpr[i.RA] = ea


@insn(X, "stfdx FRS,RA,RB", OPCD=31, XO=727, needs="FP")
def stfdx(s: Body, i: X) -> None:
    store_double(s, i, ea_x(s, i))


@insn(X, "stfdux FRS,RA,RB", OPCD=31, XO=759, needs="FP")
def stfdux(s: Body, i: X) -> None:
    store_double(s, i, ea := ea_xu(s, i))
    s.gpr[i.RA] = ea


@insn(X, "stfiwx FRS,RA,RB", OPCD=31, XO=983, needs="FP")
def stfiwx(s: Body, i: X) -> None:
    ea = ea_x(s, i)
    check_multiple(s, i, ea)
    s.store(ea, s.fpr[i.FRS], 4)


# --- moves ----------------------------------------------------------------------------------------

SIGN = 1 << 63


def move(s: Body, i: XRc, value: Expr) -> None:
    s.fpr[i.FRT] = value
    s.write("crf", 1, trunc(s.fpscr >> 28, 8), i.Rc)


@insn(XRc, "fmr{Rc} FRT,FRB", OPCD=63, XO=72, needs="FP")
def fmr(s: Body, i: XRc) -> None:
    move(s, i, s.fpr[i.FRB])


@insn(XRc, "fneg{Rc} FRT,FRB", OPCD=63, XO=40, needs="FP")
def fneg(s: Body, i: XRc) -> None:
    move(s, i, s.fpr[i.FRB] ^ SIGN)


@insn(XRc, "fabs{Rc} FRT,FRB", OPCD=63, XO=264, needs="FP")
def fabs(s: Body, i: XRc) -> None:
    move(s, i, s.fpr[i.FRB] & ~SIGN)


@insn(XRc, "fnabs{Rc} FRT,FRB", OPCD=63, XO=136, needs="FP")
def fnabs(s: Body, i: XRc) -> None:
    move(s, i, s.fpr[i.FRB] | SIGN)
