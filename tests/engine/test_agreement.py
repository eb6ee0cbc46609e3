"""Tier 0 against the reference: the same programs, interrupts, faults and devices, bit for bit."""

from __future__ import annotations

import pytest

from gossamer.cpu.model import MODELS
from gossamer.engine.reference import Reference
from gossamer.engine.tier0 import Tier0

from .programs import pool, set_up
from .rig import Rig, agreed, difference

POOL_SEED = 1
POOL_SIZE = 2000
SEEDS_A_TEST = 4


def pair(seed: int, words: tuple[int, ...], cpu: str = "750") -> tuple[Rig, Rig]:
    rigs = Rig(Tier0, cpu=cpu), Rig(Reference, cpu=cpu)
    for rig in rigs:
        set_up(rig, seed, translated=bool(seed & 1), words=words)
    return rigs


def compare(seed: int, rounds: int, words: tuple[int, ...], cpu: str = "750") -> int:
    """Run both engines over the program of `seed`, comparing now and then; steps done."""
    return agreed(*pair(seed, words, cpu), seed, rounds)


@pytest.mark.parametrize("group", range(8))
def test_random_programs_end_in_the_same_state(group: int) -> None:
    words = pool(POOL_SEED, POOL_SIZE)
    steps = sum(compare(group * SEEDS_A_TEST + n, 12, words) for n in range(SEEDS_A_TEST))
    assert steps > 500


@pytest.mark.skipif("7400" not in MODELS, reason="this build has no 7400")
@pytest.mark.parametrize("group", range(4))
def test_random_programs_with_vectors_end_in_the_same_state(group: int) -> None:
    words = pool(POOL_SEED, POOL_SIZE, "7400")
    for n in range(SEEDS_A_TEST):
        compare(500 + group * SEEDS_A_TEST + n, 12, words, "7400")


@pytest.mark.parametrize("group", range(4))
def test_random_programs_with_tlbs_of_their_own_end_in_the_same_state(group: int) -> None:
    words = pool(POOL_SEED, POOL_SIZE, "603e")
    for n in range(SEEDS_A_TEST):
        compare(901 + 2 * (group * SEEDS_A_TEST + n), 40, words, "603e")


def steps_from(seed: int, least: int) -> int:
    """Compare programs from `seed` on until `least` instructions have been executed."""
    steps = 0
    while steps < least:
        steps += compare(seed, 40, pool(seed // 40, POOL_SIZE))
        seed += 1
    return steps


@pytest.mark.parametrize("group", range(10))
def test_a_hundred_thousand_instructions_end_in_the_same_state(group: int) -> None:
    """All groups together pass 10**5 instructions."""
    assert steps_from(200 * (group + 1), 10_000) >= 10_000


@pytest.mark.once
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("group", range(10))
def test_a_million_instructions_end_in_the_same_state(group: int) -> None:
    """All groups together pass 10**6 instructions."""
    assert steps_from(10_000 * (group + 1), 100_000) >= 100_000


def test_a_difference_is_noticed() -> None:
    """The comparison itself: each part of the state counts."""
    for change in (
        lambda r: r.set(r5=r.get("r5") ^ 1),
        lambda r: r.write(0x2_0000, b"\1" if r.memory.read(0x2_0000, 1) != b"\1" else b"\2"),
        lambda r: r.device.read(0, 4),
        lambda r: r.device.alarm.set(1),
        lambda r: setattr(r.engine, "count", 1),
    ):
        a, b = pair(2, pool(POOL_SEED, POOL_SIZE))
        change(b)
        assert difference(a, b)
