"""Floating-point enabled exceptions that are not arithmetic's: FPSCR writes, mtmsr and rfi.

On the reference and in native code.  Source: PEM 3.3.6, 6.4.7; MPC750UM 4.5.7.
"""

from __future__ import annotations

import pytest

from gossamer.engine.reference import Reference
from gossamer.engine.tier0 import Tier0
from gossamer.isa.text import assemble
from tests.engine.rig import Rig

CODE, HANDLER, TARGET = 0x1_0000, 0x700, 0x2_0000
FP, FE0, FE1, EE, ME, POW = 0x2000, 0x0800, 0x0100, 0x8000, 0x1000, 0x4_0000
MET = 0xC200_0008  # FX, FEX, XX and XE: an inexact result that was not taken yet
MET_INVALID = 0xE100_0080  # FX FEX VX, VXSNAN, VE
CAUSE, SUBSEQUENT = 0x0010_0000, 0x0011_0000


@pytest.fixture(params=[Tier0, Reference], ids=["native", "reference"])
def rig(request):
    r = Rig(request.param)
    r.set(msr=FP | ME, fpscr=MET)
    return r


def run(rig: Rig, text: str, count: int = 1) -> int:
    """Run the program at CODE; where it goes on."""
    rig.write(CODE, assemble(text, CODE))
    rig.set(nia=CODE)
    rig.run(count)
    return rig.get("nia")


@pytest.mark.parametrize("fe", [FE0, FE1, FE0 | FE1])
def test_mtmsr_that_enables_a_waiting_exception_interrupts_after_itself(rig, fe):
    rig.set(r3=FP | ME | EE | fe)
    assert run(rig, "mtmsr 3") == HANDLER
    assert rig.get("srr0") == CODE + 4
    assert rig.get("srr1") == SUBSEQUENT | FP | ME | EE | fe
    assert rig.get("msr") == ME
    assert rig.get("fpscr") == MET


def test_rfi_that_enables_a_waiting_exception_interrupts_where_it_returns(rig):
    rig.set(srr0=TARGET + 3, srr1=FP | FE0 | FE1 | EE)
    assert run(rig, "rfi") == HANDLER
    assert rig.get("srr0") == TARGET
    assert rig.get("srr1") == SUBSEQUENT | FP | FE0 | FE1 | EE
    assert rig.get("msr") == 0


@pytest.mark.parametrize(
    ("fpscr", "old", "new"),
    [
        (MET, FP, FP | EE),  # FE stays off
        (MET, FP | FE0, FP | FE1),  # FE was on: it has been taken
        (0x8200_0000, FP, FP | FE0),  # not enabled in FPSCR
        (0x0000_00F8, FP, FP | FE0),  # enabled, but none has occurred
    ],
)
def test_mtmsr_and_rfi_otherwise_just_go_on(rig, fpscr, old, new):
    rig.set(msr=old, fpscr=fpscr, r3=new)
    assert run(rig, "mtmsr 3") == CODE + 4
    assert rig.get("msr") == new
    rig.set(msr=old, srr0=TARGET, srr1=new)
    assert run(rig, "rfi") == TARGET
    assert (rig.get("msr"), rig.get("srr0")) == (new, TARGET)


def test_the_interrupt_counts_no_instruction_and_the_handler_runs(rig):
    rig.write(HANDLER, assemble("li 5,9; b .", HANDLER))
    rig.set(r3=FP | FE0)
    assert run(rig, "mtmsr 3; li 6,1", 2) == HANDLER + 4
    assert (rig.get("r5"), rig.get("r6")) == (9, 0)


def test_rfi_to_user_mode_translates_the_handler_as_supervisor(rig):
    """The privilege that rfi gives is gone before the next fetch."""
    rig.set(srr0=TARGET, srr1=FP | FE0 | 0x4000)
    rig.write(HANDLER, assemble("mfmsr 7", HANDLER))
    run(rig, "rfi", 2)
    assert rig.get("srr1") == SUBSEQUENT | FP | FE0 | 0x4000
    assert rig.get("r7") == 0


@pytest.mark.parametrize(
    ("text", "f1", "before", "after"),
    [
        ("mtfsf 0xff,1", MET, 0, MET),
        ("mtfsf 0x01,1", 8, 0x8200_0000, MET),  # the enable alone
        ("mtfsf 0xf0,1", 0x0200_0000, 8, 0x4200_0008),  # FX as given, FEX as it follows
        ("mtfsfi 6,8", 0, 0xA100_0000, 0xE100_0080),
        ("mtfsb1 24", 0, 0xA100_0000, 0xE100_0080),
        ("mtfsb1 6", 0, 8, MET),
        ("mtfsb0 31", 0, MET_INVALID | 1, MET_INVALID),
    ],
)
def test_a_write_to_fpscr_that_leaves_fex_on_is_taken_with_it_written(rig, text, f1, before, after):
    rig.set(msr=FP | FE0, fpscr=before, f1=f1)
    assert run(rig, text) == HANDLER
    assert (rig.get("fpscr"), rig.get("srr0"), rig.get("srr1")) == (after, CODE, CAUSE | FP | FE0)


@pytest.mark.parametrize(
    ("text", "f1", "before", "after"),
    [
        ("mtfsf 0xff,1", 0x6000_0000, 0, 0),  # FEX and VX cannot be written
        ("mtfsf 0xff,1", 0x8200_0080, 0, 0x8200_0080),  # another exception's enable
        ("mtfsb1 1", 0, 0, 0),
        ("mtfsb0 28", 0, MET, 0x8200_0000),
        ("mcrfs 2,1", 0, MET, 0x8000_0008),
        ("mtfsfi 7,3", 0, 0, 3),
    ],
)
def test_a_write_to_fpscr_that_leaves_fex_off_is_not_taken(rig, text, f1, before, after):
    rig.set(msr=FP | FE1, fpscr=before, f1=f1)
    assert run(rig, text) == CODE + 4
    assert rig.get("fpscr") == after


def test_with_fe_off_nothing_is_taken(rig):
    rig.set(f1=MET)
    assert run(rig, "mtfsf 0xff,1") == CODE + 4
    assert rig.get("fpscr") == MET


def test_a_record_form_that_is_taken_has_written_cr1(rig):
    rig.set(msr=FP | FE0, fpscr=0, f1=MET, cr=0)
    assert run(rig, "mtfsf. 0xff,1") == HANDLER
    assert rig.block.cr == 0x0C00_0000
