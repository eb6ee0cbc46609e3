"""Records, vectors, both sides of the comparison of a part whose words have 64 bits."""

from __future__ import annotations

import random
import shutil
import struct
from collections.abc import Sequence
from typing import Final

from gossamer.base.data import field
from gossamer.base.errors import ConfigError
from gossamer.isa import fpscr, hostfloat
from gossamer.isa.body import Statement
from gossamer.isa.evaluate import execute
from gossamer.isa.expr import const
from gossamer.isa.float_commit import MSR_FE
from gossamer.isa.form import SplitField
from gossamer.isa.insn import Insn, trace_word
from gossamer.isa.interrupts import Access
from gossamer.isa.registers import registers
from gossamer.isa.spec.wide.transactions import FSCR_TAR, MSR_TM
from gossamer.isa.text import assemble_program
from gossamer.isa.vector.lanes import join
from gossamer.verify.isa.local import LocalCpu
from gossamer.verify.isa.qemu_user import BASE, run_blocks
from gossamer.verify.isa.record import END_EA, NOP, SIZE, WINDOW, WINDOW_EA, Record
from gossamer.verify.isa.vector import END_EA as VECTOR_END
from gossamer.verify.isa.vector import MSR_USER as MSR_VECTORS
from gossamer.verify.isa.vector import LocalVector, QemuVector, VectorRecord
from gossamer.verify.isa.vector_cases import VectorCases
from gossamer.verify.isa.vectors import DOUBLES as DOUBLE_VALUES
from gossamer.verify.isa.vectors import Vectors
from gossamer.verify.isa.wide_runner import DOUBLES, FPRS, GPRS, WIDE, WIDE_VECTOR, elf_64
from gossamer.verify.isa.wide_runner import SIZE as WIDE_SIZE
from gossamer.verify.isa.wide_runner import WINDOW as WIDE_WINDOW

#: Not run beside `command.NOT_RUN`, and why.
NOT_RUN_64: Final = {
    "sc_1": "the peer has no hypervisor",
    "rfebb": "programs of the peer have none",
    **{
        f"{move}spr_{name}": "Linux (the peer's, or QEMU as such) has not turned it on for programs"
        for move in ("mf", "mt")
        for name in ("udscr", "uamr", "ebbhr", "ebbrr", "bescr", "ppr")
    },
    **dict.fromkeys(("mfspr_purr", "mfspr_spurr", "mfspr_vtb"), "the peer's time is its host's"),
    "mfspr_tbl_64": "the peer's time is its host's",
    "mfspr_tbu_64": "the peer's time is its host's",
    "dcbz": "for user programs of a 970 the peer clears 32 bytes, as HID5 may ask for",
}
UMMCR0: Final = 11
TBEGIN: Final = 0x7C00_051D
TAR: Final = 815
#: Registers that a program on the peer would find as another vector has left them.
HELD: Final = {
    "mfspr_tfhar": 128,
    "mfspr_tfiar": 129,
    "mfspr_texasr": 130,
    "mfspr_texasru": 131,
    "mfspr_tar": TAR,
}
#: FPSCR with the rounding mode of decimal arithmetic above.
FPSCR_64: Final = 0x7_FFFF_FFFF
ALL_64: Final = (1 << 64) - 1
WORDS_64: Final = (
    *(0xFFFF_FFFF_FFFF_FFFF, 0x8000_0000_0000_0000, 0x7FFF_FFFF_FFFF_FFFF, 0x1_0000_0000),
    *(0xFFFF_FFFF_8000_0000, 0xFFFF_FFFF_7FFF_FFFF, 0x8000_0000_0000_0001, 0x1_FFFF_FFFF),
)
#: QEMU's names of the models, for user programs.
PEERS: Final = {"970mp_v1.1": "970mp_v1.1", "power8_v2.0": "power8"}
MSR_VSX: Final = 1 << 23
#: What FPSCR may have of enables (the peer delivers other results with the others), of exceptions.
ENABLES: Final = fpscr.VE | fpscr.ZE
STICKY: Final = fpscr.XX | fpscr.OX | fpscr.UX | fpscr.ZX | fpscr.VXSNAN | fpscr.VXVC

_HEAD: Final = struct.Struct(">4IQI")  # word, cr, xer, signal, FPSCR, prefix
_DOUBLES: Final = struct.Struct(">4Q")  # lr, ctr, dar, pad


class WideRecord(Record, frozen=False):
    """A record with doublewords; `memory` has as many bytes as another's."""

    memory: bytes = field(default_factory=lambda: bytes(SIZE - WINDOW))

    def pack(self) -> bytes:
        block = bytearray(WIDE_WINDOW)
        _HEAD.pack_into(
            block, 0, self.word, self.cr, self.xer, self.signal, self.fpscr, self.prefix
        )
        _DOUBLES.pack_into(block, DOUBLES, self.lr, self.ctr, self.dar, self.pad)
        struct.pack_into(">32Q", block, GPRS, *self.gpr)
        struct.pack_into(">32Q", block, FPRS, *self.fpr)
        return bytes(block) + self.memory

    @classmethod
    def unpack(cls, block: bytes) -> WideRecord:
        word, cr, xer, signal, fpscr, prefix = _HEAD.unpack_from(block)
        lr, ctr, dar, pad = _DOUBLES.unpack_from(block, DOUBLES)
        gpr, fpr = (list(struct.unpack_from(">32Q", block, at)) for at in (GPRS, FPRS))
        state = {"cr": cr, "xer": xer, "lr": lr, "ctr": ctr, "dar": dar, "pad": pad}
        return cls(
            word,
            prefix,
            signal=signal,
            fpscr=fpscr & FPSCR_64,
            gpr=gpr,
            fpr=fpr,
            memory=block[WIDE_WINDOW:WIDE_SIZE],
            **state,
        )


class WideVectors(Vectors):
    """Makes records of 64-bit words."""

    WIDTH = 64
    kind = WideRecord

    def __init__(self, row: Insn, rng: random.Random) -> None:
        super().__init__(row, rng)
        self.aligned = row.name in ("lwarx", "stwcx.", "lmw", "stmw")
        sizes = {"ldarx": 8, "stdcx.": 8, "lharx": 2, "sthcx.": 2, "lqarx": 16, "stqcx.": 16}
        self.multiple = sizes.get(row.name, self.multiple)

    def instruction(self) -> int:
        """Of the vector-scalar registers a record has 0 to 31."""
        word = super().instruction()
        for f in self.fields.values():
            if isinstance(f, SplitField) and f.shown != "{}":
                word &= ~(1 << 31 - f.high)
        return word

    def fpscr_value(self) -> int:
        """Of rows that know of it DRN, too."""
        value = super().fpscr_value()
        return value | self.rng.getrandbits(3) << 32 if "2.05" in self.row.features else value

    def word_value(self) -> int:
        rng = self.rng
        kind = rng.random()
        if kind < 0.25:
            return rng.choice(WORDS_64)
        if kind < 0.35:
            return (rng.choice((0, -1)) ^ (1 << rng.randrange(64))) & ALL_64
        if kind < 0.6:
            return rng.getrandbits(64)
        narrow = super().word_value()
        return narrow if rng.random() < 0.5 else narrow | rng.getrandbits(32) << 32

    def make(self) -> Record:
        r = super().make()
        name = self.row.name
        if name == "stqcx.":
            self.reserve_pair(r)
        elif name == "bctar":
            r.prefix = self.moving(r, TAR, self.pad_target() | self.rng.getrandbits(2))
        elif name in HELD:
            r.prefix = self.moving(r, HELD[name], self.word_value())
            if self.rng.random() < 0.5 and name != "mfspr_tar":
                r.prefix = TBEGIN
        elif name == "cbcdtd":
            n = self.fields["RS"].get(r.word)
            words = [int(str(self.rng.randrange(10**6)), 16) for _ in range(2)]
            r.gpr[n] = words[0] << 32 | words[1]
        return r

    def moving(self, r: Record, number: int, value: int) -> int:
        """A move of a value to a special-purpose register, from one that the word does not name."""
        named = {f.get(r.word) for n, f in self.fields.items() if n in ("RT", "RS", "RA", "RB")}
        spare = next(n for n in range(3, 32) if n not in named)
        r.gpr[spare] = value
        return 31 << 26 | spare << 21 | (number & 31) << 16 | number >> 5 << 11 | 467 << 1

    def reserve_pair(self, r: Record) -> None:
        """Before stqcx.: often a lqarx of the same address."""
        ra, rb = self.fields["RA"].get(r.word), self.fields["RB"].get(r.word)
        taken = {ra & ~1, rb & ~1, self.fields["RSP"].get(r.word)}
        spare = next(n for n in range(4, 32, 2) if n not in taken)
        if self.rng.random() < 0.7:
            r.prefix = 31 << 26 | spare << 21 | ra << 16 | rb << 11 | 276 << 1

    def reserve(self, r: Record) -> None:
        super().reserve(r)
        if self.row.name == "stdcx." and r.prefix != NOP:
            r.prefix ^= (20 ^ 84) << 1


class WideCpu(LocalCpu):
    """An environment over one record of 64-bit words, in 64-bit mode."""

    width = 64
    kind = WideRecord

    def enter(self, r: Record) -> None:
        super().enter(r)
        zeros = {name: [0] * count for name, (_, count) in registers(64).items()}
        self.registers = zeros | self.registers
        self.registers["monitor"][UMMCR0] = 0x8000_0000  # as after reset
        self.registers["fpscr"] = [r.fpscr & 0xFFFF_FFFF]
        self.registers["drn"] = [r.fpscr >> 32]
        self.registers["fscr"] = [FSCR_TAR]
        self.registers["msr"] = [self.msr | MSR_TM]

    def leave(self, r: Record, target: int) -> Record:
        after = super().leave(r, target)
        after.fpscr |= self.registers["drn"][0] << 32
        return after

    def row(self, word: int) -> Insn | None:
        """The instruction of a word."""
        return self.decoder.decode(word)

    def step(self, word: int, cia: int) -> int:
        self.cia, self.word = cia, word
        row = self.row(word)
        if row is None:
            return self.refuse(cia)
        return execute(trace_word(row, word, 64, sf=True), self, width=64)


class WideVector(LocalVector):
    """An environment over one vector record, in 64-bit mode."""

    width = 64
    msr = MSR_VECTORS | MSR_VSX | MSR_FE

    def trace(self, row: Insn) -> list[Statement]:
        return trace_word(row, self.word, 64, sf=True)

    def probe(self, ea: int, length: int, access: Access) -> None:
        self._offset(ea, length)

    def run(self, before: VectorRecord) -> VectorRecord:
        """The record after the instruction; it has the low halves of GPRs."""
        after = super().run(before)
        after.gpr = [n & 0xFFFF_FFFF for n in after.gpr]
        return after


def evaluated(value: int) -> int:
    """FPSCR with what summarizes the rest."""
    return fpscr.summarize(const(value, 32)).value


class WideCases(VectorCases):
    """Vector records of 64-bit words.  Of the vector-scalar registers they have 32 to 63."""

    WIDTH = 64

    def reach(self, r: VectorRecord) -> None:
        super().reach(r)
        ra, rb = (self.fields[n].get(r.word) for n in ("RA", "RB"))
        if ra and ra != rb:
            target = r.gpr[ra] + r.gpr[rb] & 0xFFFF_FFFF
            r.gpr[rb] = self.rng.randrange(64)
            r.gpr[ra] = target - r.gpr[rb]

    def __init__(self, row: Insn, rng: random.Random) -> None:
        super().__init__(row, rng)
        self.floating = row.name.startswith(("xs", "xv"))
        self.singles = self.floating and (
            row.name.startswith(("xvcvsp", "xscvsp"))
            or ("sp" in row.name[-3:] and row.name[1] == "v")
        )

    def double(self) -> int:
        rng = self.rng
        kind = rng.random()
        sign = rng.getrandbits(1) << 63
        if self.row.name.endswith("sp"):  # the peer rounds twice what is none
            return hostfloat.widen(self.single())
        if kind < 0.35:
            return rng.choice(DOUBLE_VALUES) ^ sign
        if kind < 0.45:
            return rng.getrandbits(64)
        if kind < 0.55:  # integers, halves and quarters
            return sign ^ hostfloat.bits(rng.getrandbits(rng.randrange(1, 60)) / 4)
        if kind < 0.7:  # singles
            return sign ^ hostfloat.widen(self.single())
        middle = rng.choice((1023, 1023, 1023, 900, 30, 2000))
        return sign | middle + rng.randrange(-30, 30) << 52 | rng.getrandbits(52)

    def packed(self) -> int:
        """A packed decimal, now and then something that is none."""
        rng = self.rng
        digits = rng.choice((0, 10**31 - 1, rng.randrange(10 ** rng.randrange(32))))
        value = int(str(digits), 16) << 4 | rng.randrange(10, 16)
        return value ^ rng.getrandbits(4) << 4 * rng.randrange(32) if rng.random() < 0.1 else value

    def vector(self) -> int:
        if self.row.name.startswith("bcd"):
            return self.packed()
        if not self.floating:
            return super().vector()
        if self.singles:
            return join([self.single() for _ in range(4)], 32)
        return join([self.double(), self.double()], 64)

    def make(self) -> VectorRecord:
        r = super().make()
        rng = self.rng
        if self.floating:
            if "XA" in self.fields and rng.random() < 0.2:
                a, b = (self.fields[n].get(r.word) & 31 for n in ("XA", "XB"))
                r.vr[b] = r.vr[a] ^ rng.choice((0, 0, 1, 1 << 127, 1 << 63))
            value = rng.getrandbits(2)
            if rng.random() < 0.2:
                value |= rng.getrandbits(32) & ENABLES
            if rng.random() < 0.2:
                value |= rng.getrandbits(32) & STICKY
            r.fpscr = evaluated(value)
            if r.fpscr & fpscr.FEX:  # setting it would trap
                r.fpscr = evaluated(value & ~ENABLES)
        word = r.word
        for f in self.fields.values():
            if isinstance(f, SplitField):
                word |= 1 << 31 - f.high
        r.word = word
        return r


def qemu_ppc64() -> str:
    """The program; ConfigError where there is none."""
    found = shutil.which("qemu-ppc64")
    if not found:
        raise ConfigError("peer qemu: qemu-ppc64 is not installed")
    return found


class QemuWideVector(QemuVector):
    """Runs vector records in qemu-ppc64."""

    def __init__(self, model: str) -> None:
        self.program, self.model = qemu_ppc64(), PEERS[model]
        self.image = elf_64(assemble_program(WIDE_VECTOR, BASE).code, VECTOR_END)


class QemuWide:
    """Runs records in qemu-ppc64."""

    name = "qemu"

    def __init__(self, model: str) -> None:
        self.program, self.model = qemu_ppc64(), PEERS[model]
        self.image = elf_64(assemble_program(WIDE, BASE).code, END_EA)

    def run(self, records: Sequence[Record], timeout: float = 600) -> list[Record]:
        blocks = [r.pack() for r in records]
        done = run_blocks(self.program, self.model, self.image, blocks, timeout)
        return [WideRecord.unpack(block) for block in done]


assert WINDOW_EA == END_EA - (WIDE_SIZE - WIDE_WINDOW)
