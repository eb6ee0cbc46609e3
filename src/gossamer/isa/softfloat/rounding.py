"""Exact floating point in integers: taking doubles apart, rounding and putting them together.

Every operation works out the exact result as sign × significand × 2**exponent, where the
significand is 64 bits with its leading one at the top (so it is in [1, 2)) and its last bit is a
*sticky* bit: one when anything below was lost.  `round_and_pack` then rounds that once, to double
or single, with the FPSCR's mode, as PEM 3.3.6 says for overflow, underflow and inexact results.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.data import Data
from gossamer.isa.expr import Expr, clz, const, eq, gts, gtu, lts, ltu, ne, select, trunc, zext
from gossamer.isa.fpscr import (
    FI,
    FR,
    INFINITY,
    NI,
    OE,
    OX,
    QUIET,
    RN,
    SIGN,
    UE,
    UX,
    XX,
    flag,
    has,
    normal_class,
    result_class,
    single_class,
)

EXP: Final = 16  # bits of an exponent (signed)
SINGLE_BITS: Final = (1 << 29) - 1  # fraction bits a single lacks
LARGEST: Final = INFINITY - 1
LARGEST_SINGLE: Final = 0x47EF_FFFF_E000_0000


class Parts(Data):
    """A double taken apart; `exponent` and `significand` (leading one on top) if finite, not 0."""

    negative: Expr
    exponent: Expr
    significand: Expr
    zero: Expr
    infinite: Expr
    nan: Expr
    signaling: Expr


def parts(x: Expr) -> Parts:
    magnitude = x & (SIGN - 1)
    biased = trunc(x >> 52, EXP) & 0x7FF
    fraction = x & ((1 << 52) - 1)
    denormal = eq(biased, 0)
    whole = select(denormal, fraction, fraction | 1 << 52)
    shift = clz(whole) & 63
    exponent = select(denormal, const(1 - 1023 + 11, EXP), biased - (1023 - 11))
    return Parts(
        trunc(x >> 63, 1),
        exponent - trunc(shift, EXP),
        whole << shift,
        eq(magnitude, 0),
        eq(magnitude, INFINITY),
        gtu(magnitude, INFINITY),
        gtu(magnitude, INFINITY) & ~has(x, QUIET),
    )


def sticky_shift(x: Expr, n: Expr) -> Expr:
    """`x` shifted right by `n` (below the width); the last bit is set when ones were lost."""
    n = zext(n, x.width) if n.width < x.width else trunc(n, x.width)
    shifted = x >> n
    return shifted | zext(ne(shifted << n, x), x.width)


def at_most(n: Expr, limit: int) -> Expr:
    """The unsigned minimum."""
    return select(ltu(n, limit), n, const(limit, n.width))


def rounds_up(mode: Expr, negative: Expr, odd: Expr, rest: Expr, half: Expr) -> Expr:
    """Whether the magnitude is rounded up: `rest` is what is cut off, `half` half a unit."""
    nearest = gtu(rest, half) | eq(rest, half) & odd
    away = select(negative, eq(mode, 3), eq(mode, 2)) & ne(rest, 0)
    return select(eq(mode, 0), nearest, away)


def quiet(nan: Expr, single: Expr) -> Expr:
    """A NaN operand as a result."""
    kept = select(single, nan & ~SINGLE_BITS, nan)
    return kept | QUIET


def signed_value(negative: Expr, magnitude: Expr | int) -> Expr:
    if isinstance(magnitude, int):
        magnitude = const(magnitude, 64)
    return zext(negative, 64) << 63 | magnitude


class Rounded(Data):
    """A rounded result with its events (OX, UX, XX), rounding bits (FR, FI) and class (FPRF).

    A result with an adjusted exponent counts as a normal number.
    """

    value: Expr
    events: Expr
    rounding: Expr
    fprf: Expr


def round_and_pack(
    negative: Expr, exponent: Expr, significand: Expr, single: Expr, fpscr: Expr
) -> Rounded:
    """Round sign × significand × 2**exponent, not zero, to a double or (in double format) single.

    Tininess is detected before rounding.  A trap-enabled overflow or underflow gives the result
    with its exponent adjusted by 1536 (double) or 192 (single); an exponent that does not fit a
    double even so (single arithmetic on operands that are no singles: undefined in the books)
    wraps.  In non-IEEE mode a tiny result becomes zero.
    """
    mode = trunc(fpscr & RN, 2)
    lowest = select(single, const(-126, EXP), const(-1022, EXP))
    highest = select(single, const(127, EXP), const(1023, EXP))
    adjust = select(single, const(192, EXP), const(1536, EXP))

    tiny = lts(exponent, lowest)
    denormal = tiny & ~has(fpscr, UE)
    depth = select(denormal, at_most(lowest - exponent, 63), const(0, EXP))
    shifted = sticky_shift(significand, depth)
    cut = select(single, const(40, 64), const(11, 64))
    kept = shifted >> cut
    rest = shifted ^ kept << cut
    up = rounds_up(mode, negative, trunc(kept, 1), rest, const(1, 64) << (cut - 1))
    kept = kept + zext(up, 64)
    inexact = ne(rest, 0)

    unit = select(single, const(1 << 24, 64), const(1 << 53, 64))
    over = ~denormal & gts(exponent + zext(eq(kept, unit), EXP), highest)
    adjusted = exponent
    adjusted = select(over & has(fpscr, OE), exponent - adjust, adjusted)
    adjusted = select(tiny & has(fpscr, UE), exponent + adjust, adjusted)
    aligned = select(single, kept << 29, kept)  # the leading one is bit 52, or 53 after a carry
    normal = (zext(adjusted + 1022, 64) << 52) + aligned
    finite = select(denormal, select(single, small_single(kept), kept), normal)

    flushed = denormal & has(fpscr, NI)
    finite = select(flushed, const(0, 64), finite)
    away = eq(mode, 0) | select(negative, eq(mode, 3), eq(mode, 2))
    largest = select(single, const(LARGEST_SINGLE, 64), const(LARGEST, 64))
    lost = over & ~has(fpscr, OE)
    magnitude = select(lost, select(away, const(INFINITY, 64), largest), finite) & (SIGN - 1)

    inexact = inexact | lost | flushed
    grew = select(lost, away, up) & ~flushed
    under = tiny & (has(fpscr, UE) | inexact)
    value = signed_value(negative, magnitude)
    trapped = over & has(fpscr, OE) | tiny & has(fpscr, UE)
    plain = select(single, single_class(value), result_class(value))
    return Rounded(
        value,
        flag(over, OX) | flag(under, UX) | flag(inexact, XX),
        flag(grew, FR) | flag(inexact, FI),
        select(trapped, normal_class(negative), plain),
    )


def small_single(kept: Expr) -> Expr:
    """`kept` × 2**-149 (below 2**-125) as a double's magnitude."""
    lead = clz(kept)
    biased = const(63 - 149 + 1023 - 1, 64) - lead
    value = (biased << 52) + (kept << (lead & 63) >> 11)
    return select(eq(kept, 0), const(0, 64), value)
