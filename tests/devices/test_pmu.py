"""PMU: handshake, commands, interrupts, ADB, and the recorded sections."""

from __future__ import annotations

import random

import pytest
from tests.devices.captures import QEMU, load_body, named, save_body

from gossamer.base.wire import WireReader
from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.devices.adb import AdbBus
from gossamer.devices.adb_keyboard import AdbKeyboard
from gossamer.devices.pmu import TACK, TREQ, Pmu
from gossamer.devices.pmu_lengths import COUNTED, lengths
from gossamer.devices.via import ACR, DDRB, IFR, ORB, SHIFT, SR, Via
from gossamer.state.transfer import OURS, load

SR_IN, SR_OUT = 0x0C, 0x1C


class Host:
    """A driver of the PMU, as Linux's is."""

    def __init__(self, *, adb=False, clock=None):
        self.clock = clock or Clock()
        self.out = IrqLine()
        self.bus = AdbBus(self.clock) if adb else None
        self.via = Via(self.clock, IrqLine())
        self.pmu = Pmu(self.clock, self.via, self.out, adb=self.bus, rtc=1000)
        self.keyboard = AdbKeyboard(self.clock, self.bus) if adb else None
        self.put(DDRB, TREQ)

    def get(self, n):
        return self.via.read_via(n * 0x200, 1)

    def put(self, n, value):
        self.via.write_via(n * 0x200, 1, value)

    def wait(self, done):
        for _ in range(20_000):
            if done():
                return
            self.clock.advance(self.clock.now + 1_000)
        raise AssertionError("the PMU did not follow")

    def byte(self, value=None):
        """One byte each way, with its handshake."""
        self.wait(lambda: self.get(ORB) & TACK)
        if value is None:
            self.put(ACR, SR_IN)
            self.get(SHIFT)
        else:
            self.put(ACR, SR_OUT)
            self.put(SHIFT, value)
        self.put(ORB, self.get(ORB) & ~TREQ)
        self.wait(lambda: self.get(IFR) & SR)
        assert not self.get(ORB) & TACK
        got = self.get(SHIFT) if value is None else value
        self.put(IFR, SR)
        self.put(ORB, self.get(ORB) | TREQ)
        self.wait(lambda: self.get(ORB) & TACK)
        return got

    def request(self, command, *data):
        send, answer = lengths(command)
        self.byte(command)
        if send == COUNTED:
            self.byte(len(data))
        for one in data:
            self.byte(one)
        count = self.byte() if answer == COUNTED else answer
        return bytes(self.byte() for _ in range(count))

    def acknowledge(self):
        return self.request(0x78)


@pytest.fixture
def host():
    return Host()


def test_version_and_clock(host):
    assert host.request(0xEA) == b"\x01"
    host.clock.advance(5_000_000_000)
    assert host.request(0x38) == (1005).to_bytes(4, "big")
    host.request(0x30, 0, 0, 0x10, 0)
    assert host.request(0x38) == (0x1000).to_bytes(4, "big")


def test_handshake_takes_its_time(host):
    host.put(ACR, SR_OUT)
    host.put(SHIFT, 0xEA)
    host.put(ORB, host.get(ORB) & ~TREQ)
    host.clock.advance(59_999)
    assert host.get(ORB) & TACK
    host.clock.advance(60_000)
    assert not host.get(ORB) & TACK
    assert host.get(IFR) & SR


def test_tick_interrupts_each_second_until_it_is_acknowledged(host):
    assert not host.out.level
    host.clock.advance(1_000_000_000)
    assert host.out.level
    assert host.acknowledge() == b"\x80"
    assert not host.out.level
    assert host.acknowledge() == b"\0"
    host.clock.advance(1_999_000_000)
    assert not host.out.level
    host.clock.advance(2_000_000_000)
    assert host.out.level


def test_mask_holds_the_pin_back_but_not_the_news(host):
    host.request(0x70, 0x10)
    host.clock.advance(1_000_000_000)
    assert not host.out.level
    host.request(0x70, 0x90)
    assert host.out.level


def test_unknown_command_answers_nothing_and_is_noted(host):
    assert host.request(0x0F) == b""
    assert host.pmu.trace.counts["Pmu", "unknown command 0x0f"] >= 1
    assert host.request(0xEA) == b"\x01"


def test_shutdown_needs_its_word_and_reset_asks_for_a_reset(host):
    events = []
    host.pmu.power_off = lambda: events.append("off")
    host.pmu.system_reset = lambda: events.append("reset")
    host.request(0x7E, *b"MATS")
    assert not events
    host.request(0x7E, *b"MATT")
    host.request(0xD0)
    assert events == ["off", "reset"]


def test_server_mode_survives_a_reset(host):
    assert host.request(0x8F, 0) == b"\0\0"
    host.request(0x8F, 1, 0, 2)
    host.pmu.reset()
    assert host.request(0x8F, 0) == b"\0\x02"


def test_adb_reset_is_answered_though_no_device_speaks():
    host = Host(adb=True)
    host.request(0x20, 0x00, 0x03, 0x00, 0x00)
    host.wait(lambda: host.out.level)
    assert host.acknowledge() == b"\x10\x00"


def test_adb_talk_and_silence():
    host = Host(adb=True)
    host.request(0x20, 0x2F, 0x00, 0x00)
    assert not host.out.level
    host.wait(lambda: host.out.level)
    assert host.acknowledge() == b"\x10\x2f\x62\x01"
    host.request(0x20, 0x5F, 0x00, 0x00)
    host.wait(lambda: host.out.level)
    assert host.acknowledge() == b"\x10\x5f"


def test_adb_listen_moves_a_device():
    host = Host(adb=True)
    host.request(0x20, 0x2B, 0x00, 0x02, 0x08, 0xFE)
    host.wait(lambda: host.out.level)
    host.acknowledge()
    assert host.keyboard.devaddr == 8


def test_autopoll_tells_of_keys():
    host = Host(adb=True)
    host.request(0x20, 0x00, 0x86, 0x00, 0x04)
    host.keyboard.key(0x00, True)
    host.clock.advance(host.clock.now + 50_000_000)
    assert host.out.level
    assert host.acknowledge() == b"\x14\x2c\x00\xff"
    host.request(0x21)
    host.keyboard.key(0x00, False)
    host.clock.advance(host.clock.now + 100_000_000)
    assert not host.out.level


def test_recorded_sections_load_and_save_to_the_same_bytes(shared):
    found = named(shared, "pmu")
    assert len(found) >= 2
    for section in found:
        pmu = Host(clock=Clock()).pmu
        load_body(pmu, section)
        assert save_body(pmu) == section.body, section
        assert save_body(pmu, OURS) == section.body, section


def test_command_under_way_goes_on_after_a_load(host):
    host.byte(0x38)
    host.byte()
    body = save_body(host.pmu, OURS)
    other = Host()
    other.clock.set(host.clock.now)
    load(other.pmu, WireReader(body), 1)
    assert save_body(other.pmu, OURS) == body
    assert bytes(other.byte() for _ in range(3)) == (1000).to_bytes(4, "big")[1:]
    assert len(save_body(host.pmu, QEMU)) == 357


def test_adb_reply_is_in_the_subsection_that_qemu_knows():
    host = Host(adb=True)
    assert len(save_body(host.pmu, QEMU)) == 387


def test_random_accesses_leave_a_state_that_can_be_saved():
    host, random_ = Host(adb=True), random.Random(7)
    now = 0
    for _ in range(10_000):
        n = random_.choice((ORB, ORB, SHIFT, ACR, DDRB, IFR, random_.randrange(16)))
        if random_.random() < 0.3:
            host.get(n)
        else:
            host.put(n, random_.getrandbits(8))
        now += random_.randrange(60_000)
        host.clock.advance(now)
    body = save_body(host.pmu, OURS)
    other = Host(adb=True)
    other.clock.set(now)
    load(other.pmu, WireReader(body), 1)
    assert save_body(other.pmu, OURS) == body
