"""`verify cuts --around EVENT`: cuts at every boundary of a window around what is hard to cut.

An uncut run is watched for occurrences; some of each event are chosen (by the seed), and the
chained pass then cuts at every instruction boundary from `window` before each to `window` behind.
"""

from __future__ import annotations

import argparse
import random
import sys
from typing import Final

from gossamer.base.errors import ConfigError, GossamerError
from gossamer.verify.cuts.guests import Plan
from gossamer.verify.cuts.run import Cutter, Reference
from gossamer.verify.cuts.search import SEARCHED, find_rfi
from gossamer.verify.cuts.watch import watched

EVENTS: Final = {
    "interrupt": "an external or decrementer interrupt is delivered",
    "timer": "an alarm of a device or the decrementer expires",
    "exception": "an exception that an instruction causes is entered",
    "rfi": "the return from an interrupt",
    "tlb": "the page table changes: a refill sets R or C, or the guest fills it",
    "miss": "a TLB miss that software sees to",
    "code": "code that has been executed is written to",
    "shift": "the VIA's shift register is half way through a byte",
    "cuda": "a CUDA packet has been sent in part",
    "pmu": "a PMU packet has been sent in part",
    "adb": "a command of the PMU is on ADB",
    "dma": "a DBDMA channel is carrying out its program",
    "fetch": "a DBDMA channel is about to fetch a command",
    "openpic": "a global timer of the OpenPIC expires",
    "ipi": "an OpenPIC IPI is sent",
    "usb": "a USB control transfer has been carried out in part",
}


def find(
    plan: Plan, names: list[str], rng: random.Random, occurrences: int = 1
) -> dict[str, list[int]]:
    """Up to so many occurrences of each event that the guest has, in order."""
    seen = {} if SEARCHED.keys() >= set(names) else watched(plan)
    found: dict[str, list[int]] = {}
    for name in names:
        places = {_one(plan, name, seen, rng) for _ in range(occurrences)} - {None}
        if places:
            found[name] = sorted(at for at in places if at is not None)
    return found


def _one(plan: Plan, name: str, seen: dict[str, list[int]], rng: random.Random) -> int | None:
    """An occurrence of an event, chosen by chance."""
    if name == "rfi":
        at = _one(plan, "interrupt", seen, rng)
        if at is None:
            at = _one(plan, "exception", seen, rng)
        return None if at is None else find_rfi(plan, at)
    search = SEARCHED.get(name)
    if search is not None:
        at = search(plan, rng.randrange(plan.start_count, plan.end_count))
        return search(plan, plan.start_count) if at is None else at
    places = seen.get(name)
    return rng.choice(places) if places else None


def run_around(arguments: argparse.Namespace, plan: Plan) -> int:
    """Cut in windows around the events asked for."""
    wanted = list(EVENTS) if arguments.around == "all" else [arguments.around]
    if wanted[0] not in EVENTS:
        raise ConfigError(f"--around: expected all, {', '.join(EVENTS)}; got {wanted[0]!r}")

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    rng = random.Random(arguments.seed)  # noqa: S311 - choice of test points
    found = find(plan, wanted, rng, arguments.occurrences)
    absent = [name for name in wanted if name not in found]
    for name, places in found.items():
        say(f"{name}: instruction {', '.join(map(str, places))} ({EVENTS[name]})")
    if absent:
        say(f"not in this guest's run: {', '.join(absent)}")
    if not found:
        raise GossamerError(f"guest {plan.guest} has none of: {', '.join(wanted)}")
    points = {
        count
        for places in found.values()
        for at in places
        for count in range(at - arguments.window, at + arguments.window + 1)
        if plan.start_count < count < plan.end_count
    }
    reference = Reference(plan, sorted(points), [])
    reference.run()
    cutter = Cutter(plan, reference, say)
    cutter.run()
    events = sum(map(len, found.values()))
    print(f"events={events} cuts={cutter.cuts} divergent={cutter.divergent}")
    return 0 if cutter.cuts == len(points) and not cutter.divergent else 1
