"""Rectangles of the screen in a viewer's encoding: Raw, Hextile, Zlib, Tight, ZRLE.

Each is made from pixels in the viewer's form.  Source: RFC 6143, 7.7; the RFB protocol of the
community (rfbproto), "Tight encoding", "Zlib encoding".
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final

from gossamer.base.late import np
from gossamer.front.vnc.pixels import PixelFormat, Pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

RAW, HEXTILE, ZLIB, TIGHT, ZRLE = 0, 5, 6, 7, 16
#: The best first, whatever order a viewer names them in.
CHOICE: Final = (TIGHT, ZRLE, ZLIB, HEXTILE, RAW)
_TILE: Final = 64
_HEXTILE: Final = 16
_HEX_RAW, _HEX_BACK = 1, 2
_TIGHT_FILL: Final = 0x80
_TIGHT_FILTER: Final = 0x40
_PALETTE: Final = 1
_LEAST: Final = 12
"""Tight sends less than so many bytes as they are."""
MOST_TIGHT_WIDTH: Final = 2048


class Encoder:
    """One viewer's encodings: each has a stream of zlib that goes on as long as the viewer."""

    def __init__(self, level: int = 1) -> None:
        self.level = level
        self._streams: dict[str, zlib._Compress] = {}

    def encode(self, kind: int, form: PixelFormat, pixels: Pixels) -> bytes:
        """The data of a rectangle, behind its head."""
        match kind:
            case 5:
                return _hextile(form.convert(pixels))
            case 6:
                packed = self._pack("zlib", form.convert(pixels).tobytes())
                return struct.pack(">I", len(packed)) + packed
            case 7:
                return self._tight(form, pixels)
            case 16:
                packed = self._pack("zrle", _zrle(form, form.convert(pixels)))
                return struct.pack(">I", len(packed)) + packed
        return form.convert(pixels).tobytes()

    def _pack(self, name: str, data: bytes) -> bytes:
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = zlib.compressobj(self.level)
        return stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)

    def _tight(self, form: PixelFormat, pixels: Pixels) -> bytes:
        """One colour, two with a bit a pixel, or the pixels; the last two in streams 1 and 0."""
        colours = _colours(pixels)
        if colours is None:
            data = _tight_pixels(form, pixels)
            return b"\0" + self._tight_data("tight0", data)
        values = _tight_pixels(form, np.array([colours], np.uint32))
        if len(colours) == 1:
            return bytes((_TIGHT_FILL,)) + values
        bits = np.packbits(pixels == np.uint32(colours[1]), axis=1).tobytes()
        head = bytes(((1 << 4) | _TIGHT_FILTER, _PALETTE, 1))
        return head + values + self._tight_data("tight1", bits)

    def _tight_data(self, stream: str, data: bytes) -> bytes:
        if len(data) < _LEAST:
            return data
        packed = self._pack(stream, data)
        n = len(packed)
        if n < 1 << 7:
            return bytes((n,)) + packed
        if n < 1 << 14:
            return bytes((n & 0x7F | 0x80, n >> 7)) + packed
        return bytes((n & 0x7F | 0x80, n >> 7 & 0x7F | 0x80, n >> 14)) + packed


def _colours(pixels: NDArray[np.generic]) -> tuple[int, ...] | None:
    """The colours when there are one or two, by their values; else None."""
    first = pixels[0, 0]
    others = pixels != first
    if not others.any():
        return (int(first),)
    y, x = divmod(int(others.argmax()), pixels.shape[1])
    second = pixels[y, x]
    if (others & (pixels != second)).any():
        return None
    return int(first), int(second)


def _tight_pixels(form: PixelFormat, pixels: Pixels) -> bytes:
    if not form.packs:
        return form.convert(pixels).tobytes()
    quads = np.ascontiguousarray(pixels, ">u4").view(np.uint8).reshape(-1, 4)
    return quads[:, 1:].tobytes()


def _zrle(form: PixelFormat, pixels: NDArray[np.generic]) -> bytes:
    """Tiles of 64 x 64: one colour, two with a bit a pixel, or the pixels."""
    out = bytearray()
    height, width = pixels.shape
    keep = form.compact()
    for y in range(0, height, _TILE):
        for x in range(0, width, _TILE):
            tile = pixels[y : y + _TILE, x : x + _TILE]
            colours = _colours(tile)
            if colours is None:
                out += b"\0" + _compact(tile, keep)
                continue
            values = _compact(np.array(colours, pixels.dtype), keep)
            out.append(len(colours))
            out += values
            if len(colours) == 2:
                out += np.packbits(tile == np.array(colours[1], pixels.dtype), axis=1).tobytes()
    return bytes(out)


def _compact(pixels: NDArray[np.generic], keep: slice | None) -> bytes:
    """CPIXELs: without the byte that holds no colour."""
    data = np.ascontiguousarray(pixels)
    if keep is None:
        return data.tobytes()
    return data.view(np.uint8).reshape(-1, 4)[:, keep].tobytes()


def _hextile(pixels: NDArray[np.generic]) -> bytes:
    """Tiles of 16 x 16: one colour, or the pixels."""
    out = bytearray()
    height, width = pixels.shape
    for y in range(0, height, _HEXTILE):
        for x in range(0, width, _HEXTILE):
            tile = np.ascontiguousarray(pixels[y : y + _HEXTILE, x : x + _HEXTILE])
            if (tile == tile[0, 0]).all():
                out.append(_HEX_BACK)
                out += tile[0, :1].tobytes()
            else:
                out.append(_HEX_RAW)
                out += tile.tobytes()
    return bytes(out)
