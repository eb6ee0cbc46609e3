"""What 64-bit parts have beside `arith` and `convert`: roots, doublewords, integral values.

Source: Power ISA 2.07 Book I 4.6.5 to 4.6.7, appendix D (their models), 7.6.
"""

from __future__ import annotations

from typing import Final

from gossamer.isa.expr import (
    Expr,
    ashr,
    clz,
    const,
    eq,
    gtu,
    lts,
    ltu,
    ne,
    select,
    trunc,
    zext,
)
from gossamer.isa.fpscr import (
    DEFAULT_NAN,
    FI,
    FR,
    RESULT_WIDTH,
    RN,
    SIGN,
    VXCVI,
    VXSNAN,
    VXSQRT,
    XE,
    XX,
    finish,
    flag,
    result_class,
    summarize,
)
from gossamer.isa.service import service
from gossamer.isa.softfloat.arith import ONE, SINGLE, float_divide, option
from gossamer.isa.softfloat.rounding import (
    EXP,
    SINGLE_BITS,
    Parts,
    at_most,
    parts,
    quiet,
    round_and_pack,
    rounds_up,
    signed_value,
    sticky_shift,
)

#: Bits of a root that are worked out, and of what is below its double-precision significand.
ROOT_BITS: Final = 56
#: Beside `SINGLE`, bits of the last parameter of the conversions.
UNSIGNED: Final = 2
#: The last parameter of `float_to_integral` and of `float_to_integer`: a mode of FPSCR[RN], ties
#: away from zero, FPSCR[RN] itself; what it has above.
AWAY, AS_FPSCR, MODE_BITS = 4, 5, 3
NEVER_INEXACT, UNSIGNED_RESULT, WORD_RESULT = 8, 16, 32
#: Of `float_estimate`, of `float_extreme`.
ROOT, LEAST = 2, 1


@service(64, 32, 8, result=RESULT_WIDTH, wide=True)
def float_from_integer(b: Expr, fpscr: Expr, options: Expr) -> Expr:
    """The doubleword `b`, signed or not, as a double or single (fcfid and its kin)."""
    negative = trunc(b >> 63, 1) & ~option(options, UNSIGNED)
    magnitude = select(negative, const(0, 64) - b, b)
    zeros = clz(magnitude) & 63
    exponent = const(63, EXP) - trunc(zeros, EXP)
    single = option(options, SINGLE)
    rounded = round_and_pack(negative, exponent, magnitude << zeros, single, fpscr)
    zero, none = eq(b, 0), const(0, 32)
    return finish(
        fpscr,
        select(zero, const(0, 64), rounded.value),
        select(zero, none, rounded.events),
        select(zero, none, rounded.rounding),
        select(zero, result_class(const(0, 64)), rounded.fprf),
    )


def _whole(b: Parts, mode: Expr) -> tuple[Expr, Expr, Expr]:
    """|b| below 2**64 rounded to an integer: it, whether it is inexact, and was rounded up."""
    far = lts(const(63, EXP), b.exponent) & ~b.zero
    depth = select(far | b.zero, const(0, EXP), const(63, EXP) - b.exponent)
    # 64 integer bits above 64 fraction bits, the last of them sticky
    fixed = sticky_shift(zext(b.significand, 128) << 64, at_most(depth, 127))
    fixed = select(b.zero, const(0, 128), fixed)
    whole, rest = trunc(fixed >> 64, 64), trunc(fixed, 64)
    half = const(1 << 63, 64)
    up = rounds_up(trunc(mode, 2), b.negative, trunc(whole, 1), rest, half)
    up = select(trunc(mode >> 2, 1), ~ltu(rest, half), up)
    return whole + zext(up, 64), ne(rest, 0), up


def _mode(options: Expr, fpscr: Expr) -> Expr:
    asked = options & (1 << MODE_BITS) - 1
    return trunc(select(eq(asked, AS_FPSCR), trunc(fpscr, 8) & RN, asked), 3)


@service(64, 32, 8, result=RESULT_WIDTH, wide=True)
def float_to_integer(frb: Expr, fpscr: Expr, options: Expr) -> Expr:
    """FRB as an integer of 64 or 32 bits, signed or not, as a doubleword.  FPRF stays."""
    b = parts(frb)
    word, unsigned = option(options, WORD_RESULT), option(options, UNSIGNED_RESULT)
    magnitude, rest, up = _whole(b, _mode(options, fpscr))
    far = lts(const(63, EXP), b.exponent) & ~b.zero
    wrapped = up & eq(magnitude, 0)  # 2**64
    top = select(word, const((1 << 32) - 1, 64), const(-1, 64))
    least = select(word, const(1 << 31, 64), const(1 << 63, 64))
    signed_limit = select(b.negative, least, least - 1)
    limit = select(unsigned, select(b.negative, const(0, 64), top), signed_limit)
    invalid = b.nan | b.infinite | far | wrapped | gtu(magnitude, limit)
    value = select(b.negative, const(0, 64) - magnitude, magnitude)
    low_end = b.nan | b.negative
    saturated = select(
        unsigned,
        select(low_end, const(0, 64), top),
        select(low_end, const(0, 64) - least, least - 1),
    )
    inexact = ~invalid & rest
    return finish(
        fpscr,
        select(invalid, saturated, value),
        flag(b.signaling, VXSNAN) | flag(invalid, VXCVI) | flag(inexact, XX),
        flag(inexact & up, FR) | flag(inexact, FI),
    )


@service(64, 32, 8, result=RESULT_WIDTH, wide=True)
def float_to_integral(frb: Expr, fpscr: Expr, options: Expr) -> Expr:
    """FRB rounded to an integral value (frin, xsrdpi and their kin)."""
    b = parts(frb)
    magnitude, rest, up = _whole(b, _mode(options, fpscr))
    zeros = clz(magnitude) & 63
    fraction = (magnitude << zeros & (1 << 63) - 1) >> 11
    made = (const(1023 + 63, 64) - zeros << 52) + fraction
    made = signed_value(b.negative, select(eq(magnitude, 0), const(0, 64), made))
    itself = b.infinite | b.zero | ~lts(b.exponent, 52)
    value = select(itself, frb, made)
    value = select(b.nan, quiet(frb, const(0, 1)), value)
    inexact = rest & ~itself & ~b.nan & ~option(options, NEVER_INEXACT)
    return finish(
        fpscr,
        value,
        flag(b.signaling, VXSNAN) | flag(inexact, XX),
        flag(inexact & up, FR) | flag(inexact, FI),
        result_class(value),
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


@service(64, 32, 8, result=RESULT_WIDTH, wide=True)
def float_square_root(frb: Expr, fpscr: Expr, options: Expr) -> Expr:
    """The square root of FRB (fsqrt, fsqrts)."""
    b, single = parts(frb), option(options, SINGLE)
    odd = trunc(b.exponent, 1)
    whole = zext(b.significand >> 11, 128)
    root, left = root_of(select(odd, whole << 1, whole) << 58)
    exponent = ashr(b.exponent - zext(odd, EXP), 1)
    significand = root << (64 - ROOT_BITS) | zext(left, 64)
    rounded = round_and_pack(const(0, 1), exponent, significand, single, fpscr)
    below = b.negative & ~b.zero & ~b.nan
    special = b.nan | b.infinite | b.zero | below
    value = select(b.nan, quiet(frb, single), select(below, const(DEFAULT_NAN, 64), frb))
    none = const(0, 32)
    return finish(
        fpscr,
        select(special, value, rounded.value),
        flag(b.signaling, VXSNAN) | flag(below, VXSQRT) | select(special, none, rounded.events),
        select(special, none, rounded.rounding),
        select(special, result_class(value), rounded.fprf),
    )


@service(64, 32, 8, result=RESULT_WIDTH, wide=True)
def float_estimate(frb: Expr, fpscr: Expr, options: Expr) -> Expr:
    """1 ÷ FRB, or with `ROOT` 1 ÷ √FRB: the estimates of later parts, which are in fact rounded.

    They are never inexact, whatever was lost.
    """
    b = parts(frb)
    quietly = fpscr & ~XE | XX
    root = float_square_root(frb, quietly, const(0, 8))
    of = option(options, ROOT)
    stopped = of & (b.nan | b.negative & ~b.zero)
    divisor = select(of & ~stopped, trunc(root, 64), frb)
    quotient = float_divide(const(ONE, 64), divisor, quietly, options & SINGLE)
    result = select(stopped, root, quotient)
    new = trunc(result >> 64, 32) & ~(XX | XE | FR | FI) | fpscr & (XX | XE)
    head = result >> 96 << 32 | zext(summarize(new), RESULT_WIDTH)
    value = trunc(result, 64)
    shortened = select(stopped & option(options, SINGLE), value & ~SINGLE_BITS, value)
    return head << 64 | zext(shortened, RESULT_WIDTH)


@service(64, 64, 32, 8, result=RESULT_WIDTH, wide=True)
def float_extreme(a: Expr, b: Expr, fpscr: Expr, options: Expr) -> Expr:
    """The larger of two, or with `LEAST` the smaller one; a number before a quiet NaN."""
    x, y = parts(a), parts(b)
    signaling = x.signaling | y.signaling
    first = ltu(order(a), order(b)) ^ ~option(options, LEAST)
    number = select(x.nan, b, select(y.nan, a, select(first, a, b)))
    nan = quiet(select(x.nan & (~y.signaling | x.signaling), a, b), const(0, 1))
    value = select(signaling | x.nan & y.nan, nan, number)
    kept = fpscr & (FR | FI)
    return finish(fpscr, value, flag(signaling, VXSNAN), kept)


def order(x: Expr) -> Expr:
    """An unsigned number that orders as the double does, NaNs apart; -0 is below +0."""
    return select(ne(x & SIGN, 0), ~x, x | SIGN)
