"""Native floating point against exact integers, and those against rationals (`verify float`)."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from gossamer.base.errors import ConfigError
from gossamer.verify.float import command as verify_float
from gossamer.verify.float.command import MODES, NAMES, Tally, check, verify, wanted
from gossamer.verify.float.exact import SINGLE, encode, rounded
from gossamer.verify.float.native import NativeFloat
from gossamer.verify.float.operands import Chance, operands
from tests.isa import float_reference
from tests.isa.test_float_arith import ARITHMETIC, COMPARES


@pytest.fixture(scope="module")
def engine() -> NativeFloat:
    return NativeFloat(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_native_code_is_exact_in_every_rounding_mode(engine: NativeFloat, name: str) -> None:
    assert [check(engine, name, mode, 500, 1) for mode in range(4)] == [Tally(500, 0)] * 4


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_native_code_is_exact_on_many_operands(engine: NativeFloat, name: str) -> None:
    assert [check(engine, name, mode, 50_000, 2) for mode in range(4)] == [Tally(50_000, 0)] * 4


@pytest.mark.parametrize("name", [*ARITHMETIC, *COMPARES])
def test_exact_integers_agree_with_rationals(name: str) -> None:
    rng = Chance(f"7 {name}")
    for mode in range(4):
        cases = operands(rng, 60, mode)
        got = wanted(name, cases)
        for k, (a, c, b, fpscr) in enumerate(zip(*(x.tolist() for x in cases), strict=True)):
            want = float_reference.run(name, a, c, b, fpscr)
            where = f"{name} {a:016x} {c:016x} {b:016x} {fpscr:08x}"
            frt = int(got.frt[k]) if got.written[k] else None
            assert (frt, int(got.fpscr[k])) == (want.frt, want.fpscr), where
            assert bool(got.traps[k]) == want.trap, where
            field = want.fpscr >> 28 if want.cr is None else want.cr
            assert int(got.field[k]) == field, where


def test_operands_have_every_kind_of_value() -> None:
    cases = operands(Chance("3"), 20_000, 2)
    assert set((cases.fpscr & 3).tolist()) == {2}
    for x in cases[:3]:
        biased = (x >> np.uint64(52) & np.uint64(0x7FF)).tolist()
        assert {0, 1, 0x36A, 0x381, 0x47E, 0x7FE, 0x7FF} <= set(biased)
        nans = (x << np.uint64(1)) > np.uint64(0xFFE << 52)
        assert 100 < nans.sum() < 4000
    assert ((cases.fpscr & 0xF8) != 0).mean() > 0.3
    cancelled = wanted("fmadd", cases)
    assert (cancelled.frt << np.uint64(1) == 0).sum() > 10


def test_rounding_once_is_exact() -> None:
    third = (1 << 200) // 3 * 2 + 1  # 1/3 and a little, as q × 2**-201
    value, events = rounded(third, -201, 0, SINGLE)
    assert float_reference.exact(value) == Fraction(0xAAAAAB, 1 << 25)
    assert events == float_reference.XX | float_reference.FI | float_reference.FR
    assert encode(1, -1074, False) == 1
    assert encode(3, 2000, True) == (2001 + 1023 & 0x7FF) << 52 | 1 << 51


def test_a_wrong_answer_is_counted_and_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bit of FRT, of FPSCR, the trap, the CR field: each alone is a mismatch."""
    right = verify_float.wanted
    for n, change in enumerate(
        (
            lambda x: x._replace(frt=x.frt ^ np.uint64(1)),
            lambda x: x._replace(fpscr=x.fpscr ^ np.uint32(1 << 18)),
            lambda x: x._replace(traps=~x.traps),
            lambda x: x._replace(field=x.field ^ np.uint32(1)),
            lambda x: x._replace(written=~x.written),
        )
    ):
        monkeypatch.setattr(
            verify_float, "wanted", lambda name, cases, f=change: f(right(name, cases))
        )
        assert verify(5, 1, ["fsel"]) == 1, n
    out, err = capsys.readouterr()
    assert out.count("operations=1 cases=20 mismatches=20\n") == 5
    assert err.startswith("fsel FRA ")
    assert "exactly FRT" in err


def test_the_command_counts_what_it_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(7, 1, ["fadd", "fcmpo"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    zeros = " ".join(f"{m}=0" for m in MODES)
    assert lines == [
        f"fadd     cases=28 mismatches: {zeros}",
        f"fcmpo    cases=28 mismatches: {zeros}",
    ]
    assert last == "operations=2 cases=56 mismatches=0"


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="--count 0 --jobs 1: expected at least 1"):
        verify(0, 1)
    with pytest.raises(ConfigError, match="--only fsqrt: expected one of fadd, fadds"):
        verify(1, 1, ["fsqrt"])


def test_cases_are_the_same_for_a_seed() -> None:
    one, two = (operands(Chance("1 2"), 50, 0) for _ in range(2))
    assert all((x == y).all() for x, y in zip(one, two, strict=True))
