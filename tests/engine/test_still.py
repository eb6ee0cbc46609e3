"""Registers that are still: polls are answered by native code, and what is read is the same."""

from __future__ import annotations

import pytest

from gossamer.core.irq import IrqLine
from gossamer.core.region import Region
from gossamer.engine.reference import Reference
from gossamer.engine.tier0 import Tier0
from gossamer.isa.text import assemble

from .rig import IO_BASE, Rig

CODE, BASE = 0x1_0000, IO_BASE + 0x1_0000
ENGINES = pytest.mark.parametrize("engine", [Tier0, Reference])
STATUS, DATA, TIME, WIDE = 0, 1, 2, 4


class Chip:
    """Status (still), data (reading it changes status), time; an alarm raises status."""

    def __init__(self, rig: Rig) -> None:
        self.clock, self.line = rig.clock, IrqLine(rig.cpu, 3)
        self.status, self.reads, self.writes = 0x10, 0, 0
        self.alarm = rig.clock.alarm(self.due)
        region = Region("chip", 0x1000, self.read, self.write, still=self.still, idle=self.idle)
        rig.memory.map(region, BASE)

    def still(self, offset: int) -> bool:
        return offset in (STATUS, WIDE)

    def idle(self, offset: int, value: int) -> bool:
        return offset in (STATUS, WIDE) and value == self.status

    def read(self, offset: int, size: int) -> int:
        self.reads += 1
        if offset in (STATUS, WIDE):
            return self.status << 8 * (size - 1)
        if offset == DATA:
            self.status += 1
            return self.status
        return self.clock.now & 0xFF

    def write(self, offset: int, size: int, value: int) -> None:
        self.writes += 1
        if offset == DATA:
            self.alarm.set(self.clock.now + value)
        else:
            self.status = value

    def due(self) -> None:
        self.status |= 0x80


def rig_with(engine: type, text: str, **registers: int) -> tuple[Rig, Chip]:
    rig = Rig(engine)
    rig.write(CODE, assemble(text, CODE))
    rig.set(**({"nia": CODE, "r4": BASE} | registers))
    return rig, Chip(rig)


def test_polls_ask_the_chip_once() -> None:
    rig, chip = rig_with(Tier0, "1: lbz 5,0(4); add 6,6,5; bdnz 1b; nop", ctr=1000)
    rig.run(3000)
    assert (rig.get("r6"), chip.reads) == (1000 * 0x10, 1)


def test_writes_that_change_nothing_reach_the_chip_once() -> None:
    text = "1: lbz 5,0(4); stb 5,0(4); add 6,6,5; bdnz 1b; stb 7,0(4); lbz 8,0(4); stb 5,0(4); nop"
    rig, chip = rig_with(Tier0, text, ctr=1000, r7=0x20)
    rig.run(4003)
    assert rig.get("r6") == 1000 * 0x10
    assert (chip.reads, chip.writes) == (2, 3)
    assert (rig.get("r8"), chip.status) == (0x20, 0x10)


@ENGINES
def test_an_alarm_shows_at_its_instruction(engine: type) -> None:
    text = "stb 7,1(4); 1: lbz 5,0(4); addi 6,6,1; andi. 5,5,0x80; beq 1b; nop"
    rig, _ = rig_with(engine, text, r7=200)
    rig.run(260)
    assert rig.get("r6") == 51  # 4 ns a turn, 1 ns an instruction


@ENGINES
@pytest.mark.parametrize("between", ["stb 8,0(4)", "lbz 8,1(4)", "stb 8,2(4)"])
def test_a_store_or_another_load_is_seen_by_the_next_poll(engine: type, between: str) -> None:
    text = f"lbz 5,0(4); lbz 6,0(4); {between}; lbz 7,0(4); lbz 9,0(4)"
    rig, chip = rig_with(engine, text, r8=0x33)
    rig.run(5)
    assert rig.get("r5") == rig.get("r6") == 0x10
    assert rig.get("r7") == rig.get("r9") == chip.status
    assert chip.status != 0x10


@ENGINES
def test_sizes_and_registers_are_distinguished(engine: type) -> None:
    text = "1: lbz 5,0(4); lhz 6,0(4); lwz 7,0(4); lbz 8,4(4); lbz 9,2(4); lbz 10,2(4); bdnz 1b"
    rig, _ = rig_with(engine, text, ctr=3)
    rig.run(21)
    assert [rig.get(f"r{n}") for n in (5, 6, 7, 8)] == [0x10, 0x1000, 0x1000_0000, 0x10]
    assert rig.get("r10") == rig.get("r9") + 1


@ENGINES
def test_an_input_from_outside_is_seen_by_the_next_run(engine: type) -> None:
    rig, chip = rig_with(engine, "lbz 5,0(4); lbz 6,0(4); lbz 7,0(4)")
    rig.run(2)
    chip.status = 0x77
    rig.run(1)
    assert (rig.get("r6"), rig.get("r7")) == (0x10, 0x77)


@ENGINES
def test_an_error_of_the_chip_is_raised_once_and_nothing_is_held(engine: type) -> None:
    rig, _ = rig_with(engine, "lbz 5,0(4); lbz 6,0(4); lbz 7,0(4)")

    def broken(offset: int, size: int) -> int:
        raise OSError("broken")

    region = rig.memory.find(BASE)[2].target
    good, region._read = region._read, broken
    with pytest.raises(OSError, match="broken"):
        rig.run(1)
    region._read = good
    rig.run(1)
    assert rig.get("r6" if engine is Tier0 else "r5") == 0x10
