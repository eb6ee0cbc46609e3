"""Cuda: the handshake as Linux and OpenBIOS do it, commands, autopoll, the wire."""

from __future__ import annotations

import random

import pytest

from gossamer.base.errors import StreamError
from gossamer.base.wire import WireReader
from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.devices.adb.bus import AdbBus
from gossamer.devices.adb.keyboard import AdbKeyboard
from gossamer.devices.adb.mouse import AdbMouse
from gossamer.devices.cuda import Cuda
from gossamer.devices.via import Via
from gossamer.state.transfer import OURS, load
from tests.devices.captures import load_body, named, save_body

RS = 0x200
B, DDRB, SHIFT, ACR, IFR, IER = 0, 2, 10, 11, 13, 14
TREQ, TACK, TIP, OUT, SR = 0x08, 0x10, 0x20, 0x10, 0x04
RTC = 0xE7297B85


class Mac:
    """A Cuda with keyboard and mouse, and a host driver that polls."""

    def __init__(self, step=500):
        self.clock, self.irq, self.step = Clock(), IrqLine(), step
        self.via = Via(self.clock, self.irq)
        self.adb = AdbBus(self.clock)
        self.keyboard = AdbKeyboard(self.clock, self.adb)
        self.mouse = AdbMouse(self.clock, self.adb)
        self.calls = []
        self.cuda = Cuda(
            self.clock,
            self.via,
            self.adb,
            rtc=RTC,
            power_off=lambda: self.calls.append("off"),
            system_reset=lambda: self.calls.append("reset"),
        )
        self.region = self.cuda.region()
        self.parts = (self.via, self.cuda, self.adb, self.keyboard, self.mouse)

    def read(self, register):
        self.clock.advance(self.clock.now + self.step)
        return self.region.load(register * RS, 1)

    def write(self, register, value):
        self.clock.advance(self.clock.now + self.step)
        self.region.store(register * RS, value, 1)

    def wait(self, limit=20_000_000):
        """Until the shift register's flag, which is cleared; the ns it took."""
        start = self.clock.now
        while self.clock.now - start < limit:
            flags = self.read(IFR)
            self.write(IFR, flags & 0x7F)
            if flags & SR:
                return self.clock.now - start
        raise AssertionError("no shift register interrupt")

    def send(self, packet):
        self.write(ACR, self.read(ACR) | OUT)
        self.write(SHIFT, packet[0])
        self.write(B, self.read(B) & ~TIP)
        for byte in packet[1:]:
            self.wait()
            self.write(SHIFT, byte)
            self.write(B, self.read(B) ^ TACK)
        self.wait()
        self.write(ACR, self.read(ACR) & ~OUT)
        self.read(SHIFT)
        self.write(B, self.read(B) | TIP | TACK)

    def receive(self):
        self.read(SHIFT)
        self.write(B, self.read(B) & ~TIP)
        got = []
        while True:
            self.wait()
            got.append(self.read(SHIFT))
            if self.read(B) & TREQ:
                break
            self.write(B, self.read(B) ^ TACK)
        self.write(B, self.read(B) | TIP | TACK)
        self.wait()
        self.read(SHIFT)
        return bytes(got)

    def request(self, *packet):
        self.send(packet)
        self.wait()
        return self.receive()


@pytest.fixture
def mac():
    return Mac()


def test_idle_lines_are_high(mac):
    assert mac.read(B) == TREQ | TACK | TIP


def test_synchronisation_answers_tack_with_treq_and_an_interrupt(mac):
    mac.write(DDRB, TACK | TIP)
    mac.write(B, mac.read(B) & ~TACK)
    mac.wait()
    assert not mac.read(B) & TREQ
    mac.write(B, mac.read(B) | TACK)
    mac.wait()
    assert mac.read(B) & TREQ


def test_treq_is_seen_whatever_the_direction_register_says(mac):
    for direction in (TACK | TIP, 0xFF):
        mac.write(DDRB, direction)
        mac.send([1, 3])
        mac.wait()
        assert not mac.read(B) & TREQ
        mac.receive()
        assert mac.read(B) & TREQ


def test_adb_talk_without_a_device_is_a_timeout_and_takes_the_bus_its_time(mac):
    mac.send([0, 0x1F])
    taken = mac.wait()
    assert 1_900_000 < taken < 2_300_000
    assert mac.receive() == bytes([0, 2, 0x1F])


def test_adb_register_3_has_address_and_handler_and_moves(mac):
    assert mac.request(0, 0x2F) == bytes([0, 0, 0x2F, 0x62, 1])
    assert mac.request(0, 0x3F) == bytes([0, 0, 0x3F, 0x63, 2])
    assert mac.request(0, 0x2B, 0x28, 0xFE) == bytes([0, 0, 0x2B])
    assert mac.request(0, 0x2F) == bytes([0, 2, 0x2F])
    assert mac.request(0, 0x8F) == bytes([0, 0, 0x8F, 0x68, 1])
    assert mac.request(0, 0x8B, 0x68, 3)[:2] == bytes([0, 0])
    assert mac.request(0, 0x8F) == bytes([0, 0, 0x8F, 0x68, 3])
    assert mac.request(0, 0x8B, 0x68, 9)[:2] == bytes([0, 0])
    assert mac.request(0, 0x8F) == bytes([0, 0, 0x8F, 0x68, 3])
    assert mac.request(0, 0x00) == bytes([0, 0, 0])
    assert mac.request(0, 0x2F) == bytes([0, 0, 0x2F, 0x62, 1])


def test_real_time_clock_counts_and_can_be_set(mac):
    assert mac.request(1, 3) == bytes([1, 0, 3]) + RTC.to_bytes(4, "big")
    mac.clock.advance(5_000_000_000)
    assert mac.request(1, 3)[3:] == (RTC + 5).to_bytes(4, "big")
    assert mac.request(1, 9, 0, 0, 1, 0) == bytes([1, 0, 9])
    mac.clock.advance(7_000_000_000)
    assert mac.request(1, 3)[3:] == bytes([0, 0, 1, 2])


def test_clock_runs_over_at_32_bits(mac):
    mac.request(1, 9, 0xFF, 0xFF, 0xFF, 0xFF)
    mac.clock.advance(1_100_000_000)
    assert mac.request(1, 3)[3:] == bytes(4)


def test_reset_keeps_the_clock_and_parameter_ram(mac):
    mac.request(1, 0x0C, 0x00, 0x10, 0xAB, 0xCD)
    for part in mac.parts:
        part.reset()
    assert mac.read(B) == TREQ | TACK | TIP
    assert mac.request(1, 7, 0x00, 0x10)[3:5] == bytes([0xAB, 0xCD])
    assert mac.request(1, 2, 0x01, 0x11) == bytes([1, 0, 2, 0xCD])
    assert mac.request(1, 3)[3:] == RTC.to_bytes(4, "big")


def test_errors_name_the_command(mac):
    assert mac.request(1, 0x55) == bytes([2, 2, 1, 0x55])
    assert mac.request(1, 9, 1) == bytes([2, 3, 1, 9])
    assert mac.request(7, 9) == bytes([2, 1, 7, 9])
    assert mac.request(1) == bytes([2, 3, 1])
    assert mac.request(1, 0x22, 0x8A, 0x01) == bytes([2, 5, 1, 0x22])
    assert mac.request(1, 7, 1, 0) == bytes([2, 4, 1, 7])


@pytest.mark.parametrize(
    "packet", [(0x21, 1), (0x21, 0), (0x0D,), (0x1B, 0), (0x23, 0), (0x24,), (0x26, 1), (0x12, 7)]
)
def test_command_that_systems_send_is_answered_well(mac, packet):
    """Case 13: Mac OS X 10.0 waits for 01 00 21; so for others without effect on these machines."""
    assert mac.request(1, *packet) == bytes([1, 0, packet[0]])


def test_command_that_cannot_be_carried_out_says_so(mac):
    assert mac.request(1, 0x1B, 3) == bytes([2, 4, 1, 0x1B])
    assert mac.request(1, 0x25, 0x8A, 0x01, 0x8B) == bytes([2, 5, 1, 0x25])


def test_power_and_reset_reach_the_machine(mac):
    mac.request(1, 0x0A)
    mac.request(1, 0x11)
    assert mac.calls == ["off", "reset"]


def test_autopoll_rate_and_device_list(mac):
    assert mac.request(1, 0x14, 11) == bytes([1, 0, 0x14])
    assert mac.request(1, 0x16) == bytes([1, 0, 0x16, 11])
    assert mac.request(1, 0x14, 0) == bytes([2, 4, 1, 0x14])
    assert mac.request(1, 0x19, 0x00, 0x0C) == bytes([1, 0, 0x19])
    assert mac.request(1, 0x1A) == bytes([1, 0, 0x1A, 0, 0x0C])


def test_autopoll_brings_keys_and_mouse_by_itself(mac):
    mac.request(1, 1, 1)
    mac.keyboard.key(0x00, True)
    mac.keyboard.key(0x00, False)
    mac.mouse.move(5, -3, 1)
    mac.wait(limit=40_000_000)
    assert not mac.read(B) & TREQ
    assert mac.receive() == bytes([0, 0x40, 0x2C, 0x00, 0x80])
    mac.wait(limit=40_000_000)
    assert mac.receive() == bytes([0, 0x40, 0x3C, 0x7D, 0x85])
    with pytest.raises(AssertionError, match="no shift register interrupt"):
        mac.wait(limit=100_000_000)


def test_autopoll_leaves_out_devices_not_in_the_list(mac):
    mac.request(1, 0x19, 0x00, 0x08)
    mac.request(1, 1, 1)
    mac.keyboard.key(1, True)
    mac.mouse.move(1, 0, 0)
    mac.wait(limit=40_000_000)
    assert mac.receive()[2] == 0x3C


def test_collision_when_a_key_waits_then_host_gives_way_and_nothing_is_lost(mac):
    mac.request(1, 1, 1)
    mac.keyboard.key(0x0B, True)
    mac.clock.advance(mac.clock.now + 30_000_000)
    assert not mac.read(B) & TREQ
    mac.write(IFR, 0x7F)
    # The host had not looked: it starts a packet of its own.
    mac.write(ACR, mac.read(ACR) | OUT)
    mac.write(SHIFT, 1)
    mac.write(B, mac.read(B) & ~TIP)
    mac.wait()
    assert not mac.read(B) & TREQ
    mac.write(ACR, mac.read(ACR) & ~OUT)
    mac.read(SHIFT)
    mac.write(B, mac.read(B) | TIP | TACK)
    mac.wait()
    assert mac.receive() == bytes([0, 0x40, 0x2C, 0x0B, 0xFF])
    assert mac.request(1, 0x16) == bytes([1, 0, 0x16, 20])


def test_host_that_does_not_read_an_answer_can_send_again(mac):
    mac.send([1, 3])
    mac.send([1, 0x16])
    mac.wait()
    assert mac.receive() == bytes([1, 0, 0x16, 20])


def test_interrupt_comes_71_us_after_the_handshake(mac):
    mac.write(IER, 0x84)
    mac.write(ACR, OUT)
    mac.write(SHIFT, 1)
    mac.write(B, mac.read(B) & ~TIP)
    at = mac.clock.now
    mac.clock.advance(at + 70_999)
    assert not mac.irq.level
    mac.clock.advance(at + 71_000)
    assert mac.irq.level


@pytest.mark.parametrize("cut", range(1, 120, 3))
def test_transaction_cut_anywhere_goes_on_in_a_loaded_machine(cut):
    """The driver's next register access may find itself in another machine."""

    class Cut(Mac):
        accesses = 0

        def count(self):
            Cut.accesses += 1
            if Cut.accesses == cut:
                saved = [save_body(part, OURS) for part in self.parts]
                now = int(self.clock.now)
                fresh = Mac(self.step)
                self.__dict__.update(fresh.__dict__)
                self.clock.set(now)
                for part, body in zip(self.parts, saved, strict=True):
                    load(part, WireReader(body), part.version)
                    assert save_body(part, OURS) == body
                for part in self.parts:
                    part.resume()

        def read(self, register):
            self.count()
            return super().read(register)

        def write(self, register, value):
            self.count()
            super().write(register, value)

    cut_mac, mac = Cut(step=20_000), Mac(step=20_000)
    for m in (cut_mac, mac):
        m.keyboard.key(0x0C, True)
    for packet in ((0, 0x2C), (1, 0x14, 7), (1, 3)):
        assert cut_mac.request(*packet) == mac.request(*packet)
    assert cut_mac.clock.now == mac.clock.now
    assert Cut.accesses > 120


def test_recorded_sections_load_and_save_to_the_same_bytes(shared):
    found = named(shared, "cuda")
    assert len(found) >= 12
    for section in found:
        mac = Mac()
        load_body(mac.cuda, section)
        assert save_body(mac.cuda) == section.body, section
        assert save_body(mac.cuda, OURS) == section.body, section


def test_recorded_sections_of_the_bus_and_its_devices(shared):
    for name, part in (("adb_bus", 2), ("adb_kbd", 3), ("adb_mouse", 4)):
        found = named(shared, name)
        assert len(found) >= 12
        for section in found:
            mac = Mac()
            load_body(mac.parts[part], section)
            assert save_body(mac.parts[part]) == section.body, section
            assert save_body(mac.parts[part], OURS) == section.body, section


def test_guest_recorded_in_the_middle_of_a_packet_goes_on(shared):
    """mac99-disk-run: one byte of three was read, TIP is asserted."""
    section = next(s for s in named(shared, "cuda") if s.capture == "mac99-disk-run")
    mac = Mac()
    load_body(mac.cuda, section)
    assert (mac.cuda.data_in_size, mac.cuda.data_in_index) == (3, 1)
    got = []
    mac.write(IFR, 0x7F)
    while not mac.read(B) & TREQ:
        mac.write(B, mac.read(B) ^ TACK)
        mac.wait()
        got.append(mac.read(SHIFT))
    assert bytes(got) == bytes([0x00, 0x8C])
    mac.write(B, mac.read(B) | TIP | TACK)
    mac.wait()
    assert mac.request(1, 0x16)[:3] == bytes([1, 0, 0x16])


def test_index_out_of_range_is_refused(shared):
    section = named(shared, "cuda")[0]
    body = bytearray(section.body)
    body[72:76] = (129).to_bytes(4, "big")
    with pytest.raises(StreamError, match=r"data_in_index: value must be 0\.\.128, got 129"):
        load(Mac().cuda, WireReader(bytes(body)), 6)


def test_hostile_accesses_leave_a_state_that_can_be_saved():
    rng = random.Random(3)
    mac = Mac()
    for _ in range(10_000):
        register, size = rng.randrange(16), rng.choice((1, 1, 1, 2, 4, 8))
        if rng.random() < 0.5:
            register = rng.choice((B, B, SHIFT, ACR))
        mac.clock.advance(mac.clock.now + rng.choice((1, 1000, 100_000, 10**7)))
        if rng.random() < 0.05:
            mac.keyboard.key(rng.randrange(256), rng.random() < 0.5)
            mac.mouse.move(rng.randrange(-9999, 9999), rng.randrange(-(10**12), 10**12), 7)
        if rng.random() < 0.3:
            mac.region.load(register * RS, size)
        else:
            mac.region.store(register * RS, rng.getrandbits(8 * size), size)
    for part in mac.parts:
        save_body(part, OURS)
