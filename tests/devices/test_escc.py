"""ESCC: registers, transmit time, receive FIFO, interrupts, the wire."""

from __future__ import annotations

import random

import pytest

from gossamer.base.wire import WireReader
from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.devices.escc import Escc
from gossamer.devices.escc_channel import FRAMING_ERROR
from gossamer.state.transfer import OURS, load
from tests.devices.captures import load_body, named, save_body

B, A, DATA = 0x00, 0x20, 0x10
RX_AVAILABLE, TX_EMPTY, DCD, CTS, BREAK = 0x01, 0x04, 0x08, 0x20, 0x80
ALL_SENT = 0x01
LINUX_38400 = ((4, 0x44), (1, 0), (3, 0xC1), (5, 0x6A), (11, 0x50), (12, 1), (13, 0), (14, 1))
"""WR4 first, as Linux loads them: 16x, one stop bit, 8 bits; rate generator for both clocks."""
CHARACTER = 10 * 1_000_000_000 // 38_400


class Port:
    """A chip with channel A's lines in `out`."""

    def __init__(self):
        self.clock, self.irq_a, self.irq_b = Clock(), IrqLine(), IrqLine()
        self.chip = Escc(self.clock, self.irq_a, self.irq_b)
        self.region, self.out = self.chip.region(), []
        self.chip.a.transmit = lambda data: self.out.append((int(self.clock.now), *data))

    def set(self, register, value, channel=A):
        self.region.store(channel, register & 7 | (8 if register > 7 else 0), 1)
        self.region.store(channel, value, 1)

    def get(self, register, channel=A):
        self.region.store(channel, register & 7 | (8 if register > 7 else 0), 1)
        return self.region.load(channel, 1)

    def command(self, code, channel=A):
        self.region.store(channel, code << 3, 1)

    def send(self, byte, channel=A):
        self.region.store(channel + DATA, byte, 1)

    def take(self, channel=A):
        return self.region.load(channel + DATA, 1)

    def linux(self, channel=A):
        for register, value in LINUX_38400:
            self.set(register, value, channel)


@pytest.fixture
def port():
    return Port()


def test_reset_values(port):
    assert port.get(0) == 0x44
    assert port.get(1) == 0x07
    assert port.get(15) == 0xF8
    assert port.get(3) == 0


def test_character_takes_its_ten_bits(port):
    port.linux()
    assert abs(port.chip.a.character_ns - CHARACTER) <= 1
    port.send(0x41)
    assert port.get(0) & TX_EMPTY
    assert not port.get(1) & ALL_SENT
    port.clock.advance(port.chip.a.character_ns - 1)
    assert port.out == []
    port.clock.advance(port.chip.a.character_ns)
    assert port.out == [(port.chip.a.character_ns, 0x41)]
    assert port.get(1) & ALL_SENT


def test_second_character_waits_in_the_buffer_and_follows_without_a_gap(port):
    port.linux()
    one = port.chip.a.character_ns
    port.send(1)
    port.send(2)
    assert not port.get(0) & TX_EMPTY
    port.clock.advance(one)
    assert port.get(0) & TX_EMPTY
    port.clock.advance(one * 3)
    assert port.out == [(one, 1), (one * 3, 2)]
    port.send(3)
    port.clock.advance(one * 10)
    assert port.out[-1][1] == 3


def test_line_when_visited_late_then_next_character_counts_from_its_due_time(port):
    port.linux()
    one = port.chip.a.character_ns
    port.send(1)
    port.send(2)
    port.clock.advance(one + one // 2)
    assert port.clock.deadline == 2 * one


@pytest.mark.parametrize(
    ("registers", "bits", "clocks"),
    [
        (((4, 0x44), (5, 0x68), (11, 0x00)), 10, 16),
        (((4, 0x84), (5, 0x68), (11, 0x00)), 10, 32),
        (((4, 0x4C), (5, 0x68), (11, 0x00)), 11, 16),
        (((4, 0x45), (5, 0x28), (11, 0x00)), 10, 16),
        (((4, 0x44), (5, 0x68), (11, 0x10), (12, 0x06), (13, 0x00), (14, 1)), 10, 256),
        (((4, 0x44), (5, 0x68), (12, 0xFF), (13, 0xFF), (14, 3)), 10, 32),
    ],
    ids=["rtxc16", "rtxc32", "two-stop", "seven-parity", "brg-14400", "openbios-115200"],
)
def test_rate_follows_the_registers(port, registers, bits, clocks):
    for register, value in registers:
        port.set(register, value)
    assert port.chip.a.character_ns == bits * clocks * 1_000_000_000 // 3_686_400


def test_transmit_while_disabled_waits_for_the_enable(port):
    port.linux()
    port.set(5, 0x62)
    port.send(9)
    port.clock.advance(10**9)
    assert port.out == []
    port.set(5, 0x6A)
    port.clock.advance(2 * 10**9)
    assert [byte for _, byte in port.out] == [9]


def test_fifo_holds_three_and_then_asks_to_wait(port):
    port.linux()
    for byte in b"abc":
        assert port.chip.a.can_receive
        port.chip.a.receive(byte)
    assert (port.chip.a.can_receive, port.chip.a.room()) == (False, 0)
    freed = []
    port.chip.a.receive_ready = lambda: freed.append(port.chip.a.room())
    assert [port.take() for _ in range(3)] == list(b"abc")
    assert freed == [1, 3]
    assert not port.get(0) & RX_AVAILABLE


def test_receiver_that_is_off_takes_nothing(port):
    assert not port.chip.a.can_receive
    port.chip.a.receive(1)
    assert not port.get(0) & RX_AVAILABLE


def test_overrun_replaces_the_last_and_stays_until_error_reset(port):
    port.linux()
    for byte in b"abcd":
        port.chip.a.receive(byte)
    assert [port.take(), port.take()] == list(b"ab")
    assert port.get(1) & 0x20
    assert port.take() == ord("d")
    assert port.get(1) & 0x20
    port.command(6)
    assert not port.get(1) & 0x20


def test_seven_bit_receiver_masks_the_eighth(port):
    port.linux()
    port.set(3, 0x41)
    port.chip.a.receive(0xC1)
    assert port.take() == 0x41


def test_receive_interrupt_is_per_channel_and_needs_the_master_enable(port):
    port.linux()
    port.set(1, 0x10)
    port.chip.a.receive(1)
    assert not port.irq_a.level
    assert port.get(3) == 0x20
    port.set(9, 0x08)
    assert (port.irq_a.level, port.irq_b.level) == (True, False)
    assert port.get(2, B) == 0x0C
    port.take()
    assert not port.irq_a.level
    assert port.get(2, B) == 0x06


def test_transmit_interrupt_comes_when_the_buffer_empties(port):
    port.linux()
    port.set(9, 0x08)
    port.set(1, 0x02)
    assert not port.irq_a.level
    port.send(1)
    assert port.irq_a.level
    assert port.get(3) == 0x10
    port.command(5)
    assert not port.irq_a.level
    port.send(2)
    assert not port.irq_a.level
    port.clock.advance(port.chip.a.character_ns)
    assert port.irq_a.level
    port.send(3)
    assert not port.irq_a.level


def test_first_character_mode_interrupts_once_until_armed_again(port):
    port.linux()
    port.set(9, 0x08)
    port.set(1, 0x08)
    port.chip.a.receive(1)
    assert port.irq_a.level
    port.take()
    assert not port.irq_a.level
    port.chip.a.receive(2)
    assert not port.irq_a.level
    port.take()
    port.command(4)
    port.chip.a.receive(3)
    assert port.irq_a.level


def test_status_interrupt_latches_rr0_until_reset(port):
    port.linux()
    port.set(9, 0x08)
    port.set(1, 0x01)
    port.set(15, CTS | BREAK)
    port.chip.a.set_status(DCD, DCD)
    assert not port.irq_a.level
    port.chip.a.set_status(CTS, CTS)
    port.chip.a.set_status(CTS, 0)
    assert port.irq_a.level
    assert port.get(0) & CTS
    port.command(2)
    assert not port.irq_a.level
    assert not port.get(0) & CTS
    assert port.get(0) & DCD


def test_loopback_receives_what_it_sends_and_not_the_line(port):
    port.linux()
    port.set(14, 0x11)
    port.chip.a.receive(0x11)
    port.send(0x22)
    port.clock.advance(port.chip.a.character_ns)
    assert port.take() == 0x22


def test_channel_reset_leaves_the_other_channel_alone(port):
    port.linux(A)
    port.linux(B)
    port.chip.a.receive(1)
    port.chip.b.receive(2)
    port.set(9, 0x80)
    assert not port.get(0, A) & RX_AVAILABLE
    assert port.get(0, B) & RX_AVAILABLE
    port.set(9, 0xC0)
    assert not port.get(0, B) & RX_AVAILABLE


def test_channel_reset_leaves_nothing_of_a_character(port):
    """A byte that nothing counts any more would come through some saves and not through others."""
    port.linux()
    port.chip.a.receive(0x55, FRAMING_ERROR)
    port.set(9, 0x80)
    assert bytes(port.chip.a.rx_fifo) == bytes(port.chip.a.rx_errors) == bytes(3)


def test_both_layouts_reach_the_same_registers(port):
    legacy = port.chip.legacy_region()
    port.linux()
    port.chip.a.receive(0x5A)
    assert legacy.load(2, 1) & RX_AVAILABLE
    assert legacy.load(6, 1) == 0x5A
    assert not port.region.load(A, 1) & RX_AVAILABLE
    port.linux(B)
    port.chip.b.receive(0xA5)
    assert (legacy.load(0, 1) & RX_AVAILABLE, legacy.load(4, 1)) == (RX_AVAILABLE, 0xA5)


def test_recorded_sections_load_and_save_to_the_same_bytes(shared):
    found = named(shared, "escc")
    assert len(found) >= 15
    for section in found:
        port = Port()
        load_body(port.chip, section)
        assert save_body(port.chip) == section.body, section
        assert save_body(port.chip, OURS) == section.body, section


def test_recorded_guest_goes_on_sending(shared):
    section = next(s for s in named(shared, "escc") if s.capture == "g3beige-run")
    port = Port()
    load_body(port.chip, section)
    assert port.get(0) & TX_EMPTY
    port.send(0x30)
    port.clock.advance(10**8)
    assert [byte for _, byte in port.out] == [0x30]


def test_character_waiting_in_a_qemu_stream_is_received(port):
    port.linux()
    port.chip.a.receive(0x77)
    plain = save_body(port.chip)
    assert plain == save_body(port.chip, OURS)
    other = Port()
    load(other.chip, WireReader(plain), 2)
    assert (other.chip.a.rx_count, other.take()) == (1, 0x77)


def test_cut_in_the_middle_of_characters_loses_none(port):
    port.linux()
    port.send(1)
    port.send(2)
    for byte in b"xyz":
        port.chip.a.receive(byte)
    port.clock.advance(100_000)
    saved = save_body(port.chip, OURS)
    other = Port()
    other.clock.set(100_000)
    load(other.chip, WireReader(saved), 2)
    other.chip.resume()
    assert save_body(other.chip, OURS) == saved
    for p in (port, other):
        p.clock.advance(p.clock.deadline)
        p.clock.advance(p.clock.deadline)
    assert port.out == other.out
    assert [byte for _, byte in other.out] == [1, 2]
    assert [other.take() for _ in range(3)] == list(b"xyz")


@pytest.mark.parametrize("channel", [A, B])
def test_line_that_is_up_in_a_save_falls_after_the_load(port, channel):
    port.linux(channel)
    port.set(9, 0x08, channel)
    port.set(1, 0x10, channel)
    port.chip.chn[channel == A].receive(0x77)
    other = Port()
    load(other.chip, WireReader(save_body(port.chip, OURS)), 2)
    other.chip.resume()
    assert (other.irq_a.level, other.irq_b.level) == (channel == A, channel == B)
    assert other.take(channel) == 0x77
    assert not other.irq_a.level
    assert not other.irq_b.level


def test_hostile_accesses_leave_a_state_that_can_be_saved(port):
    rng = random.Random(4)
    legacy = port.chip.legacy_region()
    for _ in range(10_000):
        region = rng.choice((port.region, legacy))
        at = rng.randrange(0x40 if rng.random() < 0.95 else 0xFF0)
        size = rng.choice((1, 1, 1, 2, 4, 8))
        if rng.random() < 0.3:
            port.clock.advance(port.clock.now + rng.choice((1, 10**5, 10**8)))
        if rng.random() < 0.1:
            channel = rng.choice(port.chip.chn)
            channel.receive(rng.getrandbits(8))
            channel.set_status(0xFF, rng.getrandbits(8))
        if rng.random() < 0.4:
            assert 0 <= region.load(at, size) < 1 << 8 * size
        else:
            region.store(at, rng.getrandbits(8 * size), size)
    assert len(save_body(port.chip)) == 116
    save_body(port.chip, OURS)
