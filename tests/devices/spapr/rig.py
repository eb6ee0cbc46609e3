"""A caller of hypercalls without a CPU: registers, memory, and whoever answers."""

from __future__ import annotations

from typing import Final

from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.core.memory import AddressMap, Arena
from gossamer.cpu.block import RegisterBlock, layout
from gossamer.devices.spapr.calls import GuestRam, Handler, Hypercalls, Registers
from gossamer.devices.spapr.spapr import SpaprCpu
from gossamer.devices.spapr.vcpus import Vcpu, Vcpus
from gossamer.devices.spapr.xics import Icp, Ics

RAM: Final = 0x10_0000
_CODES: Final = 64


class Silent:
    """An interrupt input that leads nowhere."""

    def input_changed(self, pin: int, level: bool) -> None: ...
    def input_assigned(self, pin: int, level: bool) -> None: ...


class Rig:
    """`call` gives the return code, signed, and what r4 … r11 hold then.

    Of `cpus` CPUs the one whose `turn` it is calls.
    """

    def __init__(self, cpus: int = 1) -> None:
        arena = Arena(RAM)
        self.memory = AddressMap(arena)
        self.memory.map(arena.add("ram", RAM), 0)
        self.ram = GuestRam(self.memory, RAM)
        clock = Clock()
        self.ics = Ics(clock, 0x1000)
        self.turn = self.passed = 0
        self.vcpus = Vcpus(
            [self._vcpu(clock, n) for n in range(cpus)], lambda: self.turn, self._pass
        )
        self.hypercalls = Hypercalls()

    def _vcpu(self, clock: Clock, n: int) -> Vcpu:
        regs = RegisterBlock(bytearray(layout(64).size), 64)
        return Vcpu(regs, Icp(clock, n, IrqLine(Silent(), 0), self.ics), SpaprCpu(clock))

    def _pass(self) -> None:
        self.passed += 1

    @property
    def regs(self) -> Registers:
        """Those of the calling CPU."""
        return self.vcpus.caller.regs

    def add(self, handlers: dict[int, Handler]) -> None:
        self.hypercalls.add(handlers)

    def call(self, number: int, *arguments: int) -> tuple[int, list[int]]:
        self.regs.set("gpr", number, 3)
        for n in range(8):
            self.regs.set("gpr", arguments[n] if n < len(arguments) else 0, 4 + n)
        self.hypercalls(self.regs)
        code = self.regs.get("gpr", 3)
        return code - (code >> 63 << 64), [self.regs.get("gpr", 4 + n) for n in range(8)]
