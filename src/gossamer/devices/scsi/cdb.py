"""Command descriptor blocks: their length, what they name, how many bytes go with them.

Sources: SPC-3, SBC-2, MMC-5 (T10); where a device may choose, as QEMU 7.2.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.data import Data

TEST_UNIT_READY, REQUEST_SENSE, FORMAT_UNIT, READ_6, WRITE_6, SEEK_6 = 0x00, 0x03, 4, 8, 0x0A, 0x0B
INQUIRY, MODE_SELECT, RESERVE, RELEASE, MODE_SENSE, START_STOP = 0x12, 0x15, 0x16, 0x17, 0x1A, 0x1B
SEND_DIAGNOSTIC, PREVENT_ALLOW, READ_CAPACITY, READ_10, WRITE_10 = 0x1D, 0x1E, 0x25, 0x28, 0x2A
SEEK_10, WRITE_VERIFY_10, VERIFY_10, SYNCHRONIZE_CACHE = 0x2B, 0x2E, 0x2F, 0x35
WRITE_SAME_10, UNMAP, READ_TOC, GET_CONFIGURATION, GET_EVENT = 0x41, 0x42, 0x43, 0x46, 0x4A
READ_DISC, MODE_SELECT_10, RESERVE_10, RELEASE_10, MODE_SENSE_10 = 0x51, 0x55, 0x56, 0x57, 0x5A
READ_16, WRITE_16, WRITE_VERIFY_16, VERIFY_16 = 0x88, 0x8A, 0x8E, 0x8F
SYNCHRONIZE_CACHE_16, WRITE_SAME_16, SERVICE_IN_16, REPORT_LUNS = 0x91, 0x93, 0x9E, 0xA0
READ_12, WRITE_12, READ_DVD, WRITE_VERIFY_12, VERIFY_12 = 0xA8, 0xAA, 0xAD, 0xAE, 0xAF
SET_SPEED, MECHANISM = 0xBB, 0xBD

READS: Final = (READ_6, READ_10, READ_12, READ_16)
VERIFYING: Final = (WRITE_VERIFY_10, WRITE_VERIFY_12, WRITE_VERIFY_16)
WRITES: Final = (WRITE_6, WRITE_10, WRITE_12, WRITE_16, *VERIFYING)
VERIFIES: Final = (VERIFY_10, VERIFY_12, VERIFY_16)
SAMES: Final = (WRITE_SAME_10, WRITE_SAME_16)
#: Commands that bring data with them.
OUTGOING: Final = frozenset(
    (*WRITES, *VERIFIES, *SAMES, FORMAT_UNIT, MODE_SELECT, MODE_SELECT_10, UNMAP, SEND_DIAGNOSTIC)
)
#: No bytes go with these, whatever stands where others have a length.
_BARE: Final = frozenset(
    (
        *(TEST_UNIT_READY, START_STOP, RESERVE, RELEASE, PREVENT_ALLOW, SEEK_10, SET_SPEED, SEEK_6),
        *(SYNCHRONIZE_CACHE, SYNCHRONIZE_CACHE_16),
    )
)
_LENGTHS: Final = (6, 10, 10, 0, 16, 12, 0, 0)


class Cdb(Data):
    """A command block taken apart.

    `lba` and `count` as it has them, in blocks; `length`: bytes that it allows or brings; `out`: it
    brings them.
    """

    data: bytes
    lba: int
    count: int
    length: int
    out: bool

    @property
    def op(self) -> int:
        return self.data[0]


def parse(data: bytes, block: int) -> Cdb | None:
    """The block at the front of `data`, for blocks of `block` bytes; None for a group unknown."""
    size = _LENGTHS[data[0] >> 5]
    if not size or len(data) < size:
        return None
    cdb = data[:size]
    if size == 6:
        lba, count = int.from_bytes(cdb[1:4], "big") & 0x1F_FFFF, cdb[4]
    elif size == 10:
        lba, count = int.from_bytes(cdb[2:6], "big"), int.from_bytes(cdb[7:9], "big")
    elif size == 12:
        lba, count = int.from_bytes(cdb[2:6], "big"), int.from_bytes(cdb[6:10], "big")
    else:
        lba, count = int.from_bytes(cdb[2:10], "big"), int.from_bytes(cdb[10:14], "big")
    op = cdb[0]
    if op in (READ_6, WRITE_6) and not count:
        count = 256
    return Cdb(cdb, lba, count, _bytes(cdb, count, block), op in OUTGOING)


def _bytes(cdb: bytes, count: int, block: int) -> int:
    op = cdb[0]
    if op in _BARE:
        return 0
    if op in (*READS, *WRITES):
        return count * block
    if op in VERIFIES:
        return 0 if not cdb[1] & 2 else block if cdb[1] & 4 else count * block
    if op in SAMES:
        return 0 if cdb[1] & 1 else block
    if op == FORMAT_UNIT:
        return _format(cdb, block)
    if op in (INQUIRY, SEND_DIAGNOSTIC):
        return int.from_bytes(cdb[3:5], "big")
    if op == READ_CAPACITY:
        return 8
    if op in (MECHANISM, READ_DVD):
        return int.from_bytes(cdb[8:10], "big")
    return count


def _format(cdb: bytes, block: int) -> int:
    if not cdb[1] & 0x10:
        return 0
    if block == 2048:
        return 12
    return 8 if cdb[1] & 0x20 else 4
