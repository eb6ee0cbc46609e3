"""IEEE 754 arithmetic to nearest even on bit patterns: the values of the ``f…64`` operations.

Python's floats are the host's; only what Python refuses (division by zero, overflow on narrowing)
or lacks (the fused multiply-add) is spelled out.  Bits of a NaN result are not defined.
"""

from __future__ import annotations

import math
import struct

_DOUBLE, _BITS = struct.Struct("<d"), struct.Struct("<Q")
_SINGLE, _WORD = struct.Struct("<f"), struct.Struct("<I")


def double(bits: int) -> float:
    value: float = _DOUBLE.unpack(_BITS.pack(bits))[0]
    return value


def bits(value: float) -> int:
    pattern: int = _BITS.unpack(_DOUBLE.pack(value))[0]
    return pattern


def add(a: int, b: int) -> int:
    return bits(double(a) + double(b))


def subtract(a: int, b: int) -> int:
    return bits(double(a) - double(b))


def multiply(a: int, b: int) -> int:
    return bits(double(a) * double(b))


def divide(a: int, b: int) -> int:
    x, y = double(a), double(b)
    if y == 0.0:
        if x == 0.0 or math.isnan(x):
            return bits(math.nan)
        return bits(math.copysign(math.inf, x) * math.copysign(1.0, y))
    return bits(x / y)


def fused(a: int, b: int, c: int) -> int:
    """The product and sum a * b + c, rounded once."""
    x, y, z = double(a), double(b), double(c)
    if not (math.isfinite(x) and math.isfinite(y)):
        return bits(x * y + z)
    if not math.isfinite(z):
        return c
    from fractions import Fraction  # noqa: PLC0415 - as heavy as the whole of `isa.expr`

    exact = Fraction(x) * Fraction(y) + Fraction(z)
    if exact == 0:  # zeros add as their signs say; a true cancellation gives +0
        return bits(x * y + z)
    try:
        magnitude = float(abs(exact))
    except OverflowError:
        magnitude = math.inf
    return bits(magnitude if exact > 0 else -magnitude)


def narrow(a: int) -> int:
    """Double to single."""
    x = double(a)
    try:
        word: int = _WORD.unpack(_SINGLE.pack(x))[0]
    except OverflowError:
        return 0xFF800000 if x < 0 else 0x7F800000
    return word


def widen(a: int) -> int:
    """Single to double."""
    return bits(_SINGLE.unpack(_WORD.pack(a))[0])


def to_word(a: int) -> int:
    """Double to signed 32-bit integer towards zero; INT_MIN where there is none, as x86 says."""
    x = double(a)
    return int(x) if abs(x) < 1 << 31 else -1 << 31
