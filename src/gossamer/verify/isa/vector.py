"""Records, runner and both sides of the comparison for AltiVec instructions.

As `record`, `runner`, `qemu` and `local`, with vector
registers and VSCR in place of what these instructions do not touch.  The record is 2 KB at `REC`;
its last quarter is the memory window, which ends where mapped memory ends.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gossamer.base.bits import bit
from gossamer.base.errors import ConfigError, HostError
from gossamer.isa.body import Access, Interrupt
from gossamer.isa.evaluate import Fault, execute
from gossamer.isa.insn import Decoder, trace_word
from gossamer.isa.registers import REGISTERS
from gossamer.isa.text import assemble_program
from gossamer.verify.isa.record import ACCESS, ILLEGAL

SIZE: Final = 2048
REC: Final = 0x7800
WINDOW: Final = 1536
WINDOW_EA: Final = REC + WINDOW
END_EA: Final = REC + SIZE
BASE: Final = 0x2000
SLOT: Final = 0x3000
MSR_USER: Final = bit(6) | bit(16) | bit(17) | bit(18) | bit(26) | bit(27)  # VEC EE PR FP IR DR
VSCR_MASK: Final = (1 << 32) - 1

_HEAD: Final = struct.Struct(">5I")  # word, signal, CR, VSCR, VRSAVE
_GPRS: Final = struct.Struct(">32I")  # at 64
_VRS: Final = 256
_VSCR_AFTER: Final = 768


@dataclass
class VectorRecord:
    """CPU state and memory window around one vector instruction."""

    word: int
    signal: int = 0
    cr: int = 0
    vscr: int = 0
    vrsave: int = 0
    gpr: list[int] = field(default_factory=lambda: [0] * 32)
    vr: list[int] = field(default_factory=lambda: [0] * 32)
    memory: bytes = bytes(SIZE - WINDOW)

    def pack(self) -> bytes:
        block = bytearray(WINDOW)
        _HEAD.pack_into(block, 0, self.word, self.signal, self.cr, 0, self.vrsave)
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
        return cls(word, signal, cr, vscr, vrsave, gpr, vr, block[WINDOW:SIZE])

    def differences(self, other: VectorRecord) -> dict[str, tuple[int, int]]:
        """Fields that differ, by name, with both values; memory by its first byte that differs."""
        found: dict[str, tuple[int, int]] = {}
        for name in ("signal", "cr", "vscr", "vrsave"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                found[name] = (mine, theirs)
        for kind in ("gpr", "vr"):
            pairs = zip(getattr(self, kind), getattr(other, kind), strict=True)
            found |= {f"{kind}{n}": p for n, p in enumerate(pairs) if p[0] != p[1]}
        if self.memory != other.memory:
            pairs = zip(self.memory, other.memory, strict=True)
            at, both = next((n, p) for n, p in enumerate(pairs) if p[0] != p[1])
            found[f"memory+{at:#x}"] = both
        return found


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


def elf() -> bytes:
    """The runner as a static big-endian program: one writable segment up to the record's end."""
    source = PROGRAM.replace("ALL", ",".join(map(str, range(32))))
    code = assemble_program(source, BASE).code
    ident = b"\x7fELF" + bytes([1, 2, 1]) + bytes(9)
    header = struct.pack(">HHIIIIIHHHHHH", 2, 20, 1, BASE, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    segment = struct.pack(">8I", 1, 0x1000, BASE, BASE, len(code), END_EA - BASE, 7, 0x1000)
    return (ident + header + segment).ljust(0x1000, b"\0") + code


class QemuVector:
    """Runs vector records in qemu-ppc."""

    name = "qemu"

    def __init__(self, model: str = "7400", program: str | None = None) -> None:
        found = program or shutil.which("qemu-ppc")
        if not found:
            raise ConfigError("peer qemu: qemu-ppc is not installed")
        self.program, self.model = found, model
        self.image = elf()

    def run(self, records: Sequence[VectorRecord], timeout: float = 600) -> list[VectorRecord]:
        with tempfile.TemporaryDirectory() as folder:
            image = Path(folder, "runner")
            image.write_bytes(self.image)
            image.chmod(0o755)
            done = subprocess.run(  # noqa: S603 (found by name or given by the user)
                [self.program, "-cpu", self.model, str(image)],
                input=b"".join(r.pack() for r in records),
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        count = len(done.stdout) // SIZE
        if done.returncode or count != len(records):
            raise HostError(
                f"qemu-ppc: ended with status {done.returncode} after {count} of {len(records)}"
                f" vectors: {done.stderr[-200:]!r}"
            )
        return [VectorRecord.unpack(done.stdout[n * SIZE : (n + 1) * SIZE]) for n in range(count)]


class LocalVector:
    """An environment of the evaluator over one vector record, in user mode."""

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
        assert 0 <= value < 1 << REGISTERS[name][0], name
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
        return srr0

    def run(self, before: VectorRecord) -> VectorRecord:
        """The record after the instruction."""
        g = self.registers = {name: [0] * count for name, (_, count) in REGISTERS.items()}
        g["gpr"], g["vr"] = list(before.gpr), list(before.vr)
        g["crf"] = [before.cr >> (28 - 4 * n) & 15 for n in range(8)]
        g["vscr"], g["vrsave"], g["msr"] = [before.vscr & VSCR_MASK], [before.vrsave], [MSR_USER]
        self.memory, self.signal, self.word = bytearray(before.memory), 0, before.word
        row = self.decoder.decode(before.word)
        if row is None:
            self.signal = ILLEGAL
        else:
            execute(trace_word(row, before.word), self)
        cr = sum(f << (28 - 4 * n) for n, f in enumerate(g["crf"]))
        memory = bytes(self.memory)
        state = (self.signal, cr, g["vscr"][0], g["vrsave"][0], g["gpr"], g["vr"], memory)
        return VectorRecord(before.word, *state)
