"""The data that SCSI disks and CD-ROM drives answer with, where it is not a CD-ROM's own.

Sources: SPC-3 and SBC-2 for the forms; values as QEMU 7.2's `scsi-hd` and `scsi-cd`.
"""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gossamer.devices.scsi.disk import ScsiDisk

DISK_TYPE, CD_TYPE = 0x00, 0x05
#: SPC-3
LEVEL: Final = 5
MOST_INQUIRY: Final = 256
HEADS, TRACK, MOST_CYLINDERS = 16, 63, 16383
#: Bytes of one UNMAP, and of any other request, as a disk of QEMU says.
MOST_UNMAP, MOST_IO = 1 << 30, (1 << 31) - 1
#: Of one WRITE SAME.
MOST_SAME: Final = 1 << 28
RPM: Final = 5400
ALL_PAGES: Final = 0x3F


def padded(text: str, size: int) -> bytes:
    return text.encode("ascii", "replace")[:size].ljust(size)


def inquiry(disk: ScsiDisk, length: int, *, queues: bool) -> bytes:
    """Standard INQUIRY data for an allocation length; `queues`: the adapter has tagged queues."""
    extra = min(length, MOST_INQUIRY) - 5 if length > 36 else 31
    head = bytes((disk.type, 0x80 if disk.is_cd else 0, LEVEL, 0x12, extra))
    body = head + bytes((0, 0, 0x12 if queues else 0x10))
    body += padded("QEMU", 8) + padded(disk.model, 16)
    body += disk.firmware.encode("ascii", "replace")[:4].ljust(4, b"\0")
    return body.ljust(min(length, MOST_INQUIRY), b"\0")


def vital_page(disk: ScsiDisk, page: int) -> bytes | None:
    """Vital product data; None where there is no such page."""
    body = _vital_body(disk, page)
    if body is None:
        return None
    return bytes((disk.type, page)) + len(body).to_bytes(2, "big") + body


def _vital_body(disk: ScsiDisk, page: int) -> bytes | None:
    serial = disk.serial.encode("ascii", "replace")[:36]
    if page == 0x00:
        pages = [0x00, *([0x80] if serial else []), 0x83]
        return bytes(pages if disk.is_cd else [*pages, 0xB0, 0xB1, 0xB2])
    if page == 0x80 and serial:
        return serial
    if page == 0x83:
        return _identification(disk)
    if page == 0xB0 and not disk.is_cd:
        return _limits()
    if page == 0xB1:
        return bytes(60)
    return bytes((0, 0xE0, 2, 0)) if page == 0xB2 else None


def _identification(disk: ScsiDisk) -> bytes:
    name = disk.name.encode("ascii", "replace")[:247]
    body = bytes((2, 0, 0, len(name))) + name if name else b""
    if disk.wwn:
        body += bytes((1, 3, 0, 8)) + disk.wwn.to_bytes(8, "big")
    return body


def _limits() -> bytes:
    """Block limits."""
    body = bytes((1, 0)) + pack(">HIII", 0, MOST_IO // 512, 0, 0)
    return (body + pack(">IIIIQ", MOST_UNMAP // 512, 255, 8, 0, MOST_IO // 512)).ljust(60, b"\0")


# --- mode pages -----------------------------------------------------------------------------------


def mode_page(disk: ScsiDisk, page: int, control: int) -> bytes | None:
    """One mode page, `control` 1: which bits can be changed; None where there is none."""
    body = _mode_body(disk, page)
    if body is None:
        return None
    if control == 1:
        mask = 4 if page == 8 else 0x80 if page == 1 and disk.is_cd else 0
        body = bytes((mask,)).ljust(len(body), b"\0")
    return bytes((page, len(body))) + body


def _mode_body(disk: ScsiDisk, page: int) -> bytes | None:
    if page == 0x01:
        return (b"\x80\x20" if disk.is_cd else b"\x80").ljust(10, b"\0")
    if page == 0x08:
        return (b"\x04" if disk.cached else b"\0").ljust(18, b"\0")
    if disk.is_cd:
        if page == 0x0E:
            return bytes(14)
        return _capabilities(disk.tray_locked) if page == 0x2A else None
    cylinders = geometry(disk.total)
    if page == 0x04:
        three = cylinders.to_bytes(3, "big")
        body = three + bytes((HEADS,)) + three + three + bytes((0, 200)) + b"\xff\xff\xff"
        return body.ljust(18, b"\0") + RPM.to_bytes(2, "big") + bytes(2)
    if page == 0x05:
        two = (cylinders & 0xFFFF).to_bytes(2, "big")
        body = (5000).to_bytes(2, "big") + bytes((HEADS, TRACK, 2, 0)) + two + two + two
        body += bytes((0, 1, 1, 0, 1, 1, 1))
        return body.ljust(26, b"\0") + RPM.to_bytes(2, "big") + bytes(2)
    return None


def _capabilities(locked: bool) -> bytes:
    """MMC's page 0x2a."""
    rate = (16 * 176).to_bytes(2, "big")
    body = bytes((0x3B, 0, 0x7F, 0xFF, 0x2F if locked else 0x2D, 0))
    body += (50 * 176).to_bytes(2, "big") + bytes((0, 2)) + (2048).to_bytes(2, "big") + rate
    return body + bytes(2) + rate + rate


def geometry(sectors: int) -> int:
    """Cylinders of a disk with so many sectors of 512 bytes."""
    return max(min(sectors // (HEADS * TRACK), MOST_CYLINDERS), 2)


def mode_sense(disk: ScsiDisk, cdb: bytes) -> bytes | None:
    """MODE SENSE (6) or (10); None for a page that there is none of."""
    long, page, control = cdb[0] != 0x1A, cdb[2] & 0x3F, cdb[2] >> 6
    if page == ALL_PAGES:
        found = [mode_page(disk, n, control) for n in range(ALL_PAGES)]
        pages = b"".join(one for one in found if one is not None)
    else:
        one = mode_page(disk, page, control)
        if one is None:
            return None
        pages = one
    blocks = b""
    if not disk.is_cd and not cdb[1] & 8 and disk.total:
        count = disk.blocks if disk.blocks <= 0xFF_FFFF else 0
        blocks = b"\0" + count.to_bytes(3, "big") + b"\0\0" + (disk.block >> 8).to_bytes(1) + b"\0"
    protected = 0x80 if not disk.is_cd and disk.media is not None and disk.media.read_only else 0
    if long:
        rest = bytes((0, protected, 0, 0, 0, len(blocks))) + blocks + pages
        return len(rest).to_bytes(2, "big") + rest
    rest = bytes((0, protected, len(blocks))) + blocks + pages
    return bytes((len(rest) & 0xFF,)) + rest
