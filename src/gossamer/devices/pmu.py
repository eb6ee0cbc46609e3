"""Apple PMU99: the power manager of KeyLargo machines: clock, parameter RAM, power, and ADB.

The host talks to it through a 6522: port B carries TREQ (from the host) and TACK (from the PMU),
both active low; bytes go through the shift register, which the PMU clocks.  What the PMU has to
report by itself waits in `intbits`; a bit that `intmask` allows asserts `out`, a level, until the
host reads it with the command "interrupt acknowledge".  Source: Linux drivers/macintosh/via-pmu.c,
include/uapi/linux/pmu.h; OpenBIOS drivers/pmu.c; docs page pmu.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final

from gossamer.base.data import Data
from gossamer.base.units import NS_PER_S
from gossamer.base.wire import WireReader, WireWriter
from gossamer.core.clock import Alarm, Clock
from gossamer.core.device import Device
from gossamer.core.irq import IrqLine
from gossamer.core.region import Region
from gossamer.devices import pmu_commands as c
from gossamer.devices.adb.bus import AdbBus
from gossamer.devices.pmu_lengths import lengths
from gossamer.devices.via import SR, SR_OUT, Via
from gossamer.state.codec import U8, U32
from gossamer.state.declare import State, alarm, buffer, u8, u16, u32, wiring
from gossamer.state.layout import Layout, Loss, Nested, View, subsection

TACK, TREQ = 0x08, 0x10
"""Bits of port B, active low."""

ADB_AUTO, ADB, TICK = 0x04, 0x10, 0x80
"""Bits of `intbits` and `intmask`: ADB data from autopoll (with ADB), ADB data, a second."""
RESET_MASK: Final = ADB | TICK
"""`intmask` until the host sets it; OpenBIOS never does."""
SET_AUTOPOLL: Final = 0x86
"""Flags of an ADB command that sets the devices to poll instead of talking to one."""

BYTE_NS: Final = 20_000
"""From TREQ to TACK: the PMU clocks a byte (estimate; the real part is some times slower)."""
RELEASE_NS: Final = 5_000
"""From the end of TREQ to the end of TACK (estimate)."""
THINK_NS: Final = 30_000
"""More for the first byte of an answer (estimate)."""
MS: Final = 1_000_000

BUFFER, REPLY, PRAM_SIZE = 128, 16, 256
IDLE, COMMAND, ANSWER = range(3)
"""`phase`: no command, its data travel, its answer travels."""
NO_ADB, ASKING, HEARING = range(3)
"""`adb_phase`: nothing on the bus, a command on it, an answer on it."""
UNKNOWN: Final = 0xFFFF_FFFF
"""`cmdlen`, `rsplen`: the length byte is still to travel."""


class Milliseconds(Data):
    """A point on the virtual clock: ns here, ms on the wire."""

    kind: str = "int64"
    size: int = 8

    def put(self, w: WireWriter, value: int) -> None:
        w.sint(value // MS, 8)

    def get(self, r: WireReader) -> int:
        return r.sint(8) * MS

    def zero(self) -> int:
        return 0


def _limited(name: str, limit: int) -> View:
    def put(owner: Any, value: int) -> None:  # noqa: ANN401 - any stateful object
        if value > limit:
            raise ValueError(f"value must be 0..{limit}, got {value}")
        setattr(owner, name, value)

    return View(name, U8, lambda owner: getattr(owner, name), put)


def _put_cmdlen(pmu: Pmu, value: int) -> None:
    if value > 0xFF and value != UNKNOWN:
        raise ValueError(f"value must be 0..255 or {UNKNOWN:#x}, got {value:#x}")
    pmu.cmdlen = value


def _ignored() -> None:
    """The machine takes no notice."""


class Pmu(Device):
    """The PMU behind the 6522 `via`; with `adb` it is also the master of that bus.

    `out` is its request line (GPIO pin 1).  `power_off` and `system_reset` are called when a guest
    asks.  `rtc` is seconds since 1904 at clock 0.
    """

    vmsd = "pmu"
    version = 1
    minimum = 1

    with_adb = subsection("pmu/adb")
    extra = subsection("pmu/gossamer", ours=True)

    #: The two handshake lines: TREQ as last seen, TACK as driven.
    last_b: int = u8(TREQ | TACK)
    cmd: int = u8()
    cmdlen: int = u32()
    rsplen: int = u32()
    cmd_buf_pos: int = u8()
    cmd_buf: bytearray = buffer(BUFFER)
    cmd_rsp_pos: int = u8()
    cmd_rsp_sz: int = u8()
    cmd_rsp: bytearray = buffer(BUFFER)
    intbits: int = u8()
    intmask: int = u8(RESET_MASK)
    #: Seconds since 1904 at clock 0, modulo 2**32.
    tick_offset: int = u32()
    one_sec_timer: Alarm = alarm("_second")
    #: When that alarm is due, a whole number of ms.
    one_sec_target: int = State(Milliseconds(), 0, clock=True)  # type: ignore[assignment]
    adb_reply_size: int = u8(within=with_adb)
    adb_reply: bytearray = buffer(REPLY, within=with_adb)
    #: Armed while a byte is clocked or TACK is about to rise.
    shift_timer: Alarm = alarm("_handshake", within=extra)
    #: Armed while a command or its answer is on ADB.
    adb_timer: Alarm = alarm("_adb_due", within=extra)
    adb_phase: int = u8(NO_ADB, within=extra)
    adb_packet_size: int = u8(within=extra)
    adb_packet: bytearray = buffer(BUFFER, within=extra)
    power_0: int = u8(within=extra)
    power: int = u8(within=extra)
    volume: int = u8(within=extra)
    brightness: int = u8(within=extra)
    powerup_events: int = u16(within=extra)
    wakeup_events: int = u16(within=extra)
    pram: bytearray = buffer(PRAM_SIZE, within=extra)

    via: Via = wiring()
    adb: AdbBus | None = wiring()
    out: IrqLine = wiring()
    power_off: Callable[[], None] = wiring()
    system_reset: Callable[[], None] = wiring()

    layouts: ClassVar[dict[str, Layout]] = {
        "": [
            Nested("mos6522_pmu.parent_obj", lambda pmu: pmu.via),
            *("last_b", "cmd"),
            View("cmdlen", U32, lambda pmu: pmu.cmdlen, _put_cmdlen),
            *("rsplen", "cmd_buf_pos", "cmd_buf"),
            *(_limited(name, BUFFER) for name in ("cmd_rsp_pos", "cmd_rsp_sz")),
            *("cmd_rsp", "intbits", "intmask", "tick_offset", "one_sec_timer", "one_sec_target"),
        ]
    }

    @with_adb.needed
    def with_adb_needed(self) -> bool:
        """The PMU is wired to ADB."""
        return self.adb is not None

    @extra.losing
    def extra_lost(self) -> Iterator[Loss]:
        if self.shift_timer.armed or self.adb_phase != NO_ADB:
            yield Loss("a byte or an ADB command is under way", passes=True)
        if any(self.pram):
            yield Loss("what the guest keeps in parameter RAM")
        if any((self.power_0, self.power, self.volume, self.brightness)):
            yield Loss("power, volume and brightness as the guest set them")
        if any((self.powerup_events, self.wakeup_events)):
            yield Loss("the events that switch the machine on or wake it")

    @extra.needed
    def extra_needed(self) -> bool:
        """Something is under way or kept that QEMU's PMU does not have."""
        return (
            self.shift_timer.armed
            or self.adb_phase != NO_ADB
            or any((self.power_0, self.power, self.volume, self.brightness))
            or any((self.powerup_events, self.wakeup_events))
            or any(self.pram)
        )

    def __init__(
        self, clock: Clock, via: Via, out: IrqLine, *, adb: AdbBus | None = None, rtc: int = 0
    ) -> None:
        super().__init__(clock)
        self.idstr, self.via, self.out, self.adb = "pmu", via, out, adb
        self.power_off, self.system_reset = _ignored, _ignored
        via.owner, via.idle_b = self, TREQ | TACK
        if adb is not None:
            adb.poll = self._poll
        via.reset()
        super().reset()
        self.reset()
        self.tick_offset = rtc & 0xFFFF_FFFF

    def reset(self) -> None:
        """A machine reset; clock, parameter RAM and power-up settings run on the battery."""
        kept = self.tick_offset, self.pram, self.powerup_events
        super().reset()
        self.tick_offset, self.pram, self.powerup_events = kept
        self._arm_second(int(self.clock.now) // MS * MS + NS_PER_S)
        self.update_irq()

    def region(self) -> Region:
        """The 6522's registers: 0x2000 bytes."""
        return self.via.region()

    @property
    def seconds(self) -> int:
        """The real-time clock: seconds since 1904."""
        return (self.tick_offset + self.clock.now // NS_PER_S) & 0xFFFF_FFFF

    # --- interrupts ---------------------------------------------------------------------------

    @property
    def level(self) -> bool:
        """Something waits that the host wants to know."""
        return bool(self.intbits & self.intmask)

    def update_irq(self) -> None:
        self.out.set(self.level)

    def resume(self) -> None:
        self.out.assign(self.level)

    def _arm_second(self, when: int) -> None:
        self.one_sec_target = when // MS * MS
        self.one_sec_timer.set(when)

    def _second(self) -> None:
        self._arm_second(self.one_sec_timer.due + NS_PER_S)
        self.intbits |= TICK
        self.update_irq()

    # --- the 6522's owner: handshake ----------------------------------------------------------

    def port_changed(self) -> None:
        """TREQ falls: a byte is to be clocked; it rises: TACK is to follow."""
        treq = self.via.b & TREQ
        if treq != self.last_b & TREQ:
            self.last_b = self.last_b & ~TREQ | treq
            if bool(treq) == bool(self.last_b & TACK):
                self.shift_timer.cancel()  # the host took its request back, or made it too early
            else:
                self.shift_timer.set(self.clock.now + (RELEASE_NS if treq else self._byte_ns()))
        self._drive()

    def shift_accessed(self) -> None:
        """The PMU clocks the register by the handshake lines alone."""

    def _drive(self) -> None:
        """TACK is the PMU's whatever the direction register says."""
        self.via.drive_b(TACK, self.last_b)

    def _byte_ns(self) -> int:
        """How long the byte takes that the host asks for."""
        waits = self.phase == ANSWER and not self.cmd_rsp_pos and not self.via.acr & SR_OUT
        return BYTE_NS + THINK_NS if waits else BYTE_NS

    def _handshake(self) -> None:
        """A byte was clocked, or TACK rises."""
        if self.last_b & TREQ:
            self.last_b |= TACK
            self._drive()
            return
        if self.via.acr & SR_OUT:
            if self._must_wait():
                self.shift_timer.set(max(self.adb_timer.when, self.shift_timer.due + 1))
                return
            self._take(self.via.sr)
        else:
            self.via.sr = self._give()
        self.last_b &= ~TACK
        self._drive()
        self.via.raise_flag(SR)

    def _must_wait(self) -> bool:
        """The host asks for an ADB answer that is not there yet: the byte waits."""
        asks = self.phase != COMMAND and self.via.sr == c.INTERRUPT_ACK
        return asks and self.adb_phase != NO_ADB and self.adb_timer.armed

    # --- commands -----------------------------------------------------------------------------

    @property
    def phase(self) -> int:
        """Where the command stands: what is left of its data, then of its answer."""
        if self.cmdlen == UNKNOWN or self.cmd_buf_pos < self.cmdlen:
            return COMMAND
        if self.rsplen == UNKNOWN or self.cmd_rsp_pos < self.cmd_rsp_sz:
            return ANSWER
        return IDLE

    def _take(self, byte: int) -> None:
        """A byte from the host: a command, a length, or data."""
        if self.phase != COMMAND:
            if self.phase == ANSWER:
                self.note("command before the answer to the last one was read")
            self._begin(byte)
        elif self.cmdlen == UNKNOWN:
            self.cmdlen = byte
        else:
            if self.cmd_buf_pos < BUFFER:
                self.cmd_buf[self.cmd_buf_pos] = byte
            else:
                self.note(f"command {self.cmd:#04x} with more than {BUFFER} bytes")
            self.cmd_buf_pos += 1
        if self.phase != COMMAND:
            self._carry_out()

    def _begin(self, command: int) -> None:
        data, answer = lengths(command)
        self.cmd, self.cmd_buf_pos = command, 0
        self.cmdlen, self.rsplen = data & UNKNOWN, answer & UNKNOWN
        self.cmd_rsp_sz = self.cmd_rsp_pos = 0

    def _carry_out(self) -> None:
        """The command is whole: do it and make its answer."""
        answer = self._do(bytes(self.cmd_buf[: self.cmd_buf_pos]))[:BUFFER]
        if self.rsplen != UNKNOWN:
            answer = answer[: self.rsplen].ljust(self.rsplen, b"\0")
        self.cmd_rsp[: len(answer)] = answer
        self.cmd_rsp_sz = len(answer)

    def _give(self) -> int:
        """The next byte of the answer: its length where that travels, then its bytes."""
        if self.phase != ANSWER:
            self.note("read without an answer")
            return 0
        if self.rsplen == UNKNOWN:
            self.rsplen = self.cmd_rsp_sz
            return self.cmd_rsp_sz
        byte = self.cmd_rsp[self.cmd_rsp_pos]
        self.cmd_rsp_pos += 1
        return byte

    def _do(self, data: bytes) -> bytes:
        match self.cmd:
            case c.ADB_COMMAND:
                self._adb_command(data)
            case c.ADB_POLL_OFF:
                if self.adb is not None:
                    self.adb.set_autopoll(False)
            case c.SET_RTC:
                now = self.clock.now // NS_PER_S
                self.tick_offset = (int.from_bytes(data, "big") - now) & 0xFFFF_FFFF
            case c.READ_RTC:
                return self.seconds.to_bytes(4, "big")
            case c.SET_INTERRUPT_MASK:
                self.intmask = data[0]
                self.update_irq()
            case c.INTERRUPT_ACK:
                return self._acknowledge()
            case command if command in c.SIMPLE:
                return c.SIMPLE[command](self, data)
            case command:
                self.note(f"unknown command {command:#04x}")
        return b""

    def _acknowledge(self) -> bytes:
        """What waits, with the ADB data; it waits no more."""
        bits, self.intbits = self.intbits, 0
        data = b""
        if bits & ADB and self.adb is not None:
            data = bytes(self.adb_reply[: self.adb_reply_size])
            self.adb_reply_size = 0
            self.adb.block(False)
        self.update_irq()
        return bytes([bits]) + data

    # --- ADB ----------------------------------------------------------------------------------

    def _adb_command(self, data: bytes) -> None:
        """Command, flags, count and data of a transaction; or the devices to poll."""
        if self.adb is None or len(data) < 3:
            self.note("ADB command without ADB" if self.adb is None else "short ADB command")
        elif data[1] == SET_AUTOPOLL:
            self.adb.autopoll_mask = int.from_bytes(data[2:4].ljust(2, b"\0"), "big")
            self.adb.set_autopoll(True)
        else:
            if self.adb_phase != NO_ADB:
                self.note("ADB command before the last one's answer")
            packet = data[:1] + data[3 : 3 + data[2]]
            self.adb_packet[: len(packet)] = packet
            self.adb_packet_size, self.adb_phase = len(packet), ASKING
            self.adb.block(True)
            self.adb_timer.set(self.clock.now + self.adb.command_ns(packet))

    def _adb_due(self) -> None:
        """The device answers now, or its answer is complete; the host is notified in any case."""
        if self.adb is not None and self.adb_phase == ASKING:
            packet = bytes(self.adb_packet[: self.adb_packet_size])
            _, data = self.adb.request(packet)
            self.adb_packet_size, self.adb_packet[:] = 0, bytes(BUFFER)
            self._set_reply(self._answer_form(packet, data))
            if data:
                self.adb_phase = HEARING
                self.adb_timer.set(self.adb_timer.due + self.adb.data_ns(len(data)))
                return
        self.adb_phase = NO_ADB
        self.intbits = self.intbits & ~ADB_AUTO | ADB
        self.update_irq()

    def _answer_form(self, packet: bytes, data: bytes) -> bytes:
        """The command and the data.

        OpenBIOS, written for QEMU's PMU, wants two bytes before the data instead; it is
        recognised by its leaving `intmask` as it is after reset.
        """
        if self.intmask != RESET_MASK:
            return packet[:1] + data
        return bytes([1, len(data)]) + data if data else b"\0"

    def _set_reply(self, reply: bytes) -> None:
        reply = reply[:REPLY]
        self.adb_reply[: len(reply)] = reply
        self.adb_reply_size = len(reply)

    def _poll(self) -> None:
        """The poll timer of the bus is due; ask the devices when no ADB data wait."""
        if self.adb is None or self.intbits & ADB or self.adb_phase != NO_ADB:
            return
        found = self.adb.autopoll()
        if found is not None:
            self._set_reply(bytes([found[0]]) + found[1])
            self.intbits |= ADB | ADB_AUTO
            self.adb.block(True)
            self.update_irq()
