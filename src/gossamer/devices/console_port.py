"""The bare machine's console: a byte port with a status register and an exit register.

| offset | read | write |
| --- | --- | --- |
| 0x0 | next byte typed, or 0 | a byte to the console |
| 0x4 | status: bit 0 (weight 1) a byte is waiting, bit 1 (weight 2) room to write | |
| 0x8 | | end the program with this exit status |
| 0xc | virtual time, seconds since the start | |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.base.units import NS_PER_S
from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.core.irq import IrqLine
from gossamer.core.region import Region
from gossamer.state.declare import buffer, u8, u32, wiring

FIFO: Final = 16
RX_READY: Final = 1
TX_READY: Final = 2


class ConsolePort(Device):
    """Sixteen bytes of input; output is taken at once.  `irq` is high while a byte is waiting."""

    vmsd = "gossamer-console"
    version = 1
    minimum = 1

    fifo: bytearray = buffer(FIFO)
    count: int = u8()
    exit_status: int = u32()
    exited: int = u8()
    irq: IrqLine = wiring()
    transmit: Callable[[bytes], None] = wiring()
    power_off: Callable[[], None] = wiring()

    def __init__(self, clock: Clock, irq: IrqLine) -> None:
        super().__init__(clock)
        self.idstr = "gossamer-console"
        self.irq = irq
        self.transmit = lambda data: None
        self.power_off = lambda: None
        self.reset()

    def region(self) -> Region:
        return Region("console", 0x1000, self.read, self.write)

    def room(self) -> int:
        """Bytes that `receive` takes now."""
        return FIFO - self.count

    def receive(self, byte: int) -> None:
        """A byte typed by the user."""
        if self.count < FIFO:
            self.fifo[self.count] = byte
            self.count += 1
            self.update_irq()

    def read(self, offset: int, size: int) -> int:
        if offset == 0 and self.count:
            byte = self.fifo[0]
            self.fifo[:-1] = self.fifo[1:]
            self.fifo[-1] = 0
            self.count -= 1
            self.update_irq()
            return byte
        if offset == 4:
            return TX_READY | (RX_READY if self.count else 0)
        if offset == 0xC:
            return self.clock.now // NS_PER_S & 0xFFFF_FFFF
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == 0:
            self.transmit(bytes((value & 0xFF,)))
        elif offset == 8:
            self.exit_status, self.exited = value & 0xFFFF_FFFF, 1
            self.power_off()
        else:
            self.note(f"write {value:#x} to {offset:#x}")

    def post_load(self, version: int) -> None:
        self.count = min(self.count, FIFO)

    def update_irq(self) -> None:
        self.irq.set(self.count > 0)

    def resume(self) -> None:
        self.irq.assign(self.count > 0)
