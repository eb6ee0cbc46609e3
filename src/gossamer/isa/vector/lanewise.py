"""Vectors in bodies: 128-bit expressions taken lane by lane (`lanes` says what rows mean).

An `Expr` operator on 128 bits works on one long integer; what an engine shall do with vector
instructions is written with the functions below.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.bits import ones
from gossamer.isa.expr import Expr, const, eq, ne, node
from gossamer.isa.vector.lanes import WIDTH

ZEROS: Final = const(0, WIDTH)
ONES: Final = const(-1, WIDTH)


def each(value: int, width: int) -> Expr:
    """The constant vector with `value` in every lane."""
    lane = value & ones(width)
    return const(sum(lane << at for at in range(0, WIDTH, width)), WIDTH)


def lanes(op: str, *args: Expr) -> Expr:
    """A vector operation of `OPS`."""
    assert all(a.width == WIDTH for a in args), [a.width for a in args]
    return node(op, WIDTH, *args)


def splat(value: Expr) -> Expr:
    """`value` (8, 16 or 32 bits) in every lane of its width."""
    return node(f"vsplat{value.width}", WIDTH, value)


def both(a: Expr, b: Expr) -> Expr:
    return lanes("vand", a, b)


def either(a: Expr, b: Expr) -> Expr:
    return lanes("vor", a, b)


def differ(a: Expr, b: Expr) -> Expr:
    """Exclusive or."""
    return lanes("vxor", a, b)


def invert(a: Expr) -> Expr:
    return differ(a, ONES)


def without(a: Expr, b: Expr) -> Expr:
    """The bits of `a` that `b` has not."""
    return both(a, invert(b))


def blend(mask: Expr, yes: Expr, no: Expr) -> Expr:
    """Bits of `yes` where `mask` has ones, else of `no`."""
    return either(both(yes, mask), without(no, mask))


def shift(op: str, a: Expr, count: int, width: int) -> Expr:
    """``vshl``, ``vlshr`` or ``vashr`` by the same count in every lane."""
    return lanes(f"{op}{width}", a, each(count, width))


def upper(a: Expr, width: int, *, signed: bool) -> Expr:
    """The upper half of each lane of `width` bits, extended to the lane: the even elements."""
    return shift("vashr" if signed else "vlshr", a, width // 2, width)


def lower(a: Expr, width: int, *, signed: bool) -> Expr:
    """The lower half of each lane, extended: the odd elements."""
    if not signed:
        return both(a, each(ones(width // 2), width))
    return shift("vashr", shift("vshl", a, width // 2, width), width // 2, width)


def any_bit(a: Expr) -> Expr:
    """Whether any bit is set, as one bit."""
    return ne(a, 0)


def no_bit(a: Expr) -> Expr:
    return eq(a, 0)
