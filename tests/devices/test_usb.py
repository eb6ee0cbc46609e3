"""USB keyboard and mouse: control transfers, reports, queues, and the recorded sections."""

from __future__ import annotations

import random

import pytest
from tests.devices.captures import QEMU, load_body, named, save_body

from gossamer.base.wire import WireReader
from gossamer.core.clock import Clock
from gossamer.devices.usb_device import NAK, STALL
from gossamer.devices.usb_hid import UsbKeyboard, UsbMouse
from gossamer.devices.usb_keys import SCAN, USAGE, scan_codes
from gossamer.state.transfer import OURS, load


def read(device, request_type, request, value, index, length):
    """A control read, in packets of 8 bytes."""
    setup = bytes([request_type, request]) + b"".join(
        n.to_bytes(2, "little") for n in (value, index, length)
    )
    assert device.setup(setup) == b""
    out = b""
    while len(out) < length:
        piece = device.give(0, 8)
        if piece == STALL:
            return STALL
        out += piece
        if len(piece) < 8:
            break
    assert device.take(0, b"") == b""
    return out


def write(device, request_type, request, value, index=0, data=b""):
    setup = bytes([request_type, request]) + b"".join(
        n.to_bytes(2, "little") for n in (value, index, len(data))
    )
    device.setup(setup)
    for n in range(0, len(data), 8):
        assert device.take(0, data[n : n + 8]) == b""
    return device.give(0, 8)


@pytest.fixture
def keyboard():
    device = UsbKeyboard(Clock(), "usb-kbd")
    write(device, 0, 5, 1)
    write(device, 0, 9, 1)
    return device


@pytest.fixture
def mouse():
    device = UsbMouse(Clock(), "usb-ptr")
    write(device, 0, 5, 2)
    write(device, 0, 9, 1)
    return device


def test_descriptors_are_those_that_a_guest_reads_under_qemu(keyboard, mouse):
    assert read(keyboard, 0x80, 6, 0x100, 0, 18).hex() == "120100020000000827060100000001040b01"
    assert read(keyboard, 0x80, 6, 0x200, 0, 255).hex() == (
        "09022200010108a032090400000103010100092111010001223f000705810308000a"
    )
    assert read(mouse, 0x80, 6, 0x200, 0, 255).hex() == (
        "09022200010106a0320904000001030102000921010000012234000705810304000a"
    )
    assert len(read(keyboard, 0x81, 6, 0x2200, 0, 255)) == 0x3F
    assert len(read(mouse, 0x81, 6, 0x2200, 0, 255)) == 0x34
    assert read(mouse, 0x80, 6, 0x302, 0, 255)[2:].decode("utf-16-le") == "QEMU USB Mouse"
    assert read(mouse, 0x80, 6, 0x200, 0, 9).hex() == "09022200010106a032"


def test_unknown_requests_stall_once_and_the_next_works(keyboard):
    assert read(keyboard, 0x80, 6, 0x305, 0, 255) == STALL
    assert write(keyboard, 0x00, 0x77, 0) == STALL
    assert read(keyboard, 0x80, 8, 0, 0, 1) == b"\x01"


def test_address_takes_effect_with_the_status_stage():
    device = UsbKeyboard(Clock(), "usb-kbd")
    device.setup(bytes([0, 5, 9, 0, 0, 0, 0, 0]))
    assert device.dev.addr == 0
    assert device.give(0, 8) == b""
    assert device.dev.addr == 9
    device.bus_reset()
    assert device.dev.addr == 0


def test_features_wakeup_and_halt(keyboard):
    write(keyboard, 0, 3, 1)
    assert read(keyboard, 0x80, 0, 0, 0, 2) == b"\x02\x00"
    write(keyboard, 2, 3, 0, 0x81)
    assert keyboard.give(1, 8) == STALL
    assert read(keyboard, 0x82, 0, 0, 0x81, 2) == b"\x01\x00"
    write(keyboard, 2, 1, 0, 0x81)
    assert keyboard.give(1, 8) == NAK


def test_unconfigured_device_has_no_data():
    assert UsbMouse(Clock(), "usb-ptr").give(1, 4) == STALL


def test_keys_come_one_report_each_with_modifiers(keyboard):
    for code in (0x38, 0x00):
        keyboard.key(code, True)
    for code in (0x00, 0x38):
        keyboard.key(code, False)
    reports = [keyboard.give(1, 8).hex() for _ in range(4)]
    assert reports == [
        "0200000000000000",
        "0200040000000000",
        "0200000000000000",
        "0000000000000000",
    ]
    assert keyboard.give(1, 8) == NAK


def test_prefixed_key_and_roll_over(keyboard):
    keyboard.key(0x3D, True)
    assert keyboard.hid.keycodes[:2] == [0xE0, 0x50]
    assert keyboard.give(1, 8) == bytes([0, 0, 0x51, 0, 0, 0, 0, 0])
    for code in range(6):
        keyboard.key(code, True)
        last = keyboard.give(1, 8)
    assert last == bytes([0, 0, 1, 1, 1, 1, 1, 1])


def test_full_queue_loses_keys_and_says_so(keyboard):
    for _ in range(20):
        keyboard.key(0, True)
    assert keyboard.hid.n == 16
    assert keyboard.trace.counts["UsbKeyboard", "key lost"] >= 4


def test_idle_rate_repeats_the_report(keyboard):
    write(keyboard, 0x21, 0x0A, 0x0700)
    keyboard.give(1, 8)
    assert keyboard.give(1, 8) == NAK
    keyboard.clock.advance(27_999_999)
    assert keyboard.give(1, 8) == NAK
    keyboard.clock.advance(28_000_000)
    assert keyboard.give(1, 8) == bytes(8)


def test_lights_and_protocol(keyboard):
    write(keyboard, 0x21, 9, 0x200, data=b"\x02")
    assert keyboard.hid.leds == 2
    write(keyboard, 0x21, 0x0B, 0)
    assert read(keyboard, 0xA1, 3, 0, 0, 1) == b"\0"


def test_wakeup_is_asked_for_only_when_allowed(keyboard):
    calls = []
    keyboard.wakeup = lambda: calls.append(1)
    keyboard.key(0, True)
    write(keyboard, 0, 3, 1)
    keyboard.key(0, False)
    assert calls == [1]


def test_movement_gathers_and_is_told_in_steps(mouse):
    mouse.move(100, -5, 0)
    mouse.move(100, 0, 0)
    mouse.move(0, 0, 1)
    assert mouse.give(1, 4) == bytes([0, 127, 251, 0])
    assert mouse.give(1, 4) == bytes([0, 73, 0, 0])
    assert mouse.give(1, 4) == bytes([1, 0, 0, 0])
    assert mouse.give(1, 4) == NAK
    mouse.move(0, 0, 6)
    assert mouse.give(1, 4)[0] == 4 | 2


def test_every_key_of_an_adb_keyboard_has_codes_and_tables_agree():
    assert all(USAGE[scan] == usage for usage, scan in SCAN.items())
    assert scan_codes(0x00, True) == [0x1E]
    assert scan_codes(0x00, False) == [0x9E]
    assert scan_codes(0x7F, False) == [0xE0, 0xDE]
    assert scan_codes(0x0A + 0x100, True) == []


def test_recorded_sections_load_and_save_to_the_same_bytes(shared):
    for name, kind in (("usb-kbd", UsbKeyboard), ("usb-ptr", UsbMouse)):
        found = named(shared, name)
        assert len(found) >= 2
        for section in found:
            device = kind(Clock(), name)
            load_body(device, section)
            assert save_body(device) == section.body, section


def test_control_transfer_half_way_goes_on_after_a_load(keyboard):
    keyboard.setup(bytes([0x80, 6, 0, 2, 0, 0, 255, 0]))
    first = keyboard.give(0, 8)
    body = save_body(keyboard, OURS)
    other = UsbKeyboard(Clock(), "usb-kbd")
    load(other, WireReader(body), 1)
    assert save_body(other, OURS) == body
    rest = b"".join(other.give(0, 8) for _ in range(4))
    assert first + rest == keyboard.configuration_descriptor()
    assert len(save_body(keyboard, QEMU)) == 129


def test_random_transactions_leave_a_state_that_can_be_saved():
    random_ = random.Random(11)
    for kind in (UsbKeyboard, UsbMouse):
        device = kind(Clock(), "x")
        for _ in range(5_000):
            choice = random_.randrange(5)
            if choice == 0:
                head = bytes([random_.choice((0, 0x80, 0x21, 0xA1, 0x02, 0x81)), random_.randrange(12)])
                device.setup(head + random_.randbytes(6))
            elif choice == 1:
                device.take(random_.randrange(16), random_.randbytes(random_.randrange(64)))
            elif choice == 2:
                device.give(random_.randrange(16), random_.randrange(64))
            elif kind is UsbKeyboard:
                device.key(random_.randrange(200), random_.random() < 0.5)
            else:
                device.move(random_.randrange(-500, 500), random_.randrange(-500, 500), random_.randrange(8))
        body = save_body(device, OURS)
        other = kind(Clock(), "x")
        load(other, WireReader(body), 1)
        assert save_body(other, OURS) == body
