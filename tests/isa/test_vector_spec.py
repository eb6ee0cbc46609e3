"""AltiVec by hand: what the books say of single cases.  Vectors are written word by word."""

from __future__ import annotations

import math
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gossamer.isa.insn import Decoder
from gossamer.isa.interrupts import Interrupt
from gossamer.isa.text import assemble, disassemble
from gossamer.isa.vector.lanes import split
from gossamer.verify.isa.vector_cases import VectorCases
from gossamer.verify.isa.vector_excuses import number
from tests.isa.mini_cpu import BASE, MiniCpu

VEC = 1 << 25
NJ, SAT = 1 << 16, 1
QNAN = 0x7FC0_0000
ONE, TWO, INFINITY = 0x3F80_0000, 0x4000_0000, 0x7F80_0000


def words(*values: int) -> int:
    """A vector of four words, word 0 first."""
    assert len(values) == 4
    return sum(v << 32 * (3 - n) for n, v in enumerate(values))


def every(value: int) -> int:
    return words(*[value] * 4)


@pytest.fixture
def cpu() -> MiniCpu:
    c = MiniCpu(("7400",))
    c.regs["msr"][0] = VEC
    return c


def run(c: MiniCpu, source: str, a: int = 0, b: int = 0, third: int = 0) -> int:
    """Run one instruction on v2 (a), v3 (b) and v4; the result in v1."""
    c.regs["vr"][2:5] = [a, b, third]
    c.run(source)
    assert c.taken == []
    return c.regs["vr"][1]


def test_without_msr_vec_nothing_runs(cpu: MiniCpu) -> None:
    cpu.regs["msr"][0] = 0
    for source in ("vaddubm 1,2,3", "lvx 1,0,3", "stvewx 1,0,3", "mfvscr 1", "lvsl 1,0,3"):
        cpu.taken.clear()
        cpu.run(source)
        assert cpu.taken[0][0] is Interrupt.VEC_UNAVAILABLE, source


def test_the_750_has_no_altivec() -> None:
    c = MiniCpu()
    c.regs["msr"][0] = VEC
    c.run("vaddubm 1,2,3")
    assert c.taken[0][0] is Interrupt.PROGRAM


# --- memory ---------------------------------------------------------------------------------------


def test_low_address_bits_are_ignored(cpu: MiniCpu) -> None:
    cpu.memory[:48] = bytes(range(48))
    cpu.gpr[3] = BASE + 31
    assert run(cpu, "lvx 1,0,3") == int.from_bytes(bytes(range(16, 32)), "big")
    cpu.regs["vr"][1] = 0x0123_4567_89AB_CDEF << 64
    cpu.run("stvx 1,0,3")
    assert cpu.memory[16:24].hex() == "0123456789abcdef"


def test_elements_stand_where_their_address_says(cpu: MiniCpu) -> None:
    cpu.memory[:16] = bytes(range(16))
    cpu.gpr[3] = BASE + 7
    cpu.regs["vr"][1] = every(0xFFFF_FFFF)
    assert run(cpu, "lvewx 1,0,3") == words(0xFFFF_FFFF, 0x0405_0607, 0xFFFF_FFFF, 0xFFFF_FFFF)
    cpu.regs["vr"][1] = words(0, 0, 0xAABB_CCDD, 0)
    cpu.gpr[3] = BASE + 11
    cpu.run("stvebx 1,0,3; stvehx 1,0,3")
    assert cpu.memory[8:12].hex() == "0809ccdd"


def test_alignment_vectors(cpu: MiniCpu) -> None:
    cpu.gpr[3] = 5
    first = run(cpu, "lvsl 1,0,3")
    assert first.to_bytes(16, "big") == bytes(range(5, 21))
    assert run(cpu, "lvsr 1,0,3").to_bytes(16, "big") == bytes(range(11, 27))
    cpu.gpr[3] = 16
    assert run(cpu, "lvsr 1,0,3").to_bytes(16, "big") == bytes(range(16, 32))


def test_an_unmapped_address_faults_with_nothing_written(cpu: MiniCpu) -> None:
    cpu.gpr[3] = 0x10
    cpu.regs["vr"][1] = 77
    cpu.run("lvx 1,0,3")
    assert (cpu.taken[0][0], cpu.taken[0][2]) == (Interrupt.DSI, 0x10)
    assert cpu.regs["vr"][1] == 77


# --- integers -------------------------------------------------------------------------------------


def test_saturation_sticks_until_written(cpu: MiniCpu) -> None:
    assert run(cpu, "vaddsws 1,2,3", every(0x7FFF_FFFF), words(1, 0, 0, 0)) == every(0x7FFF_FFFF)
    assert cpu.regs["vscr"][0] == SAT
    run(cpu, "vaddsws 1,2,3", every(1), every(1))
    assert cpu.regs["vscr"][0] == SAT
    run(cpu, "mtvscr 2", words(0xFFFF_FFFF, 0, 0, 0xFFFE_0000))
    assert cpu.regs["vscr"][0] == 0


def test_vscr_keeps_two_bits(cpu: MiniCpu) -> None:
    run(cpu, "mtvscr 2", every(0xFFFF_FFFF))
    assert run(cpu, "mfvscr 1") == NJ | SAT


@pytest.mark.parametrize(
    ("a", "b", "field"),
    [(every(5), every(4), 0x8), (every(4), every(5), 0x2), (words(9, 0, 0, 0), every(5), 0)],
)
def test_a_comparison_sums_up_in_cr6(cpu: MiniCpu, a: int, b: int, field: int) -> None:
    run(cpu, "vcmpgtuw. 1,2,3", a, b)
    assert cpu.regs["crf"][6] == field
    cpu.regs["crf"][6] = 0xF
    run(cpu, "vcmpgtuw 1,2,3", a, b)
    assert cpu.regs["crf"][6] == 0xF


def test_sums_are_saturated_once(cpu: MiniCpu) -> None:
    a = words(0x7FFF_FFFF, 0x7FFF_FFFF, 0, 0)
    assert run(cpu, "vsum2sws 1,2,3", a, words(9, 0x8000_0000, 9, 5)) == words(0, 0x7FFF_FFFE, 0, 5)
    assert cpu.regs["vscr"][0] == 0
    assert run(cpu, "vsumsws 1,2,3", every(0x8000_0000), 0) == 0x8000_0000
    assert cpu.regs["vscr"][0] == SAT


def test_the_largest_product_sum_does_not_saturate_early(cpu: MiniCpu) -> None:
    most = every(0x8000_8000)
    assert run(cpu, "vmsumshs 1,2,3,4", most, most, every(0xFFFF_FFFF)) == every(0x7FFF_FFFF)
    assert cpu.regs["vscr"][0] == 0
    assert run(cpu, "vmsumshm 1,2,3,4", most, most, 0) == every(0x8000_0000)
    assert run(cpu, "vmhaddshs 1,2,3,4", most, most, 0) == every(0x7FFF_7FFF)
    assert cpu.regs["vscr"][0] == SAT


def test_pixels(cpu: MiniCpu) -> None:
    assert run(cpu, "vpkpx 1,2,3", every(0x01FF_0808), 0) == words(0xFC21_FC21, 0xFC21_FC21, 0, 0)
    up = run(cpu, "vupkhpx 1,3", 0, words(0xFC21_7FFF, 0, 0, 0))
    assert up == words(0xFF1F_0101, 0x001F_1F1F, 0, 0)


def test_permutes(cpu: MiniCpu) -> None:
    a, b = bytes(range(16)), bytes(range(16, 32))
    x, y = int.from_bytes(a, "big"), int.from_bytes(b, "big")
    control = int.from_bytes(bytes(31 - n for n in range(16)), "big")
    assert run(cpu, "vperm 1,2,3,4", x, y, control).to_bytes(16, "big") == b[::-1]
    assert run(cpu, "vsldoi 1,2,3,3", x, y).to_bytes(16, "big") == (a + b)[3:19]
    assert run(cpu, "vsplth 1,3,2", x, y) == every(0x1415_1415)
    assert run(cpu, "vslo 1,2,3", x, 15 << 3).to_bytes(16, "big") == a[15:] + bytes(15)
    assert run(cpu, "vsro 1,2,3", x, 4 << 3).to_bytes(16, "big") == bytes(4) + a[:12]
    assert run(cpu, "vsr 1,2,3", 1 << 127, 0x0707 << 64 | 7) == 1 << 120


# --- floating point -------------------------------------------------------------------------------


def test_the_first_nan_comes_back_quiet(cpu: MiniCpu) -> None:
    a, b, c = 0x7F80_0001, 0xFF80_0002, 0x7FC0_0003
    result = run(cpu, "vmaddfp 1,2,4,3", words(ONE, ONE, a, a), words(ONE, b, b, ONE), every(c))
    assert result == words(c, b | 0x40_0000, a | 0x40_0000, a | 0x40_0000)
    assert run(cpu, "vaddfp 1,2,3", every(INFINITY), every(INFINITY | 1 << 31)) == every(QNAN)
    assert run(cpu, "vmaxfp 1,2,3", every(ONE), every(a)) == every(a | 0x40_0000)
    assert run(cpu, "vnmsubfp 1,2,4,3", every(0), every(ONE), every(INFINITY)) == every(QNAN)


def test_zeros_have_an_order_in_maxima(cpu: MiniCpu) -> None:
    minus = 1 << 31
    a, b = words(0, minus, 0, minus), words(minus, 0, 0, minus)
    assert run(cpu, "vmaxfp 1,2,3", a, b) == words(0, 0, 0, minus)
    assert run(cpu, "vminfp 1,2,3", a, b) == words(minus, minus, 0, minus)


def test_a_cancelled_difference_is_negated(cpu: MiniCpu) -> None:
    assert run(cpu, "vnmsubfp 1,2,4,3", every(ONE), every(ONE), every(ONE)) == every(1 << 31)


def test_denormals_in_both_modes(cpu: MiniCpu) -> None:
    tiny = 0x8000_0003
    assert run(cpu, "vaddfp 1,2,3", every(tiny), every(tiny)) == every(0x8000_0006)
    cpu.regs["vscr"][0] = NJ
    assert run(cpu, "vaddfp 1,2,3", every(tiny), every(tiny)) == every(0x8000_0000)
    assert run(cpu, "vcmpeqfp 1,2,3", every(tiny), 0) == every(0xFFFF_FFFF)
    assert run(cpu, "vrfip 1,3", 0, every(3)) == 0


def test_a_sum_that_only_rounding_makes_normal_is_tiny(cpu: MiniCpu) -> None:
    """(1 - 2**-24) × 2**-126 rounds to 2**-126."""
    a, c = every(0x3F7F_FFFF), every(0x0080_0000)
    assert run(cpu, "vmaddfp 1,2,4,3", a, 0, c) == every(0x007F_FFFF + 1)
    cpu.regs["vscr"][0] = NJ
    assert run(cpu, "vmaddfp 1,2,4,3", a, 0, c) == 0
    assert run(cpu, "vmaddfp 1,2,4,3", every(ONE), 0, c) == c


def test_bounds(cpu: MiniCpu) -> None:
    a = words(ONE, TWO, TWO | 1 << 31, QNAN)
    result = run(cpu, "vcmpbfp. 1,2,3", a, every(ONE))
    assert result == words(0, 1 << 31, 1 << 30, 3 << 30)
    assert cpu.regs["crf"][6] == 0
    run(cpu, "vcmpbfp. 1,2,3", every(ONE | 1 << 31), every(ONE))
    assert cpu.regs["crf"][6] == 2


def test_conversions_scale_and_saturate(cpu: MiniCpu) -> None:
    assert run(cpu, "vcfux 1,3,31", 0, every(0xFFFF_FFFF)) == every(TWO)
    assert run(cpu, "vcfsx 1,3,0", 0, every(0xFFFF_FFFF)) == every(ONE | 1 << 31)
    half = 0x3F00_0000
    assert run(cpu, "vctsxs 1,3,3", 0, words(half, half | 1 << 31, QNAN, 0)) == words(
        4, 0xFFFF_FFFC, 0, 0
    )
    assert cpu.regs["vscr"][0] == 0
    assert run(cpu, "vctuxs 1,3,0", 0, every(ONE | 1 << 31)) == 0
    assert cpu.regs["vscr"][0] == SAT


ESTIMATES: dict[str, tuple[Callable[[float], float], float]] = {
    "vrefp": (lambda x: 1 / x, 1 / 4096),
    "vrsqrtefp": (lambda x: math.pow(x, -0.5), 1 / 4096),
    "vexptefp": (lambda x: 2.0**x, 2.0**-18),
}


@pytest.mark.parametrize("name", ESTIMATES)
def test_estimates_are_within_their_bounds(cpu: MiniCpu, name: str) -> None:
    exact, bound = ESTIMATES[name]
    rng = random.Random(name)
    for _ in range(50):
        lanes = [rng.randrange(0x3000_0000, 0x42C0_0000) for _ in range(4)]
        result = run(cpu, f"{name} 1,3", 0, words(*lanes))
        for x, y in zip(reversed(lanes), split(result, 32), strict=True):
            want = exact(number(x))
            assert abs(number(y) - want) <= want * bound, f"{name} {x:#x} {y:#x}"


def test_estimates_of_what_is_special(cpu: MiniCpu) -> None:
    minus = 1 << 31
    x = words(0, minus, INFINITY, INFINITY | minus)
    assert run(cpu, "vrefp 1,3", 0, x) == words(INFINITY, INFINITY | minus, 0, minus)
    assert run(cpu, "vrsqrtefp 1,3", 0, x) == words(INFINITY, INFINITY | minus, 0, QNAN)
    assert run(cpu, "vexptefp 1,3", 0, x) == words(ONE, ONE, INFINITY, 0)
    low = INFINITY | minus
    assert run(cpu, "vlogefp 1,3", 0, x) == words(low, low, INFINITY, QNAN)
    powers = words(ONE, TWO, 0x3F00_0000, 0x0000_0001)
    results = words(0, ONE, ONE | minus, 0xC315_0000)
    assert run(cpu, "vlogefp 1,3", 0, powers) == results
    assert run(cpu, "vexptefp 1,3", 0, results) == powers


# --- text -----------------------------------------------------------------------------------------


def test_text_is_objdumps(tmp_path: Path) -> None:
    """Every AltiVec word of the assembler's list, and random operands."""
    if not (objdump := shutil.which("powerpc-linux-gnu-objdump")):
        pytest.skip("powerpc-linux-gnu-objdump is not installed")
    rng = random.Random(1)
    rows = [r for r in Decoder(("7400",)).rows if r.needs == "VEC"]
    found = [VectorCases(row, rng).make().word for row in rows for _ in range(3)]
    file = tmp_path / "words"
    file.write_bytes(b"".join(w.to_bytes(4, "big") for w in found))
    command = [objdump, "-D", "-b", "binary", "-m", "powerpc", "-EB", "-M", "7400", str(file)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    texts = [line.split("\t", 2)[2] for line in lines if line.count("\t") >= 2]
    assert len(texts) == len(found)
    for word, text in zip(found, texts, strict=True):
        mine = disassemble(word, 0, ("7400",))
        assert mine.split() == text.replace("\t", " ").split(), hex(word)
        assert assemble(mine) == word.to_bytes(4, "big"), mine
