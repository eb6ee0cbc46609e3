"""Floating point against expectations that were validated on a real chip of the 750 family.

The file's head says whose they are.  FR is not part of them, nor is what the books leave undefined
and gossamer does otherwise (docs/isa.md): an FRC of single arithmetic that is no single.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from gossamer.verify.float.command import NAMES
from gossamer.verify.float.native import NativeFloat
from gossamer.verify.float.operands import Operands
from tests.isa.float_cpu import FRT, UNTOUCHED, execute_float
from tests.isa.mini_cpu import FP, MiniCpu

VECTORS = Path(__file__).parents[1] / "vectors" / "float_espresso.csv"
STATUS = 0xFFFB_FF00
FPRF = 0x1_F000
FPCC = 0xF000
COMPARES = ("fcmpu", "fcmpo")


def rows() -> list[list[str]]:
    lines = VECTORS.read_text(encoding="ascii").splitlines()
    assert lines[0].startswith("# Origin: ")
    return list(csv.reader(line for line in lines if not line.startswith("#")))


def seen(name: str, before: int) -> tuple[int, int]:
    """Bits of FRT and FPSCR that an expectation covers."""
    if name in ("fctiw", "fctiwz"):
        return 0xFFFF_FFFF, STATUS & ~FPRF
    return (1 << 64) - 1, STATUS


def wrong(name: str, before: int, want: str, after: int, frt: int | None, fpscr: int) -> bool:
    value, status = seen(name, before)
    if want == "-":
        kept = frt is None
        return not kept or bool((fpscr ^ after) & status)
    return frt is None or bool((frt ^ int(want, 16)) & value or (fpscr ^ after) & status)


def reference(name: str, a: int, c: int, b: int, before: int) -> tuple[int | None, int]:
    cpu = execute_float(name, a, c, b, before, fe=0)
    frt = cpu.regs["fpr"][FRT]
    if name in COMPARES:
        assert cpu.regs["crf"][5] == cpu.regs["fpscr"][0] >> 12 & 15
    return (None if frt == UNTOUCHED else frt), cpu.regs["fpscr"][0]


def failures(run) -> tuple[list[str], list[str], int]:
    """Rows that differ: defined ones, those noted; how many rows there are."""
    defined, noted = [], []
    everything = rows()
    for row in everything:
        name, a, c, b, before = row[0], *(int(x, 16) for x in row[1:5])
        if wrong(name, before, row[5], int(row[6], 16), *run(name, a, c, b, before)):
            (noted if row[7] else defined).append(",".join(row))
    return defined, noted, len(everything)


def test_reference_gives_what_the_chip_gave() -> None:
    defined, noted, count = failures(reference)
    assert not defined
    assert count > 300
    expected = [",".join(row) for row in rows() if row[7]]
    assert noted == expected, "rows noted as different, but they are not"


def test_native_code_gives_what_the_chip_gave() -> None:
    native = NativeFloat(NAMES)

    def run(name: str, a: int, c: int, b: int, before: int) -> tuple[int | None, int]:
        words = (np.array([x], np.uint64) for x in (a, c, b))
        got = native.run(name, Operands(*words, np.array([before], np.uint32)))
        return (int(got.frt[0]) if got.written[0] else None), int(got.fpscr[0])

    defined, noted, _ = failures(run)
    assert not defined
    assert len(noted) == sum(bool(row[7]) for row in rows())


@pytest.mark.parametrize("bit", [0, 29, 52, 63])
def test_one_wrong_bit_is_noticed(bit: int) -> None:
    row = next(r for r in rows() if r[0] == "fadd")
    want = int(row[5], 16)
    assert not wrong("fadd", 0, row[5], int(row[6], 16), want, int(row[6], 16))
    assert wrong("fadd", 0, row[5], int(row[6], 16), want ^ 1 << bit, int(row[6], 16))
    assert wrong("fadd", 0, row[5], int(row[6], 16), want, int(row[6], 16) ^ 0x4000)
    assert wrong("fadd", 0, row[5], int(row[6], 16), None, int(row[6], 16))


def test_fpscr_instructions_leave_what_the_chip_left() -> None:
    text = VECTORS.with_name("fpscr_espresso.csv").read_text(encoding="ascii")
    assert text.startswith("# Origin: ")
    cases = [line.split(";") for line in text.splitlines() if not line.startswith("#")]
    assert len(cases) == 20
    for instruction, before, operand, after, cr in cases:
        cpu = MiniCpu()
        cpu.regs["msr"][0] = FP
        cpu.regs["fpscr"][0] = int(before, 0)
        cpu.regs["fpr"][0] = int(operand, 0)
        cpu.run(instruction.replace("/", ";"))
        assert cpu.regs["fpscr"][0] == int(after, 0), f"{instruction} {cpu.regs['fpscr'][0]:08x}"
        if cr != "-":
            assert cpu.cr == int(cr, 0), f"{instruction} CR {cpu.cr:08x}"
