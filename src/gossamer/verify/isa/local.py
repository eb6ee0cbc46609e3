"""Our side of the comparison: a record through the reference evaluator, as a user program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gossamer.base.bits import bit
from gossamer.isa.body import Statement
from gossamer.isa.evaluate import Fault, NoTable, execute
from gossamer.isa.insn import trace_word
from gossamer.isa.interrupts import SRR1_FP_ENABLED, SRR1_TRAP, Access, Interrupt
from gossamer.isa.registers import REGISTERS
from gossamer.isa.spec.table import Decoder
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
    SLOT,
    TRAP,
    WINDOW_EA,
    Record,
)
from gossamer.verify.isa.runner import MSR_RUN

MSR_USER: Final = bit(16) | bit(17) | bit(18) | bit(26) | bit(27)  # EE PR FP IR DR
MSR_FE: Final = bit(20) | bit(23)
SRR1_MSR: Final = 0x87C0_FFFF  # MSR bits that an interrupt keeps in SRR1
PVR_750: Final = 0x0008_0301
MSR_ME: Final = bit(19)
EAR_ON: Final = bit(0)
XER_FLAGS: Final = 0xE000_0000
TAKEN: Final = -1  # next address after an interrupt
OUTSIDE: Final = 0xFFFF_FFFF  # "pad" when control went elsewhere


class LocalCpu(NoTable):
    """An environment of the evaluator over one record.

    In user mode `floating` lets floating-point exceptions through (FE0 and FE1) and interrupts are
    distinguished as Linux does; in supervisor mode a record has their vectors and registers.
    """

    kind: type[Record] = Record

    def __init__(
        self,
        decoder: Decoder,
        floating: bool = False,
        supervisor: bool = False,
        pvr: int = PVR_750,
    ) -> None:
        self.decoder, self.supervisor, self.pvr = decoder, supervisor, pvr
        self.msr = MSR_RUN if supervisor else MSR_USER | (MSR_FE if floating else 0)
        self.srr1 = self.dsisr = 0
        self.cia = self.word = 0
        self.signal = self.dar = 0
        self.memory = bytearray()
        self.registers: dict[str, list[int]] = {}

    def now(self) -> int:
        return 0

    def read_reg(self, name: str, index: int) -> int:
        return self.registers[name][index]

    def write_reg(self, name: str, index: int, value: int) -> None:
        self.registers[name][index] = value

    def _offset(self, ea: int, length: int, access: Access) -> int:
        if ea < WINDOW_EA or ea + length > END_EA:
            store = bit(6) if access is Access.WRITE else 0
            bad = END_EA if WINDOW_EA <= ea < END_EA else ea
            raise Fault(Interrupt.DSI, dar=bad, dsisr=bit(1) | store)
        return ea - WINDOW_EA

    def load(self, ea: int, size: int) -> int:
        at = self._offset(ea, size, Access.READ)
        return int.from_bytes(self.memory[at : at + size], "big")

    def store(self, ea: int, size: int, value: int) -> None:
        at = self._offset(ea, size, Access.WRITE)
        self.memory[at : at + size] = value.to_bytes(size, "big")

    def probe(self, ea: int, length: int, access: Access) -> None:
        if length:
            self._offset(ea, length, access)

    def ram_load(self, ra: int, size: int) -> int:
        raise AssertionError(f"no instruction reads real memory ({ra:#x}, {size})")

    def ram_store(self, ra: int, size: int, value: int) -> None:
        raise AssertionError(f"no instruction writes real memory ({ra:#x}, {size}, {value:#x})")

    def effect(self, name: str, args: Sequence[int]) -> None:
        """Nothing outside the registers is compared."""

    def take_interrupt(
        self, interrupt: Interrupt, srr1: int, dar: int | None, dsisr: int | None, srr0: int
    ) -> int:
        if self.supervisor:
            self.signal, self.srr1 = int(interrupt), self.msr & SRR1_MSR | srr1
            self.dar, self.dsisr = dar or 0, dsisr or 0
            self.cia = srr0
            return TAKEN
        kinds = {Interrupt.DSI: ACCESS, Interrupt.ALIGNMENT: MISALIGNED}
        program = {SRR1_TRAP: TRAP, SRR1_FP_ENABLED: FLOATING}
        self.signal = kinds.get(interrupt) or program.get(srr1, ILLEGAL)
        self.dar = srr0 if dar is None else dar
        return TAKEN

    def enter(self, r: Record) -> None:
        """Take over the state of a record."""
        self.registers = {name: [0] * count for name, (_, count) in REGISTERS.items()}
        state = {
            "gpr": list(r.gpr),
            "fpr": list(r.fpr),
            "crf": [r.cr >> (28 - 4 * n) & 15 for n in range(8)],
            "so": [r.xer >> 31],
            "ov": [r.xer >> 30 & 1],
            "ca": [r.xer >> 29 & 1],
            "xer": [r.xer & ~XER_FLAGS],
            "lr": [r.lr],
            "ctr": [r.ctr],
            "fpscr": [r.fpscr],
            "msr": [self.msr],
            "ear": [EAR_ON],
            "srr0": [r.srr0],
            "srr1": [r.srr1],
            "pvr": [self.pvr],
        }
        self.registers |= state
        self.memory = bytearray(r.memory)
        self.signal = self.dar = self.srr1 = self.dsisr = 0

    def leave(self, r: Record, target: int) -> Record:
        g = self.registers
        cr = sum(f << (28 - 4 * n) for n, f in enumerate(g["crf"]))
        xer = g["so"][0] << 31 | g["ov"][0] << 30 | g["ca"][0] << 29 | g["xer"][0]
        pad, rest = divmod(target - PADS, PAD_SIZE)
        if target == TAKEN:
            pad = self.cia
        elif rest or not 0 <= pad < PAD_COUNT:
            pad = OUTSIDE
        faulted = target == TAKEN
        system = {"srr0": r.srr0, "srr1": self.srr1 if faulted else r.srr1}
        if self.supervisor:
            system |= {"msr": MSR_RUN & MSR_ME if faulted else g["msr"][0], "dsisr": self.dsisr}
        else:
            system["srr1"] = r.srr1
        return self.kind(
            r.word,
            r.prefix,
            cr,
            xer,
            g["lr"][0],
            g["ctr"][0],
            g["fpscr"][0],
            self.signal,
            self.dar,
            pad,
            gpr=g["gpr"],
            fpr=g["fpr"],
            memory=bytes(self.memory),
            **system,
        )

    def refuse(self, cia: int) -> int:
        """The word at `cia` is none of the part's."""
        return self.take_interrupt(Interrupt.PROGRAM, 0, None, None, cia)

    def step(self, word: int, cia: int) -> int:
        self.cia, self.word = cia, word
        row = self.decoder.decode(word)
        if row is None:
            return self.refuse(cia)
        trace: list[Statement] = trace_word(row, word)
        return execute(trace, self)

    def run(self, r: Record) -> Record:
        """The record after prefix and instruction."""
        self.enter(r)
        target = self.step(r.prefix, SLOT)
        if target == INSN:
            target = self.step(r.word, INSN)
        return self.leave(r, target)
