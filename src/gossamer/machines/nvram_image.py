"""The content of a fresh Mac NVRAM: CHRP partitions with the firmware's variables.

Source: CHRP binding to IEEE 1275, NVRAM partitions (signature, checksum, length in 16-byte units,
name); sizes and the second half's header as QEMU 7.2 leaves them (seen in its streams).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gossamer.base.errors import ConfigError

SIZE: Final = 8192
HEADER: Final = 16
SYSTEM: Final = 0x70
FREE: Final = 0x7F
OS: Final = 0x5A
SYSTEM_SIZE: Final = 0xC10
HALF: Final = 0x1000


def checksum(head: bytes) -> int:
    """Of a partition header: the sum of all its bytes but the second, carries added back."""
    total = head[0]
    for byte in head[2:HEADER]:
        total += byte
        if total > 0xFF:
            total = (total & 0xFF) + 1
    return total


def partition(signature: int, name: str, size: int, content: bytes = b"") -> bytes:
    """A partition of `size` bytes, its header included."""
    head = bytes([signature, 0]) + (size // 16).to_bytes(2, "big") + name.encode().ljust(12, b"\0")
    head = bytes([signature, checksum(head)]) + head[2:]
    return (head + content).ljust(size, b"\0")


def nvram_image(variables: Sequence[str]) -> bytes:
    """8192 bytes; `variables` as ``name=value``, in the order given (``-prom-env``)."""
    text = b"".join(v.encode() + b"\0" for v in variables) + b"\0"
    if HEADER + len(text) > SYSTEM_SIZE:
        room = SYSTEM_SIZE - HEADER
        raise ConfigError(
            f"-prom-env: {len(text)} bytes of variables, the NVRAM has room for {room}"
        )
    system = partition(SYSTEM, "system", SYSTEM_SIZE, text if variables else b"")
    free = partition(FREE, "free", HALF - SYSTEM_SIZE)
    return system + free + os_partition()


def os_partition() -> bytes:
    """The second half: Mac OS X's partition; checksum and generation as QEMU 7.2 writes them."""
    return partition(OS, "w" * 11, SIZE - HALF, bytes.fromhex("1fd2000200000002"))
