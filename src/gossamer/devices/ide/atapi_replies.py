"""The data that a CD-ROM drive answers with.

Source: MMC-3 (T10/1363-D) and SPC-2 for the forms; the values are QEMU 7.2's where a guest might
compare (docs/chips/atapi.md).
"""

from __future__ import annotations

from typing import Final

LARGEST_CD: Final = 80 * 60 * 75
"""Sectors of an 80-minute disc; a larger one is a DVD."""
LEAD_IN: Final = 150
MEDIA_EVENTS: Final = 0x10
NO_EVENT: Final = bytes((0, 0, 0x80, MEDIA_EVENTS))
PROFILE_CD: Final = 0x08
PROFILE_DVD: Final = 0x10


def msf(lba: int) -> bytes:
    """Minute, second, frame of a sector."""
    at = lba + LEAD_IN
    return bytes((at // 75 // 60 & 0xFF, at // 75 % 60, at % 75))


def _bcd(n: int) -> int:
    return n // 10 % 10 << 4 | n % 10


def raw_sector(lba: int, data: bytes) -> bytes:
    """A mode 1 sector of 2352 bytes: sync, address, data; its error correction is left zero."""
    header = b"\0" + b"\xff" * 10 + b"\0" + bytes(_bcd(n) for n in msf(lba)) + b"\x01"
    return (header + data).ljust(2352, b"\0")


def sense(key: int, asc: int, ascq: int) -> bytes:
    """Fixed format sense data, 18 bytes."""
    return bytes((0xF0, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, asc, ascq, 0, 0, 0, 0))


def inquiry(firmware: str) -> bytes:
    """Standard INQUIRY data: a removable CD-ROM, ATAPI 2; the names are QEMU's."""
    return (
        bytes((0x05, 0x80, 0x00, 0x21, 31, 0, 0, 0))
        + b"QEMU".ljust(8)
        + b"QEMU DVD-ROM".ljust(16)
        + firmware.encode("ascii", "replace")[:4].ljust(4)
    )


def vital_page(page: int, serial: str) -> bytes:
    """Vital product data: the list of pages, or the identification (serial number)."""
    if page == 0x00:
        body = bytes((0x00, 0x83))
    else:
        name = serial.encode("ascii", "replace")[:20].ljust(20)
        body = bytes((0x02, 0x00, 0x00, len(name))) + name
    return bytes((0x05, page)) + len(body).to_bytes(2, "big") + body


def toc(form: int, in_msf: bool, start: int, total: int) -> bytes | None:
    """READ TOC of a disc with one data track; none for a form or track that does not exist."""
    if form == 0:
        return _tracks(in_msf, start, total)
    if form == 1:
        return bytes((0, 10, 1, 1, 0, 0x14, 1, 0)) + (msf_word(0) if in_msf else bytes(4))
    if form == 2:
        return _full_toc(total)
    return None


def msf_word(lba: int) -> bytes:
    return b"\0" + msf(lba)


def _tracks(in_msf: bool, start: int, total: int) -> bytes | None:
    if start > 1 and start != 0xAA:
        return None
    body = b""
    for number, lba in ((1, 0), (0xAA, total)):
        if number >= start:
            where = msf_word(lba) if in_msf else lba.to_bytes(4, "big")
            body += bytes((0, 0x14 if number == 1 else 0x16, number, 0)) + where
    return (len(body) + 2).to_bytes(2, "big") + b"\x01\x01" + body


def _full_toc(total: int) -> bytes:
    """Q sub-channel entries: first and last track, lead-out, track 1."""
    body = b""
    for point, where in (
        (0xA0, bytes((1, 0, 0))),
        (0xA1, bytes((1, 0, 0))),
        (0xA2, msf(total)),
        (0x01, msf(0)),
    ):
        body += bytes((1, 0x14, 0, point, 0, 0, 0, 0)) + where
    return (len(body) + 2).to_bytes(2, "big") + b"\x01\x01" + body


def configuration(total: int) -> bytes:
    """GET CONFIGURATION: the profile list, DVD-ROM and CD-ROM, and which one is current."""
    current = 0 if not total else PROFILE_DVD if total > LARGEST_CD else PROFILE_CD
    profiles = b"".join(
        p.to_bytes(2, "big") + bytes((int(p == current), 0)) for p in (PROFILE_DVD, PROFILE_CD)
    )
    body = bytes(2) + current.to_bytes(2, "big")
    body += bytes((0, 0, 0x03, len(profiles))) + profiles
    return len(body).to_bytes(4, "big") + body


def media_event(event: int, is_open: bool, has_disc: bool) -> bytes:
    """GET EVENT STATUS NOTIFICATION: the media class."""
    state = 1 if is_open else 2 if has_disc else 0
    return bytes((0, 4, 4, MEDIA_EVENTS, event, state, 0, 0))


def disc_information() -> bytes:
    """READ DISC INFORMATION: a complete disc of one session and one track."""
    return bytes((0, 32, 0x0E, 1, 1, 1, 1, 0x20)).ljust(34, b"\0")


def mode_pages(page: int, locked: bool) -> bytes | None:
    """The mode page asked for; 0x3f: all; none where there is no such page."""
    pages = {
        0x01: bytes((0x01, 6, 0x00, 0x05, 0, 0, 0, 0)),
        0x0E: bytes((0x0E, 14, 0x04, 0, 0, 0, 0, 75, 1, 0xFF, 2, 0xFF, 0, 0, 0, 0)),
        0x2A: bytes((0x2A, 20, 0x3B, 0, 0x71, 0x60, 0x2B if locked else 0x29, 0))
        + b"".join(n.to_bytes(2, "big") for n in (704, 2, 512, 704))
        + bytes(6),
    }
    if page == 0x3F:
        return b"".join(pages.values())
    return pages.get(page)


def mode_header(pages: bytes, has_disc: bool) -> bytes:
    """MODE SENSE (10) data: an 8-byte header and the pages."""
    medium = 0x01 if has_disc else 0x70
    return (6 + len(pages)).to_bytes(2, "big") + bytes((medium,)) + bytes(5) + pages
