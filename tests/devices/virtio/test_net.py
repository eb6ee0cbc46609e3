"""virtio-net: frames both ways, filters, commands, and drivers that break the rules."""

from __future__ import annotations

from struct import pack, unpack
from typing import Final

import pytest

from gossamer.base.wire import WireReader, WireWriter
from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.core.memory import AddressMap, Arena
from gossamer.core.trace import Trace
from gossamer.devices.pci import COMMAND, PciBus, Window
from gossamer.devices.virtio import net
from gossamer.devices.virtio.net import CTRL, RX, TX, VirtioNet
from gossamer.state.transfer import load, save

RAM: Final = 0x8_0000
RING, BUFFERS = 0x1_0000, 0x4_0000
NEXT, WRITE = 1, 2
MAC: Final = bytes.fromhex("525400123456")
FRAME: Final = MAC + bytes.fromhex("525400aabbcc0800") + b"payload" * 10
ALL: Final = 1 << 32 | net.FEATURES & ~net.GSO


class Rig:
    """A card whose driver has accepted `features`."""

    def __init__(self, features: int = ALL) -> None:
        arena = Arena(RAM)
        self.memory = AddressMap(arena)
        self.memory.map(arena.add("ram", RAM), 0)
        bus = PciBus(
            Clock(),
            "pci",
            [IrqLine() for _ in range(4)],
            memory=Window(self.memory, 0x8000_0000, 0x1000_0000, 0x8000_0000),
        )
        self.sent: list[bytes] = []
        self.card = VirtioNet(Clock(), bus, 0, mac=MAC, send=self.sent.append)
        self.card.trace = self.trace = Trace()
        self.indices = [0, 0, 0]
        common = self.card.common
        self.card.write_config(COMMAND, 2, 7)
        for n in range(2):
            common.write(8, n)
            common.write(12, features >> 32 * n & 0xFFFF_FFFF)
        common.write(20, 11)
        for n, q in enumerate(self.card.queues):
            common.write(22, n)
            common.write(24, q.usual)
            for at, place in ((32, 0), (40, 0x1000), (48, 0x2000)):
                common.write(at, RING + 0x4000 * n + place)
            common.write(28, 1)
        common.write(20, 15)

    def offer(self, n: int, *parts: tuple[int, int, int]) -> None:
        """Offer one chain of (address, length, flags), and notify."""
        ring, index = RING + 0x4000 * n, self.indices[n]
        first = 4 * index
        for k, (address, length, flags) in enumerate(parts):
            last = k == len(parts) - 1
            row = pack("<QIHH", address, length, flags | (0 if last else NEXT), first + k + 1)
            self.memory.write(ring + 16 * (first + k), row)
        self.memory.write(ring + 0x1004 + 2 * index, pack("<H", first))
        self.indices[n] = index + 1
        self.memory.write(ring + 0x1002, pack("<H", index + 1))
        self.card.notify(n)

    def used(self, n: int) -> list[int]:
        """Bytes written of each chain that was handed back."""
        ring = RING + 0x4000 * n + 0x2000
        (count,) = unpack("<H", self.memory.read(ring + 2, 2))
        return [unpack("<II", self.memory.read(ring + 4 + 8 * k, 8))[1] for k in range(count)]

    def command(self, kind: int, number: int, data: bytes) -> int:
        self.memory.write(BUFFERS, bytes([kind, number]) + data)
        self.memory.write(BUFFERS + 0x4000, b"\xff")
        self.offer(CTRL, (BUFFERS, 2 + len(data), 0), (BUFFERS + 0x4000, 1, WRITE))
        return self.memory.read(BUFFERS + 0x4000, 1)[0]


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_frames_leave_without_their_header(rig: Rig) -> None:
    rig.memory.write(BUFFERS, bytes(12) + FRAME)
    rig.offer(TX, (BUFFERS, 12, 0), (BUFFERS + 12, len(FRAME), 0))
    assert rig.sent == [FRAME]
    assert rig.used(TX) == [0]
    rig.card.plug(False)
    rig.offer(TX, (BUFFERS, 12 + len(FRAME), 0))
    assert len(rig.sent) == 1


def test_a_frame_fills_chains_one_after_the_other(rig: Rig) -> None:
    assert not rig.card.room(len(FRAME))
    rig.offer(RX, (BUFFERS, 64, WRITE))
    assert not rig.card.room(len(FRAME))
    assert not rig.card.receive(FRAME)
    rig.offer(RX, (BUFFERS + 0x100, 64, WRITE))
    assert rig.card.receive_all([FRAME, FRAME]) == 1
    assert rig.used(RX) == [64, 12 + len(FRAME) - 64]
    got = rig.memory.read(BUFFERS, 64) + rig.memory.read(BUFFERS + 0x100, 64)
    assert got[:12] == bytes(10) + pack("<H", 2)
    assert got[12 : 12 + len(FRAME)] == FRAME


def test_without_merging_a_frame_that_is_too_long_is_lost() -> None:
    rig = Rig(ALL & ~net.MERGE)
    rig.offer(RX, (BUFFERS, 64, WRITE))
    assert rig.card.receive(FRAME)
    assert rig.used(RX) == []
    assert rig.card.receive(FRAME[:40])
    assert rig.used(RX) == [52]


def test_filters(rig: Rig) -> None:
    card, group = rig.card, bytes.fromhex("01005e000001")
    other = bytes.fromhex("525400ffffff")
    assert card.wants(other + FRAME[6:])
    assert rig.command(0, 0, b"\0") == 0
    seen = [card.wants(to + FRAME[6:]) for to in (MAC, other, group, b"\xff" * 6)]
    assert seen == [True, False, False, True]
    table = pack("<I", 1) + other + pack("<I", 1) + group
    assert rig.command(1, 0, table) == 0
    assert card.macs == [other, group]
    assert all(card.wants(to + FRAME[6:]) for to in (MAC, other, group))
    tagged = MAC + MAC + b"\x81\x00\x00\x07"
    assert not card.wants(tagged)
    assert rig.command(2, 0, pack("<H", 7)) == 0
    assert card.wants(tagged)
    assert rig.command(2, 1, pack("<H", 7)) == 0
    assert not card.wants(tagged)
    assert rig.command(1, 1, group[::-1]) == 0
    assert card.station == group[::-1]


@pytest.mark.parametrize(
    ("kind", "number", "data"),
    [
        (0, 9, b"\1"),
        (0, 0, b""),
        (1, 0, pack("<I", 1 << 31)),
        (1, 0, pack("<I", 0) + pack("<I", 0) + b"x"),
        (1, 1, b"short"),
        (2, 0, pack("<H", 4096)),
        (2, 5, pack("<H", 1)),
        (3, 0, b""),
        (4, 0, b"\1\0"),
        (5, 0, pack("<Q", 1)),
        (99, 0, b""),
    ],
)
def test_a_wrong_command_is_an_error(rig: Rig, kind: int, number: int, data: bytes) -> None:
    assert rig.command(kind, number, data) == 1
    assert not rig.card.core.broken


def test_too_many_addresses_pass_unfiltered(rig: Rig) -> None:
    many = pack("<I", 65) + bytes(6 * 65) + pack("<I", 64) + MAC * 64
    assert rig.command(1, 0, many) == 0
    assert (rig.card.uni_overflow, rig.card.multi_overflow) == (1, 0)
    assert len(rig.card.macs) == 64


@pytest.mark.parametrize(
    ("queue", "parts"),
    [
        (TX, [(BUFFERS, 4, 0)]),
        (TX, [(BUFFERS, 100, WRITE)]),
        (TX, [(RAM - 4, 100, 0)]),
        (CTRL, [(BUFFERS, 1, 0), (BUFFERS, 1, WRITE)]),
        (CTRL, [(BUFFERS, 2, 0)]),
    ],
)
def test_a_broken_request_stops_the_card(
    rig: Rig, queue: int, parts: list[tuple[int, int, int]]
) -> None:
    rig.offer(queue, *parts)
    assert rig.card.core.broken
    assert rig.card.status & 0x40
    assert not rig.card.room(60)


@pytest.mark.parametrize("part", [(BUFFERS, 100, 0), (BUFFERS, 4, WRITE), (RAM, 100, WRITE)])
def test_a_broken_buffer_stops_the_card(rig: Rig, part: tuple[int, int, int]) -> None:
    rig.offer(RX, part)
    assert not rig.card.receive(FRAME)
    assert rig.card.core.broken
    assert not rig.card.receive(FRAME)


def test_a_frame_beyond_all_networks_is_lost(rig: Rig) -> None:
    rig.offer(TX, *[(0, RAM, 0)] * 4)
    assert rig.sent == []
    assert rig.used(TX) == [0]


def test_the_cable_is_reported(rig: Rig) -> None:
    rig.card.plug(False)
    assert rig.card.isr == 3
    assert rig.card.read_device(6, 2, "little") == 0
    assert rig.card.core.generation == 1


def test_a_section_comes_back_as_it_was(rig: Rig) -> None:
    rig.command(1, 0, pack("<I", 1) + MAC + pack("<I", 0))
    rig.offer(RX, (BUFFERS, 2048, WRITE))
    rig.card.receive(FRAME)
    w, v, again = WireWriter(), WireWriter(), Rig()
    save(rig.card, w)
    load(again.card, WireReader(bytes(w.data)), 11)
    save(again.card, v)
    assert bytes(v.data) == bytes(w.data)
    assert again.card.macs == [MAC]
