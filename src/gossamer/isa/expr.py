"""Bit-vector expressions: what an instruction's body computes with.

A body builds a graph of `Expr`; each engine reads the graph in its own way.  Only ``+ - & | ^ ~ <<
>>`` are overloaded; comparisons are named with their signedness; an `Expr` has no truth value, so
a Python ``if`` on a guest value cannot pass unnoticed.
"""

from __future__ import annotations

from gossamer.base.bits import ones
from gossamer.base.data import Data
from gossamer.isa.ops import OPS


class Expr(Data, eq=False):
    """A value of `width` bits, unsigned unless an operation says otherwise.

    `op` is a row of `OPS` or one of the leaves: ``const`` (arg: value), ``word`` (the instruction),
    ``cia`` (its address), ``reg`` (arg: register name, one argument: index), ``load`` (arg: bytes,
    one argument: ea), ``ram`` (arg: bytes, one argument: real address), ``ram_find`` (see
    `Body.ram_find`; arguments: real address, word), ``table``, ``table_find``, ``slb_find``,
    ``mode`` (see `Body`), ``now`` (virtual ns), ``arg`` (arg: number; a
    parameter of a service body), ``call`` (arg: service name, arguments as its parameters),
    ``index`` (the variable of the enclosing loop).
    """

    op: str
    width: int
    args: tuple[Expr, ...] = ()
    arg: int | str = 0

    def __bool__(self) -> bool:
        raise TypeError("an Expr has no truth value; use select() or when()")

    def __add__(self, other: Expr | int) -> Expr:
        if isinstance(other, int) and other == 0:
            return self
        return binary("add", self, other)

    def __sub__(self, other: Expr | int) -> Expr:
        if isinstance(other, int) and other == 0:
            return self
        return binary("sub", self, other)

    def __mul__(self, other: Expr | int) -> Expr:
        return binary("mul", self, other)

    def __and__(self, other: Expr | int) -> Expr:
        return binary("and", self, other)

    def __or__(self, other: Expr | int) -> Expr:
        return binary("or", self, other)

    def __xor__(self, other: Expr | int) -> Expr:
        return binary("xor", self, other)

    def __invert__(self) -> Expr:
        return self ^ ones(self.width)

    def __lshift__(self, n: Expr | int) -> Expr:
        """Shift left; the count must be below the width by construction."""
        if isinstance(n, int) and n == 0:
            return self
        return binary("shl", self, n)

    def __rshift__(self, n: Expr | int) -> Expr:
        """Logical shift right; the count must be below the width by construction."""
        if isinstance(n, int) and n == 0:
            return self
        return binary("lshr", self, n)

    @property
    def is_const(self) -> bool:
        return self.op == "const"

    @property
    def value(self) -> int:
        """The value of a constant."""
        assert self.op == "const", self.op
        return int(self.arg)


def const(value: int, width: int) -> Expr:
    return Expr("const", width, (), value & ones(width))


def lift(x: Expr | int, width: int) -> Expr:
    """An int becomes a constant; an Expr must have the width already."""
    if isinstance(x, int):
        return const(x, width)
    assert x.width == width, f"width {x.width}, expected {width} ({x.op})"
    return x


def node(op: str, width: int, *args: Expr, arg: int | str = 0) -> Expr:
    """A node of an operation in `OPS`, folded when every operand is constant."""
    row = OPS[op]
    if all(a.op == "const" for a in args):
        widths = [a.width for a in args]
        return const(row(width, widths, [int(a.arg) for a in args]), width)
    return Expr(op, width, args, arg)


def binary(op: str, a: Expr, b: Expr | int) -> Expr:
    return node(op, a.width, a, lift(b, a.width))


def eq(a: Expr, b: Expr | int) -> Expr:
    return node("eq", 1, a, lift(b, a.width))


def ne(a: Expr, b: Expr | int) -> Expr:
    return ~eq(a, b)


def ltu(a: Expr, b: Expr | int) -> Expr:
    """Unsigned a < b."""
    return node("ltu", 1, a, lift(b, a.width))


def lts(a: Expr, b: Expr | int) -> Expr:
    """Signed a < b."""
    return node("lts", 1, a, lift(b, a.width))


def gtu(a: Expr, b: Expr | int) -> Expr:
    """Unsigned a > b."""
    return node("ltu", 1, lift(b, a.width), a)


def gts(a: Expr, b: Expr | int) -> Expr:
    """Signed a > b."""
    return node("lts", 1, lift(b, a.width), a)


def select(cond: Expr, yes: Expr | int, no: Expr | int) -> Expr:
    """`yes` when the 1-bit `cond` is one, else `no`; both sides are evaluated."""
    assert cond.width == 1
    if not isinstance(yes, Expr):
        assert isinstance(no, Expr)
        yes = lift(yes, no.width)
    no = lift(no, yes.width)
    if cond.op == "const":
        return yes if cond.arg else no
    return node("select", yes.width, cond, yes, no)


def choose(cond: Expr, yes: Expr, no: Expr) -> Expr:
    """`yes` when the 1-bit `cond` is one, else `no`; only the side taken is evaluated."""
    assert cond.width == 1
    assert yes.width == no.width, f"widths {yes.width} and {no.width}"
    if cond.op == "const":
        return yes if cond.arg else no
    return node("choose", yes.width, cond, yes, no)


def zext(a: Expr, width: int) -> Expr:
    assert a.width <= width, f"zext of {a.width} bits to {width} ({a.op})"
    return a if a.width == width else node("zext", width, a)


def sext(a: Expr, width: int) -> Expr:
    assert a.width <= width, f"sext of {a.width} bits to {width} ({a.op})"
    return a if a.width == width else node("sext", width, a)


def trunc(a: Expr, width: int) -> Expr:
    assert a.width >= width, f"trunc of {a.width} bits to {width} ({a.op})"
    return a if a.width == width else node("trunc", width, a)


def low(a: Expr) -> Expr:
    """The low 32 bits: what instructions that the books name after a word work on."""
    return trunc(a, 32)


def bits(a: Expr, first: int, last: int) -> Expr:
    """Bits `first`..`last` of `a` as the books count them, as a value of that many bits."""
    return trunc(a >> (a.width - 1 - last), last - first + 1)


def ashr(a: Expr, n: Expr | int) -> Expr:
    """Arithmetic shift right; the count must be below the width by construction."""
    return binary("ashr", a, n)


def rotl(a: Expr, n: Expr) -> Expr:
    """Rotate left; the count, not wider than `a`, is taken modulo the width."""
    return node("rotl", a.width, a, zext(n, a.width))


def clz(a: Expr) -> Expr:
    """Leading zero bits; the width itself for zero."""
    return node("clz", a.width, a)


def bswap(a: Expr) -> Expr:
    return node("bswap", a.width, a)


def udiv(a: Expr, b: Expr) -> Expr:
    """Unsigned quotient; the divisor must be non-zero by construction."""
    return binary("udiv", a, b)


def sdiv(a: Expr, b: Expr) -> Expr:
    """Signed quotient towards zero; no zero divisor and no overflow, by construction."""
    return binary("sdiv", a, b)


def shl_wide(a: Expr, n: Expr) -> Expr:
    """Shift left by a 6-bit count: 32 and above give zero (slw)."""
    return trunc(zext(a, 64) << zext(n & 63, 64), a.width)


def lshr_wide(a: Expr, n: Expr) -> Expr:
    """Logical shift right by a 6-bit count: 32 and above give zero (srw)."""
    return trunc(zext(a, 64) >> zext(n & 63, 64), a.width)


def mask32(mb: Expr, me: Expr) -> Expr:
    """MASK(mb, me): ones from bit mb to bit me, wrapping; bit 0 is the most significant."""
    head = const(-1, 32) >> zext(mb, 32)
    tail = const(-1, 32) << (const(31, 32) - zext(me, 32))
    return select(ltu(me, mb), head | tail, head & tail)
