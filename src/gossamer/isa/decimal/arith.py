"""Addition, subtraction, multiplication, division and comparison.

Source: Power ISA 2.07 Book I 5.6.1, 5.6.2.
"""

from __future__ import annotations

from typing import Final

from gossamer.isa import fpscr
from gossamer.isa.decimal.formats import DEFAULT_NAN, Decimal, Format, Kind
from gossamer.isa.decimal.rounding import Mode, fit
from gossamer.isa.decimal.status import Outcome, compared, mode_of, number, rounded

LESS: Final = 8
GREATER: Final = 4
EQUAL: Final = 2
UNORDERED: Final = 1


def nan_of(*operands: Decimal) -> tuple[Decimal, int] | None:
    """The NaN that operands make the result, and VXSNAN where one was signaling; None: no NaN."""
    for d in operands:
        if d.signaling:
            return d.quieted(), fpscr.VXSNAN
    for d in operands:
        if d.nan:
            return d, 0
    return None


def infinity(negative: bool) -> Decimal:
    return Decimal(negative, 0, 0, Kind.INFINITE)


def add(f: Format, status: int, a: Decimal, b: Decimal) -> Outcome:
    if found := nan_of(a, b):
        return number(status, found[0], f, found[1])
    if a.infinite and b.infinite and a.negative != b.negative:
        return number(status, DEFAULT_NAN, f, fpscr.VXISI)
    if a.infinite or b.infinite:
        return number(status, infinity(a.negative if a.infinite else b.negative), f)
    mode = mode_of(status)
    ideal = min(a.exponent, b.exponent)
    exact = _sum(f, mode, a, b)
    return rounded(status, fit(f, mode, status, exact, ideal), f)


def _sum(f: Format, mode: Mode, a: Decimal, b: Decimal) -> Decimal:
    """The sum, exact as far as it has to be for any rounding."""
    exponent = min(a.exponent, b.exponent)
    big, small = (a, b) if a.exponent > b.exponent else (b, a)
    if big.significand and small.significand:
        # A number far below the last digit of the other one stands for anything there.
        far = big.exponent - f.precision - 3
        if small.exponent + small.digits < far:
            exponent = far
            small = Decimal(small.negative, 1, far)
    elif big.significand:  # the other one says no more than the ideal exponent
        exponent = max(exponent, big.exponent - f.precision)
        small = Decimal(small.negative, 0, exponent)
    total = _scaled(big, exponent) + _scaled(small, exponent)
    if total:
        return Decimal(total < 0, abs(total), exponent)
    same = a.negative == b.negative
    return Decimal(a.negative if same else mode is Mode.FLOOR, 0, exponent)


def _scaled(d: Decimal, exponent: int) -> int:
    if not d.significand:
        return 0
    magnitude: int = d.significand * 10 ** (d.exponent - exponent)
    return -magnitude if d.negative else magnitude


def subtract(f: Format, status: int, a: Decimal, b: Decimal) -> Outcome:
    return add(f, status, a, b if b.nan else b.negated())


def multiply(f: Format, status: int, a: Decimal, b: Decimal) -> Outcome:
    if found := nan_of(a, b):
        return number(status, found[0], f, found[1])
    negative = a.negative != b.negative
    if a.infinite or b.infinite:
        if a.zero or b.zero:
            return number(status, DEFAULT_NAN, f, fpscr.VXIMZ)
        return number(status, infinity(negative), f)
    exact = Decimal(negative, a.significand * b.significand, a.exponent + b.exponent)
    return rounded(status, fit(f, mode_of(status), status, exact, exact.exponent), f)


def divide(f: Format, status: int, a: Decimal, b: Decimal) -> Outcome:
    if found := nan_of(a, b):
        return number(status, found[0], f, found[1])
    negative = a.negative != b.negative
    if a.infinite:
        if b.infinite:
            return number(status, DEFAULT_NAN, f, fpscr.VXIDI)
        return number(status, infinity(negative), f)
    if b.infinite:
        return number(status, Decimal(negative, 0, f.smallest), f)
    if b.zero:
        if a.zero:
            return number(status, DEFAULT_NAN, f, fpscr.VXZDZ)
        return number(status, infinity(negative), f, fpscr.ZX)
    ideal = a.exponent - b.exponent
    if a.zero:
        exact = Decimal(negative, 0, ideal)
    else:
        more = f.precision + 3 + b.digits - min(a.digits, b.digits)
        quotient, rest = divmod(a.significand * 10**more, b.significand)
        exact = Decimal(negative, quotient, ideal - more)
        if rest:  # one more digit says on which side of a half it is
            exact = Decimal(negative, quotient * 10 + 1, ideal - more - 1)
    return rounded(status, fit(f, mode_of(status), status, exact, ideal), f)


def relation(a: Decimal, b: Decimal) -> int:
    """LESS, GREATER, EQUAL or UNORDERED."""
    if a.nan or b.nan:
        return UNORDERED
    if a.infinite or b.infinite:
        x, y = (_sign(d) if d.infinite else 0 for d in (a, b))
    elif a.zero or b.zero or a.negative != b.negative:
        x, y = (_sign(d) if d.significand else 0 for d in (a, b))
    else:
        x, y = a.exponent + a.digits, b.exponent + b.digits
        if x == y:
            least = min(a.exponent, b.exponent)
            x, y = (d.significand * 10 ** (d.exponent - least) for d in (a, b))
        if a.negative:
            x, y = y, x
    return EQUAL if x == y else LESS if x < y else GREATER


def _sign(d: Decimal) -> int:
    return -1 if d.negative else 1


def compare_unordered(f: Format, status: int, a: Decimal, b: Decimal) -> Outcome:
    events = fpscr.VXSNAN if a.signaling or b.signaling else 0
    return compared(status, relation(a, b), events)


def compare_ordered(f: Format, status: int, a: Decimal, b: Decimal) -> Outcome:
    events = 0
    if a.signaling or b.signaling:
        events = fpscr.VXSNAN | (0 if status & fpscr.VE else fpscr.VXVC)
    elif a.nan or b.nan:
        events = fpscr.VXVC
    return compared(status, relation(a, b), events)
