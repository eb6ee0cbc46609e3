"""How each host's instructions hold the value of a hole: relocations of stencils.

Sources: System V ABI, AMD64 supplement, 4.4 (R_X86_64); ELF for the Arm 64-bit architecture
(AArch64), 5.7 (R_AARCH64); Arm ARM, C6.2 (ADD, ADRP, MOVK, MOVN, MOVZ).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from gossamer.base.data import Data
from gossamer.engine.elf import AARCH64, X86_64

#: Puts a value into the hole at an offset of code.
Fill = Callable[[bytearray, int, int], None]


class Host(Data):
    """A host's relocations.

    `fills` are the kinds that have a value in their place; what may follow them is `holds`, which
    says of code, an offset and a kind whether filling it gives that value.  `jump` is a jump to
    what follows, in an object file.
    """

    fills: Mapping[int, Fill]
    holds: Callable[[bytes | bytearray, int, int], bool]
    jump: bytes


def _bytes_of(size: int) -> Fill:
    mask = (1 << 8 * size) - 1

    def fill(code: bytearray, at: int, value: int) -> None:
        code[at : at + size] = (value & mask).to_bytes(size, "little")

    return fill


# --- AArch64 ----
# LLVM makes an address of a symbol with two instructions, `adrp x8, symbol` and
# `add x8, x8, :lo12:symbol`.  They become `movz x8, high, lsl 16` and `movk x8, low`.

_PAGE, _LOW = 275, 277
_ADRP, _ADRP_MASK = 0x9000_0000, 0x9F00_0000
_ADD, _ADD_MASK = 0x9100_0000, 0xFFC0_0000
_MOVZ, _MOVN, _MOVK = 0xD280_0000, 0x9280_0000, 0xF280_0000
_SHIFTED: Final = 1 << 21  # the immediate is bits 16 to 31 of the result
_NOP: Final = 0xD503_201F


def _instruction(code: bytes | bytearray, at: int) -> int:
    return int.from_bytes(code[at : at + 4], "little")


def _fill_page(code: bytearray, at: int, value: int) -> None:
    """The upper half; nothing where the lower one is all there is."""
    register, high = code[at] & 31, value >> 16
    assert -1 << 15 <= high < 1 << 16, f"a hole for {value:#x}"
    word = _NOP
    if high:
        word = (_MOVN | ~high << 5 if high < 0 else _MOVZ | high << 5) | _SHIFTED | register
    code[at : at + 4] = word.to_bytes(4, "little")


def _fill_low(code: bytearray, at: int, value: int) -> None:
    word = _MOVK if value >> 16 else _MOVZ
    code[at : at + 4] = (word | (value & 0xFFFF) << 5 | code[at] & 31).to_bytes(4, "little")


def _holds_pair(code: bytes | bytearray, at: int, kind: int) -> bool:
    """Whether it is of such a pair: `movk` adds to the register that it writes."""
    word = _instruction(code, at)
    if kind == _PAGE:
        return word & _ADRP_MASK == _ADRP
    return word & _ADD_MASK == _ADD and word & 31 == word >> 5 & 31


#: By the machine of an object file.
HOSTS: Final[Mapping[int, Host]] = {
    X86_64: Host(
        {10: _bytes_of(4), 11: _bytes_of(4), 14: _bytes_of(1)},  # 32, 32S, 8
        lambda code, at, kind: True,
        b"\xe9\0\0\0\0",
    ),
    AARCH64: Host({_PAGE: _fill_page, _LOW: _fill_low}, _holds_pair, b"\0\0\0\x14"),
}
