"""PMU: handshake, commands, interrupts, ADB, and the recorded sections."""

from __future__ import annotations

import random

import pytest

from gossamer.base.errors import StreamError
from gossamer.base.wire import WireReader
from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.devices.adb.bus import AdbBus
from gossamer.devices.adb.keyboard import AdbKeyboard
from gossamer.devices.gpio import NMI_PIN, PMU_PIN, Gpio
from gossamer.devices.openpic import OpenPic
from gossamer.devices.pmu import BYTE_NS, TACK, TREQ, Pmu
from gossamer.devices.pmu_lengths import COUNTED, lengths
from gossamer.devices.via import ACR, DDRB, IFR, ORB, SHIFT, SR, Via
from gossamer.state.transfer import OURS, Profile, load
from tests.devices.captures import QEMU, load_body, named, save_body

SR_IN, SR_OUT = 0x0C, 0x1C


class Host:
    """A driver of the PMU, as Linux's is."""

    def __init__(self, *, adb=False, clock=None, out=None):
        self.clock = clock or Clock()
        self.out = out or IrqLine()
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
    host.clock.advance(BYTE_NS - 1)
    assert host.get(ORB) & TACK
    host.clock.advance(BYTE_NS)
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
    host.request(0x8F, 2, 0, 2)
    assert host.request(0x8F, 0) == b"\0\0"


def test_parameter_ram_survives_a_reset_and_is_read_in_its_three_forms(host):
    host.request(0x32, 0x10, 3, 1, 2, 3)
    host.request(0x33, 0, 0x13, 4)
    host.pmu.reset()
    assert host.request(0x3A, 0x10, 5) == bytes([1, 2, 3, 4, 0])
    assert host.request(0x3B, 0, 0x12) == b"\x03"
    host.request(0x31, *range(20))
    assert host.request(0x39) == bytes(range(20))
    assert host.request(0x3A, 0xF0, 0xFF) == bytes(16)
    assert host.request(0x3B, 0x10, 0) == b"\0"


def test_power_and_panel_settings_are_kept_until_a_reset(host):
    host.request(0x11, 0x89)
    host.request(0x11, 0x08)
    assert host.pmu.power == 0x01
    host.request(0x41, 7)
    assert host.request(0x49) == b"\x07"
    host.pmu.reset()
    assert host.request(0x49) == b"\0"


def test_mains_power_and_no_battery(host):
    assert host.request(0x6B) == bytes([1, 0, 0, 0, 0, 0, 0, 0])
    assert host.request(0x6F, 1)[:2] == b"\x03\x01"


def test_every_command_with_its_right_lengths_is_carried_out_and_answers_them(host):
    for command in range(256):
        if command in (0x7E, 0xD0):
            continue
        send, answer = lengths(command)
        data = bytes(send if send != COUNTED else 3)
        got = host.request(command, *data)
        assert answer in (COUNTED, len(got)), hex(command)
    assert host.request(0xEA) == b"\x01"


def test_tack_is_the_pmus_though_the_host_makes_it_an_output(host):
    host.put(DDRB, 0xFF)
    host.put(ORB, TREQ)
    assert host.get(ORB) & TACK
    assert host.request(0xEA) == b"\x01"


def test_request_taken_back_is_forgotten(host):
    host.put(ACR, SR_OUT)
    host.put(SHIFT, 0xEA)
    host.put(ORB, host.get(ORB) & ~TREQ)
    host.put(ORB, host.get(ORB) | TREQ)
    host.clock.advance(host.clock.now + 1_000_000)
    assert not host.get(IFR) & SR
    assert host.get(ORB) & TACK


def test_one_second_is_counted_from_the_due_time(host):
    host.clock.advance(1_000_007_777)
    assert host.pmu.one_sec_timer.when == 2_000_000_000
    assert host.pmu.one_sec_target == 2_000_000_000
    host.clock.advance(2_345_678_901)
    host.pmu.reset()
    assert host.pmu.one_sec_timer.when == 3_345_000_000
    assert host.pmu.one_sec_target == 3_345_000_000


@pytest.fixture
def linux():
    """A host that has set the interrupt mask, as Linux does."""
    host = Host(adb=True)
    host.request(0x70, 0xDC)
    return host


def test_adb_reset_is_answered_though_no_device_speaks(linux):
    linux.request(0x20, 0x00, 0x00, 0x00, 0x00)
    linux.wait(lambda: linux.out.level)
    assert linux.acknowledge() == b"\x10\x00"
    assert not linux.out.level


def test_adb_talk_and_silence(linux):
    linux.request(0x20, 0x2F, 0x00, 0x00)
    assert not linux.out.level
    linux.wait(lambda: linux.out.level)
    assert (linux.pmu.adb_packet_size, any(linux.pmu.adb_packet)) == (0, False)
    assert linux.acknowledge() == b"\x10\x2f\x62\x01"
    linux.request(0x20, 0x5F, 0x00, 0x00)
    linux.wait(lambda: linux.out.level)
    assert linux.acknowledge() == b"\x10\x5f"


def test_acknowledge_in_the_middle_of_a_transaction_waits_for_it():
    host = Host(adb=True)
    host.request(0x20, 0x2F, 0x00, 0x00)
    began = host.clock.now
    assert host.acknowledge() == b"\x10\x01\x02\x62\x01"  # the form that OpenBIOS knows
    assert host.clock.now - began > host.bus.command_ns(b"\x2f") - 100_000
    host.request(0x20, 0x5F, 0x00, 0x00)
    assert host.acknowledge() == b"\x10\x00"


def test_each_tick_interrupts_once_through_gpio_and_openpic():
    """Linux's handler: it masks the source, acknowledges, unmasks; no storm may follow."""
    clock = Clock()
    cpu = IrqLine()
    pic = OpenPic(clock, cpu)
    gpio = Gpio(clock, {PMU_PIN: IrqLine(pic, 0x2F), NMI_PIN: IrqLine(pic, 0x37)})
    host = Host(clock=clock, out=IrqLine(gpio, PMU_PIN))
    region = pic.region()

    def write(offset, value):
        region.store(offset, int.from_bytes(value.to_bytes(4, "little"), "big"), 4)

    def read(offset):
        return int.from_bytes(region.load(offset, 4).to_bytes(4, "big"), "little")

    enabled = 0x00400000 | 8 << 16 | 0x2F
    write(0x20080, 0)
    write(0x10000 + 0x20 * 0x2F + 0x10, 1)
    write(0x10000 + 0x20 * 0x2F, enabled)
    taken = 0
    for second in range(1, 4):
        clock.advance(second * 1_000_000_000)
        while cpu.level:
            assert read(0x200A0) == 0x2F
            taken += 1
            assert not gpio.read_gpio(9, 1) & 0x02
            write(0x10000 + 0x20 * 0x2F, enabled | 0x80000000)
            write(0x200B0, 0)
            assert host.acknowledge() == b"\x80"
            assert gpio.read_gpio(9, 1) & 0x02
            write(0x10000 + 0x20 * 0x2F, enabled)
            assert taken <= second
        assert taken == second


def test_adb_listen_moves_a_device():
    host = Host(adb=True)
    host.request(0x20, 0x2B, 0x00, 0x02, 0x08, 0xFE)
    host.wait(lambda: host.out.level)
    host.acknowledge()
    assert host.keyboard.devaddr == 8


def test_autopoll_reports_keys():
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


def cut(host):
    """A second host that goes on where `host` is."""
    other = Host(adb=host.bus is not None)
    other.clock.set(host.clock.now)
    mine = [host.pmu, *([host.bus, host.keyboard] if host.bus else [])]
    theirs = [other.pmu, *([other.bus, other.keyboard] if other.bus else [])]
    for one, two in zip(mine, theirs, strict=True):
        load(two, WireReader(save_body(one, OURS)), two.version)
        assert save_body(two, OURS) == save_body(one, OURS)
    for two in (other.via, *theirs):
        two.resume()
    assert other.out.level == host.out.level
    return other


def test_command_under_way_goes_on_after_a_load(host):
    host.byte(0x38)
    host.byte()
    other = cut(host)
    assert bytes(other.byte() for _ in range(3)) == (1000).to_bytes(4, "big")[1:]
    assert len(save_body(host.pmu, QEMU)) == 357


def test_cut_at_every_step_of_an_adb_transaction_changes_nothing(linux):
    """Alongside a host that is never cut, one that is saved and loaded at every alarm."""
    steady, moving = linux, cut(linux)
    for one in (steady, moving):
        one.keyboard.key(5, True)
        one.request(0x20, 0x2C, 0x00, 0x00)
    cuts = 0
    while not steady.out.level:
        at = steady.clock.deadline
        steady.clock.advance(at)
        moving = cut(moving)
        moving.clock.advance(at)
        moving = cut(moving)
        assert save_body(moving.pmu, OURS) == save_body(steady.pmu, OURS)
        cuts += 1
    assert cuts == 2
    assert moving.out.level
    assert moving.acknowledge() == steady.acknowledge() == b"\x10\x2c\x05\xff"
    assert save_body(moving.pmu, OURS) == save_body(steady.pmu, OURS)


def test_cut_in_every_handshake_of_a_request(host):
    answer, moving = [], host
    for value in (0x3A, 0, 2, None, None, None):
        moving.put(ACR, SR_IN if value is None else SR_OUT)
        if value is not None:
            moving.put(SHIFT, value)
        moving.put(ORB, moving.get(ORB) & ~TREQ)
        moving = cut(moving)
        moving.clock.advance(moving.clock.deadline)
        moving = cut(moving)
        assert moving.get(IFR) & SR
        answer.append(moving.get(SHIFT))
        moving.put(ORB, moving.get(ORB) | TREQ)
        moving = cut(moving)
        moving.clock.advance(moving.clock.deadline)
        assert moving.get(ORB) & TACK
    assert answer[3:] == [2, 0, 0]


def test_lengths_that_cannot_be_are_refused(host):
    body = bytearray(save_body(host.pmu, OURS))
    body[68:72] = (256).to_bytes(4, "big")
    with pytest.raises(StreamError, match=r"value must be 0\.\.255 or 0xffffffff, got 0x100"):
        load(host.pmu, WireReader(bytes(body)), 1)


def test_shifted_clock_moves_the_second_with_its_alarm(host):
    plain, moved = (
        save_body(host.pmu),
        save_body(host.pmu, Profile("x", ours=False, shift=5 * 10**9)),
    )
    assert plain[-16:] == (10**9).to_bytes(8, "big") + (1000).to_bytes(8, "big")
    assert moved[-16:] == (6 * 10**9).to_bytes(8, "big") + (6000).to_bytes(8, "big")


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
