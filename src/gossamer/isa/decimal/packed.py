"""Packed decimal numbers: sums of 31 digits and a sign; digits in words, packed and not.

Source: Power ISA 2.07 Book I 6.11 (bcdadd.), 3.3.13 (cbcdtd), appendix B.
"""

from __future__ import annotations

from typing import Final

from gossamer.isa.decimal.arith import EQUAL, GREATER, LESS, UNORDERED
from gossamer.isa.decimal.formats import DECLETS, DIGITS, Format
from gossamer.isa.decimal.status import Outcome

_PLACES: Final = 31
_MINUS: Final = (0xB, 0xD)
_INVALID: Final = (1 << 128) - 1


def _number(raw: int) -> tuple[int, bool] | None:
    """Magnitude and whether there is a minus; None: a digit or the sign is none."""
    text, sign = f"{raw >> 4:x}", raw & 15
    if sign < 10 or not text.isdecimal():
        return None
    return int(text), sign in _MINUS


def add(f: Format, status: int, a: int, b: int, imm: int) -> Outcome:
    """bcdadd.: `imm` is PS."""
    return _sum(_number(a), _number(b), imm)


def subtract(f: Format, status: int, a: int, b: int, imm: int) -> Outcome:
    y = _number(b)
    return _sum(_number(a), y and (y[0], not y[1]), imm)


def _sum(x: tuple[int, bool] | None, y: tuple[int, bool] | None, plus: int) -> Outcome:
    if x is None or y is None:
        return Outcome(_INVALID, 0, UNORDERED)
    (m, minus), (n, also) = x, y
    total = (-m if minus else m) + (-n if also else n)
    digits = abs(total) % 10**_PLACES
    field = EQUAL if not total else LESS if total < 0 else GREATER
    if abs(total) != digits:
        field |= UNORDERED
    sign = 0xD if total < 0 else 0xF if plus else 0xC
    return Outcome(int(str(digits), 16) << 4 | sign, 0, field)


def to_digits(f: Format, status: int, a: int) -> Outcome:
    """cdtbcd: two declets of each word become six digits."""
    value = 0
    for word in (a >> 32 & 0xFFFF_FFFF, a & 0xFFFF_FFFF):
        number = 1000 * DIGITS[word >> 10 & 1023] + DIGITS[word & 1023]
        value = value << 32 | int(str(number), 16)
    return Outcome(value, 0)


def to_declets(f: Format, status: int, a: int) -> Outcome:
    """cbcdtd: six digits of each word become two declets."""
    value = 0
    for word in (a >> 32 & 0xFFFF_FFFF, a & 0xFFFF_FFFF):
        value = value << 32 | _declet(word >> 12) << 10 | _declet(word)
    return Outcome(value, 0)


def _declet(digits: int) -> int:
    """Three digits; what is none counts as its low decimal value does."""
    a, b, c = (digits >> n & 15 for n in (8, 4, 0))
    return DECLETS[(100 * a + 10 * b + c) % 1000]
