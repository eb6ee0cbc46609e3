"""Image formats, recognised by their first bytes."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from gossamer.block.errors import ImageError
from gossamer.block.hostfile import HostFile

FORMATS: Final = ("raw", "qcow2")
_MAGICS: Final = (
    (b"QFI\xfb\0\0\0\1", "qcow"),
    (b"QFI\xfb", "qcow2"),
    (b"QED\0", "qed"),
    (b"KDMV", "vmdk"),
    (b"COWD", "vmdk"),
    (b"vhdxfile", "vhdx"),
    (b"conectix", "vpc"),
    (b"LUKS\xba\xbe", "luks"),
    (b"WithoutFreeSpace", "parallels"),
    (b"WithouFreSpacExt", "parallels"),
)
_VDI_AT, _VDI = 0x40, b"\x7f\x10\xda\xbe"


def probe_bytes(start: bytes) -> str:
    """The format that the first sector shows; ``raw`` when it shows none."""
    for magic, name in _MAGICS:
        if start.startswith(magic):
            return name
    return "vdi" if start[_VDI_AT : _VDI_AT + 4] == _VDI else "raw"


def probe(file: HostFile) -> str:
    """The format of an open file."""
    return probe_bytes(file.read_at(0, 512))


def check_format(path: Path, name: str) -> None:
    """Refuse a format that is not read here."""
    if name not in FORMATS:
        message = f"format {name!r}, this build reads {' and '.join(FORMATS)}; "
        message += "qemu-img convert -O qcow2 makes an image of it"
        raise ImageError(path, message, errno.ENOTSUP)
