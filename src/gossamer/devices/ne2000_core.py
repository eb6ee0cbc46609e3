"""NE2000: National DP8390 Ethernet controller with 32 KiB of buffer memory behind a data port.

Source: National Semiconductor DP8390D datasheet (registers, receive ring, filters); Realtek
RTL8029AS datasheet (identification, page 3); behaviour of QEMU 7.2's part: docs/chips/ne2000.md.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Callable
from typing import ClassVar, Final

from gossamer.core.clock import Alarm, Clock
from gossamer.state.codec import Unused
from gossamer.state.declare import Stateful, alarm, buffer, u8, u16, u32, wiring
from gossamer.state.layout import Constant, Layout, Loss, subsection

MEMORY_SIZE: Final = 0xC000
MEMORY_START: Final = 0x4000
PROM_SIZE: Final = 32
DATA_PORT: Final = 0x10
RESET_PORT: Final = 0x1F

# Command register.
STOP: Final = 0x01
TRANSMIT: Final = 0x04
REMOTE_READ: Final = 0x08
REMOTE_WRITE: Final = 0x10
# Interrupt status.
RECEIVED: Final = 0x01
TRANSMITTED: Final = 0x02
OVERWRITTEN: Final = 0x10
REMOTE_DONE: Final = 0x40
RESETTING: Final = 0x80
# Data configuration.
WORDS: Final = 0x01
# Receive configuration.
BROADCAST: Final = 0x04
MULTICAST: Final = 0x08
PROMISCUOUS: Final = 0x10

MIN_FRAME: Final = 60
MAX_FRAME: Final = 1514
BURST: Final = 8
BYTE_NS: Final = 800
"""A byte at 10 Mbit/s."""
OVERHEAD: Final = 8 + 4 + 12
"""Preamble, checksum and gap, in bytes."""


class Ne2000Core(Stateful):
    """The controller.  `send` takes a frame put on the wire; `update_irq` drives the interrupt."""

    vmsd = "ne2000"
    version = minimum = 2
    layouts: ClassVar[dict[str, Layout]] = {
        "": [
            "rxcr", "cmd", "start", "stop", "boundary", "tsr", "tpsr", "tcnt", "rcnt", "rsar",
            "rsr", "isr", "dcfg", "imr", "phys", "curpag", "mult",
            Constant("unused", Unused(4)), "mem",
        ]
    }  # fmt: skip

    wire = subsection(
        "ne2000/gossamer", ours=True, lost=Loss("a frame is on its way out", passes=True)
    )

    rxcr = u8()
    cmd = u8()
    start = u32()
    stop = u32()
    boundary = u8()
    tsr = u8()
    tpsr = u8()
    tcnt = u16()
    rcnt = u16()
    rsar = u32()
    rsr = u8()
    isr = u8(RESETTING)
    dcfg = u8()
    imr = u8()
    phys = buffer(6)
    curpag = u8()
    mult = buffer(8)
    mem = buffer(MEMORY_SIZE)
    sent: Alarm = alarm("_transmitted", within=wire)
    clock: Clock = wiring()
    mac: bytes = wiring()
    send: Callable[[bytes], None] = wiring()
    update_irq: Callable[[], None] = wiring()
    note: Callable[[str], None] = wiring()

    @wire.needed
    def wire_needed(self) -> bool:
        """While a frame is on its way out."""
        return self.sent.armed

    def __init__(
        self,
        clock: Clock,
        mac: bytes,
        send: Callable[[bytes], None],
        update_irq: Callable[[], None],
        note: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.clock, self.mac, self.send = clock, mac, send
        self.update_irq, self.note = update_irq, note
        self.reset()

    def reset(self) -> None:
        """Power on: memory clear, the address PROM filled (each byte twice, 0x57 at the end)."""
        super().reset()
        for n, byte in enumerate(self.mac.ljust(14, b"\0") + b"\x57\x57"):
            self.mem[2 * n] = self.mem[2 * n + 1] = byte

    @property
    def interrupt(self) -> bool:
        return bool(self.isr & self.imr & 0x7F)

    @property
    def can_receive(self) -> bool:
        return not self.cmd & STOP and self.stop > self.start

    # --- registers --------------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        if offset == DATA_PORT:
            return self._read_data(size)
        if offset == RESET_PORT and size == 1:
            self._soft_reset()
            return 0
        if offset >= DATA_PORT or size != 1:
            return (1 << 8 * size) - 1
        if offset == 0:
            return self.cmd
        return (self._page0, self._page1, self._page2, self._page3)[self.cmd >> 6](offset)

    def _page0(self, offset: int) -> int:
        return {
            3: self.boundary, 4: self.tsr, 7: self.isr, 8: self.rsar & 0xFF,
            9: self.rsar >> 8 & 0xFF, 0xA: 0x50, 0xB: 0x43, 0xC: self.rsr,
        }.get(offset, 0)  # fmt: skip

    def _page1(self, offset: int) -> int:
        if offset < 7:
            return self.phys[offset - 1]
        return self.curpag if offset == 7 else self.mult[offset - 8]

    def _page2(self, offset: int) -> int:
        return {1: self.start >> 8 & 0xFF, 2: self.stop >> 8 & 0xFF}.get(offset, 0)

    def _page3(self, offset: int) -> int:
        """CONFIG2 and CONFIG3: no boot ROM, full duplex."""
        return 0x40 if offset in (5, 6) else 0

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == DATA_PORT:
            self._write_data(size, value)
        elif offset == RESET_PORT:
            self._soft_reset()
        elif offset > DATA_PORT or size != 1:
            self.note(f"write of {size} bytes at {offset:#x}")
        elif offset == 0:
            self._command(value)
        elif self.cmd >> 6 == 0:
            self._write_page0(offset, value)
        elif self.cmd >> 6 == 1:
            if offset < 7:
                self.phys[offset - 1] = value
            elif offset > 7:
                self.mult[offset - 8] = value
            elif value << 8 <= MEMORY_SIZE:
                self.curpag = value

    def _write_page0(self, offset: int, value: int) -> None:
        match offset:
            case 1 if value << 8 <= MEMORY_SIZE:
                self.start = value << 8
            case 2 if value << 8 <= MEMORY_SIZE:
                self.stop = value << 8
            case 3 if value << 8 <= MEMORY_SIZE:
                self.boundary = value
            case 4:
                self.tpsr = value
            case 5:
                self.tcnt = self.tcnt & 0xFF00 | value
            case 6:
                self.tcnt = self.tcnt & 0x00FF | value << 8
            case 7:
                self.isr &= ~(value & 0x7F)
            case 8:
                self.rsar = self.rsar & 0xFF00 | value
            case 9:
                self.rsar = self.rsar & 0x00FF | value << 8
            case 0xA:
                self.rcnt = self.rcnt & 0xFF00 | value
            case 0xB:
                self.rcnt = self.rcnt & 0x00FF | value << 8
            case 0xC:
                self.rxcr = value
            case 0xE:
                self.dcfg = value
            case 0xF:
                self.imr = value
        self.update_irq()

    def _command(self, value: int) -> None:
        sending = self.sent.armed
        self.cmd = value | (TRANSMIT if sending else 0)
        if value & STOP:
            return
        self.isr &= ~RESETTING
        if value & (REMOTE_READ | REMOTE_WRITE) and self.rcnt == 0:
            self.isr |= REMOTE_DONE
        if value & TRANSMIT and not sending:
            length = max(self.tcnt, MIN_FRAME) + OVERHEAD
            self.sent.set(self.clock.now + length * BYTE_NS)
        self.update_irq()

    def _soft_reset(self) -> None:
        """The reset port: interrupt status alone, as QEMU has it; a frame going out is dropped."""
        self.isr = RESETTING
        self.cmd &= ~TRANSMIT
        self.sent.cancel()
        self.update_irq()

    # --- remote DMA -------------------------------------------------------------------------------

    def _read_data(self, size: int) -> int:
        if not self.dcfg & WORDS and size == 2:
            size = 1
        value = 0
        at = self.rsar & ~1 if size > 1 else self.rsar
        for n in range(size):
            value |= self._byte(at + n) << 8 * n
        self._step(2 if size == 1 and self.dcfg & WORDS else size)
        return value

    def _byte(self, at: int) -> int:
        there = at < PROM_SIZE or MEMORY_START <= at < MEMORY_SIZE
        return self.mem[at] if there else 0xFF

    def _write_data(self, size: int, value: int) -> None:
        if self.rcnt == 0:
            return
        if not self.dcfg & WORDS and size == 2:
            size = 1
        elif self.dcfg & WORDS and size == 1:
            size = 2
        at = self.rsar & ~1 if size > 1 else self.rsar
        for n in range(size):
            if at + n < PROM_SIZE or MEMORY_START <= at + n < MEMORY_SIZE:
                self.mem[at + n] = value >> 8 * n & 0xFF
        self._step(size)

    def _step(self, size: int) -> None:
        """Move the remote address on; the last byte raises remote DMA complete."""
        self.rsar = self.rsar + size & 0xFFFF_FFFF  # 32 bits, as QEMU's
        if self.rsar == self.stop:
            self.rsar = self.start
        self.rcnt = max(self.rcnt - size, 0)
        if self.rcnt == 0:
            self.isr |= REMOTE_DONE
            self.update_irq()

    # --- the wire ---------------------------------------------------------------------------------

    def _transmitted(self) -> None:
        """The last bit has left."""
        at = self.tpsr << 8
        if at >= MEMORY_SIZE:
            at -= MEMORY_SIZE - MEMORY_START
        if at >= MEMORY_START and at + self.tcnt <= MEMORY_SIZE:
            self.send(bytes(self.mem[at : at + self.tcnt]))
        else:
            self.note("transmit from outside the memory")
        self.tsr, self.cmd = 0x01, self.cmd & ~TRANSMIT
        self.isr |= TRANSMITTED
        self.update_irq()

    def receive(self, frame: bytes) -> bool:
        """A frame (no checksum) arrives; whether it went into the ring or was filtered out."""
        if not self.can_receive or len(frame) > MAX_FRAME:
            return False
        if not self._wanted(frame[:6]):
            return True
        frame = frame.ljust(MIN_FRAME, b"\0")
        at, total = self.curpag << 8, len(frame) + 4
        pages = (total + 4 + 0xFF) >> 8
        after = at + (pages << 8)
        if after >= self.stop:
            after -= self.stop - self.start
        if not self._has_room(at, pages):
            self.isr |= OVERWRITTEN
            self.update_irq()
            return False
        self.rsr = 0x01 | (0x20 if frame[0] & 1 else 0)
        header = bytes((self.rsr, after >> 8 & 0xFF)) + total.to_bytes(2, "little")
        self._put(at, header + frame)
        self.curpag = after >> 8 & 0xFF
        self.isr |= RECEIVED
        self.update_irq()
        return True

    def _put(self, at: int, data: bytes) -> None:
        """Write into the ring; what is outside of the memory is dropped."""
        while data:
            end = self.stop if at < self.stop else MEMORY_SIZE + len(data)
            part, data = data[: end - at], data[end - at :]
            first, last = max(at, MEMORY_START), min(at + len(part), MEMORY_SIZE)
            if first < last:
                self.mem[first:last] = part[first - at : last - at]
            at = self.start

    def room(self, length: int) -> bool:
        """Whether a frame of that length could be taken now, or is none that is taken at all."""
        if length > MAX_FRAME:
            return True
        pages = (max(length, MIN_FRAME) + 4 + 4 + 0xFF) >> 8
        return self.can_receive and self._has_room(self.curpag << 8, pages)

    @property
    def burst(self) -> int:
        """How many frames should be given at once, now.

        None more before those that came are acknowledged: drivers do that at the end of their
        loop, after so many frames at the most (Linux' ei_receive: nine), for all that has come; of
        one that they have not seen they would learn by the next frame, which a sender whose window
        is full never sends.  A driver that polls, with the interrupt masked, empties the ring.
        """
        if not self.isr & RECEIVED:
            return BURST
        ring = max(self.stop - self.start >> 8, 1)
        all_read = (self.curpag - self.boundary) % ring in (0, 1)
        return BURST if all_read and not self.imr & RECEIVED else 0

    def _has_room(self, at: int, pages: int) -> bool:
        """Whether `pages` fit between the page being written and the boundary page.

        One stays unused: a full ring whose pages met would look like an empty one, and the next
        frame would go over what the driver has not read.  The chip stops there, too (DP8390D,
        "Buffer Ring Overflow"); QEMU 7.2 goes on.
        """
        ring = self.stop - self.start
        free = ((self.boundary << 8) - at - 1) % ring + 1
        return free > pages << 8

    def _wanted(self, to: bytes) -> bool:
        if self.rxcr & PROMISCUOUS:
            return True
        if to == b"\xff" * 6:
            return bool(self.rxcr & BROADCAST)
        if to[0] & 1:
            return bool(self.rxcr & MULTICAST) and self._hashed(to)
        return to.startswith(bytes(self.phys))

    def _hashed(self, to: bytes) -> bool:
        """Top six bits of the checksum, most significant bit first, choose a bit of `mult`."""
        reflected = ~crc32(to) & 0xFFFF_FFFF
        top = int(f"{reflected & 0x3F:06b}"[::-1], 2)
        return bool(self.mult[top >> 3] >> (top & 7) & 1)
