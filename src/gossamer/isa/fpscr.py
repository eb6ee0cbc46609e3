"""FPSCR: its bits, and what an arithmetic instruction makes of them.

Source: PowerPC Programming Environments Manual 2.1.4 (bits), 3.3.6 (exceptions); MPC750UM 2.1.1.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.bits import bit
from gossamer.isa.expr import Expr, const, eq, ltu, ne, select, trunc, zext

FX, FEX, VX, OX, UX, ZX, XX = (bit(n) for n in range(7))
VXSNAN, VXISI, VXIDI, VXZDZ, VXIMZ, VXVC = (bit(n) for n in range(7, 13))
FR, FI = bit(13), bit(14)
FPRF_SHIFT: Final = 12  # C FL FG FE FU, bits 15 to 19
FPRF: Final = 0x1F << FPRF_SHIFT
FPCC: Final = 0xF << FPRF_SHIFT
VXSOFT, VXSQRT, VXCVI = bit(21), bit(22), bit(23)
VE, OE, UE, ZE, XE, NI = (bit(n) for n in range(24, 30))
RN: Final = 3  # 0 to nearest, 1 towards zero, 2 towards +infinity, 3 towards -infinity
INVALID: Final = VXSNAN | VXISI | VXIDI | VXZDZ | VXIMZ | VXVC | VXSOFT | VXSQRT | VXCVI

DEFAULT_NAN: Final = 0x7FF8_0000_0000_0000
SIGN: Final = 1 << 63
INFINITY: Final = 0x7FF << 52
QUIET: Final = 1 << 51

#: What a service of `softfloat` returns: FRT, then FPSCR, then `WRITES`, then `TRAPS`.
RESULT_WIDTH: Final = 128
WRITES_BIT: Final = 96  # FRT is written
TRAPS_BIT: Final = 97  # this instruction met an enabled exception


def has(word: Expr, mask: int) -> Expr:
    """Whether any bit of `mask` is set, as one bit."""
    return ne(word & mask, 0)


def flag(cond: Expr, mask: int) -> Expr:
    """`mask` (32 bits) when the 1-bit `cond` is one, else zero."""
    return select(cond, const(mask, 32), const(0, 32))


def summarize(fpscr: Expr) -> Expr:
    """`fpscr` with VX and FEX made from the bits they summarize."""
    value = fpscr & ~(FEX | VX) | flag(has(fpscr, INVALID), VX)
    exceptions, enables = (value >> 25) & 0x1F, (value >> 3) & 0x1F
    return value | flag(ne(exceptions & enables, 0), FEX)


def result_class(value: Expr) -> Expr:
    """FPRF (in place, 32 bits) of a double: its class and sign."""
    magnitude, negative = value & (SIGN - 1), trunc(value >> 63, 1)
    signed = select(negative, const(8, 32), const(4, 32))
    zero = select(negative, const(0x12, 32), const(2, 32))
    denormal = signed | 0x10
    special = select(eq(magnitude, INFINITY), signed | 1, const(0x11, 32))
    finite = select(ltu(magnitude, 1 << 52), select(eq(magnitude, 0), zero, denormal), signed)
    return select(ltu(magnitude, INFINITY), finite, special) << FPRF_SHIFT


def single_class(value: Expr) -> Expr:
    """FPRF (in place) of a double that holds a single: denormal by the single's range."""
    magnitude = value & (SIGN - 1)
    small = ltu(magnitude, 897 << 52) & ne(magnitude, 0)
    return result_class(value) | flag(small, 0x10 << FPRF_SHIFT)


def normal_class(negative: Expr) -> Expr:
    """FPRF (in place) of a normal number with this sign."""
    return select(negative, const(8 << FPRF_SHIFT, 32), const(4 << FPRF_SHIFT, 32))


def finish(
    fpscr: Expr, value: Expr, events: Expr, rounding: Expr, fprf: Expr | None = None
) -> Expr:
    """What an instruction with these `events` leaves: FRT, FPSCR, `WRITES`, `TRAPS` in one value.

    `events` has OX, UX, ZX, XX and the VX… bits that occurred, `rounding` FR and FI.  Without
    `fprf` the FPRF field stays.  A trap-enabled invalid operation or division by zero leaves FRT
    and FPRF alone.
    """
    invalid = has(events, INVALID)
    stopped = invalid & has(fpscr, VE) | has(events, ZX) & has(fpscr, ZE)
    new = fpscr & ~(FR | FI) | events | rounding
    if fprf is not None:
        new = select(stopped, new, new & ~FPRF | fprf)
    new = summarize(new | flag(ne(events & ~fpscr, 0), FX))
    met = (events >> 25) & 0xF | flag(invalid, 0x10)
    traps = ne(met & (fpscr >> 3), 0)
    return pack(value, new, ~stopped, traps)


def pack(value: Expr, fpscr: Expr, writes: Expr, traps: Expr) -> Expr:
    """One value of `RESULT_WIDTH` bits."""
    head = zext(fpscr, 64) | zext(writes, 64) << 32 | zext(traps, 64) << 33
    return zext(value, RESULT_WIDTH) | zext(head, RESULT_WIDTH) << 64
