"""What every floating-point instruction shares: CR1, traps, FP unavailable, what does not exist."""

import pytest

from gossamer.isa.insn import Decoder
from gossamer.isa.interrupts import Interrupt
from gossamer.isa.service import SERVICES, Service
from tests.isa.float_cpu import (
    FRT,
    MSR_FE0,
    MSR_FE1,
    MSR_FP,
    ROWS,
    UNTOUCHED,
    Cpu,
    execute_float,
    trace,
)
from tests.isa.float_reference import (
    FEX,
    FI,
    FX,
    NI,
    OE,
    OX,
    UE,
    UX,
    VE,
    VX,
    VXSNAN,
    XE,
    XX,
    ZE,
    ZX,
)

ONE, TWO, THREE = 0x3FF << 52, 0x400 << 52, 0x4008 << 48
INF, TINY, HUGE = 0x7FF << 52, 1 << 52, 0x7FE << 52
PROGRAM_FP = (Interrupt.PROGRAM, 1 << 20, Cpu.cia)


@pytest.mark.parametrize("fe", [MSR_FE0, MSR_FE1, MSR_FE0 | MSR_FE1])
def test_enabled_zero_divide_sets_fpscr_then_traps_and_leaves_frt(fe: int) -> None:
    cpu = execute_float("fdiv", ONE, 0, 0, ZE, rc=1, fe=fe)
    assert cpu.interrupt == PROGRAM_FP
    assert cpu.regs["fpr"][FRT] == UNTOUCHED
    assert cpu.regs["fpscr"][0] == FX | FEX | ZX | ZE
    assert cpu.regs["crf"][1] == 0b1100


def test_enabled_exception_without_fe_bits_does_not_trap() -> None:
    cpu = execute_float("fdiv", ONE, 0, 0, ZE, fe=0)
    assert cpu.interrupt is None
    assert cpu.regs["fpr"][FRT] == UNTOUCHED


def test_enabled_inexact_writes_the_result_and_traps() -> None:
    cpu = execute_float("fdiv", ONE, 0, THREE, XE)
    assert cpu.interrupt == PROGRAM_FP
    assert cpu.regs["fpr"][FRT] == 0x3FD5_5555_5555_5555
    assert cpu.regs["fpscr"][0] & (FX | FEX | XX) == FX | FEX | XX


def test_old_exception_bit_alone_does_not_trap_again() -> None:
    cpu = execute_float("fadd", ONE, 0, ONE, FX | FEX | XX | XE)
    assert cpu.interrupt is None
    assert cpu.regs["fpr"][FRT] == TWO


@pytest.mark.parametrize(
    ("name", "a", "b", "enable", "result"),
    [
        ("fadd", HUGE, HUGE, OE, 0x7FF - 1536),  # 2**1024
        ("fdiv", TINY, TWO, UE, 0 + 1536),  # 2**-1023
        ("fadds", 0x47E << 52, 0x47E << 52, OE, 0x47F - 192),  # 2**128
        ("fdivs", 0x381 << 52, TWO, UE, 0x380 + 192),  # 2**-127
    ],
)
def test_enabled_over_and_underflow_adjust_the_exponent(
    name: str, a: int, b: int, enable: int, result: int
) -> None:
    cpu = execute_float(name, a, 0, b, enable)
    assert cpu.regs["fpr"][FRT] == result << 52
    assert cpu.interrupt == PROGRAM_FP
    exception = OX if enable == OE else 1 << 27
    assert cpu.regs["fpscr"][0] == FX | FEX | exception | 4 << 12 | enable


def test_exact_denormal_result_is_no_underflow_when_disabled() -> None:
    cpu = execute_float("fdiv", TINY, 0, TWO, 0)
    assert cpu.regs["fpr"][FRT] == 1 << 51
    assert cpu.regs["fpscr"][0] == 0x14 << 12


@pytest.mark.parametrize("name", ["fdiv", "fdivs"])
def test_zero_divided_by_infinity_is_exact(name: str) -> None:
    """The host's residual is a NaN here."""
    cpu = execute_float(name, 1 << 63, 0, INF, 0)
    assert cpu.regs["fpr"][FRT] == 1 << 63
    assert cpu.regs["fpscr"][0] == 0x12 << 12


def test_single_sum_just_beside_a_tie_rounds_once() -> None:
    """1 + 2**-24 is a tie in single; 2**-60 more decides it, and is lost in a double sum."""
    for low, last in ((0x3C3 << 52, 1), (0xBC3 << 52, 0)):
        cpu = execute_float("fmadds", ONE, 0x3FF0_0000_1000_0000, low, 0)
        assert cpu.regs["fpr"][FRT] == ONE | last << 29
        assert cpu.regs["fpscr"][0] & 0x0006_0000 == (0x0006_0000 if last else 0x0002_0000)


def test_exact_denormal_sum_is_classed_flushed_or_trapped() -> None:
    """A tiny sum is exact, but the host's result alone is not the answer."""
    for fpscr, frt, after in (
        (0, 3, 0x14 << 12),
        (NI, 0, FX | XX | UX | FI | 2 << 12 | NI),
        (UE, (1536 - 1073 + 1023) << 52 | 1 << 51, FX | FEX | UX | 4 << 12 | UE),
    ):
        cpu = execute_float("fadd", 1, 0, 2, fpscr, fe=0)
        assert (cpu.regs["fpr"][FRT], cpu.regs["fpscr"][0]) == (frt, after)


def test_compare_with_enabled_invalid_still_sets_the_codes_and_traps() -> None:
    cpu = execute_float("fcmpu", INF | 1, 0, ONE, VE)
    assert cpu.interrupt == PROGRAM_FP
    assert cpu.regs["crf"][5] == 1
    assert cpu.regs["fpscr"][0] == FX | FEX | VX | VXSNAN | 1 << 12 | VE


@pytest.mark.parametrize("name", ["fadd", "fcmpu", "fctiwz", "fsel", "fres", "frsqrte", "frsp"])
def test_without_msr_fp_nothing_happens_but_fp_unavailable(name: str) -> None:
    cpu = execute_float(name, ONE, ONE, 0, 0x1234, fe=0)
    assert cpu.interrupt is None
    cpu = Cpu()
    cpu.regs["msr"][0] &= ~MSR_FP
    before = {k: list(v) for k, v in cpu.regs.items()}
    from gossamer.isa.evaluate import execute

    execute(trace(name, 0), cpu)
    assert cpu.interrupt == (Interrupt.FP_UNAVAILABLE, 0, Cpu.cia)
    assert cpu.regs == before


@pytest.mark.parametrize("word", [0xFC20_182C, 0xEC20_182C])
def test_square_roots_do_not_exist_on_the_750(word: int) -> None:
    assert Decoder(()).decode(word) is None


def test_plain_arithmetic_never_leaves_the_host_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speed, not meaning: ordinary operands must not need the exact services."""

    def refuse(self: Service, values: list[int]) -> int:
        raise AssertionError(f"{self.name} was called")

    monkeypatch.setattr(Service, "evaluate", refuse)
    for name, row in ROWS.items():
        if row.needs == "FP" and name[:4] in ("fadd", "fsub", "fmul", "fdiv", "fmad", "fmsu"):
            execute_float(name, THREE, TWO, 0x4014 << 48, 0)
            execute_float(name, 0, TWO, THREE, 0)
    execute_float("frsp", 0, 0, 0x3FB9_9999_9999_999A, 0)
    execute_float("fctiwz", 0, 0, 0x400C << 48, 0)
    with pytest.raises(AssertionError, match="float_fma was called"):
        execute_float("fadd", INF, 0, ONE, 0)


def test_services_are_registered_once_and_check_their_widths() -> None:
    assert set(SERVICES) >= {
        "float_fma",
        "float_divide",
        "float_round",
        "float_to_word",
        "float_reciprocal",
        "float_reciprocal_root",
    }
    with pytest.raises(AssertionError, match=r"float_round.*expected"):
        SERVICES["float_round"](*SERVICES["float_fma"].result.args[:1])
