"""`Vm`: one machine, for programs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from gossamer.api import options
from gossamer.api.console import Console
from gossamer.api.hands import Keys, Pointer
from gossamer.api.inside import Memory, Registers, regions
from gossamer.api.options import Value
from gossamer.api.past import Past
from gossamer.api.running import Hook, Running
from gossamer.api.screen import Screen
from gossamer.api.stopped import Stopped
from gossamer.api.symbols import Symbols, address_of
from gossamer.base.errors import ConfigError
from gossamer.base.units import NS_PER_S
from gossamer.control.events import KINDS, Event
from gossamer.control.receiving import Received
from gossamer.control.snapshots import SnapshotEntry
from gossamer.control.standstill import Sent
from gossamer.control.vm import Vm as Control
from gossamer.cpu.msr import MSR_IP
from gossamer.engine.stops import Met, Watch
from gossamer.isa.interrupts import Interrupt
from gossamer.machines.config import DEFAULT_MACHINE, Config
from gossamer.migrate.container_writer import Written

#: What a predicate is asked after, in instructions.
ASKED_EVERY: Final = 100_000
_PREFIX: Final = 0xFFF0_0000


class Vm(Past):
    """A machine: ``with Vm("g3beige", ram="256M", icount=5, kernel="vmlinux") as vm:``.

    Keywords are the options of the command line (docs/options.md), checked alike: ConfigError.
    With `icount` the same calls give the same run, whatever the host does.  The machine runs only
    inside `run` and its like, and stops between two instructions.  `control` is the machine that
    every front shares.
    """

    def __init__(self, machine: str | Config = DEFAULT_MACHINE, /, **given: Value) -> None:
        if isinstance(machine, Config) and given:
            raise ConfigError("Vm: a Config takes no keywords")
        config = machine if isinstance(machine, Config) else options.config(machine, given)
        self._hold(Control(config))

    def _hold(self, control: Control) -> None:
        self.control = control
        self.symbols = Symbols()
        self.serials = tuple(Console(self, n) for n in range(len(control.machine.serials)))
        control.serial_sinks[:] = [console.take for console in self.serials]
        self.regs = Registers(control)
        self.memory = Memory(control, self.symbols, physical=False)
        self.physical = Memory(control, self.symbols, physical=True)
        self.keys, self.pointer, self.screen = Keys(control), Pointer(control), Screen(control)
        self._running = Running(control)

    @classmethod
    def load(
        cls, path: Path | str, *, files: Mapping[str, Path | str | None] | None = None
    ) -> Self:
        """A new machine from a save file.

        A save opens no file of the host by itself: `files` names each that its machine had
        (``drive0`` to ``drive3``, ``kernel``, ``initrd``), or None to go without.
        """
        vm = cls.__new__(cls)
        vm._hold(Control.load(path, files=files))
        return vm

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the disks, once all that was written to them is on the medium."""
        self.control.close()

    def __repr__(self) -> str:
        return (
            f"<Vm {self.control.name}: {self.instructions:,} instructions, "
            f"{self.ns / NS_PER_S:.3f} s, at {self.symbols.near(self.regs.pc)}>"
        )

    # --- where it is --------------------------------------------------------------------------

    @property
    def instructions(self) -> int:
        """Instructions executed since power-on."""
        return self.control.instructions

    @property
    def ns(self) -> int:
        """Virtual time, ns."""
        return self.control.clock_ns

    @property
    def state_hash(self) -> int:
        """64-bit hash of the whole state."""
        return self.control.state_hash()

    @property
    def serial(self) -> Console:
        """The first serial port; ConfigError where there is none."""
        if not self.serials:
            raise ConfigError(f"{self.control.name} has no serial port")
        return self.serials[0]

    # --- running ------------------------------------------------------------------------------

    def run(self, *, instructions: int | None = None, seconds: float | None = None) -> Stopped:
        """Run so many instructions, or seconds of the guest's time, from here; exact.

        Without either, until the guest ends or waits for what cannot come.
        """
        for name, value in (("instructions", instructions), ("seconds", seconds)):
            if value is not None and value < 0:
                raise ConfigError(f"run: {name} must not be negative, got {value}")
        ns = None if seconds is None else int(seconds * NS_PER_S)
        return self._running.go(instructions=instructions, ns=ns)

    def run_for(self, seconds: float) -> Stopped:
        """Run for so many seconds of the guest's time."""
        return self.run(seconds=seconds)

    def step(self, count: int = 1) -> Stopped:
        """Execute exactly `count` instructions."""
        return self.run(instructions=count)

    def stop(self) -> None:
        """From a hook: end the run where it is."""
        self._running.end("hook")

    def run_until(
        self,
        *,
        pc: int | str | None = None,
        write: int | str | None = None,
        read: int | str | None = None,
        text: str | None = None,
        event: str | None = None,
        predicate: Callable[[Vm], object] | None = None,
        console: int = 0,
        length: int = 4,
        seconds: float | None = None,
        instructions: int | None = None,
    ) -> Stopped:
        """Run until one of the conditions holds; `why` of the result says which.

        `pc`: before that instruction; `write`, `read`: behind an access to the `length` bytes
        there; `text`: a pattern in what serial port `console` says from now on (after what
        `expect` has taken), at that byte; `event`: QMP's name, as ``RESET``; `predicate`: true of
        the machine, asked every 100,000 instructions.  `seconds` and `instructions` are limits.
        """
        given = (pc, write, read, text, event, predicate)
        if all(one is None for one in given):
            raise ConfigError("run_until: give pc, write, read, text, event or predicate")
        with ExitStack() as undo:
            for place, name in ((pc, "pc"), (write, "write"), (read, "read")):
                if place is not None:
                    hook = self._condition(name, address_of(self.symbols, place), length)
                    undo.callback(hook.remove)
            if text is not None:
                undo.callback(self._until_text(text, console))
            if event is not None:
                undo.callback(self.control.events.add(self._until_event(event)))
            if predicate is not None:
                return self._asking(predicate, seconds, instructions)
            return self.run(seconds=seconds, instructions=instructions)

    def _condition(self, kind: str, address: int, length: int) -> Hook:
        def met(met: Met) -> None:
            self._running.end(kind, met.ea)

        if kind == "pc":
            if self.regs.pc == address:  # the instruction where it stands is executed first
                self.control.machine.processor.debug().pass_once(address)
            return self._running.add(Hook(met, pc=address))
        return self._running.add(Hook(met, watch=_watch(address, length, kind)))

    def _until_text(self, text: str, number: int) -> Callable[[], None]:
        if not 0 <= number < len(self.serials):
            raise ConfigError(f"run_until: console {number}: there are {len(self.serials)}")
        console = self.serials[number]
        regex = re.compile(text.encode("latin-1"), re.MULTILINE)

        def look(byte: int) -> None:
            found = regex.search(console.raw, console.taken)
            if found is not None:
                self._running.end("text", found[0].decode("latin-1"))

        console.listeners.append(look)
        return lambda: console.listeners.remove(look)

    def _until_event(self, name: str) -> Callable[[Event], None]:
        if name not in KINDS:
            known = ", ".join(sorted(KINDS))
            raise ConfigError(f"run_until: no event {name!r}; there are {known}")

        def seen(event: Event) -> None:
            if event.name == name:
                self._running.end("event", event)

        return seen

    def _asking(
        self, predicate: Callable[[Vm], object], seconds: float | None, instructions: int | None
    ) -> Stopped:
        last = None if instructions is None else self.instructions + instructions
        end = None if seconds is None else self.ns + int(seconds * NS_PER_S)
        while True:
            if predicate(self):
                return self._running._stopped("predicate")
            step = ASKED_EVERY if last is None else min(ASKED_EVERY, last - self.instructions)
            until = self.ns + NS_PER_S if end is None else end
            stop = self._running.go(instructions=step, until_ns=until)
            if stop.why not in ("instructions", "seconds"):
                return stop
            if last is not None and self.instructions >= last:
                return stop
            if end is not None and self.ns >= end:
                return self._running._stopped("seconds")

    # --- hooks --------------------------------------------------------------------------------

    def on_pc(self, place: int | str, call: Callable[[Vm], object]) -> Hook:
        """Call `call` before each execution of the instruction at an address or symbol."""
        address = address_of(self.symbols, place)
        return self._running.add(Hook(lambda met: call(self), pc=address))

    def on_block(self, call: Callable[[Vm, int], object]) -> Callable[[], None]:
        """Call `call` with the address of each block before it begins; what is returned ends that.

        A block begins behind a branch, taken or not, behind sc and rfi, and where an exception
        leads.  While there is such a hook instructions are executed one at a time: exact, slow.
        """
        blocks = self._running.blocks

        def begins(address: int) -> None:
            call(self, address)

        blocks.append(begins)
        return lambda: blocks.remove(begins)

    @property
    def regions(self) -> dict[str, range]:
        """What lies where in real memory: RAM, ROM and chips by their names, for `on_access`."""
        return regions(self.control.machine)

    def on_access(
        self,
        place: int | str | range,
        call: Callable[[Vm, Met], object],
        *,
        length: int = 4,
        reads: bool = True,
        writes: bool = True,
    ) -> Hook:
        """Call `call` behind each access to `length` bytes, once it has succeeded.

        A range of addresses says both; ``vm.regions["escc"]`` is one, by real address.  Transfers
        by DMA are not seen.
        """
        kind = "write" if not reads else "read" if not writes else "both"
        if isinstance(place, range):
            if place.step != 1 or not 0 <= place.start < place.stop <= 1 << 32:
                raise ConfigError(f"on_access: expected addresses of 32 bits in a row, got {place}")
            watch = Watch(place.start, len(place), reads, writes)
        else:
            watch = _watch(address_of(self.symbols, place), length, kind)
        return self._running.add(Hook(lambda met: call(self, met), watch=watch))

    def on_exception(self, name: str, call: Callable[[Vm], object]) -> Hook:
        """Call `call` as the guest enters an exception, by name (``decrementer``, ``dsi``…).

        It is the vector where MSR[IP] points now; before its first instruction.
        """
        known = {one.name.lower(): int(one) for one in Interrupt}
        if name not in known:
            raise ConfigError(f"no exception {name!r}; there are {', '.join(known)}")
        base = _PREFIX if self.regs.msr & MSR_IP else 0
        return self.on_pc(base + known[name], call)

    def on_serial(self, call: Callable[[int], object], console: int = 0) -> Callable[[], None]:
        """Call `call` with each byte that the guest sends; what is returned ends that."""
        listeners = self.serials[console].listeners
        listeners.append(call)
        return lambda: listeners.remove(call)

    # --- save, load, hand on ------------------------------------------------------------------

    def save(self, path: Path | str, name: str = "") -> Written:
        """Write a save file; it is whole on the medium, or the old one stays."""
        return self.control.save(path, name)

    def restore(self, path: Path | str) -> None:
        """Take on the state of a save file; on an error machine and disks stay as they were."""
        self.control.restore(path)

    def savevm(self, name: str) -> None:
        """Keep machine and disks as snapshot `name`."""
        self.control.savevm(name)

    def loadvm(self, name: str) -> None:
        """Go back to snapshot `name`."""
        self.control.loadvm(name)

    def snapshots(self) -> list[SnapshotEntry]:
        """The snapshots that `loadvm` can go back to."""
        return self.control.snapshots()

    def receive(self, uri: str) -> Received:
        """Wait at `uri` (``unix:``, ``tcp:``, ``file:``, ``exec:``) for a machine and become it."""
        return self.control.incoming(uri)

    def send(self, uri: str, *, profile: str = "") -> Sent:
        """Hand the machine on to `uri`; `profile` as ``qemu-7.2`` when a QEMU receives it."""
        return self.control.migrate(uri, profile=profile)

    # --- power --------------------------------------------------------------------------------

    def reset(self) -> None:
        """Press the reset button."""
        self.control.reset()

    @property
    def ended(self) -> bool:
        """Whether the guest has switched itself off."""
        return self.control.ended or self.control.run_state == "shutdown"

    def _repr_png_(self) -> bytes | None:
        return self.screen._repr_png_()


def _watch(address: int, length: int, kind: str) -> Watch:
    if not 1 <= length <= 0x1000:
        raise ConfigError(f"length: expected 1 to 4096 bytes, got {length}")
    return Watch(address, length, kind != "write", kind != "read")
