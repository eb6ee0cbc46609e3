"""Grammar of xHCI: rings, contexts, commands, transfers, ports and messages as no driver has them.

The output contexts are in guest memory, so that a script gives an endpoint its ring there.
Source: docs/chips/xhci.md; xHCI 1.1, chapters 4 to 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gossamer.verify.hostile.records import SCRATCH, Script
from gossamer.verify.hostile.usb import REQUESTS

#: The region that a controller's registers are in.
REGISTERS: Final = "capabilities"
COMMAND, STATUS, NOTIFY, RING, CONTEXTS, CONFIG = 0x40, 0x44, 0x54, 0x58, 0x70, 0x78
PORTS, WINDOW, INTERRUPTERS, DOORBELLS, TABLE = 0x440, 0x1000, 0x1020, 0x2000, 0x3000
RUN: Final = (*[5] * 14, 0x405, 0x405, 1, 0, 0x105, 0x205)
RESET: Final = 2
PORT_COUNT: Final = 8
#: Ports with something in them, as registers count.
TAKEN: Final = (5, 6, 7)
#: Slots that are driven, and bytes of a slot's contexts.
SLOTS, CONTEXT = 6, 0x400
COMMON: Final = (1, 2, 3)
EVENTS: Final = 64
"""TRBs of an event ring, as it should be."""
MICROFRAME: Final = 3907
"""Turns of an empty loop."""
CYCLE, TOGGLE, SHORT, CHAIN, ON_COMPLETION, IMMEDIATE = 1, 2, 4, 0x10, 0x20, 0x40
NORMAL, SETUP, DATA, STATUS_STAGE, ISOCHRONOUS, LINK, EVENT_DATA, NO_OP = range(1, 9)
ENABLE, DISABLE, ADDRESS, CONFIGURE, EVALUATE, RESET_ENDPOINT, STOP, DEQUEUE, RESET_DEVICE = range(
    9, 18
)
OTHERS: Final = (21, 23, 49, 50, 18, 0, 63)
SET_CONFIGURATION: Final = 9
CONTROL, BULK_IN, INTERRUPT_IN = 4, 6, 7
KINDS: Final = (INTERRUPT_IN, INTERRUPT_IN, INTERRUPT_IN, 3, BULK_IN, 2, 5, 1, 0)

Trb = tuple[int, int, int]


class Xhci:
    """Drives the controller that is the n-th of its machine."""

    def __init__(self, script: Script, n: int) -> None:
        self.s, self.r, self.n = script, script.rng, n
        size = (SLOTS + 3) * CONTEXT + 4 * 16 * EVENTS
        #: What is always at the same place: contexts and event rings, at the end of the scratch.
        self.base = SCRATCH.stop - (n + 1) * -(-size // 0x1000) * 0x1000

    @property
    def at(self) -> int:
        return self.s.layout.at(REGISTERS, self.n)

    def step(self) -> None:
        if self.s.maybe(0.25):  # what sequences before this one made of it
            self.event_ring(0)
        match self.r.randrange(16):
            case 0:
                self.set_up()
            case 1:
                self.port()
            case 2 | 3:
                self.enumerate()
            case 4 | 5 | 6:
                self.transfer()
            case 7 | 8:
                self.report()
            case 9 | 10:
                self.command()
            case 11:
                self.events()
            case 12:
                self.message()
            case 13:
                self.loop()
            case 14:
                self.damage()
            case _:
                for _ in range(self.r.randrange(1, 6)):
                    at = self.r.choice((0x40, PORTS, WINDOW, DOORBELLS, TABLE))
                    self.write(at + 4 * self.r.randrange(0x40), self.s.value())
        if self.s.maybe(0.4):
            self.s.wait(self.r.choice((100, MICROFRAME, 9 * MICROFRAME)))
        if self.s.maybe(0.4):
            self.read()

    # --- registers --------------------------------------------------------------------------------

    def write(self, at: int, value: int) -> None:
        self.s.store_little(self.at + at, value)

    def write_long(self, at: int, value: int) -> None:
        self.write(at, value & 0xFFFF_FFFF)
        self.write(at + 4, value >> 32)

    def read(self) -> None:
        """What an interrupt handler looks at, and takes."""
        for at in (STATUS, INTERRUPTERS, PORTS + 16 * self.r.randrange(PORT_COUNT), WINDOW):
            self.s.load(self.at + at, self.r.choice((4, 4, 4, 2, 1)))
        self.write(STATUS, self.r.choice((0x418, 0xFFFF_FFFF, 8)))
        self.events()

    def place(self, at: int) -> int:
        """An address, which may be another one."""
        return at if self.s.maybe(0.97) else self.s.value()

    def set_up(self) -> None:
        s, r = self.s, self.r
        if s.maybe(0.1):
            self.write(COMMAND, RESET)
        self.write(CONFIG, r.choice((64, SLOTS, 0, 255)))
        s.words(self.base, (self.base + CONTEXT * 2, 0))
        for slot in range(1, SLOTS + 1):
            output = self.place(self.output(r.choice((slot, slot, slot, slot, slot, 1))))
            s.words(self.base + 8 * slot, (output, 0))
        self.write_long(CONTEXTS, self.place(self.base))
        for n in r.choice(((0,), (0,), (0, 1), (0, 1, 2, 15))):
            self.event_ring(n)
        self.write(NOTIFY, r.getrandbits(16))
        self.write(COMMAND, r.choice(RUN))

    def event_ring(self, n: int) -> None:
        s, r = self.s, self.r
        ring, table = self.events_at(n), self.base + CONTEXT + 16 * n
        size = r.choice((*[EVENTS] * 16, 16, 15, 4096, 4097))
        s.words(table, (self.place(ring), 0, size, 0))
        at = INTERRUPTERS + 32 * n
        self.write(at + 8, r.choice((*[1] * 20, 0, 2)))
        self.write_long(at + 0x18, ring | 8)
        self.write_long(at + 0x10, self.place(table))
        self.write(at + 4, r.choice((0, 160, 4000, s.value())))
        self.write(at, r.choice((2, 2, 2, 3, 0)))

    def events_at(self, n: int) -> int:
        return self.base + (SLOTS + 3) * CONTEXT + (n & 3) * 16 * EVENTS

    def output(self, slot: int) -> int:
        return self.base + (slot + 2) * CONTEXT

    def events(self) -> None:
        """The handler took events up to somewhere."""
        n = self.r.choice((0, 0, 0, 1, 2))
        taken = self.events_at(n) + 16 * self.r.randrange(EVENTS)
        taken = taken if self.s.maybe(0.99) else self.s.value()
        self.write_long(INTERRUPTERS + 32 * n + 0x18, taken | self.r.choice((8, 8, 0)))
        self.write(INTERRUPTERS + 32 * n, self.r.choice((3, 2, 1)))

    def port(self) -> None:
        at = PORTS + 16 * self.r.randrange(PORT_COUNT)
        links = [0x1_0200 | n << 5 for n in (0, 3, 4, 5, 15)]
        for value in (0x210, 0xFE_0200, *links, 1 << 31 | 0x200, 0, 2, 0xE00_0200):
            if self.s.maybe(0.25):
                self.write(at, value)
                self.s.wait(self.r.choice((10, MICROFRAME)))

    def message(self) -> None:
        """An entry of the table of messages, a part of one, or what is pending."""
        at = TABLE + 16 * self.r.randrange(17)
        words = (0, 0x400, self.r.choice((0x1300, 0x1301, self.s.value())), self.r.randrange(2))
        for n, value in enumerate(words):
            if self.s.maybe(0.7):
                self.write(at + 4 * n, self.place(value))
        if self.s.maybe(0.2):
            self.write(TABLE + 0x800 + 4 * self.r.randrange(4), self.s.value())
        self.s.load(self.at + at, self.r.choice((1, 2, 4)))

    # --- rings ------------------------------------------------------------------------------------

    def trbs(self, blocks: Sequence[Trb], cycle: int = 1) -> int:
        """A ring with these blocks and its end: its address."""
        at = self.s.room(16 * len(blocks) + 16, 64)
        for n, (parameter, status, control) in enumerate(blocks):
            low, high = parameter & 0xFFFF_FFFF, parameter >> 32
            self.s.words(at + 16 * n, (low, high, status, control | cycle))
        end = at + 16 * len(blocks)
        if self.s.maybe(0.1):  # it goes on, here or somewhere
            toggle = self.r.choice((0, TOGGLE, TOGGLE))
            self.s.words(end, (self.place(at), 0, 0, LINK << 10 | toggle | cycle))
        else:
            self.s.words(end, (0, 0, 0, 1 - cycle))
        return at

    def commands(self, *blocks: Trb) -> None:
        """Put commands where the controller looks for the next, and ring."""
        cycle = self.r.randrange(2)
        at = self.trbs(blocks, cycle)
        stops = self.r.choice((0, 0, 0, 0, 0, 0, 2, 4))
        self.write_long(RING, self.place(at) | cycle | stops)
        self.write(DOORBELLS, self.r.choice((*[0] * 9, 1)))

    def slot(self) -> int:
        number: int = self.r.choice((*range(1, SLOTS + 1), *COMMON * 6, 0, 64, 65, 255))
        return number

    def named(self, kind: int, slot: int, endpoint: int = 0, at: int = 0, flags: int = 0) -> Trb:
        """A command of a slot."""
        return at, 0, slot << 24 | endpoint << 16 | kind << 10 | flags

    def enumerate(self) -> None:
        """A device of a port gets a slot, an address and its endpoints."""
        port, slot = self.r.choice((*TAKEN * 4, *range(1, PORT_COUNT + 2))), self.slot()
        self.write(PORTS + 16 * (port - 1), 0x210)
        blocks = [self.named(ENABLE, 0)] * self.r.choice((0, 1, 3, SLOTS))
        keeps = self.r.choice((0, 0, 0, 0x200))
        blocks.append(self.named(ADDRESS, slot, 0, self.place(self.wanted(port, 3)), keeps))
        added = self.r.choice((1 << 3 | 1, 1 << 3 | 1, 1 << 3 | 1 << 4 | 1, self.r.getrandbits(32)))
        blocks.append(self.named(CONFIGURE, slot, 0, self.place(self.wanted(port, added))))
        if self.s.maybe(0.1):
            self.r.shuffle(blocks)
        self.commands(*blocks)
        for _ in range(2):
            self.control(slot, (0, SET_CONFIGURATION, self.r.choice((1, 1, 1, 0, 2)), 0, 0))

    def wanted(self, port: int, added: int) -> int:
        """An input context."""
        s, r = self.s, self.r
        at = s.room(0x20 * 7, 64)
        route = r.choice((0, 0, 0, 1, 2, r.getrandbits(20)))
        s.words(at, (r.choice((0, 0, 0, 0, 8, s.value())), added, *[0] * 6))
        s.words(at + 0x20, (route | 5 << 27, port << 16, 0, 0, 0, 0, 0, 0))
        s.words(at + 0x40, self.endpoint(CONTROL, self.trbs(())))
        for n in range(2, 6):
            s.words(at + 0x20 + 0x20 * n, self.endpoint(r.choice(KINDS), self.trbs(())))
        return at

    def endpoint(self, kind: int, ring: int, cycle: int = 1) -> list[int]:
        """An endpoint's context."""
        r = self.r
        state, interval = r.choice((1, 1, 1, 1, 0, 2, 3, 5)), r.choice((3, 3, 6, 0, 255))
        streams = r.choice((*[0] * 15, 1)) << 10
        first = interval << 16 | streams | state
        return [first, 8 << 16 | kind << 3 | 6, self.place(ring) | cycle, 0, 8, 0, 0, 0]

    def run(self, slot: int, number: int, kind: int, blocks: Sequence[Trb]) -> None:
        """Give an endpoint a ring, in its output context, and ring."""
        cycle = self.r.randrange(2)
        ring = self.trbs(blocks, cycle)
        where = self.output(slot if 1 <= slot <= SLOTS else 1) + 0x20 * number
        if self.s.maybe(0.6):
            self.s.words(where + 8, (self.place(ring) | cycle, 0))
        else:
            self.s.words(where, self.endpoint(kind, ring, cycle))
        self.write(DOORBELLS + 4 * slot, number | self.r.choice((0, 0, 0, 1 << 16, 1 << 8)))

    def control(self, slot: int, request: tuple[int, int, int, int, int]) -> None:
        kind, number, value, index, length = request
        way = kind >> 7 << 16
        setup = kind | number << 8 | value << 16 | index << 32 | length << 48
        interrupter = self.r.choice((0, 0, 0, 1, 15, 1023)) << 22
        blocks = [(setup, interrupter | 8, SETUP << 10 | IMMEDIATE | self._flags())]
        if length:
            at = self.place(self.s.room(length + 16))
            size = self.r.choice((length, length, length, 0, 0x1_FFFF))
            blocks.append((at, interrupter | size, DATA << 10 | way | self._flags()))
        blocks.append((0, interrupter, STATUS_STAGE << 10 | ON_COMPLETION))
        if self.s.maybe(0.1):
            del blocks[self.r.randrange(len(blocks))]
        self.run(slot, 1, CONTROL, blocks)

    def _flags(self) -> int:
        return self.r.choice((0, 0, 0, SHORT, ON_COMPLETION, CHAIN, SHORT | ON_COMPLETION))

    def transfer(self) -> None:
        self.control(self.slot(), self.r.choice(REQUESTS))
        if self.s.maybe(0.2):
            self.stop()

    def report(self) -> None:
        """What an input device has to say, into several buffers, some with events of their own."""
        s, r = self.s, self.r
        blocks = []
        for _ in range(r.choice((1, 1, 2, 4, 20))):
            size = r.choice((8, 4, 8, 64, 0, 0x1_FFFF))
            kind = r.choice((NORMAL, NORMAL, NORMAL, NORMAL, EVENT_DATA, NO_OP, ISOCHRONOUS, 40))
            at = self.place(s.room(min(size, 64) + 16))
            blocks.append((at, r.choice((0, 0, 3)) << 22 | size, kind << 10 | self._flags()))
        slot, number = self.slot(), r.choice((3, 3, 3, 3, 2, 4, 5, 31))
        self.run(slot, number, r.choice(KINDS), blocks)
        s.wait(r.choice((10, MICROFRAME, 8 * MICROFRAME, 16 * MICROFRAME)))
        if s.maybe(0.2):
            self.stop()

    def stop(self) -> None:
        """A transfer is stopped, and its ring may go on elsewhere."""
        slot, number = self.slot(), self.r.choice((1, 3, 3, 4, 0, 31))
        blocks = [self.named(STOP, slot, number)]
        if self.s.maybe(0.5):
            blocks.append(self.named(DEQUEUE, slot, number, self.place(self.trbs(())) | 1))
        self.commands(*blocks)
        if self.s.maybe(0.5):
            self.write(DOORBELLS + 4 * slot, number)

    def command(self) -> None:
        """Commands in any order."""
        r, blocks = self.r, []
        kinds = (ENABLE, DISABLE, CONFIGURE, EVALUATE, RESET_ENDPOINT, STOP, DEQUEUE, RESET_DEVICE)
        for _ in range(r.choice((1, 2, 3, 3, 8, 40))):
            kind = r.choice((*kinds, *OTHERS))
            at = self.place(self.wanted(r.randrange(PORT_COUNT + 2), r.randrange(16)))
            flags = r.choice((0, 0, 0, 0x200))
            blocks.append(self.named(kind, self.slot(), r.choice((1, 3, 0, 31)), at, flags))
        self.commands(*blocks)

    def loop(self) -> None:
        """Rings without an end: blocks and links in circles, transfers of endless chains."""
        s, r = self.s, self.r
        at = s.room(16 * 4, 64)
        kind = r.choice((NORMAL, EVENT_DATA, SETUP, NO_OP, ENABLE, STOP, 23, LINK))
        flags = r.choice((CHAIN, CHAIN, 0, ON_COMPLETION, CHAIN | ON_COMPLETION))
        for n in range(3):
            size = r.choice((8, 0x1_FFFF))
            s.words(at + 16 * n, (SCRATCH.start, 0, size, kind << 10 | flags | CYCLE))
        toggle = r.choice((0, TOGGLE))
        s.words(at + 48, (at, 0, 0, LINK << 10 | toggle | CHAIN | CYCLE))
        if s.maybe(0.4):
            self.write_long(RING, at | CYCLE)
            self.write(DOORBELLS, 0)
        else:
            slot, number = r.randrange(1, SLOTS + 1), r.choice((1, 3))
            s.words(self.output(slot) + 0x20 * number + 8, (at | CYCLE, 0))
            self.write(DOORBELLS + 4 * slot, number)
        s.wait(r.choice((MICROFRAME, 3 * MICROFRAME)))
        if s.maybe(0.7):  # and out of it again
            s.words(at, [0] * 16)

    def damage(self) -> None:
        """Words of contexts, rings and tables become others while they are in use."""
        for _ in range(self.r.randrange(1, 9)):
            words = (SLOTS + 3) * CONTEXT // 4
            self.s.words(self.base + 4 * self.r.randrange(words), (self.s.value(),))
