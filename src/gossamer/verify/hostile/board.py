"""Grammar of the 405EP's board: timers, TLB, interrupt controller, DCRs, serial ports, clock.

Sources: docs/ref405ep.md; docs/chips/uic.md, uart.md, m48t59.md, ref405ep.md.
"""

from __future__ import annotations

from typing import Final

from gossamer.isa.spec import timers_405 as timers
from gossamer.isa.spec.utlb import EXECUTE, LITTLE, USER, VALID, WRITE
from gossamer.machines.guests.hostile_405 import DCRS, INSTRUCTIONS
from gossamer.verify.hostile.records import SCRATCH, Record, Script

NUMBERS: Final = {text: n for n, text in enumerate(INSTRUCTIONS)}
#: Effective addresses that are mapped by hand: apart from where the program and its chips are.
MAPPED: Final = 0x4000_0000
MODES: Final = (0x10, 0x10, 0x10, 0x30, 0x4010, 0x4030, 0x4000, 0x20, 0)
SPR_PIT, SPR_TCR, SPR_TSR, SPR_PID, SPR_ZPR = 987, 986, 984, 945, 944
SPR_SLER, SPR_DBCR0 = 955, 1010
#: Regions of 128 MiB that may be little-endian: not those of the program and of SRAM.
SLER_BITS: Final = 0x7FFF_FFFE
MEMORY_OPERAND: Final = (
    *("dcb", "icb", "dccci", "iccci", "dcread", "icread", "lwarx", "stwcx", "lmw", "stmw"),
    *("lwbrx", "lhbrx", "stwbrx", "lha", "lswi", "stswi"),
)
IN_MEMORY: Final = tuple(n for n, t in enumerate(INSTRUCTIONS) if t.startswith(MEMORY_OPERAND))
PLAIN: Final = tuple(
    n
    for n, text in enumerate(INSTRUCTIONS)
    if n not in IN_MEMORY and not text.startswith(("mtdcr", "mfdcr", "tlbwe"))
)
UIC: Final = 0xC0
SDRAM: Final = ((0x40, 0x0002_0001), (0x20, 0x8000_0000))
"""8 MiB from 0 on, and the controller on."""


def do(s: Script, text: str, operand: int = 0) -> None:
    """An instruction of the program's list, in real mode."""
    s.add(Record("do", operand & 0xFFFF_FFFF, NUMBERS[text]))


def write(s: Script, spr: int, value: int) -> None:
    do(s, f"mtspr {spr},8", value)


def read(s: Script, spr: int) -> None:
    do(s, f"mfspr 8,{spr}")


def embedded_timers(s: Script) -> None:
    """PIT, FIT, watchdog and the time base that they hang on."""
    r = s.rng
    for _ in range(r.randrange(1, 6)):
        match r.randrange(8):
            case 0 | 1:
                periods = (1, 2, 10, 33, 200, 333, 3000, 33_333, 200_000, 0, 0xFFFF_FFFF)
                write(s, SPR_PIT, r.choice(periods))
            case 2 | 3:
                write(s, SPR_TCR, _control(s))
            case 4:
                write(s, SPR_TSR, r.choice((0xFFFF_FFFF, 1 << r.randrange(26, 32), s.value())))
            case 5:
                bit = 1 << r.choice((*timers.FIT_BITS, *timers.WATCHDOG_BITS, 31))
                write(s, r.choice((284, 284, 285)), r.choice((bit - 1, bit, bit - 300, s.value())))
            case 6:
                read(s, r.choice((SPR_PIT, SPR_TSR, SPR_TCR, 268, 269, 284, 285)))
            case _:
                s.wait(r.choice((1, 3, 20, 300, 3000)))


def _control(s: Script) -> int:
    r = s.rng
    value = r.choice((0, 0, 0, 1, 1, 2, 3)) << timers.WP_SHIFT
    value |= r.choice((0, 0, 1, 1, 2, 3)) << timers.FP_SHIFT
    for enable in (timers.PIE, timers.FIE, timers.WIE, timers.ARE):
        value |= enable if s.maybe(0.6) else 0
    if s.maybe(0.15):
        value |= r.randrange(1, 4) << timers.WRC_SHIFT
    return value


def tlb(s: Script) -> None:
    """Entries, processes, zones, and accesses through them."""
    r = s.rng
    if s.maybe(0.3):
        write(s, SPR_PID, r.choice((0, 1, 2, 3, 0xFF, s.value())))
    if s.maybe(0.3):
        write(s, SPR_ZPR, r.choice((0, 0xFFFF_FFFF, 0x5555_5555, 0xAAAA_AAAA, s.value())))
    for _ in range(r.randrange(1, 5)):
        do(
            s,
            r.choice(("rlwinm 0,8,0,27,31", "rlwinm 0,8,0,27,31", "rlwinm 0,8,0,26,27")),
            s.value(),
        )
        ea, size = MAPPED | r.randrange(64) << 10, r.choice((0, 0, 1, 1, 1, 2, 3, 5, 7))
        tag = ea | size << 7 | (VALID if s.maybe(0.9) else 0)
        tag |= (LITTLE if s.maybe(0.15) else 0) | (USER if s.maybe(0.1) else 0)
        data = (
            r.randrange(SCRATCH.start, SCRATCH.stop, 0x400)
            | r.randrange(4) << 4
            | r.choice((0, 0, 2, 4, 8, 1))
        )
        data |= (EXECUTE if s.maybe(0.6) else 0) | (WRITE if s.maybe(0.7) else 0)
        do(s, "tlbwelo 8,0", data)
        do(s, "tlbwehi 8,0", tag)
        if s.maybe(0.3):
            do(s, r.choice(("tlbrehi 8,0", "tlbrelo 8,0", "tlbia", "tlbsync")))
        if s.maybe(0.3):
            do(s, "tlbsx. 8,0,8", ea + r.randrange(0x800))
    through(s)


def through(s: Script) -> None:
    """Accesses with translation on, or as a user."""
    r = s.rng
    s.add(Record("mode", 0, r.choice(MODES)))
    for _ in range(r.randrange(1, 8)):
        at = r.choice((MAPPED, MAPPED, MAPPED, SCRATCH.start)) + r.randrange(0, 0x1_0000)
        match r.randrange(5):
            case 0 | 1:
                s.add(Record(f"vload{r.choice((1, 2, 4))}", at, 0, 1, r.choice((0, 0, 5))))
            case 2 | 3:
                s.add(Record(f"vstore{r.choice((1, 2, 4))}", at, s.value()))
            case _:
                number = r.choice(IN_MEMORY if s.maybe(0.7) else PLAIN)
                s.add(Record("vdo", _operand(s, number, at), number))


def uic(s: Script) -> None:
    """Every register; SRS makes any source ask."""
    r = s.rng
    if s.maybe(0.5):
        s.add(Record("msr", 0, r.choice((0x8000, 0x8000, 0x2_0000, 0x2_8000))))
        for register, value in ((2, 0xFFFF_FFFF), (3, s.value()), (8, s.value()), (1, s.value())):
            do(s, f"mtdcr {UIC + register:#x},8", value)
        do(s, f"mfdcr 8,{UIC + 7:#x}")
    for _ in range(r.randrange(1, 6)):
        register = UIC + r.choice((0, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8))
        if s.maybe(0.6):
            do(s, f"mtdcr {register:#x},8", r.choice((0, 0xFFFF_FFFF, 0xC000_0000, s.value())))
        else:
            do(s, f"mfdcr 8,{register:#x}")


def dcrs(s: Script) -> None:
    """Any DCR, those of nothing among them; memory comes and goes, and comes back."""
    r = s.rng
    for _ in range(r.randrange(1, 6)):
        number = r.choice(DCRS)
        if s.maybe(0.5):
            do(s, f"mtdcr {number:#x},8", s.value())
        else:
            do(s, f"mfdcr 8,{number:#x}")
    match r.randrange(4):
        case 0:
            base, size = r.choice((0, 0, 0x80_0000, 0x2000_0000)), r.randrange(8)
            _sdram(s, 0x40, base | size << 17 | r.randrange(2))
            _sdram(s, 0x20, r.choice((0x8000_0000, 0x8000_0000, 0)))
        case 1:
            where = r.choice((0x4400_0000, 0, 0x0400_0000, 0xE000_0000, 0xFC00_0000))
            do(s, "mtdcr 0x18,8", where)
            do(s, "mtdcr 0x19,8", r.choice((0x8000_0000, 0xC000_0000, 0)))
            s.store(where + r.randrange(0x1000), r.getrandbits(8))
    for register, value in SDRAM:
        _sdram(s, register, value)


def _sdram(s: Script, register: int, value: int) -> None:
    do(s, "mtdcr 0x10,8", register)
    do(s, "mtdcr 0x11,8", value)


def uart(s: Script) -> None:
    """A 16550: set-up, characters, loopback, FIFO, divisor."""
    r = s.rng
    at = s.layout.at("serial", r.randrange(2))
    match r.randrange(6):
        case 0:
            for register, value in (
                (3, 0x83),
                (0, 12),
                (1, 0),
                (3, 3),
                (2, 0xC7),
                (1, 0x0F),
                (4, 11),
            ):
                s.store(at + register, value)
        case 1:
            for _ in range(r.randrange(1, 20)):
                s.store(at, r.getrandbits(8))
                if s.maybe(0.2):
                    s.load(at + r.choice((2, 5)))
        case 2:
            for _ in range(r.randrange(1, 6)):
                s.load(at + r.choice((0, 0, 2, 5, 6)))
        case 3:
            s.store(at + 4, r.choice((0x10, 0x1F, 0x1B, 0)))
            s.store(at + 2, r.choice((0, 1, 7, 0x41, 0x81, 0xC1, 0xC7)))
            for _ in range(r.randrange(1, 20)):
                s.store(at, r.getrandbits(8))
            s.load(at, repeats=r.choice((1, 3, 17)))
            s.load(at + r.choice((2, 5)))
        case 4:
            s.store(at + 1, r.getrandbits(4))
            s.poll(at + 5, 1, r.randrange(2))
        case _:
            s.store(at + r.randrange(8), r.getrandbits(8))
            s.load(at + r.randrange(8))


def clock(s: Script) -> None:
    """The M48T08: its memory, and its clock stopped, read, set."""
    r = s.rng
    start, size = s.layout.places["m48t59.nvram"][0]
    end = start + size
    for _ in range(r.randrange(1, 6)):
        at = end - 1 - r.randrange(8) if s.maybe(0.7) else start + r.randrange(size)
        if s.maybe(0.6):
            s.store(at, r.choice((0, 0x80, 0x40, 0xC0, 0x59, 0x12, 0x99, r.getrandbits(8))))
        else:
            s.load(at, r.choice((1, 1, 2, 4)))


def opb(s: Script) -> None:
    """General purpose timers, I2C, arbiter, GPIO, FPGA."""
    for _ in range(s.rng.randrange(1, 6)):
        s.poke(s.rng.choice(("gpt", "ppc4xx-i2c", "opba", "gpio", "fpga")))
    if s.maybe(0.5):
        at = s.layout.at("gpt")
        s.store(at, s.value(), 4)
        s.load(at, 4, s.rng.choice((1, 3)))


def processor(s: Script) -> None:
    """Special registers, storage control, MSR; stores to where there is ROM or nothing."""
    r = s.rng
    for _ in range(r.randrange(1, 6)):
        number = r.choice(IN_MEMORY if s.maybe(0.3) else PLAIN)
        at = r.randrange(SCRATCH.start, SCRATCH.stop, r.choice((1, 4)))
        s.add(Record("do", _operand(s, number, at), number))
    if s.maybe(0.3):
        s.add(Record("msr", 0, r.choice((0, 0x8000, 0x2_0000, 0x2_8000, s.value()))))
    if s.maybe(0.2):
        s.store(r.choice((0xFFFF_2200, 0xFFFF_0500, 0x9000_0000, 0xEF60_0800)), s.value(), 4)


def _operand(s: Script, number: int, at: int) -> int:
    """Anything, but no program in little-endian and no reset at every turn."""
    text = INSTRUCTIONS[number]
    if number in IN_MEMORY:
        return at
    value = s.value()
    if text == f"mtspr {SPR_SLER},8":
        return value & SLER_BITS
    if text == f"mtspr {SPR_DBCR0},8" and s.maybe(0.8):
        return value & 0x0FFF_FFFF
    return value
