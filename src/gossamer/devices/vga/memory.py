"""The legacy window of a VGA, 128 KiB at 0xa0000 of a bus's memory space.

No bridge of these machines shows that part of memory space to the CPU; the window is here for
bridges that do.  Source: IBM VGA technical reference, "Memory maps" and "Write modes".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.devices.vga.core import VgaCore

SIZE: Final = 0x20000
CHAIN_4: Final = 0x08
ODD_EVEN: Final = 0x10
WINDOWS: Final = ((0, 0x20000), (0, 0x10000), (0x10000, 0x8000), (0x18000, 0x8000))


class Window:
    """Reads and writes of the window; `load` and `store` reach bytes of video memory."""

    def __init__(
        self, vga: VgaCore, load: Callable[[int], int], store: Callable[[int, int], None]
    ) -> None:
        self.vga, self.load, self.store = vga, load, store

    def _place(self, offset: int) -> int | None:
        """The address inside video memory's view, none outside the window chosen."""
        choice = self.vga.gr[6] >> 2 & 3
        first, size = WINDOWS[choice]
        if not first <= offset < first + size:
            return None
        at = offset - first
        return at + self.vga.bank_offset if choice == 1 else at

    def read(self, offset: int) -> int:
        vga, at = self.vga, self._place(offset)
        if at is None:
            return 0xFF
        if vga.sr[4] & CHAIN_4:
            return self.load(at)
        if vga.gr[5] & ODD_EVEN:
            return self.load((at & ~1) << 1 | vga.gr[4] & 2 | at & 1)
        planes = [self.load(at * 4 + p) for p in range(4)]
        vga.latch = int.from_bytes(bytes(planes), "little")
        if not vga.gr[5] & 0x08:
            return planes[vga.gr[4] & 3]
        differs = 0
        for p, plane in enumerate(planes):
            if vga.gr[7] >> p & 1:
                differs |= plane ^ (0xFF if vga.gr[2] >> p & 1 else 0)
        return ~differs & 0xFF

    def write(self, offset: int, value: int) -> None:
        vga, at = self.vga, self._place(offset)
        if at is None:
            return
        if vga.sr[4] & CHAIN_4:
            if vga.sr[2] >> (at & 3) & 1:
                self.store(at, value)
        elif vga.gr[5] & ODD_EVEN:
            plane = vga.gr[4] & 2 | at & 1
            if vga.sr[2] >> plane & 1:
                self.store((at & ~1) << 1 | plane, value)
        else:
            self._write_planes(at, value)

    def _write_planes(self, at: int, value: int) -> None:
        vga, mode = self.vga, self.vga.gr[5] & 3
        mask, turn = vga.gr[8], vga.gr[3] & 7
        turned = (value >> turn | value << 8 - turn) & 0xFF
        for p in range(4):
            latch = vga.latch >> 8 * p & 0xFF
            full = 0xFF if vga.gr[0] >> p & 1 else 0
            match mode:
                case 0:
                    byte = self._logic(full if vga.gr[1] >> p & 1 else turned, latch)
                    byte = byte & mask | latch & ~mask
                case 1:
                    byte = latch
                case 2:
                    byte = self._logic(0xFF if value >> p & 1 else 0, latch)
                    byte = byte & mask | latch & ~mask
                case _:
                    chosen = mask & turned
                    byte = full & chosen | latch & ~chosen
            if vga.sr[2] >> p & 1:
                self.store(at * 4 + p, byte & 0xFF)

    def _logic(self, value: int, latch: int) -> int:
        """Data rotate register, bits 3 and 4."""
        return (value, value & latch, value | latch, value ^ latch)[self.vga.gr[3] >> 3 & 3]
