"""Our side of the comparison on native code: each record compiled as a region, or into a block.

A record runs in user mode on an engine of its own memory: code at `SLOT`, its window in a page that
is mapped alone, branches to themselves wherever control may end.  What a region or block does not
do is tier 0's; `through` counts the records of which a region executed something, or for which all
instructions were copied into the block that is entered.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.units import PAGE_SIZE
from gossamer.core.memory import AddressMap, Arena
from gossamer.engine.regions.regions import Regions
from gossamer.engine.tier0 import Tier0
from gossamer.isa.architecture import Architecture
from gossamer.isa.interrupts import Interrupt
from gossamer.isa.spec.table import Decoder
from gossamer.verify.isa.local import MSR_USER, TAKEN, LocalCpu
from gossamer.verify.isa.record import (
    ACCESS,
    END_EA,
    FLOATING,
    ILLEGAL,
    INSN,
    MISALIGNED,
    PAD_COUNT,
    PAD_SIZE,
    PADS,
    SIZE,
    SLOT,
    TRAP,
    WINDOW,
    WINDOW_EA,
    Record,
)
from gossamer.verify.isa.vector import VSCR_MASK, LocalVector, VectorRecord

_RAM: Final = 1 << 18
_TABLE: Final = 0x1_0000
#: More than the straight line that a run leaves for single steps.
_ENOUGH: Final = 1100
_FOREVER: Final = 0x4800_0000  # b .
_WIDE: Final = 0x2  # BAT: user and supervisor, 128 KiB; PTE: read and write
_MSR_VEC: Final = 0x0200_0000
_SRR1_FLOATING, _SRR1_TRAP = 0x0010_0000, 0x0002_0000
_VECTORS: Final = {
    Interrupt.DSI: ACCESS,
    Interrupt.ALIGNMENT: MISALIGNED,
    Interrupt.PROGRAM: ILLEGAL,
}


class Bench:
    """An engine that compiles what it is given, or copies it into `blocks`."""

    def __init__(self, architecture: Architecture, *, blocks: bool = False) -> None:
        arena = Arena(_RAM)
        self.memory = AddressMap(arena)
        self.memory.map(arena.add("ram", _RAM), 0)
        self.engine = Tier0(self.memory, architecture)
        self.engine.take_all_units()  # words are decoded here before any is executed
        self.regions = Regions(self.engine, architecture, pause=0)
        self._copies = blocks
        self.block = self.engine.block
        self.through = 0
        for vector in Interrupt:
            self._words(vector, _FOREVER)
        for n in range(PAD_COUNT):
            self._words(PADS + n * PAD_SIZE, _FOREVER)
        # One group of the page table holds the window's page, referenced and changed already.
        page = WINDOW_EA // PAGE_SIZE
        self._words(_TABLE + page * 64, 0x8000_0000, page * PAGE_SIZE | 0x180 | _WIDE)
        self.block.set("sdr1", _TABLE)
        self.block.set("ibat", 3, 0)
        self.block.set("ibat", _WIDE, 1)

    def _words(self, at: int, *words: int) -> None:
        self.memory.write(at, b"".join(w.to_bytes(4, "big") for w in words))

    def execute(self, memory: bytes, start: int, *words: int) -> tuple[int, bytes]:
        """Run words from `start`, translated; where it ended, and the window then."""
        self.memory.write(WINDOW_EA, memory)
        self._words(start, *words)
        self.block.set("nia", start)
        self.engine.flush()
        # The first run finds the page; then nothing but what is translated has been executed.
        self._find(start, len(words))
        if self._copies:
            self.through += self._copied(start) >= len(words)
        else:
            self.regions.make(start)
        before = self.regions.executed()
        self.engine.run(_ENOUGH)
        self.through += self.regions.executed() > before
        return self.block.get("nia"), self.memory.read(WINDOW_EA, SIZE - WINDOW)

    def _copied(self, start: int) -> int:
        """Make the block at `start`, and say how many instructions it has."""
        blocks = self.regions.blocks
        assert blocks is not None
        before = blocks.instructions
        self.regions.copy(start)
        return blocks.instructions - before

    def _find(self, start: int, count: int) -> None:
        """Let the fetch TLB know the page of the code, and decode it."""
        page = None
        while page is None:  # a page's first decoded word makes translations go once more
            self.block.set("nia", PADS)
            self.engine.run(1)
            page = self.regions.view.page(start)
        self.block.set("nia", start)
        first = start % PAGE_SIZE
        self.regions.view.decode(page, range(first, first + 4 * count, 4))


class NativeCpu(LocalCpu):
    """`LocalCpu` on native code, in user mode."""

    def __init__(
        self, decoder: Decoder, architecture: Architecture, *, blocks: bool = False
    ) -> None:
        super().__init__(decoder, floating=True)
        self.bench = Bench(architecture, blocks=blocks)

    def run(self, r: Record) -> Record:
        self.enter(r)
        block = self.bench.block
        for name in _COMPARED:
            for n, value in enumerate(self.registers[name]):
                block.set(name, value, n)
        block.set("reserved", 0)
        nia, memory = self.bench.execute(r.memory, SLOT, r.prefix, r.word)
        for name in _COMPARED:
            self.registers[name] = list(block.all(name))
        self.memory = bytearray(memory)
        if nia >= SLOT:
            return self.leave(r, nia)
        return self.leave(r, self._faulted(nia))

    def _faulted(self, vector: int) -> int:
        """The interrupt at `vector` as Linux would report it to a user program."""
        block = self.bench.block
        self.cia, srr1 = block.get("srr0"), block.get("srr1")
        self.signal = _VECTORS.get(Interrupt(vector), ILLEGAL)
        if vector == Interrupt.PROGRAM:
            floating, trapped = srr1 & _SRR1_FLOATING, srr1 & _SRR1_TRAP
            self.signal = FLOATING if floating else TRAP if trapped else ILLEGAL
        reports = self.signal in (ACCESS, MISALIGNED)
        self.dar = block.get("dar") if reports else self.cia
        return TAKEN


#: What a record gives and takes, by register file.
_COMPARED: Final = ("gpr", "fpr", "crf", "so", "ov", "ca", "xer", "lr", "ctr", "fpscr", "msr",
                    "ear")  # fmt: skip


class NativeVector(LocalVector):
    """`LocalVector` on native code."""

    def __init__(
        self, decoder: Decoder, architecture: Architecture, *, blocks: bool = False
    ) -> None:
        super().__init__(decoder)
        self.bench = Bench(architecture, blocks=blocks)

    def run(self, before: VectorRecord) -> VectorRecord:
        block = self.bench.block
        for n in range(32):
            block.set("gpr", before.gpr[n], n)
            block.set("vr", before.vr[n], n)
        block.cr = before.cr
        block.set("vscr", before.vscr & VSCR_MASK)
        block.set("vrsave", before.vrsave)
        block.set("msr", MSR_USER | _MSR_VEC)
        nia, memory = self.bench.execute(before.memory, INSN, before.word)
        signal = 0 if nia >= SLOT else _VECTORS.get(Interrupt(nia), ILLEGAL)
        state = (block.get("vscr"), block.get("vrsave"), list(block.all("gpr")))
        return VectorRecord(before.word, signal, block.cr, *state, list(block.all("vr")), memory)


assert END_EA % PAGE_SIZE == 0, "the window must end with its page"
