"""A 16550A serial port.  Source: National Semiconductor PC16550D data sheet; docs page uart.md.

What is sent goes out at once; what is received comes as fast as the guest takes it.  On the wire as
QEMU 7.2 writes its `serial`: what waits to be received is `rbr`, or the FIFO where FCR has it on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.core.clock import Alarm, Clock
from gossamer.core.device import Device
from gossamer.core.irq import IrqLine
from gossamer.core.region import Region
from gossamer.state.codec import U8, U32
from gossamer.state.declare import alarm, buffer, u8, u16, u32, wiring
from gossamer.state.layout import Nested, View, subsection

FIFO: Final = 16
#: IER
RECEIVED, SENT, LINE, MODEM = 1, 2, 4, 8
#: IIR: what it names, in order of priority; bit 0: nothing.
IIR_NONE, IIR_LINE, IIR_TIMEOUT, IIR_RECEIVED, IIR_SENT, IIR_MODEM = 1, 6, 0xC, 4, 2, 0
IIR_FIFO: Final = 0xC0
#: LCR, MCR, LSR, MSR, FCR
DLAB, LOOP = 0x80, 0x10
DR, OE, THRE, TEMT = 0x01, 0x02, 0x20, 0x40
ERRORS: Final = 0x1E
MCR_OUT2, MCR_BITS = 0x08, 0x1F
CTS, DSR, RI, DCD = 0x10, 0x20, 0x40, 0x80
FCR_ON, FCR_CLEAR_IN, FCR_CLEAR_OUT, FCR_KEPT = 0x01, 0x02, 0x04, 0xC9
TRIGGERS: Final = (1, 4, 8, 14)
#: The divisor at power on is that of 9600 baud at 1.8432 MHz.
BASE_BAUD: Final = 115_200
NS: Final = 10**9


#: A FIFO as QEMU has it: its bytes, where the first one lies (0 of ours), how many there are.
_RECEIVED: Final = Nested(
    "recv_fifo",
    lambda uart: uart,
    vmsd="Fifo8",
    version=1,
    layout=[
        "fifo",
        View("head", U32, lambda uart: 0, lambda uart, head: uart.turn(head)),
        View("num", U32, lambda uart: uart.count, lambda uart, count: uart.set_count(count)),
    ],
)


class Uart16550(Device):
    """One port.  `irq`: its interrupt line; `transmit` takes the bytes that the guest sends."""

    vmsd = "serial"
    version = 3
    minimum = 3

    divider: int = u16(12)
    rbr: int = u8()
    ier: int = u8()
    iir: int = u8(IIR_NONE)
    lcr: int = u8()
    mcr: int = u8(MCR_OUT2)
    lsr: int = u8(THRE | TEMT)
    msr: int = u8(DCD | DSR | CTS)
    scr: int = u8()
    fcr: int = u8()
    layouts = {
        "": [
            Nested(
                "serial",
                lambda uart: uart,
                vmsd="serial",
                version=3,
                layout=[
                    *("divider", "rbr", "ier", "iir", "lcr", "mcr", "lsr", "msr", "scr"),
                    View("fcr_vmstate", U8, lambda u: u.fcr, lambda u, v: setattr(u, "fcr", v)),
                ],
            )
        ]
    }

    waiting = subsection("serial/thr_ipending")
    #: THR became empty, which has not been reported.
    thr_ipending: int = u32(within=waiting)
    received = subsection("serial/recv_fifo", layout=[_RECEIVED])
    fifo: bytearray = buffer(FIFO, within=received, wire="data")
    count: int = u32(within=received)
    late = subsection("serial/fifo_timeout_timer")
    timeout: Alarm = alarm("_timed_out", within=late, wire="fifo_timeout_timer")
    pending = subsection("serial/timeout_ipending")
    timeout_ipending: int = u32(within=pending)

    irq: IrqLine = wiring()
    transmit: Callable[[bytes], None] = wiring()

    def __init__(self, clock: Clock, irq: IrqLine) -> None:
        super().__init__(clock)
        self.idstr = "serial"
        self.irq, self.transmit = irq, _nothing
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.update_irq()

    # --- what is on the wire ----------------------------------------------------------------------

    @waiting.needed
    def waiting_needed(self) -> bool:
        return self.thr_ipending != (self.iir & 0xF == IIR_SENT)

    @received.needed
    def received_needed(self) -> bool:
        return self.count > 0

    @late.needed
    def late_needed(self) -> bool:
        return self.timeout.armed

    @pending.needed
    def pending_needed(self) -> bool:
        return bool(self.timeout_ipending)

    def turn(self, head: int) -> None:
        """A FIFO of QEMU's begins at byte `head`; ours at the first."""
        head %= FIFO
        self.fifo = self.fifo[head:] + self.fifo[:head]

    def set_count(self, count: int) -> None:
        if count > FIFO:
            raise ValueError(f"a FIFO of {FIFO} bytes holds {count}")
        self.count = count

    # --- the outside ------------------------------------------------------------------------------

    def region(self) -> Region:
        return Region("serial", 8, self.read, self.write, widths=(1,))

    def room(self) -> int:
        """Bytes that `receive` takes now."""
        if self.mcr & LOOP:
            return 0
        if self.fcr & FCR_ON:
            return FIFO - self.count
        return 0 if self.lsr & DR else 1

    def receive(self, byte: int) -> None:
        if self.fcr & FCR_ON:
            if self.count == FIFO:
                self.lsr |= OE
            else:
                self.fifo[self.count] = byte
                self.count += 1
            self._count_on()
        else:
            if self.lsr & DR:
                self.lsr |= OE
            self.rbr = byte
        self.lsr |= DR
        self.update_irq()

    def _count_on(self) -> None:
        """Bytes that are not taken are reported after the time of four."""
        self.timeout.set(self.clock.now + 4 * self._character_ns)

    @property
    def _character_ns(self) -> int:
        bits = 2 + (self.lcr & 3) + 5 + (self.lcr >> 3 & 1) + (self.lcr >> 2 & 1)
        return max(bits * (self.divider or 1) * NS // BASE_BAUD, 1)

    def _timed_out(self) -> None:
        if self.count:
            self.timeout_ipending = 1
            self.update_irq()

    # --- registers --------------------------------------------------------------------------------

    def read(self, offset: int, _size: int) -> int:
        if offset == 0:
            return self.divider & 0xFF if self.lcr & DLAB else self._take()
        if offset == 1:
            return self.divider >> 8 if self.lcr & DLAB else self.ier
        if offset == 2:
            value = self.iir
            if value & 0xF == IIR_SENT:
                self.thr_ipending = 0
                self.update_irq()
            return value
        if offset == 5:
            value = self.lsr
            self.lsr &= ~ERRORS
            self.update_irq()
            return value
        if offset == 6:
            if self.mcr & LOOP:
                m = self.mcr
                return (m & 0xC) << 4 | (m & 2) << 3 | (m & 1) << 5
            value = self.msr
            self.msr &= 0xF0
            self.update_irq()
            return value
        return (self.lcr, self.mcr, 0, 0, self.scr)[offset - 3]

    def _take(self) -> int:
        """The oldest byte received."""
        if self.fcr & FCR_ON:
            value = self.fifo[0] if self.count else 0
            if self.count:
                self.fifo = self.fifo[1:] + b"\0"
                self.count -= 1
            if self.count:
                self._count_on()
            else:
                self.timeout.cancel()
                self.lsr &= ~DR
            self.timeout_ipending = 0
        else:
            value = self.rbr
            self.lsr &= ~DR
        self.update_irq()
        return value

    def write(self, offset: int, _size: int, value: int) -> None:
        value &= 0xFF
        if offset == 0:
            if self.lcr & DLAB:
                self.divider = self.divider & 0xFF00 | value
            else:
                self._send(value)
        elif offset == 1:
            if self.lcr & DLAB:
                self.divider = self.divider & 0xFF | value << 8
            else:
                rising = value & ~self.ier
                self.ier = value & 0xF
                if rising & SENT and self.lsr & THRE:
                    self.thr_ipending = 1
        elif offset == 2:
            self._write_fcr(value)
        elif offset == 3:
            self.lcr = value
        elif offset == 4:
            self.mcr = value & MCR_BITS
        elif offset == 7:
            self.scr = value
        self.update_irq()

    def _send(self, value: int) -> None:
        self.thr_ipending = 1
        if self.mcr & LOOP:
            self.receive(value)
        else:
            self.transmit(bytes((value & 0xFF,)))

    def _write_fcr(self, value: int) -> None:
        if (value ^ self.fcr) & FCR_ON:
            value |= FCR_CLEAR_IN | FCR_CLEAR_OUT
        if value & FCR_CLEAR_IN:
            self.lsr &= ~(DR | ERRORS)
            self.timeout.cancel()
            self.timeout_ipending = self.count = 0
            self.fifo = bytearray(FIFO)
        if value & FCR_CLEAR_OUT:
            self.thr_ipending = 1
        self.fcr = value & FCR_KEPT

    # --- interrupts -------------------------------------------------------------------------------

    def _asks(self) -> int:
        """What IIR names."""
        if self.ier & LINE and self.lsr & ERRORS:
            return IIR_LINE
        if self.ier & RECEIVED and self.timeout_ipending:
            return IIR_TIMEOUT
        enough = not self.fcr & FCR_ON or self.count >= TRIGGERS[self.fcr >> 6]
        if self.ier & RECEIVED and self.lsr & DR and enough:
            return IIR_RECEIVED
        if self.ier & SENT and self.thr_ipending:
            return IIR_SENT
        if self.ier & MODEM and self.msr & 0xF:
            return IIR_MODEM
        return IIR_NONE

    def update_irq(self) -> None:
        asks = self._asks()
        self.iir = asks | (IIR_FIFO if self.fcr & FCR_ON else 0)
        self.irq.set(asks != IIR_NONE)

    def post_load(self, version: int) -> None:
        """A sender says what was not reported only where IIR does not."""
        if self.iir & 0xF == IIR_SENT:
            self.thr_ipending = 1

    def resume(self) -> None:
        self.irq.assign(self.iir & 1 == 0)


def _nothing(data: bytes) -> None:
    """No listener is connected."""
