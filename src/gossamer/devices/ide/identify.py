"""What drives say of themselves: IDENTIFY DEVICE and IDENTIFY PACKET DEVICE data.

Source: ATA/ATAPI-6 (T13/1410D), 8.15 and 8.16.  The words are those of QEMU 7.2's drives, so that
a guest that moves finds the disk it had.
"""

from __future__ import annotations

from typing import Final

from gossamer.devices.ide.drive import MAX_MULTIPLE, IdeDrive
from gossamer.devices.ide.media import SECTOR

MAX_LBA28: Final = (1 << 28) - 1


def text(value: str, size: int) -> bytes:
    """An ATA string: padded with blanks, the bytes of each word swapped."""
    raw = value.encode("ascii", "replace")[:size].ljust(size)
    return bytes(raw[n ^ 1] for n in range(size))


def _fill(words: dict[int, int], drive: IdeDrive) -> bytearray:
    data = bytearray(SECTOR)
    for n, word in words.items():
        data[2 * n : 2 * n + 2] = word.to_bytes(2, "little")
    data[20:40] = text(drive.serial, 20)
    data[46:54] = text(drive.firmware, 8)
    data[54:94] = text(drive.model, 40)
    if drive.wwn:
        data[216:224] = b"".join(
            (drive.wwn >> shift & 0xFFFF).to_bytes(2, "little") for shift in (48, 32, 16, 0)
        )
    return data


def disk(drive: IdeDrive) -> bytearray:
    """IDENTIFY DEVICE: LBA48, multiword DMA 0-2, Ultra DMA 0-5, SMART, write cache."""
    cylinders, heads, sectors = drive.geometry()
    total = drive.total
    short = min(total, MAX_LBA28)
    now = cylinders * drive.heads * drive.sectors
    words = {
        0: 0x0040, 1: cylinders, 3: heads, 4: SECTOR * sectors, 5: SECTOR, 6: sectors,
        20: 3, 21: 512, 22: 4, 47: 0x8000 | MAX_MULTIPLE, 48: 1, 49: 0x0B00, 51: 0x0200,
        52: 0x0200, 53: 7, 54: cylinders, 55: drive.heads, 56: drive.sectors,
        57: now & 0xFFFF, 58: now >> 16 & 0xFFFF, 59: 0x0100 | drive.mult_sectors,
        60: short & 0xFFFF, 61: short >> 16, 62: 0x07, 63: 0x07, 64: 0x03,
        65: 120, 66: 120, 67: 120, 68: 120, 80: 0xF0, 81: 0x16,
        82: 0x4021, 83: 0x7400, 84: 0x4000, 85: 0x4021, 86: 0x3400, 87: 0x4000,
        88: 0x203F, 93: 0x6001,
        100: total & 0xFFFF, 101: total >> 16 & 0xFFFF, 102: total >> 32 & 0xFFFF,
        103: total >> 48, 106: 0x6000,
    }  # fmt: skip
    if drive.wwn:  # words 108 to 111 are there
        words[84] = words[87] = 0x4100
    return _fill(words, drive)


def cdrom(drive: IdeDrive) -> bytearray:
    """IDENTIFY PACKET DEVICE: removable CD-ROM, 12-byte packets, DMA."""
    words = {
        0: 0x85C0, 20: 3, 21: 512, 22: 4, 48: 1, 49: 0x0300, 53: 7, 62: 7, 63: 7, 64: 3,
        65: 180, 66: 180, 67: 300, 68: 180, 71: 30, 72: 30, 80: 0x1E, 88: 0x203F,
    }  # fmt: skip
    if drive.wwn:
        words[87] = 0x0100
    return _fill(words, drive)
