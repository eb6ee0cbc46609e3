"""What a peer may do differently in vector-scalar instructions, and why.  docs/isa.md shows it."""

from __future__ import annotations

import math
from typing import Final

from gossamer.isa import fpscr
from gossamer.isa.spec.table import TABLE
from gossamer.isa.vector.lanes import join, split
from gossamer.verify.isa.record import FLOATING
from gossamer.verify.isa.vector import VectorRecord
from gossamer.verify.isa.vector_excuses import LANE, Masks, VectorExcuse, number, target

MET: Final = fpscr.OX | fpscr.UX | fpscr.ZX | fpscr.XX | fpscr.INVALID
#: The rows that work on FPSCR, by name.
ALL_LANES: Final = (1 << 128) - 1
ALL_VSX: Final = tuple(
    sorted({row.name for row in TABLE if row.needs == "VSX" and row.name.startswith(("xs", "xv"))})
)


def _status(before: VectorRecord, ours: VectorRecord) -> Masks:
    """FR always; FX where nothing is new and it was clear."""
    new = ours.fpscr & ~before.fpscr & MET
    return {"fpscr": fpscr.FR | (0 if new or before.fpscr & fpscr.FX else fpscr.FX)}


def _all_lanes(before: VectorRecord, _: VectorRecord) -> Masks:
    if not before.fpscr & 2:
        return {}
    return {f"vr{target(before)}": ALL_LANES, "fpscr": MET | fpscr.FX | fpscr.FI | fpscr.FPRF}


def _stopped(before: VectorRecord, ours: VectorRecord) -> Masks:
    if ours.signal != FLOATING:
        return {"fpscr": fpscr.UX} if ours.fpscr & fpscr.OX else {}
    return {"fpscr": MET | fpscr.FX}


def _late(before: VectorRecord, ours: VectorRecord) -> Masks:
    if ours.signal != FLOATING:
        return {}
    return {"signal": 15, "cr": 0xF0, f"vr{target(before)}": ALL_LANES}


def _root_is_good(before: VectorRecord, ours: VectorRecord) -> Masks:
    lanes = []
    results = split(ours.vr[target(before)], 32)
    for x, result in zip(split(before.vr[before.word >> 11 & 31], 32), results, strict=True):
        value = number(x)
        exact = 1 / math.sqrt(value) if 0 < value < math.inf else 0.0
        good = exact and abs(number(result) - exact) <= exact * 2.0**-23
        lanes.append(LANE if good else 0)
    return {f"vr{target(before)}": join(lanes, 32)}


def _class(before: VectorRecord, ours: VectorRecord) -> Masks:
    return {"fpscr": 0x10 << fpscr.FPRF_SHIFT}


def _later_lanes(before: VectorRecord, ours: VectorRecord) -> Masks:
    bad = ours.fpscr & fpscr.VXCVI
    return {f"vr{target(before)}": (1 << 96) - 1} if bad else {}


def _estimated(before: VectorRecord, ours: VectorRecord) -> Masks:
    return {"fpscr": fpscr.XX | fpscr.FI | fpscr.FX | fpscr.ZX}


def _tiny_extreme(before: VectorRecord, ours: VectorRecord) -> Masks:
    return {"fpscr": fpscr.UX | fpscr.FX}


def _of(*stems: str) -> tuple[str, ...]:
    return tuple(n for n in ALL_VSX if n[2:].startswith(stems))


NEGATED_VSX: Final = _of("nmadd", "nmsub")
ESTIMATES_VSX: Final = _of("re", "rsqrte")
EXTREMES_VSX: Final = _of("max", "min")

VSX_EXCUSES: Final = (
    VectorExcuse(
        ALL_VSX,
        "FR; FX where no exception is new",
        "FR says whether the result grew, FX is set by what is new; the peer has FR zero and sets"
        " FX for what was met before, too",
        "Power ISA 2.07 Book I 4.2.2",
        _status,
        "xs*, xv*",
    ),
    VectorExcuse(
        NEGATED_VSX,
        "directed rounding",
        "the sum is rounded, then negated; the peer negates first",
        "Power ISA 2.07 Book I 7.6, xsnmaddadp",
        _all_lanes,
        "xsn*, xvn*",
    ),
    VectorExcuse(
        ESTIMATES_VSX,
        "XX, FI, ZX",
        "an estimate is never inexact, and zero is ZX; the peer divides, and leaves ZX",
        "Power ISA 2.07 Book I 7.6, xsredp",
        _estimated,
    ),
    VectorExcuse(
        tuple(n for n in ALL_VSX if n.startswith("xv")),
        "other exceptions, where one traps; UX beside OX",
        "every lane's exceptions are in FPSCR; the peer ends with the first that traps, and has"
        " no underflow beside an overflow",
        "Power ISA 2.07 Book I 7.4",
        _stopped,
        "xv*",
    ),
    VectorExcuse(
        _of("cmp"),
        "an enabled invalid comparison",
        "the program interrupt is taken, nothing is written; the peer goes on",
        "Power ISA 2.07 Book I 7.6, xvcmpgedp",
        _late,
        "xvcmp*",
    ),
    VectorExcuse(
        tuple(n for n in ALL_VSX if n.startswith("xs") and n.endswith("sp")),
        "FPRF's first bit",
        "a denormal single is one; to the peer it is a normal double",
        "Power ISA 2.07 Book I 4.2.2",
        _class,
        "xs*sp",
    ),
    VectorExcuse(
        tuple(n for n in ALL_VSX if n.startswith("xvcv") and "x" in n[4:]),
        "lanes behind the first, where one has no integer",
        "each lane for itself; the peer takes a later lane's flags for those of the first",
        "Power ISA 2.07 Book I 7.6, xvcvdpsxds",
        _later_lanes,
        "xvcv*x*",
    ),
    VectorExcuse(
        ("xvrsqrtesp",),
        "our result is within 2**-23 of 1 / sqrt(x)",
        "rounded once; the peer rounds the root, too",
        "Power ISA 2.07 Book I 7.6: an estimate within 2**-14",
        _root_is_good,
    ),
    VectorExcuse(
        EXTREMES_VSX,
        "UX, and FX with it",
        "nothing but a signaling NaN is an exception; the peer has underflows",
        "Power ISA 2.07 Book I 7.6, xsmaxdp",
        _tiny_extreme,
    ),
)
