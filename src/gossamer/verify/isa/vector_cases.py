"""Operands for AltiVec instructions, and what a peer may do differently with them."""

from __future__ import annotations

import random
from typing import Final

from gossamer.isa.body import Do, Store
from gossamer.isa.expr import Expr
from gossamer.isa.insn import Insn
from gossamer.isa.vector.lanes import join, split
from gossamer.verify.isa.vector import END_EA, SIZE, WINDOW, WINDOW_EA, VectorRecord
from gossamer.verify.isa.vectors import fields

HOLE: Final = 0xE000_0000  # nothing is mapped from here on for 128 MB
SINGLES: Final = (
    *(0x0000_0000, 0x0000_0001, 0x0000_0002, 0x007F_FFFF, 0x0040_0000, 0x0080_0000, 0x0080_0001),
    *(0x3F80_0000, 0x3F80_0001, 0x3F7F_FFFF, 0x3F00_0000, 0x3EFF_FFFF, 0x3FC0_0000, 0x4020_0000),
    *(0x4B00_0000, 0x4B00_0001, 0x4AFF_FFFF, 0x4B80_0000, 0x4EFF_FFFF, 0x4F00_0000, 0x4F00_0001),
    *(0x4F7F_FFFF, 0x4F80_0000, 0x5F00_0000, 0x7F7F_FFFF, 0x7F00_0000, 0x7E80_0001, 0x7F80_0000),
    *(0x7F80_0001, 0x7FBF_FFFF, 0x7FC0_0000, 0x7FFF_FFFF, 0x7FC1_2345, 0x4300_0000, 0x42FF_FFFF),
    *(0x4316_0000, 0x2F80_0000, 0x2F00_0000, 0x0D00_0000, 0x3380_0000, 0x3400_0000, 0x2000_0000),
)


class VectorCases:
    """Makes records for one instruction, of words of `WIDTH` bits."""

    WIDTH = 32

    def __init__(self, row: Insn, rng: random.Random) -> None:
        self.row, self.rng = row, rng
        mnemonic, _, operands = row.asm.partition(" ")
        shown = {*operands.split(","), *(n for n in ("Rc",) if n in mnemonic)}
        self.fields = {n: f for n, f in fields(row).items() if n in shown}
        self.made = 0
        self.used = 0
        for f in self.fields.values():
            self.used |= f.mask
        statements = row.trace(Expr("word", 32), width=self.WIDTH)
        self.memory = any(isinstance(s, Do | Store) for s in statements)
        self.float = row.name.endswith("fp") or row.name.startswith(("vrf", "vcts", "vctu"))

    def single(self) -> int:
        rng = self.rng
        kind = rng.random()
        sign = rng.getrandbits(1) << 31
        if kind < 0.4:
            return rng.choice(SINGLES) | sign
        if kind < 0.55:
            return rng.getrandbits(32)
        if kind < 0.8:  # around one
            return sign | rng.randrange(0x70, 0x90) << 23 | rng.getrandbits(23)
        if kind < 0.9:  # a product of two is about the least normal number
            return sign | rng.randrange(0x38, 0x48) << 23 | rng.getrandbits(23)
        return sign | rng.randrange(0, 6) << 23 | rng.getrandbits(23)

    def integer(self, width: int) -> int:
        rng = self.rng
        top = 1 << width
        edges = (0, 1, 2, top - 1, top - 2, top >> 1, (top >> 1) - 1, (top >> 1) + 1, width)
        return rng.choice(edges) if rng.random() < 0.6 else rng.getrandbits(width)

    def vector(self) -> int:
        rng = self.rng
        kind = rng.random()
        if self.float or kind < 0.1:
            return join([self.single() for _ in range(4)], 32)
        if kind < 0.2:
            return rng.choice((0, -1)) & (1 << 128) - 1
        if kind < 0.3:
            return rng.getrandbits(128)
        width = rng.choice((8, 16, 32))
        lanes = [self.integer(width) for _ in range(128 // width)]
        if rng.random() < 0.2:
            lanes = [lanes[0]] * len(lanes)
        return join(lanes, width)

    def related(self, r: VectorRecord) -> None:
        """Make some lanes of the operands meet: equal, opposite, cancelling, out of bounds."""
        rng = self.rng
        if "VRA" not in self.fields or "VRB" not in self.fields or rng.random() < 0.5:
            return
        a, b = (self.fields[n].get(r.word) for n in ("VRA", "VRB"))
        lanes = split(r.vr[b], 32)
        for n, lane in enumerate(split(r.vr[a], 32)):
            if rng.random() < 0.5:
                lanes[n] = lane ^ rng.choice((0, 0, 1, 1 << 31))
        r.vr[b] = join(lanes, 32)

    def reach(self, r: VectorRecord) -> None:
        """Set base registers for an address, mostly in the window."""
        rng = self.rng
        target = rng.randrange(WINDOW_EA, END_EA)
        if rng.random() < 0.05:
            target = HOLE + rng.randrange(1 << 27)
        ra, rb = (self.fields[n].get(r.word) for n in ("RA", "RB"))
        if ra == 0:
            r.gpr[rb] = target
        elif ra == rb:
            r.gpr[ra] = target // 2
        else:
            r.gpr[ra] = (target - r.gpr[rb]) & 0xFFFF_FFFF

    def make(self) -> VectorRecord:
        rng = self.rng
        r = VectorRecord(self.row.match | rng.getrandbits(32) & self.used & ~self.row.mask)
        if "Rc" in self.fields:  # both mnemonics in turn
            flag = self.fields["Rc"]
            r.word = r.word & ~flag.mask | flag.put(self.made & 1)
        self.made += 1
        r.gpr = [rng.getrandbits(32) for _ in range(32)]
        r.vr = [self.vector() for _ in range(32)]
        r.cr, r.vrsave = rng.getrandbits(32), rng.getrandbits(32)
        r.vscr = rng.choice((0, 1)) | rng.choice((0, 1 << 16))
        r.memory = rng.randbytes(SIZE - WINDOW)
        self.related(r)
        if self.memory:
            self.reach(r)
        if self.row.name in ("vsl", "vsr") and rng.random() < 0.8:
            n = self.fields["VRB"].get(r.word)
            same = rng.randrange(8) * 0x0101_0101_0101_0101_0101_0101_0101_0101
            r.vr[n] = r.vr[n] & ~(7 * 0x0101_0101_0101_0101_0101_0101_0101_0101) | same
        return r
