"""Operations on lanes: what the ``v…`` rows of `ops` mean on Python integers.

A vector is a value of 128 bits; its lanes are counted from the least significant, so element `n`
of the books (from the most significant) is lane ``count - 1 - n``.  The number in an operation's
name is its lane width.  Floating-point lanes are singles; what a NaN result is, is not defined.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from gossamer.base.bits import ones, signed
from gossamer.isa import hostfloat

WIDTH: Final = 128
INTEGER_LANES: Final = (8, 16, 32)
ALL_ONES: Final = ones(32)

Lane = Callable[..., int]
Row = Callable[[int, list[int], list[int]], int]


def split(value: int, width: int) -> list[int]:
    """The lanes of `width` bits, lane 0 first."""
    return [value >> at & ones(width) for at in range(0, WIDTH, width)]


def join(lanes: list[int], width: int) -> int:
    """The vector of these lanes, each taken modulo its width."""
    return sum((lane & ones(width)) << width * n for n, lane in enumerate(lanes))


def lane_row(width: int, function: Lane) -> Row:
    """A row that does `function` in every lane (unsigned operands)."""

    def row(_: int, __: list[int], values: list[int]) -> int:
        columns = zip(*(split(v, width) for v in values), strict=True)
        return join([function(*lanes) for lanes in columns], width)

    return row


def signed_row(width: int, function: Lane) -> Row:
    """As `lane_row`, with signed operands."""
    return lane_row(width, lambda *lanes: function(*(signed(x, width) for x in lanes)))


def clamp(value: int, width: int) -> int:
    """`value` saturated to a signed number of `width` bits."""
    return max(-(1 << width - 1), min((1 << width - 1) - 1, value))


def _mask(truth: bool) -> int:
    return -int(truth)


def _rotate(width: int, a: int, b: int) -> int:
    n = b % width
    return a << n | a >> (width - n)


def integer_rows(w: int) -> Iterator[tuple[str, Row]]:
    """The rows that exist for every integer lane width."""
    top = ones(w)
    yield f"vadd{w}", lane_row(w, lambda a, b: a + b)
    yield f"vsub{w}", lane_row(w, lambda a, b: a - b)
    yield f"vaddu{w}", lane_row(w, lambda a, b: min(a + b, top))
    yield f"vsubu{w}", lane_row(w, lambda a, b: max(a - b, 0))
    yield f"vadds{w}", signed_row(w, lambda a, b: clamp(a + b, w))
    yield f"vsubs{w}", signed_row(w, lambda a, b: clamp(a - b, w))
    yield f"vavgu{w}", lane_row(w, lambda a, b: a + b + 1 >> 1)
    yield f"vminu{w}", lane_row(w, min)
    yield f"vmaxu{w}", lane_row(w, max)
    yield f"vmins{w}", signed_row(w, min)
    yield f"vmaxs{w}", signed_row(w, max)
    yield f"vceq{w}", lane_row(w, lambda a, b: _mask(a == b))
    yield f"vcgtu{w}", lane_row(w, lambda a, b: _mask(a > b))
    yield f"vcgts{w}", signed_row(w, lambda a, b: _mask(a > b))
    yield f"vshl{w}", lane_row(w, lambda a, b: a << b % w)
    yield f"vlshr{w}", lane_row(w, lambda a, b: a >> b % w)
    yield f"vashr{w}", lane_row(w, lambda a, b: signed(a, w) >> b % w)
    yield f"vrotl{w}", lane_row(w, partial(_rotate, w))
    yield f"vsplat{w}", lambda _, __, v: join([v[0]] * (WIDTH // w), w)
    yield f"vmrgh{w}", lambda _, __, v: _merge(w, v, high=True)
    yield f"vmrgl{w}", lambda _, __, v: _merge(w, v, high=False)


def _merge(width: int, values: list[int], *, high: bool) -> int:
    """The lanes of one half of both operands in turn, the first operand's more significant."""
    a, b = (split(v, width) for v in values)
    half = len(a) // 2
    chosen = slice(half, None) if high else slice(half)
    pairs = zip(b[chosen], a[chosen], strict=True)
    return join([lane for pair in pairs for lane in pair], width)


def _pack(width: int, values: list[int]) -> int:
    """The low halves of all lanes (twice `width`) of both, the first operand in the upper half."""
    a, b = (split(v, 2 * width) for v in values)
    return join(b + a, width)


def _permute(values: list[int]) -> int:
    """Bytes of two vectors, each named by the low five bits of a byte of the third."""
    source = (values[0] << WIDTH | values[1]).to_bytes(32, "big")
    return int.from_bytes(bytes(source[n & 31] for n in values[2].to_bytes(16, "big")), "big")


# --- singles --------------------------------------------------------------------------------------


def _single(bits: int) -> float:
    return hostfloat.double(hostfloat.widen(bits))


def _bits(value: float) -> int:
    return hostfloat.narrow(hostfloat.bits(value))


def _arithmetic(function: Callable[[int, int], int]) -> Row:
    """A double's operation on singles: rounding twice is harmless where 53 >= 2 × 24 + 2."""
    return lane_row(
        32, lambda a, b: hostfloat.narrow(function(hostfloat.widen(a), hostfloat.widen(b)))
    )


def _fused(a: int, b: int, c: int) -> int:
    """A × b + c rounded once: the product is exact as a double, the sum is rounded to odd."""
    product, addend = _single(a) * _single(b), _single(c)
    total = product + addend
    if not math.isfinite(total) or not (math.isfinite(product) and math.isfinite(addend)):
        return _bits(total)
    second = total - product
    error = (product - (total - second)) + (addend - second)
    if error and not hostfloat.bits(total) & 1:
        total = math.nextafter(total, math.inf if error > 0 else -math.inf)
    return _bits(total)


def _root(a: int) -> int:
    value = _single(a)
    return _bits(math.nan if value < 0 else math.sqrt(value))


def _rounded(function: Callable[[float], int], a: int) -> int:
    """An integral value keeps the operand's sign; from 2**23 on a single is one already."""
    value = _single(a)
    if not abs(value) < 1 << 23:
        return a
    return _bits(math.copysign(float(function(value)), value))


def _to_integer(low: int, high: int, a: int) -> int:
    value = _single(a)
    if math.isnan(value):
        return 0
    return high if value >= high else low if value <= low else int(value)


FLOAT_ROWS: Final[dict[str, Row]] = {
    "vfadd": _arithmetic(hostfloat.add),
    "vfsub": _arithmetic(hostfloat.subtract),
    "vfmul": _arithmetic(hostfloat.multiply),
    "vfdiv": _arithmetic(hostfloat.divide),
    "vfma": lane_row(32, _fused),
    "vfsqrt": lane_row(32, _root),
    "vfeq": lane_row(32, lambda a, b: _mask(_single(a) == _single(b))),
    "vfgt": lane_row(32, lambda a, b: _mask(_single(a) > _single(b))),
    "vfge": lane_row(32, lambda a, b: _mask(_single(a) >= _single(b))),
    "vround": lane_row(32, partial(_rounded, round)),  # to nearest, ties to even
    "vtrunc": lane_row(32, partial(_rounded, math.trunc)),
    "vceil": lane_row(32, partial(_rounded, math.ceil)),
    "vfloor": lane_row(32, partial(_rounded, math.floor)),
    "vfromu": lane_row(32, lambda a: _bits(float(a))),
    "vfroms": signed_row(32, lambda a: _bits(float(a))),
    # towards zero, saturated; zero for a NaN
    "vtou": lane_row(32, partial(_to_integer, 0, ones(32))),
    "vtos": lane_row(32, partial(_to_integer, -(1 << 31), (1 << 31) - 1)),
}

VECTOR_OPS: Final[dict[str, Row]] = {
    "vand": lambda _, __, v: v[0] & v[1],
    "vor": lambda _, __, v: v[0] | v[1],
    "vxor": lambda _, __, v: v[0] ^ v[1],
    **{name: row for w in INTEGER_LANES for name, row in integer_rows(w)},
    "vlshr64": lane_row(64, lambda a, b: a >> b % 64),
    "vmul16": lane_row(16, lambda a, b: a * b),
    "vmul32": lane_row(32, lambda a, b: a * b),
    "vadd3s32": signed_row(32, lambda a, b, c: clamp(a + b + c, 32)),
    "vpack8": lambda _, __, v: _pack(8, v),
    "vpack16": lambda _, __, v: _pack(16, v),
    "vperm": lambda _, __, v: _permute(v),
    **FLOAT_ROWS,
}
