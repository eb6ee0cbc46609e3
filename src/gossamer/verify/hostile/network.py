"""Grammar of the network chips: sungem's rings and PHY, the NE2000's memory and ring.

Sources: docs/chips/sungem.md, ne2000.md.
"""

from __future__ import annotations

from typing import Final

from gossamer.verify.hostile.records import Script

STATUS, MASK, ACKNOWLEDGE, RESET = 0x0C, 0x10, 0x14, 0x1010
TX, RX, MAC, MIF = 0x2000, 0x4000, 0x6000, 0x6200
START, END, INTERRUPT, CHECKSUM = 1 << 31, 1 << 30, 1, 1 << 29
RINGS: Final = tuple(n << 1 for n in range(9))


def sungem(s: Script) -> None:
    r, at = s.rng, s.layout.at("sungem")
    match r.randrange(6):
        case 0:
            _set_up(s, at)
        case 1 | 2:
            _transmit(s, at)
        case 3:
            s.store_little(at + RX + 0x100, r.choice((4, 28, s.value())))
            s.load(at + RX + 0x104, 4)
            s.load(at + STATUS, 4)
        case 4:
            frame = r.choice((1, 2)) << 28 | r.choice((0, 0, 1, 31)) << 23 | r.randrange(32) << 18
            s.store_little(at + MIF + 0x0C, 1 << 30 | 2 << 16 | frame | r.getrandbits(16))
            if s.maybe(0.5):
                s.wait(r.choice((100, 900)))
            s.load(at + MIF + 0x0C, 4)
        case _:
            base = r.choice((0, 0x1000, TX, RX, MAC, MIF, 0x9000))
            for _ in range(r.randrange(1, 5)):
                register = at + base + 4 * r.randrange(0x50)
                if s.maybe(0.5):
                    s.load(register, 4)
                else:
                    s.store_little(register, s.value())


def _set_up(s: Script, at: int) -> None:
    r = s.rng
    if s.maybe(0.3):
        s.store_little(at + RESET, r.choice((1, 2, 3)))
    s.store_little(at + MASK, r.choice((0, 0xFFFF_FFFF, 0x8A)))
    for block in (TX, RX):
        s.store_little(at + block + 8, s.room(0x800, 0x800))
        s.store_little(at + block + 0x0C if block == TX else at + block + 8 + 0, 0)
        s.store_little(at + block + 4 if block == TX else at + block, 1 | r.choice(RINGS))
    s.store_little(at + MAC + 0x30, r.choice((1, 1, 0)))
    s.store_little(at + MAC + 0x34, r.choice((1, 9, 0x2D, 0)))


def _transmit(s: Script, at: int) -> None:
    """Descriptors at the ring's beginning, and a kick."""
    r = s.rng
    ring = s.room(0x800, 0x800)
    s.store_little(at + TX + 8, ring)
    s.store_little(at + TX + 0x0C, 0)
    s.store_little(at + TX + 4, 1 | r.choice(RINGS[:3]))
    count = r.randrange(1, 5)
    for n in range(count):
        control = r.choice((60, 64, 1000, 0x7FFF, 0))
        control |= (START if n == 0 or s.maybe(0.2) else 0) | (END if s.maybe(0.6) else 0)
        control |= CHECKSUM | 14 << 15 | 24 << 21 if s.maybe(0.2) else 0
        s.words(ring + 16 * n, (control, int(s.maybe(0.3)), s.room(1024), 0))
    s.store_little(at + MAC + 0x30, 1)
    s.store_little(at + TX, r.choice((count, count + 1, 0, 31, s.value())))
    if s.maybe(0.3):
        s.store_little(at + TX + 4, 1 | r.choice(RINGS))
    s.wait(r.choice((50, 1000, 4000)))
    s.load(at + STATUS, 4)


def ne2000(s: Script) -> None:
    r, at = s.rng, s.layout.at("ne2000")
    match r.randrange(6):
        case 0:  # the ring and the filters
            s.store(at, 0x21)
            for register, value in (
                *((0x0E, r.choice((0x48, 0x49))), (0x01, 0x46), (0x02, r.choice((0x60, 0x80)))),
                *((0x03, 0x46), (0x0C, r.choice((0x04, 0x1E))), (0x0D, 0), (0x0F, 0x7F)),
                (0x07, 0xFF),
            ):
                s.store(at + register, value)
            s.store(at, 0x61)
            s.store(at + 7, 0x47)
            for n in range(6):
                s.store(at + 1 + n, (0x52, 0x54, 0, 0x12, 0x34, 0x56)[n])
            s.store(at, 0x22)
        case 1 | 2:  # remote DMA
            write = s.maybe(0.5)
            count, start = r.choice((4, 60, 61, 256)), r.choice((0, 0x4000, 0x4600, 0xBFF0))
            for register, value in ((0x0A, count), (0x0B, count >> 8), (8, start), (9, start >> 8)):
                s.store(at + register, value & 0xFF)
            s.store(at, 0x12 if write else 0x0A)
            width = r.choice((1, 2, 4))
            for _ in range(r.choice((1, 2))):
                if write:
                    s.store(at + 0x10, s.value(), width, r.choice((1, 15, 30)))
                else:
                    s.load(at + 0x10, width, r.choice((1, 15, 30)))
        case 3:  # transmit
            count = r.choice((60, 64, 1514, 0, 0xFFFF))
            for register, value in ((4, r.choice((0x40, 0x46, 0xC0))), (5, count), (6, count >> 8)):
                s.store(at + register, value & 0xFF)
            s.store(at, 0x26)
            s.wait(r.choice((10, 2000, 4000)))
            s.load(at + 7)
        case 4:
            s.store(at + 7, r.choice((0xFF, 0x02, 0x40)))
            s.load(at + 0x1F)
        case _:
            s.store(at, r.choice((0x21, 0x22, 0x61, 0x62, 0xA2, 0xE2)))
            for _ in range(r.randrange(1, 6)):
                register = at + r.randrange(0x20)
                if s.maybe(0.5):
                    s.load(register)
                else:
                    s.store(register, r.getrandbits(8))
