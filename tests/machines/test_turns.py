"""Two CPUs that run in turn: one line of time, whole in a save, the same however it is cut."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from typing import Final

import pytest

from gossamer.base.errors import StreamError
from gossamer.base.units import MiB
from gossamer.control.globalstate import GlobalState
from gossamer.control.hashing import StateHash
from gossamer.control.stream_in import load_stream
from gossamer.control.stream_out import Extra, save_stream
from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.core.irq import IrqLine
from gossamer.core.region import Region
from gossamer.cpu.msr import MSR_ME, MSR_POW, MSR_RI
from gossamer.engine.processor import Stop
from gossamer.engine.reference import Reference
from gossamer.engine.regions.regions import Regions
from gossamer.engine.turns import TURN, Turns
from gossamer.isa.interrupts import Irq
from gossamer.isa.text import assemble_program
from gossamer.machines import bare
from gossamer.machines.config import Accel, Hardware
from gossamer.machines.machine import Machine
from gossamer.machines.translate import translate
from gossamer.state.declare import u8, wiring

DATA: Final = 0x8000
BELL: Final = 0xF000_0000

#: Each CPU counts under a lock that both take, mixes time into what they share, is interrupted by
#: its decrementer, rewrites code that the other executes, rings the other's bell and sleeps; now
#: and then it watches what is shared (DABR) and an instruction (IABR), once each.
PROGRAM: Final = """\
        .equ    lock,0
        .equ    shared,4
        .equ    mixed,8
        .equ    ticks,0x20
        .equ    bells,0x28
        .equ    loops,0x30
        .equ    watched,0x38
        .equ    broken,0x40
        .org    0x300
        mtsprg  0,20
        lwz     20,watched(15)
        addi    20,20,1
        stw     20,watched(15)
        li      20,0
        mtspr   1013,20
        mfsprg  20,0
        rfi
        .org    0x500
        mtsprg  0,20
        mfcr    20
        mtsprg  1,20
        lwz     20,bells(15)
        addi    20,20,1
        stw     20,bells(15)
        stw     19,0(16)
        mfsprg  20,1
        mtcr    20
        mfsprg  20,0
        rfi
        .org    0x900
        mtsprg  0,20
        mfcr    20
        mtsprg  1,20
        lwz     20,ticks(15)
        addi    20,20,1
        stw     20,ticks(15)
        andi.   20,20,63
        addi    20,20,300
        mtdec   20
        mfsprg  20,1
        mtcr    20
        mfsprg  20,0
        rfi
        .org    0x1300
        mtsprg  0,20
        lwz     20,broken(15)
        addi    20,20,1
        stw     20,broken(15)
        li      20,0
        mtspr   1010,20
        mfsprg  20,0
        rfi
        .org    0x2000
start:  lis     14,DATA@h
        ori     14,14,DATA@l
        slwi    15,3,2
        add     15,14,15
        lis     16,BELL@h
        slwi    17,3,3
        add     16,16,17
        xori    17,17,8
        lis     18,BELL@h
        add     18,18,17
        li      19,0
        lis     20,0x80
        mtspr   1008,20
        li      20,400
        mtdec   20
        mfmsr   20
        ori     20,20,0x8000
        mtmsr   20
again:  lwarx   4,0,14
        cmpwi   4,0
        bne     again
        addi    5,3,1
        stwcx.  5,0,14
        bne     again
        isync
        lwz     6,shared(14)
        addi    6,6,1
        stw     6,shared(14)
        lwz     7,mixed(14)
        mulli   7,7,31
        mftb    8
        add     7,7,8
        add     7,7,9
        stw     7,mixed(14)
        andi.   8,6,15
        bne     keep
        lis     10,0x3929
        rlwimi  10,7,0,16,31
        lis     11,patch@h
        ori     11,11,patch@l
        stw     10,0(11)
        dcbst   0,11
        sync
        icbi    0,11
        isync
keep:   li      4,0
        sync
        stw     4,0(14)
patch:  addi    9,9,1
        lwz     6,loops(15)
        addi    6,6,1
        stw     6,loops(15)
        andi.   8,6,31
        bne     again
        ori     8,14,0xb
        mtspr   1013,8
        lis     8,keep@h
        ori     8,8,keep@l
        ori     8,8,2
        mtspr   1010,8
        andi.   8,6,127
        bne     again
        li      8,1
        stw     8,0(18)
        mfmsr   8
        oris    8,8,4
        sync
        mtmsr   8
        isync
        b       again
"""


class Bells(Device):
    """A line to each CPU: a store of one at 8 x n raises the n-th, of zero lowers it."""

    vmsd = "bells"
    version = 1
    minimum = 1

    first: int = u8()
    second: int = u8()
    lines: list[IrqLine] = wiring()

    def __init__(self, clock: Clock, lines: list[IrqLine]) -> None:
        super().__init__(clock)
        self.idstr = "bells"
        self.lines = lines
        self.reset()

    def region(self) -> Region:
        return Region("bells", 0x1000, lambda offset, size: 0, self.write)

    def write(self, offset: int, size: int, value: int) -> None:
        setattr(self, "second" if offset & 8 else "first", value & 1)
        self.update_irq()

    def update_irq(self) -> None:
        for line, level in zip(self.lines, (self.first, self.second), strict=True):
            line.set(bool(level))

    def resume(self) -> None:
        for line, level in zip(self.lines, (self.first, self.second), strict=True):
            line.assign(bool(level))


def compose(hardware: Hardware) -> Machine:
    m = Machine(hardware, KIND)
    m.ram(KIND.ram_block, hardware.ram_size, at=0)
    bells = m.add("bells", Bells(m.clock, [IrqLine(cpu, Irq.EXTERNAL) for cpu in m.cpus]))
    m.map(bells.region(), at=BELL)
    program = assemble_program(PROGRAM, 0, {"DATA": DATA, "BELL": BELL})
    m.memory.write(0, program.code)
    for n, cpu in enumerate(m.cpus):
        cpu.block.set("nia", program.symbols["start"])
        cpu.block.set("msr", MSR_ME | MSR_RI)
        cpu.block.set("gpr", n, 3)
    return m


KIND: Final = replace(bare.KIND, name="two", compose=compose, cpu_most=2, ram_least=MiB)
HARDWARE: Final = Hardware(machine="two", ram_size=MiB, cpus=2)


def new() -> Machine:
    m = compose(HARDWARE)
    m.processor.set_rate(32 << 20)
    return m


def saved(m: Machine) -> bytes:
    out = io.BytesIO()
    save_stream(m, out, Extra("globalstate", GlobalState("paused")))
    return out.getvalue()


def loaded(stream: bytes) -> Machine:
    m = new()
    load_stream(m, io.BytesIO(stream), Extra("globalstate", GlobalState("paused")))
    m.resume()
    return m


def run(m: Machine, to: int) -> None:
    assert m.processor.run(to) is Stop.LIMIT
    assert m.processor.engine.count == to


def word(m: Machine, offset: int) -> int:
    return int.from_bytes(m.memory.read(DATA + offset, 4), "big")


def test_a_cpu_that_is_held_stands_still() -> None:
    m = new()

    def place(n: int) -> list[int]:
        block = m.cpus[n].block
        return [block.get("nia"), *block.all("gpr")]

    for held in (1, 0):
        there = place(held)
        m.processor.hold([held])
        run(m, m.engine.count + 3 * TURN)
        assert m.processor.turn == 1 - held
        assert place(held) == there
    m.processor.hold(())
    run(m, m.engine.count + 2 * TURN)
    assert place(0) != there
    m.close()


END: Final = 8 * TURN


@pytest.fixture(scope="module")
def uncut() -> Machine:
    m = new()
    run(m, END)
    return m


def test_both_cpus_work_and_share(uncut: Machine) -> None:
    """Each passes through all that the program does; no count under the lock is lost."""
    ticks, bells, loops = ([word(uncut, at + 4 * n) for n in (0, 1)] for at in (0x20, 0x28, 0x30))
    assert min(*ticks) > 20
    assert min(*bells) > 2
    assert min(*loops) > 500
    for cells in (0x38, 0x40):  # a watch or breakpoint is met once each time it is set
        assert all(word(uncut, cells + 4 * n) - (loops[n] >> 5) in (-1, 0) for n in (0, 1))
    assert word(uncut, 4) - sum(loops) in (0, 1, 2)  # counted, and not yet behind the lock
    first, second = (cpu.block.get("gpr", 9) for cpu in uncut.cpus)
    assert first != second
    assert {first, second}.isdisjoint(loops)  # what they execute has been rewritten


def test_any_cut_changes_nothing(uncut: Machine) -> None:
    rng = random.Random(1)
    whole = StateHash(uncut).value()
    m = new()
    cuts = [TURN, 2 * TURN + 1, *rng.sample(range(1, END), 10)]
    turns = set()
    for at in sorted(cuts):
        run(m, at)
        turns.add(m.processor.turn)
        other = loaded(saved(m))
        assert StateHash(other).value() == StateHash(m).value()
        m.close()
        m = other
    assert turns == {0, 1}
    run(m, END)
    assert StateHash(m).value() == whole
    m.close()


def with_one_asleep() -> Machine:
    m = new()
    m.cpus[1].block.set("msr", MSR_ME | MSR_POW)
    m.cpus[1].block.set("hid0", m.cpu.model.doze)
    return m


def test_a_cpu_that_works_alone_keeps_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    m, given = with_one_asleep(), []
    give = Turns.give
    monkeypatch.setattr(Turns, "give", lambda t, n: (given.append(n), give(t, n)))
    run(m, 5 * TURN + 7)
    assert (m.processor.turn, given) == (0, [])
    m.cpus[1].block.set("msr", MSR_ME)
    run(m, 5 * TURN + 8)
    assert (m.processor.turn, m.processor.used, given) == (1, 0, [1])
    m.close()


def test_a_cut_while_one_works_alone_changes_nothing() -> None:
    def end(cuts: list[int]) -> str:
        m = with_one_asleep()
        for at in (*cuts, 6 * TURN):
            run(m, at)
            other = loaded(saved(m))
            m.close()
            m = other
        m.cpus[1].block.set("msr", MSR_ME | MSR_RI)
        run(m, 9 * TURN)
        value = StateHash(m).value()
        m.close()
        return value

    assert end([]) == end([5, TURN - 1, TURN, TURN + 1]) == end([3 * TURN + 17, 4 * TURN])


def test_stops_in_between_change_nothing(uncut: Machine) -> None:
    rng = random.Random(2)
    m = new()
    while m.processor.engine.count < END:
        run(m, min(END, m.processor.engine.count + rng.choice((1, 7, 1000, TURN, 3 * TURN))))
    assert StateHash(m).value() == StateHash(uncut).value()
    m.close()


@pytest.mark.parametrize("compiles", [False, True])
def test_translated_code_serves_both(uncut: Machine, compiles: bool) -> None:
    """Blocks and regions of words that either CPU rewrites, dropped now and then."""
    rng = random.Random(4)
    m = new()
    for engine in m.engines:
        engine.set_pointer("slack", 64)  # the program's decrementers are too near for the usual one
    regions = Regions(
        m.engines[0],
        m.cpu.model.architecture,
        threshold=1,
        interval=64,
        unit=4096,
        pause=1000,
        compiles=compiles,
        after_blocks=1,
        beside=m.engines[1:],
    )
    used: set[int] = set()
    while m.processor.engine.count < END:
        run(m, min(END, m.processor.engine.count + rng.choice((1000, TURN, 5 * TURN))))
        used.update(n for n, engine in enumerate(m.engines) if engine.pointer("region_count"))
        if rng.random() < 0.2:
            regions.drop_all()
    assert StateHash(m).value() == StateHash(uncut).value()
    assert regions.blocks_made > 5
    assert used == ({0, 1} if compiles else set())
    assert regions.counts.changed_words > 0
    regions.leave()
    m.close()


def test_several_cpus_are_translated() -> None:
    m = new()
    translate(m, Accel(tier=1, thread="single"))
    regions = m.regions
    assert regions is not None
    assert regions.engines == tuple(m.engines)
    m.stop_translating()
    m.close()


def test_the_reference_engine_takes_the_same_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines of another make end in the same registers and memory."""
    monkeypatch.setattr("gossamer.engine.turns.TURN", 331)
    a, b = new(), new()
    engines = [Reference(b.memory, cpu.model.architecture) for cpu in b.cpus]
    for cpu, engine in zip(b.cpus, engines, strict=True):
        engine.block.view[:] = cpu.block.view[: len(engine.block.view)]
        cpu.block = engine.block
    turns = Turns(list(zip(b.cpus, engines, strict=True)), b.clock)
    turns.set_rate(32 << 20)
    end = 3600
    run(a, end)
    assert turns.run(end) is Stop.LIMIT
    assert (turns.turn, turns.used) == (a.processor.turn, a.processor.used)
    for x, y in zip(a.cpus, b.cpus, strict=True):
        assert x.block.bytes() == y.block.bytes()
    assert bytes(a.arena.view) == bytes(b.arena.view)
    assert min(word(a, 0x38), word(a, 0x3C)) > 0
    a.close()
    b.close()


def test_sections_are_numbered_as_qemu_numbers_them(uncut: Machine) -> None:
    titles = [p.title for p in uncut.sections]
    assert titles == [
        *("timer", "cpu_common", "cpu", "cpu_common/1", "cpu/1", "gossamer-turn", "bells"),
    ]


def test_time_is_one(uncut: Machine) -> None:
    first, second = uncut.cpus
    assert first.timebase == second.timebase
    assert uncut.clock.now == 32 * END


def test_a_turn_that_cannot_be_is_refused() -> None:
    m = new()
    stream = bytearray(saved(m))
    at = stream.index(b"gossamer-turn") + len(b"gossamer-turn") + 8
    stream[at : at + 4] = (2).to_bytes(4, "big")
    with pytest.raises(StreamError, match="the turn of CPU 2, this machine has 2"):
        loaded(bytes(stream))
    stream[at : at + 8] = (1).to_bytes(4, "big") + TURN.to_bytes(4, "big")
    with pytest.raises(StreamError, match=f"expected less than {TURN}"):
        loaded(bytes(stream))
    m.close()


def test_reset_gives_the_first_cpu_its_turn() -> None:
    m = new()
    while m.processor.turn == 0:
        run(m, m.processor.engine.count + 5000)
    m.reset()
    assert (m.processor.turn, m.processor.used) == (0, 0)
    assert [cpu.block.get("nia") for cpu in m.cpus] == [0xFFF0_0100] * 2
    assert m.engine.block is m.cpus[0].block
    m.close()
