"""Searches towards the past: the last time that an instruction or a write came."""

from __future__ import annotations

from typing import Final

from gossamer.base.bits import ones
from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.control.timeline.journal import Moment
from gossamer.control.timeline.ring import Checkpoint
from gossamer.control.timeline.timeline import Timeline
from gossamer.core.memory import RamBlock
from gossamer.engine.processor import Stop
from gossamer.engine.stops import Met, Watch
from gossamer.engine.translate import probe

#: How far back is looked first, in instructions, and how much farther each time.
_FIRST: Final = 4096
_FACTOR: Final = 16


class Hit(Data):
    """`instructions` had been executed before the instruction that met it."""

    met: Met
    instructions: int


class Write(Data):
    """Who wrote: the store at `pc`, at `moment` (before it), and the bytes before and after."""

    moment: Moment
    pc: int
    address: int
    before: bytes
    after: bytes


def last_hit(timeline: Timeline, breaks: frozenset[int], watches: tuple[Watch, ...]) -> Hit | None:
    """The last time before now that the guest met one of these; the machine ends anywhere."""
    pages = None if breaks else _pages(timeline, watches)
    for first, last in timeline.segments():
        written = last.changed
        if pages is not None and not pages.intersection(written.tolist()):
            continue
        hit = _last_in(timeline, first, last, breaks, watches)
        if hit is not None:
            return hit
    return None


def _pages(timeline: Timeline, watches: tuple[Watch, ...]) -> set[int] | None:
    """Pages of the arena that writes to what is watched change; None where that is not certain."""
    machine = timeline.vm.machine
    if len(machine.cpus) > 1:
        return None  # each has its own translation
    found = set()
    for watch in watches:
        if watch.reads:
            return None
        for ea in {watch.ea, watch.ea + watch.length - 1 & ones(machine.word)}:
            ra = probe(machine.cpu.block, machine.memory, machine.cpu.model.architecture, ea)
            place = None if ra is None else machine.memory.find(ra)
            if ra is None or place is None or not isinstance(place[2].target, RamBlock):
                return None
            found.add((place[2].target.offset + ra - place[2].base) >> 12)
    return found


def _last_in(
    timeline: Timeline,
    first: Checkpoint,
    last: Checkpoint,
    breaks: frozenset[int],
    watches: tuple[Watch, ...],
) -> Hit | None:
    """The last one between two checkpoints: of the last instructions first, so that there are few.

    What is hot is met soon; what is rare costs a run of the whole stretch.
    """
    start, end = first.moment.instructions, last.moment.instructions
    until, reach = end, _FIRST
    while until > start:
        begin = max(start, end - reach)
        hits: list[Hit] = []

        def run(begin: int = begin, until: int = until, hits: list[Hit] = hits) -> None:
            vm = timeline.vm
            vm.run_to(begin)
            stops = vm.machine.processor.debug()
            stops.set(breaks, watches)
            try:
                while vm.run_to(until) is Stop.BREAK:
                    met = vm.machine.processor.met
                    assert met is not None
                    at = vm.instructions - (met.kind != "break")
                    if at >= until:
                        break
                    hits[:] = [Hit(met, at)]
                    if met.kind == "break":
                        stops.pass_once(met.ea, met.cpu)
            finally:
                stops.set(frozenset())

        timeline.again(first, run)
        if hits:
            return hits[0]
        until, reach = begin, reach * _FACTOR
    return None


def run_back(timeline: Timeline, breaks: frozenset[int], watches: tuple[Watch, ...]) -> Hit | None:
    """Go back to before the last instruction that met one of these; to the begin if none did."""
    with timeline.come_back():
        hit = last_hit(timeline, breaks, watches)
        if hit is None:
            timeline.go(timeline.begin)
        else:
            timeline.go_to_count(hit.instructions)
        return hit


def last_write(timeline: Timeline, ea: int, length: int = 4) -> Write | None:
    """Who wrote last to the memory at `ea`; the machine stays where it is.

    Writes through other effective addresses and by DMA are not seen.
    """
    word = timeline.vm.machine.word
    if not 1 <= length <= 4096 or not 0 <= ea <= (1 << word) - length:
        below = "4 GiB" if word == 32 else "2**64"
        raise ConfigError(f"last-write: expected 1 to 4096 bytes below {below}, got {length}")
    here = timeline.now
    with timeline.come_back():
        hit = last_hit(timeline, frozenset(), (Watch(ea, length, False, True),))
        found = None
        if hit is not None:
            timeline.go_to_count(hit.instructions)
            vm = timeline.vm
            writer = vm.machine.cpus[hit.met.cpu]
            moment, pc = timeline.now, writer.block.get("nia")
            before = _bytes(timeline, ea, length, hit.met.cpu)
            timeline.go_to_count(hit.instructions + 1)
            after = _bytes(timeline, ea, length, hit.met.cpu)
            found = Write(moment, pc, ea, before, after)
        timeline.go(here)
        return found


def _bytes(timeline: Timeline, ea: int, length: int, cpu: int) -> bytes:
    """Memory as that CPU sees it."""
    machine, out = timeline.vm.machine, bytearray()
    for at in range(ea, ea + length):
        block = machine.cpus[cpu].block
        ra = probe(block, machine.memory, machine.cpu.model.architecture, at)
        out += b"\xff" if ra is None else machine.memory.read(ra, 1)
    return bytes(out)
