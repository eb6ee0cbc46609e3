"""PIT, fixed-interval timer and watchdog of the 405, by the manual's numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.base.units import tick_time
from gossamer.control.vm import Vm
from gossamer.isa.spec import timers_405 as timers
from gossamer.machines.machine import Machine
from gossamer.machines.options import parse
from tests.machines.board405 import VECTORS, alike, board, cpu_of

LOOP = "\nb ."


def run_to_tick(m: Machine, tick: int) -> None:
    """Run until that tick of the time base has come."""
    m.processor.run(until_ns=tick_time(tick, m.cpu.tb_hz))


def at_start(source: str) -> Machine:
    """The board in a loop behind `source`."""
    m = board(source.replace(";", "\n") + LOOP)
    m.processor.run(count=source.count(";") + 1)
    return m


def test_pit_stops_at_zero_and_says_so() -> None:
    m = at_start("li 4,3000; mtpit 4")
    cpu = cpu_of(m)
    zero = cpu.pit_zero
    assert zero == 3000  # written 1 ns after power on: at tick 0
    run_to_tick(m, zero - 1)
    assert cpu.pit_value == 1
    assert not cpu.block.get("tsr") & timers.PIS
    run_to_tick(m, zero)
    assert cpu.block.get("tsr") & timers.PIS  # without PIE, too
    assert cpu.pit_value == 0
    run_to_tick(m, zero + 5000)
    assert cpu.pit_value == 0


def test_pit_reloads_without_drift() -> None:
    m = at_start("lis 4,0x40; mttcr 4; li 4,1000; mtpit 4")
    cpu = cpu_of(m)
    zero = cpu.pit_zero
    run_to_tick(m, zero + 20_300)
    assert cpu.block.get("tsr") & timers.PIS
    assert cpu.pit_value == 700
    assert cpu.pit_zero == zero + 21_000


def test_pit_interrupt_is_a_level() -> None:
    """PIS stands already when PIE and EE come: the interrupt comes, again and again."""
    m = at_start("li 4,100; mtpit 4; lis 5,0x0400; lis 6,0; ori 6,6,0x8000")
    run_to_tick(m, 400)
    assert m.cpu.block.get("tsr") & timers.PIS
    source = "li 4,1; mtpit 4; nop; nop; nop; nop; lis 5,0x0400; mttcr 5; wrteei 1; nop"
    m = alike(source.replace(";", "\n"), 40)
    assert m.cpu.block.get("nia") == VECTORS + 0x1000


def test_write_of_tcr_neither_stops_pit_nor_steps_the_watchdog() -> None:
    m = at_start("li 4,3000; mtpit 4; lis 5,0xc400; mttcr 5; mttcr 5; mttcr 5")
    assert cpu_of(m).pit_zero == 3000
    assert not m.cpu.block.get("tsr") & (timers.ENW | timers.WIS)


@pytest.mark.parametrize(("period", "bits"), [(0, 9), (1, 13), (2, 17), (3, 21)])
def test_fit_follows_the_time_base(period: int, bits: int) -> None:
    m = at_start(f"lis 4,{period << 8:#x}; mttcr 4; lis 4,0x400; mttsr 4")
    when = 1 << bits - 1
    run_to_tick(m, when - 1)
    assert not m.cpu.block.get("tsr") & timers.FIS
    run_to_tick(m, when)
    assert m.cpu.block.get("tsr") & timers.FIS


def test_time_base_that_is_set_moves_fit_and_watchdog() -> None:
    m = at_start("lis 4,0x0300; mttcr 4; li 5,0; lis 6,0x000f; ori 6,6,0xffff; mttbl 6")
    assert not m.cpu.block.get("tsr") & timers.FIS
    m.processor.run(count=20)  # past bit 20's edge
    assert m.cpu.block.get("tsr") & timers.FIS
    m = alike("lis 6,0x0001\nmttbl 6\nmfpit 7\nmftsr 8\n", 4)  # bit 16 set by hand: a time-out
    assert m.cpu.block.get("gpr", 8) & timers.ENW


def test_watchdog_interrupts_in_two_steps_and_resets_in_the_third() -> None:
    m = at_start("lis 4,0x0800; mttcr 4; lis 5,2; mtmsr 5")
    asked: list[int] = []
    cpu_of(m).asks_reset = lambda: asked.append(int(m.clock.now))
    run_to_tick(m, 1 << 16)
    assert m.cpu.block.get("tsr") & timers.ENW
    run_to_tick(m, 3 << 16)
    assert m.cpu.block.get("nia") == VECTORS + 0x1020
    assert m.cpu.block.get("srr3") == 0x2_0000
    m.cpu.block.set("tcr", m.cpu.block.get("tcr") | timers.WRC)
    cpu_of(m).rearm()
    run_to_tick(m, 5 << 16)
    assert asked == [tick_time(5 << 16, m.cpu.tb_hz)]
    m.reset()
    assert m.cpu.block.get("tsr") & timers.WRS == timers.WRS
    m.reset()
    assert not m.cpu.block.get("tsr") & timers.WRS


def test_core_reset_goes_on_at_the_vector() -> None:
    m = at_start("lis 4,0x1000; mttcr 4; lis 9,0x1234; lis 5,2; mtmsr 5")
    run_to_tick(m, 5 << 16)
    b = m.cpu.block
    assert (b.get("tsr") & timers.WRS, b.get("tcr"), b.get("gpr", 9)) == (
        0x1000_0000,
        0,
        0x1234_0000,
    )
    assert b.get("dbsr") == 0x100


def test_reset_by_software() -> None:
    m = board("lis 4,0x3000\nmtdbcr0 4\nb .")
    asked: list[bool] = []
    cpu_of(m).asks_reset = lambda: asked.append(True)
    m.processor.run(count=3)
    assert asked == [True]
    assert not m.cpu.block.get("tsr") & timers.WRS


def test_guest_goes_on_through_a_save(tmp_path: Path) -> None:
    """Every timer is under way at each of these places."""
    arguments = ["-M", "ref405ep", "-m", "8", "-bios", "builtin-timers", "-serial", "null"]
    whole = Vm(parse([*arguments, "-icount", "5,sleep=off", "-rtc", "base=2001-09-09"]))
    cut = whole
    for n in range(1, 4):
        whole.run(instructions=n * 77_777)
        if cut is not whole:
            cut.run(instructions=n * 77_777)
        assert cut.state_hash() == whole.state_hash()
        cut.save(tmp_path / str(n))
        cut = Vm.load(tmp_path / str(n))
    cpu = cpu_of(whole.machine)
    assert cpu.pit_zero
    assert cpu.watchdog.armed
