"""A driver that keeps no rule: nothing outside its memory, bounded work, and no save is noticed."""

from __future__ import annotations

import random

import pytest

from tests.devices.usb import xhci_rig as r
from tests.devices.usb.test_xhci import MS, Rig
from tests.devices.usb.xhci_rig import Driver, setup, trb

MOST = 5000
"""Accesses to memory in one look: the budget, and a transfer begun before its end."""
ODD = (0, 1, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFF0, 0x1F_FFF0, 0x20_0000, 0x7FFF_FFFF_FFFF_FFC0)
PLACES = (r.BASE, r.COMMANDS, r.TABLE_AT, r.EVENTS, r.INPUT, r.OUTPUT + 0x1000, r.ENDPOINTS)
REQUESTS = (
    setup(0x80, 6, 0x100, 0, 18),
    setup(0x80, 6, 0x200, 0, 255),
    setup(0, 9, 1, 0, 0),
    setup(0x21, 10, 0x100, 0, 0),
    setup(0x21, 9, 0x200, 0, 1),
    setup(0xA3, 0, 0, 1, 4),
    setup(0x23, 3, 4, 1, 0),
    setup(0x80, 6, 0x100, 0, 0xFFFF),
    setup(0x21, 9, 0x200, 0, 0xFFFF),
)


class Counting(Rig):
    """A rig that counts what the controller fetches and stores."""

    def __init__(self, kind="nec-usb-xhci"):
        super().__init__(kind)
        self.accesses, inner = 0, self.xhci.memory
        rig = self

        class Memory:
            def read(self, address, length):
                rig.accesses += 1
                return inner.read(address, length)

            def write(self, address, data):
                rig.accesses += 1
                return inner.write(address, data)

        self.xhci.memory = Memory()


class Hostile:
    """One line of accesses, chosen by a seed; `step` is one of them."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.rig = Counting().plug()
        self.driver = Driver(self.rig)
        self.driver.start()
        self.kinds = set()

    def value(self):
        rng = self.rng
        place = rng.choice(PLACES) + 16 * rng.randrange(64)
        return rng.choice((*ODD, place, place, place | 1, rng.getrandbits(32), rng.getrandbits(64)))

    def block(self):
        rng = self.rng
        kind = rng.choice((*range(24), 6, 6, 49, 50, rng.randrange(64)))
        flags = rng.getrandbits(10) & rng.choice((0x3FF, 0x31, 0x21, 1)) | 1
        parameter = rng.choice((*REQUESTS, self.value(), self.value()))
        status = rng.choice((0, 8, 18, 64, 0x1_FFFF, rng.getrandbits(32)))
        high = rng.choice((0, 1, 2, 3, 65, 255)) << 24 | rng.choice((0, 1, 3, 31)) << 16
        return trb(parameter, status, kind, flags | high)

    def step(self):
        rng, rig = self.rng, self.rig
        core = rig.xhci.core
        halted = not core.running or core.usbsts & 0x1000
        if halted and rng.random() < 0.3:
            self.driver = Driver(rig)
            self.driver.start(run=rng.choice((5, 5, 1, 0x405)))
        match rng.randrange(12):
            case 0:
                if rng.random() < 0.1:
                    rig.set_reg(4 * rng.randrange(0x30), self.value() & 0xFFFF_FFFF)
            case 1:
                at = r.PORTS + 16 * rng.randrange(10) + 4 * rng.randrange(2)
                rig.set_reg(at, rng.choice((0x210, 0x1_0260, 0x1_0200, rng.getrandbits(32))))
            case 2:
                at = 0x1000 + 4 * rng.choice((8, 14, rng.randrange(0x90)))
                rig.set_reg(at, rng.choice((3, 2, 8, self.value() & 0xFFFF_FFFF)))
            case 3 | 4:
                self.slot()
            case 5:
                self.transfer()
            case 6:
                blocks = b"".join(self.block() for _ in range(rng.randrange(1, 12)))
                place = rng.choice((*PLACES, r.ENDPOINTS + 0x1000, r.ENDPOINTS + 0x3000))
                rig.set_bytes(place + 16 * rng.randrange(16), blocks)
            case 7:
                slot = rng.choice((0, 0, 1, 2, 3, 64, 65, 255))
                rig.set_reg(r.DOORBELLS + 4 * slot, rng.choice((0, 1, 3, 4, 31, 32, self.value())))
            case 8:
                if rng.random() < 0.3:
                    rig.set_bytes(rng.choice(PLACES), self.value().to_bytes(8, "little"))
            case 9:
                rig.step(rng.choice((1, 125_000, MS, 8 * MS, 40 * MS)))
            case 10:
                rig.keyboard.key(rng.choice((0, 1, 2)), rng.random() < 0.5)
                rig.devices[1].move(1, -1, rng.choice((0, 1)))
            case _:
                rig.reg(4 * rng.randrange(0x1000))

    def slot(self):
        """A slot with an address, mostly as a driver makes it, and a configured endpoint."""
        d, rng = self.driver, self.rng
        slot, port = rng.randrange(1, 4), rng.choice((5, 6, 8, 1, 99))
        d.a.set_reg(r.PORTS + 16 * (port & 15), 0x210)
        d.a.set_bytes(r.BASE + 8 * slot, d.output(slot).to_bytes(8, "little"))
        control = bytes(4) + (3).to_bytes(4, "little") + bytes(24)
        context = d.slot_context(port, route=rng.choice((0, 0, 1, 0x11111)))
        d.a.set_bytes(r.INPUT, control + context + d.endpoint_context(slot, 1, 4, 64))
        self.command(r.ENABLE_SLOT)
        self.command(r.ADDRESS, r.INPUT, slot << 24 | rng.choice((0, 0, 0x200)))
        if rng.random() < 0.7:
            number, kind = rng.choice(((3, 7), (3, 7), (2, 3), (5, 6), (4, 1)))
            d.a.set_bytes(r.INPUT, bytes(4) + (1 | 1 << number).to_bytes(4, "little") + bytes(24))
            d.a.set_bytes(r.INPUT + 32, d.slot_context(port, entries=number))
            interval = rng.choice((0, 3, 6, 255))
            made = d.endpoint_context(slot, number, kind, 8, interval)
            d.a.set_bytes(r.INPUT + 32 + 32 * number, made)
            self.command(r.CONFIGURE, r.INPUT, slot << 24)
        for kind in (r.STOP_ENDPOINT, r.SET_DEQUEUE, r.RESET_ENDPOINT, r.RESET_DEVICE):
            if rng.random() < 0.2:
                self.command(kind, self.value(), slot << 24 | rng.choice((1, 3, 4)) << 16)

    def command(self, *what):
        self.kinds |= {event[3] >> 10 & 63 for event in self.driver.command_all(*what)}

    def transfer(self):
        d, rng = self.driver, self.rng
        if not d.rings:
            return
        slot, number = rng.choice(list(d.rings))
        if number == 1:
            d.queue_control(slot, rng.choice(REQUESTS))
        else:
            d.queue_in(slot, number, rng.choice((0, 4, 8, 64)), rng.choice((0x24, 0x34, 0)))
        d.kick(slot, number)
        self.kinds |= {e[3] >> 10 & 63 for e in d.events(most=rng.choice((0, 64)))}


@pytest.mark.parametrize("seed", range(1, 7))
def test_no_driver_costs_more_than_a_bounded_look(seed: int) -> None:
    hostile = Hostile(seed)
    worst = 0
    for _ in range(400):
        before = hostile.rig.accesses
        hostile.step()
        worst = max(worst, hostile.rig.accesses - before)
        core = hostile.rig.xhci.core
        assert core.waiting < 1 << 32 * 65
        for port in core.ports:
            assert 0 <= port.portsc < 1 << 32
        hostile.rig.state()  # everything can be saved
    assert worst < MOST
    assert hostile.kinds >= {32, 33, 34}, "the run did not reach what it should"


@pytest.mark.parametrize("seed", range(6))
def test_a_save_between_two_accesses_is_not_noticed(seed: int) -> None:
    one, other = Hostile(seed), Hostile(seed)
    for n in range(200):
        one.step()
        other.step()
        if n % 9 == seed:
            cut = other.rig.cut()
            cut.accesses = 0
            other.rig = other.driver.a = cut
            for ring in (other.driver.commands, *other.driver.rings.values()):
                ring.a = cut
        assert one.rig.state() == other.rig.state(), n


@pytest.mark.parametrize("kind", [r.NO_OP, r.NORMAL, r.COMMAND_NO_OP, r.DISABLE_SLOT])
@pytest.mark.parametrize("links", [0, 1, 32])
def test_blocks_behind_links_without_end(kind: int, links: int) -> None:
    rig = Counting().plug()
    d = Driver(rig)
    d.start()
    d.port_reset(5)
    slot = d.enable()
    d.address(slot, 5)
    at = d.ring(slot, 1).at if kind < 9 else r.COMMANDS
    if kind >= 9:
        rig.set_reg(r.RING, at | 1)
        rig.set_reg(r.RING_HIGH, 0)
    chain = b"".join(trb(at + 16 * n + 16, 0, r.LINK, 1) for n in range(links))
    flags = 0x11 if kind == r.NORMAL else 1
    rig.set_bytes(at, chain + trb(0, 0, kind, flags | slot << 24) + trb(at, 0, r.LINK, 1))
    for _ in range(3):
        rig.accesses = 0
        rig.set_reg(r.DOORBELLS + 4 * (slot if kind < 9 else 0), kind < 9)
        assert rig.accesses < MOST
        rig.accesses = 0
        rig.step(125_000)
        assert rig.accesses < MOST
