"""Engines that make regions of everything, early, for comparing with tier 0 and the reference."""

from __future__ import annotations

import random
from typing import Final

from gossamer.core.memory import AddressMap
from gossamer.engine.regions.forming import Limits
from gossamer.engine.regions.regions import Regions
from gossamer.engine.tier0 import Tier0
from tests.engine.programs import CODE, set_up
from tests.engine.rig import Rig

SMALL: Final = Limits(instructions=40, in_line=60)


class Eager(Tier0):
    """Tier 0 with regions of every place that it is found at."""

    def __init__(self, memory: AddressMap, features: frozenset[str]) -> None:
        super().__init__(memory, features)
        self.regions = Regions(
            self, features, threshold=2, interval=128, limits=SMALL, counting=True
        )


def eager(seed: int, words: tuple[int, ...], cpu: str = "750") -> Rig:
    return prepared(Rig(Eager, cpu=cpu), seed, words)


def plain(seed: int, words: tuple[int, ...], cpu: str = "750") -> Rig:
    return prepared(Rig(Tier0, cpu=cpu), seed, words)


def prepared(rig: Rig, seed: int, words: tuple[int, ...]) -> Rig:
    set_up(rig, seed, translated=bool(seed & 1), words=words)
    return rig


def regions_of(rig: Rig) -> Regions:
    assert isinstance(rig.engine, Eager)
    return rig.engine.regions


def drop_some(rig: Rig, rng: random.Random) -> None:
    """Drop some regions, or all, as a change of the machine could at any moment."""
    regions = regions_of(rig)
    if rng.random() < 0.2:
        regions.drop_all()
        return
    for entry in regions.installed.entries:
        if rng.random() < 0.3:
            regions.installed.drop(entry)


def make_some(rig: Rig, rng: random.Random, count: int) -> None:
    """Make regions whose heads are anywhere in the decoded code that can be fetched now."""
    regions = regions_of(rig)
    heads = [
        page + offset
        for page in sorted({rig.get("nia") & ~0xFFF, *(CODE + 0x1000 * n for n in range(3))})
        if (found := regions.view.page(page)) is not None
        for offset in range(0, 0x1000, 4)
        if regions.view.word(found, offset) is not None
    ]
    for head in rng.sample(heads, min(count, len(heads))):
        regions.make(head)
