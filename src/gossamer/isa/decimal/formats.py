"""The decimal formats: numbers, and how they are encoded with densely packed decimals.

Source: Power ISA 2.07 Book I 5.3, 5.4; appendix B.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from gossamer.base.bits import ones
from gossamer.base.data import Data


class Kind(IntEnum):
    """What a number is."""

    FINITE = 0
    INFINITE = 1
    QUIET = 2
    SIGNALING = 3


class Format(Data):
    """A format of `bits` bits: digits, bits of the exponent's continuation, bias.

    `wrap` is what an enabled overflow or underflow moves the exponent by.
    """

    bits: int
    precision: int
    continuation: int
    bias: int
    wrap: int

    @property
    def trailing(self) -> int:
        """Bits of the trailing significand."""
        return self.bits - 6 - self.continuation

    @property
    def largest(self) -> int:
        """The greatest exponent of a significand that is an integer."""
        return (3 << self.continuation) - 1 - self.bias

    @property
    def smallest(self) -> int:
        return -self.bias

    @property
    def least_normal(self) -> int:
        """The exponent of the least normal number's first digit."""
        return self.smallest + self.precision - 1


SHORT: Final = Format(32, 7, 6, 101, 192)
LONG: Final = Format(64, 16, 8, 398, 576)
EXTENDED: Final = Format(128, 34, 12, 6176, 9216)


class Decimal(Data):
    """(-1)**negative x significand x 10**exponent, or something special.

    `significand` of a NaN or an infinity is what its trailing significand says.
    """

    negative: bool
    significand: int
    exponent: int = 0
    kind: Kind = Kind.FINITE

    @property
    def special(self) -> bool:
        return self.kind is not Kind.FINITE

    @property
    def infinite(self) -> bool:
        return self.kind is Kind.INFINITE

    @property
    def nan(self) -> bool:
        return self.kind in (Kind.QUIET, Kind.SIGNALING)

    @property
    def signaling(self) -> bool:
        return self.kind is Kind.SIGNALING

    @property
    def zero(self) -> bool:
        return self.kind is Kind.FINITE and not self.significand

    @property
    def digits(self) -> int:
        """Digits of the significand, none for zero."""
        return digits_of(self.significand)

    def quieted(self) -> Decimal:
        return Decimal(self.negative, self.significand, 0, Kind.QUIET)

    def negated(self) -> Decimal:
        return Decimal(not self.negative, self.significand, self.exponent, self.kind)


DEFAULT_NAN: Final = Decimal(False, 0, 0, Kind.QUIET)


def digits_of(n: int) -> int:
    """Decimal digits of a number, none for zero."""
    return len(str(n)) if n else 0


# --- densely packed decimal -----------------------------------------------------------------------


def _three_digits(declet: int) -> int:
    """What ten bits stand for, 0 to 999 (appendix B.2)."""
    p, q, r, s, t, u, v, w, x, y = (declet >> (9 - n) & 1 for n in range(10))
    first, second = p << 2 | q << 1 | r, s << 2 | t << 1 | u
    if not v:
        third = w << 2 | x << 1 | y
    elif not w:
        second, third = (8 | u, s << 2 | t << 1 | y) if x else (second, 8 | y)
    elif not x:
        first, third = 8 | r, p << 2 | q << 1 | y
    elif s and t:
        first, second, third = 8 | r, 8 | u, 8 | y
    elif s:
        second, third = 8 | u, 8 | y
    elif t:
        first, second, third = 8 | r, p << 2 | q << 1 | u, 8 | y
    else:
        first, second, third = 8 | r, 8 | u, p << 2 | q << 1 | y
    return 100 * first + 10 * second + third


DIGITS: Final = tuple(_three_digits(n) for n in range(1024))
#: The canonical declet of three digits.
DECLETS: Final = tuple(DIGITS.index(n) for n in range(1000))


def unpack_digits(bits: int, count: int) -> int:
    """The number that the `count` low declets of `bits` stand for."""
    value = 0
    for n in reversed(range(count)):
        value = 1000 * value + DIGITS[bits >> 10 * n & 1023]
    return value


def pack_digits(value: int, count: int) -> int:
    """The low 3 x `count` digits of a number as declets."""
    bits = 0
    for n in range(count):
        value, three = divmod(value, 1000)
        bits |= DECLETS[three] << 10 * n
    return bits


# --- whole numbers --------------------------------------------------------------------------------

_INFINITY: Final = 0b11110
_NAN: Final = 0b11111


def decode(raw: int, f: Format) -> Decimal:
    """The number that the bits of a format stand for."""
    negative = bool(raw >> (f.bits - 1))
    combination = raw >> (f.bits - 6) & 31
    trailing = unpack_digits(raw & ones(f.trailing), f.trailing // 10)
    if combination >= _INFINITY:
        signaling = raw >> (f.bits - 7) & 1
        kind = Kind.INFINITE
        if combination == _NAN:
            kind = Kind.SIGNALING if signaling else Kind.QUIET
        return Decimal(negative, trailing, 0, kind)
    if combination >> 3 == 3:
        first, high = 8 | combination & 1, combination >> 1 & 3
    else:
        first, high = combination & 7, combination >> 3
    exponent = high << f.continuation | raw >> f.trailing & ones(f.continuation)
    significand = first * 10 ** (f.precision - 1) + trailing
    return Decimal(negative, significand, exponent - f.bias)


def encode(d: Decimal, f: Format) -> int:
    """The canonical bits of a number that fits the format."""
    sign = int(d.negative) << (f.bits - 1)
    if d.special:
        head = _INFINITY << 1 if d.infinite else _NAN << 1 | d.signaling
        trailing = 0 if d.infinite else pack_digits(d.significand, f.trailing // 10)
        return sign | head << (f.bits - 7) | trailing
    one: int = 10 ** (f.precision - 1)
    first, rest = divmod(d.significand, one)
    biased = d.exponent + f.bias
    assert first < 10, d
    assert 0 <= biased < 3 << f.continuation, d
    high = biased >> f.continuation
    combination = 0b11000 | high << 1 | first & 1 if first > 7 else high << 3 | first
    continuation = biased & ones(f.continuation)
    head = combination << f.continuation | continuation
    return sign | head << f.trailing | pack_digits(rest, f.trailing // 10)


def is_subnormal(d: Decimal, f: Format) -> bool:
    """Whether a finite number is not zero and below the least normal one."""
    return not d.special and 0 < d.digits <= f.least_normal - d.exponent


def result_class(d: Decimal, f: Format) -> int:
    """FPRF, five bits (5.2.2, table of the class descriptor)."""
    if d.nan:
        return 0x01 if d.signaling else 0x11
    sign = 8 if d.negative else 4
    if d.infinite:
        return sign | 1
    if d.zero:
        return 0x12 if d.negative else 0x02
    return sign | (0x10 if is_subnormal(d, f) else 0)
