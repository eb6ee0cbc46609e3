"""Tier 0 against the reference for a model of 64 bits: both modes, segments, the hash table."""

from __future__ import annotations

import random

import pytest

from gossamer.engine.processor import Stop
from gossamer.engine.reference import Reference
from gossamer.engine.tier0 import Tier0

from .programs import pool
from .programs_64 import CPU, set_up
from .rig import Rig, difference

POOL_SIZE = 2500


def compare(seed: int, rounds: int, words: tuple[int, ...]) -> int:
    """Run both engines over the program of `seed`, comparing now and then; steps done."""
    a, b = (Rig(kind, cpu=CPU) for kind in (Tier0, Reference))
    for rig in (a, b):
        set_up(rig, seed, translated=bool(seed & 1), words=words)
    assert not (d := difference(a, b)), d
    rng = random.Random(seed)
    for _ in range(rounds):
        n = rng.choice((1, 1, 7, 30, 60))
        where = f"seed {seed}, {n} instructions after {b.engine.count} at {b.get('nia'):#x}"
        stops = a.run(n), b.run(n)
        assert not (d := difference(a, b)), f"{where}: {d}"
        assert stops[0] is stops[1], where
        if stops[0] is not Stop.LIMIT:
            break
    return b.engine.count


@pytest.mark.parametrize("group", range(4))
def test_random_programs_end_in_the_same_state(group: int) -> None:
    words = pool(1, POOL_SIZE, CPU)
    assert sum(compare(group * 6 + n, 12, words) for n in range(6)) > 500
