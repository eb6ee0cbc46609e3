"""A RAM disk for Linux: an archive in cpio's "newc" form, made without root and always alike.

Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

from gossamer.base.data import Data

FOLDER: Final = 0o040755
PROGRAM: Final = 0o100755
FILE: Final = 0o100644
LINK: Final = 0o120777
CONSOLE: Final = 0o020600
_DATE: Final = 1_700_000_000
"""Seconds since 1970 of every entry: the same packages give the same bytes."""
_TRAILER: Final = "TRAILER!!!"


class Entry(Data):
    """One file; `data` is a link's target, too.  `device`: major and minor of a device."""

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def archive(entries: Iterable[Entry]) -> bytes:
    """The archive of `entries` and of the folders that they lie in, sorted by path."""
    files = {entry.path: entry for entry in entries}
    for path in list(files):
        for above in PurePosixPath(path).parents:
            if str(above) != "." and str(above) not in files:
                files[str(above)] = Entry(str(above), FOLDER)
    out = bytearray()
    for number, path in enumerate(sorted(files), 1):
        _add(out, number, files[path])
    _add(out, 0, Entry(_TRAILER, 0))
    return bytes(out + bytes(-len(out) % 512))


def _add(out: bytearray, number: int, entry: Entry) -> None:
    name = entry.path.encode() + b"\0"
    links = 2 if entry.mode & 0o170000 == 0o040000 else 1
    major, minor = entry.device
    date = _DATE if number else 0
    fields = (number, entry.mode, 0, 0, links, date, len(entry.data), 0, 0, major, minor)
    out += b"070701" + b"".join(b"%08x" % field for field in (*fields, len(name), 0))
    out += name + bytes(-(110 + len(name)) % 4)
    out += entry.data + bytes(-len(entry.data) % 4)


def packed(data: bytes) -> bytes:
    """`data` as gzip has it, without a date."""
    return gzip.compress(data, 9, mtime=0)
