"""Records, runner and both sides of the comparison for AltiVec instructions.

As `record`, `runner`, `qemu` and `local`, with vector
registers and VSCR in place of what these instructions do not touch.  The record is 2 KB at `REC`;
its last quarter is the memory window, which ends where mapped memory ends.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from gossamer.base.bits import bit
from gossamer.base.data import Data, field
from gossamer.isa.body import Statement
from gossamer.isa.evaluate import Fault, NoTable, execute
from gossamer.isa.insn import Decoder, Insn, trace_word
from gossamer.isa.interrupts import SRR1_FP_ENABLED, Access, Interrupt
from gossamer.isa.registers import registers
from gossamer.isa.text import assemble_program
from gossamer.verify.isa.qemu_user import BASE, elf, qemu_ppc, run_blocks
from gossamer.verify.isa.record import ACCESS, FLOATING, ILLEGAL, record_differences

SIZE: Final = 2048
REC: Final = 0x7800
WINDOW: Final = 1536
WINDOW_EA: Final = REC + WINDOW
END_EA: Final = REC + SIZE
SLOT: Final = 0x3000
MSR_USER: Final = bit(6) | bit(16) | bit(17) | bit(18) | bit(26) | bit(27)  # VEC EE PR FP IR DR
VSCR_MASK: Final = (1 << 32) - 1

_HEAD: Final = struct.Struct(">5I")  # word, signal, CR, VSCR, VRSAVE
_FPSCR: Final = struct.Struct(">Q")  # of 64-bit parts, whose VSX instructions look at it
_FPSCR_AT: Final = 24
_GPRS: Final = struct.Struct(">32I")  # at 64
_VRS: Final = 256
_VSCR_AFTER: Final = 768


class VectorRecord(Data, frozen=False):
    """CPU state and memory window around one vector instruction."""

    word: int
    signal: int = 0
    cr: int = 0
    vscr: int = 0
    vrsave: int = 0
    gpr: list[int] = field(default_factory=lambda: [0] * 32)
    vr: list[int] = field(default_factory=lambda: [0] * 32)
    memory: bytes = bytes(SIZE - WINDOW)
    fpscr: int = 0

    def pack(self) -> bytes:
        block = bytearray(WINDOW)
        _HEAD.pack_into(block, 0, self.word, self.signal, self.cr, 0, self.vrsave)
        _FPSCR.pack_into(block, _FPSCR_AT, self.fpscr)
        _GPRS.pack_into(block, 64, *self.gpr)
        for n, value in enumerate(self.vr):
            block[_VRS + 16 * n : _VRS + 16 * n + 16] = value.to_bytes(16, "big")
        block[_VSCR_AFTER : _VSCR_AFTER + 16] = self.vscr.to_bytes(16, "big")
        return bytes(block) + self.memory

    @classmethod
    def unpack(cls, block: bytes) -> VectorRecord:
        word, signal, cr, _, vrsave = _HEAD.unpack_from(block)
        gpr = list(_GPRS.unpack_from(block, 64))
        vr = [int.from_bytes(block[n : n + 16], "big") for n in range(_VRS, _VSCR_AFTER, 16)]
        vscr = int.from_bytes(block[_VSCR_AFTER : _VSCR_AFTER + 16], "big")
        (fpscr,) = _FPSCR.unpack_from(block, _FPSCR_AT)
        memory = block[WINDOW:SIZE]
        return cls(word, signal, cr, vscr, vrsave, gpr, vr, memory, fpscr & 0xFFFF_FFFF)

    def differences(self, other: VectorRecord) -> dict[str, tuple[int, int]]:
        """Fields that differ, by name, with both values; memory by its first byte that differs."""
        return record_differences(
            self, other, ("signal", "cr", "vscr", "vrsave", "fpscr"), ("gpr", "vr")
        )


PROGRAM: Final = r"""
    .equ REC, 0x7800
    .equ R_SIGNAL, REC+4
    .equ R_CR, REC+8
    .equ R_VRSAVE, REC+16
    .equ R_GPR, REC+64
    .equ R_VR, REC+256
    .equ R_VSCR, REC+768
    .equ SIZE, 2048
_start:
    lis 3, altstack@ha
    addi 3, 3, altstack@l
    li 4, 0
    li 0, 185
    sc
    li 3, 11
    bl catch
    li 3, 4
    bl catch
next:
    li 30, REC
    li 29, SIZE
1:  li 3, 0
    mr 4, 30
    mr 5, 29
    li 0, 3
    sc
    bso quit
    cmpwi 3, 0
    ble quit
    add 30, 30, 3
    subf. 29, 3, 29
    bne 1b
    lwz 3, REC(0)
    lis 4, slot@ha
    stwu 3, slot@l(4)
    dcbst 0, 4
    sync
    icbi 0, 4
    isync
    li 3, R_VSCR
    lvx 0, 0, 3
    mtvscr 0
    .irp n, ALL
    li 3, R_VR+16*\n
    lvx \n, 0, 3
    .endr
    lwz 3, R_VRSAVE(0)
    mtspr 256, 3
    lwz 3, R_CR(0)
    mtcr 3
    .irp n, ALL
    lwz \n, R_GPR+4*\n(0)
    .endr
    b slot
    .org 0x3000
slot:
    .long 0
    .irp n, ALL
    stw \n, R_GPR+4*\n(0)
    .endr
    mfcr 3
    stw 3, R_CR(0)
    li 3, 0
    stw 3, R_SIGNAL(0)
vectors:
    .irp n, ALL
    li 3, R_VR+16*\n
    stvx \n, 0, 3
    .endr
    mfvscr 0
    li 3, R_VSCR
    stvx 0, 0, 3
    mfspr 3, 256
    stw 3, R_VRSAVE(0)
    li 30, REC
    li 29, SIZE
2:  li 3, 1
    mr 4, 30
    mr 5, 29
    li 0, 4
    sc
    bso quit
    add 30, 30, 3
    subf. 29, 3, 29
    bne 2b
    b next
quit:
    li 3, 0
    li 0, 1
    sc
# rt_sigaction for the signal in r3
catch:
    lis 4, action@ha
    addi 4, 4, action@l
    li 5, 0
    li 6, 8
    li 0, 173
    sc
    blr
# r3 number, r5 ucontext (its register pointer at 48); the vector registers are still live
handler:
    lwz 6, 48(5)
    .irp n, ALL
    lwz 7, 4*\n(6)
    stw 7, R_GPR+4*\n(0)
    .endr
    lwz 7, 38*4(6)
    stw 7, R_CR(0)
    stw 3, R_SIGNAL(0)
    b vectors
# struct sigaction: handler, flags (SA_SIGINFO | SA_ONSTACK | SA_NODEFER), restorer, mask
action: .long handler, 0x48000004, 0, 0, 0
altstack: .long 0x5000, 0, 0x2800
"""


def runner() -> bytes:
    """The runner, from its source."""
    source = PROGRAM.replace("ALL", ",".join(map(str, range(32))))
    return assemble_program(source, BASE).code


class QemuVector:
    """Runs vector records in qemu-ppc."""

    name = "qemu"

    def __init__(self, model: str = "7400", program: str | None = None) -> None:
        self.program, self.model = qemu_ppc(program), model
        self.image = elf(runner(), END_EA)

    def run(self, records: Sequence[VectorRecord], timeout: float = 600) -> list[VectorRecord]:
        blocks = run_blocks(
            self.program, self.model, self.image, [r.pack() for r in records], timeout
        )
        return [VectorRecord.unpack(block) for block in blocks]


class LocalVector(NoTable):
    """An environment of the evaluator over one vector record, in user mode."""

    width = 32
    msr = MSR_USER

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.cia = SLOT
        self.word = self.signal = 0
        self.memory = bytearray()
        self.registers: dict[str, list[int]] = {}

    def now(self) -> int:
        return 0

    def read_reg(self, name: str, index: int) -> int:
        return self.registers[name][index]

    def write_reg(self, name: str, index: int, value: int) -> None:
        assert 0 <= value < 1 << registers(self.width)[name][0], name
        self.registers[name][index] = value

    def _offset(self, ea: int, length: int) -> int:
        if ea < WINDOW_EA or ea + length > END_EA:
            raise Fault(Interrupt.DSI, dar=ea)
        return ea - WINDOW_EA

    def load(self, ea: int, size: int) -> int:
        at = self._offset(ea, size)
        return int.from_bytes(self.memory[at : at + size], "big")

    def store(self, ea: int, size: int, value: int) -> None:
        at = self._offset(ea, size)
        self.memory[at : at + size] = value.to_bytes(size, "big")

    def probe(self, ea: int, length: int, access: Access) -> None:
        raise AssertionError(f"no vector instruction probes ({ea:#x}, {length}, {access})")

    def ram_load(self, ra: int, size: int) -> int:
        raise AssertionError(f"no instruction reads real memory ({ra:#x}, {size})")

    def ram_store(self, ra: int, size: int, value: int) -> None:
        raise AssertionError(f"no instruction writes real memory ({ra:#x}, {size}, {value:#x})")

    def effect(self, name: str, args: Sequence[int]) -> None:
        raise AssertionError(f"no vector instruction has effects ({name}, {args})")

    def take_interrupt(
        self, interrupt: Interrupt, srr1: int, dar: int | None, dsisr: int | None, srr0: int
    ) -> int:
        self.signal = ACCESS if interrupt is Interrupt.DSI else ILLEGAL
        if srr1 & SRR1_FP_ENABLED:
            self.signal = FLOATING
        return srr0

    def trace(self, row: Insn) -> list[Statement]:
        """The statements of the instruction."""
        return trace_word(row, self.word, self.width)

    def run(self, before: VectorRecord) -> VectorRecord:
        """The record after the instruction."""
        g = self.registers = {n: [0] * count for n, (_, count) in registers(self.width).items()}
        g["gpr"], g["vr"] = list(before.gpr), list(before.vr)
        g["crf"] = [before.cr >> (28 - 4 * n) & 15 for n in range(8)]
        g["vscr"], g["vrsave"], g["msr"] = [before.vscr & VSCR_MASK], [before.vrsave], [self.msr]
        g["fpscr"] = [before.fpscr]
        self.memory, self.signal, self.word = bytearray(before.memory), 0, before.word
        row = self.decoder.decode(before.word)
        if row is None:
            self.signal = ILLEGAL
        else:
            execute(self.trace(row), self, width=self.width)
        cr = sum(f << (28 - 4 * n) for n, f in enumerate(g["crf"]))
        memory = bytes(self.memory)
        state = (self.signal, cr, g["vscr"][0], g["vrsave"][0], g["gpr"], g["vr"], memory)
        return VectorRecord(before.word, *state, g["fpscr"][0])
