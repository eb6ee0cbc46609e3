"""Every floating-point instruction, through its body, against exact rationals."""

import random

import pytest

from gossamer.isa.interrupts import Interrupt
from tests.isa import float_cases, float_reference
from tests.isa.float_cpu import FRT, MSR_FE0, MSR_FE1, UNTOUCHED, execute_float

COMPARES = ("fcmpu", "fcmpo")
ARITHMETIC = (
    *("fadd", "fadds", "fsub", "fsubs", "fmul", "fmuls", "fdiv", "fdivs"),
    *("fmadd", "fmadds", "fmsub", "fmsubs", "fnmadd", "fnmadds", "fnmsub", "fnmsubs"),
    *("frsp", "fctiw", "fctiwz", "fsel"),
)


def check(name: str, a: int, c: int, b: int, fpscr: int, fe: int, rc: int) -> None:
    want = float_reference.run(name, a, c, b, fpscr)
    cpu = execute_float(name, a, c, b, fpscr, rc=rc, fe=fe)
    case = f"{name} FRA={a:016x} FRC={c:016x} FRB={b:016x} FPSCR={fpscr:08x}"
    got = cpu.regs["fpr"][FRT], cpu.regs["fpscr"][0]
    expected = UNTOUCHED if want.frt is None else want.frt, want.fpscr
    assert got == expected, f"{case}: got {got[0]:016x} {got[1]:08x}, expected " + (
        f"{expected[0]:016x} {expected[1]:08x}"
    )
    taken = (Interrupt.PROGRAM, 1 << 20, cpu.cia) if want.trap and fe else None
    assert cpu.interrupt == taken, case
    fields = [15] * 8
    if want.cr is not None:
        fields[5] = want.cr
    elif rc:
        fields[1] = want.fpscr >> 28
    assert cpu.regs["crf"] == fields, case


def sweep(name: str, count: int, seed: str) -> None:
    rng = random.Random(f"{name} {seed}")
    for _ in range(count):
        a, c, b = float_cases.operands(rng)
        fpscr = float_reference.summary(float_cases.fpscr(rng))
        fe = rng.choice((0, MSR_FE0, MSR_FE1, MSR_FE0 | MSR_FE1))
        rc = rng.getrandbits(1) if name not in COMPARES else 0
        check(name, a, c, b, fpscr, fe, rc)


@pytest.mark.parametrize("name", [*ARITHMETIC, *COMPARES])
def test_instruction_on_random_and_edge_operands_is_exact(name: str) -> None:
    sweep(name, 400, "quick")


@pytest.mark.once
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [*ARITHMETIC, *COMPARES])
def test_instruction_on_many_operands_is_exact(name: str) -> None:
    sweep(name, 20_000, "slow")
