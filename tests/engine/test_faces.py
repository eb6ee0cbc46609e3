"""Learned accesses: what a chip did once is repeated by native code, and a guest sees no more."""

from __future__ import annotations

import random
from functools import lru_cache

import pytest

from gossamer.core import faces
from gossamer.core.faces import DATA, NO, YES
from gossamer.core.irq import IrqLine
from gossamer.core.region import Region
from gossamer.cpu.msr import MSR_EE
from gossamer.engine.reference import Reference
from gossamer.engine.tier0 import Tier0
from gossamer.isa.interrupts import Irq
from gossamer.isa.text import assemble

from .rig import IO_BASE, Rig

CODE, BASE = 0x1_0000, IO_BASE + 0x1_0000
COUNTER, LEVEL, SEND, DELAY, NOTE, STEP = range(6)


class Chip:
    """A counter (a read adds `step`), a level, data that goes out, an alarm that raises the level.

    The line to the CPU is high while the level's bit 0 is set.
    """

    def __init__(self, rig: Rig) -> None:
        self.clock, self.line, self.rig = rig.clock, IrqLine(rig.cpu, Irq.EXTERNAL), rig
        self.counter, self.level, self.step, self.last = 0, 0, 1, 0
        self.sent: list[int] = []
        self.calls = 0
        self.alarm = rig.clock.alarm(self.due)
        region = Region("chip", 0x1000, self.read, self.write, learns=self.learns, take=self.take)
        rig.memory.map(region, BASE)
        rig.memory.faces.join(rig.clock, (self,), self.line)

    def learns(self, offset: int, value: int | None) -> int:
        return NO if offset == STEP else DATA if offset == SEND and value is not None else YES

    def face(self) -> tuple[int, ...]:
        return self.counter, self.level, self.step, self.line.level

    def set_face(self, face: tuple[int, ...]) -> None:
        self.counter, self.level, self.step, self.line.level = face

    def take(self, offset: int, value: int) -> None:
        assert offset == SEND
        self.last = value
        self.sent.append(value)

    def read(self, offset: int, size: int) -> int:
        self.calls += 1
        if offset == COUNTER:
            self.counter = (self.counter + self.step) % 7
            return self.counter
        return self.level if offset == LEVEL else self.last

    def write(self, offset: int, size: int, value: int) -> None:
        self.calls += 1
        if offset == LEVEL:
            self.level = value & 3
            self.line.set(bool(value & 1))
        elif offset == SEND:
            self.take(offset, value)
        elif offset == DELAY:
            self.alarm.set(self.clock.now + value)
        elif offset == NOTE:
            self.rig.memory.trace.event("chip", "note")
        else:
            self.step = value

    def due(self) -> None:
        self.level |= 1
        self.line.set(True)


def rig_with(engine: type, text: str, **registers: int) -> tuple[Rig, Chip]:
    rig = Rig(engine)
    rig.write(CODE, assemble(text, CODE))
    # The handler of an external interrupt lowers the level and counts in r20, sums in r21.
    rig.write(0x500, assemble("addi 20,20,1; add 21,21,6; li 22,0; stb 22,1(4); rfi", 0x500))
    rig.write(0x900, assemble("addi 23,23,1; add 24,24,6; rfi", 0x900))
    rig.set(**({"nia": CODE, "r4": BASE} | registers))
    return rig, Chip(rig)


def test_reads_that_change_a_chip_are_repeated_without_it() -> None:
    rig, chip = rig_with(Tier0, "1: lbz 5,0(4); add 6,6,5; bdnz 1b; nop", ctr=7000)
    rig.run(21_000)
    assert (rig.get("r6"), chip.counter) == (1000 * 21, 0)
    assert chip.calls == 1 + 7  # the first may be the only one and teaches nothing


def test_the_first_access_of_many_is_soon_learned_as_well() -> None:
    text = "1: lbz 5,0(4); lbz 6,1(4); stb 7,5(4); bdnz 1b; nop"
    rig, chip = rig_with(Tier0, text, ctr=100, r7=1)
    rig.run(100)
    before = chip.calls
    rig.run(100)
    assert chip.calls - before == 25 + 25  # the store that is not learned, and one before it


def test_data_arrives_in_order_and_all_of_it() -> None:
    text = "1: stb 5,2(4); addi 5,5,1; bdnz 1b; lbz 6,0(4); nop"
    for leisure in (False, True):
        rig, chip = rig_with(Tier0, text, ctr=5000)
        rig.memory.faces.at_leisure = leisure
        rig.run(15_002)
        assert chip.sent == [n & 0xFF for n in range(5000)]
        assert chip.last == chip.sent[-1]
        assert (chip.calls < 20) is leisure  # the list of data has a bound


@pytest.mark.parametrize("register", [DELAY, NOTE])
def test_what_the_engine_cannot_repeat_is_done_each_time(register: int) -> None:
    rig, chip = rig_with(Tier0, f"1: stb 5,{register}(4); bdnz 1b; nop", ctr=50, r5=200)
    rig.run(100)
    assert chip.calls == 50
    assert rig.memory.trace.counts["chip", "note"] == (50 if register == NOTE else 0)


def test_another_access_or_an_input_from_outside_is_seen() -> None:
    rig, chip = rig_with(Tier0, "lbz 5,0(4); lbz 6,0(4); stb 7,5(4); lbz 8,0(4); lbz 9,0(4)", r7=3)
    rig.run(4)
    chip.step = 1
    rig.run(1)
    assert [rig.get(f"r{n}") for n in (5, 6, 8, 9)] == [1, 2, 5, 6]


def test_registers_that_move_are_learned_anew() -> None:
    rig, chip = rig_with(Tier0, "1: lbz 5,0(4); b 1b")
    rig.run(1000)
    (mapping,) = (m for _, _, m in rig.memory.mappings if m.base == BASE)
    rig.memory.unmap(mapping)
    rig.run(2)
    assert rig.get("r5") == 0xFF
    assert chip.calls == 1 + 7


def test_faces_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "MOST", 5)
    monkeypatch.setattr(faces, "LAST", 40)
    rig, _ = rig_with(Tier0, "1: lbz 5,0(4); add 6,6,5; bdnz 1b; nop", ctr=700)
    rig.run(2100)
    assert rig.get("r6") == 100 * 21
    assert len(rig.memory.faces._faces) <= 5


TEXT = """
    1: lbz 5,0(4); add 6,6,5; stb 6,2(4); lbz 7,1(4); add 8,8,7
    andi. 9,6,15; bne 2f; li 10,1; stb 10,1(4)
    2: andi. 9,6,63; bne 3f; addi 11,6,100; stb 11,3(4)
    3: andi. 9,6,31; bne 4f; li 12,40; mtdec 12
    4: andi. 9,6,7; bne 5f; mtmsr 14; nop; mtmsr 15
    5: andi. 9,6,255; bne 1b; li 13,2; stb 13,5(4); li 13,1; stb 13,5(4); b 1b
"""


TOTAL = 3000


def run(engine: type, *, learns: bool, leisure: bool, seed: int) -> tuple[bytes, int, object]:
    """A program with interrupts from the chip's registers, its alarm and DEC, cut at random.

    The registers, the calls of the chip, everything else.
    """
    rig, chip = rig_with(engine, TEXT, msr=MSR_EE, r14=0, r15=MSR_EE)
    rig.memory.faces.at_leisure = leisure
    if not learns:
        rig.memory.faces.learned = None
    chance = random.Random(seed)
    while rig.engine.count < TOTAL:
        rig.run(min(chance.choice((1, 7, 90, 2000)), TOTAL - rig.engine.count))
        if chance.random() < 0.1:
            rig.engine.flush()
    assert min(rig.get("r20"), rig.get("r23")) > 3
    rest = (chip.face(), chip.sent, chip.last, chip.alarm.when, rig.clock.now, rig.clock.deadline)
    return rig.block.bytes(), chip.calls, rest


@lru_cache
def reference() -> bytes:
    return run(Reference, learns=False, leisure=False, seed=1)[0]


@pytest.mark.parametrize("seed", range(6))
def test_a_guest_sees_the_same_with_and_without(seed: int) -> None:
    """Every access, each interrupt at its instruction: both ways, and as the reference does."""
    plain = run(Tier0, learns=False, leisure=False, seed=seed)
    assert plain[0] == reference()
    for leisure in (False, True):
        learned = run(Tier0, learns=True, leisure=leisure, seed=seed)
        assert (learned[0], learned[2]) == (plain[0], plain[2])
        assert learned[1] < plain[1]
