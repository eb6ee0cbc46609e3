"""The commands of a disk and of a CD-ROM drive.

Sources: SBC-2, SPC-3, MMC-5 (T10); answers and their order of checks as QEMU 7.2's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from gossamer.devices.ide import atapi_replies
from gossamer.devices.scsi import cdb as op
from gossamer.devices.scsi import replies, sense
from gossamer.devices.scsi.cdb import Cdb
from gossamer.devices.scsi.faults import CommandError
from gossamer.devices.scsi.select import mode_select

if TYPE_CHECKING:
    from gossamer.devices.scsi.disk import ScsiDisk, Tally

#: Bytes that are copied in one step; that one command may move.
CHUNK, MOST = 1 << 20, 1 << 25
#: Answers are as long as the command allows, up to here.
MOST_PADDED: Final = 1 << 16
#: Commands that need no medium.
ALWAYS: Final = frozenset(
    (
        *(op.INQUIRY, op.MODE_SENSE, op.MODE_SENSE_10, op.RESERVE, op.RESERVE_10, op.RELEASE),
        *(op.RELEASE_10, op.START_STOP, op.PREVENT_ALLOW, op.GET_CONFIGURATION, op.GET_EVENT),
        *(op.MECHANISM, op.REQUEST_SENSE),
    )
)
READ_CAPACITY_16: Final = 0x10
FORCE_UNIT_ACCESS: Final = 8


def answer(disk: ScsiDisk, c: Cdb, lun: int, tally: Tally) -> None:
    """Do a command that is the unit's own.  CommandError: it ends with CHECK CONDITION."""
    if c.op not in ALWAYS and not disk.ready:
        raise CommandError(sense.NO_MEDIUM)
    if c.op in op.READS:
        _read(disk, c, tally)
    elif c.op in op.WRITES:
        _write(disk, c, tally)
    elif c.op in OUT:
        OUT[c.op](disk, c, tally)
    else:
        handler = REPLIES.get(c.op)
        if handler is None:
            disk.note(f"command {c.op:#04x}")
            raise CommandError(sense.INVALID_OPCODE)
        data = handler(disk, c, tally.queues)
        if data is None:
            raise CommandError(sense.INVALID_FIELD)
        tally.reply(data.ljust(min(c.length, MOST_PADDED), b"\0"), c.length)


# --- blocks ---------------------------------------------------------------------------------------


def check_range(disk: ScsiDisk, lba: int, count: int) -> None:
    if lba + count > disk.blocks:
        raise CommandError(sense.OUT_OF_RANGE)


def _check_extent(disk: ScsiDisk, c: Cdb) -> None:
    protected = c.data[1] & 0xE0 and c.op not in (op.READ_6, op.WRITE_6)
    if protected or c.length > MOST:
        raise CommandError(sense.INVALID_FIELD)
    check_range(disk, c.lba, c.count)


def _read(disk: ScsiDisk, c: Cdb, tally: Tally) -> None:
    _check_extent(disk, c)
    media = disk.media
    assert media is not None
    tally.length, start = c.length, c.lba * disk.block
    for at in range(0, c.length, CHUNK):
        size = min(CHUNK, c.length - at)
        data = disk.attempt(False, partial(media.read, start + at, size), bytes(size))
        if not tally.give(data.ljust(size, b"\0")):
            break


def _write(disk: ScsiDisk, c: Cdb, tally: Tally) -> None:
    media = disk.media
    assert media is not None
    tally.out = True
    if media.read_only:
        raise CommandError(sense.WRITE_PROTECTED)
    _check_extent(disk, c)
    tally.length, start = c.length, c.lba * disk.block
    for at in range(0, c.length, CHUNK):
        size = min(CHUNK, c.length - at)
        data = tally.take(size)
        whole = data[: len(data) - len(data) % disk.block]
        if whole:
            disk.attempt(True, partial(media.write, start + at, whole), None)
        if len(data) < size:
            break
    forced = c.op in op.VERIFYING or (c.op != op.WRITE_6 and c.data[1] & FORCE_UNIT_ACCESS)
    if forced or not disk.cached:
        flush(disk)


def flush(disk: ScsiDisk) -> None:
    if disk.media is not None:
        disk.attempt(True, disk.media.flush, None)


def _zero(disk: ScsiDisk, lba: int, count: int, pattern: bytes) -> None:
    media = disk.media
    assert media is not None
    fill = pattern * (CHUNK // len(pattern))
    start, end = lba * disk.block, (lba + count) * disk.block
    for at in range(start, end, CHUNK):
        disk.attempt(True, partial(media.write, at, fill[: end - at]), None)


# --- commands that bring data ---------------------------------------------------------------------


def _select(disk: ScsiDisk, c: Cdb, tally: Tally) -> None:
    mode_select(disk, c, tally.bring(c.length))
    if not disk.cached:
        flush(disk)


def _unmap(disk: ScsiDisk, c: Cdb, tally: Tally) -> None:
    """Blocks that the guest needs no more keep what is in them."""
    data = tally.bring(c.length)
    if c.data[1] & 1:
        raise CommandError(sense.INVALID_FIELD)
    if len(data) < 8:
        raise CommandError(sense.PARAMETER_LENGTH)
    whole, listed = (int.from_bytes(data[n : n + 2], "big") for n in (0, 2))
    if len(data) < whole + 2 or len(data) < listed + 8 or listed & 15:
        raise CommandError(sense.PARAMETER_LENGTH)
    if disk.media is not None and disk.media.read_only:
        raise CommandError(sense.WRITE_PROTECTED)
    for at in range(8, 8 + listed, 16):
        check_range(
            disk,
            int.from_bytes(data[at : at + 8], "big"),
            int.from_bytes(data[at + 8 : at + 12], "big"),
        )


def _same(disk: ScsiDisk, c: Cdb, tally: Tally) -> None:
    """WRITE SAME: one block, or zeros, for all of them."""
    data = tally.bring(c.length)
    if not c.count or c.data[1] & 0x16:
        raise CommandError(sense.INVALID_FIELD)
    if disk.media is not None and disk.media.read_only:
        raise CommandError(sense.WRITE_PROTECTED)
    check_range(disk, c.lba, c.count)
    if c.count * disk.block > replies.MOST_SAME:
        raise CommandError(sense.INVALID_FIELD)
    _zero(disk, c.lba, c.count, data or bytes(disk.block))
    if not disk.cached:
        flush(disk)


def _format(disk: ScsiDisk, c: Cdb, tally: Tally) -> None:
    tally.bring(c.length)


def _verify(disk: ScsiDisk, c: Cdb, tally: Tally) -> None:
    if c.data[1] & 6:
        raise CommandError(sense.INVALID_FIELD)


OUT: Final[dict[int, Callable[[ScsiDisk, Cdb, Tally], None]]] = {
    op.MODE_SELECT: _select,
    op.MODE_SELECT_10: _select,
    op.UNMAP: _unmap,
    op.WRITE_SAME_10: _same,
    op.WRITE_SAME_16: _same,
    op.FORMAT_UNIT: _format,
    op.VERIFY_10: _verify,
    op.VERIFY_12: _verify,
    op.VERIFY_16: _verify,
}

# --- commands that are answered -------------------------------------------------------------------

Reply = Callable[["ScsiDisk", Cdb, bool], bytes | None]
"""The data, empty for none; None: a field of the command is wrong."""


def _nothing(disk: ScsiDisk, c: Cdb, queues: bool) -> bytes | None:
    return b""


def _request_sense(disk: ScsiDisk, c: Cdb, queues: bool) -> bytes | None:
    return sense.converted(b"", in_fixed=not c.data[1] & 1)


def _inquiry(disk: ScsiDisk, c: Cdb, queues: bool) -> bytes | None:
    if c.data[1] & 1:
        return replies.vital_page(disk, c.data[2])
    if c.data[2]:
        return None
    return replies.inquiry(disk, c.length, queues=queues)


def _mode_sense(disk: ScsiDisk, c: Cdb, queues: bool) -> bytes | None:
    if c.data[2] >> 6 == 3:
        raise CommandError(sense.SAVING_NOT_SUPPORTED)
    return replies.mode_sense(disk, c.data)


def _reserve(disk: ScsiDisk, c: Cdb, queues: bool) -> bytes | None:
    return None if c.data[1] & (1 if len(c.data) == 6 else 3) else b""


def _start_stop(disk: ScsiDisk, c: Cdb, queues: bool) -> bytes | None:
    start, tray = c.data[4] & 1, c.data[4] & 2
    if c.data[4] & 0xF0 or not (disk.is_cd and tray):
        return b""
    if not start and not disk.tray_open and disk.tray_locked:
        there = disk.media is not None
        raise CommandError(sense.REMOVAL_PREVENTED if there else sense.NOT_READY_REMOVAL)
    disk.tray_open = not start
    return b""


def _prevent(disk: ScsiDisk, c: Cdb, queues: bool) -> bytes | None:
    disk.tray_locked = bool(c.data[4] & 1)
    return b""


def _last(disk: ScsiDisk, is_partial: bool, lba: int) -> int | None:
    """The last block; None where the command asks for that of a part."""
    if not disk.blocks:
        raise CommandError(sense.LUN_NOT_READY)
    return None if not is_partial and lba else disk.blocks - 1


def _capacity(disk: ScsiDisk, c: Cdb, queues: bool) -> bytes | None:
    last = _last(disk, bool(c.data[8] & 1), c.lba)
    if last is None:
        return None
    return min(last, 0xFFFF_FFFF).to_bytes(4, "big") + disk.block.to_bytes(4, "big")


def _service_in(disk: ScsiDisk, c: Cdb, queues: bool) -> bytes | None:
    if c.data[1] & 31 != READ_CAPACITY_16:
        return None
    last = _last(disk, bool(c.data[14] & 1), c.lba)
    if last is None:
        return None
    body = last.to_bytes(8, "big") + disk.block.to_bytes(4, "big")
    return body + bytes((0, 0, 0x80))


def _flush(disk: ScsiDisk, c: Cdb, queues: bool) -> bytes | None:
    flush(disk)
    return b""


def _seek(disk: ScsiDisk, c: Cdb, queues: bool) -> bytes | None:
    if c.lba >= disk.blocks:
        raise CommandError(sense.OUT_OF_RANGE)
    return b""


def _of_cd(reply: Reply) -> Reply:
    """A command that only drives have."""

    def checked(disk: ScsiDisk, c: Cdb, queues: bool) -> bytes | None:
        return reply(disk, c, queues) if disk.is_cd else None

    return checked


def _toc(disk: ScsiDisk, c: Cdb, queues: bool) -> bytes | None:
    form = c.data[2] & 0xF
    if form == 1:
        return bytes((0, 10, 1, 1)).ljust(12, b"\0")
    if form == 2:
        return _full_toc(disk.blocks, bool(c.data[1] & 2))
    return atapi_replies.toc(form, bool(c.data[1] & 2), c.data[6], disk.blocks)


def _full_toc(total: int, in_msf: bool) -> bytes:
    """Q sub-channel entries: first and last track, lead-out, track 1."""

    def where(lba: int) -> bytes:
        return atapi_replies.msf_word(lba) if in_msf else lba.to_bytes(4, "big")

    track = bytes((0, 1, 0, 0))
    points = ((0xA0, track), (0xA1, track), (0xA2, where(total)), (0x01, where(0)))
    body = b"".join(bytes((1, 0x14, 0, point, 0, 0, 0)) + place for point, place in points)
    return (len(body) + 2).to_bytes(2, "big") + b"\x01\x01" + body


def _configuration(disk: ScsiDisk, c: Cdb, queues: bool) -> bytes | None:
    total = disk.blocks if disk.ready else 0
    features = bytes((0, 1, 0x0B, 8, 0, 0, 0, 1, 1, 0, 0, 0, 0, 3, 0x0B, 4, 0x39, 0, 0, 0))
    body = atapi_replies.configuration(total)[4:] + features
    return len(body).to_bytes(4, "big") + body


def _event(disk: ScsiDisk, c: Cdb, queues: bool) -> bytes | None:
    if not c.data[1] & 1:  # asynchronous reporting
        return None
    if not c.data[4] & atapi_replies.MEDIA_EVENTS:
        return atapi_replies.NO_EVENT
    has_disc = disk.media is not None
    event = 0
    if disk.media_event:
        event = 2 if has_disc and not disk.tray_open else 3
        disk.media_event = False
    elif disk.eject_request:
        event = 1
        disk.eject_request = False
    return atapi_replies.media_event(event, disk.tray_open, has_disc)


def _disc(disk: ScsiDisk, c: Cdb, queues: bool) -> bytes | None:
    return None if c.data[1] & 7 else atapi_replies.disc_information()


def _dvd(disk: ScsiDisk, c: Cdb, queues: bool) -> bytes | None:
    """DVD structures: a CD has none; of DVDs none is kept here either."""
    if not c.data[1] and c.data[7] != 0xFF and disk.blocks <= atapi_replies.LARGEST_CD:
        raise CommandError(sense.INCOMPATIBLE_FORMAT)
    return None


def _mechanism(disk: ScsiDisk, c: Cdb, queues: bool) -> bytes | None:
    return bytes((0, 0, 0, 0, 0, 1, 0, 0))


REPLIES: Final[dict[int, Reply]] = {
    op.TEST_UNIT_READY: _nothing,
    op.REQUEST_SENSE: _request_sense,
    op.INQUIRY: _inquiry,
    op.MODE_SENSE: _mode_sense,
    op.MODE_SENSE_10: _mode_sense,
    op.RESERVE: _reserve,
    op.RESERVE_10: _reserve,
    op.RELEASE: _reserve,
    op.RELEASE_10: _reserve,
    op.START_STOP: _start_stop,
    op.PREVENT_ALLOW: _prevent,
    op.READ_CAPACITY: _capacity,
    op.SERVICE_IN_16: _service_in,
    op.SYNCHRONIZE_CACHE: _flush,
    op.SYNCHRONIZE_CACHE_16: _flush,
    op.SEEK_10: _seek,
    op.READ_TOC: _toc,
    op.GET_CONFIGURATION: _of_cd(_configuration),
    op.GET_EVENT: _of_cd(_event),
    op.READ_DISC: _of_cd(_disc),
    op.READ_DVD: _of_cd(_dvd),
    op.MECHANISM: _of_cd(_mechanism),
}
