"""Timebase, decrementer, power saving and checkstop: exact to the tick and the instruction."""

from __future__ import annotations

import pytest

from gossamer.base.units import tick_time, ticks_at
from gossamer.engine.processor import Stop
from gossamer.isa.interrupts import Irq
from gossamer.isa.text import assemble
from tests.engine.rig import Rig

CODE = 0x1_0000
EE, ME, POW = 0x8000, 0x1000, 0x4_0000
DECREMENTER, EXTERNAL = 0x900, 0x500
DOZE = 0x0080_0000
STAY = 0x4800_0000  # b .
TB_HZ = 250_000_000  # the rig's: four ns, four instructions a tick


def rig_with(text: str, **registers: int) -> Rig:
    rig = Rig()
    rig.write(CODE, assemble(text, CODE))
    rig.set(**({"msr": EE} | registers))
    return rig


@pytest.mark.parametrize("value", [0, 1, 2, 10, 1000])
def test_decrementer_interrupts_at_the_tick_that_makes_it_negative(value: int) -> None:
    rig = rig_with("mtdec 3; b .", r3=value)
    while rig.get("nia") != DECREMENTER:
        rig.run(1)
    # mtdec ran at tick 0: bit 0 rises with tick value + 1.
    assert (rig.get("srr0"), rig.cpu.ticks) == (CODE + 4, value + 1)
    assert rig.cpu.decrementer == 0xFFFF_FFFF


@pytest.mark.parametrize("value", [1, 7, 250])
def test_decrementer_interrupt_is_exact_to_the_instruction(value: int) -> None:
    rig = rig_with("mtdec 3; b .", r3=value)
    due = tick_time(value + 1, TB_HZ)
    assert rig.processor.run(until_ns=due - 1) is Stop.LIMIT
    assert (rig.get("nia"), rig.block.get("irq", Irq.DECREMENTER)) == (CODE + 4, 0)
    rig.processor.run(until_ns=due)
    assert rig.clock.now == due
    assert (rig.get("nia"), rig.block.get("irq", Irq.DECREMENTER)) == (DECREMENTER, 0)


def test_decrementer_stays_pending_until_enabled_and_comes_once() -> None:
    rig = rig_with("mtdec 3; 1: b 1b", r3=1, msr=0)
    rig.run(100)
    assert (rig.get("nia"), rig.block.get("irq", Irq.DECREMENTER)) == (CODE + 4, 1)
    rig.write(DECREMENTER, assemble("addi 5,5,1; rfi", DECREMENTER))
    rig.set(msr=EE)
    rig.run(200)
    assert rig.get("r5") == 1


@pytest.mark.parametrize(
    ("old", "new", "raised"),
    [(5, 0x8000_0000, 1), (5, 0xFFFF_FFFF, 1), (0xFFFF_FFF0, 0x8000_0000, 0), (5, 6, 0),
     (0x8000_0000, 5, 0)],
)  # fmt: skip
def test_mtdec_that_raises_bit_0_makes_the_exception_pending(
    old: int, new: int, raised: int
) -> None:
    rig = rig_with("mtdec 3; nop", r3=new, msr=0)
    rig.cpu.set_decrementer(old)
    rig.run(1)
    assert rig.block.get("irq", Irq.DECREMENTER) == raised
    assert rig.cpu.decrementer == new


def test_mfdec_and_mftb_are_exact_at_every_instruction() -> None:
    text = "1: mftb 3; mfdec 4; mftbu 5; mftb 6; subf 7,3,6; b 1b"
    rig = rig_with(text, msr=0)
    rig.cpu.set_decrementer(1000)
    for n in range(1, 120):
        count = rig.engine.count
        nia = rig.get("nia")
        rig.run(1)
        ticks = ticks_at(count, TB_HZ)
        if nia == CODE:
            assert rig.get("r3") == ticks
        elif nia == CODE + 4:
            assert rig.get("r4") == 1000 - ticks, n


def test_mttb_moves_the_timebase_and_not_the_decrementer() -> None:
    rig = rig_with("li 3,0; mttbl 3; mttbu 4; mttbl 5; mftbu 6; mftb 7", r4=5, r5=0xFFFF_FFFF)
    rig.cpu.set_decrementer(5000)
    rig.run(6)
    assert rig.cpu.timebase >> 32 in (5, 6)
    assert rig.cpu.decrementer == 5000 - rig.cpu.ticks


def test_power_saving_warps_to_the_next_interrupt() -> None:
    rig = rig_with("mtmsr 3; b .", r3=POW | EE, hid0=DOZE)
    rig.cpu.set_decrementer(1_000_000)
    rig.words(DECREMENTER, STAY)
    rig.processor.run(2)
    assert (rig.get("nia"), rig.get("srr0")) == (DECREMENTER, CODE + 4)
    assert rig.cpu.ticks == 1_000_001
    assert rig.get("srr1") & POW == 0  # bit 13 is not among those that SRR1 receives
    assert rig.get("msr") & POW == 0


def test_power_saving_needs_a_mode_in_hid0() -> None:
    rig = rig_with("mtmsr 3; li 4,7; b .", r3=POW | EE)
    rig.run(2)
    assert (rig.get("r4"), rig.cpu.waiting) == (7, False)


def test_power_saving_mode_chosen_later_takes_effect_at_that_instruction() -> None:
    rig = rig_with("mtmsr 3; nop; mtspr 1008,4; li 5,1; b .", r3=POW, r4=DOZE, msr=0)
    assert rig.run(100) is Stop.IDLE
    assert (rig.engine.count, rig.get("nia"), rig.get("r5")) == (3, CODE + 12, 0)


def test_asleep_with_interrupts_off_gives_the_host_back() -> None:
    rig = rig_with("mtmsr 3; b .", r3=POW, hid0=DOZE)
    assert rig.run(1000) is Stop.IDLE
    assert rig.processor.run(until_ns=1 << 40) is Stop.LIMIT
    assert (rig.clock.now, rig.engine.count) == (1 << 40, 1)


def test_external_interrupt_is_taken_between_two_instructions_and_is_a_level() -> None:
    rig = rig_with("li 3,1; li 3,2; b .")
    rig.run(1)
    rig.line.set(True)
    rig.run(0)
    assert (rig.get("nia"), rig.get("srr0"), rig.get("r3")) == (EXTERNAL, CODE + 4, 1)
    rig.write(EXTERNAL, assemble("addi 7,7,1; rfi", EXTERNAL))
    rig.run(6)
    assert rig.get("r7") == 3  # the line is still high
    rig.line.set(False)  # the fourth has been taken
    rig.run(10)
    assert rig.get("r7") == 4


def test_device_access_sees_the_time_of_its_instruction() -> None:
    rig = rig_with("nop; nop; stw 3,0x20(4); nop; lwz 3,0x20(4); b .", r4=0xF000_0000, msr=0)
    rig.run(6)
    assert [a.now for a in rig.device.log] == [2, 4]


def test_interrupt_raised_by_a_store_is_taken_right_after_it() -> None:
    """The device's alarm, due at once, raises the line before the next instruction."""
    rig = rig_with("stw 3,0x20(4); li 5,1; b .", r4=0xF000_0000, r3=1)
    rig.words(EXTERNAL, STAY)
    rig.run(2)
    assert (rig.get("srr0"), rig.get("r5")) == (CODE + 4, 0)


def test_machine_check_without_me_is_a_checkstop() -> None:
    rig = rig_with("b .", msr=0)
    rig.cpu.input_changed(Irq.MACHINE_CHECK, True)
    assert rig.run(10) is Stop.CHECKSTOP
    rig = rig_with("b .", msr=ME)
    rig.cpu.input_changed(Irq.MACHINE_CHECK, True)
    rig.run(0)
    assert (rig.get("nia"), rig.get("msr")) == (0x200, 0)


def test_interrupts_are_taken_in_the_order_of_the_manual() -> None:
    """MPC750UM table 4-3: reset before external before decrementer."""
    rig = rig_with("b .")
    for source in (Irq.DECREMENTER, Irq.EXTERNAL):
        rig.cpu.input_changed(source, True)
    rig.run(0)
    assert (rig.get("nia"), rig.block.get("irq", Irq.DECREMENTER)) == (EXTERNAL, 1)
    rig.cpu.input_changed(Irq.RESET, True)
    rig.run(0)
    assert (rig.get("nia"), rig.get("srr0"), rig.block.get("irq", Irq.RESET)) == (
        0x100,
        EXTERNAL,
        0,
    )
