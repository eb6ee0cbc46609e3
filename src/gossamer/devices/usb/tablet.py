"""USB tablet, as QEMU's usb-tablet shows itself: a pointer that reports where it is.

Source: USB Device Class Definition for HID 1.11; descriptors as a guest reads them under QEMU 7.2;
docs page usb.md.
"""

from __future__ import annotations

from typing import Final

from gossamer.core.clock import Clock
from gossamer.devices.usb.device import STALL, Answer
from gossamer.devices.usb.hid import (
    GET_PROTOCOL,
    QUEUE,
    SET_PROTOCOL,
    UsbPointer,
    bounded,
    configuration_descriptor,
    default_serial,
    device_descriptor,
    hid_buttons,
    step,
)

MOST: Final = 0x7FFF
"""The largest coordinate: right edge, bottom."""
COUNT: Final = 32
"""How far a mouse's count moves: about a 1024th of the screen."""
TABLET_REPORT: Final = bytes.fromhex(
    "05010902a1010901a10005091901290315002501950375018102950175058101050109300931150026ff7f350046ff"
    "7f751095028102050109381581257f35004500750895018106c0c0"
)


class UsbTablet(UsbPointer):
    """A tablet with three buttons and a wheel; `point` is its input.

    The place in the queue behind the newest event holds where the pointer is, as on QEMU's wire.
    """

    def __init__(self, clock: Clock, idstr: str, serial: str = "") -> None:
        super().__init__(clock)
        self.idstr, self.product = idstr, "QEMU USB Tablet"
        self.serial = serial or default_serial(28754, idstr)

    # --- input ----------------------------------------------------------------------------------

    def point(self, x: int, y: int, buttons: int, wheel: int = 0) -> None:
        """The pointer is at (x, y), each 0..0x7fff; `buttons`: 1 left, 2 middle, 4 right.

        `wheel`: notches that it was turned up.
        """
        state, hid = hid_buttons(buttons), self.hid
        x, y = max(0, min(x, MOST)), max(0, min(y, MOST))
        newest = hid.queue[(hid.head + hid.n - 1) % QUEUE]
        event = hid.queue[(hid.head + hid.n) % QUEUE]
        if hid.n and (newest.buttons_state == state or hid.n >= QUEUE - 1):
            event = newest
        elif not (hid.n or wheel) and (event.xdx, event.ydy, event.buttons_state) == (x, y, state):
            return
        else:
            event.dz = 0
            hid.n += 1
        event.dz = bounded(event.dz - wheel)
        here = hid.queue[(hid.head + hid.n) % QUEUE]
        here.dz = 0
        for one in (event, here):
            one.xdx, one.ydy, one.buttons_state = x, y, state
        self.news()

    def move(self, dx: int, dy: int, buttons: int, wheel: int = 0) -> None:
        """Movement in a mouse's counts from where the pointer is, notches up."""
        here = self.hid.queue[(self.hid.head + self.hid.n) % QUEUE]
        self.point(here.xdx + COUNT * dx, here.ydy + COUNT * dy, buttons, wheel)

    # --- the device -----------------------------------------------------------------------------

    def class_request(self, request_type: int, request: int, value: int, data: bytes) -> Answer:
        if (request_type, request) in ((0xA1, GET_PROTOCOL), (0x21, SET_PROTOCOL)):
            return STALL  # it is no boot device
        return super().class_request(request_type, request, value, data)

    def report(self, length: int) -> bytes:
        """Six bytes: buttons, x and y (little-endian), the wheel."""
        hid, self.last_report = self.hid, int(self.clock.now)
        event = hid.queue[hid.head if hid.n else (hid.head - 1) % QUEUE]
        dz = step(event.dz)
        event.dz -= dz
        if hid.n and not event.dz:
            hid.head, hid.n = (hid.head + 1) % QUEUE, hid.n - 1
        place = (event.xdx & 0xFFFF | (event.ydy & 0xFFFF) << 16).to_bytes(4, "little")
        return (bytes([event.buttons_state & 7]) + place + bytes([-dz & 0xFF]))[:length]

    def device_descriptor(self) -> bytes:
        return device_descriptor(3, 10, self.speed)

    def configuration_descriptor(self) -> bytes:
        return configuration_descriptor(7, 0, "0100", TABLET_REPORT, 8, self.speed)

    @property
    def report_descriptor(self) -> bytes:
        return TABLET_REPORT

    def strings(self) -> dict[int, str]:
        return {1: "QEMU", 3: self.product, 7: "HID Tablet", 10: self.serial}
