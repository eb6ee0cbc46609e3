"""What decides about the picture of a VGA beside its memory: a copy that stays as it is."""

from __future__ import annotations

from typing import Any, Final

from gossamer.base.data import Data

BPP: Final = 3
ENABLE: Final = 4
ENABLED: Final = 0x01
XRES: Final = 1
YRES: Final = 2
SHOWN: Final = 0x20
"""Attribute index: the palette address source bit; without it the screen is blank."""
LEGACY_SIZE: Final = 0x8_0000
"""Bytes of memory that text and legacy graphics can show: four planes of 64 KiB, twice."""


class Shown(Data):
    """Registers under the names of `VgaCore`; two that are equal show the same memory alike."""

    ar_index: int
    sr: bytes
    gr: bytes
    cr: bytes
    ar: bytes
    palette: bytes
    vbe_regs: tuple[int, ...]
    vbe_line_offset: int
    vbe_start_addr: int
    big_endian_fb: bool

    @classmethod
    def of(cls, vga: Any) -> Shown:  # noqa: ANN401 - a VgaCore, or values of one out of a stream
        """The registers as they are now."""
        return cls(
            ar_index=vga.ar_index & SHOWN,
            sr=bytes(vga.sr),
            gr=bytes(vga.gr),
            cr=bytes(vga.cr),
            ar=bytes(vga.ar),
            palette=bytes(vga.palette),
            vbe_regs=tuple(vga.vbe_regs),
            vbe_line_offset=vga.vbe_line_offset,
            vbe_start_addr=vga.vbe_start_addr,
            big_endian_fb=vga.big_endian_fb,
        )

    @property
    def vbe_on(self) -> bool:
        return bool(self.vbe_regs[ENABLE] & ENABLED)

    def rows(self, memory: int) -> tuple[int, int, int] | None:
        """Where the lines are: the first byte, bytes from line to line, and how many lines.

        None where they are not one after the other inside `memory` bytes, each with whole pixels.
        """
        bits = self.vbe_regs[BPP]
        if not (self.vbe_on and self.ar_index) or bits < 8:
            return None
        start, stride, count = self.vbe_start_addr * 4, self.vbe_line_offset, self.vbe_regs[YRES]
        length = self.vbe_regs[XRES] * ((bits + 7) // 8)
        if count < 1 or not 0 < length <= stride or start + stride * count > memory:
            return None
        return start, stride, count

    @property
    def extent(self) -> int | None:
        """Bytes from the start of memory that the picture can depend on; None: all of them."""
        return None if self.vbe_on else LEGACY_SIZE
