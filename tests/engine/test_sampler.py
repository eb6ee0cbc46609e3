"""Counting where the guest is: the same run, and the right places."""

from __future__ import annotations

import pytest

from gossamer.engine.tier0 import Sample, Tier0
from gossamer.isa.text import assemble

from .programs import pool, set_up
from .rig import Rig, difference

CODE = 0x1_0000
LOOP = "1: addi 3,3,1; addi 4,4,1; xor 5,3,4; b 1b"
CALLS = "1: addi 3,3,1; mtctr 6; bctrl; b 1b; 2: addi 4,4,1; blr"
WORDS = pool(2, 600)


def rig_with(text: str, **registers: int) -> Rig:
    rig = Rig(Tier0)
    rig.write(CODE, assemble(text, CODE))
    rig.set(**({"nia": CODE} | registers))
    return rig


def entry(rig: Rig, address: int) -> int:
    """The predecoded entry of a real address in RAM."""
    page, low = divmod(address, 4096)
    return rig.engine.entries + page * 0x8000 + low * 4


def test_a_loop_is_found_at_its_head_as_often_as_slices_end() -> None:
    rig = rig_with(LOOP)
    rig.engine.sample(1 << 12)
    seen: list[Sample] = []
    rig.engine.hot_found = seen.extend
    for _ in range(40):
        rig.run(50_000)
    heads = [s for s in seen if s.source == 0]
    assert {s.entry for s in heads} == {entry(rig, CODE)}
    assert {s.page for s in heads} == {CODE & -4096}
    counts = [s.count for s in heads]
    assert counts == [1 << n for n in range(1, len(counts) + 1)]
    expected = 40 * 50_000 / (1 << 12)
    assert expected / 4 < counts[-1] <= expected * 1.5


def test_runs_shorter_than_a_slice_are_sampled_as_often() -> None:
    rig = rig_with(LOOP)
    rig.engine.sample(1 << 14)
    for _ in range(100):
        rig.run(5_000)
    counted = rig.engine.samples_in(CODE // 4096)
    assert 0.6 < counted * (1 << 14) / 500_000 < 1.4


def test_a_machine_whose_count_goes_back_is_sampled_on() -> None:
    rig = rig_with(LOOP)
    rig.engine.sample(1 << 12)
    rig.run(100_000)
    rig.engine.count = 0
    before = rig.engine.samples_in(CODE // 4096)
    rig.run(50_000)
    assert rig.engine.samples_in(CODE // 4096) > before


def test_ways_through_the_fetch_tlb_are_distinguished_by_their_sources() -> None:
    rig = rig_with(CALLS, r6=CODE + 16)
    rig.engine.sample(1 << 7)
    for _ in range(20):
        rig.run(20_000)
    slots = [s for s in rig.engine.slots() if s[1]]
    ways = {(s[0], s[1]) for s in slots}
    call = entry(rig, CODE + 16), entry(rig, CODE + 8)
    back = entry(rig, CODE + 12), entry(rig, CODE + 20)
    assert ways == {call, back}


@pytest.mark.parametrize("seed", range(4))
def test_sampling_changes_nothing(seed: int) -> None:
    plain, sampled = Rig(Tier0), Rig(Tier0)
    for rig in (plain, sampled):
        set_up(rig, seed, translated=bool(seed & 1), words=WORDS)
    sampled.engine.sample(1 << 6)
    for count in (1, 1500, 4001, 9000, 20_011):
        plain.processor.run(count)
        sampled.processor.run(count)
        assert not difference(plain, sampled)
