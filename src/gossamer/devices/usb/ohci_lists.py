"""Endpoint and transfer descriptors: what an OHCI controller does with a frame's time.

Descriptors are little-endian words in memory.  Transactions of a frame are carried out at its
start, as many as fit into it; their transfer descriptors reach the done queue at its end.
Source: OpenHCI 1.0a, chapters 4 and 6; docs page ohci.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gossamer.base.data import Data
from gossamer.devices.usb.device import NAK, STALL, Answer, UsbFunction

if TYPE_CHECKING:
    from gossamer.devices.usb.ohci import OhciCore

FRAME_BYTES: Final = 1500
"""Bytes of 12 Mb/s in a frame."""
OVERHEAD: Final = 13
"""Tokens, handshakes and gaps of a full-speed transaction, in bytes (USB 1.1 5.11.3)."""
VISIT: Final = 4
"""Cost of looking at an endpoint descriptor (estimate: one burst of four words)."""

# Endpoint descriptor.
SKIP, ISOCHRONOUS = 1 << 14, 1 << 15
ISOCHRONOUS_ENABLED: Final = 0x08
"""HcControl: IE."""
HALTED, CARRY = 1, 2
ADDRESS_MASK: Final = 0xFFFF_FFF0
# Transfer descriptor.
ROUNDING: Final = 1 << 18
SETUP_PID, OUT_PID, IN_PID = 0, 1, 2
TOGGLE_OWN: Final = 1 << 25
# Condition codes.
NO_ERROR, STALLED, NO_RESPONSE, DATA_OVERRUN, DATA_UNDERRUN = 0, 4, 5, 8, 9


class Endpoint(Data, frozen=False):
    """An endpoint descriptor as read from memory at real address `at`."""

    at: int
    control: int
    tail: int
    head: int
    next: int

    @property
    def address(self) -> int:
        return self.control & 0x7F

    @property
    def number(self) -> int:
        return self.control >> 7 & 15

    @property
    def direction(self) -> int:
        """1 OUT, 2 IN, else the transfer descriptor says."""
        return self.control >> 11 & 3

    @property
    def packet(self) -> int:
        return self.control >> 16 & 0x7FF

    @property
    def transfer(self) -> int:
        """Address of the first transfer descriptor."""
        return self.head & ADDRESS_MASK

    @property
    def ready(self) -> bool:
        idle = self.head & HALTED or self.control & SKIP
        return not idle and self.transfer != self.tail & ADDRESS_MASK


class Transfer(Data, frozen=False):
    """A general transfer descriptor as read from memory at real address `at`."""

    at: int
    control: int
    buffer: int
    next: int
    end: int

    @property
    def left(self) -> int:
        """Bytes of the buffer that remain; at most two pages."""
        if not self.buffer:
            return 0
        if (self.buffer ^ self.end) & 0xFFFF_F000:
            return 0x1000 - (self.buffer & 0xFFF) + (self.end & 0xFFF) + 1
        return max((self.end & 0xFFF) - (self.buffer & 0xFFF) + 1, 0)

    def advance(self, count: int) -> None:
        """Move the buffer pointer behind `count` bytes; 0 when the buffer is used up."""
        if count >= self.left:
            self.buffer = 0
            return
        moved = self.buffer + count
        if (moved ^ self.buffer) & 0xFFFF_F000:
            moved = self.end & 0xFFFF_F000 | moved & 0xFFF
        self.buffer = moved


def read_words(core: OhciCore, at: int, count: int) -> list[int]:
    raw = core.dma_read(at, 4 * count)
    return [int.from_bytes(raw[n : n + 4], "little") for n in range(0, 4 * count, 4)]


def write_words(core: OhciCore, at: int, words: list[int]) -> None:
    core.dma_write(at, b"".join((w & 0xFFFF_FFFF).to_bytes(4, "little") for w in words))


def read_endpoint(core: OhciCore, at: int) -> Endpoint:
    return Endpoint(at, *read_words(core, at & ADDRESS_MASK, 4))


# --- a frame --------------------------------------------------------------------------------------


class Frame:
    """One frame's time: `left` bytes of bus time remain."""

    def __init__(self, core: OhciCore) -> None:
        self.core = core
        self.left = FRAME_BYTES

    def periodic(self, head: int) -> None:
        """The list of interrupt endpoints of this frame: each is tried once."""
        at = head & ADDRESS_MASK
        while at and self.left > 0:
            e = read_endpoint(self.core, at)
            self.left -= VISIT
            if e.ready:
                if not e.control & ISOCHRONOUS:
                    self.serve(e)
                elif self.core.ctl & ISOCHRONOUS_ENABLED:
                    self._isochronous(e)
                else:
                    break  # isochronous endpoints end the list
            at = e.next & ADDRESS_MASK

    def asynchronous(self, start: int, limit: int) -> tuple[int, bool, bool]:
        """Go on with a control or bulk list from `start`, serving at most `limit` endpoints.

        (where to go on, whether anything was ready, whether anything moved).
        """
        at, busy, moved = start & ADDRESS_MASK, False, False
        while at and limit and self.left > 0:
            e = read_endpoint(self.core, at)
            self.left -= VISIT
            if e.ready:
                busy = True
                moved = self.serve(e) or moved
                limit -= 1
            at = e.next & ADDRESS_MASK
        return at, busy, moved

    def _isochronous(self, e: Endpoint) -> None:
        """This frame's packet of the endpoint's first isochronous transfer.

        No device of these machines has such an endpoint: IN has no answer, OUT is not answered
        and so cannot fail.
        """
        core = self.core
        control, page, following, end = read_words(core, e.transfer, 4)
        passed, last = core.frame_number - control & 0xFFFF, control >> 24 & 7
        self.left -= OVERHEAD
        if passed & 0x8000:
            return  # its first frame is still to come
        if passed <= last:
            code = NO_RESPONSE if e.direction == IN_PID else NO_ERROR
            core.dma_write(e.transfer + 16 + 2 * passed, (code << 12).to_bytes(2, "little"))
        if passed >= last:
            t = Transfer(e.transfer, control, page, following, end)
            code = DATA_OVERRUN if passed > last else NO_ERROR
            t.control = control & 0x0FFF_FFFF | code << 28
            e.head = following & ADDRESS_MASK | e.head & CARRY
            write_words(core, t.at, [t.control, page, core.done])
            write_words(core, e.at + 8, [e.head])
            core.retired(t.at, control >> 21 & 7)

    def serve(self, e: Endpoint) -> bool:
        """One transaction of the endpoint's first transfer; whether it moved on."""
        core = self.core
        t = Transfer(e.transfer, *read_words(core, e.transfer, 4))
        pid = {1: OUT_PID, 2: IN_PID}.get(e.direction, t.control >> 19 & 3)
        size = min(t.left, e.packet)
        self.left -= size + OVERHEAD
        device = core.device_at(e.address)
        data = core.dma_buffer(t, size) if pid != IN_PID else b""
        answer = _transact(device, pid, e.number, data, size)
        if answer == NAK:
            return False
        if answer is None:
            return self._no_response(e, t)
        if answer == STALL:
            self._retire(e, t, STALLED)
            return True
        assert isinstance(answer, bytes)
        self._moved(e, t, pid, size, answer)
        return True

    def _moved(self, e: Endpoint, t: Transfer, pid: int, size: int, answer: bytes) -> None:
        """The transaction was acknowledged: move data, toggle, and retire what is complete."""
        core, left = self.core, t.left
        done = size
        if pid == IN_PID:
            done = min(len(answer), size)
            core.dma_scatter(t, answer[:done])
        toggle = (t.control >> 24 & 1 if t.control & TOGGLE_OWN else e.head >> 1 & 1) ^ 1
        t.control = t.control & ~(0xF << 24) | TOGGLE_OWN | toggle << 24
        t.advance(done)
        if pid == IN_PID and len(answer) > size:
            self._retire(e, t, DATA_OVERRUN)
        elif done == left:
            self._retire(e, t, NO_ERROR)
        elif done < e.packet:
            short = NO_ERROR if t.control & ROUNDING else DATA_UNDERRUN
            self._retire(e, t, short)
        else:
            write_words(core, t.at, [t.control, t.buffer])

    def _no_response(self, e: Endpoint, t: Transfer) -> bool:
        """No device answered: three times in a row are an error."""
        errors = (t.control >> 26 & 3) + 1
        t.control = t.control & ~(3 << 26) | min(errors, 3) << 26
        if errors >= 3:
            self._retire(e, t, NO_RESPONSE)
            return True
        write_words(self.core, t.at, [t.control])
        return False

    def _retire(self, e: Endpoint, t: Transfer, code: int) -> None:
        """Take the transfer off the endpoint and put it on the done queue."""
        core = self.core
        carry = CARRY if t.control >> 24 & 1 and t.control & TOGGLE_OWN else 0
        if not t.control & TOGGLE_OWN:
            carry = e.head & CARRY
        if code != NO_RESPONSE:
            t.control &= ~(3 << 26)
        t.control = t.control & 0x0FFF_FFFF | code << 28
        e.head = t.next & ADDRESS_MASK | carry | (HALTED if code else 0)
        write_words(core, t.at, [t.control, t.buffer, core.done])
        write_words(core, e.at + 8, [e.head])
        core.retired(t.at, 0 if code else t.control >> 21 & 7)


def _transact(
    device: UsbFunction | None, pid: int, endpoint: int, data: bytes, size: int
) -> Answer | None:
    """One transaction on the bus; None when no device answers."""
    if device is None:
        return None
    if pid == IN_PID:
        return device.give(endpoint, size)
    if pid == OUT_PID:
        return device.take(endpoint, data)
    return device.setup(data) if pid == SETUP_PID else None
