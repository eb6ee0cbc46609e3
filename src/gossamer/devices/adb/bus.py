"""Apple Desktop Bus: one master, up to 16 addresses, commands of one byte.

A command names an address and Talk, Listen, Flush or SendReset of a register.  The master (Cuda or
PMU) polls devices for register 0 by itself: autopoll.  Source: Apple Guide to the Macintosh
Family Hardware, chapter 8; docs page adb.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.core.clock import Alarm, Clock
from gossamer.core.device import Device
from gossamer.state.declare import alarm, boolean, i32, u8, u16, wiring
from gossamer.state.layout import NOTHING, Item, Nested, subsection

BIT_NS: Final = 100_000
"""One bit cell on the bus."""
ATTENTION: Final = 865
"""Attention and sync pulse, hundredths of a bit."""
COMMAND: Final = 900
"""Eight command bits and a stop bit."""
TURNAROUND: Final = 200
"""Stop to start time; a device that has nothing lets it pass in silence."""
RESET: Final = 3000
"""SendReset: the bus is held low."""

OK, TIMEOUT = 0x00, 0x02
"""Status of a transaction, as Cuda reports it."""

SEND_RESET, FLUSH, LISTEN, TALK = 0x0, 0x1, 0x8, 0xC
SRQ_ENABLED: Final = 0x60
"""Register 3, high byte: no exceptional event, service request enabled."""


class AdbDevice(Device):
    """A device on the bus: its address, its handler, and registers 0..3."""

    devaddr: int = i32()
    handler: int = i32()

    default_address: int = wiring()
    default_handler: int = wiring()

    def __init__(self, clock: Clock, bus: AdbBus, address: int, handler: int) -> None:
        super().__init__(clock)
        self.idstr = self.vmsd
        self.default_address, self.default_handler = address, handler
        bus.devices.append(self)
        self.reset()

    def reset(self) -> None:
        """Power on: as SendReset, with nothing queued."""
        super().reset()
        self.send_reset()

    def send_reset(self) -> None:
        """SendReset: the address and handler of the box, nothing queued."""
        self.devaddr, self.handler = self.default_address, self.default_handler
        self.flush()

    def accepts(self, handler: int) -> bool:
        """Whether the device can take `handler` as its handler."""
        return handler == self.default_handler

    def flush(self) -> None:
        """Forget what is queued."""

    @property
    def has_data(self) -> bool:
        """Register 0 has something to report."""
        return False

    def talk(self, register: int) -> bytes:
        """The content of a register, 2 to 8 bytes; nothing: the device stays silent."""
        if register == 3:
            return bytes([SRQ_ENABLED | self.devaddr & 0xF, self.handler & 0xFF])
        return b""

    def listen(self, register: int, data: bytes) -> None:
        """The master wrote a register."""
        if register != 3 or len(data) < 2:
            return
        match data[1]:
            case 0x00 | 0xFE:  # plain change; change if no collision was seen
                self.devaddr = data[0] & 0xF
            case 0xFD | 0xFF:  # change if activated; self-test: no activator, always well
                self.note(f"listen register 3 with handler {data[1]:#x}")
            case handler if self.accepts(handler):
                self.handler = handler
            case _:
                pass


def parent_struct() -> Item:
    """The struct in which address and handler travel."""
    return Nested("parent_obj", lambda device: device, "adb_device", 0, ["devaddr", "handler"])


class AdbBus(Device):
    """The bus and its master's poll timer.

    While autopoll is enabled and not blocked, `poll` is called every `autopoll_rate_ms`; it
    asks `autopoll` for data when the master can take it.  `bit_ns` is the time of a bit: a machine
    that should not spend host time on guests polling a slow bus may choose a faster one.
    """

    vmsd = "adb_bus"

    extra = subsection("adb_bus/gossamer", ours=True, lost=NOTHING)

    autopoll_timer: Alarm = alarm("_poll_due")
    autopoll_enabled: bool = boolean()
    autopoll_rate_ms: int = u8(20)
    autopoll_mask: int = u16(0xFFFF)
    autopoll_blocked: bool = boolean()
    #: Address that answered the last poll; the next poll begins behind it.
    last_answered: int = u8(within=extra)

    devices: list[AdbDevice] = wiring()
    bit_ns: int = wiring()
    poll: Callable[[], None] = wiring()

    @extra.needed
    def extra_needed(self) -> bool:
        """A poll would not begin at the first address."""
        return self.last_answered != 0

    def __init__(self, clock: Clock, *, bit_ns: int = BIT_NS) -> None:
        super().__init__(clock)
        self.idstr, self.bit_ns = "adb_bus", bit_ns
        self.devices, self.poll = [], _no_master
        self.reset()
        clock.may_skip(self.autopoll_timer, self._quiet, self._skip)

    # --- transactions -------------------------------------------------------------------------

    def request(self, packet: bytes) -> tuple[int, bytes]:
        """Carry out a command with its data: status and what the device answered."""
        if not packet:
            return TIMEOUT, b""
        command, data = packet[0], packet[1:]
        if command & 0xF == SEND_RESET:
            for device in self.devices:
                device.send_reset()
            return OK, b""
        here = [d for d in self.devices if d.devaddr & 0xF == command >> 4]
        kind, register = command & 0xC, command & 3
        if kind == TALK:
            answers = [a for a in (d.talk(register) for d in here) if a]
            return (OK, answers[0]) if answers else (TIMEOUT, b"")
        for device in here:
            if kind == LISTEN:
                device.listen(register, data)
            elif command & 0xF == FLUSH:
                device.flush()
        if kind == LISTEN or command & 0xF == FLUSH:
            return OK if here else TIMEOUT, b""
        self.note(f"reserved command {command:#04x}")
        return TIMEOUT, b""

    def data_ns(self, count: int) -> int:
        """Time of a data phase of `count` bytes: start bit, bytes, stop bit."""
        return (2 + 8 * count) * self.bit_ns if count else 0

    def command_ns(self, packet: bytes) -> int:
        """Time on the bus until a device would answer."""
        if packet and packet[0] & 0xF == SEND_RESET:
            return RESET * self.bit_ns // 100
        fixed = (ATTENTION + COMMAND + TURNAROUND) * self.bit_ns // 100
        return fixed + self.data_ns(len(packet) - 1)

    def autopoll(self) -> tuple[int, bytes] | None:
        """Talk to each device of the mask until one answers: (command, data)."""
        for step in range(1, 17):
            address = (self.last_answered + step) & 0xF
            if not self.autopoll_mask >> address & 1:
                continue
            for device in self.devices:
                if device.devaddr & 0xF == address and device.has_data:
                    data = device.talk(0)
                    if data:
                        self.last_answered = address
                        return address << 4 | TALK, data
        return None

    # --- polling ------------------------------------------------------------------------------

    @property
    def period(self) -> int:
        """Between polls, ns."""
        return max(self.autopoll_rate_ms, 1) * 1_000_000

    def set_autopoll(self, enabled: bool) -> None:
        if enabled != self.autopoll_enabled:
            self.autopoll_enabled = enabled
            self._schedule()

    def set_rate(self, ms: int) -> None:
        self.autopoll_rate_ms = ms
        if self.autopoll_timer.armed:
            self._schedule()

    def block(self, blocked: bool) -> None:
        """The master is busy (no polls), or free again."""
        if blocked != self.autopoll_blocked:
            self.autopoll_blocked = blocked
            self._schedule()

    def _schedule(self) -> None:
        if self.autopoll_enabled and not self.autopoll_blocked:
            self.autopoll_timer.set(self.clock.now + self.period)
        else:
            self.autopoll_timer.cancel()

    def _quiet(self) -> bool:
        """Whether a poll would find nothing now."""
        return not any(device.has_data for device in self.devices)

    def _skip(self, before: int) -> None:
        """Polls that find nothing, up to `before`, at once."""
        due = self.autopoll_timer.when
        count = (before - 1 - due) // self.period + 1
        self.autopoll_timer.set(due + count * self.period)

    def _poll_due(self) -> None:
        self.autopoll_timer.set(self.autopoll_timer.due + self.period)
        self.poll()


def _no_master() -> None:
    """No host polls."""
