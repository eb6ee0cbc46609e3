"""Tests of a number: its class, its group, its exponent, its digits.

Source: Power ISA 2.07 Book I 5.6.3.
"""

from __future__ import annotations

from typing import Final

from gossamer.isa.decimal.arith import EQUAL, GREATER, LESS, UNORDERED
from gossamer.isa.decimal.formats import Decimal, Format, is_subnormal
from gossamer.isa.decimal.quantum import SIGNIFICANCE
from gossamer.isa.decimal.status import Outcome, compared

_NEGATIVE: Final = 8
_MATCH: Final = 2


def _tested(status: int, d: Decimal, matches: int) -> Outcome:
    return compared(status, (_NEGATIVE if d.negative else 0) | (_MATCH if matches else 0))


def test_class(f: Format, status: int, a: Decimal, imm: int) -> Outcome:
    """dtstdc: zero, subnormal, normal, infinity, quiet and signaling NaN, from the left."""
    finite = 0x20 if a.zero else 0x10 if is_subnormal(a, f) else 8
    return _tested(status, a, imm & (4 >> (a.kind - 1) if a.special else finite))


def test_group(f: Format, status: int, a: Decimal, imm: int) -> Outcome:
    """dtstdg: zeros and others by exponent (extreme or not) and by the first digit."""
    extreme = a.exponent in (f.smallest, f.largest)
    if a.special:
        bit = 1
    elif a.zero:
        bit = 0x10 if extreme else 0x20
    elif extreme or is_subnormal(a, f):
        bit = 8
    else:
        bit = 2 if a.digits == f.precision else 4
    return _tested(status, a, imm & bit)


def test_exponent(f: Format, status: int, a: Decimal, b: Decimal) -> Outcome:
    """Exponents, or what kinds of special values: dtstex."""
    if a.special or b.special:
        alike = (a.nan, a.infinite) == (b.nan, b.infinite)
        return compared(status, EQUAL if alike else UNORDERED)
    x, y = a.exponent, b.exponent
    return compared(status, EQUAL if x == y else LESS if x < y else GREATER)


def test_significance(f: Format, status: int, a: int, b: Decimal) -> Outcome:
    """dtstsf: the number in the low bits of `a` beside how many digits `b` has."""
    wanted = a & SIGNIFICANCE
    if b.special:
        return compared(status, UNORDERED)
    if not wanted or wanted > b.digits:
        return compared(status, GREATER)
    return compared(status, EQUAL if wanted == b.digits else LESS)
