"""Vector-scalar conversions and rounding to integral values.

What of a doubleword a converted word leaves undefined has the word again, as in QEMU.
Source: Power ISA 2.07 Book I 7.6.
"""

from __future__ import annotations

from collections.abc import Callable

from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, const, gtu, low, ltu, select, sext, trunc, zext
from gossamer.isa.fpscr import INFINITY, QUIET, VXSNAN, finish, flag, has, result_class
from gossamer.isa.insn import insn
from gossamer.isa.softfloat.arith import SINGLE
from gossamer.isa.softfloat.convert import float_round
from gossamer.isa.softfloat.wide import (
    AS_FPSCR,
    AWAY,
    NEVER_INEXACT,
    UNSIGNED,
    UNSIGNED_RESULT,
    WORD_RESULT,
    float_from_integer,
    float_to_integer,
    float_to_integral,
)
from gossamer.isa.spec.float_memory import narrow, widen
from gossamer.isa.spec.wide.vsx import VSX, VSX_2_07, doubleword, joined, read
from gossamer.isa.spec.wide.vsx_forms import XX2
from gossamer.isa.spec.wide.vsx_lanes import (
    doubles_of,
    finish_lanes,
    finish_scalar,
    joined_lanes,
    lanes_of,
    packed,
    value_of,
    write_where,
)

One = Callable[[Expr, Expr], Expr]


def pair(word: Expr) -> Expr:
    """A word in both halves of a doubleword."""
    return zext(word, 64) << 32 | zext(word, 64)


def row(
    name: str, xo: int, features: tuple[str, ...] = VSX
) -> Callable[[Callable[[Body, XX2], None]], None]:
    """Register XT from XB."""

    def register(body: Callable[[Body, XX2], None]) -> None:
        insn(
            XX2, f"{name} XT,XB", name=name, needs="VSX", OPCD=60, XO=xo, features=features,
            width=64,
        )(body)  # fmt: skip

    return register


# --- integral values ------------------------------------------------------------------------------

for _end, _mode, _scalar, _double, _single in (
    ("i", AWAY | NEVER_INEXACT, 73, 201, 137),
    ("iz", 1 | NEVER_INEXACT, 89, 217, 153),
    ("ip", 2 | NEVER_INEXACT, 105, 233, 169),
    ("im", 3 | NEVER_INEXACT, 121, 249, 185),
    ("ic", AS_FPSCR, 107, 235, 171),
):

    @row(f"xsrdp{_end}", _scalar)
    def _rounds(s: Body, i: XX2, mode: int = _mode) -> None:
        finish_scalar(s, i.XT, float_to_integral(doubleword(s, i.XB), s.fpscr, const(mode, 8)))

    for _letters, _xo, _width in (("dp", _double, 64), ("sp", _single, 32)):

        @row(f"xvr{_letters}{_end}", _xo)
        def _round_lanes(s: Body, i: XX2, mode: int = _mode, width: int = _width) -> None:
            lanes = doubles_of(read(s, i.XB), width)
            results = [float_to_integral(x, s.fpscr, const(mode, 8)) for x in lanes]
            finish_lanes(s, i.XT, results, packed(results, width))


# --- singles and doubles --------------------------------------------------------------------------


def from_single(word: Expr, fpscr: Expr) -> Expr:
    """A single as a double: only a signaling NaN does anything."""
    wide = widen(word)
    nan = gtu(wide & (1 << 63) - 1, INFINITY)
    signaling = nan & ~has(wide, QUIET)
    value = select(nan, wide | QUIET, wide)
    return finish(fpscr, value, flag(signaling, VXSNAN), const(0, 32), result_class(value))


@row("xscvdpsp", 265)
def xscvdpsp(s: Body, i: XX2) -> None:
    result = float_round(doubleword(s, i.XB), s.fpscr)
    finish_scalar(s, i.XT, result, pair(narrow(value_of(result))))


@row("xsrsp", 281, VSX_2_07)
def xsrsp(s: Body, i: XX2) -> None:
    finish_scalar(s, i.XT, float_round(doubleword(s, i.XB), s.fpscr))


@row("xscvspdp", 329)
def xscvspdp(s: Body, i: XX2) -> None:
    finish_scalar(s, i.XT, from_single(trunc(doubleword(s, i.XB) >> 32, 32), s.fpscr))


@row("xscvdpspn", 267, VSX_2_07)
def xscvdpspn(s: Body, i: XX2) -> None:
    """By bits: what is too small loses its low ones."""
    double = doubleword(s, i.XB)
    tiny = ltu(double >> 52 & 0x7FF, 874)
    sign = trunc(double >> 32, 32) & 0x8000_0000
    value = pair(select(tiny, sign, narrow(double)))
    write_where(s, i.XT, joined(value, const(0, 64)), const(1, 1))


@row("xscvspdpn", 331, VSX_2_07)
def xscvspdpn(s: Body, i: XX2) -> None:
    value = widen(trunc(doubleword(s, i.XB) >> 32, 32))
    write_where(s, i.XT, joined(value, const(0, 64)), const(1, 1))


@row("xvcvdpsp", 393)
def xvcvdpsp(s: Body, i: XX2) -> None:
    results = [float_round(x, s.fpscr) for x in lanes_of(read(s, i.XB), 64)]
    finish_lanes(s, i.XT, results, joined_lanes([pair(narrow(value_of(r))) for r in results]))


@row("xvcvspdp", 457)
def xvcvspdp(s: Body, i: XX2) -> None:
    words = lanes_of(read(s, i.XB), 32)[::2]
    results = [from_single(x, s.fpscr) for x in words]
    finish_lanes(s, i.XT, results, packed(results, 64))


# --- to integers ----------------------------------------------------------------------------------

for _sign, _unsigned, _more in (("s", 0, 16), ("u", UNSIGNED_RESULT, 0)):
    for _letters, _word in (("ds", 0), ("ws", WORD_RESULT)):
        _options = 1 | _unsigned | _word

        @row(f"xscvdp{_sign}x{_letters}", (72 if _word else 328) + _more)
        def _integer(s: Body, i: XX2, options: int = _options) -> None:
            result = float_to_integer(doubleword(s, i.XB), s.fpscr, const(options, 8))
            value = value_of(result)
            finish_scalar(s, i.XT, result, pair(low(value)) if options & WORD_RESULT else value)

        for _from, _xo in (("dp", 200 if _word else 456), ("sp", 136 if _word else 392)):

            @row(f"xvcv{_from}{_sign}x{_letters}", _xo + _more)
            def _integers(
                s: Body, i: XX2, options: int = _options, double: bool = _from == "dp"
            ) -> None:
                lanes = doubles_of(read(s, i.XB), 64 if double else 32)
                word = bool(options & WORD_RESULT)
                if not double and not word:
                    lanes = lanes[::2]
                results = [float_to_integer(x, s.fpscr, const(options, 8)) for x in lanes]
                values = [value_of(r) for r in results]
                if word:
                    values = [pair(low(v)) if double else low(v) for v in values]
                finish_lanes(s, i.XT, results, joined_lanes(values))


# --- from integers --------------------------------------------------------------------------------

for _sign, _unsigned, _more in (("s", 0, 16), ("u", UNSIGNED, 0)):
    for _letters, _xo, _single, _since in (
        ("dp", 360, 0, VSX),
        ("sp", 296, SINGLE, VSX_2_07),
    ):

        @row(f"xscv{_sign}xd{_letters}", _xo + _more, _since)
        def _number(s: Body, i: XX2, options: int = _unsigned | _single) -> None:
            finish_scalar(
                s, i.XT, float_from_integer(doubleword(s, i.XB), s.fpscr, const(options, 8))
            )

    for _letters, _xo, _size in (("d", 488, 64), ("w", 232, 32)):
        for _to, _less, _single in (("dp", 0, 0), ("sp", 64, SINGLE)):

            @row(f"xvcv{_sign}x{_letters}{_to}", _xo - _less + _more)
            def _numbers(
                s: Body, i: XX2, options: int = _unsigned | _single, size: int = _size
            ) -> None:
                single, unsigned = bool(options & SINGLE), bool(options & UNSIGNED)
                lanes = lanes_of(read(s, i.XB), size)
                if size == 32:
                    lanes = lanes if single else lanes[::2]
                    lanes = [zext(x, 64) if unsigned else sext(x, 64) for x in lanes]
                results = [float_from_integer(x, s.fpscr, const(options, 8)) for x in lanes]
                values = [value_of(r) for r in results]
                if single:
                    values = [narrow(v) if size == 32 else pair(narrow(v)) for v in values]
                finish_lanes(s, i.XT, results, joined_lanes(values))
