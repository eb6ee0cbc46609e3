"""Debugging a machine from outside: memory without side effects, breakpoints, steps.

Nothing here is state: a save, a hash and a stream know nothing of it, and the guest runs the same
number of instructions with it and without.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.control.runner import Runner
from gossamer.core.memory import RamBlock
from gossamer.engine.stops import Met, Watch
from gossamer.engine.translate import probe

_PAGE: Final = 4096
#: Breakpoints and watchpoints at once.
MOST: Final = 1024


class Debugger:
    """One debugger's hold on a machine.

    `physical`: memory is read and written by real address instead of effective.
    `masks_interrupts`: single steps take no interrupt.
    """

    def __init__(self, vm: Runner) -> None:
        self.vm = vm
        self.breakpoints: set[int] = set()
        self.watchpoints: list[Watch] = []
        self.physical = self.masks_interrupts = False

    # --- memory -------------------------------------------------------------------------------

    def _real(self, ea: int) -> int:
        """The real address of `ea`; ConfigError where there is no RAM or ROM."""
        m = self.vm.machine
        ra: int | None = ea
        if not self.physical:
            ra = probe(m.cpu.block, m.memory, m.cpu.model.architecture, ea)
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
            at = ea + len(out) & 0xFFFF_FFFF
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
            here = ea + at & 0xFFFF_FFFF
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

    def go(self) -> None:
        """Let the guest run; a breakpoint where it stands is passed."""
        processor = self.vm.machine.processor
        self._apply()  # the machine may be another since a load
        processor.debug().pass_once(self.vm.machine.cpu.block.get("nia"))
        self.vm.cont()

    def step(self) -> None:
        """Execute one instruction, interrupts as they come (or none, `masks_interrupts`)."""
        processor = self.vm.machine.processor
        processor.debug().pass_once(self.vm.machine.cpu.block.get("nia"))
        processor.holds_interrupts = self.masks_interrupts
        try:
            self.vm.run(instructions=1)
        finally:
            processor.holds_interrupts = False
            self.vm.stop()

    def release(self) -> None:
        """Let go: no breakpoint is left."""
        self.breakpoints.clear()
        self.watchpoints.clear()
        self._apply()
