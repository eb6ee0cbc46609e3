"""Apple PMU99: the microcontroller for power, real-time clock and, on some machines, ADB.

The host talks to it through a 6522: port B carries TREQ (from the host) and TACK (from the PMU),
both active low; each byte goes through the shift register with one handshake.  A command has a
fixed number of data and answer bytes or is preceded by a length.  News is told by an interrupt
pin, which the host answers with a command that fetches it.  Source: Linux
drivers/macintosh/via-pmu.c, include/uapi/linux/pmu.h; docs page pmu.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from gossamer.base.units import NS_PER_S
from gossamer.core.clock import Alarm, Clock
from gossamer.core.device import Device
from gossamer.core.irq import IrqLine
from gossamer.core.region import Region
from gossamer.devices.adb import AdbBus
from gossamer.devices.pmu_lengths import COUNTED, lengths
from gossamer.devices.via import SR, SR_OUT, Via
from gossamer.state.codec import U8
from gossamer.state.declare import alarm, boolean, buffer, i64, u8, u32, wiring
from gossamer.state.layout import Layout, Nested, View, subsection

TACK, TREQ = 0x08, 0x10
"""Bits of port B, active low."""
SHIFT_NS: Final = 60_000
"""From TREQ to the byte's interrupt (estimate: eight bits at about 150 kHz)."""
RELEASE_NS: Final = 10_000
"""From the end of TREQ to the end of TACK (estimate)."""

INT_ADB_AUTO, INT_ADB, INT_TICK = 0x04, 0x10, 0x80
"""Bits of the interrupt byte."""
IDLE, COMMAND, ANSWER = 0, 1, 2
UNKNOWN: Final = 0xFFFF_FFFF
"""`cmdlen`, `rsplen`: the length byte has not passed yet."""
BUFFER: Final = 128
ADB_REPLY: Final = 16
TICK_MS: Final = 1000
NS_PER_MS: Final = 1_000_000
SET_AUTOPOLL: Final = 0x80
"""In the flags of an ADB command: its data is the autopoll mask."""


def _limited(name: str, limit: int) -> View:
    def put(owner: Any, value: int) -> None:  # noqa: ANN401 - any stateful object
        if value > limit:
            raise ValueError(f"value must be 0..{limit}, got {value}")
        setattr(owner, name, value)

    return View(name, U8, lambda owner: getattr(owner, name), put)


class Pmu(Device):
    """The PMU behind the 6522 `via`; `out` is its interrupt pin, `adb` its bus or none.

    `cmd_buf` gathers a command's data (`cmdlen` bytes), `cmd_rsp` holds its answer (`cmd_rsp_sz`
    bytes, of which the host expects `rsplen`).  `one_sec_target` is in ms.
    """

    vmsd = "pmu"
    version = 1
    minimum = 1

    with_adb = subsection("pmu/adb")
    extra = subsection("pmu/gossamer", ours=True)

    last_b: int = u8(TACK | TREQ)
    cmd: int = u8()
    cmdlen: int = u32()
    rsplen: int = u32()
    cmd_buf_pos: int = u8()
    cmd_buf: bytearray = buffer(BUFFER)
    cmd_rsp_pos: int = u8()
    cmd_rsp_sz: int = u8()
    cmd_rsp: bytearray = buffer(BUFFER)
    intbits: int = u8()
    intmask: int = u8(INT_ADB | INT_TICK)
    #: Seconds since 1904 at clock 0, modulo 2**32.
    tick_offset: int = u32()
    one_sec_timer: Alarm = alarm("_second_passed")
    one_sec_target: int = i64()
    adb_reply_size: int = u8(within=with_adb)
    adb_reply: bytearray = buffer(ADB_REPLY, within=with_adb)
    phase: int = u8(within=extra)
    #: Armed while a byte or the end of its handshake is on its way.
    handshake: Alarm = alarm("_handshake_due", within=extra)
    #: Armed while a command is on ADB.
    adb_timer: Alarm = alarm("_adb_done", within=extra)
    server_mode: bool = boolean(within=extra)

    via: Via = wiring()
    out: IrqLine = wiring()
    adb: AdbBus | None = wiring()
    power_off: Callable[[], None] = wiring()
    system_reset: Callable[[], None] = wiring()

    layouts: ClassVar[dict[str, Layout]] = {
        "": [
            Nested("mos6522_pmu.parent_obj", lambda pmu: pmu.via),
            *("last_b", "cmd", "cmdlen", "rsplen"),
            _limited("cmd_buf_pos", BUFFER),
            "cmd_buf",
            *(_limited(name, BUFFER) for name in ("cmd_rsp_pos", "cmd_rsp_sz")),
            *("cmd_rsp", "intbits", "intmask", "tick_offset", "one_sec_timer", "one_sec_target"),
        ]
    }

    def __init__(
        self, clock: Clock, via: Via, out: IrqLine, *, adb: AdbBus | None = None, rtc: int = 0
    ) -> None:
        super().__init__(clock)
        self.idstr, self.via, self.out, self.adb = "pmu", via, out, adb
        self.power_off, self.system_reset = _nobody, _nobody
        via.owner, via.idle_b = self, TACK | TREQ
        via.reset()
        if adb is not None:
            adb.poll = self._poll
        super().reset()
        self.tick_offset = rtc & 0xFFFF_FFFF
        self._start_seconds()

    def reset(self) -> None:
        """A machine reset; clock and server mode run on the battery."""
        kept = self.tick_offset, self.server_mode
        super().reset()
        self.tick_offset, self.server_mode = kept
        self._start_seconds()
        self.update_irq()

    def _start_seconds(self) -> None:
        self.one_sec_target = int(self.clock.now) // NS_PER_MS + TICK_MS
        self.one_sec_timer.set(self.one_sec_target * NS_PER_MS)

    @with_adb.needed
    def with_adb_needed(self) -> bool:
        return self.adb is not None

    @extra.needed
    def extra_needed(self) -> bool:
        """A command, a handshake or an ADB transaction is under way."""
        busy = self.handshake.armed or self.adb_timer.armed
        return bool(self.phase or busy or self.server_mode)

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
        return bool(self.intbits & self.intmask)

    def update_irq(self) -> None:
        self.out.set(self.level)

    def resume(self) -> None:
        self.out.assign(self.level)

    def _second_passed(self) -> None:
        self.one_sec_target += TICK_MS
        self.one_sec_timer.set(max(self.one_sec_target, 0) * NS_PER_MS)
        self.intbits |= INT_TICK
        self.update_irq()

    # --- the 6522's owner ---------------------------------------------------------------------

    def shift_accessed(self) -> None:
        """The PMU clocks the register by the handshake lines alone."""

    def port_changed(self) -> None:
        b, was = self.via.b, self.last_b
        if (b ^ was) & TREQ:
            self.handshake.set(self.clock.now + (RELEASE_NS if b & TREQ else SHIFT_NS))
        self.last_b = b

    def _handshake_due(self) -> None:
        """The PMU follows TREQ: it takes or gives a byte, or lets TACK go."""
        if self.via.b & TREQ:
            self._drive_tack(False)
            return
        if self.via.acr & SR_OUT:
            self._take_byte(self.via.sr)
        else:
            self.via.sr = self._give_byte()
        self._drive_tack(True)
        self.via.raise_flag(SR)

    def _drive_tack(self, asserted: bool) -> None:
        self.via.drive_b(TACK, 0 if asserted else TACK)
        self.last_b = self.via.b

    # --- bytes --------------------------------------------------------------------------------

    def _take_byte(self, byte: int) -> None:
        if self.phase != COMMAND:
            if self.phase == ANSWER:
                self.note("command while an answer was waiting")
            self._begin(byte)
        elif self.cmdlen == UNKNOWN:
            self.cmdlen = byte
        else:
            if self.cmd_buf_pos < BUFFER:
                self.cmd_buf[self.cmd_buf_pos] = byte
                self.cmd_buf_pos += 1
            else:
                self.note(f"command {self.cmd:#04x} with more than {BUFFER} bytes")
                self.cmdlen = self.cmd_buf_pos
        if self.cmdlen != UNKNOWN and self.cmd_buf_pos >= self.cmdlen:
            self._carry_out()

    def _begin(self, command: int) -> None:
        """The first byte: what follows is known from it."""
        send, answer = lengths(command)
        self.cmd, self.phase, self.cmd_buf_pos, self.cmd_rsp_pos = command, COMMAND, 0, 0
        self.cmdlen = UNKNOWN if send == COUNTED else send
        self.rsplen = UNKNOWN if answer == COUNTED else answer

    def _carry_out(self) -> None:
        data = bytes(self.cmd_buf[: self.cmd_buf_pos])
        act = COMMANDS.get(self.cmd)
        if act is None:
            self.note(f"unknown command {self.cmd:#04x}")
        answer = (act(self, data) if act is not None else b"")[:BUFFER]
        self.cmd_rsp[: len(answer)] = answer
        self.cmd_rsp_sz, self.cmd_rsp_pos, self.cmd_buf_pos, self.cmdlen = len(answer), 0, 0, 0
        self.phase = ANSWER if self.rsplen else IDLE

    def _give_byte(self) -> int:
        """The next byte of the answer; ones where the answer is shorter than the host expects."""
        if self.phase != ANSWER:
            self.note("read without an answer")
            return 0
        if self.rsplen == UNKNOWN:
            byte = self.rsplen = self.cmd_rsp_sz
        else:
            at = self.cmd_rsp_pos
            byte = self.cmd_rsp[at] if at < self.cmd_rsp_sz else 0xFF
            self.cmd_rsp_pos = min(at + 1, BUFFER)
        self._end_when_all_given()
        return byte

    def _end_when_all_given(self) -> None:
        if self.cmd_rsp_pos >= min(self.rsplen, BUFFER):
            self.phase, self.rsplen, self.cmd_rsp_pos, self.cmd_rsp_sz = IDLE, 0, 0, 0

    # --- ADB ----------------------------------------------------------------------------------

    def adb_command(self, data: bytes) -> None:
        """Put a command on ADB: command, flags, count, data; or set autopoll up."""
        if self.adb is None or len(data) < 2:
            self.note("ADB command without ADB")
            return
        if data[1] & SET_AUTOPOLL:
            self.adb.autopoll_mask = int.from_bytes(data[2:4].ljust(2, b"\0"), "big")
            self.adb.set_autopoll(True)
            return
        packet = data[:1] + data[3 : 3 + (data[2] if len(data) > 2 else 0)]
        self.adb.block(True)
        _, got = self.adb.request(packet)
        self._keep_reply(packet[:1] + got)
        self.adb_timer.set(self.clock.now + self.adb.command_ns(packet) + self.adb.data_ns(len(got)))

    def _keep_reply(self, reply: bytes) -> None:
        reply = reply[:ADB_REPLY]
        self.adb_reply[: len(reply)] = reply
        self.adb_reply_size = len(reply)

    def _adb_done(self) -> None:
        """The transaction is over: tell the host, also when nobody answered."""
        self.intbits = self.intbits & ~INT_ADB_AUTO | INT_ADB
        self.update_irq()

    def _poll(self) -> None:
        """The poll timer of the bus is due."""
        if self.adb is None or self.adb_timer.armed or self.intbits & INT_ADB:
            return
        found = self.adb.autopoll()
        if found is not None:
            self._keep_reply(bytes([found[0]]) + found[1])
            self.intbits |= INT_ADB | INT_ADB_AUTO
            self.adb.block(True)
            self.update_irq()

    def acknowledge(self) -> bytes:
        """What has happened since the last time; ADB data behind the interrupt byte."""
        bits, answer = self.intbits, b""
        if bits & INT_ADB:
            answer = bytes(self.adb_reply[: self.adb_reply_size])
            self.adb_reply_size = 0
            if self.adb is not None:
                self.adb.block(False)
        self.intbits = 0
        self.update_irq()
        return bytes([bits]) + answer


def _nobody() -> None:
    """The machine is not listening."""


# --- commands -------------------------------------------------------------------------------------

Command = Callable[[Pmu, bytes], bytes]
MAGIC: Final = b"MATT"
"""Guards shutdown."""
GET_POWERUP_EVENTS, SET_POWERUP_EVENTS, CLEAR_POWERUP_EVENTS = 0, 1, 2
AC_INSERT: Final = 0x02


def _adb(pmu: Pmu, data: bytes) -> bytes:
    pmu.adb_command(data)
    return b""


def _poll_off(pmu: Pmu, _data: bytes) -> bytes:
    if pmu.adb is not None:
        pmu.adb.set_autopoll(False)
    return b""


def _set_time(pmu: Pmu, data: bytes) -> bytes:
    now = pmu.clock.now // NS_PER_S
    pmu.tick_offset = (int.from_bytes(data, "big") - now) & 0xFFFF_FFFF
    return b""


def _read_time(pmu: Pmu, _data: bytes) -> bytes:
    return pmu.seconds.to_bytes(4, "big")


def _set_mask(pmu: Pmu, data: bytes) -> bytes:
    pmu.intmask = data[0]
    pmu.update_irq()
    return b""


def _shutdown(pmu: Pmu, data: bytes) -> bytes:
    if data == MAGIC:
        pmu.power_off()
    return b"\0"


def _reset(pmu: Pmu, _data: bytes) -> bytes:
    pmu.system_reset()
    return b""


def _power_events(pmu: Pmu, data: bytes) -> bytes:
    """Which events switch the power on: known ones, and those that are set."""
    kind = data[0] if data else 0xFF
    if kind in (SET_POWERUP_EVENTS, CLEAR_POWERUP_EVENTS) and data[-1] & AC_INSERT:
        pmu.server_mode = kind == SET_POWERUP_EVENTS
        return b""
    return bytes([0, AC_INSERT if pmu.server_mode else 0]) if kind == GET_POWERUP_EVENTS else b""


def _accept(_pmu: Pmu, _data: bytes) -> bytes:
    """Power of parts that these machines do not have, volume, brightness, readiness."""
    return b""


COMMANDS: Final[dict[int, Command]] = {
    0x10: _accept,
    0x11: _accept,
    0x20: _adb,
    0x21: _poll_off,
    0x30: _set_time,
    0x38: _read_time,
    0x40: _accept,
    0x41: _accept,
    0x48: lambda _pmu, _data: b"\0",  # volume buttons
    0x70: _set_mask,
    0x78: lambda pmu, _data: pmu.acknowledge(),
    0x7E: _shutdown,
    0x8F: _power_events,
    0x9A: lambda _pmu, _data: b"\xff",  # I2C: nobody acknowledges
    0xD0: _reset,
    0xD9: lambda _pmu, _data: b"\0",  # brightness buttons
    0xDC: lambda _pmu, _data: b"\0",  # cover: open
    0xDF: _accept,
    0xEA: lambda _pmu, _data: b"\x01",  # firmware version
}
