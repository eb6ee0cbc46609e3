"""A viewer's form of pixels, and how 0x00RRGGBB becomes it.  Source: RFC 6143, 7.4."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, TypeAlias

from gossamer.base.data import Data
from gossamer.base.late import np
from gossamer.front.vnc.layers import PeerError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Pixels: TypeAlias = "NDArray[np.uint32]"
LENGTH: Final = 16


class PixelFormat(Data):
    """`bits` 8, 16 or 32 of a pixel; each colour has a highest value and a shift."""

    bits: int = 32
    depth: int = 24
    big_endian: bool = False
    maxima: tuple[int, int, int] = (255, 255, 255)
    shifts: tuple[int, int, int] = (16, 8, 0)

    @classmethod
    def read(cls, data: bytes) -> PixelFormat:
        """From a SetPixelFormat message; PeerError for one that is not served."""
        bits, depth, big, true_colour, *rest = struct.unpack(">BBBBHHHBBB3x", data)
        maxima, shifts = tuple(rest[:3]), tuple(rest[3:])
        if bits not in (8, 16, 32):
            raise PeerError(f"pixels of {bits} bits: expected 8, 16 or 32")
        if not true_colour:  # a map of colours: the viewer gets one that holds 3:3:2
            return cls(8, 8, False, (7, 7, 3), (0, 3, 6))
        if any(
            m < 1 or m & (m + 1) or s + m.bit_length() > bits
            for m, s in zip(maxima, shifts, strict=True)
        ):
            raise PeerError(f"no pixels have {maxima} at {shifts} in {bits} bits")
        r, g, b = range(3)
        return cls(
            bits,
            depth,
            bool(big),
            (maxima[r], maxima[g], maxima[b]),
            (shifts[r], shifts[g], shifts[b]),
        )

    def data(self) -> bytes:
        """As ServerInit has it."""
        return struct.pack(
            ">BBBBHHHBBB3x", self.bits, self.depth, self.big_endian, 1, *self.maxima, *self.shifts
        )

    @property
    def dtype(self) -> np.dtype[np.uint8 | np.uint16 | np.uint32]:
        order = ">" if self.big_endian else "<"
        return np.dtype(f"{order}u{self.bits // 8}")

    @property
    def is_plain(self) -> bool:
        """Whether a pixel is 0x00RRGGBB but for the order of its bytes."""
        return self.bits == 32 and self.maxima == (255,) * 3 and self.shifts == (16, 8, 0)

    @property
    def packs(self) -> bool:
        """Whether Tight sends three bytes a pixel: red, green, blue."""
        return self.bits == 32 and self.depth == 24 and self.maxima == (255,) * 3

    def compact(self) -> slice | None:
        """The three bytes of four that ZRLE sends; None: all."""
        if self.bits != 32 or self.depth > 24:
            return None
        mask = 0
        for m, s in zip(self.maxima, self.shifts, strict=True):
            mask |= m << s
        if mask < 1 << 24:
            return slice(1, 4) if self.big_endian else slice(0, 3)
        if not mask & 0xFF:
            return slice(0, 3) if self.big_endian else slice(1, 4)
        return None

    def convert(self, pixels: Pixels) -> NDArray[np.generic]:
        """Pixels as the viewer wants them, of `dtype`."""
        if self.is_plain:
            return pixels.astype(self.dtype)
        out = np.zeros(pixels.shape, np.uint32)
        for n, (most, shift) in enumerate(zip(self.maxima, self.shifts, strict=True)):
            part = pixels >> (16 - 8 * n) & 0xFF
            if most < 255:
                part >>= 8 - most.bit_length()
            elif most > 255:
                part = part * most // 255
            out |= (part << shift).astype(np.uint32)
        return out.astype(self.dtype)
