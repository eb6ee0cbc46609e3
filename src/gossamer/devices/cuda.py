"""Apple Cuda: the microcontroller for ADB, real-time clock, parameter RAM and power.

The host talks to it through a 6522: port B carries TREQ (from Cuda), TACK and TIP (from the host),
all active low; bytes go through the shift register, which Cuda clocks.  A packet begins with its
type: ADB (0), pseudo command (1); answers carry the type, a status, the command and data; an
error (2) carries a code, the type and the command.  Source: Linux drivers/macintosh/via-cuda.c,
include/uapi/linux/cuda.h; docs page cuda.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final

from gossamer.base.units import NS_PER_S
from gossamer.core.clock import Alarm, Clock
from gossamer.core.device import Device
from gossamer.core.region import Region
from gossamer.devices.adb.bus import AdbBus
from gossamer.devices.via import SR, SR_OUT, Via
from gossamer.state.codec import I32
from gossamer.state.declare import alarm, boolean, buffer, i32, u8, u32, wiring
from gossamer.state.layout import Layout, Loss, Nested, View, subsection

TREQ, TACK, TIP = 0x08, 0x10, 0x20
"""Bits of port B, active low."""

SHIFT_NS: Final = 71_000
"""From a handshake edge to the shift register's interrupt: Cuda clocks 8 bits in about 71 us."""
THINK_NS: Final = 200_000
"""From the end of a pseudo command to its answer (estimate; no manual gives it)."""

ADB_PACKET, CUDA_PACKET, ERROR_PACKET = 0, 1, 2
AUTOPOLL_STATUS: Final = 0x40
BAD_TYPE, BAD_COMMAND, BAD_SIZE, BAD_PARAMETER, I2C_FAILED = 1, 2, 3, 4, 5
"""Codes of an error packet."""

PRAM_SIZE: Final = 256
PRAM_ADDRESS: Final = 0x100
"""Where parameter RAM lies in the address space of the microcontroller."""

IN_SIZE, OUT_SIZE = 128, 16


def _checked(name: str, limit: int) -> View:
    def put(owner: Any, value: int) -> None:  # noqa: ANN401 - any stateful object
        if not 0 <= value <= limit:
            raise ValueError(f"value must be 0..{limit}, got {value}")
        setattr(owner, name, value)

    return View(name, I32, lambda owner: getattr(owner, name), put)


class Cuda(Device):
    """Cuda behind the 6522 `via`, master of `adb`.

    `data_in` holds the packet for the host (`data_in_size` bytes, `data_in_index` of them sent),
    `data_out` the one from it.  `power_off` and `system_reset` are called when a guest asks.
    """

    vmsd = "cuda"
    version = 6
    minimum = 6

    extra = subsection("cuda/gossamer", ours=True)

    last_b: int = u8()
    last_acr: int = u8()
    data_in_size: int = i32()
    data_in_index: int = i32()
    data_out_index: int = i32()
    data_in: bytearray = buffer(IN_SIZE)
    data_out: bytearray = buffer(OUT_SIZE)
    #: Seconds since 1904 at clock 0, modulo 2**32.
    tick_offset: int = u32()
    sr_delay_timer: Alarm = alarm("_shifted")
    #: Armed while a packet of the host is being carried out.
    answer_timer: Alarm = alarm("_answer", within=extra)
    syncing: bool = boolean(within=extra)
    #: The server flag: power up by itself after a power failure.
    file_server: bool = boolean(within=extra)
    wake_time: int = u32(within=extra)
    pram: bytearray = buffer(PRAM_SIZE, within=extra)

    via: Via = wiring()
    adb: AdbBus = wiring()
    power_off: Callable[[], None] = wiring()
    system_reset: Callable[[], None] = wiring()

    layouts: ClassVar[dict[str, Layout]] = {
        "": [
            Nested("mos6522_cuda.parent_obj", lambda cuda: cuda.via),
            "last_b",
            "last_acr",
            _checked("data_in_size", IN_SIZE),
            _checked("data_in_index", IN_SIZE),
            _checked("data_out_index", OUT_SIZE),
            "data_in",
            "data_out",
            "tick_offset",
            "sr_delay_timer",
        ]
    }

    @extra.losing
    def extra_lost(self) -> Iterator[Loss]:
        if self.answer_timer.armed or self.syncing:
            yield Loss("an answer to the guest is being prepared", passes=True)
        if any(self.pram):
            yield Loss("what the guest keeps in parameter RAM")
        if self.file_server or self.wake_time:
            yield Loss("power-on settings (server mode, wake-up time)")

    @extra.needed
    def extra_needed(self) -> bool:
        """Something is under way or kept that QEMU's Cuda does not have."""
        return (
            self.answer_timer.armed
            or self.syncing
            or self.file_server
            or self.wake_time != 0
            or any(self.pram)
        )

    def __init__(
        self,
        clock: Clock,
        via: Via,
        adb: AdbBus,
        *,
        rtc: int = 0,
        power_off: Callable[[], None] = lambda: None,
        system_reset: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(clock)
        self.idstr = "cuda"
        self.via, self.adb = via, adb
        self.power_off, self.system_reset = power_off, system_reset
        via.owner, adb.poll = self, self._poll
        via.idle_b = TREQ | TACK | TIP
        via.reset()
        super().reset()
        self.last_b = via.b
        self.tick_offset = rtc & 0xFFFF_FFFF

    def reset(self) -> None:
        """A machine reset; clock, parameter RAM and wake-up settings run on the battery."""
        kept = self.tick_offset, self.pram, self.file_server, self.wake_time
        super().reset()
        self.tick_offset, self.pram, self.file_server, self.wake_time = kept
        self.last_b = self.via.idle_b

    def region(self) -> Region:
        """The 6522's registers: 0x2000 bytes."""
        return self.via.region()

    @property
    def seconds(self) -> int:
        """The real-time clock: seconds since 1904."""
        return (self.tick_offset + self.clock.now // NS_PER_S) & 0xFFFF_FFFF

    # --- the 6522's owner ---------------------------------------------------------------------

    def port_changed(self) -> None:
        b, was = self.via.b, self.last_b
        if not b & TIP:
            if was & TIP:
                self._begin()
            if (b ^ was) & (TIP | TACK):
                if self.via.acr & SR_OUT:
                    self._take_byte()
                else:
                    self._give_byte()
        elif not was & TIP:
            self._end()
        elif (b ^ was) & TACK:
            self._synchronise(bool(b & TACK))
        self._drive_treq()
        self.last_b, self.last_acr = self.via.b, self.via.acr

    def shift_accessed(self) -> None:
        """Cuda clocks the register by the handshake lines alone."""

    @property
    def has_packet(self) -> bool:
        """A packet for the host is not yet sent whole."""
        return self.data_in_index < self.data_in_size

    @property
    def is_unsolicited(self) -> bool:
        """The packet is one that no command of the host asked for."""
        return self.data_in[0] == ADB_PACKET and bool(self.data_in[1] & AUTOPOLL_STATUS)

    def _drive_treq(self) -> None:
        asserted = self.has_packet or self.syncing
        self.via.drive_b(TREQ, 0 if asserted else TREQ)

    def _begin(self) -> None:
        """TIP falls: a packet begins, in the direction that ACR says."""
        self.adb.block(True)
        self.syncing = False
        if self.answer_timer.armed:
            # The host did not wait for its answer; it has none to wait for then.
            self.answer_timer.cancel()
            self._carry_out()
        if self.via.acr & SR_OUT and not (self.has_packet and self.is_unsolicited):
            self.data_in_index = self.data_in_size = self.data_out_index = 0

    def _take_byte(self) -> None:
        """A byte from the host is in the shift register.

        While a packet that was not asked for waits with TREQ low, this is a collision: the byte
        is not taken, and the host, seeing TREQ, gives way.
        """
        if not self.has_packet:
            if self.data_out_index < OUT_SIZE:
                self.data_out[self.data_out_index] = self.via.sr
                self.data_out_index += 1
            else:
                self.note("packet of more than 16 bytes")
        self._shift()

    def _give_byte(self) -> None:
        """The host is ready for a byte."""
        if self.has_packet:
            self.via.sr = self.data_in[self.data_in_index]
            self.data_in_index += 1
            self._shift()
        else:
            self.note("read of no packet")

    def _end(self) -> None:
        """TIP rises: a packet of the host is complete, or it has read ours."""
        if self.data_out_index:
            self.sr_delay_timer.cancel()
            self.answer_timer.set(self.clock.now + self._duration())
            return
        if self.has_packet and self.data_in_index:
            self.data_in_index = self.data_in_size  # given up half-way
        self._shift()
        if not self.has_packet:
            self.adb.block(False)

    def _synchronise(self, released: bool) -> None:
        """TACK moves outside a packet: TREQ follows it."""
        self.syncing = not released
        self._shift()

    def _shift(self, extra_ns: int = 0) -> None:
        self.sr_delay_timer.set(self.clock.now + SHIFT_NS + extra_ns)

    def _shifted(self) -> None:
        self.via.raise_flag(SR)

    # --- packets ------------------------------------------------------------------------------

    def _duration(self) -> int:
        """How long carrying out the packet takes, up to where an ADB device would answer."""
        if self.data_out[0] == ADB_PACKET:
            return self.adb.command_ns(bytes(self.data_out[1 : self.data_out_index]))
        return THINK_NS

    def _answer(self) -> None:
        data = self._carry_out()
        self._shift(self.adb.data_ns(data))
        self._drive_treq()
        self.last_b = self.via.b

    def _carry_out(self) -> int:
        """Carry out the host's packet and make the answer; the bytes that ADB gave."""
        packet = bytes(self.data_out[: self.data_out_index])
        self.data_out_index = 0
        got = 0
        if not packet:
            return got
        if packet[0] == ADB_PACKET:
            status, data = self.adb.request(packet[1:])
            got = len(data)
            self._send(bytes([ADB_PACKET, status]) + packet[1:2] + data)
        elif packet[0] == CUDA_PACKET:
            self._pseudo(packet[1:])
        else:
            self.note(f"packet of unknown type {packet[0]:#x}")
            self._send(bytes([ERROR_PACKET, BAD_TYPE, packet[0]]) + packet[1:2])
        return got

    def _send(self, packet: bytes) -> None:
        """Queue a packet for the host."""
        packet = packet[:IN_SIZE]
        self.data_in[: len(packet)] = packet
        self.data_in_size, self.data_in_index = len(packet), 0

    def _pseudo(self, packet: bytes) -> None:
        if not packet:
            self._send(bytes([ERROR_PACKET, BAD_SIZE, CUDA_PACKET]))
            return
        command, data = packet[0], packet[1:]
        known = COMMANDS.get(command)
        if known is None:
            self.note(f"unknown command {command:#04x}")
            self._fail(command, BAD_COMMAND)
            return
        least, most, act = known
        if not least <= len(data) <= most:
            self.note(f"command {command:#04x} with {len(data)} bytes")
            self._fail(command, BAD_SIZE)
            return
        reply = act(self, data)
        if isinstance(reply, int):
            self._fail(command, reply)
        else:
            self._send(bytes([CUDA_PACKET, 0, command]) + reply)

    def _fail(self, command: int, code: int) -> None:
        self._send(bytes([ERROR_PACKET, code, CUDA_PACKET, command]))

    # --- autopoll -----------------------------------------------------------------------------

    def _poll(self) -> None:
        """The poll timer of the bus is due; ask the devices when the host is not busy with us."""
        busy = not self.via.b & TIP or self.has_packet or self.syncing
        if busy or self.answer_timer.armed or self.sr_delay_timer.armed:
            return
        found = self.adb.autopoll()
        if found is not None:
            command, data = found
            self._send(bytes([ADB_PACKET, AUTOPOLL_STATUS, command]) + data)
            self.adb.block(True)
            self._drive_treq()
            self.last_b = self.via.b
            self._shift()


# --- pseudo commands: (least, most) bytes of data and what to do; an int is an error code ---------

Command = Callable[[Cuda, bytes], bytes | int]


def _warm_start(cuda: Cuda, _data: bytes) -> bytes:
    cuda.adb.set_autopoll(False)
    return b""


def _autopoll(cuda: Cuda, data: bytes) -> bytes:
    cuda.adb.set_autopoll(bool(data[0]))
    return b""


def _read_memory(cuda: Cuda, data: bytes) -> bytes | int:
    at = int.from_bytes(data, "big") - PRAM_ADDRESS
    return bytes(cuda.pram[at : at + 1]) if 0 <= at < PRAM_SIZE else BAD_PARAMETER


def _write_memory(cuda: Cuda, data: bytes) -> bytes | int:
    at, value = int.from_bytes(data[:2], "big") - PRAM_ADDRESS, data[2:]
    if not 0 <= at <= PRAM_SIZE - len(value):
        return BAD_PARAMETER
    cuda.pram[at : at + len(value)] = value
    return b""


def _read_time(cuda: Cuda, _data: bytes) -> bytes:
    return cuda.seconds.to_bytes(4, "big")


def _write_time(cuda: Cuda, data: bytes) -> bytes:
    now = cuda.clock.now // NS_PER_S
    cuda.tick_offset = (int.from_bytes(data, "big") - now) & 0xFFFF_FFFF
    return b""


def _read_pram(cuda: Cuda, data: bytes) -> bytes | int:
    at = int.from_bytes(data[:2], "big")
    if at >= PRAM_SIZE:
        return BAD_PARAMETER
    return bytes(cuda.pram[at : at + IN_SIZE - 3])


def _write_pram(cuda: Cuda, data: bytes) -> bytes | int:
    at, value = int.from_bytes(data[:2], "big"), data[2:]
    if at + len(value) > PRAM_SIZE:
        return BAD_PARAMETER
    cuda.pram[at : at + len(value)] = value
    return b""


def _power_down(cuda: Cuda, _data: bytes) -> bytes:
    cuda.power_off()
    return b""


def _wake_time(cuda: Cuda, data: bytes) -> bytes:
    cuda.wake_time = int.from_bytes(data, "big")
    return b""


def _accept(_cuda: Cuda, _data: bytes) -> bytes:
    """Commands to parts that these machines do not have, or that change nothing here.

    The sound chip's filter, IPL lines, the watchdog and its tickle, pin PB0, wake-up; messages of
    the power key, which is on the keyboard here.
    """
    return b""


def _reset_system(cuda: Cuda, _data: bytes) -> bytes:
    cuda.system_reset()
    return b""


def _file_server(cuda: Cuda, data: bytes) -> bytes:
    cuda.file_server = bool(data[0])
    return b""


def _write_rate(cuda: Cuda, data: bytes) -> bytes | int:
    if not data[0]:
        return BAD_PARAMETER
    cuda.adb.set_rate(data[0])
    return b""


def _read_rate(cuda: Cuda, _data: bytes) -> bytes:
    return bytes([cuda.adb.autopoll_rate_ms])


def _write_device_list(cuda: Cuda, data: bytes) -> bytes:
    cuda.adb.autopoll_mask = int.from_bytes(data, "big")
    return b""


def _read_device_list(cuda: Cuda, _data: bytes) -> bytes:
    return cuda.adb.autopoll_mask.to_bytes(2, "big")


def _one_second_mode(_cuda: Cuda, data: bytes) -> bytes | int:
    """No packet each second: the only mode there is here."""
    return BAD_PARAMETER if data[0] else b""


def _i2c(_cuda: Cuda, _data: bytes) -> int:
    """Nothing on the I2C bus acknowledges."""
    return I2C_FAILED


COMMANDS: Final[dict[int, tuple[int, int, Command]]] = {
    0x00: (0, 0, _warm_start),
    0x01: (1, 1, _autopoll),
    0x02: (2, 2, _read_memory),
    0x03: (0, 0, _read_time),
    0x07: (2, 2, _read_pram),
    0x08: (3, 12, _write_memory),
    0x09: (4, 4, _write_time),
    0x0A: (0, 0, _power_down),
    0x0B: (4, 4, _wake_time),
    0x0C: (3, 12, _write_pram),
    0x0D: (0, 1, _accept),
    0x0E: (1, 12, _accept),
    0x11: (0, 0, _reset_system),
    0x12: (1, 1, _accept),
    0x13: (1, 1, _file_server),
    0x14: (1, 1, _write_rate),
    0x16: (0, 0, _read_rate),
    0x19: (2, 2, _write_device_list),
    0x1A: (0, 0, _read_device_list),
    0x1B: (1, 1, _one_second_mode),
    0x21: (1, 1, _accept),
    0x22: (1, 14, _i2c),
    0x23: (1, 1, _accept),
    0x24: (0, 0, _accept),
    0x25: (2, 14, _i2c),
    0x26: (1, 1, _accept),
}
