"""The part of a hostile guest that is about virtual I/O: cards, adapters, SCSI commands.

Sources: LoPAR 16.4, 17.2; SRP (T10/1415-D); SPC-3.
"""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING, Final

from gossamer.devices.spapr.llan import LogicalLan

if TYPE_CHECKING:
    from gossamer.verify.hostile.server import ServerGuest

#: The terminal, the NVRAM, a card, an adapter, and what is not there.
LAN, SCSI = 0x7100_0002, 0x7100_0003
UNITS: Final = (0x7100_0000, 0x7100_0001, LAN, SCSI, 0x7100_0004)
#: Pages of the windows that are mapped, and what is in them, from here on.
BASE, PAGES = 0x90_0000, 32
LIST, QUEUE, FILTERS, CRQ, IU, DATA = (BASE + 0x1000 * n for n in range(6))
PUT_TCE, REG_CRQ, FREE_CRQ, SIGNAL, SEND_CRQ = 0x20, 0xFC, 0x100, 0x104, 0x108
REGISTER, FREE, LEND, SEND = 0x114, 0x118, 0x11C, 0x120
OPS: Final = bytes.fromhex(
    "0003040812151617 1a1b1d1e25282a2b2e2f35414243464a5155565a888a8f919e93a0a8aaadbdbe60ff"
)


def set_up(guest: ServerGuest) -> None:
    """Open the card and the adapter as a driver does, with a buffer lent."""
    for unit in (LAN, SCSI):
        for n in range(PAGES):
            guest.call(PUT_TCE, unit, BASE + 0x1000 * n, BASE + 0x1000 * n | 3)
        guest.call(SIGNAL, unit, 1)
    guest.call(REGISTER, LAN, LIST, 1 << 63 | 64 << 32 | QUEUE, FILTERS, 0)
    guest.call(REG_CRQ, SCSI, CRQ, 0x1000)
    guest.call(LEND, LAN, 1 << 63 | 0x800 << 32 | DATA)


def step(guest: ServerGuest) -> None:
    """Something that a guest can do to a card or an adapter."""
    r = guest.rng
    match r.randrange(12):
        case 0 | 10:
            _map(guest)
        case 1 | 11:
            _open(guest)
        case 2:
            _frame(guest)
        case 3:
            guest.call(LEND, LAN, _descriptor(guest))
        case 4:
            bds = [_descriptor(guest) for _ in range(r.randrange(7))] + [0] * 6
            guest.call(SEND, LAN, *bds[:6], r.choice((0, 0, 0, 1)))
        case _:
            for _ in range(3):
                _message(guest)


def _map(guest: ServerGuest) -> None:
    """Entries of both windows: most as they should be, some anywhere, some not at all."""
    r = guest.rng
    for unit in (LAN, SCSI):
        for n in range(PAGES):
            entry = BASE + 0x1000 * n | 3
            if r.random() < 0.03:
                entry = r.choice((0, entry & ~r.randrange(4), guest.value()))
            guest.call(PUT_TCE, unit, BASE + 0x1000 * n, entry)


def _open(guest: ServerGuest) -> None:
    r = guest.rng
    if r.random() < 0.3:
        guest.call(FREE, LAN)
        guest.call(FREE_CRQ, SCSI)
    size = r.choice((16, 64, 0x1000, 0xFF_FFF0))
    queue = 1 << 63 | size << 32 | QUEUE
    guest.call(REGISTER, LAN, LIST, queue, FILTERS, guest.value())
    guest.call(
        REG_CRQ, SCSI, r.choice((CRQ, CRQ, guest.value() & ~0xFFF)), r.choice((0x1000, 0x2000))
    )
    for unit in (LAN, SCSI):
        guest.call(SIGNAL, unit, r.choice((1, 1, 0, 2)))


def _descriptor(guest: ServerGuest) -> int:
    r = guest.rng
    if r.random() < 0.2:
        return guest.value()
    length = r.choice((0, 16, 60, 64, 256, 1600, 0x1000))
    return 1 << 63 | length << 32 | DATA + (r.randrange(0x8000) & ~3)


def _frame(guest: ServerGuest) -> None:
    """The network brings a frame, whatever the guest has made of its lists."""
    r, m = guest.rng, guest.machine
    for part in m.parts:
        if isinstance(part.device, LogicalLan):
            part.device.receive(r.randbytes(r.choice((60, 64, 600, 1514, 9000))))
    if r.random() < 0.3:
        m.memory.write(LIST, guest.value().to_bytes(8, "big"))


def _message(guest: ServerGuest) -> None:
    r, memory = guest.rng, guest.machine.memory
    memory.write(IU, _unit(guest))
    if r.random() < 0.5:
        memory.write(CRQ, bytes(0x1000))
    first = r.choice((*[0x80] * 9, 0xC0, 0xFF, 0))
    form = r.choice((*[1] * 7, 2, 2, 6, 0))
    length = r.choice((*[256] * 7, 64, 16, 0, 300, 0xFFFF))
    at = IU if r.random() < 0.95 else guest.value()
    guest.call(SEND_CRQ, SCSI, first << 56 | form << 48 | length, at)


def _unit(guest: ServerGuest) -> bytes:
    """An information unit: a management datagram, a task or a command."""
    r = guest.rng
    if r.random() < 0.15:
        buffer = r.choice((DATA, guest.value()))
        return pack(">IHHQQ", r.randrange(10), 0, r.choice((92, 148, 0xFFFF)), 7, buffer)
    if r.random() < 0.3:
        op, forms = r.choice(((0x28, 1), (0x2A, 0x10), (0xA8, 1), (0x12, 1)))
        head = pack(">B4xBBB8s4xQ4x", 2, forms, 0, 0, b"a tag...", 0x8000 << 48)
        extent = pack(">BIBH7x", 0, r.randrange(120), 0, r.randrange(1, 5))
        return head + bytes((op,)) + extent + pack(">QII", DATA, 0, 2048)
    kind = r.choice((2, 2, 2, 2, 2, 2, 1, 0, 0xC1))
    lun = (r.choice((0x8000, 0x8200, 0x8201, 0x8500, 0, 0x4000, 0xC000))) << 48
    forms, counts = r.choice((0x01, 0x10, 0x11, 0x02, 0x20, 0x22, 0, 0x33)), r.randbytes(2)
    data = pack(">BB3xB2s8s4xQ2xBB", kind, 6, forms, counts, b"a tag...", lun, r.randrange(9), 0)
    cdb = bytes((r.choice(OPS),)) + r.choice((bytes(15), r.randbytes(15), _extent(guest)))
    length = r.choice((0, 16, 512, 0x1000, 0xFFFF_FFFF))
    address = DATA + r.randrange(0x8000) if r.random() < 0.8 else guest.value()
    direct = pack(">QII", address, 0, length)
    table = pack(">I", length) + b"".join(pack(">QII", DATA + 512 * n, 0, 512) for n in range(8))
    return (data + cdb + direct + r.choice((direct, table))).ljust(256, b"\0")


def _extent(guest: ServerGuest) -> bytes:
    """A block address and a count of blocks as a command of 10 bytes has them."""
    r = guest.rng
    return pack(
        ">BIBH7x", r.choice((0, 1, 8, 0x10)), r.randrange(140), 0, r.choice((1, 2, 4, 0, 0xFFFF))
    )
