"""USB hub: its requests, what is reached through it, cuts, and a stream's form (case 28)."""

from __future__ import annotations

import pytest

from gossamer.base.wire import WireReader
from gossamer.core.clock import Clock
from gossamer.devices.usb.device import NAK, STALL
from gossamer.devices.usb.hid import UsbKeyboard, UsbMouse
from gossamer.devices.usb.hub import PORTS, UsbHub
from gossamer.state.transfer import OURS, load
from tests.devices.captures import save_body

CONNECTED, ENABLED, SUSPENDED, RESET, POWER = 1, 2, 4, 0x10, 0x100


class Rig:
    """A hub with a keyboard on port 1 and a second hub, with a mouse, on port 2."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.hub = UsbHub(self.clock, "pci.2:0d.0/3/usb-hub", at="3")
        self.keyboard = UsbKeyboard(self.clock, "pci.2:0d.0/3.1/usb-kbd")
        self.second = UsbHub(self.clock, "pci.2:0d.0/3.2/usb-hub", at="3.2")
        self.mouse = UsbMouse(self.clock, "pci.2:0d.0/3.2.8/usb-ptr")
        self.hub.connect(0, self.keyboard)
        self.hub.connect(1, self.second)
        self.second.connect(7, self.mouse)
        self.woken = 0
        self.hub.wakeup = self._wake

    def _wake(self) -> None:
        self.woken += 1

    @property
    def parts(self) -> list[UsbHub | UsbKeyboard | UsbMouse]:
        return [self.hub, self.keyboard, self.second, self.mouse]

    def cut(self) -> Rig:
        other = Rig()
        for one, two in zip(self.parts, other.parts, strict=True):
            load(two, WireReader(save_body(one, OURS)), two.version)
            assert save_body(two, OURS) == save_body(one, OURS)
        return other


def ask(hub, kind, request, value=0, index=0, length=0):
    """A control transfer without data from the host; STALL or what came back."""
    packet = bytes((kind, request)) + b"".join(
        n.to_bytes(2, "little") for n in (value, index, length)
    )
    hub.setup(packet)
    if kind & 0x80:
        return hub.give(0, 64)
    return hub.give(0, 64)


def status(hub, port):
    got = ask(hub, 0xA3, 0, index=port, length=4)
    return int.from_bytes(got[:2], "little"), int.from_bytes(got[2:], "little")


@pytest.fixture
def rig():
    made = Rig()
    ask(made.hub, 0x00, 9, value=1)
    return made


def test_descriptors_are_those_of_qemu(rig):
    device = ask(rig.hub, 0x80, 6, value=0x100, length=18)
    assert device == bytes.fromhex("12011001090000080904aa55010101020301")
    configuration = ask(rig.hub, 0x80, 6, value=0x200, length=255)
    assert configuration.hex() == "09021900010100e00009040000010900000007" + "0581030200ff"
    hub = ask(rig.hub, 0xA0, 6, value=0x2900, length=255)
    assert (len(hub), hub[1], hub[2]) == (hub[0], 0x29, 8)
    assert rig.hub.serial == "314159-pci.2:0d.0-3"
    assert ask(rig.hub, 0x80, 0, length=2) == b"\1\0"  # powered by itself
    assert ask(rig.hub, 0xA0, 0, length=4) == bytes(4)


def test_change_of_a_port_is_reported_until_it_is_cleared(rig):
    assert rig.hub.give(1, 2) == b"\6\0"
    assert status(rig.hub, 1) == (POWER | CONNECTED, CONNECTED)
    assert status(rig.hub, 3) == (POWER, 0)
    for port in (1, 2):
        assert ask(rig.hub, 0x23, 1, value=16, index=port) == b""
    assert rig.hub.give(1, 2) == NAK
    assert ask(rig.hub, 0x23, 3, value=4, index=1) == b""
    assert status(rig.hub, 1) == (POWER | CONNECTED | ENABLED, RESET)
    assert rig.hub.give(1, 2) == b"\2\0"
    ask(rig.hub, 0x23, 1, value=20, index=1)
    assert status(rig.hub, 1) == (POWER | CONNECTED | ENABLED, 0)


def test_reset_of_an_empty_port_enables_nothing(rig):
    ask(rig.hub, 0x23, 3, value=4, index=5)
    assert status(rig.hub, 5) == (POWER, 0)


def test_devices_are_reached_through_enabled_ports_only(rig):
    hub, keyboard = rig.hub, rig.keyboard
    hub.dev.addr = 1
    assert hub.find(0) is None
    ask(hub, 0x23, 3, value=4, index=1)
    assert hub.find(0) is keyboard
    keyboard.dev.addr = 2
    assert (hub.find(0), hub.find(2)) == (None, keyboard)
    ask(hub, 0x23, 3, value=2, index=1)
    assert status(hub, 1)[0] & SUSPENDED
    assert hub.find(2) is None
    ask(hub, 0x23, 1, value=2, index=1)
    assert hub.find(2) is keyboard
    ask(hub, 0x23, 1, value=1, index=1)
    assert hub.find(2) is None


def test_device_behind_two_hubs(rig):
    rig.hub.dev.addr = 1
    ask(rig.hub, 0x23, 3, value=4, index=2)
    rig.second.dev.addr = 2
    ask(rig.second, 0x00, 9, value=1)
    ask(rig.second, 0x23, 3, value=4, index=8)
    assert rig.hub.find(0) is rig.mouse
    rig.mouse.dev.addr = 3
    ask(rig.hub, 0x23, 3, value=4, index=2)  # a reset of the hub takes its ports along
    assert rig.hub.find(3) is None
    assert status(rig.second, 8) == (POWER | CONNECTED, CONNECTED)


def test_key_wakes_through_suspended_ports(rig):
    ask(rig.hub, 0x23, 3, value=4, index=1)
    rig.keyboard.dev.remote_wakeup = 1
    ask(rig.hub, 0x23, 3, value=2, index=1)
    rig.keyboard.key(0, True)
    assert rig.woken == 1
    assert status(rig.hub, 1)[0] & SUSPENDED == 0
    assert status(rig.hub, 1)[1] & SUSPENDED


def test_state_comes_through_a_cut(rig):
    rig.hub.dev.addr = 1
    ask(rig.hub, 0x23, 3, value=4, index=1)
    ask(rig.hub, 0x23, 3, value=4, index=2)
    ask(rig.second, 0x23, 1, value=16, index=8)
    other = rig.cut()
    for n in range(1, PORTS + 1):
        assert status(other.hub, n) == status(rig.hub, n)
        assert status(other.second, n) == status(rig.second, n)
    assert other.hub.find(0) is other.keyboard


@pytest.mark.parametrize(
    "request_",
    [
        (0x23, 3, 9, 1),
        (0x23, 1, 21, 1),
        (0x23, 3, 4, 0),
        (0x23, 3, 4, 9),
        (0xA3, 0, 0, 9),
        (0x20, 1, 2, 0),
        (0x23, 7, 0, 1),
    ],
)
def test_requests_that_no_hub_has_stall(rig, request_):
    kind, request, value, index = request_
    assert ask(rig.hub, kind, request, value=value, index=index, length=4) == STALL
