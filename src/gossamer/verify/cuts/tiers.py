"""Other ways to execute the same: tiers, thresholds and drops chosen at random.

The uncut run is tier 0's.  Each machine of the cut run is executed in its own way: interpreted, or
with blocks, with regions of random sizes that are made after few or many looks, at once or in a
thread, or with both; between two runs some are dropped.  None of that may show in the state.
"""

from __future__ import annotations

import random
from typing import Final

from gossamer.engine.regions.forming import Limits
from gossamer.engine.regions.regions import LIMITS, Regions
from gossamer.engine.regions.soon import Soon
from gossamer.machines.machine import Machine

_SIZES: Final = (LIMITS, LIMITS, Limits(12, 20), Limits(50, 80, 1, 2))


class Tiers:
    """Chooses for one machine after the other."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"tiers {seed}")  # noqa: S311 - choice of test points
        self._regions: Regions | None = None
        self._executed = self._made = self._copied = self._dropped = self._machines = 0

    def choose(self, machine: Machine) -> None:
        """Let a machine that has not run yet be executed in some way."""
        self._count()
        rng = self._rng
        machine.stop_translating()
        if rng.random() < 0.15:
            return
        size, looks, apart = (
            rng.choice(_SIZES),
            rng.choice((2, 2, 4, 16)),
            rng.choice((8, 10, 12, 14)),
        )
        threaded, pause = rng.random() < 0.3, rng.choice((0, 1000, 1_000_000))
        blocks, compiles = rng.random() < 0.7, rng.random() < 0.7
        machine.translator = Soon(
            machine.engines[0],
            lambda: Regions(
                machine.engines[0],
                machine.cpu.model.architecture,
                threshold=looks,
                interval=1 << apart,
                limits=size,
                threaded=threaded,
                pause=pause,
                blocks=blocks,
                compiles=compiles,
                after_blocks=1,
                beside=machine.engines[1:],
            ),
            beside=machine.engines[1:],
        )
        self._regions = machine.translator.regions()

    def disturb(self) -> None:
        """Drop some regions of the machine, as a change of its code could."""
        if self._regions is None or self._rng.random() < 0.5:
            return
        installed = self._regions.installed
        for entry in installed.entries:
            if self._rng.random() < 0.3:
                installed.drop(entry)
                self._dropped += 1
        blocks = self._regions.blocks
        if blocks is None:
            return
        for entry in blocks.entries:
            if self._rng.random() < 0.3:
                blocks.drop(entry)
                self._dropped += 1

    def _count(self) -> None:
        if self._regions is not None:
            self._executed += self._regions.executed()
            self._made += self._regions.counts.made
            self._copied += self._regions.blocks_made
            self._dropped += self._regions.counts.dropped
            self._machines += 1
            self._regions.close()
            self._regions = None

    def summary(self) -> str:
        """What was done in all."""
        self._count()
        return (
            f"{self._machines} machines with regions: {self._made} made, "
            f"{self._copied} blocks copied, {self._dropped} dropped, "
            f"{self._executed} instructions executed in them"
        )
