"""How each host's instructions hold the value of a hole: relocations of stencils.

Sources: System V ABI, AMD64 supplement, 4.4 (R_X86_64); ELF for the Arm 64-bit architecture
(AArch64), 5.7 (R_AARCH64); Arm ARM, C6.2 (ADD, ADRP, MOVK, MOVN, MOVZ).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Final

from gossamer.base.data import Data
from gossamer.engine.elf import AARCH64, X86_64


class Fill(IntEnum):
    """What is done to a place of copied code (`copying`).

    The first four put a value there, the others let it lead to an address; `LOW_12` and those
    behind it keep the low 12 bits of an address, which count units of 1, 2, 4 bytes and so on.
    """

    BYTES = 0
    BYTE = 1
    HIGH_HALF = 2
    LOW_HALF = 3
    RELATIVE = 4
    BRANCH = 5
    PAGE = 6
    LOW_12 = 7


class Host(Data):
    """A host's relocations.

    `fills` are the kinds that have a value in their place; what may follow them is `holds`, which
    says of code, an offset and a kind whether filling it gives that value.  `leads` are the kinds
    that lead to an address.  `jump` is a jump to what follows, in an object file.
    """

    fills: Mapping[int, int]
    leads: Mapping[int, int]
    holds: Callable[[bytes | bytearray, int, int], bool]
    jump: bytes


# --- AArch64 ----
# LLVM makes an address of a symbol with two instructions, `adrp x8, symbol` and
# `add x8, x8, :lo12:symbol`.  They become `movz x8, high, lsl 16` and `movk x8, low`.

_PAGE, _LOW = 275, 277
_ADRP, _ADRP_MASK = 0x9000_0000, 0x9F00_0000
_ADD, _ADD_MASK = 0x9100_0000, 0xFFC0_0000


def _holds_pair(code: bytes | bytearray, at: int, kind: int) -> bool:
    """Whether it is of such a pair: `movk` adds to the register that it writes."""
    word = int.from_bytes(code[at : at + 4], "little")
    if kind == _PAGE:
        return word & _ADRP_MASK == _ADRP
    return word & _ADD_MASK == _ADD and word & 31 == word >> 5 & 31


_LOW_12: Final = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4}

#: By the machine of an object file.
HOSTS: Final[Mapping[int, Host]] = {
    X86_64: Host(
        {10: Fill.BYTES, 11: Fill.BYTES, 14: Fill.BYTE},  # 32, 32S, 8
        {2: Fill.RELATIVE, 4: Fill.RELATIVE},
        lambda code, at, kind: True,
        b"\xe9\0\0\0\0",
    ),
    AARCH64: Host(
        {_PAGE: Fill.HIGH_HALF, _LOW: Fill.LOW_HALF},
        {
            261: Fill.RELATIVE,
            275: Fill.PAGE,
            282: Fill.BRANCH,
            283: Fill.BRANCH,
            **{kind: Fill.LOW_12 + shift for kind, shift in _LOW_12.items()},
        },
        _holds_pair,
        b"\0\0\0\x14",
    ),
}
