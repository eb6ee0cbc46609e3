"""A Grackle with the G3's VGA and NE2000, in an address map of its own."""

from __future__ import annotations

from typing import Protocol

from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.core.memory import AddressMap, Arena
from gossamer.devices.grackle import CONFIG_ADDRESS, CONFIG_DATA, Grackle
from gossamer.devices.ne2000 import Ne2000
from gossamer.devices.vga.card import Vga

VGA_SLOT, NIC_SLOT = 1, 2


class Access(Protocol):
    def load(self, ra: int, size: int) -> int: ...
    def store(self, ra: int, value: int, size: int) -> None: ...


def little(value: int, size: int) -> int:
    return int.from_bytes(value.to_bytes(size, "little"), "big")


def set_config(map_: Access, slot: int, register: int, value: int, size: int = 4) -> None:
    """Write a configuration register as a CPU does."""
    map_.store(CONFIG_ADDRESS, little(0x8000_0000 | slot << 11 | register & ~3, 4), 4)
    map_.store(CONFIG_DATA + (register & 3), little(value, size), size)


def get_config(map_: Access, slot: int, register: int, size: int = 4) -> int:
    map_.store(CONFIG_ADDRESS, little(0x8000_0000 | slot << 11 | register & ~3, 4), 4)
    return little(map_.load(CONFIG_DATA + (register & 3), size), size)


class PciRig:
    def __init__(self) -> None:
        self.clock = Clock()
        self.map = AddressMap(Arena(18 << 20))
        self.lines = [IrqLine() for _ in range(4)]
        self.grackle = Grackle(self.clock, self.map, self.lines)
        self.grackle.map_registers(self.map)
        arena, bus = self.map.arena, self.grackle.bus
        self.vram = arena.add("pci.0:01.0/vga.vram", 16 << 20)
        self.rom = arena.add("pci.0:01.0/vga.rom", 64 << 10, read_only=True)
        nic_rom = arena.add("pci.0:02.0/ne2000.rom", 256 << 10, read_only=True)
        self.vga = Vga(self.clock, bus, VGA_SLOT << 3, vram=self.vram, rom=self.rom)
        self.sent: list[bytes] = []
        self.nic = Ne2000(self.clock, bus, NIC_SLOT << 3, rom=nic_rom, send=self.sent.append)

    def set(self, slot: int, register: int, value: int, size: int = 4) -> None:
        set_config(self.map, slot, register, value, size)

    def get(self, slot: int, register: int, size: int = 4) -> int:
        return get_config(self.map, slot, register, size)
