"""Conversions: between formats, integers, packed BCD; the exponent's field; shifts of the digits.

Source: Power ISA 2.07 Book I 5.6.5, 5.6.6.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.bits import ones, signed
from gossamer.isa import fpscr
from gossamer.isa.decimal.arith import nan_of
from gossamer.isa.decimal.formats import (
    DEFAULT_NAN,
    EXTENDED,
    LONG,
    SHORT,
    Decimal,
    Format,
    Kind,
    decode,
    encode,
    pack_digits,
)
from gossamer.isa.decimal.rounding import drop, fit
from gossamer.isa.decimal.status import Outcome, finish, mode_of, moved, number, rounded

_MOST: Final = (1 << 63) - 1
#: Exponents that stand for what has none.
_SPECIAL: Final = {-1: Kind.INFINITE, -2: Kind.QUIET, -3: Kind.SIGNALING}
_NUMBER_OF: Final = {kind: n for n, kind in _SPECIAL.items()}


# --- formats --------------------------------------------------------------------------------------


def widen_short(f: Format, status: int, b: int, imm: int) -> Outcome:
    """dctdp: a signaling NaN stays one."""
    return number(status, decode(b & ones(32), SHORT), LONG)


def widen_long(f: Format, status: int, b: int, imm: int) -> Outcome:
    """A long number as an extended one: dctqpq."""
    d = decode(b & ones(64), LONG)
    if found := nan_of(d):
        return number(status, found[0], EXTENDED, found[1])
    return number(status, d, EXTENDED)


def narrow_long(f: Format, status: int, b: int, imm: int) -> Outcome:
    """drsp: a signaling NaN stays one."""
    d = decode(b, LONG)
    if d.special:
        return number(status, d, SHORT)
    return rounded(status, fit(SHORT, mode_of(status), status, d, d.exponent), SHORT)


def narrow_extended(f: Format, status: int, b: int, imm: int) -> Outcome:
    """drdpq: the long result is the first half of the target, the other is zero."""
    d = decode(b, EXTENDED)
    if found := nan_of(d):
        out = number(status, found[0], LONG, found[1])
    elif d.infinite:
        out = number(status, d, LONG)
    else:
        result = fit(LONG, mode_of(status), status, d, d.exponent)
        out = rounded(status, result, LONG)
    return Outcome(out.value << 64, out.status, 0, out.writes, out.traps)


# --- integers -------------------------------------------------------------------------------------


def from_integer(f: Format, status: int, b: int, imm: int) -> Outcome:
    value = signed(b & ones(64), 64)
    d = Decimal(value < 0, abs(value))
    return rounded(status, fit(f, mode_of(status), status, d, 0), f)


def to_integer(f: Format, status: int, b: Decimal, imm: int) -> Outcome:
    """Too large, an infinity or a NaN: the nearest integer there is, the least for a NaN."""
    if b.nan:
        events = fpscr.VXCVI | (fpscr.VXSNAN if b.signaling else 0)
        return finish(status, _MOST + 1, events)
    nearest = _MOST + 1 if b.negative else _MOST
    if b.infinite or (b.digits and b.digits + b.exponent > 20):
        return finish(status, nearest, fpscr.VXCVI)
    kept, inexact = drop(mode_of(status), b.negative, b.significand, -b.exponent)
    if kept > nearest:
        return finish(status, nearest, fpscr.VXCVI)
    value = -kept if b.negative else kept
    return finish(status, value & ones(64), fpscr.XX if inexact else 0, inexact)


# --- packed BCD -----------------------------------------------------------------------------------

_MINUS: Final = 0xD
_NEGATIVE: Final = (0xB, 0xD)


def to_bcd(f: Format, status: int, b: Decimal, imm: int) -> Outcome:
    """ddedpd: SP 0 and 1 have no sign, 2 and 3 have one; a plus is C or F."""
    places = f.bits // 4
    if not imm & 2:
        return moved(status, int(str(b.significand % 10**places), 16))
    sign = _MINUS if b.negative else 0xF if imm & 1 else 0xC
    return moved(status, int(str(b.significand % 10 ** (places - 1)), 16) << 4 | sign)


def from_bcd(f: Format, status: int, b: int, imm: int) -> Outcome:
    """denbcd: with S the last digit is a sign."""
    negative = False
    if imm:
        sign, b = b & 15, b >> 4
        if sign < 10:
            return number(status, DEFAULT_NAN, f, fpscr.VXCVI)
        negative = sign in _NEGATIVE
    text = f"{b:x}"
    if not text.isdecimal():
        return number(status, DEFAULT_NAN, f, fpscr.VXCVI)
    return number(status, Decimal(negative, int(text)), f)


# --- the exponent, and digits ---------------------------------------------------------------------


def exponent_of(f: Format, status: int, b: Decimal, imm: int) -> Outcome:
    """The exponent as it is encoded, or what stands for none: dxex."""
    value = _NUMBER_OF[b.kind] if b.special else b.exponent + f.bias
    return moved(status, value & ones(64))


def with_exponent(f: Format, status: int, a: int, raw: int, imm: int) -> Outcome:
    """diex: a number that is no exponent makes a NaN."""
    wanted = signed(a & ones(64), 64)
    sign = raw & 1 << (f.bits - 1)
    if 0 <= wanted <= f.largest + f.bias:
        b = decode(raw, f)
        return moved(status, encode(Decimal(b.negative, b.significand, wanted - f.bias), f))
    kind = _SPECIAL.get(wanted, Kind.QUIET)
    head = encode(Decimal(False, 0, 0, kind), f)
    return moved(status, sign | head | raw & ones(f.trailing))


def _shifted(f: Format, status: int, a: Decimal, significand: int) -> Outcome:
    """The same number with other digits; a NaN or an infinity has one digit less."""
    places = f.precision - a.special
    value = significand % 10**places
    if not a.special:
        return moved(status, encode(Decimal(a.negative, value, a.exponent), f))
    head = encode(Decimal(a.negative, 0, 0, a.kind), f)
    return moved(status, head | pack_digits(value, f.trailing // 10))


def shift_left(f: Format, status: int, a: Decimal, imm: int) -> Outcome:
    return _shifted(f, status, a, a.significand * 10**imm)


def shift_right(f: Format, status: int, a: Decimal, imm: int) -> Outcome:
    return _shifted(f, status, a, a.significand // 10**imm)
