"""Singles in vectors: NaNs, denormals, and the four estimates.

Source: AltiVec PEM chapters 3 (Java and non-Java mode; to nearest; no exceptions) and 4
(estimates).  A NaN operand comes back quiet, the first of vA, vB, vC; an invalid operation gives
the QNaN 0x7FC00000.  In non-Java mode (VSCR[NJ]) denormal operands and results are zeros of their
sign.  Tininess is detected before rounding, as everywhere in PowerPC.

Of the estimates the books give bounds: 1/4096 (relative) for the reciprocal and its root, 1/16
(relative) for 2**x, 1/32 (absolute) for log2.  The bits of the MPC7400's tables were never
published.  Here the reciprocal and its root are a division and root rounded to single (within one
unit in the last place), 2**x has an error below 2**-18 and log2 one below 2**-15, both exact where
the result is a power of two or an integer.
"""

from __future__ import annotations

from functools import partial, reduce
from typing import Final

from gossamer.isa import hostfloat
from gossamer.isa.expr import (
    Expr,
    ashr,
    choose,
    const,
    eq,
    ltu,
    ne,
    node,
    trunc,
    zext,
)
from gossamer.isa.float_fast import fmul, two_sum
from gossamer.isa.vector.lanes import WIDTH
from gossamer.isa.vector.lanewise import (
    ONES,
    ZEROS,
    any_bit,
    blend,
    both,
    each,
    either,
    invert,
    lanes,
    shift,
    splat,
    without,
)

SIGN: Final = 0x8000_0000
QUIET: Final = 0x0040_0000
INFINITY: Final = 0x7F80_0000
DEFAULT_NAN: Final = 0x7FC0_0000
LEAST_NORMAL: Final = 0x0080_0000
ONE: Final = 0x3F80_0000
NJ_SHIFT: Final = 16

SIGNS, MAGNITUDES = each(SIGN, 32), each(SIGN - 1, 32)


def single(value: float) -> Expr:
    """The constant vector of this number, rounded to single."""
    return each(hostfloat.narrow(hostfloat.bits(value)), 32)


def non_java(vscr: Expr) -> Expr:
    """Ones everywhere when VSCR[NJ] is set, else zeros."""
    return splat(ashr(vscr << (31 - NJ_SHIFT), 31))


def flush(x: Expr, nj: Expr) -> Expr:
    """`x` with denormals made zeros of their sign where `nj` has ones."""
    tiny = lanes("vceq32", both(x, each(INFINITY, 32)), ZEROS)
    return without(x, both(both(tiny, nj), MAGNITUDES))


def is_nan(x: Expr) -> Expr:
    return invert(lanes("vfeq", x, x))


def settle(result: Expr, *operands: Expr) -> Expr:
    """`result` with each NaN made the first NaN operand, quiet, or the default one."""
    out = blend(is_nan(result), each(DEFAULT_NAN, 32), result)
    for x in reversed(operands):
        out = blend(is_nan(x), either(x, each(QUIET, 32)), out)
    return out


def usual(*values: Expr) -> Expr:
    """Ones in lanes where no value is a denormal (nor, which does no harm, the least normal)."""
    sizes = [lanes("vsub32", both(x, MAGNITUDES), each(1, 32)) for x in values]
    least = reduce(partial(lanes, "vminu32"), sizes)
    return invert(lanes("vcgtu32", each(LEAST_NORMAL, 32), least))


def unless_odd(result: Expr, exact: Expr, *operands: Expr) -> Expr:
    """`result` where neither NaNs nor denormals matter, else `exact`, evaluated only then."""
    fine = both(usual(result, *operands), lanes("vfeq", result, result))
    return choose(eq(fine, ONES), result, exact)


def add(a: Expr, b: Expr, vscr: Expr, op: str = "vfadd") -> Expr:
    """The sum or (``vfsub``) difference.  A tiny one is exact."""
    nj = non_java(vscr)
    exact = settle(flush(lanes(op, flush(a, nj), flush(b, nj)), nj), a, b)
    return unless_odd(lanes(op, a, b), exact, a, b)


def negate(x: Expr) -> Expr:
    return lanes("vxor", x, SIGNS)


def tiny_sum(a: Expr, c: Expr, b: Expr) -> Expr:
    """Whether the exact a × c + b (finite singles) is below the least normal single in size."""
    x, y, z = (node("fcvt32to64", 64, v) for v in (a, c, b))
    total, error = two_sum(fmul(x, y), z)
    least = const(897 << 52, 64)  # 2**-126
    size = total & ((1 << 63) - 1)
    inward = ne(error << 1, 0) & trunc((total ^ error) >> 63, 1)
    return ltu(size, least) | eq(size, least) & inward


def flush_tiny_sums(a: Expr, c: Expr, b: Expr, result: Expr) -> Expr:
    """`result` of a × c + b with every lane a zero whose exact sum is tiny."""
    out = const(0, WIDTH)
    for n in range(4):
        x, y, z, r = (trunc(v >> 32 * n, 32) for v in (a, c, b, result))
        edge = eq(r & (SIGN - 1), LEAST_NORMAL)
        lost = choose(edge, tiny_sum(x, y, z), const(0, 1))
        keep = r & ~(zext(lost, 32) * (SIGN - 1))
        out = out | zext(keep, WIDTH) << 32 * n
    return out


def multiply_add(a: Expr, c: Expr, b: Expr, vscr: Expr, *, negated: bool) -> Expr:
    """A × c + b, or with `negated` the negative of a × c - b, rounded once."""

    def sum_of(x: Expr, y: Expr, z: Expr) -> Expr:
        return lanes("vfma", x, y, negate(z) if negated else z)

    nj = non_java(vscr)
    x, y, z = flush(a, nj), flush(c, nj), flush(b, nj)
    exact = sum_of(x, y, z)
    edge = lanes("vceq32", both(exact, MAGNITUDES), each(LEAST_NORMAL, 32))
    tiny = flush_tiny_sums(x, y, negate(z) if negated else z, exact)
    exact = flush(choose(any_bit(both(edge, nj)), tiny, exact), nj)
    quick = sum_of(a, c, b)
    if negated:
        quick, exact = negate(quick), negate(exact)
    return unless_odd(quick, settle(exact, a, b, c), a, c, b)


def larger(a: Expr, b: Expr, vscr: Expr) -> Expr:
    """The maximum; +0 is larger than -0."""
    nj = non_java(vscr)
    x, y = flush(a, nj), flush(b, nj)
    picked = blend(lanes("vfgt", x, y), x, y)
    return settle(blend(lanes("vfeq", x, y), both(x, y), picked), a, b)


def smaller(a: Expr, b: Expr, vscr: Expr) -> Expr:
    """The minimum."""
    nj = non_java(vscr)
    x, y = flush(a, nj), flush(b, nj)
    picked = blend(lanes("vfgt", y, x), x, y)
    return settle(blend(lanes("vfeq", x, y), either(x, y), picked), a, b)


def integral(op: str, x: Expr, vscr: Expr) -> Expr:
    """Rounded to an integral value."""
    return settle(lanes(op, flush(x, non_java(vscr))), x)


# --- estimates ------------------------------------------------------------------------------------


def reciprocal(x: Expr, vscr: Expr) -> Expr:
    nj = non_java(vscr)
    value = lanes("vfdiv", each(ONE, 32), flush(x, nj))
    return settle(flush(value, nj), x)


def reciprocal_root(x: Expr, vscr: Expr) -> Expr:
    """A zero's is the infinity of its sign; a negative number has none."""
    root = lanes("vfsqrt", flush(x, non_java(vscr)))
    return settle(lanes("vfdiv", each(ONE, 32), root), x)


#: 2**f and log2(1 + f) for f in [0, 1): minimax polynomials through both ends, x**1 first.
POWER: Final = (0.69303212, 0.24137976, 0.05203237, 0.01355575)
LOGARITHM: Final = (1.44191704, -0.70909642, 0.415606, -0.19357564, 0.04514903)


def polynomial(f: Expr, coefficients: tuple[float, ...], start: Expr) -> Expr:
    """Start + f × (c0 + f × (c1 + …)), each step rounded once."""
    total = single(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = lanes("vfma", total, f, single(c))
    return lanes("vfma", total, f, start)


def power_of_two(n: Expr) -> Expr:
    """2**n for whole words from -126 to 127."""
    return shift("vshl", lanes("vadd32", n, each(127, 32)), 23, 32)


def power(x: Expr, vscr: Expr) -> Expr:
    """2**x: beyond the bounds set first the result is infinite or zero."""
    nj = non_java(vscr)
    y = flush(x, nj)
    y = blend(lanes("vfgt", y, single(129.0)), single(129.0), y)
    y = blend(lanes("vfgt", single(-152.0), y), single(-152.0), y)
    y = without(y, is_nan(x))  # a NaN's integer would not be one
    whole = lanes("vfloor", y)
    value = polynomial(lanes("vfsub", y, whole), POWER, each(ONE, 32))
    n = lanes("vtos", whole)
    half = shift("vashr", n, 1, 32)
    value = lanes("vfmul", value, power_of_two(half))
    value = lanes("vfmul", value, power_of_two(lanes("vsub32", n, half)))
    return settle(flush(value, nj), x)


def logarithm(x: Expr, vscr: Expr) -> Expr:
    """log2(x): minus infinity for zeros, none for what is negative."""
    y = flush(x, non_java(vscr))
    small = lanes("vcgts32", each(LEAST_NORMAL, 32), y)  # denormal, or zero, or negative
    scaled = blend(small, lanes("vfmul", y, single(2.0**24)), y)
    exponent = lanes("vsub32", shift("vlshr", scaled, 23, 32), each(127, 32))
    exponent = lanes("vsub32", exponent, both(small, each(24, 32)))
    fraction = either(both(scaled, each(0x007F_FFFF, 32)), each(ONE, 32))
    f = lanes("vfsub", fraction, each(ONE, 32))
    value = polynomial(f, LOGARITHM, lanes("vfroms", exponent))
    value = blend(lanes("vceq32", y, each(INFINITY, 32)), each(INFINITY, 32), value)
    value = blend(lanes("vcgts32", ZEROS, y), each(DEFAULT_NAN, 32), value)
    zero = lanes("vceq32", both(y, MAGNITUDES), ZEROS)
    return settle(blend(zero, each(SIGN | INFINITY, 32), value), x)
