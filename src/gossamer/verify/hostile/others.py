"""Grammar of display, PCI, firmware configuration, NVRAM, and of the CPU's own registers.

Sources: docs/chips/vga.md, pci.md, uninorth.md, grackle.md, fwcfg.md, nvram.md, keylargo.md.
"""

from __future__ import annotations

from typing import Final

from gossamer.machines.guests.hostile import INSTRUCTIONS
from gossamer.verify.hostile.records import SCRATCH, Record, Script, swap

INDEXED: Final = ((0x3C4, 0x3C5), (0x3CE, 0x3CF), (0x3D4, 0x3D5))
MEMORY_OPERAND: Final = (
    *("dcb", "icbi", "lwarx", "stwcx", "lmw", "stmw", "lfd", "stfd", "lwbrx", "lhbrx", "stwbrx"),
    *("lha", "lswi", "stswi"),
)
PLAIN: Final = tuple(
    n for n, text in enumerate(INSTRUCTIONS) if not text.startswith(MEMORY_OPERAND)
)
IN_MEMORY: Final = tuple(n for n in range(len(INSTRUCTIONS)) if n not in PLAIN)


def vga(s: Script) -> None:
    r = s.rng
    ports = s.layout.at("vbe") - 0x1CE
    match r.randrange(5):
        case 0 | 1:  # DISPI: a mode
            for index, value in (
                *((4, 0), (1, r.choice((640, 800, 1024))), (2, r.choice((480, 600)))),
                *((3, r.choice((4, 8, 15, 16, 24, 32))), (6, r.choice((640, 1024, 0xFFFF)))),
                *((8, r.choice((0, 8))), (9, r.choice((0, 1))), (5, r.choice((0, 1, 0x7F)))),
                (4, r.choice((0x00, 0x01, 0x41, 0xC1, 0x61))),
            ):
                if s.maybe(0.7):
                    s.store_little(ports + 0x1CE, index, 2)
                    s.store_little(ports + 0x1D0, value, 2)
        case 2:
            index, data = r.choice(INDEXED)
            for _ in range(r.randrange(1, 5)):
                s.store(ports + index, r.randrange(0x20))
                if s.maybe(0.7):
                    s.store(ports + data, r.getrandbits(8))
                else:
                    s.load(ports + data)
        case 3:
            s.load(ports + 0x3DA)
            for _ in range(r.randrange(1, 4)):
                s.store(ports + 0x3C0, r.getrandbits(8))
            s.store(ports + r.choice((0x3C7, 0x3C8)), r.getrandbits(8))
            for _ in range(r.randrange(1, 5)):
                if s.maybe(0.5):
                    s.store(ports + 0x3C9, r.getrandbits(8))
                else:
                    s.load(ports + 0x3C9)
        case _:
            if s.layout.memories:
                at, size = s.layout.memories[0]
                s.store(at + r.randrange(0, size - 4, 4), s.value(), 4)
            s.poke("vga.mmio")


def pci(s: Script) -> None:
    """Configuration space of any function; the addresses are given back in the end."""
    r = s.rng
    for _ in range(r.randrange(1, 5)):
        devfn = r.choice(s.layout.functions) if s.maybe(0.95) else r.randrange(256)
        register = r.choice((0, 4, 8, 0x0C, 0x10, 0x14, 0x18, 0x2C, 0x30, 0x3C, r.randrange(256)))
        s.store(s.layout.address, swap(s.layout.reach(devfn, register)), 4)
        width = r.choice((1, 2, 4, 4))
        at = s.layout.data + (register & 3) % (5 - width)
        if s.maybe(0.5):
            s.load(at, width)
        else:
            s.store_little(at, s.value(), width)
    for name in ("uninorth", "features", "timer", "pci-conf-idx"):
        if s.layout.has(name) and s.maybe(0.3):
            s.poke(name)
    if s.maybe(0.2) and s.layout.has("uninorth-pci.0-idx"):
        s.poke(r.choice(("uninorth-pci.0-idx", "uninorth-pci.1-idx", "uninorth-pci.0-data")))
    give_addresses(s)


def give_addresses(s: Script) -> None:
    """Every function back in its place."""
    for reach, value in s.layout.setup:
        s.exactly(
            (
                Record("store4", s.layout.address, swap(reach)),
                Record("store4", s.layout.data, swap(value)),
            )
        )


def fw_cfg(s: Script) -> None:
    r = s.rng
    key = r.choice((0, 1, 3, 6, 0x0C, 0x19, 0x20, 0x21, 0x8000, 0x800B, 0x4000, r.getrandbits(16)))
    s.store(s.layout.at("fwcfg.ctl"), key, 2)
    s.load(s.layout.at("fwcfg.data"), 1, r.choice((1, 4, 70)))
    if s.maybe(0.2):
        s.store(s.layout.at("fwcfg.data"), r.getrandbits(8))


def nvram(s: Script) -> None:
    start, size = s.layout.places["nvram"][0]
    at = start + s.rng.randrange(size - 8)
    for n in range(s.rng.randrange(1, 5)):
        if s.maybe(0.5):
            s.store(at + n, s.rng.getrandbits(8))
        else:
            s.load(at + n, s.rng.choice((1, 2, 4)))


def cpu(s: Script) -> None:
    """Special registers, storage control, and MSR bits of the units."""
    r = s.rng
    for _ in range(r.randrange(1, 5)):
        if s.maybe(0.3):
            at = r.randrange(SCRATCH.start, SCRATCH.stop, r.choice((1, 4)))
            s.execute(r.choice(IN_MEMORY), at)
        else:
            number = r.choice(PLAIN)
            s.execute(number, _operand(s, INSTRUCTIONS[number]))
    if s.maybe(0.3):
        s.add(Record("msr", 0, r.choice((0, 0x2000, 0x8000, 0xA900, 0x0200_2000))))


def _operand(s: Script, text: str) -> int:
    """Anything, but no breakpoint in the program itself and no little-endian or dead machine."""
    value = s.value()
    if text.startswith("mtspr 1010"):  # IABR
        return value & 0x7FFF_FFFF
    if text.startswith("mtspr 1013"):  # DABR
        return SCRATCH.start | value & 0x7FFF
    return value
