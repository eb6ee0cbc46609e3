"""Grammar of the ESCC: set-up, characters, loopback, resets.  Source: docs/chips/escc.md."""

from __future__ import annotations

from typing import Final

from gossamer.verify.hostile.records import Script

SET_UP: Final = (
    (4, 0x44),
    (11, 0x50),
    (12, 0x00),
    (13, 0x00),
    (14, 0x01),
    (3, 0xC1),
    (5, 0x68),
    (1, 0x13),
    (9, 0x08),
    (15, 0x28),
)


def escc(s: Script) -> None:
    """Channel A or B: through the new region or the legacy one."""
    r = s.rng
    at, step, n = (s.layout.at("escc"), 0x10, r.randrange(2))
    control, data = at + 2 * step * n, at + 2 * step * n + step
    match r.randrange(6):
        case 0 | 1:
            for register, value in SET_UP:
                s.store(control, register)
                s.store(control, value)
        case 2:
            for _ in range(r.randrange(1, 8)):
                s.store(data, r.getrandbits(8))
                if s.maybe(0.3):
                    s.wait(r.choice((10, 2000, 6000)))
        case 3:
            for _ in range(r.randrange(1, 5)):
                s.load(data)
                s.load(control)
        case 4:
            s.store(control, 14)
            s.store(control, r.choice((0x01, 0x11, 0x09, 0x00)))
            s.store(data, r.getrandbits(8))
            s.store(control, r.choice((0x28, 0x30, 0x38, 0x20, 0x10, 0xC0)))
        case _:
            s.store(control, r.randrange(16))
            if s.maybe(0.3):
                s.load(control)
            else:
                s.store(control, r.getrandbits(8))
            if s.maybe(0.1):
                s.store(control, 9)
                s.store(control, r.choice((0x40, 0x80, 0xC0)))
    if s.maybe(0.2):
        s.poke("escc-legacy")
