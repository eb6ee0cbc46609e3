"""`verify cuts --around EVENT`: cuts at every boundary of a window around what is hard to cut.

An uncut run is watched for occurrences; some of each event are chosen (by the seed), and the
chained pass then cuts at every instruction boundary from `window` before each to `window` behind.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import defaultdict
from collections.abc import Callable
from typing import Final

import xxhash

from gossamer.base.errors import ConfigError, GossamerError
from gossamer.core.clock import Alarm
from gossamer.devices.cuda import Cuda
from gossamer.devices.dbdma import IDLE, Dbdma
from gossamer.devices.openpic import IPI0, IPIS, OpenPic
from gossamer.devices.openpic_timer import OpenPicTimer
from gossamer.devices.pmu import NO_ADB, Pmu
from gossamer.devices.usb_device import IDLE as NO_TRANSFER
from gossamer.devices.usb_device import UsbFunction
from gossamer.machines.machine import Machine
from gossamer.tools.verify_cuts_guests import Plan
from gossamer.tools.verify_cuts_run import Cutter, Reference
from gossamer.tools.verify_cuts_track import Track

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
CHUNKS: Final = (20_000, 500, 1)
"""Instructions between two looks, in each pass of the search for a change."""
RFI: Final = 0x4C00_0064
LONGEST_HANDLER: Final = 50_000


class Watcher:
    """Notes, in an uncut run, the instruction counts at which events happen."""

    def __init__(self, track: Track) -> None:
        self.track = track
        self.seen: defaultdict[str, list[int]] = defaultdict(list)
        machine = self.machine = track.vm.machine
        devices = [part.device for part in machine.parts]
        self.cudas = [d for d in devices if isinstance(d, Cuda)]
        self.pmus = [d for d in devices if isinstance(d, Pmu)]
        self.dmas = [d for d in devices if isinstance(d, Dbdma)]
        self.pics = [d for d in devices if isinstance(d, OpenPic)]
        self.functions = [d for d in devices if isinstance(d, UsbFunction)]
        self._sent = 0
        self._transfers: list[tuple[int, int]] = []
        self._wrap_engine(machine)
        self._wrap_memory(machine)
        for pic in self.pics:
            for timer in pic.timers:
                self._wrap_timer(timer)

    def _note(self, event: str, count: int) -> None:
        self.seen[event].append(count)

    def _wrap_engine(self, machine: Machine) -> None:
        engine, clock = machine.engine, machine.clock
        deliver, advance = engine.deliver, clock.advance

        def delivered(vector: int, srr1: int = 0) -> None:
            self._note("interrupt", engine.count)
            deliver(vector, srr1)

        def advanced(to: int) -> None:
            if clock.deadline <= to:
                self._note("timer", engine.count)
            advance(to)
            self._look_at_usb(engine.count)

        engine.deliver = delivered  # type: ignore[method-assign]
        clock.advance = advanced  # type: ignore[method-assign]

    def _wrap_memory(self, machine: Machine) -> None:
        memory = machine.memory
        load, store = memory.load, memory.store

        def loaded(ra: int, size: int) -> int:
            value = load(ra, size)
            self._look()
            return value

        def stored(ra: int, value: int, size: int) -> None:
            store(ra, value, size)
            self._look()

        memory.load, memory.store = loaded, stored  # type: ignore[method-assign]

    def _wrap_timer(self, timer: OpenPicTimer) -> None:
        fire = timer.fire

        def fired() -> None:
            self._note("openpic", self.machine.engine.count)
            fire()

        timer.fire = fired

    def _look(self) -> None:
        """After an access to a chip: is something under way?"""
        now = self.machine.engine.count_now
        for pmu in self.pmus:
            self._look_at_shift(pmu.shift_timer, now)
            if pmu.cmd_buf_pos or pmu.cmd_rsp_pos < pmu.cmd_rsp_sz:
                self._note("pmu", now)
            if pmu.adb_phase != NO_ADB:
                self._note("adb", now)
        for cuda in self.cudas:
            self._look_at_shift(cuda.sr_delay_timer, now)
            if 0 < cuda.data_in_index < cuda.data_in_size or cuda.data_out_index > 0:
                self._note("cuda", now)
        for dma in self.dmas:
            if any(channel.stage != IDLE for channel in dma.channels):
                self._note("dma", now)
            if any(channel.step.armed for channel in dma.channels):
                self._note("fetch", now)
        sent = 0
        for pic in self.pics:
            for n in range(IPIS):
                sent |= bool(pic.src[IPI0 + n].pending) << n
        if sent & ~self._sent:
            self._note("ipi", now)
        self._sent = sent

    def _look_at_usb(self, now: int) -> None:
        """Has a packet brought a transfer into its middle, or further there?"""
        devs = [function.dev for function in self.functions]
        before, self._transfers = self._transfers, [(d.setup_state, d.setup_index) for d in devs]
        if self._transfers != before and any(d.setup_state != NO_TRANSFER for d in devs):
            self._note("usb", now)

    def _look_at_shift(self, timer: Alarm, now: int) -> None:
        """Half of the time that is left to a byte in the shift register."""
        if timer.armed:
            shift = self.track.config.icount or 0
            self._note("shift", now + ((timer.when - self.machine.clock.now) >> shift + 1))


# --- what no hook sees ----------------------------------------------------------------------------


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


def find(
    plan: Plan, names: list[str], rng: random.Random, occurrences: int = 1
) -> dict[str, list[int]]:
    """Up to so many occurrences of each event that the guest has, in order."""
    track = plan.track()
    watcher = Watcher(track)
    track.run_to(plan.end_count)
    found: dict[str, list[int]] = {}
    for name in names:
        places = {_one(plan, name, watcher, rng) for _ in range(occurrences)} - {None}
        if places:
            found[name] = sorted(at for at in places if at is not None)
    return found


def _one(plan: Plan, name: str, watcher: Watcher, rng: random.Random) -> int | None:
    """An occurrence of an event, chosen by chance."""
    if name in WATCHED:
        after = rng.randrange(plan.start_count, plan.end_count)
        at = locate(plan, WATCHED[name], after)
        return locate(plan, WATCHED[name], plan.start_count) if at is None else at
    seen = watcher.seen["interrupt" if name == "rfi" else name]
    if not seen:
        return None
    at = rng.choice(seen)
    return find_rfi(plan, at) if name == "rfi" else at


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
