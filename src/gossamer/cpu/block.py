"""The register block: one layout of the architected registers, shared with native code.

Every register of `isa.registers` has a fixed offset; elements are host-order (little-endian)
integers.  The block is canonical whenever native code is not running.
"""

from __future__ import annotations

from typing import Final, Literal

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

#: What an element of so many bits is for a memoryview (host order; hosts are little-endian).
_CODES: Final[dict[int, Literal["B", "H", "I", "Q"]]] = {8: "B", 16: "H", 32: "I", 64: "Q"}
#: Width and index of its first element among elements of its width, by register.
_PLACES: Final = {
    name: (width, OFFSET[name] * 8 // width) for name, (width, _) in REGISTERS.items()
}


class RegisterBlock:
    """Architected registers by name, over any writable memory of at least `BLOCK_SIZE` bytes."""

    __slots__ = ("_places", "_words", "view")

    def __init__(self, view: memoryview | bytearray) -> None:
        self.view = memoryview(view).cast("B")
        whole = self.view[:BLOCK_SIZE]
        elements = {width: whole.cast(code) for width, code in _CODES.items()}
        self._words = elements[32]
        #: Elements of its width and the index of its first one, by register.
        self._places = {
            name: (elements[width], first)
            for name, (width, first) in _PLACES.items()
            if width in elements
        }

    def get(self, name: str, index: int = 0) -> int:
        """Element `index` of register `name`, unsigned."""
        place = self._places.get(name)
        if place is None:
            at = OFFSET[name] + 16 * index
            return int.from_bytes(self.view[at : at + 16], "little")
        elements, first = place
        value: int = elements[first + index]
        return value

    def set(self, name: str, value: int, index: int = 0) -> None:
        """Set element `index`; the value is taken modulo the register's width."""
        width, _ = REGISTERS[name]
        size = width // 8
        at = OFFSET[name] + size * index
        self.view[at : at + size] = (value & ones(width)).to_bytes(size, "little")

    def all(self, name: str) -> list[int]:
        """Every element of a register file."""
        place, count = self._places.get(name), REGISTERS[name][1]
        if place is None:
            return [self.get(name, n) for n in range(count)]
        elements, first = place
        values: list[int] = elements[first : first + count].tolist()
        return values

    def any(self, name: str) -> bool:
        """Whether any element of a file of 8 one-byte elements is not zero."""
        first = OFFSET[name] // 4
        return bool(self._words[first] | self._words[first + 1])

    def bytes(self) -> bytes:
        """The whole block (for hashes and comparison)."""
        return bytes(self.view[:BLOCK_SIZE])

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
