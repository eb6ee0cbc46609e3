"""Operands for floating-point tests: edges, neighbours, near cancellations, ties."""

from __future__ import annotations

import random
import struct

from tests.isa.float_reference import to_float

EDGES = [
    s << 63 | m
    for s in (0, 1)
    for m in (
        0,
        1,
        2,
        0x000F_FFFF_FFFF_FFFF,
        0x0008_0000_0000_0000,
        0x0010_0000_0000_0000,
        0x0010_0000_0000_0001,
        0x001F_FFFF_FFFF_FFFF,
        0x3690_0000_0000_0000,  # half the smallest single denormal
        0x3690_0000_0000_0001,
        0x36A0_0000_0000_0000,  # smallest single denormal
        0x3800_0000_0000_0000,
        0x380F_FFFF_C000_0000,  # largest single denormal
        0x380F_FFFF_E000_0000,
        0x380F_FFFF_FFFF_FFFF,
        0x3810_0000_0000_0000,  # smallest single normal
        0x3FE0_0000_0000_0000,
        0x3FEF_FFFF_FFFF_FFFF,
        0x3FF0_0000_0000_0000,
        0x3FF0_0000_0000_0001,
        0x3FF0_0000_1000_0000,
        0x3FF0_0000_3000_0000,
        0x3FF8_0000_0000_0000,
        0x4000_0000_0000_0000,
        0x41DF_FFFF_FFC0_0000,  # 2**31 - 1
        0x41DF_FFFF_FFE0_0000,
        0x41DF_FFFF_FFFF_FFFF,
        0x41E0_0000_0000_0000,  # 2**31
        0x41E0_0000_0010_0000,
        0x4330_0000_0000_0001,
        0x47EF_FFFF_E000_0000,  # largest single
        0x47EF_FFFF_EFFF_FFFF,
        0x47EF_FFFF_F000_0000,
        0x47F0_0000_0000_0000,
        0x7FE0_0000_0000_0000,
        0x7FEF_FFFF_FFFF_FFFF,
        0x7FF0_0000_0000_0000,
        0x7FF0_0000_0000_0001,
        0x7FF4_5678_9ABC_DEF0,
        0x7FF8_0000_0000_0000,
        0x7FFF_FFFF_FFFF_FFFF,
    )
]


def single(rng: random.Random, low: int = 1, high: int = 254) -> int:
    """A random single as a double."""
    word = rng.getrandbits(1) << 31 | rng.randint(low, high) << 23 | fraction(rng, 23)
    return int.from_bytes(struct.pack(">d", struct.unpack(">f", word.to_bytes(4, "big"))[0]), "big")


def fraction(rng: random.Random, width: int) -> int:
    """Random, or with few ones, or with few zeros."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.getrandbits(width)
    if kind == 1:
        return sum({1 << rng.randrange(width) for _ in range(rng.randrange(4))})
    if kind == 2:
        return (1 << width) - 1 ^ sum({1 << rng.randrange(width) for _ in range(rng.randrange(3))})
    return rng.getrandbits(width) & -(1 << rng.randrange(width))


def double(rng: random.Random, exponent: int | None = None) -> int:
    e = rng.randrange(2047) if exponent is None else max(0, min(2046, exponent))
    return rng.getrandbits(1) << 63 | e << 52 | fraction(rng, 52)


def exponent_of(x: int) -> int:
    return x >> 52 & 0x7FF


def operands(rng: random.Random) -> tuple[int, int, int]:
    """FRA, FRC, FRB."""
    kind = rng.randrange(10)
    if kind == 0:
        return rng.choice(EDGES), rng.choice(EDGES), rng.choice(EDGES)
    if kind == 1:
        three = [double(rng), double(rng), rng.choice(EDGES)]
        rng.shuffle(three)
        return three[0], three[1], three[2]
    if kind == 2:  # anywhere
        return double(rng), double(rng), double(rng)
    if kind == 3:  # singles, anywhere
        return single(rng, 0), single(rng, 0), single(rng, 0)
    if kind == 4:  # singles of like size
        return single(rng, 115, 140), single(rng, 115, 140), single(rng, 115, 140)
    if kind == 5:  # products and quotients near the ends of the single and double ranges
        end = rng.choice((0, 874, 897, 1150, 2046)) + rng.randint(-3, 3)
        a = double(rng)
        c = double(rng, end + 1023 - exponent_of(a))
        b = double(rng, exponent_of(a) + 1023 - end if rng.getrandbits(1) else end)
        return a, c, b
    a, c = double(rng, rng.randint(700, 1300)), double(rng, rng.randint(700, 1300))
    if kind == 6:  # sums that cancel
        return a, c, double(rng, exponent_of(a) + rng.randint(-2, 2))
    product = exponent_of(a) + exponent_of(c) - 1023
    if kind == 7:  # product and addend of like size
        return a, c, double(rng, product + rng.randint(-2, 2))
    if kind == 8:  # product and addend far apart
        return a, c, double(rng, product + rng.choice((-1, 1)) * rng.randint(20, 130))
    near = to_float(a) * to_float(c)
    b = int.from_bytes(struct.pack(">d", near), "big") ^ 1 << 63  # a × c + b is the rounding error
    return a, c, b + rng.randint(-1, 1) & (1 << 64) - 1


def fpscr(rng: random.Random) -> int:
    """A consistent FPSCR (FEX and VX are made from the rest by the reference's `summary`)."""
    kind = rng.randrange(4)
    if kind == 0:
        return 0
    if kind == 1:
        return rng.randrange(4)
    if kind == 2:
        return rng.getrandbits(8)
    return rng.getrandbits(32) & ~0x60000800
