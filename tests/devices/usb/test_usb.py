"""USB devices: requests, descriptors, keyboard and mouse reports, over the controller."""

from __future__ import annotations

import random

import pytest

from gossamer.base.errors import StreamError
from gossamer.base.wire import WireReader
from gossamer.control import keys
from gossamer.core.clock import Clock
from gossamer.devices.usb.device import NAK, STALL
from gossamer.devices.usb.hid import UsbKeyboard, UsbMouse
from gossamer.devices.usb.keys import ADB, SCAN, USAGE, scan_codes
from gossamer.devices.usb.tablet import COUNT, UsbTablet
from gossamer.state.transfer import OURS, load
from tests.devices.captures import load_body, named, save_body
from tests.devices.usb.ohci_rig import setup

MS = 1_000_000

#: As a guest reads them from QEMU 7.2's usb-kbd and usb-mouse through its OHCI.
DESCRIPTORS = {
    UsbKeyboard: (
        "120100020000000827060100000001040b01",
        "09022200010108a032090400000103010100092111010001223f000705810308000a",
        "05010906a10175019508050719e029e7150025018102950175088101950575010508190129059102950175039101"
        "95067508150025ff0507190029ff8100c0",
        {1: "QEMU", 4: "QEMU USB Keyboard", 8: "HID Keyboard", 11: "68284-pci.2:0d.0-1"},
    ),
    UsbMouse: (
        "120100020000000827060100000001020901",
        "09022200010106a0320904000001030102000921010000012234000705810304000a",
        "05010902a1010901a1000509190129051500250195057501810295017503810105010930093109381581257f7508"
        "95038106c0c0",
        {1: "QEMU", 2: "QEMU USB Mouse", 6: "HID Mouse", 9: "89126-pci.2:0d.0-1"},
    ),
    UsbTablet: (
        "120100020000000827060100000001030a01",
        "09022200010107a032090400000103000000092101000001224a000705810308000a",
        "05010902a1010901a10005091901290315002501950375018102950175058101050109300931150026ff7f350046"
        "ff7f751095028102050109381581257f35004500750895018106c0c0",
        {1: "QEMU", 3: "QEMU USB Tablet", 7: "HID Tablet", 10: "28754-pci.2:0d.0-1"},
    ),
}


def control(device, packet, data=b""):
    """A control transfer as a host does it: what was read, or STALL."""
    assert device.setup(packet) == b""
    length = int.from_bytes(packet[6:8], "little")
    if packet[0] & 0x80 and length:
        got = b""
        while True:
            piece = device.give(0, 8)
            if piece == STALL:
                return STALL
            got += piece
            if len(piece) < 8 or len(got) >= length:
                break
        assert device.take(0, b"") == b""
        return got
    for n in range(0, len(data), 8):
        if device.take(0, data[n : n + 8]) == STALL:
            return STALL
    return device.give(0, 0)


def configured(kind):
    clock = Clock()
    device = kind(clock, "pci.2:0d.0/1/" + kind.vmsd)
    control(device, setup(0, 5, 3, 0, 0))
    control(device, setup(0, 9, 1, 0, 0))
    return device


@pytest.fixture
def keyboard():
    return configured(UsbKeyboard)


@pytest.fixture
def mouse():
    return configured(UsbMouse)


@pytest.fixture
def tablet():
    return configured(UsbTablet)


def copy_of(device):
    body = save_body(device, OURS)
    clock = Clock()
    clock.set(device.clock.now)
    other = type(device)(clock, device.idstr)
    load(other, WireReader(body), other.version)
    assert save_body(other, OURS) == body
    return other


# --- requests -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DESCRIPTORS)
def test_descriptors_are_those_of_qemu(kind):
    device = configured(kind)
    first, config, report, strings = DESCRIPTORS[kind]
    assert control(device, setup(0x80, 6, 0x100, 0, 64)).hex() == first
    assert control(device, setup(0x80, 6, 0x200, 0, 255)).hex() == config
    assert control(device, setup(0x81, 6, 0x2200, 0, 255)).hex() == report
    assert control(device, setup(0x80, 6, 0x300, 0, 255)).hex() == "04030904"
    for number, text in strings.items():
        got = control(device, setup(0x80, 6, 0x300 + number, 0x409, 255))
        assert got[:2] == bytes([len(got), 3])
        assert got[2:].decode("utf-16-le") == text


@pytest.mark.parametrize("kind", DESCRIPTORS)
def test_standard_requests(kind):
    device = configured(kind)
    assert control(device, setup(0x80, 8, 0, 0, 1)) == b"\x01"
    assert control(device, setup(0x80, 0, 0, 0, 2)) == b"\0\0"
    assert control(device, setup(0, 3, 1, 0, 0)) == b""
    assert control(device, setup(0x80, 0, 0, 0, 2)) == b"\x02\0"
    assert control(device, setup(0, 1, 1, 0, 0)) == b""
    assert control(device, setup(0x80, 0, 0, 0, 2)) == b"\0\0"
    assert control(device, setup(0x81, 10, 0, 0, 1)) == b"\0"
    assert control(device, setup(1, 11, 0, 0, 0)) == b""
    assert control(device, setup(1, 11, 1, 0, 0)) == STALL
    assert control(device, setup(0, 9, 2, 0, 0)) == STALL
    assert control(device, setup(0x80, 6, 0x600, 0, 10)) == STALL
    assert control(device, setup(0xC0, 0x55, 0, 0, 8)) == STALL
    assert control(device, setup(2, 3, 0, 0x81, 0)) == b""
    assert control(device, setup(0x82, 0, 0, 0x81, 2)) == b"\x01\0"
    assert device.give(1, 8) == STALL
    assert control(device, setup(2, 1, 0, 0x81, 0)) == b""
    assert device.give(1, 8) == NAK


@pytest.mark.parametrize("kind", [UsbKeyboard, UsbMouse])
def test_hid_requests(kind):
    device = configured(kind)
    size = 8 if kind is UsbKeyboard else 4
    assert control(device, setup(0xA1, 1, 0x100, 0, 8)) == bytes(size)
    assert control(device, setup(0xA1, 3, 0, 0, 1)) == b"\x01"
    assert control(device, setup(0x21, 11, 0, 0, 0)) == b""
    assert control(device, setup(0xA1, 3, 0, 0, 1)) == b"\0"
    assert control(device, setup(0x21, 10, 0x500, 0, 0)) == b""
    assert control(device, setup(0xA1, 2, 0, 0, 1)) == b"\x05"


def test_bus_reset_forgets_address_configuration_and_protocol(keyboard):
    control(keyboard, setup(0x21, 11, 0, 0, 0))
    keyboard.bus_reset()
    assert (keyboard.dev.addr, keyboard.dev.configuration) == (0, 0)
    assert keyboard.hid.protocol == 1
    assert keyboard.give(1, 8) == STALL


def test_address_changes_only_after_the_status_stage():
    device = UsbMouse(Clock(), "pci.2:0d.0/1/usb-ptr")
    device.setup(setup(0, 5, 9, 0, 0))
    assert device.dev.addr == 0
    device.give(0, 0)
    assert device.dev.addr == 9


# --- keyboard -------------------------------------------------------------------------------------


def test_keys_come_one_transition_a_report(keyboard):
    keyboard.key(keys.code("a"), True)
    keyboard.key(keys.code("a"), False)
    keyboard.key(keys.code("shift"), True)
    keyboard.key(keys.code("up"), True)
    assert [keyboard.give(1, 8).hex() for _ in range(4)] == [
        "0000040000000000",
        "0000000000000000",
        "0200000000000000",
        "0200520000000000",
    ]
    assert keyboard.give(1, 8) == NAK


def test_every_key_that_has_a_name_is_a_different_usage(keyboard):
    usages = set()
    for name in keys._ROWS:
        code = keys.code(name)
        assert scan_codes(code, True), name
        usage = ADB[code]
        usages.add(usage)
        keyboard.key(code, True)
        report = keyboard.give(1, 8)
        down = 1 << usage - 0xE0 if usage >= 0xE0 else 0
        assert report[0] == down, name
        assert report[2] == (0 if down else usage), name
        keyboard.key(code, False)
        assert keyboard.give(1, 8) == bytes(8), name
    assert len(usages) == len(set(keys._ROWS.values()))
    assert len(SCAN) == len(USAGE)


def test_seven_keys_are_too_many(keyboard):
    for name in "asdfghj":
        keyboard.key(keys.code(name), True)
        last = keyboard.give(1, 8)
    assert last == bytes([0, 0, *[1] * 6])
    keyboard.key(keys.code("j"), False)
    assert keyboard.give(1, 8)[2:] == bytes([0x04, 0x16, 0x07, 0x09, 0x0A, 0x0B])


def test_full_queue_loses_a_whole_key_and_says_so(keyboard):
    for n in range(9):
        keyboard.key(keys.code("left"), n % 2 == 0)
    assert keyboard.hid.n == 16
    assert keyboard.trace.counts["UsbKeyboard", "key lost"] >= 1


def test_idle_rate_repeats_the_report_in_time(keyboard):
    control(keyboard, setup(0x21, 10, 0x700, 0, 0))
    keyboard.clock.set(100 * MS)
    assert keyboard.give(1, 8) == bytes(8)
    keyboard.clock.set(100 * MS + 28 * MS - 1)
    assert keyboard.give(1, 8) == NAK
    other = copy_of(keyboard)
    for device in (keyboard, other):
        device.clock.set(128 * MS)
        assert device.give(1, 8) == bytes(8)
        assert device.give(1, 8) == NAK


def test_idle_time_counts_from_a_report_before_it_was_set(keyboard):
    """A save in between knows when that was."""
    keyboard.key(keys.code("a"), True)
    keyboard.clock.set(100 * MS)
    report = keyboard.give(1, 8)
    assert report[2]
    other = copy_of(keyboard)
    for device in (keyboard, other):
        control(device, setup(0x21, 10, 0x700, 0, 0))
        device.clock.set(127 * MS)
        assert device.give(1, 8) == NAK
        device.clock.set(128 * MS)
        assert device.give(1, 8) == report


def test_lights_are_set_by_the_host(keyboard):
    assert control(keyboard, setup(0x21, 9, 0x200, 0, 1), b"\x03") == b""
    assert keyboard.hid.leds == 3


# --- mouse ----------------------------------------------------------------------------------------


def test_movement_is_gathered_and_reported_in_steps(mouse):
    mouse.move(100, -5, 0)
    mouse.move(100, -5, 0)
    assert mouse.give(1, 4) == bytes([0, 127, 0xF6, 0])
    assert mouse.give(1, 4) == bytes([0, 73, 0, 0])
    assert mouse.give(1, 4) == NAK


def test_button_changes_are_not_lost_between_polls(mouse):
    mouse.move(0, 0, 1)
    mouse.move(3, 0, 1)
    mouse.move(0, 0, 0)
    mouse.move(0, 0, 6)
    reports = [mouse.give(1, 4) for _ in range(3)]
    assert reports == [bytes([1, 3, 0, 0]), bytes(4), bytes([6, 0, 0, 0])]
    assert mouse.give(1, 4) == NAK


def test_button_that_is_down_stays_down_while_the_mouse_moves_on(mouse):
    mouse.move(0, 0, 1)
    assert mouse.give(1, 4) == bytes([1, 0, 0, 0])
    other = copy_of(mouse)
    for device in (mouse, other):
        device.move(2, 2, 1)
        assert device.give(1, 4) == bytes([1, 2, 2, 0])
        device.move(0, 0, 1)
        assert device.give(1, 4) == NAK


def test_wheel_turned_up_counts_up(mouse):
    """QEMU 7.2's queue has a dz of -1 for a notch up."""
    mouse.move(0, 0, 0, 1)
    assert mouse.hid.queue[mouse.hid.head].dz == -1
    mouse.move(0, 0, 0, 1)
    assert mouse.give(1, 4) == bytes([0, 0, 0, 2])
    mouse.move(5, 0, 1, -1)
    assert mouse.give(1, 4) == bytes([1, 5, 0, 0xFF])
    assert mouse.give(1, 4) == NAK


def test_wheel_of_the_tablet(tablet):
    tablet.point(7, 7, 0)
    tablet.poll(1, 8)
    tablet.move(0, 0, 0, 1)
    assert tablet.poll(1, 8) == bytes.fromhex("00 0700 0700 01")
    tablet.move(0, 0, 0, -1)
    assert tablet.poll(1, 8) == bytes.fromhex("00 0700 0700 ff")
    assert tablet.poll(1, 8) == NAK


def test_boot_protocol_has_no_wheel(mouse):
    control(mouse, setup(0x21, 11, 0, 0, 0))
    mouse.move(1, 1, 0)
    assert mouse.give(1, 4) == bytes([0, 1, 1])


def test_many_clicks_unread_keep_the_last_buttons(mouse):
    for n in range(100):
        mouse.move(1, 0, n % 2)
    reports = []
    while (got := mouse.give(1, 4)) != NAK:
        reports.append(got)
    assert len(reports) <= 16
    assert sum(r[1] for r in reports) == 100
    assert reports[-1][0] == 1


# --- the wire -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DESCRIPTORS)
def test_recorded_sections_load_and_save_to_the_same_bytes(shared, kind):
    found = named(shared, kind.vmsd)
    assert len(found) >= 2
    for section in found:
        device = kind(Clock(), section.idstr)
        load_body(device, section)
        assert save_body(device) == section.body, section


def test_cut_in_the_middle_of_control_transfers(keyboard):
    keyboard.setup(setup(0x80, 6, 0x200, 0, 34))
    got = keyboard.give(0, 8)
    moving = keyboard
    while len(got) < 34:
        moving = copy_of(moving)
        got += moving.give(0, 8)
    assert got == keyboard.configuration_descriptor()
    moving.setup(setup(0x21, 9, 0x200, 0, 1))
    moving = copy_of(moving)
    assert moving.take(0, b"\x05") == b""
    moving = copy_of(moving)
    assert moving.give(0, 0) == b""
    assert moving.hid.leds == 5


def test_cut_between_address_and_configuration():
    device = UsbKeyboard(Clock(), "pci.2:0d.0/1/usb-kbd")
    control(device, setup(0, 5, 3, 0, 0))
    assert copy_of(device).give(1, 8) == STALL
    control(device, setup(0, 9, 1, 0, 0))
    assert copy_of(device).give(1, 8) == NAK


def test_queue_positions_that_cannot_be_are_refused(mouse):
    body = bytearray(save_body(mouse, OURS))
    body[29 + 256 : 29 + 260] = (16).to_bytes(4, "big")
    with pytest.raises(StreamError, match=r"value must be 0\.\.15, got 16"):
        load(mouse, WireReader(bytes(body)), 1)


@pytest.mark.parametrize("kind", DESCRIPTORS)
def test_random_transactions_leave_a_state_that_can_be_saved(kind):
    device, random_ = configured(kind), random.Random(3)
    for n in range(10_000):
        match random_.randrange(6):
            case 0:
                head = bytes([random_.choice((0, 1, 2, 0x80, 0x81, 0x82, 0x21, 0xA1))])
                device.setup(head + bytes([random_.randrange(16)]) + random_.randbytes(6))
            case 1:
                device.take(random_.randrange(3), random_.randbytes(random_.randrange(64)))
            case 5 if kind is UsbKeyboard:
                device.key(random_.randrange(256), random_.random() < 0.5)
            case 5:
                device.move(random_.randrange(-999, 999), random_.getrandbits(40), n)
            case _:
                device.give(random_.randrange(3), random_.randrange(64))
        device.clock.set(device.clock.now + random_.randrange(10 * MS))
    copy_of(device)


def test_what_a_control_transfer_carried_is_gone_when_it_is_over(keyboard):
    device = keyboard
    read, write = setup(0x80, 6, 0x0100, 0, 18), setup(0x21, 9, 0x0200, 0, 1)
    for packet, data in ((read, b""), (write, b"\x07")):
        assert control(device, packet, data) != STALL
        assert not any(device.dev.reply)  # or a load would lose state that is declared
        assert not device.dev.extra_needed()


# --- tablet ---------------------------------------------------------------------------------------


def test_tablet_reports_where_it_is(tablet):
    assert tablet.poll(1, 8) == NAK
    tablet.point(0x1234, 0x7FFF, 1)
    tablet.point(0x1235, 0x10_0000, 1)  # the same buttons: one event; bounded
    assert tablet.poll(1, 8) == bytes.fromhex("01 3512 ff7f 00")
    assert tablet.poll(1, 8) == NAK
    tablet.point(0x1235, 0x7FFF, 1)
    assert tablet.poll(1, 8) == NAK, "nothing has changed"
    tablet.point(0x1235, 0x7FFF, 6)
    assert tablet.poll(1, 8) == bytes.fromhex("06 3512 ff7f 00")


def test_tablet_moves_from_where_it_is_as_a_mouse_does(tablet):
    tablet.move(10, 20, 0)
    tablet.move(-4, 0, 0)
    x, y = 6 * COUNT, 20 * COUNT
    assert tablet.poll(1, 8) == bytes([0, *x.to_bytes(2, "little"), *y.to_bytes(2, "little"), 0])
    tablet.move(-100, 0, 2)
    assert tablet.poll(1, 8)[:3] == b"\x04\0\0"


def test_tablet_keeps_button_changes_and_the_last_place(tablet):
    for n in range(20):
        tablet.point(n, n, n & 1)
    reports = []
    while (got := tablet.poll(1, 8)) != NAK:
        reports.append(got)
    assert len(reports) == 15
    assert [r[0] for r in reports[:14]] == [1, 0] * 7  # the first was no change
    assert reports[-1] == bytes([1, 19, 0, 19, 0, 0])


def test_tablet_is_no_boot_device(tablet):
    assert control(tablet, setup(0xA1, 3, 0, 0, 1)) == STALL
    assert control(tablet, setup(0x21, 11, 0, 0, 0)) == STALL
    assert control(tablet, setup(0xA1, 1, 0x100, 0, 8)) == bytes(6)


def test_tablet_is_cut_in_the_middle_of_its_queue(tablet):
    for n in range(5):
        tablet.point(100 * n, 7, n & 1)
    tablet.poll(1, 8)
    other = copy_of(tablet)
    for _ in range(6):
        assert other.poll(1, 8) == tablet.poll(1, 8)
    other.move(1, 0, 0)
    tablet.move(1, 0, 0)
    assert other.poll(1, 8) == tablet.poll(1, 8) != NAK


def test_serial_number_is_what_was_asked_for():
    mouse = UsbMouse(Clock(), "pci.0:03.0/2/usb-ptr", "S-1")
    assert mouse.strings()[9] == "S-1"
    assert UsbKeyboard(Clock(), "pci.0:03.0/2/usb-kbd").strings()[11] == "68284-pci.0:03.0-2"
