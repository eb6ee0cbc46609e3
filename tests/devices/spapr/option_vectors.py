"""What a guest says in ibm,client-architecture-support: processors and option vectors, as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack

Pvr = tuple[int, int]
"""Mask and value."""

RAW: Pvr = (0xFFFF_0000, 0x004D_0000)
LAST: Pvr = (0xFFFF_FFFE, 0x0F00_0001)


def level(pvr: int) -> Pvr:
    return 0xFFFF_FFFF, pvr


#: As Linux has them: processors, then levels from the highest on.
LINUX = (
    (0xFFFE_0000, 0x003A_0000),
    *((0xFFFF_0000, pvr << 16) for pvr in (0x3E, 0x3F, 0x4B, 0x4C, 0x4D, 0x4E)),
    *(level(0x0F00_0000 | n) for n in (5, 4, 3, 2)),
    LAST,
)
OTHERS = (b"\xff\x3f", b"\0\0", b"\0\0", b"\0\0")
"""Vectors 1 to 4."""


def all_options(**others: int) -> bytes:
    """Vector 5 with every bit but those of interrupts and trees; `others`: bytes, as byte24=64."""
    options = bytearray(b"\xff" * 34)
    options[22] = options[23] = 0
    for name, value in others.items():
        options[int(name.removeprefix("byte")) - 1] = value
    return bytes(options)


def words(pvrs: Sequence[Pvr] = LINUX, five: bytes | None = None) -> bytes:
    """All of it; without vector 5 where `five` is empty."""
    found = [*OTHERS, all_options() if five is None else five]
    if five == b"":
        found.pop()
    table = b"".join(bytes([len(one) - 1]) + one for one in found)
    return b"".join(pack(">II", *one) for one in pvrs) + bytes([len(found) - 1]) + table
