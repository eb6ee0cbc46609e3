"""A ref405ep with a program in its SRAM, under either engine."""

from __future__ import annotations

from typing import Final

from gossamer.cpu.cpu_405 import Cpu405
from gossamer.engine.processor import Processor
from gossamer.engine.reference import Reference
from gossamer.isa.text import assemble
from gossamer.machines.build import build
from gossamer.machines.config import Hardware
from gossamer.machines.machine import Machine

SRAM: Final = 0xFFF0_0000
#: A page of SRAM that programs may use, and the end of it.
DATA: Final = SRAM + 0x1_0000
#: EVPR of programs here: the SRAM's first 64 KiB.
VECTORS: Final = SRAM


def board(
    source: str, *, at: int = SRAM + 0x4000, symbols: dict[str, int] | None = None
) -> Machine:
    """The board at power on, about to execute `source`; an interrupt ends in a loop at its vector.

    r3 is `DATA`.
    """
    at = SRAM + 0x4000
    m = build(Hardware(machine="ref405ep"))
    for offset in range(0x100, 0x2001, 0x10):
        m.memory.write(VECTORS + offset, assemble("b .", VECTORS + offset))
    m.memory.write(at, assemble(source, at))
    block = m.cpu.block
    block.set("nia", at)
    block.set("evpr", VECTORS)
    block.set("gpr", DATA, 3)
    return m


def cpu_of(m: Machine) -> Cpu405:
    assert isinstance(m.cpu, Cpu405)
    return m.cpu


def by_reference(m: Machine) -> Processor:
    """A run loop that executes the machine's program with the reference engine."""
    engine = Reference(m.memory, m.cpu.model.architecture)
    for name in m.cpu.block.layout.registers:
        for n in range(m.cpu.block.layout.registers[name][1]):
            engine.block.set(name, m.cpu.block.get(name, n), n)
    m.cpu.block = engine.block
    return Processor(m.cpu, engine, m.clock)


def alike(source: str, count: int) -> Machine:
    """Run `count` instructions of a program on both engines; the machine, when they agree."""
    mine, other = board(source), board(source)
    mine.processor.run(count=count)
    by_reference(other).run(count=count)
    names = mine.cpu.block.layout.registers
    for name, (_, elements) in names.items():
        for n in range(elements):
            a, b = mine.cpu.block.get(name, n), other.cpu.block.get(name, n)
            assert a == b, f"{name}[{n}]: {a:#x} native, {b:#x} by the reference"
    assert mine.memory.read(DATA, 0x1_0000) == other.memory.read(DATA, 0x1_0000)
    return mine
