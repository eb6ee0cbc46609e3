"""What fres and frsqrte leave, from a source of its own and in other arithmetic.

The tables and FI are those of A. Church's ppc750cl.s (no copyright claimed), validated on an
Espresso; the special operands are PEM chapter 8's.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gossamer.verify.float.exact import (
    DEFAULT_NAN,
    DOUBLE,
    FI,
    INFINITY,
    NI,
    OE,
    OX,
    QUIET,
    SIGN,
    SINGLE,
    U64,
    UE,
    UX,
    VXSNAN,
    VXSQRT,
    ZX,
    Answers,
    Bits,
    Class,
    Mask,
    Words,
    classify,
    conclude,
    events_of,
    fprf,
)

Integers = NDArray[np.int64]

#: (base, delta) of 32 equal parts of the operand's fraction.
_FRES: Final = (
    *((0x3FFC, 0x3E1), (0x3C1C, 0x3A7), (0x3875, 0x371), (0x3504, 0x340), (0x31C4, 0x313)),
    *((0x2EB1, 0x2EA), (0x2BC8, 0x2C4), (0x2904, 0x2A0), (0x2664, 0x27F), (0x23E5, 0x261)),
    *((0x2184, 0x245), (0x1F40, 0x22A), (0x1D16, 0x212), (0x1B04, 0x1FB), (0x190A, 0x1E5)),
    *((0x1725, 0x1D1), (0x1554, 0x1BE), (0x1396, 0x1AC), (0x11EB, 0x19B), (0x104F, 0x18B)),
    *((0x0EC4, 0x17C), (0x0D48, 0x16E), (0x0BD7, 0x15B), (0x0A7C, 0x15B), (0x0922, 0x143)),
    *((0x07DF, 0x143), (0x069C, 0x12D), (0x056F, 0x12D), (0x0442, 0x11A), (0x0328, 0x11A)),
    *((0x020E, 0x108), (0x0106, 0x106)),
)
#: The same in 16 parts, for odd biased exponents and then for even ones.
_FRSQRTE: Final = (
    *((0x7FF4, 0x7A4), (0x7852, 0x700), (0x7154, 0x670), (0x6AE4, 0x5F2), (0x64F2, 0x584)),
    *((0x5F6E, 0x524), (0x5A4C, 0x4CC), (0x5580, 0x47E), (0x5102, 0x43A), (0x4CCA, 0x3FA)),
    *((0x48D0, 0x3C2), (0x450E, 0x38E), (0x4182, 0x35E), (0x3E24, 0x332), (0x3AF2, 0x30A)),
    *((0x37E8, 0x2E6), (0x34FD, 0x568), (0x2F97, 0x4F3), (0x2AA5, 0x48D), (0x2618, 0x435)),
    *((0x21E4, 0x3E7), (0x1DFE, 0x3A2), (0x1A5C, 0x365), (0x16F8, 0x32E), (0x13CA, 0x2FC)),
    *((0x10CE, 0x2D0), (0x0DFE, 0x2A8), (0x0B57, 0x283), (0x08D4, 0x261), (0x0673, 0x243)),
    *((0x0431, 0x226), (0x020B, 0x20B)),
)


def _apart(x: Class) -> tuple[Integers, Integers]:
    """The first 15 fraction bits and the exponent of each operand (of 1.0 where it is special)."""
    special = x.nan | x.infinite | x.zero
    number = np.abs(np.where(special, U64(0x3FF << 52), x.bits).view(np.float64))
    half, exponent = np.frexp(number)
    return ((2 * half - 1) * 2**15).astype(np.int64), exponent.astype(np.int64) - 1


def _line(table: tuple[tuple[int, int], ...], n: Integers) -> tuple[Integers, Integers]:
    rows = np.array(table, np.int64)
    return rows[n, 0], rows[n, 1]


def _normal(exponent: Integers, fraction: Integers, width: int) -> Bits:
    """The magnitude bits of (1 + fraction) × 2**exponent; the exponent wraps."""
    bits = (exponent + 1023 & 0x7FF) << 52 | fraction << (52 - width)
    return bits.astype(U64)


def _special(x: Class, value: Bits, nan: Bits) -> Bits:
    value = np.where(x.nan, nan | QUIET, value)
    sign = np.where(x.negative, SIGN, U64(0))
    return np.where(x.zero, sign | INFINITY, np.where(x.infinite, sign, value))


def _any(x: Integers) -> Mask:
    return np.asarray(x != 0)


def reciprocal(b: Bits, fpscr: Words) -> Answers:
    """The answers of fres."""
    x = classify(b)
    finite = ~(x.nan | x.zero | x.infinite)
    step, exponent = _apart(x)
    base, delta = _line(_FRES, step >> 10)
    twice = (base << 10) - delta * (step & 0x3FF)
    fraction, cut = twice >> 1, _any(twice & 1)
    exponent = -1 - exponent

    old = fpscr.astype(np.int64)
    over, tiny = finite & (exponent > 127), finite & (exponent < -126)
    trapped = over & _any(old & OE) | tiny & _any(old & UE)
    adjust = np.where(trapped, np.where(over, -192, 192), 0)
    value = _normal(exponent + adjust, fraction, 23)
    depth = np.clip(-126 - exponent, 0, 30)
    small = (fraction | 1 << 23) >> depth
    rest = _any((fraction | 1 << 23) & (1 << depth) - 1)
    flushed = tiny & ~trapped & _any(old & NI)
    little = np.ldexp(np.where(flushed, 0, small).astype(np.float64), -149).view(U64)
    value = np.where(tiny & ~trapped, little, value)
    value = np.where(over & ~trapped, U64(SINGLE.largest), value)
    value |= np.where(x.negative, SIGN, U64(0))
    value = _special(x, value, b & ~U64((1 << 29) - 1))

    inexact = finite & (cut | over & ~trapped | tiny & ~trapped & (rest | flushed))
    under = tiny & (trapped | inexact)
    pairs = ((x.signaling, VXSNAN), (x.zero, ZX), (over, OX), (under, UX), (inexact, FI))
    return conclude(fpscr, value, events_of(*pairs), fprf(value, SINGLE, trapped))


def reciprocal_root(b: Bits, fpscr: Words) -> Answers:
    """The answers of frsqrte."""
    x = classify(b)
    step, exponent = _apart(x)
    odd = exponent + 1023 & 1
    base, delta = _line(_FRSQRTE, (step >> 11) + 16 * (1 - odd))
    fraction = (base << 11) - delta * (step & 0x7FF)
    value = _normal((3068 - (exponent + 1023) >> 1) - 1023, fraction, 26)
    wrong = x.negative & ~x.zero & ~x.nan
    value = np.where(wrong, DEFAULT_NAN, _special(x, value, b))
    events = events_of((x.signaling, VXSNAN), (wrong, VXSQRT), (x.zero, ZX))
    return conclude(fpscr, value, events, fprf(value, DOUBLE, np.zeros(len(b), bool)))
