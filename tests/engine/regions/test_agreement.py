"""Regions of everything against tier 0: random programs, faults, interrupts, devices, drops."""

from __future__ import annotations

import random

import pytest

from gossamer.engine.processor import Stop
from tests.engine.programs import pool
from tests.engine.rig import difference

from .rigs import drop_some, eager, make_some, plain, regions_of

POOL_SIZE = 2000


def compare(seed: int, rounds: int, cpu: str = "750", *, drops: bool = False) -> int:
    """Run both over the program of `seed`, comparing now and then; regions made."""
    words = pool(seed // 40, POOL_SIZE, cpu)
    a, b = eager(seed, words, cpu), plain(seed, words, cpu)
    rng = random.Random(seed)
    for _ in range(rounds):
        n = rng.randrange(1100, 5000)
        where = f"seed {seed}, {n} instructions after {b.engine.count} at {b.get('nia'):#x}"
        stops = a.run(n), b.run(n)
        assert not (d := difference(a, b)), f"{where}: {d}"
        assert stops[0] is stops[1], where
        if stops[0] is not Stop.LIMIT:
            break
        make_some(a, rng, 5)
        if drops:
            drop_some(a, rng)
    return regions_of(a).counts.made


@pytest.mark.parametrize("group", range(4))
def test_random_programs_end_in_the_same_state(group: int) -> None:
    assert sum(compare(1000 + 8 * group + n, 4) for n in range(4)) > 10


@pytest.mark.parametrize("group", range(2))
def test_random_programs_with_vectors_end_in_the_same_state(group: int) -> None:
    assert sum(compare(2000 + 8 * group + n, 4, "7400") for n in range(4)) > 10


@pytest.mark.parametrize("group", range(2))
def test_random_drops_change_nothing(group: int) -> None:
    assert sum(compare(3000 + 8 * group + n, 6, drops=True) for n in range(4)) > 10
