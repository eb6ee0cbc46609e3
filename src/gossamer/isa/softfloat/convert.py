"""Exact conversions: round to single, convert to a 32-bit integer.

Source: PEM chapter 8 (frsp, fctiw, fctiwz) and appendix D.3 (their models).
"""

from __future__ import annotations

from typing import Final

from gossamer.isa.expr import Expr, const, gtu, lts, ltu, ne, select, trunc, zext
from gossamer.isa.fpscr import (
    FI,
    FR,
    RESULT_WIDTH,
    RN,
    VXCVI,
    VXSNAN,
    XX,
    finish,
    flag,
    result_class,
)
from gossamer.isa.service import service
from gossamer.isa.softfloat.rounding import (
    EXP,
    at_most,
    parts,
    quiet,
    round_and_pack,
    rounds_up,
    sticky_shift,
)

#: The high word of a converted integer, and the bit that marks a zero made from a negative value.
#: The books leave the word undefined; on the 750 family it was measured to be this (Dolphin and
#: decaf projects' tests on Gekko and Espresso).
INTEGER_HEAD: Final = 0xFFF8_0000
INTEGER_MINUS_ZERO: Final = 1


def integer_result(word: Expr, negative: Expr) -> Expr:
    """FRT for the 32-bit integer `word` of an operand with this sign."""
    minus_zero = negative & ~ne(word, 0)
    head = const(INTEGER_HEAD, 64) | zext(minus_zero, 64)
    return head << 32 | zext(word, 64)


@service(64, 32, result=RESULT_WIDTH)
def float_round(frb: Expr, fpscr: Expr) -> Expr:
    """FRB rounded to single (frsp)."""
    b, yes = parts(frb), const(1, 1)
    rounded = round_and_pack(b.negative, b.exponent, b.significand, yes, fpscr)
    special = b.nan | b.infinite | b.zero
    value = select(b.nan, quiet(frb, yes), select(special, frb, rounded.value))
    none = const(0, 32)
    return finish(
        fpscr,
        value,
        flag(b.signaling, VXSNAN) | select(special, none, rounded.events),
        select(special, none, rounded.rounding),
        select(special, result_class(value), rounded.fprf),
    )


@service(64, 32, 8, result=RESULT_WIDTH)
def float_to_word(frb: Expr, fpscr: Expr, toward_zero: Expr) -> Expr:
    """FRB as a signed 32-bit integer (fctiw; fctiwz when `toward_zero` is 1).  FPRF stays."""
    b = parts(frb)
    mode = select(ne(toward_zero, 0), const(1, 2), trunc(fpscr & RN, 2))
    far = lts(const(31, EXP), b.exponent) & ~b.zero
    # 32 integer bits above 32 fraction bits, the last of them sticky
    depth = select(lts(const(31, EXP), b.exponent), const(0, EXP), const(31, EXP) - b.exponent)
    fixed = sticky_shift(b.significand, at_most(depth, 63))
    whole, rest = fixed >> 32, fixed & 0xFFFF_FFFF
    up = rounds_up(mode, b.negative, trunc(whole, 1), rest, const(1 << 31, 64))
    magnitude = whole + zext(up, 64)
    limit = select(b.negative, const(1 << 31, 64), const((1 << 31) - 1, 64))
    invalid = b.nan | b.infinite | far | gtu(magnitude, limit)

    word = trunc(magnitude, 32)
    word = select(b.negative, const(0, 32) - word, word)
    saturated = select(b.nan | b.negative, const(1 << 31, 32), const((1 << 31) - 1, 32))
    word = select(invalid, saturated, word)
    inexact = ~invalid & ne(rest, 0)
    return finish(
        fpscr,
        integer_result(word, b.negative),
        flag(b.signaling, VXSNAN) | flag(invalid, VXCVI) | flag(inexact, XX),
        flag(inexact & up, FR) | flag(inexact, FI),
    )


def below_word(frb: Expr) -> Expr:
    """Whether |FRB| is below 2**31, as one bit."""
    return ltu(frb & ((1 << 63) - 1), (1023 + 31) << 52)
