"""Pictures of the screen as PNG or PPM files."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from gossamer.base.errors import ConfigError, HostError
from gossamer.front.vm_protocol import Screen


def write_picture(path: Path, screen: Screen) -> None:
    """Write a file whose name ends in .png or .ppm."""
    kind = path.suffix.lower()
    if kind not in (".png", ".ppm"):
        raise ConfigError(f"{path}: a picture's name ends in .png or .ppm")
    assert len(screen.rgb) == 3 * screen.width * screen.height, "three bytes a pixel"
    data = png(screen) if kind == ".png" else ppm(screen)
    try:
        path.write_bytes(data)
    except OSError as fault:
        raise HostError(f"{path}: cannot be written: {fault.strerror}") from None


def ppm(screen: Screen) -> bytes:
    return b"P6\n%d %d\n255\n" % (screen.width, screen.height) + screen.rgb


def png(screen: Screen) -> bytes:
    """PNG: eight bits a sample, RGB, no filter.  Source: RFC 2083."""
    row = 3 * screen.width
    rows = b"".join(
        b"\0" + screen.rgb[at : at + row] for at in range(0, row * screen.height, max(row, 1))
    )
    head = struct.pack(">IIBBBBB", screen.width, screen.height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
