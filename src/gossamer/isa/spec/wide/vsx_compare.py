"""Vector-scalar comparisons, extremes, signs, and tests for software division and roots.

Source: Power ISA 2.07 Book I 7.6.
"""

from __future__ import annotations

from collections.abc import Callable

from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, const, eq, gtu, lts, ltu, ne, select, trunc, zext
from gossamer.isa.float_commit import trap
from gossamer.isa.fpscr import FX, INFINITY, QUIET, SIGN, VE, VXSNAN, VXVC, flag, has, summarize
from gossamer.isa.insn import insn
from gossamer.isa.softfloat.wide import LEAST, float_extreme
from gossamer.isa.spec.float_compare import compare, order
from gossamer.isa.spec.forms import X
from gossamer.isa.spec.wide.vsx import VSX, doubleword, joined, read, upper
from gossamer.isa.spec.wide.vsx_forms import XX2, XX3, XX2Field, XX3Field, XX3Rc
from gossamer.isa.spec.wide.vsx_lanes import (
    doubles_of,
    finish_lanes,
    finish_scalar,
    joined_lanes,
    lanes_of,
    packed,
    write_where,
)

ALWAYS = const(1, 1)

# --- extremes -------------------------------------------------------------------------------------


def extreme(name: str, xos: tuple[int, int, int], options: int) -> None:
    @insn(
        XX3, f"xs{name}dp XT,XA,XB", name=f"xs{name}dp", needs="VSX", OPCD=60, XO=xos[0],
        features=VSX, width=64,
    )  # fmt: skip
    def scalar(s: Body, i: XX3) -> None:
        a, b = doubleword(s, i.XA), doubleword(s, i.XB)
        finish_scalar(s, i.XT, float_extreme(a, b, s.fpscr, const(options, 8)))

    for kind, xo, width in (("dp", xos[1], 64), ("sp", xos[2], 32)):

        @insn(
            XX3, f"xv{name}{kind} XT,XA,XB", name=f"xv{name}{kind}", needs="VSX", OPCD=60, XO=xo,
            features=VSX, width=64,
        )  # fmt: skip
        def vector(s: Body, i: XX3, width: int = width) -> None:
            pairs = zip(*(doubles_of(read(s, n), width) for n in (i.XA, i.XB)), strict=True)
            results = [float_extreme(a, b, s.fpscr, const(options, 8)) for a, b in pairs]
            finish_lanes(s, i.XT, results, packed(results, width))


extreme("max", (160, 224, 192), 0)
extreme("min", (168, 232, 200), LEAST)


# --- comparisons ----------------------------------------------------------------------------------


@insn(XX3Field, "xscmpudp BF,XA,XB", needs="VSX", OPCD=60, XO=35, features=VSX, width=64)
def xscmpudp(s: Body, i: XX3Field) -> None:
    compare(s, i.BF, doubleword(s, i.XA), doubleword(s, i.XB), ordered=False)


@insn(XX3Field, "xscmpodp BF,XA,XB", needs="VSX", OPCD=60, XO=43, features=VSX, width=64)
def xscmpodp(s: Body, i: XX3Field) -> None:
    compare(s, i.BF, doubleword(s, i.XA), doubleword(s, i.XB), ordered=True)


def _lane(a: Expr, b: Expr, fpscr: Expr, kind: str) -> tuple[Expr, Expr]:
    """Whether it holds, and what it signals."""
    nans = [gtu(x & (SIGN - 1), INFINITY) for x in (a, b)]
    unordered = nans[0] | nans[1]
    signaling = nans[0] & ~has(a, QUIET) | nans[1] & ~has(b, QUIET)
    x, y = order(a), order(b)
    holds = {"eq": eq(x, y), "ge": ~ltu(x, y), "gt": gtu(x, y)}[kind] & ~unordered
    events = flag(signaling, VXSNAN)
    if kind != "eq":
        events = events | flag(unordered & ~(signaling & has(fpscr, VE)), VXVC)
    return holds, events


def comparison(kind: str, letters: str, xo: int, width: int) -> None:
    name = f"xvcmp{kind}{letters}"

    @insn(
        XX3Rc, f"{name}{{Rc}} XT,XA,XB", name=name, needs="VSX", OPCD=60, XO=xo, features=VSX,
        width=64,
    )  # fmt: skip
    def body(s: Body, i: XX3Rc) -> None:
        fpscr = s.fpscr
        pairs = zip(*(doubles_of(read(s, n), width) for n in (i.XA, i.XB)), strict=True)
        lanes = [_lane(a, b, fpscr, kind) for a, b in pairs]
        every, some, events = const(1, 1), const(0, 1), const(0, 32)
        for holds, signals in lanes:
            every, some, events = every & holds, some | holds, events | signals
        s.fpscr = summarize(fpscr | events | flag(ne(events & ~fpscr, 0), FX))
        met = ne(events, 0) & has(fpscr, VE)
        ones = [select(holds, const(-1, width), const(0, width)) for holds, _ in lanes]
        write_where(s, i.XT, joined_lanes(ones), ~met)
        s.write("crf", 6, zext(every, 8) << 3 | zext(~some, 8) << 1, i.Rc & ~met)
        trap(s, met)


for _kind, _double, _single in (("eq", 99, 67), ("gt", 107, 75), ("ge", 115, 83)):
    comparison(_kind, "dp", _double, 64)
    comparison(_kind, "sp", _single, 32)


# --- signs ----------------------------------------------------------------------------------------

Sign = Callable[[Expr, int], Expr]


def sign(name: str, scalar: int, double: int, single: int, does: Sign) -> None:
    """A change of the sign's bit alone; nothing signals."""

    @insn(
        XX2, f"xs{name}dp XT,XB", name=f"xs{name}dp", needs="VSX", OPCD=60, XO=scalar,
        features=VSX, width=64,
    )  # fmt: skip
    def first(s: Body, i: XX2) -> None:
        write_where(s, i.XT, joined(does(doubleword(s, i.XB), SIGN), const(0, 64)), ALWAYS)

    for kind, xo, width in (("dp", double, 64), ("sp", single, 32)):

        @insn(
            XX2, f"xv{name}{kind} XT,XB", name=f"xv{name}{kind}", needs="VSX", OPCD=60, XO=xo,
            features=VSX, width=64,
        )  # fmt: skip
        def body(s: Body, i: XX2, width: int = width) -> None:
            lanes = [does(x, 1 << width - 1) for x in lanes_of(read(s, i.XB), width)]
            write_where(s, i.XT, joined_lanes(lanes), ALWAYS)


sign("abs", 345, 473, 409, lambda x, bit: x & ~const(bit, x.width))
sign("nabs", 361, 489, 425, lambda x, bit: x | bit)
sign("neg", 377, 505, 441, lambda x, bit: x ^ bit)


def _copied(a: Expr, b: Expr, bit: int) -> Expr:
    return a & bit | b & ~const(bit, b.width)


@insn(XX3, "xscpsgndp XT,XA,XB", needs="VSX", OPCD=60, XO=176, features=VSX, width=64)
def xscpsgndp(s: Body, i: XX3) -> None:
    value = _copied(doubleword(s, i.XA), doubleword(s, i.XB), SIGN)
    write_where(s, i.XT, joined(value, const(0, 64)), ALWAYS)


@insn(XX3, "xvcpsgndp XT,XA,XB", needs="VSX", OPCD=60, XO=240, features=VSX, width=64)
def xvcpsgndp(s: Body, i: XX3) -> None:
    mask = SIGN << 64 | SIGN
    write_where(s, i.XT, _copied(read(s, i.XA), read(s, i.XB), mask), ALWAYS)


@insn(XX3, "xvcpsgnsp XT,XA,XB", needs="VSX", OPCD=60, XO=208, features=VSX, width=64)
def xvcpsgnsp(s: Body, i: XX3) -> None:
    mask = 0x8000_0000 * 0x1_0000_0001_0000_0001_0000_0001
    write_where(s, i.XT, _copied(read(s, i.XA), read(s, i.XB), mask), ALWAYS)


# --- tests ----------------------------------------------------------------------------------------


def _exponent(x: Expr, width: int) -> Expr:
    """Unbiased, 32 bits, signed."""
    if width == 64:
        return (trunc(x >> 52, 32) & 0x7FF) - 1023
    return (trunc(x >> 23, 32) & 0xFF) - 127


def _kinds(x: Expr, width: int) -> tuple[Expr, Expr, Expr, Expr]:
    """NaN, infinite, zero, zero or denormal."""
    endless = INFINITY if width == 64 else 0x7F80_0000
    least = 1 << 52 if width == 64 else 1 << 23
    magnitude = x & ~const(1 << width - 1, width)
    nan, infinite = gtu(magnitude, endless), eq(magnitude, endless)
    return nan, infinite, eq(magnitude, 0), ltu(magnitude, least)


def _at_most(n: Expr, limit: int) -> Expr:
    return lts(n, limit + 1)


def _divides(a: Expr, b: Expr, width: int) -> tuple[Expr, Expr]:
    """FE and FG of a division."""
    least, most, digits = (-1022, 1023, 52) if width == 64 else (-126, 127, 23)
    a_nan, a_infinite, a_zero, _ = _kinds(a, width)
    b_nan, b_infinite, b_zero, b_small = _kinds(b, width)
    x, y = _exponent(a, width), _exponent(b, width)
    far = _at_most(y, least) | ~lts(y, most - 2)
    gap = ~lts(x - y, most) | _at_most(x - y, least + 1) | _at_most(x, least + digits)
    odd = a_nan | a_infinite | b_nan | b_infinite | b_zero
    return odd | far | ~a_zero & gap, a_infinite | b_infinite | b_small


def _roots(b: Expr, width: int) -> tuple[Expr, Expr]:
    least, digits = (-1022, 52) if width == 64 else (-126, 23)
    nan, infinite, zero, small = _kinds(b, width)
    below = trunc(b >> width - 1, 1)
    tiny = lts(_exponent(b, width), least + digits + 1)
    return nan | infinite | zero | below | tiny, infinite | small


def _tested(s: Body, field: Expr, found: list[tuple[Expr, Expr]]) -> None:
    fe, fg = const(0, 1), const(0, 1)
    for e, g in found:
        fe, fg = fe | e, fg | g
    s.crf[field] = const(8, 8) | zext(fg, 8) << 2 | zext(fe, 8) << 1


@insn(X, "ftdiv BF,FRA,FRB", needs="FP", OPCD=63, XO=128, features=VSX, width=64)
def ftdiv(s: Body, i: X) -> None:
    _tested(s, i.BF, [_divides(s.fpr[i.FRA], s.fpr[i.FRB], 64)])


@insn(X, "ftsqrt BF,FRB", needs="FP", OPCD=63, XO=160, features=VSX, width=64)
def ftsqrt(s: Body, i: X) -> None:
    _tested(s, i.BF, [_roots(s.fpr[i.FRB], 64)])


@insn(XX3Field, "xstdivdp BF,XA,XB", needs="VSX", OPCD=60, XO=61, features=VSX, width=64)
def xstdivdp(s: Body, i: XX3Field) -> None:
    _tested(s, i.BF, [_divides(doubleword(s, i.XA), doubleword(s, i.XB), 64)])


@insn(XX2Field, "xstsqrtdp BF,XB", needs="VSX", OPCD=60, XO=106, features=VSX, width=64)
def xstsqrtdp(s: Body, i: XX2Field) -> None:
    _tested(s, i.BF, [_roots(upper(read(s, i.XB)), 64)])


for _letters, _divide, _root, _width in (("dp", 125, 234, 64), ("sp", 93, 170, 32)):

    @insn(
        XX3Field, f"xvtdiv{_letters} BF,XA,XB", name=f"xvtdiv{_letters}", needs="VSX", OPCD=60,
        XO=_divide, features=VSX, width=64,
    )  # fmt: skip
    def xvtdiv(s: Body, i: XX3Field, width: int = _width) -> None:
        pairs = zip(*(lanes_of(read(s, n), width) for n in (i.XA, i.XB)), strict=True)
        _tested(s, i.BF, [_divides(a, b, width) for a, b in pairs])

    @insn(
        XX2Field, f"xvtsqrt{_letters} BF,XB", name=f"xvtsqrt{_letters}", needs="VSX", OPCD=60,
        XO=_root, features=VSX, width=64,
    )  # fmt: skip
    def xvtsqrt(s: Body, i: XX2Field, width: int = _width) -> None:
        _tested(s, i.BF, [_roots(b, width) for b in lanes_of(read(s, i.XB), width)])
