"""The register block: one layout of the architected registers, shared with native code.

Every register of `isa.registers` has a fixed offset; elements are host-order (little-endian)
integers.  The block is canonical whenever native code is not running.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from gossamer.base.bits import align_up, ones
from gossamer.isa.registers import REGISTERS


def _offsets() -> tuple[dict[str, int], int]:
    at = 0
    out: dict[str, int] = {}
    for name, (width, count) in REGISTERS.items():
        at = align_up(at, width // 8)
        out[name] = at
        at += width // 8 * count
    return out, align_up(at, 64)


_laid_out = _offsets()
#: Byte offset of each register in the block.
OFFSET: Final[dict[str, int]] = _laid_out[0]
#: Bytes of the block.
BLOCK_SIZE: Final[int] = _laid_out[1]

_CODES: Final = {8: "B", 16: "<H", 32: "<I", 64: "<Q"}


def _single(name: str) -> tuple[Callable[..., tuple[int, ...]], int, int]:
    """How an element of a register is read: by what, from where, and how far apart they are."""
    width = REGISTERS[name][0]
    unpack = struct.Struct(_CODES[width]).unpack_from
    return unpack, OFFSET[name], width // 8


_READS: Final = {name: _single(name) for name, (width, _) in REGISTERS.items() if width in _CODES}

_EIGHT: Final = struct.Struct("<Q").unpack_from
_IRQ: Final = OFFSET["irq"]
assert REGISTERS["irq"] == (8, 8)


class RegisterBlock:
    """Architected registers by name, over any writable memory of at least `BLOCK_SIZE` bytes."""

    __slots__ = ("view",)

    def __init__(self, view: memoryview | bytearray) -> None:
        self.view = memoryview(view).cast("B")

    def get(self, name: str, index: int = 0) -> int:
        """Element `index` of register `name`, unsigned."""
        read = _READS.get(name)
        if read is None:
            at = OFFSET[name] + 16 * index
            return int.from_bytes(self.view[at : at + 16], "little")
        unpack, at, size = read
        return unpack(self.view, at + size * index)[0]

    def set(self, name: str, value: int, index: int = 0) -> None:
        """Set element `index`; the value is taken modulo the register's width."""
        width, _ = REGISTERS[name]
        size = width // 8
        at = OFFSET[name] + size * index
        self.view[at : at + size] = (value & ones(width)).to_bytes(size, "little")

    def all(self, name: str) -> list[int]:
        """Every element of a register file."""
        return [self.get(name, n) for n in range(REGISTERS[name][1])]

    def bytes(self) -> bytes:
        """The whole block (for hashes and comparison)."""
        return bytes(self.view[:BLOCK_SIZE])

    @property
    def interrupted(self) -> bool:
        """Whether any element of `irq` is set: any interrupt input, or pending exception."""
        return bool(_EIGHT(self.view, _IRQ)[0])

    # --- architected views of registers that are kept in parts ----

    @property
    def cr(self) -> int:
        """CR, 32 bits."""
        value = 0
        for n in range(8):
            value = value << 4 | self.get("crf", n)
        return value

    @cr.setter
    def cr(self, value: int) -> None:
        for n in range(8):
            self.set("crf", value >> 28 - 4 * n & 15, n)

    @property
    def xer(self) -> int:
        """XER, 32 bits."""
        flags = self.get("so") << 31 | self.get("ov") << 30 | self.get("ca") << 29
        return flags | self.get("xer")

    @xer.setter
    def xer(self, value: int) -> None:
        self.set("so", value >> 31 & 1)
        self.set("ov", value >> 30 & 1)
        self.set("ca", value >> 29 & 1)
        self.set("xer", value & 0x1FFF_FFFF)
