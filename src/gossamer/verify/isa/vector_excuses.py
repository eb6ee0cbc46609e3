"""What a peer may do differently in AltiVec instructions, and why.  docs/altivec.md shows it.

As `excuses`, with masks worked out a lane.  An estimate is not merely let pass: ours
must lie within the error that `isa.vector.single` promises, or nothing is masked.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from gossamer.base.data import Data
from gossamer.isa import hostfloat
from gossamer.isa.vector.lanes import join, split
from gossamer.isa.vector.single import INFINITY, LEAST_NORMAL, NJ_SHIFT, SIGN
from gossamer.verify.isa.vector import VectorRecord

VSCR_BITS: Final = 0x0001_0001
LANE: Final = 0xFFFF_FFFF
POWER_ERROR: Final = 2.0**-18  # relative
LOGARITHM_ERROR: Final = 2.0**-15  # absolute, beside half a unit in the last place
LEAST_DENORMAL: Final = 2.0**-149

Masks = dict[str, int]


class VectorExcuse(Data):
    """`masks` gives the bits of each field of the record that are not compared."""

    family: tuple[str, ...]
    condition: str
    rule: str
    source: str
    masks: Callable[[VectorRecord, VectorRecord], Masks]
    shown: str = ""  # what the table has for a long family


def number(bits: int) -> float:
    return hostfloat.double(hostfloat.widen(bits))


def _operand(r: VectorRecord) -> list[int]:
    """Lanes of VRB with denormals as the instruction takes them."""
    lanes = split(r.vr[r.word >> 11 & 31], 32)
    if r.vscr >> NJ_SHIFT & 1:
        lanes = [x if x & INFINITY else x & SIGN for x in lanes]
    return lanes


def target(r: VectorRecord) -> int:
    return r.word >> 21 & 31


def _power_is_good(x: int, result: int) -> bool:
    value, got = number(x), number(result)
    if math.isnan(value):
        return False
    if value >= 128:
        return result == INFINITY
    exact = math.pow(2.0, value) if value > -1000 else 0.0
    if exact < number(LEAST_NORMAL) and got == 0:  # flushed, or less than half the least denormal
        return True
    return abs(got - exact) <= max(exact * POWER_ERROR, LEAST_DENORMAL)


def _logarithm_is_good(x: int, result: int) -> bool:
    value = number(x)
    if not (value > 0 and math.isfinite(value)):
        return False
    exact = math.log2(value)
    return abs(number(result) - exact) <= LOGARITHM_ERROR + abs(exact) * 2.0**-24


def _lanes_within(
    good: Callable[[int, int], bool],
) -> Callable[[VectorRecord, VectorRecord], Masks]:
    def masks(before: VectorRecord, ours: VectorRecord) -> Masks:
        t = target(before)
        pairs = zip(_operand(before), split(ours.vr[t], 32), strict=True)
        return {f"vr{t}": join([LANE if good(x, result) else 0 for x, result in pairs], 32)}

    return masks


def _reserved(_: VectorRecord, __: VectorRecord) -> Masks:
    return {"vscr": LANE & ~VSCR_BITS}


VECTOR_EXCUSES: Final = (
    VectorExcuse(
        ("mtvscr",),
        "VSCR bits other than NJ and SAT",
        "reserved bits read as zero; the peer keeps them",
        "AltiVec PEM chapter 2, VSCR",
        _reserved,
    ),
    VectorExcuse(
        ("vexptefp",),
        "the lane's operand is no NaN and our result is within 2**-18 of 2**x",
        "a polynomial; 2**-infinity is +0. The peer sums another series, which is wrong far below"
        " zero (2**-110.4 comes out near -1e16, 2**-infinity as -infinity)",
        "AltiVec PEM chapter 6, vexptefp: an estimate within 1/16",
        _lanes_within(_power_is_good),
    ),
    VectorExcuse(
        ("vlogefp",),
        "the lane's operand is positive and finite and our result is within 2**-15 of log2(x)",
        "a polynomial; the peer truncates a result that is nearly exact",
        "AltiVec PEM chapter 6, vlogefp: an estimate within 1/32",
        _lanes_within(_logarithm_is_good),
    ),
)


def vector_masks(
    excuses: tuple[VectorExcuse, ...], name: str, before: VectorRecord, ours: VectorRecord
) -> Masks:
    """The bits that are not compared, by field."""
    found: Masks = {}
    for excuse in excuses:
        if name in excuse.family:
            for field, mask in excuse.masks(before, ours).items():
                found[field] = found.get(field, 0) | mask
    return found


def compare_vectors(
    name: str,
    before: VectorRecord,
    ours: VectorRecord,
    theirs: VectorRecord,
    excuses: tuple[VectorExcuse, ...] = VECTOR_EXCUSES,
) -> tuple[dict[str, tuple[int, int]], bool]:
    """What differs beyond the excuses, and whether an excuse hid anything."""
    found = ours.differences(theirs)
    if not found:
        return {}, False
    hidden = vector_masks(excuses, name, before, ours)
    left = {k: (a, b) for k, (a, b) in found.items() if (a ^ b) & ~hidden.get(k, 0)}
    return left, len(left) != len(found)


def vector_markdown(excuses: tuple[VectorExcuse, ...] = VECTOR_EXCUSES) -> str:
    """The table of docs/altivec.md, or another's of docs/isa.md."""
    rows = ["| Instructions | Not compared | Our rule | Source |", "|---|---|---|---|"]
    for e in excuses:
        rows.append(f"| {e.shown or ', '.join(e.family)} | {e.condition} | {e.rule} | {e.source} |")
    return "\n".join(rows)
