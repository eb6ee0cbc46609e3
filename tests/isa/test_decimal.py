"""Decimal arithmetic: published encodings, Python's `decimal` as a judge, FPSCR by the book."""

from __future__ import annotations

import decimal
import random

import pytest

from gossamer.isa import fpscr
from gossamer.isa.decimal import rounding
from gossamer.isa.decimal.formats import (
    DECLETS,
    EXTENDED,
    LONG,
    SHORT,
    Decimal,
    Format,
    Kind,
    decode,
    encode,
)
from gossamer.isa.decimal.table import FIELD_AT, FPSCR_AT, OPERATIONS, TRAPS_AT, WRITES_AT, operate

ROUNDINGS = (
    *(decimal.ROUND_HALF_EVEN, decimal.ROUND_DOWN, decimal.ROUND_CEILING, decimal.ROUND_FLOOR),
    *(decimal.ROUND_HALF_UP, decimal.ROUND_HALF_DOWN, decimal.ROUND_UP, decimal.ROUND_05UP),
)
FLAGS = {
    decimal.Overflow: fpscr.OX,
    decimal.Underflow: fpscr.UX,
    decimal.Inexact: fpscr.XX,
    decimal.DivisionByZero: fpscr.ZX,
}
NUMBERS = {name: n for n, name in enumerate(OPERATIONS)}
BITS = (1 << 128) - 1
NAN = 0x7C << 56


def run(name: str, a: int, b: int, status: int = 0, imm: int = 0, extended: bool = False):
    """(target, FPSCR, field, writes, traps) of an operation."""
    code = NUMBERS[name] << 1 | extended | imm << 8
    r = operate(code, status, a, b)
    flags = r >> WRITES_AT & 1, r >> TRAPS_AT & 1
    return r & BITS, r >> FPSCR_AT & 0xFFFF_FFFF, r >> FIELD_AT & 15, *flags


def long(text: str) -> int:
    """A number of Python's as the bits of a long one."""
    sign, digits, exponent = decimal.Decimal(text).as_tuple()
    assert isinstance(exponent, int)
    return encode(Decimal(bool(sign), int("".join(map(str, digits))), exponent), LONG)


@pytest.mark.parametrize(
    ("f", "raw"),
    [(SHORT, 0xA230_03D0), (LONG, 0xA230_0000_0000_03D0), (EXTENDED, 0xA207_8000 << 96 | 0x3D0)],
)
def test_published_encodings_of_minus_7_50(f: Format, raw: int) -> None:
    """Cowlishaw, "Decimal arithmetic encodings", 1.1 to 1.3."""
    assert decode(raw, f) == Decimal(True, 750, -2)
    assert encode(Decimal(True, 750, -2), f) == raw


def test_published_declets() -> None:
    """Cowlishaw, "Densely packed decimal encoding": 005, 009, 055, 079, 080, 099, 555, 999."""
    values = (5, 9, 55, 79, 80, 99, 555, 999)
    wanted = (0x005, 0x009, 0x055, 0x079, 0x00A, 0x05F, 0x2D5, 0x0FF)
    assert tuple(DECLETS[v] for v in values) == wanted
    assert len(set(DECLETS)) == 1000


def some_number(rng: random.Random, f: Format, near: int = 0) -> Decimal:
    count = rng.choice((0, 1, f.precision, rng.randrange(1, f.precision + 1)))
    significand = rng.choice((rng.randrange(10**count), 10**count - 1, 5 * 10 ** max(count - 1, 0)))
    exponent = rng.choice((f.smallest, f.largest, near + rng.randrange(-40, 41), near))
    exponent = min(max(exponent, f.smallest), f.largest)
    return Decimal(bool(rng.getrandbits(1)), significand, exponent)


def python(d: Decimal) -> decimal.Decimal:
    return decimal.Decimal((int(d.negative), tuple(map(int, str(d.significand))), d.exponent))


def context(f: Format, mode: int) -> decimal.Context:
    return decimal.Context(
        f.precision, ROUNDINGS[mode], f.least_normal, f.largest + f.precision - 1, clamp=1, traps=[]
    )


def same(d: Decimal, wanted: decimal.Decimal) -> bool:
    if wanted.is_nan() or wanted.is_infinite():
        return d.nan if wanted.is_nan() else d.infinite and d.negative == wanted.is_signed()
    return not d.special and python(d).as_tuple() == wanted.as_tuple()


def judge(rng: random.Random, f: Format) -> int:
    """Operations on one pair of numbers; how many differ from Python's."""
    a = some_number(rng, f)
    b = some_number(rng, f, a.exponent)
    mode, wrong = rng.randrange(8), 0
    for name, does in (("dadd", "add"), ("dsub", "subtract"), ("dmul", "multiply"),
                       ("ddiv", "divide"), ("dqua", "quantize")):  # fmt: skip
        c = context(f, mode)
        x, y = (a, b) if name != "dqua" else (b, a)  # FRA has the exponent
        wanted = getattr(c, does)(python(x), python(y))
        imm = 3 if name == "dqua" else 0
        raw = [encode(d, f) for d in (a, b)]
        value, status, *_ = run(name, *raw, mode << 32, imm, f is EXTENDED)
        wrong += not same(decode(value, f), wanted)
        if name != "dqua" and not wanted.is_nan():
            flags = sum(bit for flag, bit in FLAGS.items() if c.flags[flag])
            wrong += status & sum(FLAGS.values()) != flags
    c = context(f, mode)
    value, status, *_ = run("drintx", 0, encode(a, f), mode << 32, 3, f is EXTENDED)
    wrong += not same(decode(value, f), c.to_integral_exact(python(a)))
    wrong += bool(status & fpscr.XX) != c.flags[decimal.Inexact]
    if f is LONG:
        c = context(SHORT, mode)
        value, status, *_ = run("drsp", 0, encode(a, f), mode << 32)
        wrong += not same(decode(value, SHORT), c.create_decimal(python(a)))
        wrong += status & fpscr.OX and not c.flags[decimal.Overflow]
    return wrong


@pytest.mark.parametrize("f", [LONG, EXTENDED])
def test_python_computes_the_same(f: Format) -> None:
    rng = random.Random(f.bits)
    assert sum(judge(rng, f) for _ in range(400)) == 0


def test_the_judge_finds_a_wrong_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    right = rounding.increments

    def wrong(mode: rounding.Mode, negative: bool, kept: int, rest: int, unit: int) -> bool:
        mode = rounding.Mode.HALF_UP if mode is rounding.Mode.HALF_DOWN else mode
        return right(mode, negative, kept, rest, unit)

    monkeypatch.setattr(rounding, "increments", wrong)
    rng = random.Random(64)
    assert sum(judge(rng, LONG) for _ in range(400)) > 0


INF = encode(Decimal(False, 0, 0, Kind.INFINITE), LONG)
SNAN = encode(Decimal(True, 12, 0, Kind.SIGNALING), LONG)


@pytest.mark.parametrize(
    ("name", "a", "b", "bit"),
    [
        ("dadd", INF, INF | 1 << 63, fpscr.VXISI),
        ("dsub", INF, INF, fpscr.VXISI),
        ("dmul", INF, long("-0"), fpscr.VXIMZ),
        ("ddiv", INF, INF, fpscr.VXIDI),
        ("ddiv", long("0E5"), long("0"), fpscr.VXZDZ),
        ("dqua", long("1E-20"), long("1"), fpscr.VXCVI),
        ("denbcd", 0, 0xA, fpscr.VXCVI),
    ],
)
def test_an_invalid_operation_is_a_nan_or_traps(name: str, a: int, b: int, bit: int) -> None:
    value, status, _, writes, traps = run(name, a, b)
    assert (value, writes, traps) == (NAN, 1, 0)
    assert status == bit | fpscr.FX | fpscr.VX | 0x11 << fpscr.FPRF_SHIFT
    before = fpscr.VE | 0x4 << fpscr.FPRF_SHIFT | fpscr.FI
    _, status, _, writes, traps = run(name, a, b, before)
    assert (writes, traps) == (0, 1)
    raised = bit | fpscr.FX | fpscr.VX | fpscr.FEX
    assert status == before & ~fpscr.FI | raised  # FPRF stays


def test_a_signaling_nan_is_quieted_with_its_digits() -> None:
    value, status, *_ = run("dadd", long("1"), SNAN)
    assert decode(value, LONG) == Decimal(True, 12, 0, Kind.QUIET)
    assert status & fpscr.VXSNAN
    value, status, *_ = run("drsp", 0, SNAN)
    assert decode(value, SHORT) == Decimal(True, 12, 0, Kind.SIGNALING)
    assert status == 1 << fpscr.FPRF_SHIFT


def test_enabled_overflow_and_underflow_move_the_exponent() -> None:
    big, small = long("9E369"), long("1E-398")
    value, status, _, writes, traps = run("dmul", big, big, fpscr.OE)
    assert (decode(value, LONG), writes, traps) == (Decimal(False, 81, 738 - 576), 1, 1)
    assert status & (fpscr.OX | fpscr.XX) == fpscr.OX
    value, status, _, writes, traps = run("dmul", small, small, fpscr.UE)
    assert (decode(value, LONG), writes, traps) == (Decimal(False, 1, -796 + 576), 1, 1)
    assert status & (fpscr.UX | fpscr.XX) == fpscr.UX
    assert run("dadd", small, long("0"), fpscr.UE)[1] & fpscr.UX  # exact, but tiny


def test_comparisons_and_tests_give_a_field() -> None:
    assert run("dcmpu", long("1.0"), long("1.000"))[2] == 2
    assert run("dcmpu", long("-2E9"), long("-1E9"))[2] == 8
    field, status = run("dcmpo", long("1"), SNAN)[2], run("dcmpo", long("1"), SNAN)[1]
    assert (field, status & fpscr.INVALID) == (1, fpscr.VXSNAN | fpscr.VXVC)
    assert run("dcmpo", long("1"), SNAN, fpscr.VE)[1] & fpscr.VXVC == 0
    assert run("dtstsf", 3, long("-100"))[2] == 2
    assert run("dtstdc", long("-1E-398"), 0, imm=0x10)[2] == 10
    assert run("dtstex", INF, SNAN)[2] == 1


def test_integers_and_bcd() -> None:
    least = 1 << 63
    assert run("dctfix", 0, long("-1E19"))[:2] == (least, fpscr.FX | fpscr.VX | fpscr.VXCVI)
    assert run("dctfix", 0, long("0E369"))[0] == 0
    value, status, *_ = run("dctfix", 0, long("-2.5"), 6 << 32)
    assert (value, status) == (BITS >> 64 & -3, fpscr.FX | fpscr.XX | fpscr.FI | fpscr.FR)
    assert run("dcffix", 0, BITS >> 64)[0] == long("-1")
    assert run("ddedpd", 0, long("-12.3"), imm=2)[0] == 0x123D
    assert run("ddedpd", 0, long("9" * 16), imm=3)[0] == 0x9999_9999_9999_999F
    assert run("denbcd", 0, 0x123D, imm=1)[0] == long("-123")


def test_exponents_and_shifts() -> None:
    assert run("dxex", 0, long("5E-398"))[0] == 0
    assert run("dxex", 0, SNAN)[0] == (1 << 64) - 3
    assert run("diex", 398, long("-5E7"))[0] == long("-5")
    assert run("diex", (1 << 64) - 1, long("1"))[0] == INF | 1
    assert run("dscli", long("1234567890123456"), 0, imm=3)[0] == long("4567890123456000")
    assert run("dscri", long("-12"), 0, imm=1)[0] == long("-1")
