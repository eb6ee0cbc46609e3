"""What QEMU 7.2 does differently with sums of packed decimals, and why.  docs/isa.md shows it."""

from __future__ import annotations

from typing import Final

from gossamer.verify.isa.vector import VectorRecord
from gossamer.verify.isa.vector_excuses import Masks, VectorExcuse, target

PACKED: Final = ("bcdadd.", "bcdsub.")
ALL_BITS: Final = (1 << 128) - 1
CR6: Final = 0xF0
CR6_SIGNS: Final = 0xC0
CR6_EQ: Final = 0x20
CR6_INVALID: Final = 0x10


def _zero(before: VectorRecord, ours: VectorRecord) -> Masks:
    if ours.cr & CR6 != CR6_EQ:
        return {}
    return {f"vr{target(before)}": 15, "cr": CR6_SIGNS}


def _cancels(before: VectorRecord, ours: VectorRecord) -> Masks:
    """Below equal digits the first that is none ends the peer's comparison."""
    if ours.cr & CR6 != CR6_INVALID:
        return {}
    a, b = (f"{before.vr[before.word >> n & 31]:032x}"[:31] for n in (16, 11))
    for x, y in zip(a, b, strict=True):
        if not (x + y).isdecimal():
            return {f"vr{target(before)}": ALL_BITS, "cr": CR6}
        if x != y:
            break
    return {}


PACKED_EXCUSES: Final = (
    VectorExcuse(
        PACKED,
        "the sign and CR6's LT and GT of a zero",
        "zero is positive, and CR6 says EQ alone; the peer takes the sign of an operand",
        "Power ISA 2.07 Book I 6.11, bcdadd.",
        _zero,
    ),
    VectorExcuse(
        PACKED,
        "a digit that is none, below digits that are the same in both operands",
        "CR6 says invalid; the peer takes the magnitudes for equal",
        "Power ISA 2.07 Book I 6.11, bcdadd.",
        _cancels,
    ),
)
