"""The values of the host operations against NumPy and rationals."""

import random
from fractions import Fraction

import numpy as np
import pytest

from gossamer.isa import hostfloat
from tests.isa import float_cases
from tests.isa.float_reference import State, exact, is_infinite, is_nan, is_zero, round_result


def same(a: int, b: int) -> bool:
    return a == b or (is_nan(a) and is_nan(b))


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide"])
def test_operation_equals_numpy(name: str) -> None:
    rng = random.Random(name)
    cases = [float_cases.operands(rng)[::2] for _ in range(3000)]
    a, b = (np.array(x, np.uint64).view(np.float64) for x in zip(*cases, strict=True))
    with np.errstate(all="ignore"):
        want = getattr(np, name)(a, b).view(np.uint64)
    function = getattr(hostfloat, name)
    for (x, y), w in zip(cases, want.tolist(), strict=True):
        assert same(function(x, y), w), f"{x:016x} {y:016x}"


def test_narrow_widen_and_to_word_equal_numpy() -> None:
    rng = random.Random(3)
    cases = [float_cases.operands(rng)[0] for _ in range(3000)]
    cases += [float_cases.double(rng, 1023 + rng.randint(-2, 30)) for _ in range(1000)]
    a = np.array(cases, np.uint64).view(np.float64)
    with np.errstate(all="ignore"):
        single = a.astype(np.float32)
        back = single.astype(np.float64).view(np.uint64).tolist()
    for x, s, w in zip(cases, single.view(np.uint32).tolist(), back, strict=True):
        if not is_nan(x):
            assert (hostfloat.narrow(x), hostfloat.widen(s)) == (s, w), f"{x:016x}"
    for x, v in zip(cases, a.tolist(), strict=True):
        want = int(v) if abs(v) < 2**31 else -(2**31)
        assert hostfloat.to_word(x) == want, f"{x:016x}"


def test_fused_rounds_once() -> None:
    rng = random.Random(4)
    for _ in range(3000):
        a, c, b = float_cases.operands(rng)
        got = hostfloat.fused(a, c, b)
        if any(map(is_nan, (a, b, c))):
            assert is_nan(got)
        elif not any(map(is_infinite, (a, b, c))):
            value: Fraction = exact(a) * exact(c) + exact(b)
            if value:
                assert got == round_result(value, False, State(0)), f"{a:016x} {c:016x} {b:016x}"
            else:
                assert is_zero(got)


@pytest.mark.parametrize(
    ("a", "b", "c", "want"),
    [
        (0x3FF << 52, 0, 1 << 63, 0),
        (0xBFF << 52, 0, 1 << 63, 1 << 63),
        (0x3FF << 52, 0x3FF << 52, 0xBFF << 52, 0),
        (0x7FF << 52, 0x3FF << 52, 0, 0x7FF << 52),
        (0x3FF << 52, 0x3FF << 52, 0xFFF << 52, 0xFFF << 52),
        (0x7FE << 52, 0xC00 << 52, 0, 0xFFF << 52),
    ],
)
def test_fused_signs_and_infinities(a: int, b: int, c: int, want: int) -> None:
    assert hostfloat.fused(a, b, c) == want
