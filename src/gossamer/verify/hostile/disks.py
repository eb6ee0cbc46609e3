"""Grammar of IDE cells and DBDMA: ATA and ATAPI commands, by PIO and by DMA, broken off anywhere.

Sources: docs/chips/ide.md, atapi.md, dbdma.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gossamer.devices.dbdma import (
    FLUSH,
    INPUT_LAST,
    INPUT_MORE,
    LOAD_QUAD,
    NOP,
    OUTPUT_LAST,
    OUTPUT_MORE,
    PAUSE,
    RUN,
    STOP,
    STORE_QUAD,
    STRIDE,
    WAKE,
)
from gossamer.verify.hostile.records import Record, Script, swap

#: Offsets of the cell.
DATA, FEATURE, COUNT, SECTOR, LOW, HIGH, DEVICE, COMMAND = range(0, 0x80, 0x10)
CONTROL, TIMING, INTERRUPT = 0x160, 0x200, 0x300
BSY, DRQ = 0x80, 0x08
SRST, NIEN, HOB = 0x04, 0x02, 0x80
READS: Final = (0x20, 0x21, 0x24, 0xC4, 0x29)
WRITES: Final = (0x30, 0x31, 0x34, 0xC5, 0x39)
DMA_READS, DMA_WRITES = (0xC8, 0xC9, 0x25), (0xCA, 0xCB, 0x35)
OTHERS: Final = (
    *(0x08, 0x10, 0x27, 0x40, 0x42, 0x70, 0x90, 0x91, 0x94, 0x97, 0x98, 0xA1, 0xB0, 0xC6, 0xE0),
    *(0xE1, 0xE5, 0xE7, 0xEA, 0xEC, 0xEF, 0xF5, 0xF8),
)
#: First byte of a packet, what follows it, bytes that it answers.
PACKETS: Final[tuple[tuple[int, ...], ...]] = (
    (0x00,),
    (0x03, 0, 0, 0, 18),
    (0x12, 0, 0, 0, 36),
    (0x1B, 0, 0, 0, 2),
    (0x1B, 0, 0, 0, 3),
    (0x1E, 0, 0, 0, 1),
    (0x1E,),
    (0x25,),
    (0x28, 0, 0, 0, 0, 2, 0, 0, 3),
    (0x28, 0, 0, 0, 1, 0, 0, 0, 1),
    (0x2B, 0, 0, 0, 0, 9),
    (0x43, 2, 0, 0, 0, 0, 0, 0, 40),
    (0x46, 0, 0, 0, 0, 0, 0, 1, 0),
    (0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8),
    (0x51, 0, 0, 0, 0, 0, 0, 0, 34),
    (0x5A, 0, 0x2A, 0, 0, 0, 0, 0, 64),
    (0xA8, 0, 0, 0, 0, 4, 0, 0, 0, 2),
    (0xAD, 0, 0, 0, 0, 0, 0, 0, 8),
    (0xBB, 0, 0xFF, 0xFF),
    (0xBD, 0, 0, 0, 0, 0, 0, 0, 0, 8),
    (0xBE, 0, 0, 0, 0, 2, 0, 0, 2, 0xF8),
)
KINDS: Final = ("read", "write", "read dma", "write dma", "packet", "packet", "other", "reset")
IDE_CHANNELS: Final = (0x16, 0x1A)
USED: Final = (*IDE_CHANNELS, 0x02, 0x04, 0x1F)


def sequence(s: Script, cell: int) -> None:
    """One command of a drive, or a reset, on the cell numbered `cell`."""
    r, at = s.rng, s.layout.at("pmac-ide", cell)
    if s.maybe(0.08):
        s.store(at + CONTROL, r.choice((0, NIEN, HOB, HOB | NIEN)))
    kind = r.choice(KINDS)
    if kind == "reset":
        _reset(s, at)
    elif kind == "packet":
        _packet(s, at, cell)
    else:
        _ata(s, at, cell, kind)
    # Whatever is left over of it: a look, a command too early, or a reset in the middle.
    if s.maybe(0.15):
        s.store(at + COMMAND, r.choice(OTHERS + READS + WRITES))
    if s.maybe(0.12):
        _reset(s, at)
    for register in (COMMAND, FEATURE, COUNT, SECTOR, LOW, HIGH, DEVICE, CONTROL):
        if s.maybe(0.3):
            s.load(at + register)
    if s.maybe(0.3):
        s.load(at + INTERRUPT, 4)


def _reset(s: Script, at: int) -> None:
    """SRST, held for a while or for ever, with writes to the task file meanwhile."""
    s.store(at + CONTROL, SRST | s.rng.choice((0, NIEN, HOB)))
    for _ in range(s.rng.randrange(4)):
        register = s.rng.choice((FEATURE, COUNT, SECTOR, LOW, HIGH, DEVICE, COMMAND))
        if s.maybe(0.5):
            s.store(at + register, s.rng.getrandbits(8))
        else:
            s.load(at + register)
    if s.maybe(0.8):
        s.store(at + CONTROL, s.rng.choice((0, 0, NIEN)))
        if s.maybe(0.6):
            s.poll(at + CONTROL, BSY, 0)


def _task_file(s: Script, at: int, drive: int) -> None:
    r = s.rng
    select = 0xA0 | drive << 4 | r.choice((0x40, 0x40, 0)) | r.choice((0, 0, r.randrange(16)))
    s.store(at + DEVICE, select)
    for _ in range(r.choice((1, 1, 2))):  # twice: the previous contents of LBA48
        s.store(at + COUNT, r.choice((1, 2, 3, 16, 0)))
        s.store(at + SECTOR, r.choice((0, 1, 7, r.getrandbits(8))))
        s.store(at + LOW, r.choice((0, 1, r.getrandbits(8))))
        s.store(at + HIGH, r.choice((0, 0, 0, r.getrandbits(8))))


def _ata(s: Script, at: int, cell: int, kind: str) -> None:
    r = s.rng
    _task_file(s, at, r.choice((0, 0, 0, 1)))
    if kind == "other":
        command = r.choice(OTHERS)
        if command == 0xB0:
            s.store(at + LOW, 0x4F)
            s.store(at + HIGH, 0xC2)
            s.store(at + FEATURE, r.choice((0xD0, 0xD1, 0xD2, 0xD8, 0xD9, 0xDA, 0xD4)))
        elif command == 0xEF:
            s.store(at + FEATURE, r.choice((0x02, 0x03, 0x82, 0x05, 0xAA)))
            s.store(at + COUNT, r.choice((0x08, 0x22, 0x42, 0x01)))
        s.store(at + COMMAND, command)
    elif kind.endswith("dma"):
        reads = kind == "read dma"
        if s.maybe(0.8):
            program(s, IDE_CHANNELS[cell], data(s, reads, 512 * r.choice((1, 2, 3, 16))))
        s.store(at + COMMAND, r.choice(DMA_READS if reads else DMA_WRITES))
        _break_in(s, cell)
    else:
        s.store(at + COMMAND, r.choice(READS if kind == "read" else WRITES))
    if s.maybe(0.7):
        s.poll(at + CONTROL, BSY, 0)
    if kind in ("read", "write", "other") and s.maybe(0.8):
        _data(s, at, kind == "write", r.choice((1, 5, 128, 128, 256)))


def _data(s: Script, at: int, write: bool, count: int) -> None:
    """Words through the data register."""
    width = s.rng.choice((2, 4, 4, 1))
    for _ in range(s.rng.choice((1, 1, 2, 3))):
        if write:
            s.store(at + DATA, s.value(), width, count)
        else:
            s.load(at + DATA, width, count)
        if s.maybe(0.5):
            s.poll(at + CONTROL, BSY, 0)


def _packet(s: Script, at: int, cell: int) -> None:
    """PACKET with a command of 12 bytes."""
    r = s.rng
    dma = s.maybe(0.4)
    s.store(at + DEVICE, 0xA0 | r.choice((0, 0, 0, 1)) << 4)
    s.store(at + FEATURE, int(dma))
    limit = r.choice((0xFFFE, 2048, 8, 512, 3, 0))
    s.store(at + LOW, limit & 0xFF)
    s.store(at + HIGH, limit >> 8)
    s.store(at + COMMAND, 0xA0)
    if s.maybe(0.9):
        s.poll(at + CONTROL, BSY | DRQ, DRQ)
    cdb = bytearray(bytes(r.choice(PACKETS)).ljust(12, b"\0"))
    if s.maybe(0.1):
        cdb[r.randrange(12)] = r.getrandbits(8)
    if dma and s.maybe(0.8):
        program(s, IDE_CHANNELS[cell], data(s, True, r.choice((8, 36, 2048, 6144, 8192))))
    for n in range(0, 12, 2):
        s.store(at + DATA, int.from_bytes(cdb[n : n + 2], "big"), 2)
    if dma:
        _break_in(s, cell)
    if s.maybe(0.8):
        s.poll(at + CONTROL, BSY, 0)
    if not dma:
        _data(s, at, False, r.choice((1, 4, 18, 128, 256)))


# --- DBDMA ----------------------------------------------------------------------------------------

BRANCH, CONDITION, INTERRUPTS = 2, 0, 4
#: Registers of a channel.
CHANNEL_CONTROL, POINTER, SELECTS = 0x00, 0x0C, (0x10, 0x14, 0x18)


def data(s: Script, to_memory: bool, size: int) -> list[tuple[int, int, int, int]]:
    """Data commands of so many bytes in all: (command, count, address, argument)."""
    more, last = (INPUT_MORE, INPUT_LAST) if to_memory else (OUTPUT_MORE, OUTPUT_LAST)
    pieces = s.rng.choice(((size,), (size // 2, size - size // 2), (size - 1,), (size + 4,)))
    at = s.room(size + 8)
    out = []
    for n, piece in enumerate(pieces):
        code = last if n == len(pieces) - 1 else more
        out.append((code << 12 | _flags(s), piece, at, 0))
        at += piece
    return out


def _flags(s: Script) -> int:
    """Interrupt, branch and wait conditions."""
    if s.maybe(0.6):
        return s.rng.choice((0, 0x30))
    return s.rng.choice((0x10, 0x20, 0x30, 0x04, 0x08, 0x01, 0x02))


def anything(s: Script) -> list[tuple[int, int, int, int]]:
    """Commands of all kinds, some of them wrong."""
    out = []
    for _ in range(s.rng.randrange(1, 5)):
        code = s.rng.choice((NOP, NOP, STORE_QUAD, LOAD_QUAD, INPUT_LAST, OUTPUT_MORE, 8, 15))
        key = 6 if code in (STORE_QUAD, LOAD_QUAD) and s.maybe(0.9) else s.rng.choice((0, 0, 5))
        count = s.rng.choice((1, 2, 4, 0, 16, 0xFFFF))
        address = s.room(16) if s.maybe(0.8) else s.value()
        out.append((code << 12 | key << 8 | _flags(s), count, address, s.value()))
    return out


def program(s: Script, channel: int, commands: Sequence[tuple[int, int, int, int]]) -> None:
    """Write a program to memory and start it; it ends with STOP, or goes back to its beginning."""
    r = s.rng
    at, control = s.room(16 * len(commands) + 32), s.layout.at("dbdma") + STRIDE * channel
    for n, (command, count, address, argument) in enumerate(commands):
        target = at if command & 0x0C else argument
        s.words(at + 16 * n, (command << 16 | count, address, target, 0))
    end = NOP << 12 | 0x0C if s.maybe(0.15) else STOP << 12
    s.words(at + 16 * len(commands), (end << 16, 0, at, 0))
    if s.maybe(0.9):
        s.store_little(control, (RUN | PAUSE | FLUSH | WAKE) << 16)
    for select in SELECTS:
        if s.maybe(0.3):
            s.store_little(control + select, r.choice((0x0001_0001, 0x0002_0000, s.value())))
    s.store_little(control + POINTER, at)
    s.store_little(control, (RUN | WAKE) << 16 | RUN | r.choice((0, WAKE)))


def _break_in(s: Script, cell: int) -> None:
    """Pause, flush, stop or wake the channel while it works."""
    if s.maybe(0.4):
        channel(s, IDE_CHANNELS[cell])


def channel(s: Script, number: int) -> None:
    """Something to a channel that may be at work."""
    control = s.layout.at("dbdma") + STRIDE * number
    match s.rng.randrange(6):
        case 0:
            s.store_little(control, PAUSE << 16 | PAUSE)
            s.wait(s.rng.choice((10, 1000, 30_000)))
            s.store_little(control, PAUSE << 16)
        case 1:
            s.store_little(control, FLUSH << 16 | FLUSH)
        case 2:
            s.store_little(control, RUN << 16)
        case 3:
            s.store_little(control, 0x00FF_0000 | s.rng.getrandbits(8))
        case 4:
            s.store_little(control, WAKE << 16 | WAKE)
        case _:
            s.load(control + s.rng.choice((4, 0x0C, 0x10)), 4)


def dma(s: Script) -> None:
    """A program of any kind on any channel."""
    number = s.rng.choice(USED)
    program(s, number, anything(s))
    s.wait(s.rng.choice((20, 100, 2000)))
    for _ in range(s.rng.randrange(4)):
        channel(s, number)


def halt_all(s: Script) -> None:
    """Stop every channel that programs run on: one that loops costs the host a lot of time."""
    for number in USED:
        control = s.layout.at("dbdma") + STRIDE * number
        s.exactly((Record("store4", control, swap(RUN << 16)),))


def first(s: Script) -> None:
    sequence(s, 0)


def second(s: Script) -> None:
    sequence(s, 1)
