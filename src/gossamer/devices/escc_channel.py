"""One channel of a Zilog Z85C30: asynchronous receiver and transmitter, and its registers.

The receiver has a FIFO of three characters; the transmitter a buffer and a shift register, which
sends at once or, with `true_rate`, takes the time of its bits at the programmed rate.  Register
names and bits: Zilog SCC/ESCC User Manual UM0109, chapters 4 and 5; docs page escc.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any, ClassVar, Final

from gossamer.base.units import NS_PER_S
from gossamer.core.clock import Alarm, Clock
from gossamer.core.faces import Face
from gossamer.state.codec import U32, Buffer
from gossamer.state.declare import Stateful, alarm, boolean, buffer, u8, u32, wiring
from gossamer.state.layout import Layout, Loss, View, subsection

RTXC_HZ: Final = 3_686_400
"""The clock at the RTxC pin of a Mac."""
FIFO: Final = 3

# RR0
RX_AVAILABLE, TX_EMPTY, DCD, CTS, TX_UNDERRUN, BREAK = 0x01, 0x04, 0x08, 0x20, 0x40, 0x80
# RR1
ALL_SENT, RESIDUE, PARITY_ERROR, OVERRUN, FRAMING_ERROR = 0x01, 0x06, 0x10, 0x20, 0x40
ERRORS: Final = PARITY_ERROR | OVERRUN | FRAMING_ERROR
# WR1
EXT_ENABLE, TX_ENABLE_INT, PARITY_SPECIAL, RX_MODE = 0x01, 0x02, 0x04, 0x18
RX_FIRST, RX_ALL, RX_SPECIAL = 0x08, 0x10, 0x18
RX_ENABLE: Final = 0x01
"""WR3."""
TX_ENABLE: Final = 0x08
"""WR5."""
BRG_ENABLE, AUTO_ECHO, LOOPBACK = 0x01, 0x08, 0x10
"""WR14."""
EXT_SOURCES: Final = DCD | CTS | TX_UNDERRUN | BREAK
"""RR0 bits that WR15 may let interrupt (same bit numbers)."""

CLOCK_MODE: Final = (1, 16, 32, 64)
"""WR4 bits 7..6: clocks a bit."""
DATA_BITS: Final = (5, 7, 6, 8)
"""WR5 bits 6..5."""
STOP_HALVES: Final = (2, 2, 3, 4)
"""WR4 bits 3..2: stop bits in halves (0: synchronous, none; taken as one)."""

HARD_RESET: Final = {0: 0x00, 1: 0x00, 3: 0x00, 4: 0x04, 5: 0x00, 10: 0x00, 11: 0x08, 15: 0xF8}


FACE: Final = (
    *("reg", "rxint", "txint", "rxint_under_svc", "txint_under_svc", "rx", "tx_shift"),
    *("rx_count", "rx_next", "ext_pending", "ext_status"),
)
_face: Final = attrgetter(*FACE)
FACE_BYTES: Final = ("wregs", "rregs", "rx_fifo", "rx_errors")


def _put_rregs(channel: Any, value: bytearray) -> None:  # noqa: ANN401 - an EsccChannel
    """RR0 to RR15 as QEMU sends them; it keeps at most the character at the FIFO's front."""
    channel.rregs = value
    channel.rx_count = value[0] & RX_AVAILABLE
    channel.rx_fifo[0] = channel.rx if channel.rx_count else 0


class EsccChannel(Stateful):
    """Registers and data path of one channel.

    `transmit` takes each character when its last bit has left; `changed` notifies the chip that an
    interrupt condition may have changed; `receive_ready` that there is room for a character again.
    """

    vmsd = "escc_chn"
    version = 2
    minimum = 2

    extra = subsection("escc_chn/gossamer", ours=True)

    #: The register that the next access to the control port reaches.
    reg: int = u32()
    rxint: int = u32()
    txint: int = u32()
    rxint_under_svc: int = u32()
    txint_under_svc: int = u32()
    rx: int = u8()
    tx: int = u8()
    wregs: bytearray = buffer(16)
    rregs: bytearray = buffer(16)
    tx_timer: Alarm = alarm("_sent", within=extra)
    tx_shift: int = u8(within=extra)
    rx_fifo: bytearray = buffer(FIFO, within=extra)
    rx_errors: bytearray = buffer(FIFO, within=extra)
    rx_count: int = u8(within=extra)
    #: The next character interrupts, in the mode "first character".
    rx_next: bool = boolean(True, within=extra)
    #: An external/status interrupt is pending; `ext_status` is RR0 as it was latched.
    ext_pending: bool = boolean(within=extra)
    ext_status: int = u8(within=extra)

    clock: Clock = wiring()
    #: Whether a character takes its time (``-global escc.true-rate=on``).
    true_rate: bool = wiring()
    transmit: Callable[[bytes], None] = wiring()
    changed: Callable[[], None] = wiring()
    receive_ready: Callable[[], None] = wiring()

    layouts: ClassVar[dict[str, Layout]] = {
        "": [
            View("vmstate_dummy", U32, lambda channel: 0, lambda channel, value: None),
            *("reg", "rxint", "txint", "rxint_under_svc", "txint_under_svc", "rx", "tx", "wregs"),
            View("rregs", Buffer(16), lambda channel: channel.rregs, _put_rregs),
        ]
    }

    @extra.losing
    def extra_lost(self) -> Iterator[Loss]:
        if self.tx_timer.armed:
            yield Loss("a character is on its way out", passes=True)
        if self.rx_count > 1:
            yield Loss(f"{self.rx_count - 1} received characters that the guest has not read", True)

    @extra.needed
    def extra_needed(self) -> bool:
        """More is under way than one received character."""
        return (
            self.tx_timer.armed
            or not self.rregs[0] & TX_EMPTY
            or self.rx_count != self.rregs[0] & RX_AVAILABLE
            or any(self.rx_errors[: self.rx_count])
            or not self.rx_next
            or self.ext_pending
        )

    def __init__(self, clock: Clock, changed: Callable[[], None]) -> None:
        super().__init__()
        self.clock, self.changed, self.true_rate = clock, changed, True
        self.transmit, self.receive_ready = _drop, _no_sender

    def reset(self) -> None:
        """Power on: every register as the hardware reset leaves it."""
        super().reset()
        self.wregs[9], self.wregs[14] = 0xC0, 0x30
        self._reset_registers()

    def post_load(self, _version: int) -> None:
        self.rx_count = min(self.rx_count, FIFO)

    # --- resets -------------------------------------------------------------------------------

    def reset_channel(self, *, hardware: bool) -> None:
        """WR9's resets; what the data sheet marks x keeps its value.  Modem inputs are pins."""
        modem = self.rregs[0] & (DCD | CTS)
        self.wregs[14] = 0x30 if hardware else self.wregs[14] & 0xC3 | 0x20
        self._reset_registers()
        self.rregs[0] |= modem
        self.changed()

    def _reset_registers(self) -> None:
        for n, value in HARD_RESET.items():
            self.wregs[n] = value
        self.rregs[0], self.rregs[1] = TX_EMPTY | TX_UNDERRUN, ALL_SENT | RESIDUE
        self.rregs[3] = self.rregs[10] = 0
        self.rregs[15] = self.wregs[15]
        self.tx_timer.cancel()
        self.tx_shift = 0
        self.reg = self.rxint = self.txint = self.rxint_under_svc = self.txint_under_svc = 0
        self.rx_count = 0
        self.rx_fifo[:] = self.rx_errors[:] = bytes(FIFO)
        self.rx_next, self.ext_pending, self.ext_status = True, False, 0

    # --- interrupts ---------------------------------------------------------------------------

    @property
    def pending(self) -> tuple[bool, bool, bool]:
        """Enabled interrupt conditions: external/status, transmit, receive."""
        enabled = self.wregs[1]
        return (
            self.ext_pending and bool(enabled & EXT_ENABLE),
            bool(self.txint and enabled & TX_ENABLE_INT),
            bool(self.rxint and enabled & RX_MODE),
        )

    @property
    def asks(self) -> bool:
        """Whether one of them is there."""
        enabled = self.wregs[1]
        return bool(
            (self.txint and enabled & TX_ENABLE_INT)
            or (self.rxint and enabled & RX_MODE)
            or (self.ext_pending and enabled & EXT_ENABLE)
        )

    def _update_rx(self, arrived: bool = False) -> None:
        """The receive interrupt from the FIFO and the mode of WR1."""
        mode = self.wregs[1] & RX_MODE
        special = ERRORS if self.wregs[1] & PARITY_SPECIAL else ERRORS & ~PARITY_ERROR
        bad = self.rx_count > 0 and bool(self.rx_errors[0] & special)
        if mode == RX_ALL:
            self.rxint = int(self.rx_count > 0)
        elif mode == RX_FIRST and arrived and self.rx_next:
            self.rxint, self.rx_next = 1, False
        elif not self.rx_count or (mode == RX_SPECIAL and not bad):
            self.rxint = 0
        if bad and mode:
            self.rxint = 1
        self.changed()

    def set_status(self, mask: int, value: int) -> None:
        """The pins or conditions of RR0 in `mask` (DCD, CTS, BREAK) take a level."""
        moved = (self.rregs[0] ^ value) & mask & EXT_SOURCES
        if moved & self.wregs[15] and not self.ext_pending:
            self.ext_pending = True
            self.ext_status = (self.rregs[0] ^ moved) & EXT_SOURCES
        self.rregs[0] ^= moved
        self.changed()

    # --- receiver -----------------------------------------------------------------------------

    @property
    def can_receive(self) -> bool:
        """The receiver is on and has room; offer no character otherwise."""
        return bool(self.wregs[3] & RX_ENABLE) and self.rx_count < FIFO

    def room(self) -> int:
        """Characters that can be received now."""
        return FIFO - self.rx_count if self.can_receive else 0

    def receive(self, value: int, errors: int = 0) -> None:
        """A character has arrived at the RxD pin.  A full FIFO loses its last one: overrun."""
        if self.wregs[14] & LOOPBACK:
            return
        if self.wregs[14] & AUTO_ECHO:
            self.transmit(bytes((value & 0xFF,)))
        self._take(value & 0xFF, errors)

    def _take(self, value: int, errors: int = 0) -> None:
        if not self.wregs[3] & RX_ENABLE:
            return
        if self.rx_count == FIFO:
            errors |= OVERRUN
        else:
            self.rx_count += 1
        self.rx_fifo[self.rx_count - 1] = value
        self.rx_errors[self.rx_count - 1] = errors
        self._show_front()
        self._update_rx(arrived=True)

    def _show_front(self) -> None:
        """RR0, RR1 and RR8 show the front of the FIFO; an overrun stays until error reset."""
        self.rregs[0] &= ~RX_AVAILABLE
        if self.rx_count:
            self.rregs[0] |= RX_AVAILABLE
            self.rx = self.rx_fifo[0]
            self.rregs[1] = self.rregs[1] & ~FRAMING_ERROR | self.rx_errors[0]

    def read_data(self) -> int:
        value = self.rx
        self.reg = 0
        if self.rx_count:
            was_full = not self.can_receive
            self.rx_count -= 1
            self.rx_fifo[:] = self.rx_fifo[1:] + b"\0"
            self.rx_errors[:] = self.rx_errors[1:] + b"\0"
            self._show_front()
            self._update_rx()
            if was_full or not self.rx_count:
                self.receive_ready()
        return value & (0xFF >> 8 - DATA_BITS[self.wregs[3] >> 6])

    # --- transmitter --------------------------------------------------------------------------

    @property
    def bit_clocks(self) -> int:
        """Periods of RTxC that one bit takes.

        The TRxC pin has no clock on these machines; firmware that leaves WR11 as reset made it
        gets the rate generator.  The generator counts time constant + 2 in 16 bits, so that
        0xFFFF, which OpenBIOS computes for 115200, gives 115200.
        """
        mode = CLOCK_MODE[self.wregs[4] >> 6]
        source = self.wregs[11] >> 3 & 3
        if source == 0 or not self.wregs[14] & BRG_ENABLE:
            return mode
        constant = self.wregs[13] << 8 | self.wregs[12]
        return mode * 2 * ((constant + 2) % 0x10000 or 0x10000)

    @property
    def character_ns(self) -> int:
        """Time of a character: start bit, data, parity, stop bits."""
        halves = 2 + 2 * DATA_BITS[self.wregs[5] >> 5 & 3] + 2 * (self.wregs[4] & 1)
        halves += STOP_HALVES[self.wregs[4] >> 2 & 3]
        return halves * self.bit_clocks * NS_PER_S // (2 * RTXC_HZ)

    def write_data(self, value: int) -> None:
        """Into the transmit buffer; a buffer that is full is overwritten, as on the part."""
        self.reg = 0
        self.tx = value & 0xFF
        self.rregs[0] &= ~TX_EMPTY
        self.txint = 0
        if self.tx_timer.when < 0:
            self._begin()
        self.changed()

    @property
    def passes_on(self) -> bool:
        """Whether a character that is written now leaves at once, and for the outside alone."""
        return not (self.true_rate or self.tx_timer.armed or self.wregs[14] & LOOPBACK) and bool(
            self.wregs[5] & TX_ENABLE
        )

    def sent(self, value: int) -> None:
        """An engine has carried out a write of data: its character leaves now."""
        self.tx = value & 0xFF
        self.transmit(bytes((self.tx,)))

    def face(self) -> Face:
        """All that decides about registers that are learned (see `core.faces`); not `tx`."""
        return (
            *_face(self),
            bytes(self.wregs),
            bytes(self.rregs),
            bytes(self.rx_fifo),
            bytes(self.rx_errors),
            self.tx_timer.when >= 0,
            self.true_rate,
        )

    def set_face(self, face: Face) -> None:
        for name, value in zip(FACE, face, strict=False):
            setattr(self, name, value)
        for name, value in zip(FACE_BYTES, face[len(FACE) :], strict=False):
            getattr(self, name)[:] = value

    def _begin(self) -> None:
        """Send what is in the buffer, when there is something and it may be sent."""
        if self.true_rate:
            self._start(int(self.clock.now))
        elif self.wregs[5] & TX_ENABLE and not self.rregs[0] & TX_EMPTY:
            self.rregs[0] |= TX_EMPTY
            self.rregs[1] |= ALL_SENT
            self.txint = int(bool(self.wregs[1] & TX_ENABLE_INT))
            self.transmit(bytes((self.tx,)))
            if self.wregs[14] & LOOPBACK:
                self._take(self.tx)

    def _start(self, now: int) -> None:
        """Move the buffer to the shift register, when there is something and it may be sent."""
        if self.rregs[0] & TX_EMPTY or not self.wregs[5] & TX_ENABLE:
            self.rregs[1] |= ALL_SENT
            self.tx_shift = 0
            return
        self.tx_shift = self.tx
        self.rregs[0] |= TX_EMPTY
        self.rregs[1] &= ~ALL_SENT
        if self.wregs[1] & TX_ENABLE_INT:
            self.txint = 1
        self.tx_timer.set(now + self.character_ns)

    def _sent(self) -> None:
        """The last bit of the shift register has left."""
        sent, self.tx_shift = self.tx_shift, 0
        if self.true_rate:
            self._start(self.tx_timer.due)
        self.transmit(bytes((sent,)))
        if self.wregs[14] & LOOPBACK:
            self._take(sent)
        if not self.true_rate:
            self.rregs[1] |= ALL_SENT
            self._begin()
        self.changed()

    # --- control port -------------------------------------------------------------------------

    def write_control(self, value: int) -> int | None:
        """A write to the control port; a command of WR9 is returned for the chip."""
        register, self.reg = self.reg, 0
        value &= 0xFF
        if register == 0:
            self._command(value)
            return None
        if register == 8:
            self.write_data(value)
            return None
        self.wregs[register] = value & 0x3F if register == 9 else value
        if register in (12, 13, 15):
            self.rregs[register] = value
        if register == 5 and not self.tx_timer.armed:
            self._begin()
        if register == 1:
            self._update_rx()
        self.changed()
        return value if register == 9 else None

    def _command(self, value: int) -> None:
        """WR0: pointer and command."""
        self.wregs[0] = value
        self.reg = value & 7
        if value < 8:
            return  # the pointer alone
        match value >> 3 & 7:
            case 1:
                self.reg |= 8
            case 2:
                self.ext_pending = False
            case 4:
                self.rx_next = True
            case 5:
                self.txint = self.txint_under_svc = 0
            case 6:
                self.rregs[1] &= ~ERRORS & 0xFF
                self.rx_errors[0] = 0
                self._update_rx()
            case 7:
                self._end_service()
            case _:
                pass
        if value >> 6 == 3:
            self.rregs[0] &= ~TX_UNDERRUN
        self.changed()

    def _end_service(self) -> None:
        """Reset highest interrupt under service."""
        if self.rxint_under_svc:
            self.rxint_under_svc = 0
        else:
            self.txint_under_svc = 0

    def status(self) -> int:
        """RR0; while an external interrupt is pending its bits are latched."""
        if self.ext_pending:
            return self.rregs[0] & ~EXT_SOURCES | self.ext_status
        return self.rregs[0]


def _drop(data: bytes) -> None:
    """Nothing is connected to TxD."""


def _no_sender() -> None:
    """No sender waits for room."""
