"""How a vector-scalar instruction of floating point takes its operands apart and ends.

An *operation* works on doubles and FPSCR and gives what a service of `softfloat` gives: a value,
FPSCR, whether the target is written, whether an enabled exception was met.  A scalar instruction
does it once.  A vector instruction does it for each lane; FR, FI and FPRF stay, and where any lane
meets an enabled exception nothing is written (Power ISA 2.07 Book I 7.6, 7.4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from gossamer.isa.body import Body, number
from gossamer.isa.expr import Expr, const, trunc, zext
from gossamer.isa.float_commit import trap
from gossamer.isa.fpscr import FI, FPRF, FR, TRAPS_BIT, WRITES_BIT
from gossamer.isa.spec.float_memory import narrow, widen
from gossamer.isa.spec.wide.vsx import is_scalar, lower, upper

#: A value of a lane from its operands and FPSCR, as the services give it.
Operation = Callable[..., Expr]
_SCALARS_ALONE: Final = FR | FI | FPRF


def write_where(s: Body, n: Expr, value: Expr, when: Expr) -> None:
    """Set a vector-scalar register when `when` holds."""
    k, scalar = number(n) & 31, is_scalar(n)
    s.write("fpr", k, upper(value), scalar & when)  # clears the other doubleword
    s.write("vsl", k, lower(value), scalar & when)
    s.write("vr", k, value, ~scalar & when)


def lanes_of(value: Expr, width: int) -> list[Expr]:
    """Lanes of 32 or 64 bits, the first one first."""
    return [trunc(value >> (128 - width - at), width) for at in range(0, 128, width)]


def joined_lanes(lanes: Sequence[Expr]) -> Expr:
    value = const(0, 128)
    for lane in lanes:
        value = value << lane.width | zext(lane, 128)
    return value


def doubles_of(value: Expr, width: int) -> list[Expr]:
    """The same as doubles."""
    lanes = lanes_of(value, width)
    return lanes if width == 64 else [widen(x) for x in lanes]


def value_of(result: Expr) -> Expr:
    return trunc(result, 64)


def finish_scalar(s: Body, n: Expr, result: Expr, value: Expr | None = None) -> None:
    """Write one result into the first doubleword, or what `value` makes of it; zero behind it."""
    high = value_of(result) if value is None else value
    write_where(s, n, zext(high, 128) << 64, trunc(result >> WRITES_BIT, 1))
    s.fpscr = trunc(result >> 64, 32)
    trap(s, trunc(result >> TRAPS_BIT, 1))


def finish_lanes(s: Body, n: Expr, results: Sequence[Expr], value: Expr) -> None:
    """Write `value`, which these results make, unless one of them met an enabled exception."""
    old, met, new = s.fpscr, const(0, 1), const(0, 32)
    for result in results:
        new = new | trunc(result >> 64, 32)
        met = met | trunc(result >> TRAPS_BIT, 1)
    write_where(s, n, value, ~met)
    s.fpscr = new & ~_SCALARS_ALONE | old & _SCALARS_ALONE
    trap(s, met)


def packed(results: Sequence[Expr], width: int) -> Expr:
    """128 bits of the results of lanes: doubles, or singles made of them."""
    values = [value_of(r) for r in results]
    return joined_lanes(values if width == 64 else [narrow(v) for v in values])
