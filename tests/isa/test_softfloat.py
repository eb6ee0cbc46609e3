"""The parts of the exact arithmetic: taking apart, shifting, rounding; services end to end.

With constant operands the expressions fold, so their values can be looked at directly.
"""

import random
from fractions import Fraction

import pytest

from gossamer.isa.expr import Expr, choose, const, eq, udiv
from gossamer.isa.fpscr import finish, summarize
from gossamer.isa.service import SERVICES, Service, service
from gossamer.isa.softfloat.arith import NEGATE, NO_ADDEND, SINGLE, SUBTRACT
from gossamer.isa.softfloat.rounding import (
    parts,
    round_and_pack,
    rounds_up,
    small_single,
    sticky_shift,
)
from tests.isa import float_cases, float_reference
from tests.isa.float_reference import FEX, FX, NI, OX, VX, VXSNAN, XX, State

ONE, TWO = 0x3FF << 52, 0x400 << 52


def number(x: Expr) -> int:
    return x.value


def test_parts_give_the_value_back() -> None:
    rng = random.Random(1)
    for bits in [*float_cases.EDGES, *(float_cases.double(rng) for _ in range(500))]:
        p = parts(const(bits, 64))
        assert number(p.nan) == float_reference.is_nan(bits)
        assert number(p.signaling) == float_reference.is_signaling(bits)
        assert number(p.infinite) == float_reference.is_infinite(bits)
        assert number(p.zero) == float_reference.is_zero(bits)
        assert number(p.negative) == bits >> 63
        if not (p.nan.value or p.infinite.value or p.zero.value):
            exponent = p.exponent.value - (p.exponent.value >> 15 << 16)
            value = Fraction(p.significand.value, 1 << 63) * Fraction(2) ** exponent
            assert p.significand.value >> 63 == 1
            assert value == abs(float_reference.exact(bits)), f"{bits:016x}"


@pytest.mark.parametrize(
    ("x", "n", "want"),
    [(0b1000, 3, 1), (0b1001, 3, 1), (0b1100, 3, 1), (0b10000, 3, 2), (0b10001, 3, 3), (9, 0, 9)],
)
def test_sticky_shift_keeps_what_is_lost_in_the_last_bit(x: int, n: int, want: int) -> None:
    assert number(sticky_shift(const(x, 64), const(n, 16))) == want


@pytest.mark.parametrize("mode", range(4))
@pytest.mark.parametrize("negative", [0, 1])
def test_rounds_up_in_every_mode(mode: int, negative: int) -> None:
    for odd in (0, 1):
        for rest in range(8):
            up = rounds_up(
                const(mode, 2), const(negative, 1), const(odd, 1), const(rest, 8), const(4, 8)
            )
            x = Fraction((odd + 2) * 8 + rest, 8) * (-1 if negative else 1)
            rounded = float_reference.to_multiple(x, Fraction(1), mode)
            assert number(up) == (abs(rounded) > abs(x)), (odd, rest)


@pytest.mark.parametrize("single", [0, 1])
def test_round_and_pack_against_rationals(single: int) -> None:
    """Exponents around the ends of the ranges, significands around ties."""
    rng = random.Random(single)
    ends = (-149, -126, 127) if single else (-1074, -1022, 1023)
    for _ in range(1500):
        exponent = rng.choice(ends) + rng.randint(-3, 3)
        significand = 1 << 63 | float_cases.fraction(rng, 63)
        negative = rng.getrandbits(1)
        fpscr = rng.getrandbits(8)
        got = round_and_pack(
            const(negative, 1),
            const(exponent, 16),
            const(significand, 64),
            const(single, 1),
            const(fpscr, 32),
        )
        st = State(fpscr)
        x = Fraction(significand, 1 << 63) * Fraction(2) ** exponent * (-1 if negative else 1)
        value = float_reference.round_result(x, bool(single), st)
        want = value, st.events, st.rounding
        assert (number(got.value), number(got.events), number(got.rounding)) == want, (
            f"{negative} {exponent} {significand:016x} {fpscr:02x}"
        )
        fprf = float_reference.classify(value, bool(single), st)
        assert number(got.fprf) == fprf << 12


def test_small_single_is_a_multiple_of_the_smallest_single() -> None:
    for kept in (0, 1, 2, 3, 0x40_0001, 0x7F_FFFF, 0x80_0000):
        bits = number(small_single(const(kept, 64)))
        assert float_reference.exact(bits) == kept * Fraction(2) ** -149


@pytest.mark.parametrize(
    ("options", "value", "fpscr"),
    [
        (0, 0x401C << 48, 4 << 12),  # 2 × 3 + 1
        (SUBTRACT, 0x4014 << 48, 4 << 12),
        (NEGATE, 0xC01C << 48, 8 << 12),
        (NEGATE | SUBTRACT, 0xC014 << 48, 8 << 12),
        (SINGLE, 0x401C << 48, 4 << 12),
    ],
)
def test_float_fma_options(options: int, value: int, fpscr: int) -> None:
    got = SERVICES["float_fma"].evaluate([TWO, 0x4008 << 48, ONE, 0, options])
    assert got == 1 << 96 | fpscr << 64 | value


def test_float_fma_without_addend_keeps_the_sign_of_a_zero_product() -> None:
    """In every mode, towards -infinity too, where +0 + -0 is -0."""
    for mode in range(4):
        for sign in (0, 1):
            operands = [sign << 63, ONE, 0, mode, NO_ADDEND]
            got = SERVICES["float_fma"].evaluate(operands)
            assert got & (1 << 64) - 1 == sign << 63, (mode, sign)


def test_exact_zero_sum_is_negative_only_towards_minus_infinity() -> None:
    for mode in range(4):
        got = SERVICES["float_fma"].evaluate([ONE, ONE, ONE | 1 << 63, mode, 0])
        assert got & (1 << 64) - 1 == (mode == 3) << 63, mode


def test_tiny_result_in_non_ieee_mode_is_zero_though_exact() -> None:
    got = SERVICES["float_divide"].evaluate([1 << 52 | 1 << 63, TWO, NI, 0])
    assert got & (1 << 64) - 1 == 1 << 63


def test_summarize_makes_vx_and_fex() -> None:
    assert number(summarize(const(VXSNAN, 32))) == VXSNAN | VX
    assert number(summarize(const(VX | FEX, 32))) == 0
    assert number(summarize(const(XX | 8, 32))) == XX | FEX | 8
    assert number(summarize(const(OX | 8, 32))) == OX | 8


def test_finish_sets_fx_only_on_a_transition() -> None:
    for before, want in ((0, FX | XX), (XX, XX)):
        got = finish(const(before, 32), const(0, 64), const(XX, 32), const(0, 32))
        assert number(got) >> 64 & 0xFFFF_FFFF == want


def test_a_service_name_is_taken_once_and_its_width_is_checked() -> None:
    def float_fma(x: Expr) -> Expr:
        return x

    with pytest.raises(AssertionError, match="service float_fma is registered twice"):
        service(8, result=8)(float_fma)
    with pytest.raises(AssertionError, match="wrong: 8 bits, expected 16"):
        Service("wrong", (8,), 16, float_fma).evaluate([1])


def test_a_service_may_call_another_and_choose_is_lazy() -> None:
    def inner(x: Expr) -> Expr:
        return x + 1

    def outer(x: Expr, y: Expr) -> Expr:
        zero = eq(y, 0)
        return choose(zero, SERVICES["test_inner"](x), udiv(x, y))

    SERVICES["test_inner"] = Service("test_inner", (8,), 8, inner)
    try:
        s = Service("test_outer", (8, 8), 8, outer)
        assert s.evaluate([9, 0]) == 10  # dividing would have raised
        assert s.evaluate([9, 3]) == 3
    finally:
        del SERVICES["test_inner"]
