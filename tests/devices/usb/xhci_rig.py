"""A host driver for an xHCI: rings as a guest makes them, over any kind of machine access.

`Access` gives 32-bit numbers as PCI has them (little-endian) for registers, bytes for memory, and
lets time pass.
"""

from __future__ import annotations

from typing import Protocol

COMMAND, STATUS, NOTIFY, RING, RING_HIGH = 0x40, 0x44, 0x54, 0x58, 0x5C
CONTEXTS, CONTEXTS_HIGH, CONFIG, PORTS = 0x70, 0x74, 0x78, 0x440
RUNTIME, INTERRUPTER, DOORBELLS, TABLE, PENDING = 0x1000, 0x1020, 0x2000, 0x3000, 0x3800
RUN, RESET, INTERRUPT = 1, 2, 4
# TRB types.
NORMAL, SETUP, DATA, STATUS_STAGE, ISOCH, LINK, EVENT_DATA, NO_OP = range(1, 9)
ENABLE_SLOT, DISABLE_SLOT, ADDRESS, CONFIGURE, EVALUATE, RESET_ENDPOINT = range(9, 15)
STOP_ENDPOINT, SET_DEQUEUE, RESET_DEVICE = 15, 16, 17
COMMAND_NO_OP, FIRMWARE, CHALLENGE = 23, 49, 50
CYCLE, SHORT, CHAIN, IOC, IMMEDIATE = 1, 4, 0x10, 0x20, 0x40

BASE, COMMANDS, TABLE_AT, EVENTS, INPUT = 0x10000, 0x11000, 0x12000, 0x13000, 0x14000
OUTPUT, ENDPOINTS, DATA_AT = 0x20000, 0x40000, 0x80000
"""Device contexts array, command ring, event ring segment table, event ring, input context; output
contexts (0x1000 a slot), rings of endpoints (0x1000 each), buffers."""


class Access(Protocol):
    def reg(self, offset: int) -> int: ...
    def set_reg(self, offset: int, value: int) -> None: ...
    def bytes(self, at: int, size: int) -> bytes: ...
    def set_bytes(self, at: int, data: bytes) -> None: ...
    def step(self, ns: int) -> None: ...


def trb(parameter: int, status: int, kind: int, flags: int = 0) -> bytes:
    """The cycle bit is the ring's business."""
    words = (parameter & 0xFFFF_FFFF, parameter >> 32, status, kind << 10 | flags)
    return b"".join(n.to_bytes(4, "little") for n in words)


def words(data: bytes) -> list[int]:
    return [int.from_bytes(data[n : n + 4], "little") for n in range(0, len(data), 4)]


def setup(kind: int, request: int, value: int, index: int, length: int) -> int:
    """A request as the parameter of a setup stage."""
    return kind | request << 8 | value << 16 | index << 32 | length << 48


class Ring:
    """A ring of one segment that links to its own start."""

    def __init__(self, a: Access, at: int, size: int = 64) -> None:
        self.a, self.at, self.size = a, at, size
        self.index, self.cycle = 0, 1
        a.set_bytes(at, bytes(16 * size))

    def put(self, one: bytes) -> int:
        """Put a TRB; where it lies."""
        if self.index == self.size - 1:
            self._write(trb(self.at, 0, LINK, 2))
            self.index, self.cycle = 0, self.cycle ^ 1
        at = self._write(one)
        self.index += 1
        return at

    def _write(self, one: bytes) -> int:
        at = self.at + 16 * self.index
        self.a.set_bytes(at, one[:12] + bytes([one[12] & 0xFE | self.cycle]) + one[13:])
        return at


class Driver:
    """One interrupter, and as many slots and endpoints as there are."""

    def __init__(self, access: Access, *, events: int = 64) -> None:
        self.a, self.events_size = access, events
        self.rings: dict[tuple[int, int], Ring] = {}

    def start(self, *, run: int = RUN | INTERRUPT) -> None:
        a = self.a
        a.set_reg(COMMAND, RESET)
        a.set_reg(CONFIG, a.reg(4) & 0xFF)
        a.set_bytes(BASE, bytes(8 * 256))
        a.set_reg(CONTEXTS, BASE)
        a.set_reg(CONTEXTS_HIGH, 0)
        self.commands = Ring(a, COMMANDS)
        a.set_reg(RING, COMMANDS | CYCLE)
        a.set_reg(RING_HIGH, 0)
        self.make_events(0, TABLE_AT, EVENTS)
        a.set_reg(INTERRUPTER, 2)
        self.next, self.event_cycle = EVENTS, 1
        a.set_reg(COMMAND, run)

    def make_events(self, number: int, table: int, ring: int) -> None:
        a, at = self.a, INTERRUPTER + 0x20 * number
        a.set_bytes(ring, bytes(16 * self.events_size))
        a.set_bytes(table, ring.to_bytes(8, "little") + self.events_size.to_bytes(8, "little"))
        a.set_reg(at + 0x08, 1)
        a.set_reg(at + 0x18, ring)
        a.set_reg(at + 0x1C, 0)
        a.set_reg(at + 0x10, table)
        a.set_reg(at + 0x14, 0)

    # --- events -----------------------------------------------------------------------------------

    def events(self, *, most: int = 64) -> list[list[int]]:
        """What has come since the last look, four words each."""
        out = []
        for _ in range(most):
            one = words(self.a.bytes(self.next, 16))
            if one[3] & 1 != self.event_cycle:
                break
            out.append(one)
            self.next += 16
            if self.next == EVENTS + 16 * self.events_size:
                self.next, self.event_cycle = EVENTS, self.event_cycle ^ 1
        if out:
            self.a.set_reg(INTERRUPTER + 0x18, self.next | 8)
            self.a.set_reg(INTERRUPTER + 0x1C, 0)
        return out

    # --- commands ---------------------------------------------------------------------------------

    def command(self, kind: int, parameter: int = 0, flags: int = 0, status: int = 0) -> list[int]:
        """Carry out a command: the event's words."""
        self.commands.put(trb(parameter, status, kind, flags))
        self.a.set_reg(DOORBELLS, 0)
        found = [e for e in self.events() if e[3] >> 10 & 63 in (33, 48)]
        assert len(found) == 1, found
        return found[0]

    def command_all(self, kind: int, parameter: int = 0, flags: int = 0) -> list[list[int]]:
        """Carry out a command: every event that comes."""
        self.commands.put(trb(parameter, 0, kind, flags))
        self.a.set_reg(DOORBELLS, 0)
        return self.events()

    def port_reset(self, port: int) -> int:
        """Reset a port (from 1 on); what its register says then."""
        at = PORTS + 16 * (port - 1)
        self.a.set_reg(at, 0x210)
        self.a.step(1_000_000)
        self.a.set_reg(at, 0x200 | 0x00FE_0000)
        return self.a.reg(at)

    def enable(self) -> int:
        return self.command(ENABLE_SLOT)[3] >> 24

    def output(self, slot: int) -> int:
        return OUTPUT + 0x1000 * slot

    def ring(self, slot: int, endpoint: int) -> Ring:
        return self.rings[slot, endpoint]

    def make_ring(self, slot: int, endpoint: int) -> Ring:
        at = ENDPOINTS + 0x10000 * (slot - 1) + 0x1000 * endpoint
        made = self.rings[slot, endpoint] = Ring(self.a, at)
        return made

    def slot_context(self, port: int, *, speed: int = 3, entries: int = 1, route: int = 0) -> bytes:
        first = entries << 27 | speed << 20 | route
        return b"".join(n.to_bytes(4, "little") for n in (first, port << 16, 0, 0)) + bytes(16)

    def endpoint_context(
        self, slot: int, endpoint: int, kind: int, packet: int, interval: int = 0
    ) -> bytes:
        ring = self.make_ring(slot, endpoint)
        cells = (interval << 16, packet << 16 | kind << 3 | 3 << 1, ring.at | 1, 0, packet)
        return b"".join(n.to_bytes(4, "little") for n in cells) + bytes(12)

    def address(self, slot: int, port: int, *, speed: int = 3, route: int = 0, flags: int = 0,
                packet: int = 64) -> list[int]:  # fmt: skip
        a = self.a
        a.set_bytes(self.output(slot), bytes(0x400))
        a.set_bytes(BASE + 8 * slot, self.output(slot).to_bytes(8, "little"))
        control = bytes(4) + (3).to_bytes(4, "little") + bytes(24)
        context = self.slot_context(port, speed=speed, route=route)
        a.set_bytes(INPUT, control + context + self.endpoint_context(slot, 1, 4, packet))
        return self.command(ADDRESS, INPUT, slot << 24 | flags)

    def configure(self, slot: int, port: int, endpoint: int, kind: int, packet: int,
                  interval: int, *, speed: int = 3, route: int = 0) -> list[int]:  # fmt: skip
        a = self.a
        add = 1 | 1 << endpoint
        control = bytes(4) + add.to_bytes(4, "little") + bytes(24)
        a.set_bytes(INPUT, control + bytes(0x420))
        context = self.slot_context(port, speed=speed, entries=endpoint, route=route)
        a.set_bytes(INPUT + 32, context)
        made = self.endpoint_context(slot, endpoint, kind, packet, interval)
        a.set_bytes(INPUT + 32 + 32 * endpoint, made)
        return self.command(CONFIGURE, INPUT, slot << 24)

    # --- transfers --------------------------------------------------------------------------------

    def kick(self, slot: int, endpoint: int) -> None:
        self.a.set_reg(DOORBELLS + 4 * slot, endpoint)

    def queue_control(self, slot: int, request: int, data: bytes = b"") -> None:
        """Put a control transfer on the ring: every stage reports itself."""
        ring, length = self.ring(slot, 1), request >> 48
        reads = bool(request & 0x80)
        kind = 0 if not length else 3 if reads else 2
        ring.put(trb(request, 8, SETUP, kind << 16 | IMMEDIATE | IOC))
        if length:
            self.a.set_bytes(DATA_AT, data.ljust(length, b"\xee"))
            ring.put(trb(DATA_AT, length, DATA, int(reads) << 16 | IOC | SHORT))
        ring.put(trb(0, 0, STATUS_STAGE, int(not (reads and length)) << 16 | IOC))

    def control(self, slot: int, request: int, data: bytes = b"") -> tuple[list[list[int]], bytes]:
        """A control transfer: its events, and what was read."""
        self.queue_control(slot, request, data)
        self.kick(slot, 1)
        return self.events(), self.a.bytes(DATA_AT, request >> 48)

    def read(self, slot: int, request: int) -> bytes:
        """Data of a control transfer that works."""
        events, data = self.control(slot, request)
        assert events[-1][2] >> 24 == 1, events
        left = next((e[2] & 0xFF_FFFF for e in events if e[2] >> 24 == 13), 0)
        return data[: len(data) - left]

    def queue_in(self, slot: int, endpoint: int, size: int, flags: int = IOC | SHORT) -> int:
        self.a.set_bytes(DATA_AT + 0x800, b"\xee" * size)
        return self.ring(slot, endpoint).put(trb(DATA_AT + 0x800, size, NORMAL, flags))
