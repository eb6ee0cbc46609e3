"""Conversions between doublewords and floating point, and square roots: 64-bit parts.

Source: Power ISA 2.03 Book I 4.6.5.1 (fsqrt), 4.6.6 (fcfid, fctid), appendix D (their models).
"""

from __future__ import annotations

from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, ashr, clz, const, eq, gtu, lts, ltu, ne, select, trunc, zext
from gossamer.isa.float_commit import commit
from gossamer.isa.fpscr import (
    DEFAULT_NAN,
    FI,
    FR,
    RN,
    VXCVI,
    VXSNAN,
    VXSQRT,
    XX,
    finish,
    flag,
    result_class,
)
from gossamer.isa.insn import insn
from gossamer.isa.softfloat.rounding import (
    EXP,
    at_most,
    parts,
    quiet,
    round_and_pack,
    rounds_up,
    sticky_shift,
)
from gossamer.isa.spec.forms import A, XRc

#: Bits of a root that are worked out, and of what is below its double-precision significand.
ROOT_BITS = 56


def from_integer(b: Expr, fpscr: Expr) -> Expr:
    """The signed doubleword `b` as a double (fcfid)."""
    negative = trunc(b >> 63, 1)
    magnitude = select(negative, const(0, 64) - b, b)
    zeros = clz(magnitude) & 63
    exponent = const(63, EXP) - trunc(zeros, EXP)
    rounded = round_and_pack(negative, exponent, magnitude << zeros, const(0, 1), fpscr)
    zero, none = eq(b, 0), const(0, 32)
    return finish(
        fpscr,
        select(zero, const(0, 64), rounded.value),
        select(zero, none, rounded.events),
        select(zero, none, rounded.rounding),
        select(zero, result_class(const(0, 64)), rounded.fprf),
    )


def to_integer(frb: Expr, fpscr: Expr, mode: Expr) -> Expr:
    """FRB as a signed doubleword, rounded by `mode` (fctid, fctidz).  FPRF stays."""
    b = parts(frb)
    far = lts(const(63, EXP), b.exponent) & ~b.zero
    depth = select(far | b.zero, const(0, EXP), const(63, EXP) - b.exponent)
    # 64 integer bits above 64 fraction bits, the last of them sticky
    fixed = sticky_shift(zext(b.significand, 128) << 64, at_most(depth, 127))
    fixed = select(b.zero, const(0, 128), fixed)
    whole, rest = trunc(fixed >> 64, 64), trunc(fixed, 64)
    up = rounds_up(mode, b.negative, trunc(whole, 1), rest, const(1 << 63, 64))
    magnitude = whole + zext(up, 64)
    limit = select(b.negative, const(1 << 63, 64), const((1 << 63) - 1, 64))
    invalid = b.nan | b.infinite | far | gtu(magnitude, limit)
    value = select(b.negative, const(0, 64) - magnitude, magnitude)
    saturated = select(b.nan | b.negative, const(1 << 63, 64), const((1 << 63) - 1, 64))
    inexact = ~invalid & ne(rest, 0)
    return finish(
        fpscr,
        select(invalid, saturated, value),
        flag(b.signaling, VXSNAN) | flag(invalid, VXCVI) | flag(inexact, XX),
        flag(inexact & up, FR) | flag(inexact, FI),
    )


def root_of(n: Expr) -> tuple[Expr, Expr]:
    """The integer square root of 112 bits `n`, bit by bit, and whether something is left."""
    rest, root = n, const(0, 128)
    for k in reversed(range(ROOT_BITS)):
        trial = (root << 1 | 1 << k) << k
        fits = ~ltu(rest, trial)
        rest = select(fits, rest - trial, rest)
        root = select(fits, root | 1 << k, root)
    return trunc(root, 64), ne(rest, 0)


def square_root(frb: Expr, fpscr: Expr, single: int) -> Expr:
    """The square root of FRB (fsqrt, fsqrts)."""
    b, yes = parts(frb), const(single, 1)
    odd = trunc(b.exponent, 1)
    whole = zext(b.significand >> 11, 128)
    root, left = root_of(select(odd, whole << 1, whole) << 58)
    exponent = ashr(b.exponent - zext(odd, EXP), 1)
    significand = root << (64 - ROOT_BITS) | zext(left, 64)
    rounded = round_and_pack(const(0, 1), exponent, significand, yes, fpscr)
    below = b.negative & ~b.zero & ~b.nan
    special = b.nan | b.infinite | b.zero | below
    value = select(b.nan, quiet(frb, yes), select(below, const(DEFAULT_NAN, 64), frb))
    none = const(0, 32)
    return finish(
        fpscr,
        select(special, value, rounded.value),
        flag(b.signaling, VXSNAN) | flag(below, VXSQRT) | select(special, none, rounded.events),
        select(special, none, rounded.rounding),
        select(special, result_class(value), rounded.fprf),
    )


@insn(XRc, "fcfid{Rc} FRT,FRB", needs="FP", OPCD=63, XO=846, width=64)
def fcfid(s: Body, i: XRc) -> None:
    commit(s, i, from_integer(s.fpr[i.FRB], s.fpscr))


@insn(XRc, "fctid{Rc} FRT,FRB", needs="FP", OPCD=63, XO=814, width=64)
def fctid(s: Body, i: XRc) -> None:
    commit(s, i, to_integer(s.fpr[i.FRB], s.fpscr, trunc(s.fpscr & RN, 2)))


@insn(XRc, "fctidz{Rc} FRT,FRB", needs="FP", OPCD=63, XO=815, width=64)
def fctidz(s: Body, i: XRc) -> None:
    commit(s, i, to_integer(s.fpr[i.FRB], s.fpscr, const(1, 2)))


@insn(A, "fsqrt{Rc} FRT,FRB", needs="FP", OPCD=63, XO=22, width=64)
def fsqrt(s: Body, i: A) -> None:
    commit(s, i, square_root(s.fpr[i.FRB], s.fpscr, 0))


@insn(A, "fsqrts{Rc} FRT,FRB", needs="FP", OPCD=59, XO=22, width=64)
def fsqrts(s: Body, i: A) -> None:
    commit(s, i, square_root(s.fpr[i.FRB], s.fpscr, 1))
