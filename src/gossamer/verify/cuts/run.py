"""The chained pass of `verify cuts`: the uncut reference, the cut run, the search for a cause."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from gossamer.base.errors import GossamerError
from gossamer.core.clock import NEVER
from gossamer.verify.cuts.fields import attributes, differences, listed, not_carried
from gossamer.verify.cuts.guests import Plan
from gossamer.verify.cuts.process import continue_in_child
from gossamer.verify.cuts.tiers import Tiers
from gossamer.verify.cuts.track import Track

BY_TIME = 5
"""Each so-manieth point is a moment of virtual time, so that idle time is cut too."""
PIECES = 64
"""Into which an interval is divided while looking for the first divergent boundary."""
MOST_DIVERGENT = 3
"""Divergences looked into before the pass is given up."""


class Reference:
    """The uncut run: the points of the cuts in order (virtual ns), and the digest at each."""

    def __init__(self, plan: Plan, counts: list[int], times: list[int]) -> None:
        self.plan = plan
        self._counts = sorted(counts, reverse=True)
        self._times = sorted(times, reverse=True)
        self.points: list[int] = []
        self.digests: list[int] = []

    @classmethod
    def random(cls, plan: Plan, cuts: int, seed: int) -> Reference:
        """With `cuts` points chosen by `seed`."""
        rng = random.Random(seed)  # noqa: S311 - choice of test points
        timed = cuts // BY_TIME
        counts = _distinct(rng, plan.start_count + 1, plan.end_count, cuts - timed)
        return cls(plan, counts, _distinct(rng, plan.start_ns + 1, plan.end_ns, timed))

    def run(self) -> None:
        """Run it, uncut; must end as the scouting run ended."""
        track = self.plan.track()
        counts, times = self._counts, self._times
        while counts or times:
            track.run_to(counts[-1] if counts else None, times[-1] if times else NEVER)
            left = len(counts) + len(times)
            while counts and counts[-1] <= track.vm.instructions:
                counts.pop()
            while times and times[-1] <= track.ns:
                times.pop()
            # Points that fall on one boundary are as many cuts there.
            for _ in range(left - len(counts) - len(times)):
                self._note(track)
        track.run_to(self.plan.end_count)
        self._note(track)
        track.close()
        if self.digests[-1] != self.plan.digest:
            raise GossamerError("two uncut runs differ: the guest is not run deterministically")

    def _note(self, track: Track) -> None:
        self.points.append(track.ns)
        self.digests.append(track.digest())

    @property
    def cuts(self) -> int:
        """Points to cut at; the last point only ends the run."""
        return len(self.points) - 1


def _distinct(rng: random.Random, first: int, last: int, count: int) -> list[int]:
    """`count` different numbers from `first` up to `last`."""
    if last - first < count:
        raise GossamerError(f"the run is too short for {count} cuts ({last - first} boundaries)")
    return rng.sample(range(first, last), count)


class Cutter:
    """The cut run, compared with the reference at every cut."""

    def __init__(self, plan: Plan, reference: Reference, say: Callable[[str], None]) -> None:
        self.plan, self.reference, self.say = plan, reference, say
        self.file_every = self.process_every = 0
        #: How each machine of the cut run is executed; None: by tier 0.
        self.tiers: Tiers | None = None
        self.cuts = self.divergent = self.by_file = self.by_process = 0
        self._times: list[float] = []
        self._sizes: list[int] = []

    @property
    def median_ms(self) -> int:
        return round(median(self._times) * 1000) if self._times else 0

    @property
    def median_bytes(self) -> int:
        return round(median(self._sizes)) if self._sizes else 0

    def run(self) -> None:
        with tempfile.TemporaryDirectory(prefix="gossamer-cuts-") as folder:
            self._run(Path(folder) / "cut.gossamer")

    def _run(self, file: Path) -> None:
        reference, track = self.reference, self.plan.track(self.tiers)
        before: bytes | None = None  # the stream of the last cut
        n = 0
        while n < len(reference.points):
            ns = reference.points[n]
            if n and self.process_every and n % self.process_every == 0:
                continue_in_child(track, ns, file)
                self.by_process += 1
            else:
                track.run_to(ns=ns)
            if track.digest() != reference.digests[n]:
                self.divergent += 1
                self.say(f"divergence between cut {n} and virtual time {ns} ns")
                self._narrow(n, before)
                track.close()
                if self.divergent == MOST_DIVERGENT:
                    return
                track = self._uncut(n, self.tiers)
            if n == reference.cuts:
                track.close()
                return
            before = self._cut(track, n, file)
            n += 1

    def _cut(self, track: Track, n: int, file: Path) -> bytes:
        """Save, throw away, build, load."""
        start = time.perf_counter()
        stream = track.save()
        before = attributes(track.vm.machine)
        if self.file_every and (n + 1) % self.file_every == 0:
            track.vm.save(file)
            track.load_file(file)
            self.by_file += 1
        else:
            track.load(stream)
        lost = not_carried(before, track.vm.machine)
        if lost:
            self.divergent += 1
            self.say(f"cut {n + 1} lost state that is declared")
            for line in self.plan.place(track) + listed(lost):
                self.say(f"  {line}")
        self.cuts += 1
        self._times.append(time.perf_counter() - start)
        self._sizes.append(len(stream))
        return stream

    # --- where and what ---------------------------------------------------------------------------

    def _uncut(self, n: int, tiers: Tiers | None = None) -> Track:
        """The machine that was never cut, at point `n` (-1: the start)."""
        track = self.plan.track(tiers)
        if n >= 0:
            track.run_to(ns=self.reference.points[n])
        return track

    def _after_cut(self, n: int, stream: bytes | None) -> Track:
        """The machine loaded from the stream of cut `n`."""
        track = self._uncut(n, self.tiers)
        if stream is not None:
            track.load(stream)
        return track

    def _narrow(self, n: int, stream: bytes | None) -> None:
        """Find and print the first boundary behind cut `n` - 1 at which the runs differ."""
        low, high = 0, self.reference.points[n]
        one = 1 << (self.plan.config.icount or 0)
        while True:
            a, b = self._uncut(n - 1), self._after_cut(n - 1, stream)
            low = max(low, a.ns)
            a.run_to(ns=low)
            b.run_to(ns=low)
            step = max(one, -(-(high - low) // PIECES))
            while a.digest() == b.digest():
                if a.ns >= high:
                    self.say("  not seen again from the stream of the last cut alone")
                    a.close()
                    b.close()
                    return
                low = a.ns
                a.run_to(ns=low + step)
                b.run_to(ns=low + step)
            high = a.ns
            if step == one or high == low:
                break
            a.close()
            b.close()
        self.say(f"  first divergent boundary: instruction {a.vm.instructions}, {a.ns} ns")
        for line in self.plan.place(a):
            self.say(f"  {line}")
        for line in listed(differences(a.vm.machine, b.vm.machine)):
            self.say(f"  {line}")
        a.close()
        b.close()
