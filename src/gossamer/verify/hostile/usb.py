"""Grammar of OHCI: the hub, control transfers and reports of keyboard and mouse, lists that loop.

Source: docs/chips/ohci.md, usb.md.
"""

from __future__ import annotations

from typing import Final

from gossamer.verify.hostile.records import SCRATCH, Script

CONTROL, COMMAND, STATUS, ENABLE, DISABLE, HCCA = 0x04, 0x08, 0x0C, 0x10, 0x14, 0x18
CONTROL_HEAD, CONTROL_CURRENT, BULK_HEAD, BULK_CURRENT, DONE = 0x20, 0x24, 0x28, 0x2C, 0x30
INTERVAL, PERIODIC, HUB, PORTS = 0x34, 0x40, 0x48, 0x54
FRAME: Final = 34_000
"""Turns of an empty loop: more than a frame."""
SETUP, OUT, IN = 0, 1, 2
REQUESTS: Final = (
    (0x00, 5, 1, 0, 0),
    (0x00, 5, 2, 0, 0),
    (0x00, 9, 1, 0, 0),
    (0x21, 10, 0x0100, 0, 0),
    (0x21, 9, 0x0200, 0, 1),
    (0x80, 6, 0x0100, 0, 18),
    (0x80, 6, 0x0200, 0, 34),
    (0x81, 6, 0x2200, 0, 80),
    (0x80, 6, 0x0302, 0x0409, 18),
    (0xA1, 1, 0x0100, 0, 8),
    (0xA1, 3, 0, 0, 1),
    (0x21, 11, 0, 0, 0),
    (0x80, 0, 0, 0, 2),
    (0x00, 3, 1, 0, 0),
    (0x02, 1, 0, 0x81, 0),
)


def ohci(s: Script) -> None:
    r = s.rng
    match r.randrange(7):
        case 0:
            _set_up(s)
        case 1:
            _hub(s)
        case 2 | 3:
            _transfer(s)
        case 4:
            _report(s)
        case 5:
            _loop(s)
        case _:
            at = s.layout.at("ohci")
            for _ in range(r.randrange(1, 6)):
                register = at + 4 * r.randrange(0x18)
                if s.maybe(0.5):
                    s.load(register, 4)
                else:
                    s.store_little(register, s.value())
    if s.maybe(0.5):
        s.wait(r.choice((100, FRAME, FRAME, 3 * FRAME)))
    if s.maybe(0.4):
        s.load(s.layout.at("ohci") + STATUS, 4)
        s.store_little(s.layout.at("ohci") + STATUS, r.choice((0xFFFF_FFFF, 2, 0x40)))


def _set_up(s: Script) -> None:
    at, r = s.layout.at("ohci"), s.rng
    if s.maybe(0.2):
        s.store_little(at + COMMAND, 1)
    s.store_little(at + HCCA, s.room(256, 256))
    s.store_little(at + INTERVAL, r.choice((0x2778_2EDF, 0xA778_2EDF, 0x2778_2EE0, s.value())))
    s.store_little(at + PERIODIC, 0x2A2F)
    s.store_little(at + ENABLE, r.choice((0x8000_007F, 0x8000_0042, 0x4000_007F)))
    s.store_little(at + CONTROL, r.choice((0xBF, 0x97, 0x80, 0xBC, 0x40, 0xC0, 0x00)))


def _hub(s: Script) -> None:
    at, r = s.layout.at("ohci"), s.rng
    port = at + PORTS + 4 * r.randrange(3)
    for bits in ((0x10,), (0x1F_0000,), (0x02,), (0x04, 0x08), (0x01,), (0x100,), (0x200,)):
        if s.maybe(0.35):
            for bit in bits:
                s.store_little(port, bit)
                s.wait(r.choice((100, FRAME, 10 * FRAME)))
    s.load(port, 4)
    if s.maybe(0.2):
        s.store_little(at + HUB + r.choice((0, 4, 8)), r.choice((1, 0x8000, 0x1_0000, s.value())))


def _endpoint(
    s: Script, address: int, number: int, way: int, packet: int, transfers: list[list[int]]
) -> int:
    """An endpoint descriptor with a list of transfers: its address."""
    r = s.rng
    at = s.room(16)
    places = [s.room(16) for _ in transfers] + [s.room(16)]
    for n, words in enumerate(transfers):
        s.words(places[n], (words[0], words[1], places[n + 1], words[2]))
    control = packet << 16 | way << 11 | number << 7 | address
    if s.maybe(0.05):
        control |= r.choice((1 << 14, 1 << 15, 1 << 13))
    s.words(at, (control, places[-1], places[0] | r.choice((0, 0, 0, 1, 2)), 0))
    return at


def _descriptor(s: Script, pid: int, toggle: int, size: int) -> list[int]:
    """Control word, buffer, end of a general transfer."""
    at = s.room(size + 16) if size else 0
    delay = s.rng.choice((0, 1, 7))
    control = 0xF << 28 | toggle << 24 | 1 << 25 | delay << 21 | pid << 19 | 1 << 18
    return [control, at, at + size - 1 if size else 0]


def _transfer(s: Script) -> None:
    """A control transfer to a device: SETUP, data, status; on the control or the bulk list."""
    r, at = s.rng, s.layout.at("ohci")
    kind, request, value, index, length = r.choice(REQUESTS)
    setup = _descriptor(s, SETUP, 0, 8)
    s.words(setup[1], (kind | request << 8 | value << 16, index | length << 16))
    transfers = [setup]
    if length:
        transfers.append(_descriptor(s, IN if kind & 0x80 else OUT, 1, length))
    transfers.append(_descriptor(s, OUT if kind & 0x80 and length else IN, 1, 0))
    if s.maybe(0.1):
        del transfers[r.randrange(len(transfers))]
    address = r.choice((0, 0, 1, 1, 2, 2, 3))
    ed = _endpoint(s, address, r.choice((0, 0, 0, 0, 1)), 0, r.choice((8, 8, 64, 0)), transfers)
    if s.maybe(0.8):
        s.store_little(at + CONTROL_HEAD, ed)
        s.store_little(at + COMMAND, 2)
    else:
        s.store_little(at + BULK_HEAD, ed)
        s.store_little(at + COMMAND, 4)
    s.wait(r.choice((100, FRAME, 4 * FRAME)))


def _report(s: Script) -> None:
    """An interrupt endpoint in every slot of the periodic list."""
    r, at = s.rng, s.layout.at("ohci")
    ed = _endpoint(s, r.choice((1, 2)), 1, IN, 8, [_descriptor(s, IN, 0, r.choice((4, 8)))])
    area = s.room(256, 256)
    s.words(area, [ed] * r.choice((4, 32)))
    s.store_little(at + HCCA, area)
    s.wait(FRAME)


def _loop(s: Script) -> None:
    """Endpoints, transfers and the done queue in circles, or outside memory."""
    r, at = s.rng, s.layout.at("ohci")
    one, other = s.room(16), s.room(16)
    transfer = s.room(16)
    s.words(transfer, (0xF << 28 | IN << 19, SCRATCH.start, transfer, SCRATCH.start + 7))
    s.words(one, (8 << 16 | r.choice((0, 1, 1 << 14)), s.room(16), transfer, other))
    s.words(other, (8 << 16 | 2, 0, transfer, one))
    target = r.choice((one, other, s.value() & ~15))
    s.store_little(at + r.choice((CONTROL_HEAD, BULK_HEAD, CONTROL_CURRENT, BULK_CURRENT)), target)
    s.store_little(at + COMMAND, 6)
    if s.maybe(0.3):
        area = s.room(256, 256)
        s.words(area, [one] * 32)
        s.store_little(at + HCCA, area)
    s.wait(FRAME)
