"""Events of `verify cuts` that no hook sees: found by comparing, in ever shorter chunks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import xxhash

from gossamer.machines.machine import Machine
from gossamer.verify.cuts.guests import Plan
from gossamer.verify.cuts.watch import interrupts_of

CHUNKS: Final = (20_000, 500, 1)
"""Instructions between two looks, in each pass of the search for a change."""
RFI: Final = 0x4C00_0064
LONGEST_HANDLER: Final = 50_000
RETURNS: Final = 6
"""Changes of SRR0 and SRR1 that are looked at in search of an exception: handlers set them too."""
NEAR: Final = 120
"""Instructions behind an interrupt in which an exception is looked for."""


def page_table(machine: Machine) -> int:
    """Hash of the hashed page table that SDR1 points to."""
    sdr1 = machine.cpu.block.get("sdr1")
    if not sdr1:
        return 0
    table = machine.memory.read(sdr1 & 0xFFFF_0000, ((sdr1 & 0x1FF) + 1) << 16)
    return xxhash.xxh3_64_intdigest(table)


def code_writes(machine: Machine) -> int:
    """Stores so far to pages with decoded code (modulo 65,536 a page)."""
    return int(machine.engine.decoded.code_writes.array.sum())


def exceptions(machine: Machine) -> int:
    """SRR0 and SRR1, which every exception sets."""
    block = machine.cpu.block
    return block.get("srr0") << 32 | block.get("srr1")


def at_vector(machine: Machine) -> bool:
    """Whether the next instruction is the first of a handler."""
    nia = machine.cpu.block.get("nia")
    return nia >> 20 in (0, 0xFFF) and nia & 0xFF == 0 and 0x100 <= nia & 0xFFFFF < 0x1800


def misses(machine: Machine) -> int:
    """IMISS and DMISS: the addresses of the last misses."""
    block = machine.cpu.block
    return block.get("imiss") << 32 | block.get("dmiss")


def locate(watch: Callable[[Machine], int], plan: Plan, after: int) -> int | None:
    """The first boundary behind instruction `after` behind which the watched value changes.

    Each pass is an uncut run.  Interrupts change what exceptions change: a chunk with one is passed
    over.
    """
    low, high = after, plan.end_count
    for chunk in CHUNKS:
        track = plan.track()
        track.run_to(low)
        interrupts = interrupts_of(track)
        while True:
            at, before, taken = track.vm.instructions, watch(track.vm.machine), len(interrupts)
            if at >= high:
                return None
            track.run_to(min(at + chunk, high))
            quiet = len(interrupts) == taken or watch is not exceptions
            if watch(track.vm.machine) != before and quiet:
                break
        low, high = at, track.vm.instructions
    return low


def find_exception(plan: Plan, after: int) -> int | None:
    """The first boundary behind instruction `after` behind which an instruction's exception is."""
    at = after
    for _ in range(RETURNS):
        found = locate(exceptions, plan, at)
        if found is None:
            break
        track = plan.track()
        track.run_to(found + 1)
        if at_vector(track.vm.machine):
            return found
        at = found + 1
    return _find_behind_interrupts(plan, after)


def _find_behind_interrupts(plan: Plan, after: int) -> int | None:
    """The same, of exceptions that come so soon behind an interrupt that each chunk has one."""
    track = plan.track()
    interrupts = interrupts_of(track)
    track.run_to(plan.end_count)
    track = plan.track()
    machine, seen = track.vm.machine, interrupts_of(track)
    for interrupt in interrupts:
        if interrupt < max(after, track.vm.instructions):
            continue
        track.run_to(interrupt)
        for at in range(interrupt, min(interrupt + NEAR, plan.end_count)):
            before, taken = exceptions(machine), len(seen)
            track.run_to(at + 1)
            if exceptions(machine) != before and len(seen) == taken and at_vector(machine):
                return at
    return None


SEARCHED: Final[dict[str, Callable[[Plan, int], int | None]]] = {
    "exception": find_exception,
    "tlb": partial(locate, page_table),
    "miss": partial(locate, misses),
    "code": partial(locate, code_writes),
}


def find_rfi(plan: Plan, entry: int) -> int | None:
    """The `rfi` that ends a handler, entered behind boundary `entry`: the count before it."""
    track = plan.track()
    track.run_to(entry)
    vm = track.vm
    for _ in range(LONGEST_HANDLER):
        nia = vm.machine.cpu.block.get("nia")
        real = nia if not vm.machine.cpu.block.get("msr") & 0x20 else None
        if real is not None and vm.machine.memory.load(real, 4) == RFI:
            return vm.instructions
        track.run_to(vm.instructions + 1)
    return None
