"""ADB keyboard and mouse: registers and input."""

from __future__ import annotations

import pytest

from gossamer.base.wire import WireReader
from gossamer.core.clock import Clock
from gossamer.devices.adb.bus import AdbBus
from gossamer.devices.adb.keyboard import QUEUE, AdbKeyboard
from gossamer.devices.adb.mouse import AdbMouse
from gossamer.state.transfer import OURS, load
from tests.devices.captures import save_body


@pytest.fixture
def bus():
    return AdbBus(Clock())


@pytest.fixture
def keyboard(bus):
    return AdbKeyboard(bus.clock, bus)


@pytest.fixture
def mouse(bus):
    return AdbMouse(bus.clock, bus)


def test_two_transitions_a_poll_then_silence(bus, keyboard):
    for code in (0x00, 0x0B, 0x08):
        keyboard.key(code, True)
    assert bus.request(b"\x2c") == (0, b"\x00\x0b")
    assert bus.request(b"\x2c") == (0, b"\x08\xff")
    assert bus.request(b"\x2c") == (2, b"")


def test_repeats_of_a_held_key_are_no_transitions(bus, keyboard):
    keyboard.key(5, True)
    keyboard.key(5, True)
    keyboard.key(5, False)
    assert bus.request(b"\x2c") == (0, b"\x05\x85")
    assert keyboard.count == 0


def test_power_key_fills_both_bytes(bus, keyboard):
    keyboard.key(1, True)
    keyboard.key(0x7F, True)
    keyboard.key(0x7F, False)
    assert bus.request(b"\x2c") == (0, b"\x01\xff")
    assert bus.request(b"\x2c") == (0, b"\x7f\x7f")
    assert bus.request(b"\x2c") == (0, b"\xff\xff")


def test_right_modifiers_are_distinguished_with_handler_3_only(bus, keyboard):
    keyboard.key(0x7B, True)
    assert bus.request(b"\x2c") == (0, b"\x38\xff")
    bus.request(b"\x2b\x62\x03")
    keyboard.key(0x7B, False)
    assert bus.request(b"\x2c") == (0, b"\xfb\xff")


def test_register_2_shows_modifiers_and_takes_lights(bus, keyboard):
    assert bus.request(b"\x2e") == (0, b"\xff\xff")
    keyboard.key(0x38, True)
    keyboard.key(0x37, True)
    keyboard.key(0x47, True)
    assert bus.request(b"\x2e") == (0, bytes([0xFF & ~0x05, 0xFF & ~0x80]))
    assert bus.request(b"\x2a\x00\x05") == (0, b"")
    assert keyboard.lights == 5


def test_queue_that_is_full_loses_whole_transitions(bus, keyboard):
    for n in range(QUEUE + 10):
        keyboard.key(n % 2, n % 4 < 2)
    assert keyboard.count == QUEUE
    assert keyboard.trace.counts["AdbKeyboard", "queue full, transition lost"] >= 1
    bus.request(b"\x21")
    assert keyboard.count == 0


def test_held_keys_travel_in_our_streams(bus, keyboard):
    keyboard.key(0x38, True)
    saved = save_body(keyboard, OURS)
    other = AdbKeyboard(bus.clock, AdbBus(bus.clock))
    load(other, WireReader(saved), 2)
    assert other.held == keyboard.held == 1 << 0x38
    assert save_body(other, OURS) == saved


def test_mouse_moves_in_steps_of_7_bits_and_buttons_are_low(bus, mouse):
    mouse.move(100, -100, 0)
    assert bus.request(b"\x3c") == (0, bytes([0x80 | -64 & 0x7F, 0x80 | 63]))
    assert bus.request(b"\x3c") == (0, bytes([0x80 | -36 & 0x7F, 0x80 | 37]))
    assert bus.request(b"\x3c") == (2, b"")
    mouse.move(0, 0, 1)
    assert bus.request(b"\x3c") == (0, b"\x00\x80")
    mouse.move(0, 0, 4)
    assert bus.request(b"\x3c") == (0, b"\x80\x00")
    assert mouse.buttons_state == 2


def test_extended_mouse_describes_itself_and_has_a_third_button(bus, mouse):
    assert bus.request(b"\x3d") == (2, b"")
    bus.request(b"\x3b\x63\x04")
    assert bus.request(b"\x3d") == (0, b"appl\x00\xc8\x01\x03")
    mouse.move(70, -2, 2)
    assert bus.request(b"\x3c") == (0, bytes([0xFE, 0x80 | 63, 0x78]))
    mouse.move(0, 0, 0)
    assert bus.request(b"\x3c") == (0, bytes([0x80, 0x80 | 7, 0x88]))


def test_flush_forgets_movement(bus, mouse):
    mouse.move(9, 9, 0)
    bus.request(b"\x31")
    assert not mouse.has_data


def test_rate_and_block_move_the_poll(bus):
    polls = []
    bus.poll = lambda: polls.append(int(bus.clock.now))
    bus.set_autopoll(True)
    bus.set_rate(11)
    bus.clock.advance(11_000_000)
    bus.clock.advance(22_000_000)
    bus.block(True)
    bus.clock.advance(50_000_000)
    bus.block(False)
    bus.clock.advance(61_000_000)
    assert polls == [11_000_000, 22_000_000, 61_000_000]


def test_flush_and_listen_without_a_device_time_out(bus, keyboard):
    assert bus.request(b"\x51") == (2, b"")
    assert bus.request(b"\x5b\x00\x00") == (2, b"")
    assert bus.request(b"") == (2, b"")
    assert bus.request(b"\x24") == (2, b"")


def test_polls_that_find_nothing_are_passed_over_as_if_they_had_been_made(bus, keyboard, mouse):
    """An idle host is not woken for them; their times stay, and a key is found at the next."""
    other, polls = AdbBus(Clock()), []
    for one in (bus, other):
        one.poll = lambda: polls.append(1)
        one.set_autopoll(True)
        one.set_rate(11)
    for until in (1, 10_999_999, 11_000_000, 11_000_001, 200_000_000, 200_000_003):
        bus.clock.skip_quiet(until)
        bus.clock.advance(until)
        polls.clear()
        other.clock.advance(until)
        assert bus.autopoll_timer.when == other.autopoll_timer.when
        assert save_body(bus, OURS) == save_body(other, OURS)
    assert bus.clock.idle_deadline > bus.clock.deadline
    keyboard.key(0, True)
    assert bus.clock.idle_deadline == bus.clock.deadline
    due = bus.autopoll_timer.when
    bus.clock.skip_quiet(due + 10**9)
    assert bus.autopoll_timer.when == due
