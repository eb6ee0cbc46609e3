"""Decimal floating point in native code, where Python answers, and on the reference."""

from __future__ import annotations

import random

import pytest

from gossamer.engine.reference import Reference
from gossamer.engine.tier0 import Tier0
from gossamer.isa import fpscr
from gossamer.isa.spec.table import TABLE
from gossamer.isa.spec.wide.decimal_forms import DecimalForm
from gossamer.isa.text import assemble

from .rig import Rig

CPU = "power8_v2.0"
MSR = 1 << 63 | 0x2000  # SF, FP
MSR_FE = 0x900
ONE = 0x2238_0000_0000_0001
ENGINES = pytest.mark.parametrize("engine", [Tier0, Reference])


def test_both_engines_leave_the_same_registers() -> None:
    """Each instruction on random registers, Rc too: FPRs, CR and FPSCR with its upper half."""
    rng = random.Random(7)
    rows = [r for r in TABLE if issubclass(r.form, DecimalForm)]
    words = []
    for row in rows:
        free = ~row.mask & 0x03FF_F801 if row.form.has("Rc") else ~row.mask & 0x03FF_F800
        words += [row.match | rng.getrandbits(32) & free for _ in range(2)]
    state = {f"f{n}": rng.choice((rng.getrandbits(64), ONE + n)) for n in range(32)}
    rigs = [Rig(kind, cpu=CPU) for kind in (Tier0, Reference)]
    for rig in rigs:
        rig.words(0x1_0000, *words)
        rig.set(msr=MSR, drn=3, **state)
        rig.run(len(words))
    native, reference = rigs
    assert native.get("nia") == 0x1_0000 + 4 * len(words)
    assert native.block.bytes() == reference.block.bytes()


@ENGINES
def test_an_enabled_exception_is_a_program_interrupt(engine: type) -> None:
    """1 / 0 with ZE: FRT stays, SRR0 is the instruction's."""
    rig = Rig(engine, cpu=CPU)
    rig.write(0x1_0000, assemble("ddiv. 3,1,2", 0x1_0000))
    rig.set(msr=MSR | MSR_FE, f1=ONE, f2=ONE - 1, f3=7, fpscr=fpscr.ZE)
    rig.run(1)
    assert (rig.get("nia"), rig.get("srr0"), rig.get("f3")) == (0x700, 0x1_0000, 7)
    assert rig.get("srr1") & 0x0010_0000
    assert rig.get("fpscr") & (fpscr.FX | fpscr.FEX | fpscr.ZX) == fpscr.FX | fpscr.FEX | fpscr.ZX
    assert rig.block.get("crf", 1) == 0xC


@ENGINES
def test_mtfsf_and_mffs_have_the_decimal_rounding_mode(engine: type) -> None:
    """mtfsfi 7,5,1; mffs 1; mtfsf 1,2,0,1; mffs 3; mtfsf 0,4,1,0; mffs 5."""
    rig = Rig(engine, cpu=CPU)
    rig.words(0x1_0000, 0xFF81_510C, 0xFC20_048E, 0xFC03_158E)
    rig.words(0x1_000C, 0xFC60_048E, 0xFE00_258E, 0xFCA0_048E)
    rig.set(msr=MSR, f2=6 << 32 | 3, f4=1 << 32 | 2)
    rig.run(6)
    assert [rig.get(n) for n in ("f1", "f3", "f5")] == [5 << 32, 6 << 32, 1 << 32 | 2]


def test_native_code_comes_back_though_python_answers_all_the_time() -> None:
    """The run loop looks at its clock: 256 answers, and the run ends at a boundary."""
    rig = Rig(Tier0, cpu=CPU)
    rig.write(0x1_0000, assemble("dadd 1,1,2; b .-4"))
    rig.set(msr=MSR, f1=ONE, f2=ONE)
    done = rig.engine.run(100_000)
    assert 0 < done < 1000
