"""An IDE cell with a disk or CD-ROM, its DBDMA channel and memory, driven as a driver would."""

from __future__ import annotations

from gossamer.base.wire import WireReader, WireWriter
from gossamer.core.clock import NEVER, Clock
from gossamer.core.irq import IrqLine
from gossamer.core.memory import AddressMap, Arena
from gossamer.devices.dbdma import Dbdma
from gossamer.devices.ide.cell import MacioIde
from gossamer.devices.ide.media import ErrorPolicy, report
from gossamer.state.transfer import load, save

CHANNEL = 0x16
PROGRAM = 0x1000
INPUT_LAST, OUTPUT_LAST, STOP = 3, 1, 7


class Disc:
    """An image in memory that can be made to fail."""

    def __init__(self, data: bytes, *, read_only: bool = False) -> None:
        self.data, self.read_only = bytearray(data), read_only
        self.fails: Exception | None = None
        self.flushes = 0

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        self._try()
        return bytes(self.data[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        self._try()
        self.data[offset : offset + len(data)] = data

    def flush(self) -> None:
        self._try()
        self.flushes += 1

    def _try(self) -> None:
        if self.fails is not None:
            raise self.fails


class Rig:
    def __init__(self, kind: str, disc: Disc | None, policy: ErrorPolicy = report) -> None:
        self.kind, self.disc, self.policy = kind, disc, policy
        self.clock = Clock()
        self.arena = Arena(1 << 20)
        self.map = AddressMap(self.arena)
        self.map.map(self.arena.add("ram", 1 << 20), 0)
        self.dbdma = Dbdma(self.clock, self.map)
        self.line = IrqLine()
        self.cell = MacioIde(self.clock, irq=self.line)
        if kind != "none":
            self.drive = self.cell.attach(0, kind, disc, policy=policy)
        self.cell.attach_dma(self.dbdma.connect(CHANNEL, self.cell))

    def get(self, register: int) -> int:
        return self.cell.region.load(register * 16, 1)

    def put(self, register: int, value: int) -> None:
        self.cell.region.store(register * 16, value, 1)

    def control(self, value: int) -> None:
        self.cell.region.store(0x160, value, 1)

    @property
    def status(self) -> int:
        """The alternate status."""
        return self.cell.region.load(0x160, 1)

    def settle(self) -> int:
        """Let time pass until the drive is not busy; the status."""
        while self.status & 0x80:
            assert self.clock.deadline < NEVER, "busy, and nothing will change it"
            self.clock.advance(self.clock.deadline)
        return self.status

    def command(self, op: int, *, n: int = 0, lba: int = 0, feature: int = 0) -> None:
        self.put(6, 0xE0 | lba >> 24 & 15)
        for register, value in enumerate((feature, n, lba, lba >> 8, lba >> 16), 1):
            self.put(register, value & 0xFF)
        self.put(7, op)

    def command48(self, op: int, *, n: int = 0, lba: int = 0) -> None:
        self.put(6, 0xE0)
        for register, high, low in (
            (2, n >> 8, n),
            (3, lba >> 24, lba),
            (4, lba >> 32, lba >> 8),
            (5, lba >> 40, lba >> 16),
        ):
            self.put(register, high & 0xFF)
            self.put(register, low & 0xFF)
        self.put(7, op)

    def take(self, n: int) -> bytes:
        halves = (self.cell.region.load(0, 2).to_bytes(2, "big") for _ in range((n + 1) // 2))
        return b"".join(halves)[:n]

    def give(self, data: bytes) -> None:
        for at in range(0, len(data), 2):
            self.cell.region.store(0, int.from_bytes(data[at : at + 2], "big"), 2)

    def packet(self, cdb: bytes, *, size: int = 0xFFFE, feature: int = 0) -> None:
        """Send a packet and let the drive answer."""
        self.put(6, 0xA0)
        self.put(1, feature)
        self.put(4, size & 0xFF)
        self.put(5, size >> 8)
        self.put(7, 0xA0)
        assert self.settle() & 8
        self.give(cdb.ljust(12, b"\0"))
        if not feature:
            self.settle()

    def answer(self) -> bytes:
        """The blocks of a packet's reply."""
        out = b""
        while self.settle() & 8:
            out += self.take(self.get(4) | self.get(5) << 8)
        return out

    def program(self, operation: int, at: int, count: int) -> None:
        """A DBDMA program of one data command, and start it."""
        words = bytearray()
        for op, n, address in ((operation, count, at), (STOP, 0, 0)):
            words += n.to_bytes(2, "little") + (op << 12).to_bytes(2, "little")
            words += address.to_bytes(4, "little") + bytes(8)
        self.map.write(PROGRAM, words)
        region, base = self.dbdma.region(), CHANNEL * 0x80
        for offset, value in ((0, 0x8000_0000), (0x0C, PROGRAM), (0, 0x8000_8000)):
            region.store(base + offset, int.from_bytes(value.to_bytes(4, "little"), "big"), 4)

    def cut(self) -> Rig:
        """Save everything and go on in a new machine."""
        other = Rig(self.kind, self.disc, self.policy)
        other.clock.set(self.clock.now)
        other.arena.bytes[:] = self.arena.bytes
        for mine, its in ((self.cell, other.cell), (self.dbdma, other.dbdma)):
            writer = WireWriter()
            save(mine, writer)
            reader = WireReader(writer.data)
            load(its, reader, its.version)
            assert reader.left == 0
        for one in (other.cell, other.dbdma):
            one.resume()
        return other
