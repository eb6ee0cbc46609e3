"""Floating point on host instructions, where the result and every FPSCR bit are proven equal.

The host rounds to nearest even, so RN must be 0; XE must be 0 because an inexact result must not
trap here.  A result in the ranges below can neither overflow nor be tiny, so what is left of
FPSCR is the class, FI, FR and XX, and those follow from the *error* (exact minus rounded result),
which error-free transformations give exactly in these ranges.  All else is `softfloat`'s.

Sources: Knuth TAOCP 2, 4.2.2 (sum); Dekker 1971 (product, with fma); Boldo and Muller, "Some
functions computable with a fused-mac", 2005 (error of an fma); Figueroa 1995 (double rounding).
"""

from __future__ import annotations

from typing import Final

from gossamer.base.data import Data
from gossamer.isa.expr import Expr, const, eq, ltu, ne, node, select, trunc, zext
from gossamer.isa.fpscr import (
    FI,
    FPRF,
    FPRF_SHIFT,
    FR,
    FX,
    RN,
    SIGN,
    XE,
    XX,
    has,
    normal_class,
    pack,
)
from gossamer.isa.softfloat.rounding import SINGLE_BITS

# Biased exponents.  A double result at or above `_SAFE` has an error that is no denormal, and so
# have the parts of a product; one below `_TOP` keeps the transformations from overflowing.
_SAFE: Final = 170
_TOP: Final = 2045
_SINGLE_LOW: Final = 1023 - 125
_SINGLE_TOP: Final = 1023 + 127


class Fast(Data):
    """A result, its error (a double whose sign and being zero count) and whether they hold."""

    value: Expr
    error: Expr
    ok: Expr


def fadd(a: Expr, b: Expr) -> Expr:
    return node("fadd64", 64, a, b)


def fsub(a: Expr, b: Expr) -> Expr:
    return node("fsub64", 64, a, b)


def fmul(a: Expr, b: Expr) -> Expr:
    return node("fmul64", 64, a, b)


def fma(a: Expr, b: Expr, c: Expr) -> Expr:
    """The product and sum a × b + c, rounded once."""
    return node("fma64", 64, a, b, c)


def is_zero(x: Expr) -> Expr:
    return eq(x << 1, 0)


def within(x: Expr, low: int, top: int) -> Expr:
    """Whether the biased exponent of `x` is in [low, top)."""
    return ltu((x & (SIGN - 1)) - (low << 52), (top - low) << 52)


def two_sum(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """The rounded sum and its error."""
    total = fadd(a, b)
    second = fsub(total, a)
    return total, fadd(fsub(a, fsub(total, second)), fsub(b, second))


def add(a: Expr, b: Expr) -> Fast:
    """A tiny sum is exact and left to the slow side, which knows UE and NI."""
    total, error = two_sum(a, b)
    return Fast(total, error, within(total, 1, _TOP) | is_zero(total))


def multiply(a: Expr, c: Expr) -> Fast:
    product = fmul(a, c)
    error = fma(a, c, product ^ SIGN)
    nothing = is_zero(product) & (is_zero(a) | is_zero(c))
    return Fast(product, error, within(product, _SAFE, _TOP) | nothing)


def divide(a: Expr, b: Expr) -> Fast:
    quotient = node("fdiv64", 64, a, b)
    rest = fma(quotient ^ SIGN, b, a)
    nothing = is_zero(quotient) & is_zero(a) & within(b, 0, 2047)
    ok = within(quotient, _SAFE, _TOP) & within(a, _SAFE, _TOP) | nothing
    return Fast(quotient, rest ^ (b & SIGN), ok)


def multiply_add(a: Expr, c: Expr, b: Expr) -> Fast:
    """The sum a × c + b rounded once; of its error only the sign and being zero are right."""
    product = multiply(a, c)
    result = fma(a, c, b)
    high, low = two_sum(b, product.error)
    upper, lower = two_sum(product.value, high)
    gap = fadd(fsub(upper, result), lower)
    ok = product.ok & (within(result, _SAFE, _TOP) | is_zero(result))
    return Fast(result, fadd(gap, low), ok)


def multiply_add_single(a: Expr, c: Expr, b: Expr) -> Fast:
    """The double sum before `to_single`, where the product is exact (operands that are singles)."""
    product = multiply(a, c)
    total = add(product.value, b)
    return Fast(total.value, total.error, product.ok & is_zero(product.error) & total.ok)


def to_single(x: Fast) -> Fast:
    """`x` rounded on to single.

    Rounding twice is harmless unless `x` lies midway between two singles and is itself inexact.
    """
    value = node("fcvt32to64", 64, node("fcvt64to32", 32, x.value))
    moved = fsub(x.value, value)
    midway = eq(x.value & SINGLE_BITS, 1 << 28) & ~is_zero(x.error)
    ok = within(x.value, _SINGLE_LOW, _SINGLE_TOP) | is_zero(x.value)
    error = select(is_zero(moved), x.error, moved)
    return Fast(value, error, x.ok & ok & ~midway)


def allowed(fpscr: Expr) -> Expr:
    """Whether FPSCR allows the host's arithmetic: to nearest, inexact results do not trap."""
    return ~has(fpscr, RN | XE)


def deliver(fpscr: Expr, x: Fast, negate: Expr | None = None) -> Expr:
    """FRT, FPSCR, writes and traps in the format of the services, for a result that is `ok`."""
    inexact = ne(x.error << 1, 0)
    grew = inexact & trunc((x.error ^ x.value) >> 63, 1)
    value = x.value if negate is None else x.value ^ zext(negate, 64) << 63
    negative = trunc(value >> 63, 1)
    zero = select(negative, const(0x12 << FPRF_SHIFT, 32), const(2 << FPRF_SHIFT, 32))
    fprf = select(is_zero(value), zero, normal_class(negative))
    new = fpscr & ~(FR | FI | FPRF) | fprf
    rounding = select(grew, const(FR | FI | XX, 32), const(FI | XX, 32))
    first = select(has(fpscr, XX), const(0, 32), const(FX, 32))
    new = select(inexact, new | rounding | first, new)
    return pack(value, new, const(1, 1), const(0, 1))
