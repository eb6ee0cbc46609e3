"""Pictures of the screen as PNG or PPM files."""

from __future__ import annotations

import contextlib
import struct
import zlib
from pathlib import Path

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError, HostError


class Picture(Data):
    """Rows from the top, three bytes (red, green, blue) a pixel."""

    width: int
    height: int
    rgb: bytes


def write_picture(path: Path, picture: Picture, kind: str) -> None:
    """Write a file of `kind` png or ppm: all of it, or the old one stays."""
    assert len(picture.rgb) == 3 * picture.width * picture.height, "three bytes a pixel"
    data = png(picture) if kind == "png" else ppm(picture)
    # A device or a pipe is written to; a file is replaced when all of it is on the medium.
    part = path if path.exists() and not path.is_file() else path.with_name(path.name + ".part")
    try:
        part.write_bytes(data)
        if part is not path:
            part.replace(path)
    except OSError as fault:
        if part is not path:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        raise HostError(f"{path}: cannot be written: {fault.strerror}") from None
    except ValueError as fault:
        raise ConfigError(f"{str(path)!r}: {fault}") from None


def ppm(picture: Picture) -> bytes:
    return b"P6\n%d %d\n255\n" % (picture.width, picture.height) + picture.rgb


def png(picture: Picture) -> bytes:
    """PNG: eight bits a sample, RGB, no filter.  Source: RFC 2083."""
    row = 3 * picture.width
    rows = b"".join(
        b"\0" + picture.rgb[at : at + row] for at in range(0, row * picture.height, max(row, 1))
    )
    head = struct.pack(">IIBBBBB", picture.width, picture.height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
