"""USB keyboard and mouse, as QEMU's usb-kbd and usb-mouse show themselves.

Source: USB Device Class Definition for HID 1.11 (boot keyboard and mouse, requests in 7.2);
descriptors as a guest reads them under QEMU 7.2; docs page usb.md.
"""

from __future__ import annotations

from typing import ClassVar, Final

from gossamer.core.clock import Clock
from gossamer.devices.usb.device import HIGH, NAK, STALL, Answer, UsbFunction, checked
from gossamer.devices.usb.keys import EXTENDED, PREFIX, RELEASED, USAGE, scan_codes
from gossamer.state.codec import I32, U8, U32
from gossamer.state.declare import Stateful, array, child, children, i32, u8, u16, u32, vtime
from gossamer.state.layout import Item, Layout, Nested, View, subsection

QUEUE: Final = 16
FULL_INTERVAL, HIGH_INTERVAL = 10, 7
IDLE_UNIT_NS: Final = 4_000_000
REPORT: Final = 0x22
HID: Final = 0x21
GET_REPORT, GET_IDLE, GET_PROTOCOL, SET_REPORT, SET_IDLE, SET_PROTOCOL = 1, 2, 3, 9, 10, 11
PREFIX_SEEN: Final = 0x100
"""In `modifiers`: the prefix 0xe0 was the last code."""


def device_descriptor(product: int, serial: int, speed: int) -> bytes:
    """USB 2.0, 0627:0001, strings 1, `product`, `serial`; endpoint 0 as wide as is usual."""
    packet = 64 if speed == HIGH else 8
    first = bytes.fromhex("12010002000000") + bytes([packet])
    return first + bytes.fromhex("27060100000001") + bytes([product, serial, 1])


def configuration_descriptor(
    name: int, protocol: int, hid: str, report: bytes, packet: int, speed: int
) -> bytes:
    """One configuration: remote wake-up, 100 mA, one interface, one interrupt endpoint.

    It is asked every 10 ms at full speed, every 8 at high speed.  `protocol` 1, 2: a boot keyboard
    or mouse; 0: no boot device.
    """
    body = bytes.fromhex("090400000103") + bytes([int(protocol != 0), protocol, 0])
    body += bytes.fromhex(f"0921{hid}000122") + len(report).to_bytes(2, "little")
    body += bytes.fromhex("07058103") + packet.to_bytes(2, "little")
    body += bytes([HIGH_INTERVAL if speed == HIGH else FULL_INTERVAL])
    total = (9 + len(body)).to_bytes(2, "little")
    return bytes([9, 2]) + total + bytes([1, 1, name, 0xA0, 50]) + body


def default_serial(number: int, idstr: str) -> str:
    """QEMU's number of the kind of device, the controller's place, the port."""
    controller, port, _ = idstr.split("/")
    return f"{number}-{controller}-{port}"


def hid_buttons(buttons: int) -> int:
    """Buttons 1 left, 2 middle, 4 right as HID has them: 1 left, 2 right, 4 middle."""
    return buttons & 1 | (buttons & 2) << 1 | (buttons & 4) >> 1


def _renamed(wire: str, name: str, limit: int) -> View:
    """A checked field whose name on the wire differs from the attribute's."""
    inner = checked(name, I32, limit)
    return View(wire, inner.codec, inner.get, inner.put)


class KeyboardState(Stateful):
    """Scan codes waiting in `keycodes`; pressed keys (usages) in `key[:keys]`."""

    vmsd = "HIDKeyboardDevice"
    version = 1
    minimum = 1

    keycodes: list[int] = array(U32, QUEUE, wire="kbd.keycodes")
    head: int = u32()
    n: int = u32()
    modifiers: int = u16(wire="kbd.modifiers")
    leds: int = u8(wire="kbd.leds")
    key: list[int] = array(U8, 16, wire="kbd.key")
    keys: int = i32(wire="kbd.keys")
    protocol: int = i32(1)
    idle: int = u8()

    layouts: ClassVar[dict[str, Layout]] = {
        "": [
            "keycodes",
            checked("head", U32, QUEUE - 1),
            checked("n", U32, QUEUE),
            *("modifiers", "leds", "key"),
            _renamed("kbd.keys", "keys", 16),
            *("protocol", "idle"),
        ]
    }


class PointerEvent(Stateful):
    """Movement and buttons (1 left, 2 right, 4 middle) not yet reported."""

    vmsd = "HIDPointerEventQueue"
    version = 1
    minimum = 1

    xdx: int = i32()
    ydy: int = i32()
    dz: int = i32()
    buttons_state: int = i32()


def _event(n: int) -> Item:
    return Nested(f"ptr.queue[{n}]", lambda ptr: ptr.queue[n])


class PointerState(Stateful):
    """A ring of events; the newest gathers movement while the buttons stay as they are."""

    vmsd = "HIDPointerDevice"
    version = 1
    minimum = 1

    queue: list[PointerEvent] = children(PointerEvent, QUEUE)
    head: int = u32()
    n: int = u32()
    protocol: int = i32(1)
    idle: int = u8()

    layouts: ClassVar[dict[str, Layout]] = {
        "": [
            *(_event(n) for n in range(QUEUE)),
            checked("head", U32, QUEUE - 1),
            checked("n", U32, QUEUE),
            *("protocol", "idle"),
        ]
    }


class UsbHid(UsbFunction):
    """What keyboard and mouse have in common; `hid` is the class part of the state.

    A report goes out when there is news, or again when the idle time has passed.
    """

    hid: KeyboardState | PointerState
    last_report: int

    def attach(self) -> None:
        super().attach()
        self.hid.protocol = 0

    def bus_reset(self) -> None:
        super().bus_reset()
        self.hid.reset()

    @property
    def report_descriptor(self) -> bytes:
        raise NotImplementedError

    def report(self, length: int) -> bytes:
        """The report as it is now; what it shows is taken from the queue."""
        raise NotImplementedError

    def interface_descriptor(self, kind: int) -> bytes | None:
        if kind == REPORT:
            return self.report_descriptor
        return self.configuration_descriptor()[18:27] if kind == HID else None

    def class_request(self, request_type: int, request: int, value: int, data: bytes) -> Answer:
        if request_type == 0xA1:
            if request == GET_REPORT:
                return self.report(len(self.dev.reply))
            known = {GET_IDLE: self.hid.idle, GET_PROTOCOL: self.hid.protocol & 0xFF}
            return bytes([known[request]]) if request in known else STALL
        if request_type != 0x21:
            return STALL
        if request == SET_IDLE:
            self.hid.idle = value >> 8
        elif request == SET_PROTOCOL:
            self.hid.protocol = value & 1
        elif request == SET_REPORT:
            self.set_report(data)
        else:
            return STALL
        return b""

    def set_report(self, data: bytes) -> None:
        """An output report."""

    def poll(self, endpoint: int, length: int) -> Answer:
        if endpoint != 1:
            return STALL
        if not self.hid.n and not self.idle_is_over():
            return NAK
        return self.report(length)

    def idle_is_over(self) -> bool:
        """The idle time has passed since the last report."""
        since = self.clock.now - self.last_report
        return self.hid.idle != 0 and since >= self.hid.idle * IDLE_UNIT_NS

    @property
    def is_polled(self) -> bool:
        return self.hid.idle != 0

    def qualifier(self) -> Answer:
        return bytes.fromhex("0a060001000000080100")

    def news(self) -> None:
        """Something has changed: wake a suspended bus if that is allowed."""
        self.ready()
        if self.dev.remote_wakeup:
            self.wakeup()


KEYBOARD_REPORT: Final = bytes.fromhex(
    "05010906a10175019508050719e029e71500250181029501750881019505750105081901290591029501750391"
    "0195067508150025ff0507190029ff8100c0"
)
MOUSE_REPORT: Final = bytes.fromhex(
    "05010902a1010901a1000509190129051500250195057501810295017503810105010930093109381581257f75"
    "0895038106c0c0"
)


class UsbKeyboard(UsbHid):
    """A keyboard; `key` is its input."""

    vmsd = "usb-kbd"
    version = 1
    minimum = 1

    extra = subsection(
        "usb-kbd/gossamer", ours=True, lost="when the last report went out: one may come early"
    )

    hid: KeyboardState = child(KeyboardState)
    last_report: int = vtime(within=extra)

    layouts: ClassVar[dict[str, Layout]] = {
        "": [
            Nested("dev", lambda kbd: kbd.dev),
            Nested("hid", lambda kbd: kbd.hid),
        ]
    }

    @extra.needed
    def extra_needed(self) -> bool:
        """An idle time is set, or will count from the last report when one is."""
        return self.hid.idle != 0 or self.last_report != 0

    def __init__(self, clock: Clock, idstr: str, serial: str = "") -> None:
        super().__init__(clock)
        self.idstr, self.product = idstr, "QEMU USB Keyboard"
        self.serial = serial or default_serial(68284, idstr)

    # --- input ----------------------------------------------------------------------------------

    def key(self, code: int, down: bool) -> None:
        """A key, by its ADB code; a full queue loses it."""
        codes, hid = scan_codes(code, down), self.hid
        if not codes or hid.n + len(codes) > QUEUE:
            self.note("key lost" if codes else f"key {code:#x} is on no USB keyboard")
            return
        for one in codes:
            hid.keycodes[(hid.head + hid.n) % QUEUE] = one
            hid.n += 1
        self.news()

    @property
    def down(self) -> tuple[int, ...]:
        """The keys that are down once the queue has been read, as `key` takes them."""
        hid = self.hid
        modifiers = (0xE0 + n for n in range(8) if hid.modifiers >> n & 1)
        pressed = dict.fromkeys((*modifiers, *hid.key[: hid.keys]))
        extended = EXTENDED if hid.modifiers & PREFIX_SEEN else 0
        for n in range(hid.n):
            code = hid.keycodes[(hid.head + n) % QUEUE] & 0xFF
            if code == PREFIX:
                extended = EXTENDED
                continue
            usage, extended = USAGE.get(extended | code & 0x7F, 0), 0
            if code & RELEASED:
                pressed.pop(usage, None)
            elif usage:
                pressed[usage] = None
        return tuple(usage << 8 for usage in pressed)

    def _take_code(self) -> None:
        """Carry out one code of the queue."""
        hid = self.hid
        code = hid.keycodes[hid.head] & 0xFF
        hid.head, hid.n = (hid.head + 1) % QUEUE, hid.n - 1
        if code == PREFIX:
            hid.modifiers |= PREFIX_SEEN
            return
        extended = EXTENDED if hid.modifiers & PREFIX_SEEN else 0
        hid.modifiers &= 0xFF
        usage, down = USAGE.get(extended | code & 0x7F, 0), not code & RELEASED
        if 0xE0 <= usage <= 0xE7:
            bit = 1 << usage - 0xE0
            hid.modifiers = hid.modifiers | bit if down else hid.modifiers & ~bit
        elif usage:
            self._press(usage, down)

    def _press(self, usage: int, down: bool) -> None:
        pressed = self.hid.key[: self.hid.keys]
        if down and usage not in pressed and len(pressed) < 16:
            pressed.append(usage)
        elif not down and usage in pressed:
            pressed.remove(usage)
        self.hid.key, self.hid.keys = pressed + [0] * (16 - len(pressed)), len(pressed)

    # --- the device -----------------------------------------------------------------------------

    def report(self, length: int) -> bytes:
        """Eight bytes: modifiers, 0, six keys (ones when more are down)."""
        hid, self.last_report = self.hid, int(self.clock.now)
        while hid.n:
            was_prefix = hid.keycodes[hid.head] & 0xFF == PREFIX
            self._take_code()
            if not was_prefix:
                break
        keys = bytes([1] * 6) if hid.keys > 6 else bytes(hid.key[:6])
        return (bytes([hid.modifiers & 0xFF, 0]) + keys)[:length]

    def set_report(self, data: bytes) -> None:
        """The lights: num lock, caps lock, scroll lock, compose, kana."""
        if data:
            self.hid.leds = data[0]

    def device_descriptor(self) -> bytes:
        return device_descriptor(4, 11, self.speed)

    def configuration_descriptor(self) -> bytes:
        return configuration_descriptor(8, 1, "1101", KEYBOARD_REPORT, 8, self.speed)

    @property
    def report_descriptor(self) -> bytes:
        return KEYBOARD_REPORT

    def strings(self) -> dict[int, str]:
        return {1: "QEMU", 4: self.product, 8: "HID Keyboard", 11: self.serial}


class UsbPointer(UsbHid):
    """What mouse and tablet have in common: on the wire they are the same."""

    vmsd = "usb-ptr"
    version = 1
    minimum = 1

    extra = subsection(
        "usb-ptr/gossamer", ours=True, lost="when the last report went out: one may come early"
    )

    hid: PointerState = child(PointerState)
    last_report: int = vtime(within=extra)

    layouts: ClassVar[dict[str, Layout]] = {
        "": [
            Nested("dev", lambda ptr: ptr.dev),
            Nested("hid", lambda ptr: ptr.hid),
        ]
    }

    @extra.needed
    def extra_needed(self) -> bool:
        """An idle time is set, or will count from the last report when one is."""
        return self.hid.idle != 0 or self.last_report != 0

    @property
    def pressed(self) -> bool:
        """Whether a button is down once the queue has been read."""
        return self.hid.queue[(self.hid.head + self.hid.n - 1) % QUEUE].buttons_state != 0


class UsbMouse(UsbPointer):
    """A mouse with three buttons and a wheel; `move` is its input."""

    def __init__(self, clock: Clock, idstr: str, serial: str = "") -> None:
        super().__init__(clock)
        self.idstr, self.product = idstr, "QEMU USB Mouse"
        self.serial = serial or default_serial(89126, idstr)

    # --- input ----------------------------------------------------------------------------------

    def move(self, dx: int, dy: int, buttons: int, wheel: int = 0) -> None:
        """Movement in counts, down positive; `buttons`: 1 left, 2 middle, 4 right; notches up."""
        state, hid = hid_buttons(buttons), self.hid
        last = hid.queue[(hid.head + hid.n - 1) % QUEUE]
        if hid.n and (last.buttons_state == state or hid.n >= QUEUE - 1):
            event = last
        elif not hid.n and last.buttons_state == state and not (dx or dy or wheel):
            return
        else:
            event = hid.queue[(hid.head + hid.n) % QUEUE]
            event.xdx = event.ydy = event.dz = 0
            hid.n += 1
        event.xdx, event.ydy = bounded(event.xdx + dx), bounded(event.ydy + dy)
        event.dz = bounded(event.dz - wheel)
        event.buttons_state = state
        if hid.n < QUEUE:  # QEMU's next event begins with the buttons that it finds there
            following = hid.queue[(hid.head + hid.n) % QUEUE]
            following.reset()
            following.buttons_state = state
        self.news()

    # --- the device -----------------------------------------------------------------------------

    def report(self, length: int) -> bytes:
        """Four bytes: buttons, and movement of at most 127 counts in x, y and the wheel."""
        hid, self.last_report = self.hid, int(self.clock.now)
        event = hid.queue[hid.head if hid.n else (hid.head - 1) % QUEUE]
        dx, dy, dz = step(event.xdx), step(event.ydy), step(event.dz)
        event.xdx, event.ydy, event.dz = event.xdx - dx, event.ydy - dy, event.dz - dz
        if hid.n and not (event.xdx or event.ydy or event.dz):
            hid.head, hid.n = (hid.head + 1) % QUEUE, hid.n - 1
        moved = bytes([event.buttons_state & 7, dx & 0xFF, dy & 0xFF, -dz & 0xFF])
        return moved[: min(length, 4 if self.hid.protocol else 3)]

    def device_descriptor(self) -> bytes:
        return device_descriptor(2, 9, self.speed)

    def configuration_descriptor(self) -> bytes:
        return configuration_descriptor(6, 2, "0100", MOUSE_REPORT, 4, self.speed)

    @property
    def report_descriptor(self) -> bytes:
        return MOUSE_REPORT

    def strings(self) -> dict[int, str]:
        return {1: "QEMU", 2: self.product, 6: "HID Mouse", 9: self.serial}


def step(count: int) -> int:
    """As much of a movement as fits into a report."""
    return max(-127, min(count, 127))


def bounded(count: int) -> int:
    """Movement that no poll collects does not grow without end."""
    return max(-0x4000_0000, min(count, 0x3FFF_FFFF))
