"""A caller of hypercalls without a CPU: registers, memory, and whoever answers."""

from __future__ import annotations

from typing import Final

from gossamer.core.memory import AddressMap, Arena
from gossamer.cpu.block import RegisterBlock, layout
from gossamer.devices.spapr.calls import GuestRam, Handler, Hypercalls

RAM: Final = 0x10_0000
_CODES: Final = 64


class Rig:
    """`call` gives the return code, signed, and what r4 … r11 hold then."""

    def __init__(self) -> None:
        arena = Arena(RAM)
        self.memory = AddressMap(arena)
        self.memory.map(arena.add("ram", RAM), 0)
        self.ram = GuestRam(self.memory, RAM)
        self.regs = RegisterBlock(bytearray(layout(64).size), 64)
        self.hypercalls = Hypercalls()

    def add(self, handlers: dict[int, Handler]) -> None:
        self.hypercalls.add(handlers)

    def call(self, number: int, *arguments: int) -> tuple[int, list[int]]:
        self.regs.set("gpr", number, 3)
        for n in range(8):
            self.regs.set("gpr", arguments[n] if n < len(arguments) else 0, 4 + n)
        self.hypercalls(self.regs)
        code = self.regs.get("gpr", 3)
        return code - (code >> 63 << 64), [self.regs.get("gpr", 4 + n) for n in range(8)]
