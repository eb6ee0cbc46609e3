"""Exact multiply-add and division: the slow side of every arithmetic instruction.

Addition is a multiply-add with the factor 1.0; multiplication is one without addend.  Source of
the rules: PEM 3.3.6 (exceptions), 3.3.5 and 3.3.8 (NaNs, zeros, rounding), chapter 8.
"""

from __future__ import annotations

from typing import Final

from gossamer.isa.expr import (
    Expr,
    clz,
    const,
    eq,
    lts,
    ne,
    select,
    trunc,
    udiv,
    zext,
)
from gossamer.isa.fpscr import (
    DEFAULT_NAN,
    FPRF_SHIFT,
    INFINITY,
    RESULT_WIDTH,
    RN,
    SIGN,
    VXIDI,
    VXIMZ,
    VXISI,
    VXSNAN,
    VXZDZ,
    ZX,
    finish,
    flag,
    has,
    result_class,
)
from gossamer.isa.service import service
from gossamer.isa.softfloat.rounding import (
    EXP,
    Parts,
    Rounded,
    at_most,
    parts,
    quiet,
    round_and_pack,
    signed_value,
    sticky_shift,
)

#: Bits of the last parameter of `float_fma` and `float_divide`.
SINGLE: Final = 1
SUBTRACT: Final = 2
NEGATE: Final = 4
NO_ADDEND: Final = 8

ONE: Final = 1023 << 52
_NOWHERE: Final = -8000  # exponent of a zero: below every other


def option(options: Expr, mask: int) -> Expr:
    return trunc(options >> (mask.bit_length() - 1), 1)


def _deliver(fpscr: Expr, special: Expr, value: Expr, events: Expr, rounded: Rounded) -> Expr:
    """The result of either the special case (zero, infinity, NaN) or the rounded one, finished."""
    none = const(0, 32)
    return finish(
        fpscr,
        select(special, value, rounded.value),
        events | select(special, none, rounded.events),
        select(special, none, rounded.rounding),
        select(special, result_class(value), rounded.fprf),
    )


@service(64, 64, 64, 32, 8, result=RESULT_WIDTH)
def float_fma(fra: Expr, frc: Expr, frb: Expr, fpscr: Expr, options: Expr) -> Expr:
    """FRA × FRC + FRB with `options`; with `NO_ADDEND` FRB must be +0."""
    single = option(options, SINGLE)
    a, c, b = parts(fra), parts(frc), parts(frb)
    product = a.negative ^ c.negative
    addend = b.negative ^ option(options, SUBTRACT)
    addend = select(option(options, NO_ADDEND), product, addend)
    differ = product ^ addend

    nan = a.nan | b.nan | c.nan
    signaling = a.signaling | b.signaling | c.signaling
    endless = a.infinite | c.infinite
    times_zero = a.infinite & c.zero | a.zero & c.infinite
    opposed = endless & b.infinite & differ & ~nan & ~times_zero
    events = flag(signaling, VXSNAN) | flag(times_zero, VXIMZ) | flag(opposed, VXISI)
    first_nan = select(a.nan, fra, select(b.nan, frb, frc))
    infinite = signed_value(select(endless, product, addend), INFINITY)

    negative, exponent, sum_ = _sum(a, c, b, product, addend)
    zero_sign = select(differ, eq(fpscr & RN, 3), product)
    plain = select(endless | b.infinite, infinite, signed_value(zero_sign, 0))
    plain = plain ^ signed_value(option(options, NEGATE), 0)
    invalid = select(nan, quiet(first_nan, single), const(DEFAULT_NAN, 64))
    special = nan | times_zero | endless | b.infinite | eq(sum_, 0)
    value = select(nan | times_zero | opposed, invalid, plain)

    rounded = _normalize(negative, exponent, sum_, single, fpscr)
    rounded = _negate(rounded, option(options, NEGATE))
    return _deliver(fpscr, special, value, events, rounded)


def _negate(x: Rounded, negate: Expr) -> Rounded:
    """`x` with its sign turned after rounding, when `negate` is one."""
    other = x.fprf ^ 0xC << FPRF_SHIFT  # FL and FG
    zero = x.fprf ^ 0x10 << FPRF_SHIFT  # a zero's sign is in C
    turned = select(has(x.fprf, 2 << FPRF_SHIFT), zero, other)
    return Rounded(
        x.value ^ signed_value(negate, 0),
        x.events,
        x.rounding,
        select(negate, turned, x.fprf),
    )


def _sum(a: Parts, c: Parts, b: Parts, product: Expr, addend: Expr) -> tuple[Expr, Expr, Expr]:
    """Sign, exponent (of bit 124) and magnitude (128 bits, last one sticky) of a × c + b.

    Ones are lost only where the exponents differ by 20 or more; then at most one leading bit
    cancels and the sticky bit stays below what is rounded.
    """
    high, low = zext(a.significand >> 11, 128), zext(c.significand >> 11, 128)
    nowhere = const(_NOWHERE, EXP)
    times = high * low << 20
    times_exponent = select(a.zero | c.zero, nowhere, a.exponent + c.exponent)
    plus = zext(b.significand >> 11, 128) << 72
    plus_exponent = select(b.zero, nowhere, b.exponent)

    behind = lts(times_exponent, plus_exponent)
    large, small = select(behind, plus, times), select(behind, times, plus)
    exponent = select(behind, plus_exponent, times_exponent)
    distance = exponent - select(behind, times_exponent, plus_exponent)
    small = sticky_shift(small, at_most(distance, 127))
    difference = large - small
    crossed = lts(difference, 0)
    magnitude = select(
        product ^ addend,
        select(crossed, const(0, 128) - difference, difference),
        large + small,
    )
    negative = select(behind, addend, product) ^ ((product ^ addend) & crossed)
    return negative, exponent, magnitude


def _normalize(
    negative: Expr, exponent: Expr, magnitude: Expr, single: Expr, fpscr: Expr
) -> Rounded:
    lead = clz(magnitude) & 127
    shifted = magnitude << lead
    significand = trunc(shifted >> 64, 64) | zext(ne(trunc(shifted, 64), 0), 64)
    return round_and_pack(negative, exponent + 3 - trunc(lead, EXP), significand, single, fpscr)


@service(64, 64, 32, 8, result=RESULT_WIDTH)
def float_divide(fra: Expr, frb: Expr, fpscr: Expr, options: Expr) -> Expr:
    """FRA ÷ FRB, double or (with `SINGLE`) single."""
    single = option(options, SINGLE)
    a, b = parts(fra), parts(frb)
    negative = a.negative ^ b.negative
    nan = a.nan | b.nan
    endless = a.infinite & b.infinite
    nothing = a.zero & b.zero
    by_zero = b.zero & ~a.zero & ~a.infinite & ~nan
    events = (
        flag(a.signaling | b.signaling, VXSNAN)
        | flag(endless, VXIDI)
        | flag(nothing, VXZDZ)
        | flag(by_zero, ZX)
    )
    invalid = select(nan, quiet(select(a.nan, fra, frb), single), const(DEFAULT_NAN, 64))
    limit = select(a.infinite | b.zero, const(INFINITY, 64), const(0, 64))
    value = select(nan | endless | nothing, invalid, signed_value(negative, limit))
    special = nan | a.infinite | b.infinite | a.zero | b.zero

    divisor = select(b.zero, const(SIGN, 64), b.significand) >> 11
    quotient, rest = const(0, 64), a.significand >> 11
    for step in range(6):  # 11 bits a step: A × 2**55 ÷ B, so 55 or 56 bits
        ahead = rest if step == 0 else rest << 11
        digits = udiv(ahead, divisor)
        quotient = digits if step == 0 else quotient << 11 | digits
        rest = ahead - digits * divisor
    lead = clz(quotient) & 63  # 8 when A >= B, else 9
    significand = quotient << lead | zext(ne(rest, 0), 64)
    exponent = a.exponent - b.exponent + 8 - trunc(lead, EXP)
    rounded = round_and_pack(negative, exponent, significand, single, fpscr)
    return _deliver(fpscr, special, value, events, rounded)
