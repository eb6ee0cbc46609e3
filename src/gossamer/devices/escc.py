"""Zilog Z85C30 serial controller with its two channels, as mac-io maps it.

Channel A is the modem port, B the printer port.  Each has its own interrupt line.  Source: Zilog
SCC/ESCC User Manual UM0109; Linux drivers/tty/serial/pmac_zilog.c; docs page escc.md.
"""

from __future__ import annotations

from typing import Final

from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.core.faces import DATA, NO, YES, Face
from gossamer.core.irq import IrqLine
from gossamer.core.region import Region
from gossamer.devices.escc_channel import EsccChannel
from gossamer.state.declare import children, wiring

B, A = 0, 1
"""Order of the channels on the wire and in `chn`."""

# WR9
STATUS_HIGH, MASTER_ENABLE, VECTOR_STATUS = 0x10, 0x08, 0x01

NO_INTERRUPT: Final = 3
"""Status in channel B's vector when nothing is pending: as channel B special condition."""
STATUS_CODES: Final = {(B, 1): 0, (B, 0): 1, (B, 2): 2, (A, 1): 4, (A, 0): 5, (A, 2): 6}
"""(channel, condition: 0 external, 1 transmit, 2 receive) to its code in the vector."""
PRIORITY: Final = ((A, 2), (A, 1), (A, 0), (B, 2), (B, 1), (B, 0))


PORTS: Final = (0x00, 0x10, 0x20, 0x30)
LEARNED_READS: Final = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15)
LEARNED_WRITES: Final = (0, 1, 2, 3, 15)
"""Registers whose accesses are learned: no data moves, no alarm, no reset."""


class Escc(Device):
    """The chip.  `irq_a`, `irq_b`: the channels' interrupt lines."""

    vmsd = "escc"
    version = 2
    minimum = 1

    chn: list[EsccChannel] = children(EsccChannel, 2)

    irq_a: IrqLine = wiring()
    irq_b: IrqLine = wiring()

    def __init__(self, clock: Clock, irq_a: IrqLine, irq_b: IrqLine) -> None:
        super().__init__(clock)
        self.idstr = "escc"
        self.irq_a, self.irq_b = irq_a, irq_b
        self.chn = [EsccChannel(clock, self.update_irq), EsccChannel(clock, self.update_irq)]
        self.reset()

    def set_true_rate(self, on: bool) -> None:
        """Whether characters take their time, or are sent at once."""
        for channel in self.chn:
            channel.true_rate = on

    def reset(self) -> None:
        super().reset()
        self.update_irq()

    @property
    def a(self) -> EsccChannel:
        """The modem port."""
        return self.chn[A]

    @property
    def b(self) -> EsccChannel:
        """The printer port."""
        return self.chn[B]

    # --- regions ------------------------------------------------------------------------------

    def region(self) -> Region:
        """Registers 0x10 apart: B control, B data, A control, A data (mac-io 0x13000)."""
        return Region(
            "escc",
            0x1000,
            self.read_escc,
            self.write_escc,
            widths=(1,),
            learns=self._learns,
            take=lambda offset, value: self.chn[offset >> 5].sent(value),
        )

    def _learns(self, offset: int, value: int | None) -> int:
        """Whether an access is a function of the face: all but received data and resets."""
        if offset not in PORTS:
            return NO
        channel = self.chn[offset >> 5]
        if not offset & 0x10:
            return (
                NO
                if channel.reg not in (LEARNED_READS if value is None else LEARNED_WRITES)
                else YES
            )
        return DATA if value is not None and channel.passes_on else NO

    def face(self) -> Face:
        return (self.irq_a.level, self.irq_b.level, *self.chn[A].face(), *self.chn[B].face())

    def set_face(self, face: Face) -> None:
        self.irq_a.level, self.irq_b.level = face[:2]
        half = len(face) // 2 + 1
        self.a.set_face(face[2:half])
        self.b.set_face(face[half:])

    def legacy_region(self) -> Region:
        """Registers 2 apart: B control, A control, B data, A data (mac-io 0x12000)."""
        return Region("escc-legacy", 0x1000, self.read_legacy, self.write_legacy, widths=(1,))

    def read_escc(self, offset: int, _size: int) -> int:
        if offset >= 0x40:
            self.note(f"read of unknown register {offset:#x}")
            return 0
        return self._read(offset >> 5 & 1, bool(offset & 0x10))

    def write_escc(self, offset: int, _size: int, value: int) -> None:
        if offset >= 0x40:
            self.note(f"write to unknown register {offset:#x}")
        else:
            self._write(offset >> 5 & 1, bool(offset & 0x10), value)

    def read_legacy(self, offset: int, _size: int) -> int:
        if offset >= 8:
            self.note(f"read of unknown legacy register {offset:#x}")
            return 0
        return self._read(offset >> 1 & 1, bool(offset & 4))

    def write_legacy(self, offset: int, _size: int, value: int) -> None:
        if offset >= 8:
            self.note(f"write to unknown legacy register {offset:#x}")
        else:
            self._write(offset >> 1 & 1, bool(offset & 4), value)

    # --- access -------------------------------------------------------------------------------

    def _read(self, which: int, data: bool) -> int:
        channel = self.chn[which]
        if data:
            return channel.read_data()
        register, channel.reg = channel.reg, 0
        if not register:
            return channel.status()
        if register in (4, 5, 6, 7):
            register -= 4
        match register:
            case 0:
                return channel.status()
            case 2:
                return self._vector(which)
            case 3:
                return self._pending_bits() if which == A else 0
            case 8:
                return channel.read_data()
            case 9:
                return channel.wregs[13]
            case 11:
                return channel.wregs[15]
            case 12 | 13 | 15:
                return channel.wregs[register]
            case 14:
                return channel.rregs[10]
            case _:
                return channel.rregs[register]

    def _write(self, which: int, data: bool, value: int) -> None:
        channel = self.chn[which]
        if data:
            channel.write_data(value)
            return
        register = channel.reg
        command = channel.write_control(value)
        other = self.chn[1 - which]
        if register == 2:
            other.wregs[2] = channel.wregs[2]
        if command is not None:
            # WR9 is one register for both channels; its top bits are reset commands.
            other.wregs[9] = channel.wregs[9]
            self._reset_command(command >> 6)
            self.update_irq()

    def _reset_command(self, command: int) -> None:
        match command:
            case 1:
                self.b.reset_channel(hardware=False)
            case 2:
                self.a.reset_channel(hardware=False)
            case 3:
                for channel in self.chn:
                    channel.wregs[9] = channel.wregs[9] & 0x03 | 0xC0
                    channel.reset_channel(hardware=True)
            case _:
                pass

    # --- interrupts ---------------------------------------------------------------------------

    def _pending_bits(self) -> int:
        """RR3 of channel A: pending external, transmit, receive of B, then of A."""
        bits = 0
        for which in (B, A):
            for n, pending in enumerate(self.chn[which].pending):
                bits |= pending << 3 * which + n
        return bits

    def _vector(self, which: int) -> int:
        """RR2: the vector; read through channel B, with the highest pending condition in it."""
        vector = self.chn[A].wregs[2]
        if which == A:
            return vector
        code = NO_INTERRUPT
        for channel, condition in PRIORITY:
            if self.chn[channel].pending[condition]:
                code = STATUS_CODES[channel, condition]
                break
        if self.chn[A].wregs[9] & STATUS_HIGH:
            mirrored = (code & 1) << 2 | code & 2 | code >> 2
            return vector & 0x8F | mirrored << 4
        return vector & 0xF1 | code << 1

    def _level(self, which: int) -> bool:
        enabled = (self.a.wregs[9] | self.b.wregs[9]) & MASTER_ENABLE
        return bool(enabled) and self.chn[which].asks

    def update_irq(self) -> None:
        b, a = self.chn
        enabled = bool((a.wregs[9] | b.wregs[9]) & MASTER_ENABLE)
        self.irq_a.set(enabled and a.asks)
        self.irq_b.set(enabled and b.asks)

    def resume(self) -> None:
        self.irq_a.assign(self._level(A))
        self.irq_b.assign(self._level(B))
