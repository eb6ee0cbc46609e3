"""A machine that runs: in slices or to an exact place, stopped, reset, replaced by a loaded one.

The lowest layer of `control`.  Saving, transfers, commands and the `Vm` of the Python interface
stand on it; it knows none of them.
"""

from __future__ import annotations

import errno
import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count as counting
from typing import TYPE_CHECKING, Final

from xxhash import xxh3_64_intdigest

from gossamer.base.errors import ConfigError, HostError
from gossamer.control import keys, outside
from gossamer.control.disks import Disks
from gossamer.control.events import (
    BlockIoError,
    Observers,
    PoweredDown,
    Resumed,
    ShutDown,
    Stopped,
    WasReset,
)
from gossamer.control.history import History
from gossamer.control.outside import Outside
from gossamer.control.pace import Pace
from gossamer.control.progress import SILENT
from gossamer.control.snapshots import Snapshots
from gossamer.core import host
from gossamer.core.clock import NEVER
from gossamer.engine.processor import Stop
from gossamer.machines import drives_attach
from gossamer.machines.build import build
from gossamer.machines.config import Config
from gossamer.machines.machine import Machine
from gossamer.machines.translate import translate
from gossamer.migrate.releases import OURS

if TYPE_CHECKING:
    from gossamer.control.hashing import StateHash
    from gossamer.control.placed import Standing
    from gossamer.control.stream_out import Carried

#: An idle guest goes so far ahead of the host, ns, rather than wait: a disk's next step.
_AHEAD: Final = 100_000
#: The longest that alarms are passed over, so that input from outside is never far behind.
_LONGEST_QUIET: Final = 100_000_000
#: The longest that an idle guest is left alone, ns of the host.
_LONGEST_IDLE: Final = 1_000_000_000
#: A guest that waits for so long, ns of the host, has nothing to do.
_REST: Final = 20_000_000
#: And one that has waited for so long in all has begun whatever it is there for: a Linux that boots
#: waits for two seconds.
_RESTED: Final = 3_000_000_000
RUNNING: Final = "running"
PAUSED: Final = "paused"
DEBUG: Final = "debug"
SHUTDOWN: Final = "shutdown"
WAITING: Final = "sent its memory"


def _nowhere(number: int, frame: bytes) -> None:
    """No cable: what cards send is lost."""


class Runner:
    """One virtual machine.  Every method is called between two instructions.

    `ended`: it is over, the process may end; a guest that switched itself off under -no-shutdown
    is only in run state ``shutdown``.
    """

    def __init__(self, config: Config, machine: Machine | None = None) -> None:
        self.config = config
        self.events = Observers()
        self.snapshot_store = Snapshots(config)
        self.serial_sinks: list[Callable[[bytes], None]] = []
        self._sinks_wait = False
        self._run_state = "prelaunch"
        self.ended = False
        #: The machine is being "saved", "loaded" or "dumped": it stands still, nothing may change
        #: it, and the end waits for that.
        self.busy = ""
        self.idle_until_ns: int | None = None
        #: Host ns that the guest has had nothing to do, in all.
        self._rested = 0
        #: Is notified how far saves, loads and transfers have come.
        self.progress = SILENT
        #: Sections of chips that only QEMU has, kept for the next receiver.
        self.carried: tuple[Carried, ...] = ()
        #: What the last load of a foreign stream mended.
        self.repairs: list[str] = []
        #: The receiver that streams are written for, and how.
        self.wire_profile, self.keep_tb, self.mends = OURS, False, True
        #: Percent of its time that the guest is held back (a live transfer that must converge).
        self.throttle = self._held_until = 0
        self._idle_from: tuple[int, int] | None = None
        self._wants_reset = self._unused = False
        self._wakes: list[tuple[int, int, Callable[[], None]]] = []
        self._wake_serial = counting()
        self._machine: Machine | None = None
        #: The timeline, where there is one.
        self.history: History | None = None
        #: Whether what is run now has been before (`unheard`).
        self.replays = False
        #: Asked now and then by `run_to`: what it raises ends the run between two instructions.
        self.patience: Callable[[], None] | None = None
        self.outside = Outside()
        #: Lets the rest of the process go on for a moment while the guest waits in a slice for
        #: memory that is still with its sender; the front's.
        self.serve_others: Callable[[], None] | None = None
        self._in_slice = self._in_guest = False
        self._lost = ""
        #: What is known of the last save, so that the next need not write all of it.
        self.standing_save: Standing | None = None
        #: Takes the frames that cards send: number of the card, frame.
        self.frames_out: Callable[[int, bytes], None] = _nowhere
        self.disks = Disks(config)
        self.disks.open(stand_by=config.incoming is not None or not config.start)
        try:
            self._adopt(build(config) if machine is None else machine)
        except BaseException:
            self.disks.abandon()
            raise

    def close(self) -> None:
        """Let go of the disks, once all that was written to them is on the medium."""
        if self._machine is not None:
            self._machine.stop_translating()
        self.disks.close()

    # --- the machine --------------------------------------------------------------------------

    @property
    def machine(self) -> Machine:
        assert self._machine is not None
        return self._machine

    def _adopt(self, machine: Machine) -> None:
        """Make `machine` the one that runs; the memory of the one before is given back."""
        before, self._machine = self._machine, machine
        if self.config.accel.tier:
            translate(machine, self.config.accel)
        if before is not None:
            machine.trace.listener = before.trace.listener
        self.outside.attach(machine)
        outside.connect(machine, self._frame_out)
        self.plug_disks()
        machine.power_off = self._guest_power_off
        machine.system_reset = self._guest_reset
        for n, port in enumerate(machine.serials):
            port.transmit = self._sink(n)
        machine.memory.faces.at_leisure = self._sinks_wait
        self.pace = Pace(machine.processor, self.config.icount, host.monotonic_ns())
        machine.processor.idle_warps = self.config.icount is not None and (
            not self.config.icount_sleep
        )
        self._hash: StateHash | None = None
        self._lost = ""
        self.standing_save = None
        self._idle_from, self.idle_until_ns = None, None
        self._wakes.clear()
        if before is not None and before is not machine:
            before.close()
        self.broken("another machine was loaded")

    def noted(self, kind: str, *values: int | str) -> None:
        """An input of a kind that `control.timeline.journal` knows comes now."""
        if self.history is not None:
            self.history.note(kind, values)

    def broken(self, why: str) -> None:
        """Something has changed that is no such input."""
        if self.history is not None:
            self.history.broken(why)

    @contextmanager
    def unheard(self) -> Iterator[None]:
        """What is run inside has been before: no console, observer or call of `at` hears of it."""
        kept = self.serial_sinks, self.events, self._wakes, self._run_state, self.ended
        sent, self.frames_out = self.frames_out, _nowhere
        self.serial_sinks, self.events, self._wakes = [], Observers(), []
        self._run_state, self.ended, self.replays = RUNNING, False, True
        try:
            yield
        finally:
            self.replays = False
            self.frames_out = sent
            self.serial_sinks, self.events, self._wakes, self._run_state, self.ended = kept

    def went_back(self) -> None:
        """The machine is at another place of its time; one that was switched off is paused."""
        self._idle_from, self.idle_until_ns = None, None
        self.pace.restart(host.monotonic_ns())
        if self._run_state == SHUTDOWN:
            self.ended, self._run_state = False, PAUSED

    def adopt(self, machine: Machine, run_state: str, carried: tuple[Carried, ...] = ()) -> None:
        """Take on a machine that has been loaded."""
        self.disks.open()
        self._adopt(machine)
        self.run_state, self.carried = run_state, carried

    def starting(self) -> None:
        """Say that a load comes next: it may fill the machine that was built just now.

        Only for callers that give up this `Runner` when the load fails.
        """
        self._unused = True

    @property
    def is_unused(self) -> bool:
        """Whether the machine is one for a load to fill: it has never run."""
        return self._unused

    def unused(self) -> Machine | None:
        """A machine for a load to fill, once."""
        unused, self._unused = self._unused, False
        return self.machine if unused else None

    def plug_disks(self) -> None:
        """Put the images into the drives of the machine that runs."""
        self.disks.plug(self.machine, self._disk_error)

    def take_back_disks(self) -> None:
        """What is in them may have become another: the machine uses them as they are now."""
        if self.disks.lent:
            self.disks.take_back()
            self.plug_disks()
            if self.instructions:
                self.broken("the disks had been handed over")

    def _disk_error(self, index: int) -> None:
        """A drive met an error of the host that stops the machine; `cont` tries again."""
        if self.replays:
            return
        disk, options = self.disks.at.get(index), self.config.drive(index)
        failure = self.disks.traffic[index].failure
        if disk is not None and failure is not None:
            operation, fault = failure
            number = getattr(fault, "errno", 0)
            named = options.device if options else ""
            device = "" if named else disk.name
            nospace = number in (errno.ENOSPC, errno.EDQUOT)
            self.events.report(
                BlockIoError(device, operation, "stop", str(fault), disk.name, nospace)
            )
        self.run_state = "io-error"
        self.machine.processor.request_stop()

    def _sink(self, channel: int) -> Callable[[bytes], None]:
        def send(data: bytes) -> None:
            if channel < len(self.serial_sinks):
                self.serial_sinks[channel](data)

        return send

    def _frame_out(self, number: int, frame: bytes) -> None:
        self.frames_out(number, frame)

    # --- what it is ---------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.config.name or self.config.full_name

    @property
    def instructions(self) -> int:
        """Instructions executed since power-on."""
        return self.machine.engine.count

    @property
    def clock_ns(self) -> int:
        return self.machine.clock.now

    def state_hash(self) -> int:
        """64-bit hash of the whole state."""
        if self._hash is None:
            from gossamer.control.hashing import StateHash  # noqa: PLC0415 - most runs need none

            self._hash = StateHash(self.machine)
        disks = self.disks.content_hash()
        mine = self._hash.value()
        return xxh3_64_intdigest(mine.to_bytes(8, "big") + disks) if disks else mine

    @property
    def run_state(self) -> str:
        """QEMU's words: running, paused, prelaunch, inmigrate, postmigrate, shutdown and more."""
        return self._run_state

    @run_state.setter
    def run_state(self, state: str) -> None:
        before, self._run_state = self._run_state, state
        if before == RUNNING != state:
            self.events.report(Stopped())
        elif before != RUNNING == state:
            self.events.report(Resumed())

    # --- stop and go --------------------------------------------------------------------------

    def cont(self) -> None:
        """Run; a machine that was handed over takes its disks back: HostError if it cannot."""
        if self.ended:
            return
        if self.run_state == SHUTDOWN:
            raise ConfigError("the guest has switched itself off: system_reset comes first")
        self.take_back_disks()
        if drives_attach.stalled(self.machine):
            self.noted("retry")
        drives_attach.retry(self.machine)
        self.run_state = RUNNING
        self.pace.restart(host.monotonic_ns())
        self._idle_from = None

    def stop(self) -> None:
        if self.run_state == RUNNING:
            self.run_state = PAUSED
            self.machine.processor.request_stop()

    def quit(self, reason: str = "host-qmp-quit") -> None:
        """End; `reason` as in QEMU's SHUTDOWN event."""
        self._end(ShutDown(guest=False, reason=reason))

    def _end(self, event: ShutDown) -> None:
        if not self.ended:
            self.ended = True
            self.events.report(event)
            self._run_state = SHUTDOWN  # the last that is reported is the event
            self.machine.processor.request_stop()

    def reset(self) -> None:
        """System reset, as with the machine's reset button."""
        self.noted("reset")
        self.machine.reset()
        if self.run_state == SHUTDOWN and not self.ended:
            self.run_state = PAUSED
        self.events.report(WasReset(guest=False, reason="host-qmp-system-reset"))

    def power_down(self) -> None:
        """The power button: the keyboard's power key on a Macintosh."""
        if self.machine.keyboard is None and self.machine.power_button is None:
            raise ConfigError(f"{self.name} has no power key")
        self.events.report(PoweredDown())
        if self.machine.power_button is not None:
            self.noted("power")
            self.machine.power_button()
            return
        assert self.machine.keyboard is not None
        for down in (True, False):
            self.noted("key", keys.POWER, int(down))
            self.machine.keyboard.key(keys.POWER, down)

    def _guest_power_off(self) -> None:
        self._guest_gone(ShutDown(guest=True, reason="guest-shutdown"))

    def _guest_gone(self, event: ShutDown) -> None:
        if self.config.shutdown:
            self._end(event)
        else:
            self.events.report(event)
            self.run_state = SHUTDOWN
            self.machine.processor.request_stop()

    def _guest_reset(self) -> None:
        if not self.config.reboot:
            self._guest_gone(ShutDown(guest=True, reason="guest-reset"))
            return
        self._wants_reset = True
        self.machine.processor.request_stop()

    def _after_stop(self) -> bool:
        """Carry out a reset that the guest asked for; whether to go on."""
        if self._wants_reset:
            self._wants_reset = False
            self.machine.reset()
            self.events.report(WasReset(guest=True, reason="guest-reset"))
            return True
        return False

    # --- calls at a point of virtual time -----------------------------------------------------

    def at(self, when_ns: int, call: Callable[[], None]) -> None:
        """Call `call` when virtual time reaches `when_ns`, between two instructions.

        It is the host's business, no part of the state: a load forgets it.
        """
        heapq.heappush(self._wakes, (when_ns, next(self._wake_serial), call))

    @property
    def _next_wake(self) -> int:
        return self._wakes[0][0] if self._wakes else NEVER

    def _wake(self) -> bool:
        """Make the calls that are due; whether there was one."""
        woken = False
        while self._wakes and self._wakes[0][0] <= self.clock_ns:
            woken = True
            heapq.heappop(self._wakes)[2]()
        return woken

    # --- running ------------------------------------------------------------------------------

    def run(self, *, instructions: int | None = None, until_ns: int = NEVER) -> Stop:
        """Run `instructions` from here, or until virtual `until_ns`; idling takes no host time.

        Exact: the same call on the same state ends in the same state.
        """
        return self.run_to(None if instructions is None else self.instructions + instructions,
                           until_ns)  # fmt: skip

    def run_to(self, count: int | None = None, until_ns: int = NEVER) -> Stop:
        """Run until `count` instructions since power-on, or virtual `until_ns`: at once if past."""
        self.take_back_disks()
        with self._whole():
            return self._run_to(count, until_ns)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """The guest runs: if it has to do without a page, it is lost from then on.

        HostError when it is.
        """
        if self._lost:
            raise HostError(self._lost)
        self._in_guest = True
        try:
            yield
        except HostError as fault:
            if self.machine.arena.arriving is not None and not self.ended:
                self._lost, self.run_state = str(fault), "internal-error"
            raise
        finally:
            self._in_guest = False

    def _run_to(self, count: int | None, until_ns: int) -> Stop:
        processor = self.machine.processor
        before, processor.idle_warps = processor.idle_warps, True
        if self.run_state == "prelaunch":
            self.run_state = RUNNING
        try:
            while True:
                stop = processor.run(
                    self._next_cut(count), min(until_ns, self._next_wake), self._impatient
                )
                if stop is Stop.LIMIT and self._cut_is_due():
                    if self._cut():
                        return Stop.REQUEST
                    if self.instructions != count:
                        continue
                reset = self._after_stop()
                again = stop is Stop.REQUEST and reset
                if not again and not (stop is Stop.LIMIT and self._wake()):
                    return stop
        finally:
            processor.idle_warps = before

    def _next_cut(self, count: int | None) -> int | None:
        """`count`, or the timeline's next checkpoint if that comes first."""
        if self.history is None:
            return count
        return self.history.next_cut if count is None else min(count, self.history.next_cut)

    def _cut_is_due(self) -> bool:
        return self.history is not None and self.instructions >= self.history.next_cut

    def _cut(self) -> bool:
        """Take the timeline's checkpoint; whether the machine stops here (replay_break)."""
        assert self.history is not None
        stops = self.history.cut()
        if stops:
            self.run_state = DEBUG
        return stops

    def _impatient(self) -> bool:
        if self.patience is not None:
            self.patience()
        return False

    @property
    def at_leisure(self) -> bool:
        """Whether the guest has nothing to do for a while, and has begun what it is there for."""
        if self._idle_from is None or self.idle_until_ns is None or self._rested < _RESTED:
            return False
        return self.idle_until_ns - host.monotonic_ns() >= _REST

    def step(self, count: int = 1) -> None:
        """Execute exactly `count` instructions."""
        self.run(instructions=count)

    def serve_waiting(self) -> bool | None:
        """Memory is waited for: serve others; False: it cannot be, None: not the guest waits.

        HostError when the process ends meanwhile: what the guest does from then on counts for
        nothing.
        """
        if not self._in_guest:
            return None
        if not self._in_slice or self.serve_others is None:
            return False
        before, self.busy = self.busy, WAITING
        try:
            self.serve_others()
        finally:
            self.busy = before
        if self.ended:
            raise HostError("the process ends while the guest waits for memory")
        return True

    def run_slice(self, max_host_ns: int) -> None:
        """Run for about `max_host_ns`, or until the guest is idle or stops."""
        self._in_slice = True
        try:
            with self._whole():
                self._run_slice(max_host_ns)
        except HostError:
            if not self.ended:
                raise
        finally:
            self._in_slice = False

    def _run_slice(self, max_host_ns: int) -> None:
        start = host.monotonic_ns()
        machine, pace = self.machine, self.pace
        if self.throttle and start < self._held_until:
            self.idle_until_ns = self._held_until
            return
        self._pass_idle_time(start)
        self.idle_until_ns = None
        until = min(pace.steer(start, max_host_ns), self._next_wake)
        if pace.shift is None:
            machine.processor.idle_until = pace.target(start) + _AHEAD
            self.disks.in_background = True
        before = machine.engine.count
        stop = machine.processor.run(
            self._next_cut(before + pace.instructions_in(max_host_ns)),
            until,
            lambda: host.monotonic_ns() - start >= 2 * max_host_ns,  # the estimate was far off
        )
        machine.processor.idle_until = 0
        if self._cut_is_due():
            self._cut()
        self.disks.in_background = False
        pace.measured(machine.engine.count - before, host.monotonic_ns() - start)
        if stop is Stop.IDLE:
            now = host.monotonic_ns()
            due = min(machine.clock.idle_deadline, self._next_wake) - machine.clock.now
            if machine.clock.idle_deadline > machine.clock.deadline:
                due = min(due, _LONGEST_QUIET)
            self._idle_from = (now, machine.clock.now)
            self.idle_until_ns = now + min(due, _LONGEST_IDLE)
            if self.at_leisure:
                machine.rest()
        elif stop is Stop.CHECKSTOP:
            self.run_state = "internal-error"
        elif stop is Stop.BREAK:
            self.run_state = DEBUG
        elif self.throttle:
            now = host.monotonic_ns()
            held = (now - start) * self.throttle // (100 - self.throttle)
            self.idle_until_ns = self._held_until = now + held
        self._after_stop()
        self.disks.settle(start)
        if self._wakes:
            self._wake()

    def _pass_idle_time(self, host_now: int) -> None:
        """What the host slept while the guest was idle has passed for the guest too."""
        if self._idle_from is not None:
            since, virtual = self._idle_from
            machine = self.machine
            self._rested += host_now - since
            passed = min(virtual + host_now - since, self._next_wake)
            machine.clock.skip_quiet(passed)
            passed = min(passed, machine.clock.deadline)
            machine.processor.set_clock(max(passed, machine.clock.now))
            self._idle_from, self.idle_until_ns = None, None

    @contextmanager
    def standing(self, operation: str) -> Iterator[None]:
        """The machine stands still: what the host does meanwhile takes none of the guest's time.

        `operation` is what `progress` calls it.
        """
        if self.run_state == RUNNING:
            self._pass_idle_time(host.monotonic_ns())
            # What is due by now fires now: a save holds no alarm that is due and has not fired.
            self.machine.processor.run(self.instructions)
            self._after_stop()
        self.disks.write_back()
        try:
            with self.progress.operation(operation):
                yield
        finally:
            self.pace.restart(host.monotonic_ns())

    @contextmanager
    def taken(self, word: str, operation: str) -> Iterator[None]:
        """A thread, or steps, have the machine: it stands still and is being `word`."""
        with self.standing(operation):
            self.busy = word
            try:
                yield
            finally:
                self.busy = ""

    # --- consoles, keyboard, mouse, screen ----------------------------------------------------

    def serial_room(self, channel: int) -> int:
        """Bytes that serial port `channel` can take now."""
        ports = self.machine.serials
        return ports[channel].room() if channel < len(ports) else 0

    def let_sinks_wait(self) -> None:
        """Sinks need not get a byte at its instruction, only in order and before `run` is back."""
        self._sinks_wait = self.machine.memory.faces.at_leisure = True

    def serial_receive(self, channel: int, byte: int) -> None:
        """A byte for the guest."""
        self.noted("serial", channel, byte)
        self.machine.serials[channel].receive(byte)
