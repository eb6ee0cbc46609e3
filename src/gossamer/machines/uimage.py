"""U-Boot's images (``uImage``): a header of 64 bytes before a kernel.

Source: U-Boot, include/image.h: big-endian, magic, checksum of the header, time, size, load
address, entry, checksum of the data, operating system, architecture, type, compression, name.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Final

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.base.units import MiB

MAGIC: Final = 0x2705_1956
_HEADER: Final = struct.Struct(">IIIIIIIBBBB32s")
_MOST: Final = 256 * MiB
_PPC: Final = 7
_KERNEL: Final = (1, 2, 14)
"""Standalone program, kernel, kernel that chooses its place."""
_ARCHITECTURES: Final = {
    2: "Arm", 3: "x86", 4: "Itanium", 5: "MIPS", 6: "64-bit MIPS", 8: "S390", 9: "SuperH",
    10: "SPARC", 11: "64-bit SPARC", 12: "68000", 22: "Arm64", 24: "x86-64", 26: "RISC-V",
}  # fmt: skip
_TYPES: Final = {
    3: "a RAM disk; give it to -initrd", 4: "several files", 5: "firmware", 6: "a script",
    7: "a file system", 8: "a device tree",
}  # fmt: skip
_COMPRESSED: Final = {2: "bzip2", 3: "lzma", 4: "lzo", 5: "lz4", 6: "zstd"}


class Payload(Data):
    """What is inside, unpacked; where it goes and begins (real addresses)."""

    data: bytes
    load: int
    entry: int


def read(path: Path, data: bytes) -> Payload | None:
    """The kernel in a uImage; None when the file is none, ConfigError when it cannot be started."""
    if int.from_bytes(data[:4], "big") != MAGIC:
        return None
    if len(data) < _HEADER.size:
        raise ConfigError(f"{path}: uImage: {len(data)} bytes, a header has {_HEADER.size}")
    _, head_crc, _, size, load, entry, crc, _, arch, kind, packed, _ = _HEADER.unpack_from(data)
    head = data[:4] + bytes(4) + data[8 : _HEADER.size]
    # A header without its checksum is one that mkimage did not write; the data's counts.
    if head_crc not in (0, zlib.crc32(head)):
        raise ConfigError(f"{path}: uImage: damaged header (checksum)")
    body = data[_HEADER.size : _HEADER.size + size]
    if len(body) < size:
        raise ConfigError(f"{path}: uImage: truncated: {len(body)} of {size} bytes")
    if zlib.crc32(body) != crc:
        raise ConfigError(f"{path}: uImage: damaged data (checksum)")
    if arch != _PPC:
        name = _ARCHITECTURES.get(arch, f"architecture {arch}")
        raise ConfigError(f"{path}: uImage for {name}, expected PowerPC")
    if kind not in _KERNEL:
        raise ConfigError(f"{path}: uImage of {_TYPES.get(kind, f'type {kind}')}, not of a kernel")
    if packed > 1:
        name = _COMPRESSED.get(packed, f"method {packed}")
        raise ConfigError(f"{path}: uImage: compressed with {name}; gzip and none are understood")
    return Payload(_unpacked(path, body) if packed else body, load, entry)


def _unpacked(path: Path, body: bytes) -> bytes:
    import gzip  # noqa: PLC0415 - few are packed

    try:
        with gzip.GzipFile(fileobj=BytesIO(body)) as file:
            whole = file.read(_MOST + 1)
    except (OSError, EOFError, zlib.error) as fault:
        raise ConfigError(f"{path}: uImage: damaged gzip data: {fault}") from None
    if len(whole) > _MOST:
        raise ConfigError(f"{path}: uImage: unpacks to more than {_MOST} bytes")
    return whole
