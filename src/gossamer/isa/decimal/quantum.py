"""Quantum adjustment: quantize, reround, round to an integer.

Source: Power ISA 2.07 Book I 5.6.4.
"""

from __future__ import annotations

from typing import Final

from gossamer.isa import fpscr
from gossamer.isa.decimal.arith import nan_of
from gossamer.isa.decimal.formats import DEFAULT_NAN, Decimal, Format, digits_of
from gossamer.isa.decimal.rounding import Mode, Rounded, drop
from gossamer.isa.decimal.status import Outcome, mode_of, number, rounded

#: What R and RMC, one number, choose; 3: FPSCR[DRN].
_MODES: Final = {
    0: Mode.HALF_EVEN,
    1: Mode.DOWN,
    2: Mode.HALF_UP,
    4: Mode.CEILING,
    5: Mode.FLOOR,
    6: Mode.UP,
    7: Mode.HALF_DOWN,
}
SIGNIFICANCE: Final = 0x3F


def chosen(choice: int, status: int) -> Mode:
    """The rounding mode that an instruction's R and RMC choose."""
    found = _MODES.get(choice)
    return mode_of(status) if found is None else found


def quantize(
    f: Format, status: int, exponent: int, like: Decimal | None, b: Decimal, mode: Mode
) -> Outcome:
    """`b` with that exponent; `like` is the operand that it was taken from, if one was."""
    operands = (b,) if like is None else (like, b)
    if found := nan_of(*operands):
        return number(status, found[0], f, found[1])
    if b.infinite and like is not None and like.infinite:
        return number(status, b, f)
    if b.infinite or (like is not None and like.infinite):
        return number(status, DEFAULT_NAN, f, fpscr.VXCVI)
    fits = f.smallest <= exponent <= f.largest
    if fits and b.zero:
        return number(status, Decimal(b.negative, 0, exponent), f)
    if not fits or b.digits + b.exponent - exponent > f.precision:
        return number(status, DEFAULT_NAN, f, fpscr.VXCVI)
    kept, inexact = drop(mode, b.negative, b.significand, exponent - b.exponent)
    if digits_of(kept) > f.precision:
        return number(status, DEFAULT_NAN, f, fpscr.VXCVI)
    return _adjusted(f, status, Decimal(b.negative, kept, exponent), inexact)


def _adjusted(f: Format, status: int, result: Decimal, inexact: int) -> Outcome:
    return rounded(status, Rounded(result, fpscr.XX if inexact else 0, inexact), f)


def quantize_immediate(f: Format, status: int, b: Decimal, imm: int) -> Outcome:
    """To the exponent TE (bits 3 to 7 of `imm`, signed); RMC below."""
    te = imm >> 3 & 31
    return quantize(f, status, te - (te >> 4 << 5), None, b, chosen(imm & 3, status))


def quantize_like(f: Format, status: int, a: Decimal, b: Decimal, imm: int) -> Outcome:
    return quantize(f, status, a.exponent, a, b, chosen(imm & 3, status))


def reround(f: Format, status: int, a: int, b: Decimal, imm: int) -> Outcome:
    """To the number of digits that the low bits of `a` say."""
    wanted = a & SIGNIFICANCE
    if found := nan_of(b):
        return number(status, found[0], f, found[1])
    if b.infinite or not wanted or b.digits <= wanted:
        return number(status, b, f)
    digits = b.digits - wanted
    kept, inexact = drop(chosen(imm & 3, status), b.negative, b.significand, digits)
    exponent = b.exponent + digits
    if digits_of(kept) > wanted:
        kept, exponent = kept // 10, exponent + 1
    if exponent > f.largest:
        return number(status, DEFAULT_NAN, f, fpscr.VXCVI)
    return _adjusted(f, status, Decimal(b.negative, kept, exponent), inexact)


def integral(f: Format, status: int, b: Decimal, imm: int, *, reports: bool) -> Outcome:
    """Round to an integer; `reports`: whether it was exact (drintx)."""
    if found := nan_of(b):
        return number(status, found[0], f, found[1])
    if b.infinite or b.exponent >= 0:
        return number(status, b, f)
    kept, inexact = drop(chosen(imm & 7, status), b.negative, b.significand, -b.exponent)
    result = Decimal(b.negative, kept, 0)
    return _adjusted(f, status, result, inexact if reports else 0)


def integral_exact(f: Format, status: int, b: Decimal, imm: int) -> Outcome:
    return integral(f, status, b, imm, reports=True)


def integral_quiet(f: Format, status: int, b: Decimal, imm: int) -> Outcome:
    return integral(f, status, b, imm, reports=False)
