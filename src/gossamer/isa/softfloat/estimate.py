"""fres and frsqrte: the estimates of the 750 family.

The books bound the error (fres: 1/4096 on the 750, frsqrte: 1/32; PEM chapter 8, MPC750UM 2.3.4.2)
and leave the bits to the chip.  The bits here are what the family's FPU was measured to give: a
table of 32 straight lines, indexed by the leading fraction bits (and for frsqrte the parity of the
exponent), published by the Dolphin and decaf projects from tests on Gekko (750CXe) and Espresso
(750CL).  That the MPC750 has the same table is an inference: same FPU, same bounds in its manual.
XX is not touched.  FR and FI are undefined in the books: FR is zero, and so is FI of frsqrte; FI of
fres says whether the table's value was cut, as validated on Espresso (A. Church, ppc750cl.s).
"""

from __future__ import annotations

from typing import Final

from gossamer.isa.expr import Expr, const, gts, lts, ltu, ne, select, trunc, zext
from gossamer.isa.fpscr import (
    DEFAULT_NAN,
    FI,
    INFINITY,
    NI,
    OE,
    OX,
    RESULT_WIDTH,
    UE,
    UX,
    VXSNAN,
    VXSQRT,
    ZX,
    finish,
    flag,
    has,
    result_class,
    single_class,
)
from gossamer.isa.service import service
from gossamer.isa.softfloat.rounding import (
    EXP,
    LARGEST_SINGLE,
    parts,
    quiet,
    signed_value,
    small_single,
)

#: (value at the left end, slope) of the 23-bit fraction of the estimate; the slope is a step of
#: 2**-15 of the operand's fraction, in half units.
RECIPROCAL: Final = (
    (0x7FF800, 0x3E1), (0x783800, 0x3A7), (0x70EA00, 0x371), (0x6A0800, 0x340),
    (0x638800, 0x313), (0x5D6200, 0x2EA), (0x579000, 0x2C4), (0x520800, 0x2A0),
    (0x4CC800, 0x27F), (0x47CA00, 0x261), (0x430800, 0x245), (0x3E8000, 0x22A),
    (0x3A2C00, 0x212), (0x360800, 0x1FB), (0x321400, 0x1E5), (0x2E4A00, 0x1D1),
    (0x2AA800, 0x1BE), (0x272C00, 0x1AC), (0x23D600, 0x19B), (0x209E00, 0x18B),
    (0x1D8800, 0x17C), (0x1A9000, 0x16E), (0x17AE00, 0x15B), (0x14F800, 0x15B),
    (0x124400, 0x143), (0x0FBE00, 0x143), (0x0D3800, 0x12D), (0x0ADE00, 0x12D),
    (0x088400, 0x11A), (0x065000, 0x11A), (0x041C00, 0x108), (0x020C00, 0x106),
)  # fmt: skip

#: (value at the left end, slope) of the 26-bit fraction; first for even biased exponents.
RECIPROCAL_ROOT: Final = (
    (0x1A7E800, 0x568), (0x17CB800, 0x4F3), (0x1552800, 0x48D), (0x130C000, 0x435),
    (0x10F2000, 0x3E7), (0x0EFF000, 0x3A2), (0x0D2E000, 0x365), (0x0B7C000, 0x32E),
    (0x09E5000, 0x2FC), (0x0867000, 0x2D0), (0x06FF000, 0x2A8), (0x05AB800, 0x283),
    (0x046A000, 0x261), (0x0339800, 0x243), (0x0218800, 0x226), (0x0105800, 0x20B),
    (0x3FFA000, 0x7A4), (0x3C29000, 0x700), (0x38AA000, 0x670), (0x3572000, 0x5F2),
    (0x3279000, 0x584), (0x2FB7000, 0x524), (0x2D26000, 0x4CC), (0x2AC0000, 0x47E),
    (0x2881000, 0x43A), (0x2665000, 0x3FA), (0x2468000, 0x3C2), (0x2287000, 0x38E),
    (0x20C1000, 0x35E), (0x1F12000, 0x332), (0x1D79000, 0x30A), (0x1BF4000, 0x2E6),
)  # fmt: skip


def _lookup(table: tuple[tuple[int, int], ...], index: Expr) -> tuple[Expr, Expr]:
    """Value and slope (64 bits each) of the 5-bit `index`."""
    rows = [const(base | slope << 32, 64) for base, slope in table]
    for n in range(5):
        odd = trunc(index >> n, 1)
        rows = [select(odd, rows[i + 1], rows[i]) for i in range(0, len(rows), 2)]
    return rows[0] & 0xFFFF_FFFF, rows[0] >> 32


@service(64, 32, result=RESULT_WIDTH)
def float_reciprocal(frb: Expr, fpscr: Expr) -> Expr:
    """The estimate of 1 ÷ FRB as a single (fres)."""
    b = parts(frb)
    fraction = b.significand & ((1 << 63) - 1)  # 63 bits
    base, slope = _lookup(RECIPROCAL, trunc(fraction >> 58, 5))
    doubled = (base << 1) - slope * (fraction >> 48 & 0x3FF)
    estimate, cut = doubled >> 1, trunc(doubled, 1)  # 23 bits, and the one that is lost
    exponent = const(-1, EXP) - b.exponent

    overflow, tiny = gts(exponent, 127), lts(exponent, -126)
    adjust = select(overflow, const(-192, EXP), const(192, EXP))
    special = b.nan | b.zero | b.infinite
    trapped = ~special & (overflow & has(fpscr, OE) | tiny & has(fpscr, UE))
    exponent = select(trapped, exponent + adjust, exponent)
    normal = (zext(exponent + 1023, 64) << 52) + (estimate << 29) & ((1 << 63) - 1)
    depth = const(-126, EXP) - exponent
    depth = select(ltu(depth, 24), depth, const(24, EXP))
    whole = estimate | 1 << 23
    small = whole >> zext(depth, 64)
    denormal = small_single(small)
    denormal = select(has(fpscr, NI), const(0, 64), denormal)
    magnitude = select(overflow, const(LARGEST_SINGLE, 64), select(tiny, denormal, normal))
    magnitude = select(trapped, normal, magnitude)

    limit = select(b.zero, const(INFINITY, 64), const(0, 64))
    value = signed_value(b.negative, select(special, limit, magnitude))
    value = select(b.nan, quiet(frb, const(1, 1)), value)
    shortened = has(fpscr, NI) | ne(small << zext(depth, 64), whole)
    lost = cut | ~trapped & (overflow | tiny & shortened)
    under = tiny & (lost | has(fpscr, UE))
    events = select(special, const(0, 32), flag(overflow, OX) | flag(under, UX))
    events = events | flag(b.signaling, VXSNAN) | flag(b.zero, ZX)
    fprf = select(trapped, result_class(value), single_class(value))
    return finish(fpscr, value, events, flag(lost & ~special, FI), fprf)


@service(64, 32, result=RESULT_WIDTH)
def float_reciprocal_root(frb: Expr, fpscr: Expr) -> Expr:
    """The estimate of 1 ÷ √FRB (frsqrte)."""
    b = parts(frb)
    fraction = b.significand & ((1 << 63) - 1)
    biased = b.exponent + 1023  # below 1 for denormals
    index = zext(trunc(biased, 1), 5) << 4 | zext(trunc(fraction >> 59, 4), 5)
    base, slope = _lookup(RECIPROCAL_ROOT, index)
    estimate = base - slope * (fraction >> 48 & 0x7FF)  # 26 bits
    half = (b.exponent + 2 + 4096 >> 1) - 2048  # (exponent + 1) / 2, rounded up
    magnitude = (zext(const(1023, EXP) - half, 64) << 52) + (estimate << 26)

    root_of_negative = b.negative & ~b.zero & ~b.nan
    value = select(b.zero, signed_value(b.negative, INFINITY), magnitude)
    value = select(b.infinite, const(0, 64), value)
    value = select(root_of_negative, const(DEFAULT_NAN, 64), value)
    value = select(b.nan, quiet(frb, const(0, 1)), value)
    events = flag(b.signaling, VXSNAN) | flag(root_of_negative, VXSQRT) | flag(b.zero, ZX)
    return finish(fpscr, value, events, const(0, 32), result_class(value))
