"""A CPU with a little flat memory: runs words in the reference evaluator, supervisor mode."""

from __future__ import annotations

from collections.abc import Sequence

from gossamer.isa.evaluate import Fault, NoTable, execute
from gossamer.isa.insn import Decoder, trace_word
from gossamer.isa.interrupts import Access, Interrupt
from gossamer.isa.registers import REGISTERS
from gossamer.isa.text import assemble

BASE = 0x1000
USER = 0x4000
FP = 0x2000


class MiniCpu(NoTable):
    """Memory is 4 KB at BASE; other addresses fault.  Interrupts taken are kept in a list."""

    def __init__(self, features: Sequence[str] = ("750",)) -> None:
        self.decoder = Decoder(features)
        self.regs = {name: [0] * count for name, (_, count) in REGISTERS.items()}
        self.regs["pvr"][0] = 0x0008_0301
        self.regs["tb_hz"][0] = 16_600_000
        self.memory = bytearray(0x1000)
        self.time = 0
        self.cia = self.word = 0
        self.effects: list[tuple[str, list[int]]] = []
        self.taken: list[tuple[Interrupt, int, int | None, int | None, int]] = []

    def now(self) -> int:
        return self.time

    def read_reg(self, name: str, index: int) -> int:
        return self.regs[name][index]

    def write_reg(self, name: str, index: int, value: int) -> None:
        assert 0 <= value < 1 << REGISTERS[name][0]
        self.regs[name][index] = value

    def _at(self, ea: int, length: int, access: Access) -> int:
        if not BASE <= ea <= BASE + len(self.memory) - length:
            dsisr = 0x4200_0000 if access is Access.WRITE else 0x4000_0000
            raise Fault(Interrupt.DSI, dar=ea, dsisr=dsisr)
        return ea - BASE

    def load(self, ea: int, size: int) -> int:
        at = self._at(ea, size, Access.READ)
        return int.from_bytes(self.memory[at : at + size], "big")

    def store(self, ea: int, size: int, value: int) -> None:
        at = self._at(ea, size, Access.WRITE)
        self.memory[at : at + size] = value.to_bytes(size, "big")

    def probe(self, ea: int, length: int, access: Access) -> None:
        if length:
            self._at(ea, length, access)

    def ram_load(self, ra: int, size: int) -> int:
        return int.from_bytes(self.memory[ra : ra + size], "big")

    def ram_store(self, ra: int, size: int, value: int) -> None:
        self.memory[ra : ra + size] = value.to_bytes(size, "big")

    def effect(self, name: str, args: Sequence[int]) -> None:
        self.effects.append((name, list(args)))

    def take_interrupt(
        self, interrupt: Interrupt, srr1: int, dar: int | None, dsisr: int | None, srr0: int
    ) -> int:
        self.taken.append((interrupt, srr1, dar, dsisr, srr0))
        return int(interrupt)

    def step(self, word: int, cia: int = 0x100) -> int:
        """Run one word; the next address."""
        self.cia, self.word = cia, word
        row = self.decoder.decode(word)
        if row is None:
            return self.take_interrupt(Interrupt.PROGRAM, 0x0008_0000, None, None, cia)
        return execute(trace_word(row, word), self)

    def run(self, source: str) -> int:
        """Run a straight line of assembly; the address after the last one."""
        code = assemble(source, 0x100)
        target = 0x100
        for at in range(0, len(code), 4):
            target = self.step(int.from_bytes(code[at : at + 4], "big"), 0x100 + at)
        return target

    @property
    def gpr(self) -> list[int]:
        return self.regs["gpr"]

    @property
    def cr(self) -> int:
        return sum(f << (28 - 4 * n) for n, f in enumerate(self.regs["crf"]))
