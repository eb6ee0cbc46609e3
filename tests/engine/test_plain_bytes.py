"""Chips that are nothing but bytes: native code reads and writes them, and they are the same."""

from __future__ import annotations

import pytest

from gossamer.core.region import Region
from gossamer.engine.reference import Reference
from gossamer.engine.tier0 import Tier0
from gossamer.isa.text import assemble

from .rig import IO_BASE, Rig

CODE, BASE, STRIDE, SIZE = 0x1_0000, IO_BASE + 0x1_0000, 4, 0x400
ENGINES = pytest.mark.parametrize("engine", [Tier0, Reference])
#: Adds up 64 bytes into r6 and writes each, plus 3, to the next.
WALK = "1: lbz 5,0(4); add 6,6,5; addi 5,5,3; stb 5,4(4); addi 4,4,4; bdnz 1b; nop"


class Bytes:
    """`has_followers`: something outside has to see each byte that is written."""

    def __init__(self, rig: Rig, at: int = BASE) -> None:
        self.data = bytearray(range(256))
        self.reads = self.writes = 0
        self.has_followers = False
        self.region = Region(
            "bytes", SIZE, self.read, self.write, widths=(1, 4), still=lambda offset: True,
            content=lambda: None if self.has_followers else self.data, stride=STRIDE,
        )  # fmt: skip
        self.mapping = rig.memory.map(self.region, at)

    def read(self, offset: int, size: int) -> int:
        self.reads += 1
        there = (self.data[(offset + n) // STRIDE] for n in range(size))
        return int.from_bytes(bytes(there), "big")

    def write(self, offset: int, size: int, value: int) -> None:
        self.writes += 1
        self.data[offset // STRIDE] = value & 0xFF


def rig_with(engine: type, text: str = WALK, **registers: int) -> tuple[Rig, Bytes]:
    rig = Rig(engine)
    rig.write(CODE, assemble(text, CODE))
    rig.set(**({"nia": CODE, "r4": BASE, "ctr": 64} | registers))
    return rig, Bytes(rig)


def again(rig: Rig) -> None:
    rig.set(nia=CODE, r4=BASE, ctr=64)
    rig.run(64 * 6)


@ENGINES
def test_bytes_are_those_of_the_chip(engine: type) -> None:
    rig, chip = rig_with(engine)
    rig.run(64 * 6)
    assert chip.data == bytearray(3 * n for n in range(65)) + bytearray(range(65, 256))
    assert rig.get("r6") == 3 * sum(range(64))


def test_native_code_asks_the_chip_once() -> None:
    rig, chip = rig_with(Tier0)
    rig.run(64 * 6)
    assert (chip.reads, chip.writes) == (1, 0)


def test_bytes_that_are_followed_are_the_chips() -> None:
    rig, chip = rig_with(Tier0)
    chip.has_followers = True
    rig.run(64 * 6)
    assert chip.writes == 64
    chip.has_followers = False
    again(rig)
    chip.has_followers = True
    again(rig)
    assert chip.writes == 128


def test_a_chip_with_other_bytes_is_asked_again() -> None:
    rig, chip = rig_with(Tier0)
    rig.run(64 * 6)
    chip.data = bytearray(256)
    again(rig)
    assert chip.data[:65] == bytearray(3 * n & 0xFF for n in range(65))


def test_bytes_that_move_or_are_covered_are_found_where_they_are() -> None:
    rig, chip = rig_with(Tier0)
    rig.run(64 * 6)
    over = Region("over", 0x40, lambda offset, size: 1, lambda offset, size, value: None)
    covered = rig.memory.map(over, BASE, priority=1)
    rig.set(r6=0)
    again(rig)
    assert rig.get("r6") == 16 + sum(chip.data[16:64])
    rig.memory.unmap(covered)
    rig.memory.unmap(chip.mapping)
    rig.memory.map(chip.region, BASE + 0x40)
    before = bytes(chip.data)
    rig.set(r6=0)
    rig.set(nia=CODE, r4=BASE + 0x40, ctr=64)
    rig.run(64 * 6)
    assert rig.get("r6") == sum(before[:1]) + sum((before[0] + 3 * n) & 0xFF for n in range(1, 64))


@ENGINES
def test_wider_accesses_see_bytes_that_were_written(engine: type) -> None:
    rig, _ = rig_with(engine, "lwz 5,0(4); lbz 7,0(4); stb 8,0(4); lwz 6,0(4); nop", r8=0x77)
    rig.run(4)
    assert (rig.get("r5"), rig.get("r6")) == (0, 0x77777777)
