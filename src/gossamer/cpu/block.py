"""The register block: one layout of the architected registers, shared with native code.

Every register of `isa.registers` has a fixed offset; elements are host-order (little-endian)
integers.  The block is canonical whenever native code is not running.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from typing import Final, Literal

from gossamer.base.bits import align_up, ones
from gossamer.base.data import Data
from gossamer.isa.architecture import USUAL
from gossamer.isa.registers import registers


class Layout(Data):
    """Where the registers of a model lie: width and count, and byte offset in the block, of each.

    `places` gives a register's width, and the index of its first element among elements of it.
    """

    registers: dict[str, tuple[int, int]]
    offset: dict[str, int]
    size: int
    places: dict[str, tuple[int, int]]


@lru_cache(maxsize=2)
def layout(word: int) -> Layout:
    """The layout for words of `word` bits."""
    at, offset = 0, {}
    for name, (width, count) in registers(word).items():
        at = align_up(at, width // 8)
        offset[name] = at
        at += width // 8 * count
    places = {
        name: (width, offset[name] * 8 // width) for name, (width, _) in registers(word).items()
    }
    return Layout(registers(word), offset, align_up(at, 64), places)


#: Byte offset of each register, and bytes of the block, of 32-bit models.
OFFSET: Final[dict[str, int]] = layout(USUAL).offset
BLOCK_SIZE: Final[int] = layout(USUAL).size

_HALVES: Final = Struct("<QQ")
"""Of an element of 128 bits."""
#: What an element of so many bits is for a memoryview (host order; hosts are little-endian).
_CODES: Final[dict[int, Literal["B", "H", "I", "Q"]]] = {8: "B", 16: "H", 32: "I", 64: "Q"}


class RegisterBlock:
    """Architected registers by name, over any writable memory of at least the layout's size."""

    __slots__ = ("_places", "_words", "layout", "view")

    def __init__(self, view: memoryview | bytearray, word: int = USUAL) -> None:
        self.layout = layout(word)
        self.view = memoryview(view).cast("B")
        whole = self.view[: self.layout.size]
        elements = {width: whole.cast(code) for width, code in _CODES.items()}
        self._words = elements[32]
        #: Elements of its width, the index of its first one and all its bits set, by register.
        self._places = {
            name: (elements[width], first, ones(width))
            for name, (width, first) in self.layout.places.items()
            if width in elements
        }

    def get(self, name: str, index: int = 0) -> int:
        """Element `index` of register `name`, unsigned."""
        place = self._places.get(name)
        if place is None:
            at = self.layout.offset[name] + 16 * index
            return int.from_bytes(self.view[at : at + 16], "little")
        elements, first, _ = place
        value: int = elements[first + index]
        return value

    def set(self, name: str, value: int, index: int = 0) -> None:
        """Set element `index`; the value is taken modulo the register's width."""
        place = self._places.get(name)
        if place is None:
            at = self.layout.offset[name] + 16 * index
            self.view[at : at + 16] = (value & ones(128)).to_bytes(16, "little")
            return
        elements, first, whole = place
        elements[first + index] = value & whole

    def put(self, name: str, values: Sequence[int]) -> None:
        """Set the first elements, each modulo the register's width."""
        place = self._places.get(name)
        if place is None:
            for n, value in enumerate(values):
                self.set(name, value, n)
            return
        elements, first, whole = place
        for n, value in enumerate(values, first):
            elements[n] = value & whole

    def all(self, name: str) -> list[int]:
        """Every element of a register file."""
        place, count = self._places.get(name), self.layout.registers[name][1]
        if place is None:
            at = self.layout.offset[name]
            halves = _HALVES.iter_unpack(self.view[at : at + 16 * count])
            return [high << 64 | low for low, high in halves]
        elements, first, _ = place
        values: list[int] = elements[first : first + count].tolist()
        return values

    def any(self, name: str) -> bool:
        """Whether any element of a file of 8 one-byte elements is not zero."""
        first = self.layout.offset[name] // 4
        return bool(self._words[first] | self._words[first + 1])

    def bytes(self) -> bytes:
        """The whole block (for hashes and comparison)."""
        return bytes(self.view[: self.layout.size])

    def beside(self, name: str) -> tuple[object, object]:
        """A copy of the block without one register file: whether anything else has changed."""
        width, count = self.layout.registers[name]
        at = self.layout.offset[name]
        return bytes(self.view[:at]), bytes(self.view[at + width // 8 * count : self.layout.size])

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
