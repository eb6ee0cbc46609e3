"""ATA commands: how a disk (and, for the few it shares, a CD-ROM drive) carries them out.

`start` accepts a command and makes the drive busy; `advance` is called when a stage is over;
`block_moved` when the CPU has moved a PIO block.  Source: ATA/ATAPI-6 (T13/1410D), clause 8;
which commands there are and how they answer: QEMU 7.2 as docs/chips/ide.md records it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.devices.ide import identify as ide_identify
from gossamer.devices.ide.drive import (
    CDROM,
    COMMIT,
    DISK,
    DMA,
    DRDY,
    EXECUTE,
    FIXED,
    IDNF,
    LBA,
    MAX_MULTIPLE,
    PACKET_OP,
    READ,
    RESET_NS,
    SEEK,
    THEN_PACKET,
    THEN_READ,
    THEN_STOP,
    THEN_WRITE,
    UNC,
    IdeDrive,
)
from gossamer.devices.ide.media import FROM_MEMORY, SECTOR, TO_MEMORY, DmaChannel

READY: Final = DRDY | SEEK
DEVICE_RESET: Final = 0x08
DIAGNOSE: Final = 0x90
MOST_STAGED: Final = 256 * SECTOR
"""Bytes that wait in the drive's buffer at the most for a medium that failed."""
FLUSH_LOOK_NS: Final = 1_000_000
"""Between two looks at a flush that goes on in the background."""

EXTENDED: Final = frozenset({0x24, 0x25, 0x27, 0x29, 0x34, 0x35, 0x39, 0x3D, 0x42, 0xCE, 0xEA})
READS: Final = frozenset({0x20, 0x21, 0x24, 0xC4, 0x29})
WRITES: Final = frozenset({0x30, 0x31, 0x34, 0x3C, 0xC5, 0x39, 0xCE})
MULTIPLE: Final = frozenset({0xC4, 0x29, 0xC5, 0x39, 0xCE})
DMA_READS: Final = frozenset({0xC8, 0xC9, 0x25})
DMA_WRITES: Final = frozenset({0xCA, 0xCB, 0x35, 0x3D})
DMAS: Final = DMA_READS | DMA_WRITES
VERIFIES: Final = frozenset({0x40, 0x41, 0x42})
TRANSFERS: Final = READS | WRITES | DMAS | VERIFIES
REST: Final = (0x94, 0x95, 0x96, 0x97, 0x99, 0xE0, 0xE1, 0xE2, 0xE3, 0xE6)
"""STANDBY (IMMEDIATE), IDLE (IMMEDIATE), SLEEP, in their old and new numbers."""
SMART_SIGNATURE: Final = 0xC24F
SMART_ENABLED_WORD: Final = 85


def start(drive: IdeDrive) -> None:
    """A command has been written: be busy until its first effect."""
    delay = drive.timing.command
    if drive.op in TRANSFERS and drive.kind == DISK:
        _expand_count(drive)
        if drive.op not in WRITES:
            delay += drive.seek_time(drive.sector_number())
        if drive.op in READS:
            delay += min(_block(drive), drive.nsector) * drive.timing.sector
        elif drive.op in VERIFIES:
            delay += drive.nsector * drive.timing.sector
        elif drive.timing.chains and drive.op in DMAS:
            _dma_soon(drive, delay)
            return
    elif drive.op == PACKET_OP and drive.kind == CDROM and drive.timing.chains:
        _packet(drive)
        return
    elif drive.op == DIAGNOSE:
        delay = RESET_NS
    drive.busy(EXECUTE, delay)


def _expand_count(drive: IdeDrive) -> None:
    """A count of zero is the largest; 48-bit commands take the previous contents as high byte."""
    drive.lba48 = int(drive.op in EXTENDED)
    count = drive.nsector & 0xFF
    if drive.lba48:
        drive.nsector = drive.hob_nsector << 8 | count or 65536
    else:
        drive.nsector = count or 256


def _block(drive: IdeDrive) -> int:
    """Sectors between two interrupts; a stream of QEMU does not hold the command, but the block."""
    if not drive.op:
        return max(drive.req_nb_sectors, 1)
    return max(drive.mult_sectors, 1) if drive.op in MULTIPLE else 1


def advance(drive: IdeDrive) -> None:
    """The stage that the drive was busy with is over."""
    if drive.stage == READ:
        _read_block(drive)
    elif drive.stage == COMMIT:
        _commit_block(drive)
    elif drive.stage == DMA:
        _dma_step(drive)
    else:
        handler = (COMMANDS if drive.kind == DISK else CD_COMMANDS).get(drive.op, _unknown)
        handler(drive)


def block_moved(drive: IdeDrive) -> None:
    """The CPU has moved a block; go on with the command."""
    match drive.end_transfer_fn_idx:
        case 0:  # THEN_READ
            if drive.nsector:
                n = min(_block(drive), drive.nsector)
                where = drive.seek_time(drive.sector_number())
                drive.busy(READ, where + drive.timing.moving(n * SECTOR))
            else:
                drive.ready()
        case 1:  # THEN_WRITE
            where = drive.seek_time(drive.sector_number())
            drive.busy(COMMIT, where + drive.timing.moving(drive.req_nb_sectors * SECTOR))
        case _:
            drive.ready()


def _unknown(drive: IdeDrive) -> None:
    drive.abort()


def _done(drive: IdeDrive) -> None:
    drive.finish()


def _rest(drive: IdeDrive) -> None:
    """Power commands: nothing spins here, so the drive is at once where it is sent."""
    drive.finish(DRDY)


# --- PIO transfers ------------------------------------------------------------------------------


def _in_reach(drive: IdeDrive, n: int) -> int:
    """How many of `n` sectors from where the task file points exist."""
    return max(min(n, drive.total - drive.sector_number()), 0)


def _read_block(drive: IdeDrive) -> None:
    if drive.op in MULTIPLE and not drive.mult_sectors:
        drive.abort()
        return
    n = _in_reach(drive, min(_block(drive), drive.nsector))
    if not n:
        drive.abort(IDNF)
        return
    at = drive.sector_number()
    data = drive.read_media(at * SECTOR, n * SECTOR)
    if data is None:
        _failed(drive)
        return
    drive.io_buffer[: n * SECTOR] = data
    drive.head = at + n
    drive.set_sector_number(at + n)
    drive.nsector -= n
    drive.req_nb_sectors = n
    drive.offer(n * SECTOR, THEN_READ)
    drive.bus.raise_interrupt(drive)


def _failed(drive: IdeDrive) -> None:
    """The host could not; a drive that waits for `retry` stays as it is."""
    if not drive.stalled:
        drive.abort(UNC)


def _write(drive: IdeDrive) -> None:
    """Take the first block: no interrupt for it."""
    if drive.op in MULTIPLE and not drive.mult_sectors:
        drive.abort()
    else:
        _ask_block(drive)


def _ask_block(drive: IdeDrive) -> None:
    drive.req_nb_sectors = min(_block(drive), drive.nsector)
    drive.offer(drive.req_nb_sectors * SECTOR, THEN_WRITE)


def _commit_block(drive: IdeDrive) -> None:
    n, at = drive.req_nb_sectors, drive.sector_number()
    if drive.media is None or _in_reach(drive, n) < n or drive.media.read_only:
        drive.abort(IDNF)
        return
    if not drive.write_media(at * SECTOR, bytes(drive.io_buffer[: n * SECTOR])):
        _failed(drive)
        return
    drive.head = at + n
    drive.set_sector_number(at + n)
    drive.nsector -= n
    if drive.nsector:
        _ask_block(drive)
        drive.bus.raise_interrupt(drive)
    else:
        drive.finish()


def _verify(drive: IdeDrive) -> None:
    at, n = drive.sector_number(), drive.nsector
    if _in_reach(drive, n) < n:
        drive.abort(IDNF)
        return
    drive.head = at + n
    drive.finish()


# --- DMA ----------------------------------------------------------------------------------------


def _dma(drive: IdeDrive) -> None:
    if _dma_begin(drive):
        _dma_step(drive)
    else:
        drive.abort(IDNF)


def _dma_begin(drive: IdeDrive) -> bool:
    """Note what is to be moved; false: there are not so many sectors."""
    at, n = drive.sector_number(), drive.nsector
    if _in_reach(drive, n) < n:
        return False
    drive.position, drive.left, drive.staged = at * SECTOR, n * SECTOR, 0
    drive.stage = DMA
    return True


def _dma_soon(drive: IdeDrive, delay: int) -> None:
    """Be busy with a transfer that begins as soon as the channel has room, or after `delay`."""
    if not _dma_begin(drive):
        drive.busy(EXECUTE, delay)
        return
    channel = drive.bus.channel
    direction = FROM_MEMORY if drive.op in DMA_WRITES else TO_MEMORY
    waits = channel is None or not channel.wanted(direction)
    drive.busy(DMA, None if waits else delay)


def _dma_step(drive: IdeDrive) -> None:
    """Move what the channel takes; wait for its next descriptor where it takes nothing."""
    channel = drive.bus.channel
    moved = 0
    if channel is not None:
        moved = (_dma_out if drive.op in DMA_WRITES else _dma_in)(drive, channel)
    if moved < 0:
        _failed(drive)
    elif not drive.left:
        _dma_done(drive)
    elif moved:
        drive.timer.set(drive.clock.now + drive.timing.moving(moved))


def _dma_in(drive: IdeDrive, channel: DmaChannel) -> int:
    """Bytes moved to memory; -1 when the host failed."""
    n = min(drive.timing.burst, drive.left)
    ready = channel.wanted(TO_MEMORY)
    if not drive.timing.chains or not ready:
        n = min(n, ready)
    if n <= 0:
        return 0
    data = drive.read_media(drive.position, n)
    if data is None:
        return -1
    n = channel.scatter(data) if drive.timing.chains else channel.push(data)
    drive.position += n
    drive.left -= n
    return n


def _dma_out(drive: IdeDrive, channel: DmaChannel) -> int:
    """Bytes moved from memory; -1 when the host failed.  They are written sector by sector."""
    goal = min(drive.timing.burst, drive.left, MOST_STAGED)
    taken = b""
    if drive.staged < goal:
        room = goal - drive.staged
        if drive.timing.chains:
            taken = channel.gather(room)
        elif (n := min(room, channel.wanted(FROM_MEMORY))) > 0:
            taken = channel.pull(n)
        if drive.staged or len(taken) % SECTOR:
            _stage(drive, taken)
        elif taken:
            if not _put(drive, taken):
                _stage(drive, taken)  # for another try
                return -1
            return len(taken)
    whole = drive.staged - drive.staged % SECTOR
    if whole:
        if not _put(drive, bytes(drive.io_buffer[:whole])):
            return -1
        rest = drive.staged - whole
        left = drive.io_buffer[whole : drive.staged]
        drive.io_buffer[: drive.staged] = left + bytes(whole)
        drive.staged = rest
    return len(taken) or whole


def _stage(drive: IdeDrive, data: bytes) -> None:
    drive.io_buffer[drive.staged : drive.staged + len(data)] = data
    drive.staged += len(data)


def _put(drive: IdeDrive, data: bytes) -> bool:
    """Whole sectors to the medium, where the transfer stands."""
    if drive.media is None or drive.media.read_only:
        return False
    if not drive.write_media(drive.position, data):
        return False
    drive.position += len(data)
    drive.left -= len(data)
    return True


def _dma_done(drive: IdeDrive) -> None:
    drive.head = drive.position // SECTOR
    drive.set_sector_number(drive.head)
    drive.nsector = 0
    if drive.bus.channel is not None:
        drive.bus.channel.finish()
    drive.finish()


# --- the rest -----------------------------------------------------------------------------------


def identify(drive: IdeDrive) -> None:
    """Make the identification the first time, then show it."""
    if not drive.identify_set:
        make = ide_identify.disk if drive.kind == DISK else ide_identify.cdrom
        drive.identify_data[:] = make(drive)
        drive.identify_set = 1
    drive.io_buffer[:SECTOR] = drive.identify_data
    drive.offer(SECTOR, THEN_STOP)
    drive.bus.raise_interrupt(drive)


def _set_identify_word(drive: IdeDrive, n: int, word: int) -> None:
    if not drive.identify_set:
        make = ide_identify.disk if drive.kind == DISK else ide_identify.cdrom
        drive.identify_data[:] = make(drive)
        drive.identify_set = 1
    drive.identify_data[2 * n : 2 * n + 2] = word.to_bytes(2, "little")


def _identify_word(drive: IdeDrive, n: int) -> int:
    return int.from_bytes(drive.identify_data[2 * n : 2 * n + 2], "little")


def _signed_abort(drive: IdeDrive) -> None:
    """What a CD-ROM drive says to commands for disks."""
    drive.sign()
    drive.abort()


def diagnose(drive: IdeDrive) -> None:
    """Both drives answer; the selected one is drive 0 afterwards."""
    for one in drive.bus.drives:
        one.sign()
        one.error = 1
        one.select = FIXED | one.unit << 4
        one.status = 0 if one.kind == CDROM else READY
    drive.bus.unit = 0
    drive.settle()
    if drive.kind == DISK:
        drive.bus.raise_interrupt(drive.bus.drives[0])


def _set_parameters(drive: IdeDrive) -> None:
    """INITIALIZE DEVICE PARAMETERS: the geometry of CHS addresses."""
    if not drive.nsector & 0xFF:
        drive.abort()
        return
    drive.heads, drive.sectors = (drive.select & 0x0F) + 1, drive.nsector & 0xFF
    if drive.identify_set:
        drive.identify_data[108:110] = drive.geometry()[0].to_bytes(2, "little")
        _set_identify_word(drive, 55, drive.heads)
        _set_identify_word(drive, 56, drive.sectors)
    drive.finish()


def _set_multiple(drive: IdeDrive) -> None:
    n = drive.nsector & 0xFF
    if n > MAX_MULTIPLE or n & (n - 1):
        drive.abort()
        return
    drive.mult_sectors = n
    _set_identify_word(drive, 59, 0x100 | n if n else 0)
    drive.finish()


def _set_features(drive: IdeDrive) -> None:
    match drive.feature:
        case 0x03:
            if not _set_transfer_mode(drive, drive.nsector & 0xFF):
                drive.abort()
                return
        case 0x02:
            _set_cache(drive, on=True)
        case 0x82:
            _set_cache(drive, on=False)
            if not drive.flush_media():
                _failed(drive)
                return
        case 0x05 | 0x42 | 0x55 | 0x66 | 0x67 | 0x69 | 0x85 | 0xAA | 0xC2 | 0xCC | 0x9A:
            pass  # power management, acoustics, look-ahead, defaults: nothing to change
        case _:
            drive.abort()
            return
    drive.finish()


def _set_cache(drive: IdeDrive, *, on: bool) -> None:
    _set_identify_word(drive, SMART_ENABLED_WORD, 0x4021 if on else 0x4001)


def _set_transfer_mode(drive: IdeDrive, value: int) -> bool:
    """Select PIO, single word, multiword or Ultra DMA; words 62, 63 and 88 say which."""
    kind, mode = value >> 3, value & 7
    modes = {0: 0, 1: 0, 2: 1 << (mode + 8), 4: 1 << (mode + 8), 8: 1 << (mode + 8)}
    if kind not in modes or (kind in (2, 4) and mode > 2) or (kind == 8 and mode > 5):
        return False
    _set_identify_word(drive, 62, 0x07 | (modes[2] if kind == 2 else 0))
    _set_identify_word(drive, 63, 0x07 | (modes[4] if kind == 4 else 0))
    _set_identify_word(drive, 88, 0x3F | (modes[8] if kind == 8 else 0))
    return True


def _flush(drive: IdeDrive) -> None:
    """A save while the drive is busy with this: the loaded drive flushes anew."""
    if not drive.flushed_ahead():
        drive.timer.set(drive.clock.now + FLUSH_LOOK_NS)
    elif drive.flush_media():
        drive.finish()
    else:
        _failed(drive)


def _power_mode(drive: IdeDrive) -> None:
    """CHECK POWER MODE: active."""
    drive.nsector = 0xFF
    drive.finish()


def _native_max(drive: IdeDrive) -> None:
    """READ NATIVE MAX ADDRESS (EXT)."""
    drive.lba48 = int(drive.op == 0x27)
    if not drive.total:
        drive.abort()
        return
    chosen, drive.select = drive.select, drive.select | LBA
    drive.set_sector_number(drive.total - 1)
    drive.select = drive.select if chosen & LBA else chosen
    drive.finish()


def _seek(drive: IdeDrive) -> None:
    drive.head = drive.sector_number()
    drive.finish()


def _smart(drive: IdeDrive) -> None:
    """SMART: always well.  Data and thresholds are empty but valid."""
    if drive.byte_count != SMART_SIGNATURE:
        drive.abort()
        return
    match drive.feature:
        case 0xD0 | 0xD1:
            page = bytearray(SECTOR)
            page[0] = 1
            page[SECTOR - 1] = -sum(page) & 0xFF
            drive.io_buffer[:SECTOR] = page
            drive.offer(SECTOR, THEN_STOP)
            drive.bus.raise_interrupt(drive)
        case 0xD2 | 0xD3 | 0xD4 | 0xD8 | 0xD9:
            drive.finish()
        case 0xDA:
            drive.finish()
        case _:
            drive.abort()


def _packet(drive: IdeDrive) -> None:
    """PACKET: ask for the 12 bytes of the command."""
    drive.feature &= 1  # overlap is not supported; bit 0 chooses DMA
    drive.nsector = 1  # command, to the drive
    drive.offer(12, THEN_PACKET)


Handler = Callable[[IdeDrive], None]

COMMANDS: Final[dict[int, Handler]] = {
    **dict.fromkeys(READS, _read_block),
    **dict.fromkeys(WRITES, _write),
    **dict.fromkeys(DMA_READS | DMA_WRITES, _dma),
    **dict.fromkeys(VERIFIES, _verify),
    **dict.fromkeys(REST, _rest),
    **dict.fromkeys((0x98, 0xE5), _power_mode),
    **dict.fromkeys((0xE7, 0xEA), _flush),
    **dict.fromkeys((0xF8, 0x27), _native_max),
    0x10: _done,
    0x70: _seek,
    DIAGNOSE: diagnose,
    0x91: _set_parameters,
    0xB0: _smart,
    0xC6: _set_multiple,
    0xEC: identify,
    0xEF: _set_features,
    0xF5: _done,
}

CD_COMMANDS: Final[dict[int, Handler]] = {
    **dict.fromkeys(REST, _rest),
    **dict.fromkeys((0x98, 0xE5), _power_mode),
    0x20: _signed_abort,
    0xE7: _done,
    DIAGNOSE: diagnose,
    PACKET_OP: _packet,
    0xA1: identify,
    0xEC: _signed_abort,
    0xEF: _set_features,
}
