"""A USB 1.1 full-speed device: its address, control transfers, standard requests.

A host controller calls `setup`, `take` (OUT) and `give` (IN) for each transaction.  Source: USB
Specification 1.1, chapters 8 and 9; docs page usb.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar, Final

from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.state.codec import I32, U8, Array, Codec
from gossamer.state.declare import Stateful, boolean, buffer, child, i32, u8, u16, wiring
from gossamer.state.layout import Layout, Loss, View, subsection

NAK: Final = "NAK"
STALL: Final = "STALL"
Answer = bytes | str
"""Data of a transaction that worked (nothing for one without), or NAK or STALL."""

IDLE, SETUP, DATA, ACK = 0, 1, 2, 3
"""`setup_state`: where endpoint 0 is in a control transfer."""
ATTACHED, DEFAULT = 1, 3
"""`state`: in a port, and reset; QEMU's numbers, of which it keeps the second from then on."""
BUFFER_SIZE: Final = 4096
FULL, HIGH = 1, 3
"""Speeds, by their numbers in xHCI."""
IN: Final = 0x80

GET_STATUS, CLEAR_FEATURE, SET_FEATURE, SET_ADDRESS = 0x00, 0x01, 0x03, 0x05
GET_DESCRIPTOR, GET_CONFIGURATION, SET_CONFIGURATION = 0x06, 0x08, 0x09
GET_INTERFACE, SET_INTERFACE = 0x0A, 0x0B
TO_DEVICE, TO_INTERFACE, TO_ENDPOINT = 0x00, 0x01, 0x02
REMOTE_WAKEUP, ENDPOINT_HALT = 1, 0
DEVICE, CONFIGURATION, STRING, QUALIFIER = 1, 2, 3, 6


def checked(name: str, codec: Codec, limit: int) -> View:
    """A field whose value must be 0..limit."""

    def put(owner: object, value: int) -> None:
        if not 0 <= value <= limit:
            raise ValueError(f"value must be 0..{limit}, got {value}")
        setattr(owner, name, value)

    return View(name, codec, lambda owner: getattr(owner, name), put)


def _put_addr(core: UsbCore, value: int) -> None:
    """Without our subsection, a device that has an address is taken to be configured."""
    if value > 127:
        raise ValueError(f"value must be 0..127, got {value}")
    core.addr, core.configuration = value, int(value != 0)


class UsbCore(Stateful):
    """The part that every device has.  `reply` holds the data of the control transfer."""

    vmsd = "USBDevice"
    version = 1
    minimum = 1

    extra = subsection("USBDevice/gossamer", ours=True)

    addr: int = u8()
    state: int = i32(DEFAULT)
    remote_wakeup: int = i32()
    setup_state: int = i32()
    setup_len: int = i32()
    setup_index: int = i32()
    setup_buf: bytearray = buffer(8)
    configuration: int = u8(within=extra)
    #: Halted endpoints: bit n for endpoint n, IN ones 16 higher.
    halted: int = u16(within=extra)
    in_halted: int = u16(within=extra)
    failed: bool = boolean(within=extra)
    reply: bytearray = buffer(BUFFER_SIZE, within=extra)

    layouts: ClassVar[dict[str, Layout]] = {
        "": [
            View("addr", U8, lambda core: core.addr, _put_addr),
            *("state", "remote_wakeup"),
            checked("setup_state", I32, 4),
            checked("setup_len", I32, BUFFER_SIZE),
            checked("setup_index", I32, BUFFER_SIZE),
            View(
                "setup_buf",
                Array(U8, 8),
                lambda core: list(core.setup_buf),
                lambda core, value: setattr(core, "setup_buf", bytearray(value)),
            ),
        ]
    }

    @extra.losing
    def extra_lost(self) -> Iterator[Loss]:
        if self.setup_state != IDLE or self.failed:
            yield Loss("a control transfer is under way", passes=True)
        if self.halted or self.in_halted:
            yield Loss("halted endpoints")
        if self.configuration != int(self.addr != 0):
            yield Loss("which configuration the guest has chosen")

    @extra.needed
    def extra_needed(self) -> bool:
        """In the middle of a control transfer, or set up in a way that QEMU does not send."""
        return bool(
            self.setup_state != IDLE
            or self.failed
            or self.halted
            or self.in_halted
            or self.configuration != int(self.addr != 0)
        )


class UsbFunction(Device):
    """A device on a port.

    `wakeup` is called when it has something to report while its port is suspended.  Subclasses give
    descriptors, class requests and the data of their endpoints.
    """

    SELF_POWERED = 0
    """Bit 0 of the device's status."""

    dev: UsbCore = child(UsbCore)

    wakeup: Callable[[], None] = wiring()
    #: Called when there is something for the host: a controller that does not ask all the time.
    ready: Callable[[], None] = wiring()
    #: `FULL` or `HIGH`.
    speed: int = wiring()
    #: Its port is reset by the driver alone.
    waits: bool = wiring()
    product: str = wiring()
    #: The serial number as a guest reads it.
    serial: str = wiring()

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.wakeup = self.ready = _no_port
        self.speed, self.waits = FULL, False
        self.reset()

    def reset(self) -> None:
        super().reset()
        if self.waits:
            self.attach()

    # --- what a subclass gives ----------------------------------------------------------------

    def device_descriptor(self) -> bytes:
        raise NotImplementedError

    def configuration_descriptor(self) -> bytes:
        raise NotImplementedError

    def qualifier(self) -> Answer:
        """A high-speed device at full speed."""
        return STALL

    def strings(self) -> dict[int, str]:
        raise NotImplementedError

    def interface_descriptor(self, kind: int) -> bytes | None:
        """A class descriptor of the interface."""
        return None

    def class_request(self, request_type: int, request: int, value: int, data: bytes) -> Answer:
        """Carry out a request of a class; `data` is what the host sent."""
        return STALL

    def poll(self, endpoint: int, length: int) -> Answer:
        """Data of an interrupt IN endpoint."""
        return STALL

    def attach(self) -> None:
        """Be in a port that was not reset yet."""
        self.waits, self.dev.state = True, ATTACHED

    def bus_reset(self) -> None:
        """The port was reset: default state, address 0."""
        self.dev.reset()

    def find(self, address: int) -> UsbFunction | None:
        """The device with a USB address: this one, or one that is reached through it."""
        return self if self.dev.addr == address else None

    # --- transactions -------------------------------------------------------------------------

    def setup(self, packet: bytes) -> Answer:
        """SETUP: a control transfer begins, whatever was going on."""
        d = self.dev
        if len(packet) != 8:
            return STALL
        d.setup_buf[:] = packet
        d.setup_index, d.setup_len, d.failed = 0, int.from_bytes(packet[6:8], "little"), False
        if packet[0] & IN:
            answer = self.control(b"")
            if isinstance(answer, str):
                d.failed, answer = True, b""
            answer = answer[: d.setup_len][:BUFFER_SIZE]
            d.setup_len = len(answer)
            d.reply[: len(answer)] = answer
            d.setup_state = DATA
        elif d.setup_len > BUFFER_SIZE:
            d.setup_len, d.failed, d.setup_state = 0, True, ACK
        else:
            d.setup_state = DATA if d.setup_len else ACK
        return b""

    def take(self, endpoint: int, data: bytes) -> Answer:
        """OUT: data from the host."""
        d = self.dev
        if endpoint:
            return STALL
        if d.failed:
            return self._fail()
        if d.setup_buf[0] & IN:  # status of a read; also when the host wants no more
            self._end_control()
            return b""
        if d.setup_state != DATA:
            return STALL
        taken = data[: d.setup_len - d.setup_index]
        d.reply[d.setup_index : d.setup_index + len(taken)] = taken
        d.setup_index += len(taken)
        if d.setup_index >= d.setup_len:
            d.setup_state = ACK
        return b""

    def give(self, endpoint: int, length: int) -> Answer:
        """IN: at most `length` bytes for the host."""
        d = self.dev
        if endpoint:
            if d.in_halted >> endpoint & 1 or not self.is_configured:
                return STALL
            return self.poll(endpoint, length)
        if d.failed:
            return self._fail()
        if d.setup_state == ACK and not d.setup_buf[0] & IN:
            answer = self.control(bytes(d.reply[: d.setup_len]))
            self._end_control()
            return answer if isinstance(answer, str) else b""
        if d.setup_state != DATA or not d.setup_buf[0] & IN:
            return STALL
        piece = bytes(d.reply[d.setup_index : min(d.setup_len, d.setup_index + length)])
        d.setup_index += len(piece)
        return piece

    def _fail(self) -> Answer:
        self.dev.failed = False
        self._end_control()
        return STALL

    def _end_control(self) -> None:
        """The control transfer is over; its data have no owner any more, and are in no save."""
        self.dev.setup_state = IDLE
        self.dev.reply[:] = bytes(BUFFER_SIZE)

    @property
    def is_polled(self) -> bool:
        """It may have something to say that no call of `ready` announces."""
        return False

    @property
    def is_configured(self) -> bool:
        return self.dev.configuration != 0

    # --- requests -----------------------------------------------------------------------------

    def control(self, data: bytes) -> Answer:
        """Carry out the request in `setup_buf`: data for the host, nothing, or STALL."""
        head = self.dev.setup_buf
        request_type, request = head[0], head[1]
        value = int.from_bytes(head[2:4], "little")
        index = int.from_bytes(head[4:6], "little")
        if request_type & 0x60 == 0x20:
            return self.class_request(request_type, request, value, data)
        if request_type & 0x60:
            return STALL
        to = request_type & 0x1F
        if request_type & IN:
            return self._read_request(to, request, value, index)
        return self._write_request(to, request, value, index)

    def _read_request(self, to: int, request: int, value: int, index: int) -> Answer:
        d = self.dev
        if request == GET_DESCRIPTOR:
            return self._descriptor(to, value)
        if request == GET_STATUS:
            status = 0
            if to == TO_DEVICE:
                status = self.SELF_POWERED | (2 if d.remote_wakeup else 0)
            elif to == TO_ENDPOINT:
                halted = d.in_halted if index & IN else d.halted
                status = halted >> (index & 15) & 1
            return status.to_bytes(2, "little")
        if request == GET_CONFIGURATION:
            return bytes([d.configuration])
        if request == GET_INTERFACE:
            return b"\0"
        return STALL

    def _descriptor(self, to: int, value: int) -> Answer:
        kind, number = value >> 8, value & 0xFF
        if to == TO_INTERFACE:
            found = self.interface_descriptor(kind)
            return STALL if found is None else found
        if kind == DEVICE:
            return self.device_descriptor()
        if kind == CONFIGURATION and number == 0:
            return self.configuration_descriptor()
        if kind == STRING:
            return self._string(number)
        if kind == QUALIFIER and self.speed == HIGH:
            return self.qualifier()
        return STALL

    def _string(self, number: int) -> Answer:
        if number == 0:
            return b"\x04\x03\x09\x04"
        text = self.strings().get(number)
        if text is None:
            return STALL
        encoded = text.encode("utf-16-le")
        return bytes([2 + len(encoded), STRING]) + encoded

    def _write_request(self, to: int, request: int, value: int, index: int) -> Answer:
        d = self.dev
        if request == SET_ADDRESS and value < 128:
            d.addr = value
            return b""
        if request == SET_CONFIGURATION and value <= 1:
            d.configuration, d.halted, d.in_halted = value, 0, 0
            return b""
        if request == SET_INTERFACE and value == 0:
            return b""
        if request in (SET_FEATURE, CLEAR_FEATURE):
            return self._feature(to, value, index, request == SET_FEATURE)
        return STALL

    def _feature(self, to: int, value: int, index: int, on: bool) -> Answer:
        d = self.dev
        if to == TO_DEVICE and value == REMOTE_WAKEUP:
            d.remote_wakeup = int(on)
            return b""
        if to == TO_ENDPOINT and value == ENDPOINT_HALT:
            bit = 1 << (index & 15)
            name = "in_halted" if index & IN else "halted"
            old = getattr(d, name)
            setattr(d, name, (old | bit if on else old & ~bit) & 0xFFFF)
            return b""
        return STALL


def _no_port() -> None:
    """Not on a port."""
