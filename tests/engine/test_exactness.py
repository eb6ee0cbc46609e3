"""A run may be cut anywhere: the state afterwards is the same."""

from __future__ import annotations

import random

import pytest

from gossamer.engine.processor import Stop
from gossamer.engine.tier0 import Tier0

from .programs import pool, set_up
from .rig import IO_BASE, Rig, difference

WORDS = pool(1, 2000)
TOTAL = 3000


def program(seed: int) -> Rig:
    rig = Rig(Tier0)
    set_up(rig, seed, translated=bool(seed & 1), words=WORDS)
    return rig


def run_to(rig: Rig, count: int) -> None:
    while rig.engine.count < count:
        if rig.processor.run(count) is not Stop.LIMIT:
            return
    assert rig.engine.count == count


@pytest.mark.parametrize("seed", range(12))
def test_cut_anywhere_ends_in_the_same_state(seed: int) -> None:
    whole, halves = program(seed), program(seed)
    run_to(whole, TOTAL)
    rng = random.Random(seed)
    for cut in sorted(rng.sample(range(1, TOTAL), 5)):
        run_to(halves, cut)
        halves.engine.flush()  # as a save does
    run_to(halves, TOTAL)
    assert not difference(whole, halves)


@pytest.mark.parametrize("seed", range(100, 106))
def test_single_steps_end_in_the_same_state(seed: int) -> None:
    whole, steps = program(seed), program(seed)
    run_to(whole, 1200)
    for n in range(1, 1201):
        run_to(steps, n)
    assert not difference(whole, steps)


@pytest.mark.parametrize("rate", [1 << 20, 3 << 19, 1 << 24, (1 << 20) // 7])
def test_stop_at_a_time_is_the_first_instruction_at_or_after_it(rate: int) -> None:
    rig = Rig(Tier0)
    rig.words(0x1_0000, 0x4800_0000)  # b .
    rig.processor.set_rate(rate)
    for ns in (1, 999, 1000, 12345):
        assert rig.processor.run(until_ns=ns) is Stop.LIMIT
        count = rig.engine.count
        assert rig.clock.now >= ns
        assert rig.engine.time_at(count - 1) < ns


def test_budget_of_more_than_a_page_is_exact_in_straight_line_code() -> None:
    for count in (1023, 1024, 1025, 2049, 5000):
        rig = Rig(Tier0)
        rig.write(0x1_0000, (0x3863_0001).to_bytes(4, "big") * 6000)  # addi r3,r3,1
        rig.set(r3=0)
        rig.run(count)
        assert (rig.get("r3"), rig.get("nia")) == (count, 0x1_0000 + 4 * count)


def test_run_that_keeps_a_device_busy_asks_soon_whether_that_is_enough() -> None:
    rig = Rig(Tier0)
    rig.words(0x1_0000, 0x8083_0000, 0x4BFF_FFFC)  # 1: lwz r4,0(r3); b 1b
    rig.set(r3=IO_BASE)
    asked = iter([False, False, True])
    assert rig.processor.run(1 << 22, enough=lambda: next(asked)) is Stop.LIMIT
    assert len(rig.device.log) == 3 * 256
    asked = iter([True])
    rig.set(nia=0x1_0000)
    rig.words(0x1_0000, 0x4800_0000)  # no device: a few million instructions
    assert rig.processor.run(1 << 30, enough=lambda: next(asked)) is Stop.LIMIT
    assert rig.engine.count < 1 << 24
