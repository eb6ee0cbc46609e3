"""`verify cuts --guest hostile --flood`: what the hostile guest can make grow has a bound.

The guest runs uncut.  Behind the first tenth of its accesses the process may grow by no more than
`MOST_GROWTH`, and no stretch of guest time may cost the host more than `MOST_COST` times as much:
a chip that a guest can keep busy without end would show here.
"""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gossamer.base.errors import GossamerError
from gossamer.base.units import MiB
from gossamer.verify.cuts.track import Track
from gossamer.verify.hostile.guest import STUCK, Hostile

MOST_GROWTH: Final = 48 * MiB
MOST_COST: Final = 4000
"""CPU time of the host for a stretch of guest time, as a multiple of it; `STRETCH_NS` or more."""
STRETCH_NS: Final = 2_000_000
LEAST_COST_NS: Final = 20_000_000_000
"""CPU time below which a stretch is never called too slow."""
WARMING: Final = 10


def run_flood(hostile: Hostile, say: Callable[[str], None]) -> bool:
    """Run it; whether memory and time stayed within their bounds."""
    track = Track(hostile.config, hostile.inputs)
    total = len(hostile.records)
    base = most = worst = 0
    worst_at, moved, done = 0, 0, 0
    while done < total:
        before_ns, before = track.ns, time.process_time_ns()
        track.run_to(ns=before_ns + STRETCH_NS)
        cost = time.process_time_ns() - before
        if cost > worst:
            worst, worst_at = cost, hostile.done(track)
        if cost > max(LEAST_COST_NS, MOST_COST * (track.ns - before_ns)):
            for line in hostile.place(track):
                say(line)
            say(f"{STRETCH_NS // 1_000_000} ms of the guest took {cost / 1e9:.1f} s of CPU time")
            return False
        now = hostile.done(track)
        if now != done:
            done, moved = now, track.vm.instructions
        elif track.vm.instructions - moved > STUCK:
            raise GossamerError("the hostile guest does not go on: " + hostile.place(track)[-1])
        if not base and done > total // WARMING:
            gc.collect()
            base = _resident()
        if base:
            most = max(most, _resident())
    grown = max(most - base, 0)
    track.close()
    print(
        f"accesses={total} grown={grown / MiB:.1f} MiB "
        f"dearest={worst / 1e6:.0f} ms for {STRETCH_NS / 1e6:.0f} ms, at access {worst_at}"
    )
    return grown <= MOST_GROWTH


def _resident() -> int:
    """Memory that the process has now, bytes; the most it ever had where the host reports no more.

    What the process had before must not hide what the guest makes grow.
    """
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
