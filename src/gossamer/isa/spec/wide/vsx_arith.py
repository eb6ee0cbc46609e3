"""Vector-scalar arithmetic: sums, products, quotients, roots, estimates; doubles and singles.

Source: Power ISA 2.07 Book I 7.6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.isa import float_fast as fast
from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, choose, const
from gossamer.isa.fpscr import SIGN
from gossamer.isa.insn import insn
from gossamer.isa.softfloat.arith import (
    NEGATE,
    NO_ADDEND,
    ONE,
    SINGLE,
    SUBTRACT,
    float_divide,
    float_fma,
)
from gossamer.isa.softfloat.wide import ROOT, float_estimate, float_square_root
from gossamer.isa.spec.wide.vsx import VSX, VSX_2_07, doubleword, read
from gossamer.isa.spec.wide.vsx_forms import XX2, XX3
from gossamer.isa.spec.wide.vsx_lanes import (
    Operation,
    doubles_of,
    finish_lanes,
    finish_scalar,
    packed,
)

#: An operation of so many operands and FPSCR for options (`SINGLE`, a sign).
Maker = Callable[[int], Operation]
#: An option: not on the host's arithmetic, which four lanes would have four times.
EXACTLY: Final = 0x80


def _quick(fpscr: Expr, found: fast.Fast, options: int, exact: Expr) -> Expr:
    """`found` where it holds, else the exact result."""
    if options & EXACTLY:
        return exact
    if options & SINGLE:
        found = fast.to_single(found)
    negate = const(1, 1) if options & NEGATE else None
    ok = found.ok & fast.allowed(fpscr)
    return choose(ok, fast.deliver(fpscr, found, negate), exact)


def _sum(options: int) -> Operation:
    def does(a: Expr, b: Expr, fpscr: Expr) -> Expr:
        exact = float_fma(a, const(ONE, 64), b, fpscr, const(options, 8))
        found = fast.add(a, b ^ SIGN if options & SUBTRACT else b)
        return _quick(fpscr, found, options, exact)

    return does


def _product(options: int) -> Operation:
    def does(a: Expr, b: Expr, fpscr: Expr) -> Expr:
        exact = float_fma(a, b, const(0, 64), fpscr, const(options | NO_ADDEND, 8))
        return _quick(fpscr, fast.multiply(a, b), options, exact)

    return does


def _quotient(options: int) -> Operation:
    def does(a: Expr, b: Expr, fpscr: Expr) -> Expr:
        exact = float_divide(a, b, fpscr, const(options, 8))
        return _quick(fpscr, fast.divide(a, b), options, exact)

    return does


def _fused(options: int) -> Operation:
    """The operands are factor, addend, factor: the order in which a NaN is chosen."""

    def does(a: Expr, b: Expr, c: Expr, fpscr: Expr) -> Expr:
        exact = float_fma(a, c, b, fpscr, const(options, 8))
        plus = b ^ SIGN if options & SUBTRACT else b
        sum_ = fast.multiply_add_single if options & SINGLE else fast.multiply_add
        return _quick(fpscr, sum_(a, c, plus), options, exact)

    return does


def two(name: str, xos: tuple[int, int, int, int], make: Maker, options: int = 0) -> None:
    """xs…dp, xs…sp, xv…dp, xv…sp of XA and XB, by their XO."""
    _scalars(XX3, f"xs{name}dp XT,XA,XB", xos[0], VSX, make(options), _two)
    _scalars(XX3, f"xs{name}sp XT,XA,XB", xos[1], VSX_2_07, make(options | SINGLE), _two)
    _vectors(XX3, f"xv{name}dp XT,XA,XB", xos[2], make(options), _two, 64)
    _vectors(XX3, f"xv{name}sp XT,XA,XB", xos[3], make(options | SINGLE | EXACTLY), _two, 32)


def one(name: str, xos: tuple[int, int, int, int], make: Maker, options: int = 0) -> None:
    """The same of XB alone."""
    _scalars(XX2, f"xs{name}dp XT,XB", xos[0], VSX, make(options), _one)
    _scalars(XX2, f"xs{name}sp XT,XB", xos[1], VSX_2_07, make(options | SINGLE), _one)
    _vectors(XX2, f"xv{name}dp XT,XB", xos[2], make(options), _one, 64)
    _vectors(XX2, f"xv{name}sp XT,XB", xos[3], make(options | SINGLE), _one, 32)


def three(name: str, xos: tuple[int, int, int, int], options: int) -> None:
    """xs…adp, xs…asp, xv…adp, xv…asp (XT is the addend); …m…, whose XO is 8 more (a factor)."""
    for letter, more, of in (("a", 0, _addend), ("m", 8, _factor)):
        stem = f"{name}{letter}"
        xo = [n + more for n in xos]
        both = _fused(options), _fused(options | SINGLE)
        lanes = _fused(options | SINGLE | EXACTLY)
        _scalars(XX3, f"xs{stem}dp XT,XA,XB", xo[0], VSX, both[0], of)
        _scalars(XX3, f"xs{stem}sp XT,XA,XB", xo[1], VSX_2_07, both[1], of)
        _vectors(XX3, f"xv{stem}dp XT,XA,XB", xo[2], both[0], of, 64)
        _vectors(XX3, f"xv{stem}sp XT,XA,XB", xo[3], lanes, of, 32)


def _one(i: XX2) -> tuple[Expr, ...]:
    return (i.XB,)


def _two(i: XX3) -> tuple[Expr, ...]:
    return i.XA, i.XB


def _addend(i: XX3) -> tuple[Expr, ...]:
    return i.XA, i.XT, i.XB


def _factor(i: XX3) -> tuple[Expr, ...]:
    return i.XA, i.XB, i.XT


Operands = Callable[[XX2], tuple[Expr, ...]] | Callable[[XX3], tuple[Expr, ...]]


def _scalars(
    form: type[XX2] | type[XX3],
    asm: str,
    xo: int,
    features: tuple[str, ...],
    does: Operation,
    operands: Operands,
) -> None:
    name = asm.partition(" ")[0]

    @insn(form, asm, name=name, needs="VSX", OPCD=60, XO=xo, features=features, width=64)
    def body(s: Body, i: XX2 | XX3) -> None:
        values = [doubleword(s, n) for n in operands(i)]  # type: ignore[arg-type]
        finish_scalar(s, i.XT, does(*values, s.fpscr))


def _vectors(
    form: type[XX2] | type[XX3], asm: str, xo: int, does: Operation, operands: Operands, width: int
) -> None:
    name = asm.partition(" ")[0]

    @insn(form, asm, name=name, needs="VSX", OPCD=60, XO=xo, features=VSX, width=64)
    def body(s: Body, i: XX2 | XX3) -> None:
        taken = [doubles_of(read(s, n), width) for n in operands(i)]  # type: ignore[arg-type]
        results = [does(*values, s.fpscr) for values in zip(*taken, strict=True)]
        finish_lanes(s, i.XT, results, packed(results, width))


two("add", (32, 0, 96, 64), _sum)
two("sub", (40, 8, 104, 72), _sum, SUBTRACT)
two("mul", (48, 16, 112, 80), _product)
two("div", (56, 24, 120, 88), _quotient)
three("madd", (33, 1, 97, 65), 0)
three("msub", (49, 17, 113, 81), SUBTRACT)
three("nmadd", (161, 129, 225, 193), NEGATE)
three("nmsub", (177, 145, 241, 209), NEGATE | SUBTRACT)
_SERVICES: Final = {
    "sqrt": ((75, 11, 203, 139), float_square_root, 0),
    "re": ((90, 26, 218, 154), float_estimate, 0),
    "rsqrte": ((74, 10, 202, 138), float_estimate, ROOT),
}
for _name, (_xos, _service, _options) in _SERVICES.items():
    one(
        _name,
        _xos,
        lambda options, of=_service: lambda b, fpscr: of(b, fpscr, const(options, 8)),  # type: ignore[misc]
        _options,
    )
