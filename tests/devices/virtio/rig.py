"""A virtio disk on a bus, and a driver that makes its rings by hand."""

from __future__ import annotations

from struct import pack, unpack
from typing import Final

from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.core.memory import AddressMap, Arena
from gossamer.core.trace import Trace
from gossamer.devices.pci import COMMAND, PciBus, Window
from gossamer.devices.virtio.blk import VirtioBlk

RAM: Final = 0x4_0000
DESC, AVAIL, USED, BUFFERS = 0x1000, 0x2000, 0x3000, 0x8000
NEXT, WRITE, INDIRECT = 1, 2, 4
SIZE: Final = 256
#: VERSION_1 and CONFIG_WCE, and EVENT_IDX, too.
PLAIN = 1 << 32 | 1 << 11
EVENTS = PLAIN | 1 << 29
DISK: Final = 64 * 512


class Image:
    """A disk in memory."""

    read_only = False

    def __init__(self) -> None:
        self.data = bytearray(n >> 9 & 0xFF for n in range(DISK))
        self.flushes = 0

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.data[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        self.data[offset : offset + len(data)] = data

    def flush(self) -> None:
        self.flushes += 1


class Rig:
    """A disk whose driver has accepted `features`; little-endian rings."""

    def __init__(self, features: int = PLAIN) -> None:
        arena = Arena(RAM)
        self.memory = AddressMap(arena)
        self.memory.map(arena.add("ram", RAM), 0)
        window = Window(self.memory, 0x8000_0000, 0x1000_0000, 0x8000_0000)
        self.lines = [IrqLine() for _ in range(4)]
        self.bus = PciBus(Clock(), "pci", self.lines, memory=window)
        self.sent: list[tuple[int, int]] = []
        self.bus.message = lambda address, data: self.sent.append((address, data))
        self.disk = VirtioBlk(Clock(), self.bus, 0, serial="a disk")
        self.disk.trace = self.trace = Trace()
        self.image = self.disk.media = Image()
        self.index = 0
        self.begin(features)

    def begin(self, features: int) -> None:
        """From power on to DRIVER_OK, as a driver does it."""
        self.index = 0
        self.memory.write(AVAIL, bytes(0x2000))
        self.disk.write_config(COMMAND, 2, 7)
        self.common(20, 0)
        self.common(20, 3)
        for n in range(2):
            self.common(8, n)
            self.common(12, features >> 32 * n & 0xFFFF_FFFF)
        self.common(20, 11)
        self.common(24, SIZE)
        for at, value in ((32, DESC), (40, AVAIL), (48, USED)):
            self.common(at, value)
        self.common(28, 1)
        self.common(20, 15)

    def common(self, at: int, value: int) -> None:
        """Write a common register."""
        self.disk.common.write(at, value)

    def descriptor(self, n: int, address: int, length: int, flags: int, following: int = 0) -> None:
        self.memory.write(DESC + 16 * n, pack("<QIHH", address, length, flags, following))

    def offer(self, *heads: int) -> None:
        """Offer chains and notify."""
        for head in heads:
            self.memory.write(AVAIL + 4 + 2 * (self.index % SIZE), pack("<H", head))
            self.index = self.index + 1 & 0xFFFF
        self.memory.write(AVAIL + 2, pack("<H", self.index))
        self.disk.modern_region.store(0x3000, 0, 2)

    def request(
        self, kind: int, sector: int, length: int, *, out: bytes = b""
    ) -> tuple[int, bytes]:
        """A request of three parts; its status, and what came back."""
        self.memory.write(BUFFERS, pack("<IIQ", kind, 0, sector))
        self.descriptor(0, BUFFERS, 16, NEXT, 1)
        if out:
            self.memory.write(BUFFERS + 0x1000, out)
            self.descriptor(1, BUFFERS + 0x1000, len(out), NEXT, 2)
        elif length:
            self.descriptor(1, BUFFERS + 0x1000, length, NEXT | WRITE, 2)
        else:
            self.descriptor(0, BUFFERS, 16, NEXT, 2)
        self.memory.write(BUFFERS + 0x800, b"\xff")
        self.descriptor(2, BUFFERS + 0x800, 1, WRITE)
        self.offer(0)
        return self.memory.read(BUFFERS + 0x800, 1)[0], self.memory.read(BUFFERS + 0x1000, length)

    @property
    def used(self) -> list[tuple[int, int]]:
        """What was handed back: head and bytes written."""
        count = unpack("<H", self.memory.read(USED + 2, 2))[0]
        return [unpack("<II", self.memory.read(USED + 4 + 8 * n, 8)) for n in range(count)]

    @property
    def notes(self) -> list[str]:
        return [text for _, text in self.trace.counts]
