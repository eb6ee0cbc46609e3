"""Debugging a machine from outside: memory without side effects, breakpoints, steps.

Nothing here is state: a save, a hash and a stream know nothing of it, and the guest runs the same
number of instructions with it and without.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.bits import ones
from gossamer.base.errors import ConfigError
from gossamer.control import registers
from gossamer.control.runner import Runner
from gossamer.core.memory import RamBlock
from gossamer.cpu.msr import MSR_LE
from gossamer.engine.stops import Met, Watch
from gossamer.engine.translate import probe
from gossamer.engine.turns import TURN, Turns

_PAGE: Final = 4096
#: Turns of each CPU that a single step of another one may take, and ns that each may be idle.
_TURNS: Final = 16
_WAIT_NS: Final = 10_000_000
#: Breakpoints and watchpoints at once.
MOST: Final = 1024


class Debugger:
    """One debugger's hold on a machine.

    `physical`: memory is read and written by real address instead of effective.
    `masks_interrupts`: single steps take no interrupt.  `cpu`: the number of the CPU that is looked
    at, whose translation memory is read through.
    """

    def __init__(self, vm: Runner) -> None:
        self.vm = vm
        self.breakpoints: set[int] = set()
        self.watchpoints: list[Watch] = []
        self.physical = self.masks_interrupts = False
        self.cpu = 0

    @property
    def here(self) -> registers.At:
        """The CPU that is looked at."""
        return registers.At(self.vm.machine, self.cpu)

    @property
    def little(self) -> bool:
        """Whether the CPU that is looked at is in little-endian mode."""
        cpu = self.here.cpu
        return cpu.model.architecture.both_orders and bool(cpu.block.get("msr") & MSR_LE)

    @property
    def _last_ea(self) -> int:
        return ones(self.vm.machine.cpu.model.architecture.word)

    # --- memory -------------------------------------------------------------------------------

    def _real(self, ea: int) -> int:
        """The real address of `ea`; ConfigError where there is no RAM or ROM."""
        m = self.vm.machine
        ra: int | None = ea
        if not self.physical:
            ra = probe(self.here.cpu.block, m.memory, m.cpu.model.architecture, ea)
        if ra is None:
            raise ConfigError(f"nothing is mapped at {ea:#010x}")
        found = m.memory.find(ra)
        if found is None or not isinstance(found[2].target, RamBlock):
            raise ConfigError(f"{ea:#010x} is no memory (devices are not read)")
        return ra

    def read(self, ea: int, length: int) -> bytes:
        """Bytes at `ea`, as many as there are up to `length`; ConfigError if there is none.

        As the CPU's data accesses find them, without reference bits, faults or device reads.
        """
        out = bytearray()
        while len(out) < length:
            at = ea + len(out) & self._last_ea
            try:
                ra = self._real(at)
            except ConfigError:
                if out:
                    break
                raise
            out += self.vm.machine.memory.read(ra, min(length - len(out), _PAGE - at % _PAGE))
        return bytes(out)

    def write(self, ea: int, data: bytes) -> None:
        """Write RAM or ROM at `ea`; ConfigError, and nothing written, where there is neither."""
        pieces, at = [], 0
        while at < len(data):
            here = ea + at & self._last_ea
            size = min(len(data) - at, _PAGE - here % _PAGE)
            pieces.append((self._real(here), data[at : at + size]))
            at += size
        memory = self.vm.machine.memory
        for ra, piece in pieces:
            found = memory.find(ra)
            assert found is not None
            mapping = found[2]
            assert isinstance(mapping.target, RamBlock)
            offset = mapping.target.offset + ra - mapping.base
            self.vm.noted("memory", offset, piece.hex())
            memory.write_arena(offset, piece)

    # --- stops --------------------------------------------------------------------------------

    def add_breakpoint(self, ea: int) -> None:
        if len(self.breakpoints) >= MOST:
            raise ConfigError(f"{MOST} breakpoints are set, and no more are kept")
        self.breakpoints.add(ea)
        self._apply()

    def remove_breakpoint(self, ea: int) -> None:
        self.breakpoints.discard(ea)
        self._apply()

    def add_watchpoint(self, watch: Watch) -> None:
        if len(self.watchpoints) >= MOST:
            raise ConfigError(f"{MOST} watchpoints are set, and no more are kept")
        self.watchpoints.append(watch)
        self._apply()

    def remove_watchpoint(self, watch: Watch) -> None:
        if watch in self.watchpoints:
            self.watchpoints.remove(watch)
        self._apply()

    def _apply(self) -> None:
        stops = self.vm.machine.processor.debug()
        stops.set(frozenset(self.breakpoints), tuple(self.watchpoints))

    # --- running ------------------------------------------------------------------------------

    @property
    def met(self) -> Met | None:
        """What of it the guest met when it last stopped."""
        return self.vm.machine.processor.met

    def _pass(self, number: int) -> None:
        """Let a CPU go on from where it stands, if that is a breakpoint."""
        machine = self.vm.machine
        machine.processor.debug().pass_once(machine.cpus[number].block.get("nia"), number)

    def go(self) -> None:
        """Let the guest run; a breakpoint where it stands is passed.

        Of several CPUs that is the one whose turn it is, and the one that has met something.
        """
        met = self.met
        self._apply()  # the machine may be another since a load
        self._pass(self.vm.machine.turn)
        if met is not None:
            self._pass(met.cpu)
        self.vm.cont()

    def step(self) -> None:
        """Execute one instruction, interrupts as they come (or none, `masks_interrupts`).

        Of several CPUs it is one of the CPU that is looked at: the others have their turns
        meanwhile, and may meet something.  One that waits ends the step, too, when it has had no
        turn for a while.
        """
        processor = self.vm.machine.processor
        met = self.met
        if met is not None and met.cpu != self.cpu:
            self._pass(met.cpu)
        self._pass(self.vm.machine.turn)
        self._pass(self.cpu)
        processor.holds_interrupts = self.masks_interrupts
        try:
            if isinstance(processor, Turns):
                self._until_its_turn(processor)
            if self.met is None or not isinstance(processor, Turns):
                self.vm.run(instructions=1)
        finally:
            processor.holds_interrupts = False
            self.vm.stop()

    def _until_its_turn(self, processor: Turns) -> None:
        """Run to the beginning of a turn of the CPU that is looked at."""
        processor.met = None
        for _ in range(_TURNS * len(processor.members)):
            if processor.turn == self.cpu or processor.met is not None:
                break
            self.vm.run(instructions=TURN - processor.used, until_ns=self.vm.clock_ns + _WAIT_NS)

    def release(self) -> None:
        """Let go: no breakpoint is left."""
        self.breakpoints.clear()
        self.watchpoints.clear()
        self._apply()
