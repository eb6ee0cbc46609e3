"""MODE SELECT: of all mode pages the guest may change one bit, the write cache's.

Source: SPC-3, 6.8; order of checks as QEMU 7.2's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gossamer.devices.scsi import cdb as op
from gossamer.devices.scsi import replies, sense
from gossamer.devices.scsi.cdb import Cdb
from gossamer.devices.scsi.faults import CommandError

if TYPE_CHECKING:
    from gossamer.devices.scsi.disk import ScsiDisk

CACHING: Final = 8
#: Of the caching page's first byte.
WRITE_CACHE: Final = 4


def mode_select(disk: ScsiDisk, c: Cdb, data: bytes) -> None:
    """Take the pages of a parameter list over: all, or none.  CommandError: one is wrong."""
    if c.data[1] & 0x11 != 0x10:
        raise CommandError(sense.INVALID_FIELD)
    head = 8 if c.op == op.MODE_SELECT_10 else 4
    if len(data) < head:
        raise CommandError(sense.PARAMETER_LENGTH)
    listed = int.from_bytes(data[6:8], "big") if head == 8 else data[3]
    if len(data) < head + listed:
        raise CommandError(sense.PARAMETER_LENGTH)
    if listed not in (0, 8):
        raise CommandError(sense.INVALID_PARAMETER)
    cached = disk.cached
    rest = data[head + listed :]
    while rest:
        start = 4 if rest[0] & 0x40 else 2
        if len(rest) < start:
            raise CommandError(sense.PARAMETER_LENGTH)
        if start == 4 and rest[1]:
            raise CommandError(sense.INVALID_PARAMETER)
        length = int.from_bytes(rest[2:4], "big") if start == 4 else rest[1]
        if len(rest) < start + length:
            raise CommandError(sense.PARAMETER_LENGTH)
        page, body = rest[0] & 0x3F, rest[start : start + length]
        _check(disk, page, body)
        if page == CACHING:
            cached = bool(body[0] & WRITE_CACHE)
        rest = rest[start + length :]
    disk.cached = cached


def _check(disk: ScsiDisk, page: int, body: bytes) -> None:
    """CommandError where a page differs from what it is, but for bits that can be changed."""
    now, mask = (replies.mode_page(disk, page, control) for control in (0, 1))
    if page >= replies.ALL_PAGES or now is None or mask is None or len(now) != 2 + len(body):
        raise CommandError(sense.INVALID_PARAMETER)
    if any((a ^ b) & ~m & 0xFF for a, b, m in zip(now[2:], body, mask[2:], strict=True)):
        raise CommandError(sense.INVALID_PARAMETER)
