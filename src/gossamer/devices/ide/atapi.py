"""A CD-ROM drive's packet commands: the phases of PACKET and the commands that move data.

`block_moved` gets the packet, `advance` carries it out when the drive's delay is over, and the
reply goes out in blocks of at most the byte count limit (PIO) or through the DMA channel.
Source: SFF-8020i and MMC-3 (T10/1363-D); how QEMU 7.2 answers: docs/chips/atapi.md.
"""

from __future__ import annotations

from typing import Final

from gossamer.devices.ide import atapi_replies as replies
from gossamer.devices.ide.drive import (
    CD_COMMAND,
    CD_TO_HOST,
    DMA,
    DRDY,
    ERR,
    PACKET,
    PACKET_OP,
    READ,
    SEEK,
    THEN_PACKET,
    THEN_REPLY,
    IdeDrive,
)
from gossamer.devices.ide.media import CD_SECTOR, SECTOR, TO_MEMORY, BlockBackend

MAX_BLOCK: Final = 0xFFFE

NOT_READY: Final = 2
ILLEGAL_REQUEST: Final = 5
MEDIUM_ERROR: Final = 3
UNIT_ATTENTION: Final = 6
ABORTED_COMMAND: Final = 11

INVALID_OPCODE: Final = 0x20
LBA_OUT_OF_RANGE: Final = 0x21
INVALID_FIELD: Final = 0x24
MEDIUM_CHANGED: Final = 0x28
UNRECOVERED_READ: Final = 0x11
INCOMPATIBLE_FORMAT: Final = 0x30
SAVING_NOT_SUPPORTED: Final = 0x39
MEDIUM_NOT_PRESENT: Final = 0x3A
REMOVAL_PREVENTED: Final = 0x53

# Packet operation codes.
TEST_UNIT_READY, REQUEST_SENSE, INQUIRY, START_STOP, PREVENT_ALLOW = 0x00, 0x03, 0x12, 0x1B, 0x1E
READ_CAPACITY, READ_10, SEEK_10, READ_TOC, GET_CONFIGURATION = 0x25, 0x28, 0x2B, 0x43, 0x46
GET_EVENT, READ_DISC, MODE_SENSE, READ_12, READ_DVD = 0x4A, 0x51, 0x5A, 0xA8, 0xAD
SET_SPEED, MECHANISM, READ_CD = 0xBB, 0xBD, 0xBE

READS: Final = (READ_10, READ_12, READ_CD)
NEEDS_MEDIUM: Final = (TEST_UNIT_READY, READ_CAPACITY, SEEK_10, READ_TOC, READ_DISC, *READS)
ALLOWS_ATTENTION: Final = (REQUEST_SENSE, INQUIRY, GET_CONFIGURATION, GET_EVENT)
RAW_SECTOR: Final = 2352


def reset(drive: IdeDrive) -> None:
    """What a reset does to the packet side: no sense, no transfer."""
    drive.sense_key = drive.asc = drive.ascq = 0
    drive.packet_transfer_size = drive.elementary_transfer_size = 0


def change_media(drive: IdeDrive, media: BlockBackend | None) -> None:
    """Put another disc in, or none; the tray ends up closed.

    The next command that needs the drive reports once that the medium may have changed (MMC-3,
    6.1.4); as long as there is none it reports only that.
    """
    drive.media, drive.tray_open, drive.eject_request = media, False, False
    drive.new_media = media is not None
    drive.cdrom_changed = int(media is not None)


def request_eject(drive: IdeDrive) -> bool:
    """The user presses the button: whether the tray opens; locked, the guest is asked."""
    if drive.tray_locked:
        drive.eject_request = True
        return False
    drive.tray_open = True
    return True


# --- phases -------------------------------------------------------------------------------------


def block_moved(drive: IdeDrive) -> None:
    """The CPU wrote the packet, or read the last byte of a block."""
    if drive.end_transfer_fn_idx == THEN_PACKET:
        drive.op = PACKET_OP
        drive.busy(PACKET, drive.timing.packet + _media_time(drive))
    elif not drive.packet_transfer_size:
        succeed(drive)
    elif drive.op != PACKET_OP:
        drive.note("a stream of QEMU does not say where on the disc a read goes on")
        fail(drive, ABORTED_COMMAND, 0)
    elif drive.left:
        n = min(_limit(drive), drive.packet_transfer_size)
        drive.busy(READ, drive.timing.moving(-(-n // drive.unit_bytes) * CD_SECTOR))
    else:
        _offer_block(drive)


def _media_time(drive: IdeDrive) -> int:
    """Time that the pickup needs before a packet that reads can answer."""
    cdb = bytes(drive.io_buffer[:12])
    if cdb[0] not in READS:
        return 0
    lba, count = _extent(cdb)
    seek = 0 if lba == drive.head else drive.timing.cd_seek
    return seek + (drive.timing.sector * CD_SECTOR // SECTOR if count else 0)


def advance(drive: IdeDrive) -> None:
    """A stage of a packet is over."""
    if drive.stage == PACKET:
        _execute(drive, bytes(drive.io_buffer[:12]))
    elif drive.stage == DMA:
        _dma_step(drive)
    else:
        _offer_block(drive)


def succeed(drive: IdeDrive) -> None:
    drive.error = 0
    drive.nsector = CD_COMMAND | CD_TO_HOST
    drive.left = drive.packet_transfer_size = 0
    drive.finish(DRDY | SEEK)


def fail(drive: IdeDrive, key: int, asc: int) -> None:
    """CHECK CONDITION."""
    drive.sense_key, drive.asc, drive.ascq = key, asc, 0
    drive.error = key << 4
    drive.nsector = CD_COMMAND | CD_TO_HOST
    drive.left = drive.packet_transfer_size = 0
    drive.finish(DRDY | ERR)


def reply(drive: IdeDrive, data: bytes, limit: int) -> None:
    """Send `data`, of which the packet allows `limit` bytes."""
    data = data[:limit]
    if not data:
        succeed(drive)
        return
    drive.io_buffer[: len(data)] = data
    drive.left = drive.staged = 0
    _send(drive, len(data))


def _send(drive: IdeDrive, total: int) -> None:
    """Begin the data phase of `total` bytes."""
    drive.packet_transfer_size, drive.elementary_transfer_size = total, 0
    if drive.feature & 1:
        drive.stage = DMA
        _dma_step(drive)
    else:
        _offer_block(drive)


def _limit(drive: IdeDrive) -> int:
    """The block size that the CPU asked for; it was put away where the block count is not."""
    return drive.req_nb_sectors or MAX_BLOCK


def _offer_block(drive: IdeDrive) -> None:
    """Ask the CPU to take the next block."""
    n = min(_limit(drive), drive.packet_transfer_size)
    offset = drive.staged
    if drive.left:
        offset = drive.staged % drive.unit_bytes
        data = _load(drive, n)
        if data is None:
            return
        drive.io_buffer[: len(data)] = data
    drive.staged += n
    drive.packet_transfer_size -= n
    drive.byte_count, drive.nsector = n, CD_TO_HOST
    drive.offer(n, THEN_REPLY, offset)
    drive.bus.raise_interrupt(drive)


def _load(drive: IdeDrive, n: int) -> bytes | None:
    """The sectors that hold the next `n` bytes; None: the host failed."""
    first = drive.position + drive.staged // drive.unit_bytes
    count = -(-(drive.staged % drive.unit_bytes + n) // drive.unit_bytes)
    if drive.media is None or first + count > drive.total:
        fail(drive, NOT_READY, MEDIUM_NOT_PRESENT)
        return None
    data = drive.read_media(first * CD_SECTOR, count * CD_SECTOR)
    if data is None:
        if not drive.stalled:
            fail(drive, MEDIUM_ERROR, UNRECOVERED_READ)
        return None
    if drive.unit_bytes == RAW_SECTOR:
        data = b"".join(
            replies.raw_sector(first + k, data[k * CD_SECTOR : (k + 1) * CD_SECTOR])
            for k in range(count)
        )
    drive.head = first + count
    return data


def _dma_step(drive: IdeDrive) -> None:
    """Move what the channel takes; wait for its next descriptor where it takes nothing."""
    channel = drive.bus.channel
    ready = channel.wanted(TO_MEMORY) if channel is not None else 0
    if channel is None or ready <= 0:
        return
    n = min(drive.timing.burst, drive.packet_transfer_size)
    if not drive.timing.chains:
        n = min(n, ready)
    if drive.left:
        loaded = _load(drive, n)
        if loaded is None:
            return
        offset = drive.staged % drive.unit_bytes
    else:
        loaded, offset = bytes(drive.io_buffer[: drive.staged + n]), drive.staged
    data = memoryview(loaded)[offset : offset + n]
    n = channel.scatter(data) if drive.timing.chains else channel.push(data)
    drive.staged += n
    drive.packet_transfer_size -= n
    if not drive.packet_transfer_size:
        channel.finish()
        succeed(drive)
    elif n:
        drive.timer.set(drive.clock.now + drive.timing.moving(n))


# --- commands -----------------------------------------------------------------------------------


def _execute(drive: IdeDrive, cdb: bytes) -> None:
    op = cdb[0]
    drive.req_nb_sectors = _block_limit(drive.byte_count)
    if _attention(drive) and op not in ALLOWS_ATTENTION:
        drive.cdrom_changed = 0
        fail(drive, UNIT_ATTENTION, MEDIUM_CHANGED)
        return
    if op in NEEDS_MEDIUM and (drive.media is None or drive.tray_open):
        fail(drive, NOT_READY, MEDIUM_NOT_PRESENT)
        return
    if op in READS:
        _read(drive, cdb)
        return
    handler = HANDLERS.get(op)
    if handler is None:
        drive.note(f"packet command {op:#04x}")
        fail(drive, ILLEGAL_REQUEST, INVALID_OPCODE)
    else:
        handler(drive, cdb)


def _block_limit(byte_count: int) -> int:
    """The block size from the byte count register: even, and 0xfffe for 0 and 0xffff."""
    return byte_count & ~1 or MAX_BLOCK


def _attention(drive: IdeDrive) -> bool:
    """Whether a change of disc is still to be reported; in a stream of QEMU the number may be 2."""
    return bool(drive.cdrom_changed and drive.media is not None and not drive.tray_open)


def _extent(cdb: bytes) -> tuple[int, int]:
    """First sector and count of a read."""
    lba = int.from_bytes(cdb[2:6], "big")
    if cdb[0] == READ_10:
        return lba, int.from_bytes(cdb[7:9], "big")
    if cdb[0] == READ_12:
        return lba, int.from_bytes(cdb[6:10], "big")
    return lba, int.from_bytes(cdb[6:9], "big")


def _read(drive: IdeDrive, cdb: bytes) -> None:
    lba, count = _extent(cdb)
    unit = CD_SECTOR
    if cdb[0] == READ_CD:
        choice = cdb[9] & 0xF8
        if choice not in (0x00, 0x10, 0xF8):
            fail(drive, ILLEGAL_REQUEST, INVALID_FIELD)
            return
        unit = RAW_SECTOR if choice == 0xF8 else CD_SECTOR
        count = count if choice else 0
    if lba + count > drive.total or (count and lba >= drive.total):
        fail(drive, ILLEGAL_REQUEST, LBA_OUT_OF_RANGE)
    elif not count:
        succeed(drive)
    elif count * unit > 0x7FFF_FFFF:
        fail(drive, ILLEGAL_REQUEST, INVALID_FIELD)
    else:
        drive.position, drive.left, drive.staged = lba, count, 0
        drive.unit_bytes = unit
        _send(drive, count * unit)


def _test(drive: IdeDrive, _cdb: bytes) -> None:
    succeed(drive)


def _request_sense(drive: IdeDrive, cdb: bytes) -> None:
    data = replies.sense(drive.sense_key, drive.asc, drive.ascq)
    if not drive.sense_key and _attention(drive):
        drive.cdrom_changed = 0
        data = replies.sense(UNIT_ATTENTION, MEDIUM_CHANGED, 0)
    drive.sense_key = drive.asc = drive.ascq = 0
    reply(drive, data, cdb[4])


def _inquiry(drive: IdeDrive, cdb: bytes) -> None:
    if not cdb[1] & 1:
        reply(drive, replies.inquiry(drive.firmware), cdb[4])
    elif cdb[2] in (0x00, 0x83):
        reply(drive, replies.vital_page(cdb[2], drive.serial), cdb[4])
    else:
        fail(drive, ILLEGAL_REQUEST, INVALID_FIELD)


def _start_stop(drive: IdeDrive, cdb: bytes) -> None:
    start, tray = cdb[4] & 1, cdb[4] & 2
    if tray and not start and not drive.tray_open and drive.tray_locked:
        fail(drive, NOT_READY, REMOVAL_PREVENTED)
        return
    if tray:
        drive.tray_open = not start
        drive.new_media = bool(start and drive.media)
    succeed(drive)


def _prevent_allow(drive: IdeDrive, cdb: bytes) -> None:
    drive.tray_locked = bool(cdb[4] & 1)
    succeed(drive)


def _read_capacity(drive: IdeDrive, _cdb: bytes) -> None:
    reply(drive, (drive.total - 1).to_bytes(4, "big") + CD_SECTOR.to_bytes(4, "big"), 8)


def _seek(drive: IdeDrive, cdb: bytes) -> None:
    lba = int.from_bytes(cdb[2:6], "big")
    if lba >= drive.total:
        fail(drive, ILLEGAL_REQUEST, LBA_OUT_OF_RANGE)
    else:
        drive.head = lba
        succeed(drive)


def _read_toc(drive: IdeDrive, cdb: bytes) -> None:
    data = replies.toc(cdb[2] & 0x0F or cdb[9] >> 6, bool(cdb[1] & 2), cdb[6], drive.total)
    if data is None:
        fail(drive, ILLEGAL_REQUEST, INVALID_FIELD)
    else:
        reply(drive, data, int.from_bytes(cdb[7:9], "big"))


def _get_configuration(drive: IdeDrive, cdb: bytes) -> None:
    total = 0 if drive.tray_open else drive.total
    reply(drive, replies.configuration(total), int.from_bytes(cdb[7:9], "big"))


def _get_event(drive: IdeDrive, cdb: bytes) -> None:
    if not cdb[1] & 1:  # asynchronous reporting
        fail(drive, ILLEGAL_REQUEST, INVALID_FIELD)
        return
    data = replies.NO_EVENT
    if cdb[4] & replies.MEDIA_EVENTS:
        event = 2 if drive.new_media else 1 if drive.eject_request else 0
        drive.new_media = drive.eject_request = False
        data = replies.media_event(event, drive.tray_open, drive.media is not None)
    reply(drive, data, int.from_bytes(cdb[7:9], "big"))


def _read_disc(drive: IdeDrive, cdb: bytes) -> None:
    reply(drive, replies.disc_information(), int.from_bytes(cdb[7:9], "big"))


def _mode_sense(drive: IdeDrive, cdb: bytes) -> None:
    control, page = cdb[2] >> 6, cdb[2] & 0x3F
    if control == 3:
        fail(drive, ILLEGAL_REQUEST, SAVING_NOT_SUPPORTED)
        return
    pages = replies.mode_pages(page, drive.tray_locked) if control != 1 else None
    if pages is None:
        fail(drive, ILLEGAL_REQUEST, INVALID_FIELD)
        return
    has_disc = drive.media is not None and not drive.tray_open
    reply(drive, replies.mode_header(pages, has_disc), int.from_bytes(cdb[7:9], "big"))


def _read_dvd(drive: IdeDrive, _cdb: bytes) -> None:
    """DVD structures: a disc that is no DVD has none; of DVDs none is kept here either."""
    is_dvd = drive.total > replies.LARGEST_CD
    fail(drive, ILLEGAL_REQUEST, INVALID_FIELD if is_dvd else INCOMPATIBLE_FORMAT)


def _mechanism(drive: IdeDrive, cdb: bytes) -> None:
    reply(drive, bytes((0, 0, 0, 0, 0, 1, 0, 0)), int.from_bytes(cdb[8:10], "big"))


HANDLERS: Final = {
    TEST_UNIT_READY: _test,
    REQUEST_SENSE: _request_sense,
    INQUIRY: _inquiry,
    START_STOP: _start_stop,
    PREVENT_ALLOW: _prevent_allow,
    READ_CAPACITY: _read_capacity,
    SEEK_10: _seek,
    READ_TOC: _read_toc,
    GET_CONFIGURATION: _get_configuration,
    GET_EVENT: _get_event,
    READ_DISC: _read_disc,
    MODE_SENSE: _mode_sense,
    READ_DVD: _read_dvd,
    SET_SPEED: _test,
    MECHANISM: _mechanism,
}
