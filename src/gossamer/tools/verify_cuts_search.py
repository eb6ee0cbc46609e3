"""Events of `verify cuts` that no hook sees: found by comparing, in ever shorter chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import xxhash

from gossamer.machines.machine import Machine
from gossamer.tools.verify_cuts_guests import Plan
from gossamer.tools.verify_cuts_watch import Watcher

CHUNKS: Final = (20_000, 500, 1)
"""Instructions between two looks, in each pass of the search for a change."""
RFI: Final = 0x4C00_0064
LONGEST_HANDLER: Final = 50_000


def page_table(machine: Machine) -> int:
    """Hash of the hashed page table that SDR1 points to."""
    sdr1 = machine.cpu.block.get("sdr1")
    if not sdr1:
        return 0
    table = machine.memory.read(sdr1 & 0xFFFF_0000, ((sdr1 & 0x1FF) + 1) << 16)
    return xxhash.xxh3_64_intdigest(table)


def code_writes(machine: Machine) -> int:
    """Stores so far to pages with decoded code (modulo 256 a page)."""
    return int(machine.engine._code_writes.sum())


def exceptions(machine: Machine) -> int:
    """SRR0 and SRR1, which every exception sets."""
    block = machine.cpu.block
    return block.get("srr0") << 32 | block.get("srr1")


def misses(machine: Machine) -> int:
    """IMISS and DMISS: the addresses of the last misses."""
    block = machine.cpu.block
    return block.get("imiss") << 32 | block.get("dmiss")


WATCHED: Final[dict[str, Callable[[Machine], int]]] = {
    "exception": exceptions,
    "tlb": page_table,
    "miss": misses,
    "code": code_writes,
}


def locate(plan: Plan, watch: Callable[[Machine], int], after: int) -> int | None:
    """The first boundary behind instruction `after` behind which the watched value changes.

    Each pass is an uncut run; interrupts change what exceptions change and are passed over.
    """
    low, high = after, plan.end_count
    for chunk in CHUNKS:
        track = plan.track()
        track.run_to(low)
        interrupts = Watcher(track).seen["interrupt"]
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


def find_rfi(plan: Plan, interrupt: int) -> int | None:
    """The `rfi` that ends the handler of an interrupt: the count before it."""
    track = plan.track()
    track.run_to(interrupt)
    vm = track.vm
    for _ in range(LONGEST_HANDLER):
        nia = vm.machine.cpu.block.get("nia")
        real = nia if not vm.machine.cpu.block.get("msr") & 0x20 else None
        if real is not None and vm.machine.memory.load(real, 4) == RFI:
            return vm.instructions
        track.run_to(vm.instructions + 1)
    return None
