"""Grammar of the interrupt controllers and KeyLargo's pins.

Sources: docs/chips/heathrow.md, openpic.md, gpio.md.
"""

from __future__ import annotations

from typing import Final

from gossamer.verify.hostile.records import Script

#: Heathrow: events, enables, clears, levels of bank 1 and bank 0.
HEATHROW: Final = (0x10, 0x14, 0x18, 0x1C, 0x20, 0x24, 0x28, 0x2C, 0x34, 0x38)
#: OpenPIC.
TIMERS, IPIS, SOURCES, CPU = 0x1100, 0x10A0, 0x10000, 0x20000
DISPATCH, PRIORITY, ACKNOWLEDGE, END = 0x40, 0x80, 0xA0, 0xB0
MASKED: Final = 0x8000_0000
WIRED: Final = (2, 3, 0x0D, 0x0E, 0x19, 0x1B, 0x1C, 0x1D, 0x1E, 0x24, 0x25, 0x2F)


def heathrow(s: Script) -> None:
    at = s.layout.at("heathrow")
    for _ in range(s.rng.randrange(1, 6)):
        register = s.rng.choice(HEATHROW)
        if s.maybe(0.6):
            s.store(at + register, s.rng.choice((0, 0xFFFF_FFFF, s.value())), 4)
        else:
            s.load(at + register, 4)


def openpic(s: Script) -> None:
    r, at = s.rng, s.layout.at("openpic")
    match r.randrange(8):
        case 0 | 1:
            n = r.randrange(4)
            timer = at + TIMERS + 0x40 * n
            s.store_little(timer + 0x30, 1)
            s.store_little(timer + 0x20, _vector(s, 0x40 + n))
            counts = (0x8000_0000, 0x7FFF_FFFF, 100, 700, 5000, 0, 1)
            for _ in range(r.randrange(1, 5)):
                s.store_little(timer + 0x10, r.choice(counts))
            s.load(timer, 4)
        case 2:
            n = r.randrange(4)
            s.store_little(at + IPIS + 0x10 * n, _vector(s, 0x50 + n))
            for _ in range(r.randrange(1, 4)):
                s.store_little(at + CPU + DISPATCH + 0x10 * r.randrange(4), r.choice((1, 1, 2, 0)))
        case 3 | 4:
            n = r.choice(WIRED) if s.maybe(0.8) else r.randrange(64)
            source = at + SOURCES + 0x20 * n
            s.store_little(source + 0x10, r.choice((1, 1, 1, 0, 2, s.value())))
            s.store_little(source, _vector(s, n) | r.choice((0, 0x40_0000, 0x80_0000)))
        case 5:
            s.store_little(at + CPU + PRIORITY, r.choice((0, 0, 0, 4, 8, 15)))
        case 6:
            s.load(at + CPU + ACKNOWLEDGE, 4)
            if s.maybe(0.9):
                s.store_little(at + CPU + END, 0)
        case _:
            reset = s.maybe(0.05)
            s.store_little(at + 0x1020, 0x8000_0000 if reset else 0x2000_0000)
            s.load(at + r.choice((0x1000, 0x1020, 0x10E0, 0x10F0)), 4)
    if s.maybe(0.4):
        s.load(at + CPU + ACKNOWLEDGE, 4)
        s.store_little(at + CPU + END, 0)


def _vector(s: Script, number: int) -> int:
    masked = MASKED if s.maybe(0.15) else 0
    return masked | s.rng.randrange(16) << 16 | number


def gpio(s: Script) -> None:
    at = s.layout.at("gpio")
    for _ in range(s.rng.randrange(1, 5)):
        register = at + s.rng.choice((9, 9, 17, s.rng.randrange(0x30)))
        if s.maybe(0.6):
            s.store(register, s.rng.choice((0, 4, 5, 1, 0x80, s.rng.getrandbits(8))))
        else:
            s.load(register)
