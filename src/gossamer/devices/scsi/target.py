"""What a target answers for all of its logical units, and for those that it has not.

Source: SPC-3, 6.4, 6.21, 6.27; values as QEMU 7.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.devices.scsi import cdb as op
from gossamer.devices.scsi import sense
from gossamer.devices.scsi.cdb import Cdb
from gossamer.devices.scsi.faults import CommandError
from gossamer.devices.scsi.replies import LEVEL, padded

if TYPE_CHECKING:
    from gossamer.devices.scsi.disk import ScsiDisk, Tally


def answer(disk: ScsiDisk, c: Cdb, lun: int, tally: Tally) -> None:
    """Answer REPORT LUNS, or any command to a unit that there is none of."""
    if lun and c.op not in (op.INQUIRY, op.REQUEST_SENSE):
        raise CommandError(sense.NO_SUCH_LUN)
    data: bytes | None = b""
    match c.op:
        case op.REPORT_LUNS:
            data = _units(disk, c)
        case op.INQUIRY:
            data = _inquiry(c, lun, queues=tally.queues)
        case op.REQUEST_SENSE:
            data = _sense(disk, c, lun)
        case op.TEST_UNIT_READY:
            pass
        case _:
            raise CommandError(sense.NO_SUCH_LUN)
    if data is None:
        raise CommandError(sense.INVALID_FIELD)
    tally.reply(data, c.length)


def _units(disk: ScsiDisk, command: Cdb) -> bytes | None:
    if command.length < 16 or command.data[2] > 2:
        return None
    units = disk.bus.units(disk)
    listed = [0, *(n for n in units if n)]
    spelled = (n if n < 256 else 0x4000 | n for n in listed)
    body = b"".join(n.to_bytes(2, "big").ljust(8, b"\0") for n in spelled)
    return len(body).to_bytes(4, "big") + bytes(4) + body


def _inquiry(command: Cdb, lun: int, *, queues: bool) -> bytes | None:
    if command.data[1] & 2:
        return None
    if command.data[1] & 1:
        return bytes((0, 0, 1, 0)) if not command.data[2] else None
    if command.data[2]:
        return None
    length = min(command.length, 36)
    if lun:
        return b"\x7f".ljust(length, b"\0")
    head = bytes((0x3F, 0, LEVEL, 0x12, max(length - 5, 0)))
    head += bytes((0, 0, 0x12 if queues else 0x10))
    return head + padded("QEMU", 8) + padded("QEMU TARGET", 16) + b"2.5+"


def _sense(disk: ScsiDisk, command: Cdb, lun: int) -> bytes:
    in_fixed = not command.data[1] & 1
    if lun:
        return sense.fixed(sense.NO_SUCH_LUN) if in_fixed else sense.described(sense.NO_SUCH_LUN)
    return sense.converted(bytes(disk.sense[: disk.sense_len]), in_fixed=in_fixed)
