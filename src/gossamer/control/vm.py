"""The virtual machine as a user handles it: run, stop, save, load, look inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

from xxhash import xxh3_64_intdigest

from gossamer.base.errors import ConfigError
from gossamer.control import disk_state, keys, look
from gossamer.control.disks import Disks
from gossamer.control.globalstate import GlobalState
from gossamer.control.handover import take_over
from gossamer.control.hashing import StateHash
from gossamer.control.migrating import Migrating
from gossamer.control.pace import Pace
from gossamer.control.progress import SILENT
from gossamer.control.snapshots import SnapshotEntry, Snapshots
from gossamer.control.stream import Carried, Extra, save_stream
from gossamer.core import host
from gossamer.core.clock import NEVER
from gossamer.engine.processor import Stop
from gossamer.isa.body import Irq
from gossamer.machines import drives_attach
from gossamer.machines.build import build
from gossamer.machines.config import Config
from gossamer.machines.machine import Machine
from gossamer.machines.options import parse
from gossamer.migrate.container import open_container
from gossamer.migrate.container_writer import Written


class Vm(Migrating):
    """One virtual machine.  Every method is called between two instructions."""

    def __init__(self, config: Config, machine: Machine | None = None) -> None:
        self.config = config
        self.snapshot_store = Snapshots(config)
        self.serial_sinks: list[Callable[[int], None]] = []
        self.run_state = "prelaunch"
        self.idle_until_ns: int | None = None
        self.last_save: Written | None = None
        #: Is told how far saves, loads and transfers have come.
        self.progress = SILENT
        #: Sections of chips that only QEMU has, kept for the next receiver.
        self.carried: tuple[Carried, ...] = ()
        #: What the last load of a foreign stream mended.
        self.repairs: list[str] = []
        self._idle_from: tuple[int, int] | None = None
        self._wants_reset = self._unused = False
        self.disks = Disks(config)
        if config.incoming is None:
            self.disks.open()
        try:
            self._adopt(build(config) if machine is None else machine)
        except BaseException:
            self.disks.abandon()
            raise

    def close(self) -> None:
        """Let go of the disks; what was written to raw images goes into their files now."""
        self.disks.close()

    def _adopt(self, machine: Machine) -> None:
        """Make `machine` the one that runs."""
        self.machine = machine
        self.plug_disks()
        machine.power_off = self._guest_power_off
        machine.system_reset = self._guest_reset
        for n, port in enumerate(machine.serials):
            port.transmit = self._sink(n)
        self.pace = Pace(machine.processor, self.config.icount, host.monotonic_ns())
        machine.processor.idle_warps = self.config.icount is not None and (
            not self.config.icount_sleep
        )
        self._hash: StateHash | None = None
        self._idle_from, self.idle_until_ns = None, None

    def plug_disks(self) -> None:
        """Put the images into the drives of the machine that runs."""
        self.disks.plug(self.machine, self._disk_error)

    def _take_back_disks(self) -> None:
        """What is in them may have become another: the machine uses them as they are now."""
        if self.disks.lent:
            self.disks.take_back()
            self.plug_disks()

    def _disk_error(self) -> None:
        """A drive met an error of the host that stops the machine; `cont` tries again."""
        self.run_state = "io-error"
        self.machine.processor.request_stop()

    def adopt(self, machine: Machine, run_state: str, carried: tuple[Carried, ...] = ()) -> None:
        """Take on a machine that has been loaded."""
        self.disks.open()
        self._adopt(machine)
        self.run_state, self.carried = run_state, carried

    def _sink(self, channel: int) -> Callable[[int], None]:
        def send(byte: int) -> None:
            if channel < len(self.serial_sinks):
                self.serial_sinks[channel](byte)

        return send

    # --- what it is -------------------------------------------------------------------------------

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
            self._hash = StateHash(self.machine)
        disks = self.disks.content_hash()
        mine = self._hash.value()
        return xxh3_64_intdigest(mine.to_bytes(8, "big") + disks) if disks else mine

    # --- running ------------------------------------------------------------------------------

    def cont(self) -> None:
        """Run; a machine that was sent to somebody takes its disks back: HostError if it cannot."""
        if self.run_state != "shutdown":
            self._take_back_disks()
            self.run_state = "running"
            drives_attach.retry(self.machine)
            self.pace.restart(host.monotonic_ns())
            self._idle_from = None

    def stop(self) -> None:
        if self.run_state == "running":
            self.run_state = "paused"
            self.machine.processor.request_stop()

    def quit(self) -> None:
        self.run_state = "shutdown"
        self.machine.processor.request_stop()

    def reset(self) -> None:
        """System reset, as with the machine's reset button."""
        self.machine.reset()

    def power_down(self) -> None:
        """The power key: CUDA's and the keyboard's on these machines."""
        if self.machine.keyboard is None:
            raise ConfigError(f"{self.name} has no power key")
        for down in (True, False):
            self.machine.keyboard.key(keys.POWER, down)

    def _guest_power_off(self) -> None:
        if self.config.shutdown:
            self.quit()
        else:
            self.stop()

    def _guest_reset(self) -> None:
        if not self.config.reboot:
            self.quit()
            return
        self._wants_reset = True
        self.machine.processor.request_stop()

    def run(self, count: int | None = None, until_ns: int = NEVER) -> Stop:
        """Run until `count` instructions in all, or virtual `until_ns`; idling takes no host time.

        Exact: the same call on the same state ends in the same state.
        """
        self._take_back_disks()
        processor = self.machine.processor
        before, processor.idle_warps = processor.idle_warps, True
        if self.run_state == "prelaunch":
            self.run_state = "running"
        try:
            while True:
                stop = processor.run(count, until_ns)
                if not self._after_stop() or stop is not Stop.REQUEST:
                    return stop
        finally:
            processor.idle_warps = before

    def _after_stop(self) -> bool:
        """Carry out a reset that the guest asked for; whether to go on."""
        if self._wants_reset:
            self._wants_reset = False
            self.machine.reset()
            return True
        return False

    def step(self, count: int = 1) -> None:
        """Execute exactly `count` instructions."""
        self.run(self.instructions + count)

    def run_slice(self, max_host_ns: int) -> None:
        """Run for about `max_host_ns`, or until the guest is idle or stops."""
        start = host.monotonic_ns()
        machine, pace = self.machine, self.pace
        self._pass_idle_time(start)
        until = pace.steer(start, max_host_ns)
        before = machine.engine.count
        stop = machine.processor.run(
            before + pace.instructions_in(max_host_ns),
            until,
            lambda: host.monotonic_ns() - start >= 2 * max_host_ns,  # the estimate was far off
        )
        pace.measured(machine.engine.count - before, host.monotonic_ns() - start)
        if stop is Stop.IDLE:
            now = host.monotonic_ns()
            wait = min(machine.clock.deadline - machine.clock.now, 1_000_000_000)
            self._idle_from = (now, machine.clock.now)
            self.idle_until_ns = now + wait
        elif stop is Stop.CHECKSTOP:
            self.run_state = "internal-error"
        self._after_stop()

    def _pass_idle_time(self, host_now: int) -> None:
        """What the host slept while the guest was idle has passed for the guest too."""
        if self._idle_from is not None:
            since, virtual = self._idle_from
            machine = self.machine
            passed = min(virtual + host_now - since, machine.clock.deadline)
            machine.processor.set_clock(max(passed, machine.clock.now))
            self._idle_from, self.idle_until_ns = None, None

    @contextmanager
    def standing(self, operation: str) -> Iterator[None]:
        """The machine stands still: what the host does meanwhile takes none of the guest's time.

        `operation` is what `progress` calls it.
        """
        if self.run_state == "running":
            self._pass_idle_time(host.monotonic_ns())
            # What is due by now fires now: a save holds no alarm that is due and has not fired.
            self.machine.processor.run(self.instructions)
            self._after_stop()
        try:
            with self.progress.operation(operation):
                yield
        finally:
            self.pace.restart(host.monotonic_ns())

    # --- save and load ------------------------------------------------------------------------

    def _extra(self) -> Extra:
        return Extra("globalstate", GlobalState(self.run_state))

    def save_bytes(self) -> bytes:
        """The state as a bare stream."""
        out = BytesIO()
        save_stream(self.machine, out, self._extra(), carried=self.carried)
        return out.getvalue()

    def load_bytes(self, data: bytes) -> None:
        """Take on the state of a bare stream; on an error the machine stays as it was."""
        self._take_on(BytesIO(data))

    def _take_on(self, file: object) -> None:
        _, self.repairs = take_over(self, cast(BinaryIO, file), mend=self.mends)

    def save(self, path: Path | str, name: str = "") -> Written:
        """Write a save file; it is whole on the medium, or the old one stays.

        The content of writable disks is saved with it (docs/disks.md).
        """
        return self._saved(lambda: disk_state.save_file(self, path, name))

    def _saved(self, save: Callable[[], Written]) -> Written:
        """Save while the machine stands still, and note what that cost."""
        self._take_back_disks()
        start = host.monotonic_ns()
        with self.standing("saving"):
            written = save()
        self.last_save = replace(written, took_ns=host.monotonic_ns() - start)
        return self.last_save

    def restore(self, path: Path | str, clock: str = "freeze") -> None:
        """Take on the state of a save file; on an error machine and disks stay as they were.

        `clock`: what it does for the time in between (`control.restore_clock`).
        """
        self._take_back_disks()
        with self.standing("loading"):
            disk_state.restore_file(self, path, clock)

    def starting(self) -> Vm:
        """Say that a load comes next: it may fill the machine that was built just now.

        Only for callers that give up this `Vm` when the load fails.
        """
        self._unused = True
        return self

    def unused(self) -> Machine | None:
        """A machine for a load to fill, once."""
        unused, self._unused = self._unused, False
        return self.machine if unused else None

    @classmethod
    def load(cls, path: Path | str, config: Config | None = None) -> Vm:
        """A new virtual machine from a save file, made as its options say (or `config`)."""
        if config is None:
            with open_container(path, verify=False) as container:
                version = container.meta.machine_version
                config = replace(parse(container.meta.options), version=version)
        vm = cls(config)
        try:
            vm.starting().restore(path)
        except BaseException:
            vm.disks.abandon()
            raise
        return vm

    def savevm(self, name: str) -> None:
        """Keep machine and disks as snapshot `name`."""
        self._saved(lambda: disk_state.savevm(self, name))

    def loadvm(self, name: str, clock: str = "freeze") -> None:
        """Go back to snapshot `name`; on an error machine and disks stay as they were."""
        self._take_back_disks()
        with self.standing("loading"):
            disk_state.loadvm(self, name, clock)

    def snapshots(self) -> list[SnapshotEntry]:
        """The snapshots that `loadvm` can go back to."""
        return disk_state.entries(self)

    def delvm(self, name: str) -> None:
        self._take_back_disks()
        disk_state.delvm(self, name)

    # --- disks --------------------------------------------------------------------------------

    def block_text(self) -> str:
        """What is in which drive."""
        return self.disks.text(self.machine)

    def eject(self, drive: str, *, force: bool = False) -> None:
        self.disks.eject(self.machine, drive, force=force)

    def change_disc(self, drive: str, path: Path, format: str | None = None) -> None:
        """Put another disc into a CD drive."""
        self.disks.change(self.machine, drive, path, format)

    # --- consoles -----------------------------------------------------------------------------

    def serial_room(self, channel: int) -> int:
        """Bytes that serial port `channel` can take now."""
        ports = self.machine.serials
        return ports[channel].room() if channel < len(ports) else 0

    def serial_receive(self, channel: int, byte: int) -> None:
        """A byte for the guest."""
        self.machine.serials[channel].receive(byte)

    # --- a look inside ------------------------------------------------------------------------

    def register(self, name: str) -> int:
        """A register by its name in lower case; KeyError when there is none."""
        return look.register(self.machine, name)

    def read_physical(self, ra: int, length: int) -> bytes:
        return self.machine.memory.read(ra, length)

    def read_virtual(self, ea: int, length: int) -> bytes:
        """Bytes at an effective address as data accesses would find them; ConfigError if none."""
        return look.read_virtual(self.machine, ea, length)

    def write_physical(self, ra: int, data: bytes) -> None:
        self.machine.memory.write(ra, data)

    def instruction_text(self, word: int, ea: int) -> str:
        return look.instruction_text(word, ea)

    def registers_text(self) -> str:
        return look.registers_text(self.machine)

    def pic_text(self) -> str:
        return look.pic_text(self.machine)

    def irq_text(self) -> str:
        return look.irq_text(self.machine)

    def qtree_text(self) -> str:
        return look.qtree_text(self.machine)

    def mtree_text(self) -> str:
        return look.mtree_text(self.machine)

    def interrupt(self, source: Irq) -> None:
        """Make an interrupt source pending (tests, debuggers)."""
        self.machine.cpu.input_changed(source, True)

    # --- keyboard, mouse, screen ----

    def screen(self) -> tuple[int, int, bytes]:
        """Width, height and RGB bytes of what the display shows."""
        if self.machine.display is None:
            raise ConfigError(f"{self.name} has no display")
        return self.machine.display.render()

    def send_key(self, names: Sequence[str], hold_ms: int = 100) -> None:
        """Press keys (QEMU's names) together, hold them for `hold_ms` of virtual time, release."""
        keyboard = self.machine.keyboard
        if keyboard is None:
            raise ConfigError(f"{self.name} has no keyboard")
        codes = [keys.code(n) for n in names]
        for code in codes:
            keyboard.key(code, True)
        self.run(until_ns=self.clock_ns + hold_ms * 1_000_000)
        for code in reversed(codes):
            keyboard.key(code, False)

    def mouse_move(self, dx: int, dy: int, dz: int = 0) -> None:
        """Move the mouse by counts; dz above 0 is one notch of its wheel up, below 0 down."""
        self._move_mouse(dx, dy, self._buttons, (dz > 0) - (dz < 0))

    _buttons = 0

    def mouse_buttons(self, mask: int) -> None:
        self._buttons = mask
        self._move_mouse(0, 0, mask)

    def _move_mouse(self, dx: int, dy: int, mask: int, wheel: int = 0) -> None:
        if self.machine.mouse is None:
            raise ConfigError(f"{self.name} has no mouse")
        self.machine.mouse.move(dx, dy, mask, wheel)
