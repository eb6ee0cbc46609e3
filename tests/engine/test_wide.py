"""Tier 0 against the reference for a model of 64 bits: both modes, segments, the hash table."""

from __future__ import annotations

import pytest

from gossamer.core.htab import HashTable
from gossamer.engine.processor import Stop
from gossamer.engine.reference import Reference
from gossamer.engine.stops import Met, Watch
from gossamer.engine.tier0 import Tier0

from .programs import pool
from .programs_64 import CPU, MSR_SF, set_up
from .rig import Rig, agreed

POOL_SIZE = 2500


def compare(seed: int, rounds: int, words: tuple[int, ...]) -> int:
    """Run both engines over the program of `seed`, comparing now and then; steps done."""
    a, b = (Rig(kind, cpu=CPU) for kind in (Tier0, Reference))
    for rig in (a, b):
        set_up(rig, seed, translated=bool(seed & 1), words=words)
    return agreed(a, b, seed, rounds)


@pytest.mark.parametrize("group", range(4))
def test_random_programs_end_in_the_same_state(group: int) -> None:
    words = pool(1, POOL_SIZE, CPU)
    assert sum(compare(group * 6 + n, 12, words) for n in range(6)) > 500


# --- addresses above 4 GiB in what is beside the guest -------------------------------------------

BASE = 0xC000_0000_1234_5000


def looping() -> Rig:
    """A loop at `BASE`, translated, that stores its count behind the code: 100,000 rounds."""
    rig = Rig(Tier0, cpu=CPU)
    table = rig.memory.hash_table
    assert isinstance(table, HashTable)
    page = BASE >> 12 & 0xFFFF
    table.write(
        8 * ((0x77 ^ page) % (table.count // 8)), 0x77 << 12 | BASE >> 16 & 0xF80 | 1, 0x192
    )
    rig.block.set("slb_esid", BASE & ~0x0FFF_FFFF | 0x0800_0000, 0)
    rig.block.set("slb_vsid", 0x77 << 12, 0)
    rig.words(0x80, *(0x3863_0001, 0xF864_0000, 0x4200_FFF8))  # addi 3,3,1; std 3,0(4); bdnz .-8
    rig.words(0x8C, 0x4800_0000)  # b .
    rig.set(nia=BASE + 0x80, msr=MSR_SF | 0x30, r4=BASE + 0x800, ctr=100_000)
    return rig


def test_a_debugger_stops_beyond_4_gib() -> None:
    rig = looping()
    stops = rig.processor.debug()
    stops.set(frozenset({BASE + 0x88, 0x1234_5084}))  # the second in another segment: never
    assert (rig.run(1000), rig.processor.met) == (Stop.BREAK, Met("break", BASE + 0x88))
    stops.set(frozenset(), (Watch(BASE + 0x804, 4, reads=False, writes=True),))
    assert (rig.run(1000), rig.processor.met) == (Stop.BREAK, Met("write", BASE + 0x804))
    assert (rig.get("nia"), rig.get("r3")) == (BASE + 0x88, 2)
    assert rig.memory.read(0x800, 8) == (2).to_bytes(8, "big")


def test_code_is_sampled_where_it_lies() -> None:
    rig, found = looping(), []
    rig.engine.sample(1 << 10)
    rig.engine.hot_found = found.extend
    rig.run(200_000)
    assert {(s.page, (s.entry - rig.engine.entries) // 16 * 4) for s in found} == {(BASE, 0x80)}
    assert rig.engine.samples_in(0) > 100


def test_32_bit_mode_leaves_the_high_half_out() -> None:
    """Addresses, CR0 and CTR; LR and GPRs keep what they are given."""
    rig = Rig(Tier0, cpu=CPU)
    rig.words(0x1_0000, 0x7C84_2A15, 0x8066_0000, 0x4200_0008, 0, 0x4800_0001)
    # add. 4,4,5; lwz 3,0(6); bdnz .+8; -; bl .
    rig.write(0x2000, b"\1\2\3\4")
    far = 0x1234_5678 << 32
    rig.set(nia=0x1_0000, msr=0, r4=far | 0x7FFF_FFFF, r5=1, r6=far | 0x2000, ctr=far | 2)
    rig.run(4)
    assert (rig.get("r4"), rig.block.get("crf", 0)) == (far | 0x8000_0000, 8)
    assert (rig.get("r3"), rig.get("ctr")) == (0x0102_0304, far | 1)
    assert (rig.get("nia"), rig.get("lr")) == (0x1_0010, 0x1_0014)
