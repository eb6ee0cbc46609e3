"""Operands for floating-point instructions by the million: edges, ties, cancellation."""

from __future__ import annotations

import random
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gossamer.verify.float.exact import CONSISTENT, U32, U64, status

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


class Chance:
    """Arrays of random numbers, the same for the same seed."""

    def __init__(self, seed: str) -> None:
        self._source = random.Random(seed)  # noqa: S311 (not a secret)

    def bits(self, n: int, width: int = 64) -> NDArray[np.uint64]:
        return np.frombuffer(self._source.randbytes(8 * n), U64) >> U64(64 - width)

    def below(self, top: int, n: int) -> NDArray[np.int64]:
        """From 0 to `top` - 1, which is small."""
        return (self.bits(n, 63) % U64(top)).astype(np.int64)

    def between(self, low: int, high: int, n: int) -> NDArray[np.int64]:
        """From `low` to `high`, both included."""
        return self.below(high - low + 1, n) + low

    def signs(self, n: int) -> NDArray[np.uint64]:
        """The sign bit of a double, or not."""
        return self.bits(n, 1) << U64(63)


def fractions(rng: Chance, n: int, width: int) -> NDArray[np.uint64]:
    """Random, or with few ones, or few zeros, or zeros at the end."""
    whole = rng.bits(n, width)
    bits = [U64(1) << rng.below(width, n).astype(U64) for _ in range(3)]
    keep = [rng.bits(n, 1) for _ in range(3)]
    few = bits[0] * keep[0] | bits[1] * keep[1] | bits[2] * keep[2]
    ended = whole & ~(bits[0] - U64(1))
    return np.choose(rng.below(4, n), [whole, few, few ^ U64((1 << width) - 1), ended])


def doubles(rng: Chance, n: int, exponent: NDArray[np.int64] | None = None) -> NDArray[np.uint64]:
    """With these biased exponents (brought into the range of finite ones), or any."""
    e = rng.below(2047, n) if exponent is None else np.clip(exponent, 0, 2046)
    sign = rng.signs(n)
    return sign | e.astype(U64) << U64(52) | fractions(rng, n, 52)


def singles(rng: Chance, n: int, low: int = 0, high: int = 254) -> NDArray[np.uint64]:
    """Single-precision values as doubles; `low` and `high` are a single's biased exponents."""
    words = rng.signs(n) >> U64(32) | rng.between(low, high, n).astype(U64) << U64(23)
    words |= fractions(rng, n, 23)
    return words.astype(np.uint32).view(np.float32).astype(np.float64).view(U64)


def _exponents(x: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (x >> U64(52) & U64(0x7FF)).astype(np.int64)


def _threes(rng: Chance, kind: int, n: int) -> tuple[NDArray[np.uint64], ...]:
    """FRA, FRC and FRB of one kind."""
    edges = [EDGES[rng.below(len(EDGES), n)] for _ in range(3)]
    if kind == 0:
        return edges[0], edges[1], edges[2]
    if kind == 1:  # two edges, one anywhere
        place = rng.below(3, n)
        anywhere = doubles(rng, n)
        a, c, b = (np.where(place == k, anywhere, edges[k]) for k in range(3))
        return a, c, b
    if kind == 2:  # one edge
        place = rng.below(3, n)
        a, c, b = (np.where(place == k, edges[k], doubles(rng, n)) for k in range(3))
        return a, c, b
    if kind == 3:
        return doubles(rng, n), doubles(rng, n), doubles(rng, n)
    if kind == 4:
        return singles(rng, n), singles(rng, n), singles(rng, n)
    if kind == 5:  # singles of like size
        return tuple(singles(rng, n, 115, 140) for _ in range(3))
    if kind == 6:  # products and quotients near the ends of the single and double ranges
        end = _ENDS[rng.below(len(_ENDS), n)] + rng.between(-3, 3, n)
        a = doubles(rng, n)
        e = _exponents(a)
        third = np.where(rng.below(2, n) == 1, e + 1023 - end, end)
        return a, doubles(rng, n, end + 1023 - e), doubles(rng, n, third)
    if kind == 7:  # near where an integer of 32 bits ends, and around one
        e = 1023 + rng.between(-2, 33, n)
        return doubles(rng, n, e), doubles(rng, n, e), doubles(rng, n, e)
    a, c = (doubles(rng, n, rng.between(700, 1300, n)) for _ in range(2))
    product = _exponents(a) + _exponents(c) - 1023
    if kind == 8:  # sums that cancel
        return a, c, doubles(rng, n, _exponents(a) + rng.between(-2, 2, n))
    if kind == 9:  # product and addend of like size
        return a, c, doubles(rng, n, product + rng.between(-2, 2, n))
    if kind == 10:  # product and addend far apart
        away = rng.between(20, 130, n) * (1 - 2 * rng.below(2, n))
        return a, c, doubles(rng, n, product + away)
    with np.errstate(all="ignore"):  # a × c + b is the rounding error, or an ulp more
        near = (a.view(np.float64) * c.view(np.float64)).view(U64)
    return a, c, (near ^ U64(1 << 63)) + rng.between(-1, 1, n).astype(U64)


def fpscrs(rng: Chance, n: int, mode: int) -> NDArray[np.uint32]:
    """Consistent values with rounding mode `mode`: plain, with enables, with anything."""
    kind = rng.below(4, n)
    anything = rng.bits(n, 32).astype(U32) & U32(CONSISTENT)
    value = np.choose(kind, [U32(0), U32(0), anything & U32(0xFC), anything])
    return status(value & ~U32(3) | U32(mode))


def operands(rng: Chance, n: int, mode: int) -> Operands:
    """`n` cases of all kinds."""
    kind = rng.below(_KINDS, n)
    a, c, b = (np.zeros(n, U64) for _ in range(3))
    for k in range(_KINDS):
        at = np.flatnonzero(kind == k)
        a[at], c[at], b[at] = _threes(rng, k, len(at))
    return Operands(a, c, b, fpscrs(rng, n, mode))
