"""Rounding to a number of digits, and to what a format can hold.

Source: Power ISA 2.07 Book I 5.5.1 (rounding), 5.5.2 (ideal exponent), 5.5.10 (exceptions).
"""

from __future__ import annotations

from enum import IntEnum

from gossamer.base.data import Data
from gossamer.isa import fpscr
from gossamer.isa.decimal.formats import Decimal, Format, Kind, digits_of


class Mode(IntEnum):
    """Rounding modes, as FPSCR[DRN] has them."""

    HALF_EVEN = 0
    DOWN = 1
    CEILING = 2
    FLOOR = 3
    HALF_UP = 4
    HALF_DOWN = 5
    UP = 6
    SHORTER = 7  # to prepare for shorter precision


class Rounded(Data):
    """A number, the FPSCR bits of what was met, and FR and FI."""

    number: Decimal
    events: int = 0
    status: int = 0


def increments(mode: Mode, negative: bool, kept: int, rest: int, unit: int) -> bool:
    """Whether a magnitude of `kept` and `rest` of a `unit` (not zero) is rounded up."""
    twice = 2 * rest - unit
    match mode:
        case Mode.HALF_EVEN:
            return twice > 0 or (twice == 0 and bool(kept & 1))
        case Mode.DOWN:
            return False
        case Mode.CEILING:
            return not negative
        case Mode.FLOOR:
            return negative
        case Mode.HALF_UP:
            return twice >= 0
        case Mode.HALF_DOWN:
            return twice > 0
        case Mode.UP:
            return True
    return kept % 5 == 0


def drop(mode: Mode, negative: bool, significand: int, digits: int) -> tuple[int, int]:
    """The significand without its last `digits` digits, rounded; FR and FI."""
    if digits <= 0:
        return significand * 10**-digits, 0
    if digits > digits_of(significand) + 1:  # all is below a tenth: no more has to be known
        significand, digits = int(significand > 0), 2
    unit = 10**digits
    kept, rest = divmod(significand, unit)
    if not rest:
        return kept, 0
    if increments(mode, negative, kept, rest, unit):
        return kept + 1, fpscr.FR | fpscr.FI
    return kept, fpscr.FI


def fit(
    f: Format,
    mode: Mode,
    enabled: int,
    exact: Decimal,
    ideal: int,
) -> Rounded:
    """What a finite result of any number of digits is in the format.

    `ideal` is the exponent that an exact result has if it can; `enabled` FPSCR with its enables.
    """
    if exact.zero:
        exponent = min(max(ideal, f.smallest), f.largest)
        return Rounded(Decimal(exact.negative, 0, exponent))
    count, exponent = exact.digits, exact.exponent
    events = 0
    tiny = exponent + count <= f.least_normal
    if tiny and enabled & fpscr.UE:
        events = fpscr.UX
    # A conversion's result may still be too small: it is what it is without the enable, then.
    wrapped = bool(events) and exponent + count + f.wrap > f.least_normal
    if wrapped:
        exponent, ideal = exponent + f.wrap, ideal + f.wrap
    to = exponent + max(count - f.precision, 0)
    if not wrapped:
        to = max(to, f.smallest)
    kept, status = drop(mode, exact.negative, exact.significand, to - exponent)
    if kept == 10**f.precision:
        kept, to = kept // 10, to + 1
    if not status:
        kept, to = nearer(kept, to, ideal)
    elif tiny:
        events |= fpscr.UX
    if status:
        events |= fpscr.XX
    if to > f.largest:
        if digits_of(kept) + to - f.largest > f.precision:
            return _overflow(f, mode, enabled, Decimal(exact.negative, kept, to), status)
        kept, to = kept * 10 ** (to - f.largest), f.largest
    return Rounded(Decimal(exact.negative, kept, to), events, status)


def nearer(significand: int, exponent: int, ideal: int) -> tuple[int, int]:
    """The same number with its exponent as near to a greater ideal one as it can be."""
    while exponent < ideal and significand % 10 == 0:
        significand, exponent = significand // 10, exponent + 1
    return significand, exponent


def _overflow(f: Format, mode: Mode, enabled: int, rounded: Decimal, status: int) -> Rounded:
    negative = rounded.negative
    exponent = rounded.exponent - f.wrap
    if enabled & fpscr.OE and f.smallest <= exponent <= f.largest:
        wrapped = Decimal(negative, rounded.significand, exponent)
        return Rounded(wrapped, fpscr.OX | (fpscr.XX if status else 0), status)
    finite = mode in (Mode.DOWN, Mode.SHORTER) or mode == (Mode.CEILING if negative else Mode.FLOOR)
    if finite:
        number = Decimal(negative, 10**f.precision - 1, f.largest)
        return Rounded(number, fpscr.OX | fpscr.XX, fpscr.FI)
    number = Decimal(negative, 0, 0, Kind.INFINITE)
    return Rounded(number, fpscr.OX | fpscr.XX, fpscr.FR | fpscr.FI)
