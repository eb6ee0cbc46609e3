"""Operands for floating-point instructions by the million: edges, ties, cancellation."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from gossamer.tools.verify_float_exact import CONSISTENT, U32, U64, status

_MAGNITUDES: Final = (
    *(0, 1, 2, 0x000F_FFFF_FFFF_FFFF, 0x0008_0000_0000_0000, 0x0010_0000_0000_0000),
    *(0x0010_0000_0000_0001, 0x001F_FFFF_FFFF_FFFF),
    *(0x3690_0000_0000_0000, 0x3690_0000_0000_0001, 0x36A0_0000_0000_0000),  # least single
    *(0x3800_0000_0000_0000, 0x380F_FFFF_C000_0000, 0x380F_FFFF_E000_0000),
    *(0x380F_FFFF_FFFF_FFFF, 0x3810_0000_0000_0000, 0x3FE0_0000_0000_0000),
    *(0x3FEF_FFFF_FFFF_FFFF, 0x3FF0_0000_0000_0000, 0x3FF0_0000_0000_0001),
    *(0x3FF0_0000_1000_0000, 0x3FF0_0000_3000_0000, 0x3FF8_0000_0000_0000),
    *(0x4000_0000_0000_0000, 0x41DF_FFFF_FFC0_0000, 0x41DF_FFFF_FFE0_0000),  # 2**31 - 1
    *(0x41DF_FFFF_FFFF_FFFF, 0x41E0_0000_0000_0000, 0x41E0_0000_0010_0000),
    *(0x4330_0000_0000_0001, 0x47EF_FFFF_E000_0000, 0x47EF_FFFF_EFFF_FFFF),  # largest single
    *(0x47EF_FFFF_F000_0000, 0x47F0_0000_0000_0000, 0x7FE0_0000_0000_0000),
    *(0x7FEF_FFFF_FFFF_FFFF, 0x7FF0_0000_0000_0000, 0x7FF0_0000_0000_0001),
    *(0x7FF4_5678_9ABC_DEF0, 0x7FF8_0000_0000_0000, 0x7FFF_FFFF_FFFF_FFFF),
)
EDGES: Final = np.array([m | s << 63 for m in _MAGNITUDES for s in (0, 1)], U64)
_ENDS: Final = np.array([0, 874, 897, 1150, 2046])
_KINDS: Final = 12


class Operands(NamedTuple):
    """FRA, FRC, FRB (bits of doubles) and FPSCR before, one of each a case."""

    a: NDArray[np.uint64]
    c: NDArray[np.uint64]
    b: NDArray[np.uint64]
    fpscr: NDArray[np.uint32]


def fractions(rng: Generator, n: int, width: int) -> NDArray[np.uint64]:
    """Random, or with few ones, or few zeros, or zeros at the end."""
    whole = rng.integers(0, 1 << width, n, U64)
    bits = [U64(1) << rng.integers(0, width, n, U64) for _ in range(3)]
    keep = [rng.integers(0, 2, n, U64) for _ in range(3)]
    few = bits[0] * keep[0] | bits[1] * keep[1] | bits[2] * keep[2]
    ended = whole & ~(bits[0] - U64(1))
    return np.choose(rng.integers(0, 4, n), [whole, few, few ^ U64((1 << width) - 1), ended])


def doubles(
    rng: Generator, n: int, exponent: NDArray[np.int64] | None = None
) -> NDArray[np.uint64]:
    """With these biased exponents (brought into the range of finite ones), or any."""
    e = rng.integers(0, 2047, n) if exponent is None else np.clip(exponent, 0, 2046)
    sign = rng.integers(0, 2, n, U64) << U64(63)
    return sign | e.astype(U64) << U64(52) | fractions(rng, n, 52)


def singles(rng: Generator, n: int, low: int = 0, high: int = 254) -> NDArray[np.uint64]:
    """Single-precision values as doubles; `low` and `high` are a single's biased exponents."""
    words = rng.integers(0, 2, n, U64) << U64(31) | rng.integers(low, high + 1, n, U64) << U64(23)
    words |= fractions(rng, n, 23)
    return words.astype(np.uint32).view(np.float32).astype(np.float64).view(U64)


def _exponents(x: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (x >> U64(52) & U64(0x7FF)).astype(np.int64)


def _threes(rng: Generator, kind: int, n: int) -> tuple[NDArray[np.uint64], ...]:
    """FRA, FRC and FRB of one kind."""
    edges = [rng.choice(EDGES, n) for _ in range(3)]
    if kind == 0:
        return edges[0], edges[1], edges[2]
    if kind == 1:  # two edges, one anywhere
        place = rng.integers(0, 3, n)
        anywhere = doubles(rng, n)
        a, c, b = (np.where(place == k, anywhere, edges[k]) for k in range(3))
        return a, c, b
    if kind == 2:  # one edge
        place = rng.integers(0, 3, n)
        a, c, b = (np.where(place == k, edges[k], doubles(rng, n)) for k in range(3))
        return a, c, b
    if kind == 3:
        return doubles(rng, n), doubles(rng, n), doubles(rng, n)
    if kind == 4:
        return singles(rng, n), singles(rng, n), singles(rng, n)
    if kind == 5:  # singles of like size
        return tuple(singles(rng, n, 115, 140) for _ in range(3))
    if kind == 6:  # products and quotients near the ends of the single and double ranges
        end = rng.choice(_ENDS, n) + rng.integers(-3, 4, n)
        a = doubles(rng, n)
        e = _exponents(a)
        third = np.where(rng.integers(0, 2, n) == 1, e + 1023 - end, end)
        return a, doubles(rng, n, end + 1023 - e), doubles(rng, n, third)
    if kind == 7:  # near where an integer of 32 bits ends, and around one
        e = 1023 + rng.integers(-2, 34, n)
        return doubles(rng, n, e), doubles(rng, n, e), doubles(rng, n, e)
    a, c = (doubles(rng, n, rng.integers(700, 1301, n)) for _ in range(2))
    product = _exponents(a) + _exponents(c) - 1023
    if kind == 8:  # sums that cancel
        return a, c, doubles(rng, n, _exponents(a) + rng.integers(-2, 3, n))
    if kind == 9:  # product and addend of like size
        return a, c, doubles(rng, n, product + rng.integers(-2, 3, n))
    if kind == 10:  # product and addend far apart
        away = rng.integers(20, 131, n) * (1 - 2 * rng.integers(0, 2, n))
        return a, c, doubles(rng, n, product + away)
    with np.errstate(all="ignore"):  # a × c + b is the rounding error, or an ulp more
        near = (a.view(np.float64) * c.view(np.float64)).view(U64)
    return a, c, (near ^ U64(1 << 63)) + rng.integers(-1, 2, n).astype(U64)


def fpscrs(rng: Generator, n: int, mode: int) -> NDArray[np.uint32]:
    """Consistent values with rounding mode `mode`: plain, with enables, with anything."""
    kind = rng.integers(0, 4, n)
    anything = rng.integers(0, 1 << 32, n, U32) & U32(CONSISTENT)
    value = np.choose(kind, [U32(0), U32(0), anything & U32(0xFC), anything])
    return status(value & ~U32(3) | U32(mode))


def operands(rng: Generator, n: int, mode: int) -> Operands:
    """`n` cases of all kinds."""
    kind = rng.integers(0, _KINDS, n)
    a, c, b = (np.zeros(n, U64) for _ in range(3))
    for k in range(_KINDS):
        at = np.flatnonzero(kind == k)
        a[at], c[at], b[at] = _threes(rng, k, len(at))
    return Operands(a, c, b, fpscrs(rng, n, mode))
