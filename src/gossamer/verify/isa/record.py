"""One test of one instruction: the state before or after it, and its layout as a record.

A peer gets records of `SIZE` bytes and sends each back with the state after.  The record stands at
`REC` in the peer's memory; its second half is the memory window that the instruction may access.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, Final

from gossamer.base.data import Data, field

SIZE: Final = 1024
REC: Final = 0x7C00
WINDOW: Final = 512  # offset of the memory window, which ends where mapped memory ends
WINDOW_EA: Final = REC + WINDOW
END_EA: Final = REC + SIZE

SLOT: Final = 0x3000  # address of the prefix; the instruction follows it
INSN: Final = SLOT + 4
PADS: Final = SLOT + 8  # where control may go on: 16 bytes each, the first one falls through
PAD_SIZE: Final = 16
PAD_COUNT: Final = 16

NOP: Final = 0x6000_0000

# signal numbers of Linux on PowerPC, as kinds of interrupt
ILLEGAL, TRAP, MISALIGNED, FLOATING, ACCESS = 4, 5, 7, 8, 11

STOPPED: Final = 0xFFFF_FFFF  # a peer that does not say which

SYSTEM: Final = ("srr0", "srr1", "msr", "dsisr")
SCALARS: Final = ("signal", "pad", "cr", "xer", "lr", "ctr", "fpscr", "dar", *SYSTEM)

_WORDS: Final = struct.Struct(">10I")  # word, cr, xer, lr, ctr, signal, FPSCR (8), dar, pad
_PREFIX: Final = struct.Struct(">I")  # at 40
_SYSTEM: Final = struct.Struct(">4I")  # at 44: srr0, srr1, msr, dsisr
_GPRS: Final = struct.Struct(">32I")  # at 64
_FPRS: Final = struct.Struct(">32Q")  # at 192


class Record(Data, frozen=False):
    """CPU state and memory window around one instruction."""

    word: int
    prefix: int = NOP
    cr: int = 0
    xer: int = 0
    lr: int = 0
    ctr: int = 0
    fpscr: int = 0
    signal: int = 0
    dar: int = 0
    pad: int = 0
    srr0: int = 0
    srr1: int = 0
    msr: int = 0
    dsisr: int = 0
    gpr: list[int] = field(default_factory=lambda: [0] * 32)
    fpr: list[int] = field(default_factory=lambda: [0] * 32)
    memory: bytes = bytes(SIZE - WINDOW)

    def pack(self) -> bytes:
        head = _WORDS.pack(
            self.word,
            self.cr,
            self.xer,
            self.lr,
            self.ctr,
            self.signal,
            0,
            self.fpscr,
            self.dar,
            self.pad,
        )
        block = bytearray(WINDOW)
        block[: len(head)] = head
        _PREFIX.pack_into(block, 40, self.prefix)
        _SYSTEM.pack_into(block, 44, self.srr0, self.srr1, self.msr, self.dsisr)
        _GPRS.pack_into(block, 64, *self.gpr)
        _FPRS.pack_into(block, 192, *self.fpr)
        return bytes(block) + self.memory

    @classmethod
    def unpack(cls, block: bytes) -> Record:
        word, cr, xer, lr, ctr, sig, _, fpscr, dar, pad = _WORDS.unpack_from(block)
        (prefix,) = _PREFIX.unpack_from(block, 40)
        system = _SYSTEM.unpack_from(block, 44)
        gpr, fpr = list(_GPRS.unpack_from(block, 64)), list(_FPRS.unpack_from(block, 192))
        memory = block[WINDOW:SIZE]
        state = (cr, xer, lr, ctr, fpscr, sig, dar, pad, *system)
        names = ("cr", "xer", "lr", "ctr", "fpscr", "signal", "dar", "pad", *SYSTEM)
        known = dict(zip(names, state, strict=True))
        return cls(word, prefix, gpr=gpr, fpr=fpr, memory=memory, **known)

    def differences(self, other: Record) -> dict[str, tuple[int, int]]:
        """Fields that differ, by name, with both values; memory by its first byte that differs."""
        return record_differences(self, other, SCALARS, ("gpr", "fpr"))


def record_differences(
    one: Any,  # noqa: ANN401 - a record of any kind
    other: Any,  # noqa: ANN401
    scalars: Iterable[str],
    files: Iterable[str],
) -> dict[str, tuple[int, int]]:
    """Fields of two records that differ: `scalars`, the register `files`, the memory's first."""
    found: dict[str, tuple[int, int]] = {}
    for name in scalars:
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine != theirs:
            found[name] = (mine, theirs)
    for kind in files:
        pairs = zip(getattr(one, kind), getattr(other, kind), strict=True)
        found |= {f"{kind}{n}": p for n, p in enumerate(pairs) if p[0] != p[1]}
    if one.memory != other.memory:
        pairs = zip(one.memory, other.memory, strict=True)
        at, both = next((n, p) for n, p in enumerate(pairs) if p[0] != p[1])
        found[f"memory+{at:#x}"] = both
    return found
