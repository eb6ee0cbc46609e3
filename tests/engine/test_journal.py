"""Translations that a CPU keeps while others run: it finds what one finds that keeps none."""

from __future__ import annotations

import random
from typing import Final

import pytest

from gossamer.core.htab import HashTable
from gossamer.cpu import families
from gossamer.cpu.model import find
from gossamer.engine.context import JOURNAL
from gossamer.engine.tier0 import Tier0
from gossamer.isa.architecture import MSR_SF

from .programs_64 import CPU
from .rig import RAM_SIZE, TB_HZ, Rig

CODE, FRAMES, COUNT = 0x1_0000, 0x2_0000, 12
DR, IR = 0x10, 0x20
BASE, VSID, VALID = 0xC << 60, 5, 1 << 27
LD, STD, STW, SC_1 = 0xE8A6_0008, 0xF8A6_0010, 0x90A6_0000, 0x4400_0022  # r5, n(r6)
WORDS = (LD, STD, STW, SC_1)
AT = {word: CODE + 4 * n for n, word in enumerate(WORDS)}
REMOVE, ENTER, PROTECT = 0x4, 0x8, 0x18
READ_ONLY: Final = 3
LI_R7: Final = 0x38E0_0000


class Pair:
    """Two CPUs that share memory and hash table; `keeps`: translations, from turn to turn."""

    def __init__(self, *, keeps: bool) -> None:
        self.keeps = keeps
        self.rig = rig = Rig(Tier0, cpu=CPU)
        first = rig.engine
        assert isinstance(first, Tier0)
        self.engines = [first, Tier0(rig.memory, first.architecture, beside=first)]
        self.other = families.make(rig.clock, self.engines[1].block, find(CPU), TB_HZ)
        self.now = 0
        table = rig.memory.hash_table
        assert isinstance(table, HashTable)
        self.table = table
        table.gone = lambda n, v: self.engine.forget_entry(n, v)
        for engine in self.engines:
            engine.answer_calls(RAM_SIZE)
            engine.block.set("slb_esid", BASE | VALID | 3, 3)
            engine.block.set("slb_vsid", VSID << 12, 3)
        rig.words(CODE, *WORDS)
        for n in range(COUNT):
            rig.words(FRAMES + 0x1000 * n, LI_R7 | n, 0, n, n)
        for engine in self.engines:
            engine.flush()

    @property
    def engine(self) -> Tier0:
        return self.engines[self.now]

    def turn(self) -> None:
        before, self.now = self.engine, 1 - self.now
        self.engine.take_over(before)
        self.engine.attach()

    def do(self, word: int, msr: int, **registers: int) -> None:
        """One instruction of the CPU whose turn it is, a fetch from r6 where there is none."""
        if not self.keeps:
            self.engine.flush()
        block = self.engine.block
        for name, value in registers.items():
            block.set("gpr", value, int(name[1:]))
        block.set("nia", AT[word] if word else registers["r6"])
        block.set("msr", MSR_SF | msr)
        self.engine.run(1)

    def state(self) -> list[bytes]:
        return [
            *(bytes(e.block.view[: e.block.layout.size]) for e in self.engines),
            bytes(self.rig.arena.view[:RAM_SIZE]),
            bytes(self.table.table.memory),
        ]


def page(n: int) -> int:
    return BASE | n << 12


def entries_of(table: HashTable, n: int) -> list[int]:
    """Numbers of the entries for a page."""
    v = VSID << 12 | 1
    group = (VSID ^ n) % (table.count // 8)
    return [k for k in range(8 * group, 8 * group + 8) if table.read(k)[0] == v]


@pytest.mark.parametrize("seed", range(3))
def test_kept_translations_are_those_that_are_found_anew(seed: int) -> None:
    pairs = [Pair(keeps=True), Pair(keeps=False)]
    rng = random.Random(seed)
    found = 0
    for n in range(1200):
        what, p, frame = rng.random(), rng.randrange(COUNT), FRAMES + 0x1000 * rng.randrange(COUNT)
        value = LI_R7 | rng.getrandbits(15)
        for pair in pairs:
            there = entries_of(pair.table, p)
            if what < 0.25:
                pair.turn()
            elif what < 0.45:
                pair.do(LD, DR, r5=0, r6=page(p))
            elif what < 0.6:
                pair.do(STD, DR, r5=value, r6=page(p))
            elif what < 0.7:
                pair.do(STW, DR, r5=value, r6=page(p))
            elif what < 0.85:
                pair.do(0, IR, r6=page(p))
            elif not there:
                pair.do(
                    SC_1, 0, r3=ENTER, r4=0, r5=8 * (VSID ^ p), r6=VSID << 12 | 1, r7=frame | 0x12
                )
            elif what < 0.91:
                pair.do(SC_1, 0, r3=REMOVE, r4=0, r5=there[0], r6=0)
            elif what < 0.95:
                pair.do(SC_1, 0, r3=PROTECT, r4=READ_ONLY, r5=there[0], r6=0)
            else:
                v, _ = pair.table.read(there[0])
                pair.table.write(there[0], v, frame | 0x12)
                pair.table.gone(there[0], v)
        same = [a == b for a, b in zip(pairs[0].state(), pairs[1].state(), strict=True)]
        assert all(same), (n, what, p, same)
        found += what < 0.45 and pairs[0].engine.block.get("nia") == AT[LD] + 4
    assert found > 100


def test_a_cpu_that_missed_more_than_is_kept_forgets_all() -> None:
    """All but the page that went first stand where it did before the list went round."""
    pair = Pair(keeps=True)
    pair.do(SC_1, 0, r3=ENTER, r4=0, r5=8 * VSID, r6=VSID << 12 | 1, r7=FRAMES | 0x12)
    n = entries_of(pair.table, 0)[0]
    pair.do(LD, DR, r5=0, r6=page(0))
    pair.turn()
    v, _ = pair.table.read(n)
    pair.table.write(n, v, FRAMES + 0x1000 | 0x12)
    pair.table.gone(n, v)
    for k in range(1, JOURNAL + 1):
        pair.table.gone(n ^ 8 * (k % 7 + 1), v)
    pair.turn()
    pair.do(LD, DR, r5=0, r6=page(0))
    assert pair.engine.block.get("gpr", 5) == 1 << 32 | 1


def test_a_flush_reaches_the_others() -> None:
    pair = Pair(keeps=True)
    pair.do(SC_1, 0, r3=ENTER, r4=0, r5=8 * VSID, r6=VSID << 12 | 1, r7=FRAMES | 0x12)
    n = entries_of(pair.table, 0)[0]
    pair.do(LD, DR, r5=0, r6=page(0))
    pair.turn()
    pair.table.write(n, pair.table.read(n)[0], FRAMES + 0x1000 | 0x12)
    pair.engine.flush()
    pair.turn()
    pair.do(LD, DR, r5=0, r6=page(0))
    assert pair.engine.block.get("gpr", 5) == 1 << 32 | 1
