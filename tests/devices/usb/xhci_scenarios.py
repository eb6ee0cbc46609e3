"""What a driver does with an xHCI, and what it sees: the same on any controller.

Each scenario gives what it saw; `RECORDED` is what QEMU 7.2 answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.devices.usb.xhci_rig import (
    ADDRESS,
    CHAIN,
    CHALLENGE,
    COMMAND,
    COMMAND_NO_OP,
    COMMANDS,
    CONFIGURE,
    DATA,
    DATA_AT,
    DISABLE_SLOT,
    DOORBELLS,
    ENABLE_SLOT,
    EVALUATE,
    EVENT_DATA,
    EVENTS,
    IMMEDIATE,
    INPUT,
    INTERRUPT,
    INTERRUPTER,
    IOC,
    NORMAL,
    PORTS,
    RESET,
    RESET_DEVICE,
    RESET_ENDPOINT,
    RING,
    RING_HIGH,
    RUN,
    SET_DEQUEUE,
    SETUP,
    SHORT,
    STATUS,
    STATUS_STAGE,
    STOP_ENDPOINT,
    TABLE_AT,
    Access,
    Driver,
    setup,
    trb,
    words,
)

MS = 1_000_000
Seen = list[Any]
KEYBOARD, MOUSE, HUB = 5, 6, 8
"""Ports."""


def shown(events: list[list[int]]) -> list[str]:
    return [" ".join(f"{word:08x}" for word in event) for event in events]


def state(d: Driver, slot: int, endpoint: int) -> list[str]:
    """Slot context and an endpoint's."""
    at = d.output(slot)
    return [d.a.bytes(at, 32).hex(), d.a.bytes(at + 32 * endpoint, 32).hex()]


def started(a: Access) -> Driver:
    d = Driver(a)
    d.start()
    return d


def device(a: Access, port: int = KEYBOARD) -> tuple[Driver, int]:
    """A driver whose first slot is a device with an address."""
    d = started(a)
    speed = d.port_reset(port) >> 10 & 15
    d.events()
    slot = d.enable()
    event = d.address(slot, port, speed=speed, packet=64 if speed == 3 else 8)
    assert event[2] >> 24 == 1, event
    return d, slot


def registers(a: Access) -> Seen:
    a.set_reg(COMMAND, RESET)
    places = (*range(0, 0x80, 4), *range(0x440, 0x4D0, 4), *range(0x1004, 0x1060, 4), 0x2000)
    return [[hex(at), hex(a.reg(at))] for at in places]


def writable(a: Access) -> Seen:
    a.set_reg(COMMAND, RESET)
    out: Seen = []
    places = (*range(0, 0x40, 4), *range(0x44, 0x7C, 4), *range(0x1004, 0x1060, 4))
    for value in (0xFFFF_FFF7, 0):
        for at in places:
            if at not in (0x1030, 0x1034, 0x1050, 0x1054):
                a.set_reg(at, value)
                out.append([hex(at), hex(a.reg(at))])
    return out


def run_and_halt(a: Access) -> Seen:
    d = started(a)
    out = [a.reg(STATUS), a.reg(COMMAND), d.events()]
    for value in (0, RUN, RUN | 0x100, RUN | 0x200, RUN | 0xFFFF_F070, RUN | INTERRUPT, 0):
        a.set_reg(COMMAND, value)
        out.append([hex(value), hex(a.reg(COMMAND)), hex(a.reg(STATUS))])
    for value in (0x10, 0xFFFF_FFFF):
        a.set_reg(STATUS, value)
        out.append(hex(a.reg(STATUS)))
    return out


def ports(a: Access) -> Seen:
    d = started(a)
    out: Seen = []
    for port in (1, KEYBOARD, HUB):
        at = PORTS + 16 * (port - 1)
        for value in (
            *(0x200, 0x210, 0x220_0200, 0x2_0200, 0x1_0260, 0x1_0260, 0x1_0200, 0x40_0200),
            *(0x1_0260, 0x1_03E0, 0x1_0200, 0x1_02A0, 0x202, 0x200, 0, 0x200, 0x8000_0200),
            *(0xE00_C200, 0xFE_0200, 0x210, 0xFE_0200, 0x1_0200, 0xFFFF_FFEF, 0xFE_0200),
        ):
            a.set_reg(at, value)
            a.step(MS)
            out.append([port, hex(value), hex(a.reg(at)), shown(d.events())])
    return out


def commands(a: Access) -> Seen:
    d = started(a)
    out: Seen = []
    for kind in (*range(1, 6), 7, 9, 10, 18, 19, 20, 22, 23, 24, 31, 48, 49, 51, 63):
        out.append([kind, shown([d.command(kind, 0x1234_5678, 1 << 24)])])
        out.append(hex(a.reg(RING)))
    for parameter in (0, 0x1234_5678_9ABC_DEF0, 0xFFFF_FFFF_FFFF_FFFF, 0x0102_0304_0506_0708):
        out.append(shown([d.command(CHALLENGE, parameter)]))
    out.append(hex(a.reg(STATUS)))
    return out


def slots(a: Access) -> Seen:
    d = started(a)
    out: Seen = [d.enable() for _ in range(3)]
    for slot in (0, 1, 4, 65, 255, 2):
        for kind in (*range(DISABLE_SLOT, RESET_DEVICE + 1),):
            out.append([slot, kind, shown([d.command(kind, 0, slot << 24 | 1 << 16)])])
    out.append([d.enable() for _ in range(64)])
    out.append(shown([d.command(ENABLE_SLOT)]))
    return out


def addresses(a: Access) -> Seen:
    d = started(a)
    out: Seen = []
    for port in (KEYBOARD, MOUSE, HUB):
        d.port_reset(port)
    d.events()
    for slot, port, flags, speed in (
        *((1, KEYBOARD, 0, 3), (2, KEYBOARD, 0, 3), (3, 1, 0, 3), (4, 7, 0, 3), (5, 99, 0, 3)),
        *((6, MOUSE, 0x200, 3), (6, MOUSE, 0, 3), (7, 0, 0, 3), (8, HUB, 0, 1)),
        *((1, KEYBOARD, 0, 3), (2, KEYBOARD, 0x200, 3)),
    ):
        d.enable()
        out.append([slot, port, shown([d.address(slot, port, flags=flags, speed=speed)])])
        out.append(state(d, slot, 1))
    for add in (0, 1, 2, 7):
        d.a.set_bytes(INPUT + 4, add.to_bytes(4, "little"))
        out.append(shown([d.command(ADDRESS, INPUT, 1 << 24)]))
    out.append(shown([d.command(DISABLE_SLOT, 0, 1 << 24)]))
    out.append(state(d, 1, 1))
    out.append(shown([d.address(9, KEYBOARD)]))
    return out


def descriptors(a: Access) -> Seen:
    out: Seen = []
    for port in (KEYBOARD, MOUSE, HUB):
        d, slot = device(a, port)
        for value in (0x100, 0x200, 0x300, 0x600):
            if value == 0x600 and port == HUB:
                continue
            out.append(d.read(slot, setup(0x80, 6, value, 0, 255)).hex())
    return out


def control_events(a: Access) -> Seen:
    """Which block reports what."""
    d, slot = device(a)
    out: Seen = []
    for flags in (
        *((IOC, IOC, IOC), (0, 0, IOC), (0, SHORT, 0), (0, SHORT, IOC), (0, IOC | SHORT, 0)),
        *((0, 0, 0), (IOC, 0, 0)),
    ):
        for length in (8, 18, 64):
            ring, request = d.ring(slot, 1), setup(0x80, 6, 0x100, 0, length)
            ring.put(trb(request, 8, SETUP, 3 << 16 | IMMEDIATE | flags[0]))
            ring.put(trb(DATA_AT, length, DATA, 1 << 16 | flags[1]))
            ring.put(trb(0, 0, STATUS_STAGE, flags[2]))
            d.kick(slot, 1)
            out.append([flags, length, shown(d.events()), state(d, slot, 1)[1][16:32]])
    # A data stage of several blocks, with an Event Data block behind.
    for kind, at_end in ((NORMAL, SHORT), (NORMAL, 0), (EVENT_DATA, 0)):
        ring, request = d.ring(slot, 1), setup(0x80, 6, 0x100, 0, 42)
        ring.put(trb(request, 8, SETUP, 3 << 16 | IMMEDIATE))
        ring.put(trb(DATA_AT, 8, DATA, 1 << 16 | CHAIN | at_end))
        ring.put(trb(DATA_AT + 8, 4, NORMAL, CHAIN))
        if kind == EVENT_DATA:
            ring.put(trb(DATA_AT + 12, 30, NORMAL, CHAIN))
            ring.put(trb(0x1122_3344_5566_7788, 0, EVENT_DATA, IOC))
        else:
            ring.put(trb(DATA_AT + 12, 30, NORMAL, IOC | at_end))
        ring.put(trb(0, 0, STATUS_STAGE, IOC))
        d.kick(slot, 1)
        out.append([kind, at_end, shown(d.events()), a.bytes(DATA_AT, 18).hex()])
    return out


def stalls(a: Access) -> Seen:
    d, slot = device(a)
    out: Seen = []
    for request, data in (
        *((setup(0x80, 6, 0x900, 0, 18), b""), (setup(0, 77, 0, 0, 0), b"")),
        *((setup(0x21, 99, 0, 0, 4), b"abcd"), (setup(0xC0, 1, 0, 0, 4), b"")),
    ):
        d.queue_control(slot, request, data)
        d.kick(slot, 1)
        out.append([hex(request), shown(d.events()), state(d, slot, 1)])
        d.kick(slot, 1)
        out.append(shown(d.events()))
        # While it is halted.
        ring = d.ring(slot, 1)
        where = ring.at + 16 * ring.index | ring.cycle
        for kind, parameter in (
            *((SET_DEQUEUE, where), (EVALUATE, INPUT), (RESET_ENDPOINT, 0), (RESET_ENDPOINT, 0)),
            *((SET_DEQUEUE, where), (STOP_ENDPOINT, 0), (SET_DEQUEUE, where | 2)),
        ):
            out.append(shown([d.command(kind, parameter, slot << 24 | 1 << 16)]))
            out.append(state(d, slot, 1))
        out.append(d.read(slot, setup(0x80, 6, 0x100, 0, 18)).hex())
    return out


def configured(a: Access) -> tuple[Driver, int]:
    d, slot = device(a)
    event = d.configure(slot, KEYBOARD, 3, 7, 8, 6)
    assert event[2] >> 24 == 1, event
    d.control(slot, setup(0, 9, 1, 0, 0))
    d.control(slot, setup(0x21, 10, 0, 0, 0))
    return d, slot


def configure(a: Access) -> Seen:
    d, slot = device(a)
    out: Seen = []
    for endpoint, kind, packet, interval in ((3, 7, 8, 6), (4, 2, 512, 0), (31, 6, 512, 0)):
        event = d.configure(slot, KEYBOARD, endpoint, kind, packet, interval)
        out.append([shown([event]), state(d, slot, endpoint)])
    for drop, add in ((0x8, 1), (0, 9), (1, 1), (2, 1), (0, 0), (0, 3), (0x8, 9), (0x10, 1)):
        words_ = drop.to_bytes(4, "little") + add.to_bytes(4, "little")
        a.set_bytes(INPUT, words_)
        out.append([drop, add, shown([d.command(CONFIGURE, INPUT, slot << 24)])])
        out.append([state(d, slot, 3), state(d, slot, 4)])
    for number in (1, 3, 4, 9, 31):
        for kind in (STOP_ENDPOINT, RESET_ENDPOINT, SET_DEQUEUE, STOP_ENDPOINT):
            event = d.command(kind, 0x4_5671, slot << 24 | number << 16)
            out.append([number, kind, shown([event]), state(d, slot, number)])
    out.append([shown([d.command(CONFIGURE, 0, slot << 24 | 1 << 9)]), state(d, slot, 31)])
    out.append([shown([d.command(RESET_DEVICE, 0, slot << 24)]), state(d, slot, 31)])
    out.append([shown([d.command(CONFIGURE, INPUT, slot << 24)]), state(d, slot, 1)])
    return out


def evaluate(a: Access) -> Seen:
    d, slot = device(a)
    out: Seen = []
    for drop, add in ((0, 1), (0, 2), (0, 3), (0, 4), (2, 1), (0, 0)):
        cells = drop.to_bytes(4, "little") + add.to_bytes(4, "little")
        a.set_bytes(INPUT, cells + bytes(24) + b"\xff" * 64)
        out.append([drop, add, shown([d.command(EVALUATE, INPUT, slot << 24)]), state(d, slot, 1)])
    return out


def bandwidth(a: Access) -> Seen:
    d = started(a)
    a.set_bytes(DATA_AT, b"\xee" * 16)
    return [shown([d.command(21, DATA_AT, 0)]), a.bytes(DATA_AT, 16).hex()]


def interrupts_in(a: Access) -> Seen:
    """An interrupt endpoint with nothing to say, stopped, and set on its way again."""
    d, slot = configured(a)
    out: Seen = []
    d.queue_in(slot, 3, 8)
    d.kick(slot, 3)
    a.step(20 * MS)
    out.append([shown(d.events()), state(d, slot, 3)])
    out.append(shown(d.command_all(STOP_ENDPOINT, 0, slot << 24 | 3 << 16)))
    return out


def bulk(a: Access) -> Seen:
    """Endpoints that the device has not."""
    out: Seen = []
    for endpoint, kind in ((4, 2), (5, 6), (6, 3), (7, 7), (8, 1), (9, 5)):
        d, slot = device(a)
        d.configure(slot, KEYBOARD, endpoint, kind, 512, 0)
        d.ring(slot, endpoint).put(trb(DATA_AT, 64, NORMAL, IOC))
        d.kick(slot, endpoint)
        a.step(2 * MS)
        out.append([endpoint, kind, shown(d.events()), state(d, slot, endpoint)[1]])
    return out


def small_ring(a: Access) -> Seen:
    """More events than the ring takes."""
    d = Driver(a, events=16)
    d.start()
    out: Seen = []
    for _ in range(24):
        d.commands.put(trb(0, 0, COMMAND_NO_OP))
        a.set_reg(DOORBELLS, 0)
    out.append(words(a.bytes(EVENTS, 16 * 16)))
    out.append([hex(a.reg(STATUS)), hex(a.reg(INTERRUPTER)), hex(a.reg(INTERRUPTER + 0x18))])
    out.append(len(d.events()))
    out.append([hex(a.reg(STATUS)), hex(a.reg(INTERRUPTER)), hex(a.reg(INTERRUPTER + 0x18))])
    d.commands.put(trb(0, 0, COMMAND_NO_OP))
    a.set_reg(DOORBELLS, 0)
    out.append(words(a.bytes(EVENTS, 16 * 16)))
    return out


def pending(a: Access) -> Seen:
    """IP, EHB and EINT through an event and its acknowledgement."""
    d = started(a)
    out: Seen = []

    def look() -> None:
        places = (STATUS, INTERRUPTER, INTERRUPTER + 0x18)
        out.append([hex(a.reg(at)) for at in places])

    look()
    for _ in range(2):
        d.commands.put(trb(0, 0, COMMAND_NO_OP))
        a.set_reg(DOORBELLS, 0)
        look()
    a.set_reg(STATUS, 8)
    look()
    a.set_reg(INTERRUPTER, 3)
    look()
    a.set_reg(INTERRUPTER + 0x18, EVENTS + 16 | 8)
    look()
    a.set_reg(INTERRUPTER, 3)
    a.set_reg(STATUS, 8)
    a.set_reg(INTERRUPTER + 0x18, EVENTS + 32 | 8)
    look()
    a.set_reg(INTERRUPTER + 0x18, EVENTS + 32)
    look()
    return out


def rings_of_events(a: Access) -> Seen:
    """Segment tables that are none."""
    out: Seen = []
    for count, size in ((0, 64), (1, 64), (2, 64), (1, 0), (1, 15), (1, 16), (1, 4096), (1, 4097)):
        d = started(a)
        a.set_bytes(TABLE_AT, EVENTS.to_bytes(8, "little") + size.to_bytes(8, "little"))
        a.set_reg(INTERRUPTER + 8, count)
        a.set_reg(INTERRUPTER + 0x10, TABLE_AT)
        a.set_reg(INTERRUPTER + 0x14, 0)
        out.append([count, size, hex(a.reg(STATUS))])
        d.commands.put(trb(0, 0, COMMAND_NO_OP))
        a.set_reg(DOORBELLS, 0)
        out.append([hex(a.reg(STATUS)), words(a.bytes(EVENTS, 16))])
    return out


def stop_commands(a: Access) -> Seen:
    d = started(a)
    out: Seen = [hex(a.reg(RING))]
    d.command(COMMAND_NO_OP)
    for value in (2, 4, 6, COMMANDS | 1, COMMANDS | 7):
        a.set_reg(RING, value)
        out.append(hex(a.reg(RING)))
        a.set_reg(RING_HIGH, 0)
        out.append([hex(value), hex(a.reg(RING)), shown(d.events())])
    return out


SCENARIOS: dict[str, Callable[[Access], Seen]] = {
    one.__name__: one
    for one in (
        registers, writable, run_and_halt, ports, commands, slots, addresses, descriptors,
        control_events, stalls, configure, evaluate, bandwidth, interrupts_in, bulk,
        small_ring, pending, rings_of_events, stop_commands,
    )
}  # fmt: skip
