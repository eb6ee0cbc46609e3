"""Fixed-point rotates and shifts.  Source: Book I 3.3.12; MPC750UM chapter 12."""

from __future__ import annotations

from gossamer.isa.body import Body
from gossamer.isa.expr import (
    Expr,
    ashr,
    low,
    lshr_wide,
    lts,
    ltu,
    mask32,
    ne,
    rotl,
    select,
    sext,
    shl_wide,
    trunc,
    zext,
)
from gossamer.isa.insn import insn
from gossamer.isa.spec.forms import M, XRc

_SHIFTS = [{"MB": 0, "Rc": 0}, {"ME": 31, "Rc": 0}]


def rotated(s: Body, x: Expr, n: Expr) -> Expr:
    """ROTL32: the low 32 bits of `x` rotated; a wider word holds them twice."""
    part = rotl(low(x), n)
    return part if s.width == 32 else s.word(part) << 32 | s.word(part)


def mask(s: Body, i: M) -> Expr:
    """MASK(MB, ME) of 32 bits; in a wider word, one that wraps covers the bits above them too."""
    part = mask32(i.MB, i.ME)
    if s.width == 32:
        return part
    return s.word(part) | select(ltu(i.ME, i.MB), s.word(0xFFFF_FFFF << 32), 0)


@insn(M, "rlwinm{Rc} RA,RS,SH,MB,ME", OPCD=21, special=_SHIFTS)
def rlwinm(s: Body, i: M) -> None:
    s.gpr[i.RA] = result = rotated(s, s.gpr[i.RS], i.SH) & mask(s, i)
    s.record(i.Rc, result)


@insn(M, "rlwnm{Rc} RA,RS,RB,MB,ME", OPCD=23)
def rlwnm(s: Body, i: M) -> None:
    s.gpr[i.RA] = result = rotated(s, s.gpr[i.RS], low(s.gpr[i.RB])) & mask(s, i)
    s.record(i.Rc, result)


@insn(M, "rlwimi{Rc} RA,RS,SH,MB,ME", OPCD=20)
def rlwimi(s: Body, i: M) -> None:
    inserted = mask(s, i)
    s.gpr[i.RA] = result = rotated(s, s.gpr[i.RS], i.SH) & inserted | s.gpr[i.RA] & ~inserted
    s.record(i.Rc, result)


@insn(XRc, "slw{Rc} RA,RS,RB", OPCD=31, XO=24)
def slw(s: Body, i: XRc) -> None:
    s.gpr[i.RA] = result = s.word(shl_wide(low(s.gpr[i.RS]), low(s.gpr[i.RB])))
    s.record(i.Rc, result)


@insn(XRc, "srw{Rc} RA,RS,RB", OPCD=31, XO=536)
def srw(s: Body, i: XRc) -> None:
    s.gpr[i.RA] = result = s.word(lshr_wide(low(s.gpr[i.RS]), low(s.gpr[i.RB])))
    s.record(i.Rc, result)


def shift_right_algebraic(s: Body, i: XRc, count: Expr) -> None:
    """`count` has 64 bits and is below 64; CA: negative and a one was shifted out."""
    wide = sext(low(s.gpr[i.RS]), 64)
    shifted = ashr(wide, count)
    lost = ne(shifted << count, wide)
    s.gpr[i.RA] = result = trunc(shifted, s.width)
    s.ca = zext(lts(wide, 0) & lost, 8)
    s.record(i.Rc, result)


@insn(XRc, "sraw{Rc} RA,RS,RB", OPCD=31, XO=792)
def sraw(s: Body, i: XRc) -> None:
    shift_right_algebraic(s, i, zext(s.gpr[i.RB] & 63, 64))


@insn(XRc, "srawi{Rc} RA,RS,SH", OPCD=31, XO=824)
def srawi(s: Body, i: XRc) -> None:
    shift_right_algebraic(s, i, zext(i.SH, 64))
