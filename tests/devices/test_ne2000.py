"""The NE2000: registers, remote DMA, sending in its time, receiving into the ring."""

from __future__ import annotations

import random
from binascii import crc32
from pathlib import Path

import pytest

from gossamer.base.wire import WireReader, WireWriter
from gossamer.state.transfer import load, save
from tests.devices.captures import QEMU, save_body
from tests.devices.pci_rig import PciRig, set_config
from tests.devices.qtest import Qtest

PORTS = 0xFE001000
MAC = b"\x52\x54\x00\x12\x34\x56"


@pytest.fixture
def rig() -> PciRig:
    rig = PciRig()
    set_config(rig.map, 2, 0x10, 0x1000)
    set_config(rig.map, 2, 4, 1, 2)
    return rig


def put(rig: PciRig, registers: dict[int, int]) -> None:
    for register, value in registers.items():
        rig.map.store(PORTS + register, value, 1)


def get(rig: PciRig, register: int) -> int:
    return rig.map.load(PORTS + register, 1)


def remote(rig: PciRig, at: int, n: int, command: int, words: int = 0) -> None:
    put(rig, {0: 0x22, 0xE: words, 8: at & 255, 9: at >> 8, 10: n & 255, 11: n >> 8})
    put(rig, {7: 0xFF, 0: command})


def listen(rig: PciRig, rxcr: int = 0x04) -> None:
    """Ring of pages 0x46 to 0x50, our own address, interrupts on."""
    put(rig, {0: 0x21, 1: 0x46, 2: 0x50, 3: 0x46, 0xC: rxcr, 0xF: 0x7F})
    put(rig, {0: 0x61, **dict(enumerate(MAC, 1)), 7: 0x47})
    put(rig, {0: 0x22})


def test_prom_holds_the_address_doubled(rig: PciRig):
    remote(rig, 0, 32, 0x0A)
    data = bytes(get(rig, 0x10) for _ in range(32))
    assert data[:12] == bytes(b for b in MAC for _ in (0, 1))
    assert data[28:] == b"\x57" * 4
    assert get(rig, 7) == 0x40


def test_remote_dma_in_words_wraps_at_the_ring_end(rig: PciRig):
    put(rig, {0: 0x21, 1: 0x46, 2: 0x48})
    remote(rig, 0x47FE, 4, 0x12, 1)
    rig.map.store(PORTS + 0x10, 0x0102, 2)
    assert get(rig, 7) == 0
    rig.map.store(PORTS + 0x10, 0x0304, 2)
    assert get(rig, 7) == 0x40
    assert rig.nic.ne2000.mem[0x47FE:0x4800] == b"\x01\x02"
    assert rig.nic.ne2000.mem[0x4600:0x4602] == b"\x03\x04"


def test_transmit_takes_the_time_of_the_wire(rig: PciRig):
    remote(rig, 0x4000, 100, 0x12)
    for n in range(100):
        put(rig, {0x10: n})
    put(rig, {7: 0xFF, 0xF: 2, 4: 0x40, 5: 100, 6: 0, 0: 0x26})
    rig.clock.advance(124 * 800 - 1)
    assert get(rig, 0) & 4
    assert not rig.sent
    rig.clock.advance(124 * 800)
    assert rig.sent == [bytes(range(100))]
    assert get(rig, 0) == 0x22
    assert (get(rig, 4), get(rig, 7)) == (1, 2)
    assert rig.lines[2].level
    put(rig, {7: 2})
    assert not rig.lines[2].level


def test_cut_while_sending(rig: PciRig):
    put(rig, {7: 0xFF, 0xF: 2, 4: 0x40, 5: 60, 6: 0, 0: 0x26})
    writer = WireWriter()
    save(rig.nic, writer)
    assert len(save_body(rig.nic, QEMU)) == 276 + 49196
    other = PciRig()
    load(other.nic, WireReader(writer.data), 3)
    other.clock.advance(84 * 800)
    assert other.sent == [bytes(60)]
    assert other.lines[2].level


def test_receive_puts_header_and_frame_into_the_ring(rig: PciRig):
    listen(rig)
    frame = MAC + bytes(range(94))
    assert rig.nic.receive(frame)
    assert rig.lines[2].level
    assert rig.nic.ne2000.mem[0x4700:0x4704] == bytes((1, 0x48)) + (104).to_bytes(2, "little")
    assert rig.nic.ne2000.mem[0x4704:0x4768] == frame
    assert rig.nic.ne2000.curpag == 0x48


def test_receive_wraps_and_stops_at_the_boundary(rig: PciRig):
    listen(rig)
    frame = MAC + bytes(1000)
    assert rig.nic.receive(frame)
    assert rig.nic.receive(frame)
    assert rig.nic.ne2000.curpag == 0x4F
    assert not rig.nic.receive(frame), "no room before the boundary"
    assert get(rig, 7) & 0x10
    put(rig, {3: 0x4E})
    assert rig.nic.receive(frame)
    assert rig.nic.ne2000.curpag == 0x49
    assert rig.nic.ne2000.mem[0x4F01] == 0x49


def test_filters(rig: PciRig):
    group = b"\x01\x00\x5e\x00\x00\x01"
    listen(rig, 0)
    for to in (b"\x02" * 6, b"\xff" * 6, group):
        rig.nic.receive(to + bytes(60))
    assert rig.nic.ne2000.curpag == 0x47
    put(rig, {0: 0x22, 0xC: 0x0C})
    rig.nic.receive(b"\xff" * 6 + bytes(60))
    assert rig.nic.ne2000.curpag == 0x48
    rig.nic.receive(group + bytes(60))
    assert rig.nic.ne2000.curpag == 0x48
    crc = int(f"{~crc32(group) & 0xFFFFFFFF:032b}"[::-1], 2)
    put(rig, {0: 0x62, 8 + (crc >> 29): 1 << (crc >> 26 & 7)})
    put(rig, {0: 0x22})
    rig.nic.receive(group + bytes(60))
    assert rig.nic.ne2000.curpag == 0x49
    put(rig, {0xC: 0x10})
    rig.nic.receive(b"\x02" * 6 + bytes(60))
    assert rig.nic.ne2000.curpag == 0x4A
    put(rig, {0: 0x21})
    assert not rig.nic.receive(MAC + bytes(60)), "stopped"


def test_registers_answer_as_those_of_qemu(qemu: Path, rig: PciRig):
    rnd = random.Random(6)
    with Qtest(qemu, "-M", "g3beige", "-nic", "user,model=ne2k_pci") as real:
        set_config(real, 2, 0x10, 0x1000)
        set_config(real, 2, 4, 1, 2)
        for _ in range(1500):
            register, size = rnd.choice([*range(1, 17), 16, 16, 16, 0]), 1
            value = rnd.getrandbits(8)
            if register == 0:
                value &= ~4  # sending takes time here and none there
            elif register == 16:
                size = rnd.choice([1, 2, 4])
                value = rnd.getrandbits(8 * size)
            for machine in (real, rig.map):
                machine.store(PORTS + register, value, size)
            for register in (*range(16), 16):
                at = PORTS + register
                assert rig.map.load(at, 1) == real.load(at, 1), hex(register)


def test_random_accesses_never_raise_and_always_save(rig: PciRig):
    rnd = random.Random(8)
    for n in range(10_000):
        size, register = rnd.choice([1, 1, 1, 2, 4]), rnd.choice([rnd.randrange(0x20), 0, 0x10])
        if rnd.random() < 0.3:
            rig.map.load(PORTS + register, size)
        else:
            rig.map.store(PORTS + register, rnd.getrandbits(8 * size), size)
        if rnd.random() < 0.1:
            rig.nic.receive(rnd.randbytes(rnd.randrange(14, 1514)))
            rig.clock.advance(rig.clock.now + rnd.randrange(200_000))
        if n % 500 == 0:
            save(rig.nic, WireWriter())


@pytest.mark.parametrize("size", [60, 250, 1000])
def test_a_ring_that_is_full_does_not_look_empty(rig: PciRig, size: int):
    """It did when a frame ended just before the boundary: the next went over unread ones."""
    nic, frame = rig.nic, MAC + bytes(size - 6)
    for boundary in range(0x46, 0x50):
        listen(rig)
        nic.ne2000.boundary, nic.ne2000.curpag = boundary, boundary + 1 if boundary < 0x4F else 0x46
        taken = 0
        while nic.room(size):
            assert nic.receive(frame)
            put(rig, {7: 1})  # as a driver that acknowledges what it has not read
            assert nic.ne2000.curpag != boundary
            taken += 1
        assert taken == 8 // -(-(size + 8) // 256)
        assert not nic.receive(frame)


def test_frames_come_when_those_before_are_acknowledged(rig: PciRig):
    """A driver that acknowledges what it has not seen learned of that by the next frame only."""
    listen(rig)
    nic, frames = rig.nic, [MAC + bytes(60)] * 20
    put(rig, {2: 0x80})
    assert nic.receive_all(frames) == 8
    put(rig, {3: nic.ne2000.curpag - 1})  # all read, not yet acknowledged
    assert nic.receive_all(frames) == 0
    put(rig, {7: 1})
    assert not rig.lines[2].level
    assert nic.receive_all(frames) == 8
    assert rig.lines[2].level
    put(rig, {0xF: 0})  # a driver that polls
    assert nic.receive_all(frames) == 0
    put(rig, {3: nic.ne2000.curpag - 1})
    assert nic.receive_all(frames) == 8
