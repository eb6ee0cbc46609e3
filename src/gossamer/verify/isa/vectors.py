"""Random and edge operands for an instruction, so that most vectors do something worth comparing.

A memory instruction gets base registers that put its effective address in the window (a few:
outside); a branch gets targets among the pads.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Final

from gossamer.base.bits import ones
from gossamer.isa import fpscr
from gossamer.isa.body import Branch, Do, Loop, Probe, Statement, Store, When
from gossamer.isa.expr import Expr
from gossamer.isa.form import Field
from gossamer.isa.insn import SPLIT, Insn
from gossamer.verify.isa.record import (
    END_EA,
    INSN,
    NOP,
    PAD_COUNT,
    PAD_SIZE,
    PADS,
    SIZE,
    WINDOW,
    WINDOW_EA,
    Record,
)

WORDS: Final = (
    *(0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 33, 63, 64, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF),
    *(0x7FFF_FFFF, 0x8000_0000, 0x8000_0001, 0xFFFF_FFFF, 0xFFFF_FFFE, 0xFFFF_8000, 0x5555_5555),
)
DOUBLES: Final = (
    *(0x0, 0x1, 0x3FF0000000000000, 0x4000000000000000, 0x3FE0000000000000, 0x4330000000000000),
    *(0x41DFFFFFFFC00000, 0x41E0000000000000, 0x41EFFFFFFFE00000, 0x41F0000000000000),
    *(0xFFFFFFFFFFFFF, 0x10000000000000, 0x7FEFFFFFFFFFFFFF, 0x7FF0000000000000),
    *(0x7FF8000000000000, 0x7FF0000000000001, 0x7FF4000000000000, 0x47EFFFFFE0000000),
    *(0x47EFFFFFEFFFFFFF, 0x47EFFFFFF0000000, 0x3810000000000000, 0x380FFFFFFFFFFFFF),
    *(0x36A0000000000000, 0x3690000000000000, 0x3FF0000010000000, 0x3FF0000030000000),
    *(0x3FF0000020000001, 0x37FFFFFFFFFFFFFF, 0x3FD5555555555555, 0x400921FB54442D18),
    *(0x3CB0000000000000, 0x7FD0000000000000),
)
SIGN: Final = 1 << 63
ROUNDED: Final = fpscr.FR | fpscr.FI
MET: Final = fpscr.OX | fpscr.UX | fpscr.ZX | fpscr.XX | fpscr.INVALID
#: Instructions whose effective address must be a multiple of four to be compared.
ALIGNED: Final = frozenset(["lmw", "stmw", "lwarx", "stwcx.", "stfiwx"])
#: Accesses that the architecture lets stop part-way, so they never straddle the window's end.
LONG: Final = frozenset(["lmw", "stmw", "lswi", "lswx", "stswi", "stswx"])
HALVES: Final = ("SPRL", "SPRH")  # of the operand SPR
HOLE: Final = 0xE000_0000  # nothing is mapped from here on for 128 MB


def _nested(statements: Sequence[Statement]) -> Iterator[Statement]:
    for s in statements:
        yield s
        if isinstance(s, When):
            yield from _nested(s.body)
            yield from _nested(s.other)
        elif isinstance(s, Loop):
            yield from _nested(s.body)


def fields(row: Insn) -> dict[str, Field]:
    """Fields of the row's form, by name."""
    found: dict[str, Field] = {}
    for c in reversed(row.form.__mro__):
        found |= {n: f for n, f in vars(c).items() if isinstance(f, Field)}
    return found


class Vectors:
    """Makes records for one instruction, of words of `WIDTH` bits."""

    WIDTH = 32
    kind: type[Record] = Record

    def __init__(self, row: Insn, rng: random.Random) -> None:
        self.row, self.rng = row, rng
        statements = list(_nested(row.trace(Expr("word", 32), width=self.WIDTH)))
        self.touches_memory = any(isinstance(s, Do | Store | Probe) for s in statements)
        self.branches = any(isinstance(s, Branch) for s in statements)
        self.fields = {
            n: f
            for n, f in fields(row).items()
            if n in row.asm or (n in HALVES and "SPR" in row.asm)
        }
        self.flags = [n for n in SPLIT if n in self.fields and n not in row.fixed]
        self.made = 0
        self.used = 0
        for f in self.fields.values():
            self.used |= f.mask
        self.aligned = row.name in ALIGNED or (row.needs == "FP" and self.touches_memory)

    @property
    def aligned(self) -> bool:
        """Whether accesses are to whole words."""
        return self.multiple > 1

    @aligned.setter
    def aligned(self, value: bool) -> None:
        self.multiple = 4 if value else 1

    def word_value(self) -> int:
        rng = self.rng
        kind = rng.random()
        if kind < 0.45:
            return rng.choice(WORDS)
        if kind < 0.6:
            return (rng.choice((0, -1)) ^ (1 << rng.randrange(32))) & 0xFFFF_FFFF
        return rng.getrandbits(32)

    def double_value(self) -> int:
        rng = self.rng
        kind = rng.random()
        if kind < 0.4:
            return rng.choice(DOUBLES) ^ (SIGN if rng.random() < 0.5 else 0)
        if kind < 0.6:
            return rng.getrandbits(64)
        if kind < 0.8:  # around one, where roundings and cancellation happen
            return (
                rng.getrandbits(1) << 63 | rng.randrange(0x3F8, 0x408) << 52 | rng.getrandbits(52)
            )
        if kind < 0.9:  # a single
            single = rng.randrange(0x380, 0x480) << 52 | rng.getrandbits(23) << 29
            return rng.getrandbits(1) << 63 | single
        return rng.getrandbits(1) << 63 | rng.randrange(0x360, 0x3A0) << 52 | rng.getrandbits(52)

    def fpscr_value(self) -> int:
        """A rounding mode; some enables, or some exceptions met before (not both: no FEX)."""
        rng = self.rng
        value = rng.getrandbits(2) | (fpscr.NI if rng.random() < 0.05 else 0)
        kind = rng.random()
        # Unicorn, which runs integer instructions only, loses FI between instructions.
        rounded = ROUNDED if self.row.needs == "FP" else 0
        if kind < 0.2:
            value |= rng.getrandbits(5) << 3 | rng.getrandbits(32) & rounded
        elif kind < 0.4:
            value |= rng.getrandbits(32) & (fpscr.FX | MET | fpscr.FPRF | rounded)
            value |= fpscr.VX if value & fpscr.INVALID else 0
        return value

    def state(self, word: int) -> Record:
        rng = self.rng
        r = self.kind(word)
        r.gpr = [self.word_value() for _ in range(32)]
        r.fpr = [self.double_value() for _ in range(32)]
        r.cr = rng.getrandbits(32)
        r.xer = rng.getrandbits(3) << 29 | rng.randrange(128)
        r.lr, r.ctr = self.word_value(), self.word_value()
        r.fpscr = self.fpscr_value()
        r.memory = rng.randbytes(SIZE - WINDOW)
        return r

    def pad_target(self) -> int:
        return PADS + PAD_SIZE * self.rng.randrange(PAD_COUNT)

    def instruction(self) -> int:
        """A word of this row: random in the fields that its template shows."""
        word = self.row.match | self.rng.getrandbits(32) & self.used & ~self.row.mask
        for n, name in enumerate(self.flags):  # every combination in turn
            word = self.put(word, name, self.made >> n & 1)
        self.made += 1
        if self.rng.random() < 0.3 and "RA" in self.fields and "RB" in self.fields:
            ra = self.fields["RA"].get(word)
            word = self.put(word, "RB", ra)
        if self.branches:
            word = self.aim(word)
        return word

    def put(self, word: int, name: str, value: int) -> int:
        f = self.fields[name]
        return word & ~f.mask | f.put(value)

    def aim(self, word: int) -> int:
        for name in ("LI", "BD"):
            if name in self.fields:
                absolute = self.fields["AA"].get(word)
                word = self.put(word, name, self.pad_target() - (0 if absolute else INSN))
        if self.row.name == "bcctr":
            word |= 4 << 21  # the decrementing forms are invalid
        return word

    def reach(self, r: Record) -> int:
        """Set base registers for the address wanted; the word, changed where that is needed."""
        rng, word = self.rng, r.word
        target = rng.randrange(WINDOW_EA, END_EA - 128)
        kind = rng.random()
        if kind < 0.1 and self.row.name not in LONG:
            target = rng.randrange(END_EA - 16, END_EA + 4)
        elif kind < 0.13:
            target = HOLE + rng.randrange(1 << 27)
        target &= -self.multiple
        ra = self.fields["RA"].get(word)
        if ra == 0 and target > END_EA:
            target = WINDOW_EA
        if self.row.name.endswith(("u", "ux")) and ra == 0:
            ra = rng.randrange(1, 32)
            word = self.put(word, "RA", ra)
        if "D" in self.fields:
            if ra == 0:
                return self.put(word, "D", target & 0x7FFF & (~3 if self.aligned else ~0))
            r.gpr[ra] = (target - self.fields["D"].get(word)) & ones(self.WIDTH)
            return word
        if "DS" in self.fields:
            if ra == 0:
                return self.put(word, "DS", target & 0x7FFC)
            r.gpr[ra] = (target - self.fields["DS"].get(word)) & ones(self.WIDTH)
            return word
        rb = self.fields["RB"].get(word) if "RB" in self.fields else None
        if rb is None:
            if ra == 0:
                word = self.put(word, "RA", ra := rng.randrange(1, 32))
            r.gpr[ra] = target
        elif ra == 0:
            r.gpr[rb] = target
        elif ra == rb:
            r.gpr[ra] = target // 2 & -max(self.multiple // 2, 1)
        else:
            r.gpr[ra] = (target - r.gpr[rb]) & ones(self.WIDTH)
        return word

    def reserve(self, r: Record) -> None:
        """Before stwcx.: often a lwarx, mostly of the same address."""
        ra, rb = self.fields["RA"].get(r.word), self.fields["RB"].get(r.word)
        lwarx = 31 << 26 | 20 << 1 | ra << 16 | rb << 11
        spare = next(n for n in range(3, 32) if n not in (ra, rb))
        kind = self.rng.random()
        if kind < 0.6:
            r.prefix = lwarx | spare << 21
        elif kind < 0.8:
            r.gpr[spare] = WINDOW_EA + 64
            r.prefix = 31 << 26 | 20 << 1 | spare << 21 | spare << 11

    def make(self) -> Record:
        r = self.state(self.instruction())
        r.prefix = NOP
        if self.touches_memory and "RA" in self.fields:
            r.word = self.reach(r)
        if self.branches:
            r.lr = self.pad_target() | self.rng.getrandbits(2)
            r.ctr = self.pad_target() | self.rng.getrandbits(2)
            if self.row.name != "bcctr" and self.rng.random() < 0.6:
                r.ctr = self.rng.choice((0, 1, 2, 0xFFFF_FFFF))
        if self.row.name in ("stwcx.", "stdcx."):
            self.reserve(r)
        return r
