"""Regions of everything against tier 0: random programs, faults, interrupts, devices, drops."""

from __future__ import annotations

import random

import pytest

from gossamer.engine import tier0
from gossamer.engine.processor import Stop
from gossamer.engine.reference import Reference
from gossamer.engine.tier0 import Tier0
from tests.engine.programs import pool
from tests.engine.programs_64 import CPU
from tests.engine.regions.rigs import (
    SLACK,
    copy_all,
    copy_some,
    decoded_places,
    drop_some,
    eager,
    make_all,
    make_some,
    plain,
    prepare_all,
    prepared,
    regions_of,
    run_both,
)
from tests.engine.rig import Rig

POOL_SIZE = 2000
#: Regions made of one program at the start.
MOST = 40


def compare(
    seed: int,
    rounds: int,
    cpu: str = "750",
    *,
    drops: bool = False,
    engine: type[Tier0 | Reference] = Tier0,
    blocks: bool = False,
    little: str = "",
) -> int:
    """Run both over the program of `seed`; instructions that regions executed, or those copied.

    What a first run meets is compiled from the start: every place of it is the head of a region.
    """
    words = pool(seed // 40, POOL_SIZE, cpu)
    scout, a = plain(seed, words, cpu, little), eager(seed, words, cpu, little)
    b = prepared(Rig(engine, cpu=cpu), seed, words, little)
    scout.run(40 * rounds)
    places = decoded_places(scout)
    for rig in (a, b) if engine is Tier0 else (a,):
        prepare_all(rig, places, scout)
    rng = random.Random(seed)
    if blocks:
        regions_of(a).compiles = False
    (copy_all if blocks else make_all)(a, rng.sample(places, min(len(places), MOST)))
    for _ in range(rounds):
        if run_both(a, b, rng.choice((70, 100, 150, 200))) is not Stop.LIMIT:
            break
        (copy_some if blocks else make_some)(a, rng, 1)
        if drops:
            drop_some(a, rng)
    regions = regions_of(a)
    if blocks:
        assert regions.blocks is not None
        return regions.blocks.instructions
    return regions.executed()


@pytest.fixture(autouse=True)
def short_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tier0, "_SLACK", SLACK)


@pytest.mark.parametrize("group", range(3))
def test_random_programs_end_in_the_same_state(group: int) -> None:
    assert sum(compare(1000 + 8 * group + n, 12) for n in range(5)) > 100


@pytest.mark.parametrize("group", range(2))
def test_random_programs_with_vectors_end_in_the_same_state(group: int) -> None:
    assert sum(compare(2000 + 8 * group + n, 12, "7400") for n in range(5)) > 100


def test_random_programs_with_tlbs_of_their_own_end_in_the_same_state() -> None:
    assert sum(compare(2501 + 2 * n, 12, "603e") for n in range(5)) > 100


@pytest.mark.parametrize(
    ("seed", "cpu"), [(5000, "750"), (5100, "7400"), (5200, "603e"), (5300, CPU)]
)
def test_blocks_of_random_programs_end_in_the_same_state(seed: int, cpu: str) -> None:
    """Blocks alone, some dropped at random."""
    assert sum(compare(seed + n, 12, cpu, drops=bool(n & 1), blocks=True) for n in range(5)) > 100


def test_random_programs_of_64_bits_end_in_the_same_state() -> None:
    assert sum(compare(6000 + n, 10, CPU, drops=bool(n & 1)) for n in range(5)) > 100


@pytest.mark.parametrize("blocks", [False, True], ids=["regions", "blocks"])
@pytest.mark.parametrize("little", ["", "all", "code"])
def test_random_programs_in_either_order_of_bytes_end_in_the_same_state(
    little: str, blocks: bool
) -> None:
    seeds = range(7000, 7002)
    done = sum(compare(n, 8, "power8_v2.0", little=little, blocks=blocks) for n in seeds)
    assert done > 10


def test_random_drops_change_nothing() -> None:
    assert sum(compare(3000 + n, 12, drops=True) for n in range(5)) > 100


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "cpu"), [(4000, "750"), (4041, "7400"), (4082, "603e"), (4120, CPU)]
)
def test_random_programs_end_as_on_the_reference(seed: int, cpu: str) -> None:
    executed = [compare(seed + n, 20, cpu, drops=True, engine=Reference) for n in range(5)]
    assert sum(executed) > 100


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "cpu"), [(6000, "750"), (6041, "7400"), (6082, CPU)])
def test_blocks_of_random_programs_end_as_on_the_reference(seed: int, cpu: str) -> None:
    compared = [
        compare(seed + n, 8, cpu, drops=bool(n), engine=Reference, blocks=True) for n in range(2)
    ]
    assert sum(compared) > 50


@pytest.mark.once
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("blocks", [False, True], ids=["regions", "blocks"])
@pytest.mark.parametrize("group", range(10))
def test_a_million_steps_of_the_reference_end_in_the_same_state(group: int, blocks: bool) -> None:
    """10**6 steps in all, every place met the head of a region or block, faults and interrupts."""
    steps, seed, done = 0, 20_000 + 1000 * group, 0
    while steps < 100_000:
        cpu = ("750", "7400", "603e", CPU)[seed % 4]
        done += compare(seed, 20, cpu, drops=bool(seed & 2), engine=Reference, blocks=blocks)
        steps += 20 * 130
        seed += 1
    assert done > 3000  # of 10**5 steps, since tiny programs with faults leave regions soon


@pytest.mark.once
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("cpu", ["750", "7400", "603e", CPU])
def test_a_million_instructions_in_regions_end_in_the_same_state(cpu: str) -> None:
    """All models together pass 10**6 instructions in regions."""
    done, seed = 0, 10_000
    while done < 350_000:
        done += compare(seed, 20, cpu, drops=bool(seed & 2))
        seed += 1
