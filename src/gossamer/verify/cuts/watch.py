"""Watching an uncut run of `verify cuts`: the instruction counts at which events happen."""

from __future__ import annotations

from collections import defaultdict

from gossamer.core.clock import Alarm
from gossamer.devices.cuda import Cuda
from gossamer.devices.dbdma import IDLE, Dbdma
from gossamer.devices.openpic import IPI0, IPIS, OpenPic
from gossamer.devices.openpic_timer import OpenPicTimer
from gossamer.devices.pmu import NO_ADB, Pmu
from gossamer.devices.usb.device import IDLE as NO_TRANSFER
from gossamer.devices.usb.device import UsbFunction
from gossamer.machines.machine import Machine
from gossamer.verify.cuts.guests import Plan
from gossamer.verify.cuts.track import Track


def interrupts_of(track: Track) -> list[int]:
    """The counts at which interrupts are delivered from now on: the list grows as they are."""
    engine = track.vm.machine.engine
    deliver, seen = engine.deliver, list[int]()

    def delivered(vector: int, srr1: int = 0) -> None:
        seen.append(engine.count)
        deliver(vector, srr1)

    engine.deliver = delivered  # type: ignore[method-assign]
    return seen


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
        advance = clock.advance
        self.seen["interrupt"] = interrupts_of(self.track)

        def advanced(to: int) -> None:
            if clock.deadline <= to:
                self._note("timer", engine.count)
            advance(to)
            self._look_at_usb(engine.count)

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


def watched(plan: Plan) -> dict[str, list[int]]:
    """What happens when in the guest's whole run."""
    track = plan.track()
    watcher = Watcher(track)
    track.run_to(plan.end_count)
    return watcher.seen
