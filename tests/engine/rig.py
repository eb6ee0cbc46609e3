"""A CPU with RAM, ROM, a device and interrupts, on either engine, and how to compare two."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

import numpy as np

from gossamer.core.clock import Clock
from gossamer.core.htab import HashTable
from gossamer.core.irq import IrqLine
from gossamer.core.memory import AddressMap, Arena
from gossamer.core.region import Region
from gossamer.cpu import families
from gossamer.cpu.model import find
from gossamer.engine.processor import Processor, Stop
from gossamer.engine.reference import Reference
from gossamer.engine.tier0 import Tier0
from gossamer.isa.interrupts import Irq

RAM_SIZE: Final = 1 << 20
ROM_BASE: Final = 0xFFF0_0000
ROM_SIZE: Final = 0x4000
IO_BASE: Final = 0xF000_0000
TB_HZ: Final = 250_000_000
#: log2 of the bytes of a 64-bit guest's hash table.
TABLE_SHIFT: Final = 18
#: Traces of instruction words, shared by every reference engine of the process.
TRACES: dict = {}


@dataclass(frozen=True)
class Access:
    """What the device saw: virtual ns, offset, size, value written or None."""

    now: int
    offset: int
    size: int
    value: int | None


class Device:
    """Reads give a number that depends on everything before; writes move the interrupt line.

    A write to offset 0x10 lowers the line; any other write with an odd value arms the alarm that
    raises it, so many ns later.
    """

    def __init__(self, clock: Clock, line: IrqLine) -> None:
        self.clock, self.line = clock, line
        self.log: list[Access] = []
        self.alarm = clock.alarm(self.expired)

    def region(self) -> Region:
        return Region("device", 0x1000, self.read, self.write)

    def read(self, offset: int, size: int) -> int:
        self.log.append(Access(self.clock.now, offset, size, None))
        return 0x9E37_79B9 * (len(self.log) + offset) + self.clock.now

    def write(self, offset: int, size: int, value: int) -> None:
        self.log.append(Access(self.clock.now, offset, size, value))
        if offset == 0x10:
            self.line.set(False)
        elif value & 1:
            self.alarm.set(self.clock.now + (value >> 1 & 0xFF))

    def expired(self) -> None:
        self.line.set(True)


class Rig:
    """A CPU on `Tier0` or `Reference`; RAM at 0, ROM at 0xfff00000, the device at 0xf0000000."""

    def __init__(
        self,
        engine: type[Tier0] | type[Reference] = Tier0,
        ram: int = RAM_SIZE,
        cpu: str = "750",
    ) -> None:
        model = find(cpu)
        self.clock = Clock()
        self.arena = Arena(ram + ROM_SIZE)
        self.memory = AddressMap(self.arena)
        self.ram = self.arena.add("ram", ram)
        self.rom = self.arena.add("rom", ROM_SIZE, read_only=True)
        self.memory.map(self.ram, 0)
        self.memory.map(self.rom, ROM_BASE)
        self.engine = engine(self.memory, model.architecture)
        if isinstance(self.engine, Reference):
            self.engine._traces = TRACES.setdefault(cpu, {})
        self.block = self.engine.block
        self.cpu = families.make(self.clock, self.block, model, TB_HZ)
        if model.architecture.mmu == "slb":
            self.memory.hash_table = table = HashTable(TABLE_SHIFT)
            table.gone = self.engine.forget_entry
        self.processor = Processor(self.cpu, self.engine, self.clock)
        self.line = IrqLine(self.cpu, Irq.EXTERNAL)
        self.device = Device(self.clock, self.line)
        self.memory.map(self.device.region(), IO_BASE)
        self.set(nia=0x1_0000, msr=0)

    def set(self, **registers: int) -> None:
        """Registers by name: ``r3``, ``f1``, ``sr2`` or any of the model."""
        for name, value in registers.items():
            if name == "cr":
                self.block.cr = value
            elif name == "xer":
                self.block.xer = value
            elif name in self.block.layout.registers:
                self.block.set(name, value)
            else:
                stem = name.rstrip("0123456789")
                file = {"r": "gpr", "f": "fpr"}.get(stem, stem)
                self.block.set(file, value, int(name[len(stem) :]))
        self.engine.flush()

    def get(self, name: str) -> int:
        if name in self.block.layout.registers:
            return self.block.get(name)
        stem = name.rstrip("0123456789")
        return self.block.get({"r": "gpr", "f": "fpr"}.get(stem, stem), int(name[len(stem) :]))

    def write(self, ra: int, data: bytes) -> None:
        """Bytes into RAM or ROM."""
        if ra >= ROM_BASE:
            at = self.rom.offset + ra - ROM_BASE
            self.arena.view[at : at + len(data)] = data
        else:
            self.memory.write(ra, data)

    def word(self, ra: int) -> int:
        return int.from_bytes(self.memory.read(ra, 4), "big")

    def words(self, ra: int, *words: int) -> None:
        self.write(ra, b"".join(w.to_bytes(4, "big") for w in words))

    def run(self, instructions: int) -> Stop:
        """So many instructions more, with alarms and interrupts."""
        return self.processor.run(self.engine.count + instructions)

    def pages(self) -> bytes:
        """RAM and ROM."""
        return bytes(self.arena.view)


def difference(a: Rig, b: Rig) -> str:
    """How two rigs differ; empty when they don't."""
    out = []
    if a.engine.count != b.engine.count:
        out.append(f"count {a.engine.count} {b.engine.count}")
    if a.block.bytes() != b.block.bytes():
        for name in a.block.layout.offset:
            for n, (x, y) in enumerate(zip(a.block.all(name), b.block.all(name), strict=True)):
                if x != y:
                    out.append(f"{name}[{n}] {x:#x} {y:#x}")
    if a.arena.view != b.arena.view:
        differ = np.flatnonzero(a.arena.bytes != b.arena.bytes)
        out += [
            f"byte {n:#x} {a.arena.bytes[n]:#x} {b.arena.bytes[n]:#x}" for n in differ[:8].tolist()
        ]
    tables = [r.memory.hash_table for r in (a, b)]
    if isinstance(tables[0], HashTable) and isinstance(tables[1], HashTable):
        differ = np.flatnonzero(tables[0].words != tables[1].words)
        out += [f"entry {n // 2} of the table, doubleword {n % 2}" for n in differ[:8].tolist()]
        if tables[0].dirty.view != tables[1].dirty.view:
            out.append("the table's dirty groups")
    if a.device.log != b.device.log:
        pairs = zip(a.device.log, b.device.log, strict=False)
        n = next((n for n, (x, y) in enumerate(pairs) if x != y), -1)
        tail = f"{a.device.log[n : n + 1]} {b.device.log[n : n + 1]}"
        out.append(f"device {len(a.device.log)} {len(b.device.log)} at {n}: {tail}")
    if a.clock.now != b.clock.now or a.clock.deadline != b.clock.deadline:
        out.append(f"clock {a.clock.now} {b.clock.now} {a.clock.deadline} {b.clock.deadline}")
    return "; ".join(out)


def agreed(a: Rig, b: Rig, seed: int, rounds: int) -> int:
    """Run both on, comparing now and then, until a run ends for another reason; steps done."""
    assert not (d := difference(a, b)), d
    rng = random.Random(seed)
    for _ in range(rounds):
        n = rng.choice((1, 1, 7, 30, 60))
        where = f"seed {seed}, {n} instructions after {b.engine.count} at {b.get('nia'):#x}"
        stops = a.run(n), b.run(n)
        assert not (d := difference(a, b)), f"{where}: {d}"
        assert stops[0] is stops[1], where
        if stops[0] is not Stop.LIMIT:
            break
    return b.engine.count
