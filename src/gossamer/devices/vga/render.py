"""The picture that a VGA shows, as RGB bytes: DISPI modes, text, and the legacy graphics modes.

The four planes of legacy modes lie interleaved in memory: byte `a` of plane `p` is at 4a + p.
Source: IBM VGA technical reference; vbe_display_api.txt; QEMU's docs/specs/standard-vga (the byte
order switch).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from gossamer.base.late import np
from gossamer.devices.vga.core import BPP, DAC_8BIT, ENABLE, MAX_WIDTH, XRES, YRES
from gossamer.devices.vga.shown import SHOWN, Shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

Bytes: TypeAlias = "NDArray[np.uint8]"
Indices: TypeAlias = "NDArray[np.int64]"

FONT_PLACES: Final = (0x0000, 0x4000, 0x8000, 0xC000, 0x2000, 0x6000, 0xA000, 0xE000)
"""Offsets in plane 2 of the eight character maps."""
GLYPH: Final = 32
HALF_CLOCK: Final = 0x08
"""Sequencer register 1: half the dot clock."""
LINE_GRAPHICS: Final = range(0xC0, 0xE0)
"""Characters whose ninth column repeats the eighth."""


def render(vga: Shown, memory: Bytes) -> tuple[int, int, bytes]:
    """(width, height, RGB bytes) of the screen."""
    picture = render_array(vga, memory)
    return picture.shape[1], picture.shape[0], picture.tobytes()


def render_array(vga: Shown, memory: Bytes) -> Bytes:
    """The screen: rows, columns, and red, green, blue."""
    if not vga.ar_index & SHOWN:
        return _widen(vga, np.zeros((_scan_lines(vga), (vga.cr[1] + 1) * 8, 3), np.uint8))
    if vga.vbe_on:
        return _dispi(vga, memory)
    return _graphics(vga, memory) if vga.gr[6] & 1 else _text(vga, memory)


def render_packed(vga: Shown, memory: Bytes) -> NDArray[np.uint32]:
    """The screen: rows of 0x00RRGGBB."""
    if vga.ar_index & SHOWN and vga.vbe_on and vga.vbe_regs[BPP] in (8, 32):
        raw, wide = _dispi_rows(vga, memory)
        if wide == 4:
            words = np.ascontiguousarray(raw).view(">u4" if vga.big_endian_fb else "<u4")
            picture: NDArray[np.uint32] = np.bitwise_and(words, 0xFF_FFFF, dtype=np.uint32)
            return picture
        return _packed(_colours(vga))[raw]
    return _packed(render_array(vga, memory))


def _packed(rgb: Bytes) -> NDArray[np.uint32]:
    """Red, green, blue (the last axis) as 0x00RRGGBB."""
    out = np.zeros((*rgb.shape[:-1], 4), np.uint8)
    out[..., 2::-1] = rgb
    return out.view("<u4")[..., 0].astype(np.uint32, copy=False)


def _rows(memory: Bytes, start: int, stride: int, length: int, count: int) -> Bytes:
    """`count` rows of `length` bytes, `stride` apart; memory wraps round."""
    if start + stride * count <= len(memory) and length <= stride:
        block = memory[start : start + stride * count].reshape(count, stride)
        rows: Bytes = block[:, :length]
        return rows
    rows = np.empty((count, length), np.uint8)
    for n in range(count):
        first = memory[(start + n * stride) % len(memory) :][:length]
        rows[n, : len(first)] = first
        rows[n, len(first) :] = memory[: length - len(first)]
    return rows


def _colours(vga: Shown) -> Bytes:
    """The 256 colours of the DAC, 8 bits each."""
    palette = np.frombuffer(bytes(vga.palette), np.uint8).reshape(256, 3)
    if vga.vbe_on and vga.vbe_regs[ENABLE] & DAC_8BIT:
        return palette
    six = palette & 0x3F
    eight: Bytes = (six << 2 | (six & 1) * 3).astype(np.uint8)  # widened as QEMU does
    return eight


# --- DISPI --------------------------------------------------------------------------------------


def _dispi_shape(vga: Shown, memory: Bytes) -> tuple[int, int, int, int]:
    """Width, height, start and stride."""
    # A stream may hold what no guest can set: no more pixels than the memory has.
    width = min(max(vga.vbe_regs[XRES], 8), MAX_WIDTH)
    height = max(min(vga.vbe_regs[YRES], 2 * len(memory) // width), 1)
    return width, height, vga.vbe_start_addr * 4, vga.vbe_line_offset


def _dispi_rows(vga: Shown, memory: Bytes) -> tuple[Bytes, int]:
    """Rows of pixels of whole bytes (8 to 32 bits), and how many bytes each has."""
    width, height, start, stride = _dispi_shape(vga, memory)
    size = (vga.vbe_regs[BPP] + 7) // 8
    return _rows(memory, start, stride, width * size, height), size


def _dispi(vga: Shown, memory: Bytes) -> Bytes:
    bpp = vga.vbe_regs[BPP]
    if bpp == 4:
        width, height, start, stride = _dispi_shape(vga, memory)
        planes = _rows(memory, start, stride * 4, width // 2, height)
        return _colours(vga)[_attributes(vga)[_planar(vga, planes)]]
    raw, size = _dispi_rows(vga, memory)
    if size == 1:
        return _colours(vga)[raw]
    pixels = np.ascontiguousarray(raw).reshape(raw.shape[0], -1, size)
    if size == 2:
        order = ">u2" if vga.big_endian_fb else "<u2"
        return _high_colour(pixels.view(order)[..., 0], 5 if bpp == 15 else 6)
    if vga.big_endian_fb:
        return pixels[..., size - 3 :]
    return pixels[..., 2::-1]


def _high_colour(pixels: NDArray[np.uint16], green_bits: int) -> Bytes:
    """5:5:5 or 5:6:5 pixels; the top bits are repeated below."""
    red = pixels >> (5 + green_bits) & 31
    green = pixels >> 5 & (1 << green_bits) - 1
    blue = pixels & 31
    green8 = green << (8 - green_bits) | green >> (2 * green_bits - 8)
    out = np.stack((red << 3 | red >> 2, green8, blue << 3 | blue >> 2), axis=-1)
    return out.astype(np.uint8)


# --- legacy -------------------------------------------------------------------------------------


def _scan_lines(vga: Shown) -> int:
    """Vertical display end."""
    high = (vga.cr[7] & 0x02) << 7 | (vga.cr[7] & 0x40) << 3
    return (vga.cr[0x12] | high) + 1


def _attributes(vga: Shown) -> Indices:
    """DAC index of each of the 16 attribute colours."""
    page = vga.ar[0x14]
    if vga.ar[0x10] & 0x80:
        found = [(page & 0x0F) << 4 | vga.ar[n] & 0x0F for n in range(16)]
    else:
        found = [(page & 0x0C) << 4 | vga.ar[n] & 0x3F for n in range(16)]
    return np.array(found, dtype=np.int64)


def _planar(vga: Shown, rows: Bytes) -> Indices:
    """Attribute indices of rows of interleaved planes, eight pixels for each four bytes."""
    height = rows.shape[0]
    bits = np.unpackbits(rows.reshape(height, -1, 4, 1), axis=3)
    enabled = [1 << p if vga.ar[0x12] >> p & 1 else 0 for p in range(4)]
    weights = np.array(enabled, dtype=np.int64)
    return (bits.transpose(0, 1, 3, 2) @ weights).reshape(height, -1)


def _graphics(vga: Shown, memory: Bytes) -> Bytes:
    """16 colours in planes, 4 colours (CGA), or 256 colours; as many scan lines as the CRT has."""
    lines, wide = _scan_lines(vga), (vga.cr[1] + 1) * 8
    repeat = ((vga.cr[9] & 0x1F) + 1) << (vga.cr[9] >> 7)
    cga = vga.gr[5] >> 5 & 3 == 1
    if cga:
        repeat = 1 << (vga.cr[9] >> 7)
    count = -(-lines // repeat)
    start = (vga.cr[0x0C] << 8 | vga.cr[0x0D]) * 4
    stride = vga.cr[0x13] << 3
    if vga.gr[5] & 0x40:
        picture = _colours(vga)[_rows(memory, start, stride, wide // 2, count)]
        picture = np.repeat(picture, 2, axis=1)
    elif cga:
        picture = _cga(vga, memory, count, wide)
    else:
        planes = np.ascontiguousarray(_rows(memory, start, stride, wide // 2, count))
        picture = _colours(vga)[_attributes(vga)[_planar(vga, planes)]]
    return _widen(vga, np.repeat(picture, repeat, axis=0)[:lines])


def _widen(vga: Shown, picture: Bytes) -> Bytes:
    """Each dot twice where the dot clock is halved."""
    if vga.sr[1] & HALF_CLOCK and not vga.gr[5] & 0x40:
        return np.repeat(picture, 2, axis=1)
    return picture


def _cga(vga: Shown, memory: Bytes, lines: int, wide: int) -> Bytes:
    """Two bits a pixel (two more in planes 2 and 3); by row scan, odd lines lie 8 KiB behind."""
    start = (vga.cr[0x0C] << 8 | vga.cr[0x0D]) * 2
    stride, n = vga.cr[0x13] * 4, np.arange(lines, dtype=np.int64)
    banked = (n >> 1) * stride + (n & 1) * 0x2000
    rows = n * stride if vga.cr[0x17] & 1 else banked
    at = (start + rows[:, None] + np.arange(wide // 4)) & 0xFFFF
    place = (at & ~1) << 1 | at & 1
    low, high = memory[place % len(memory)], memory[(place + 2) % len(memory)]
    pairs = np.stack([low >> n & 3 | (high >> n & 3) << 2 for n in (6, 4, 2, 0)], axis=-1)
    index = pairs.reshape(lines, -1) & (vga.ar[0x12] & 0x0F)
    picture: Bytes = _colours(vga)[_attributes(vga)[index]]
    return picture


def _font(memory: Bytes, place: int, height: int) -> Bytes:
    """256 glyphs of `height` rows from plane 2; bits as bytes, eight wide."""
    at = (FONT_PLACES[place] + np.arange(256)[:, None] * GLYPH + np.arange(height)) * 4 + 2
    return np.unpackbits(memory[at % len(memory)][..., None], axis=2)


def _text(vga: Shown, memory: Bytes) -> Bytes:
    high = (vga.cr[9] & 0x1F) + 1
    columns, rows = vga.cr[1] + 1, max(_scan_lines(vga) // high, 1)
    start, pitch = vga.cr[0x0C] << 8 | vga.cr[0x0D], vga.cr[0x13] * 2
    cells = start + np.arange(rows, dtype=np.int64)[:, None] * pitch + np.arange(columns)
    chars = memory[cells * 4 % len(memory)]
    looks = memory[(cells * 4 + 1) % len(memory)]
    glyphs = _glyphs(vga, memory, chars, looks, high)
    shown = _attributes(vga)
    back = looks >> 4 & (7 if vga.ar[0x10] & 0x08 else 15)
    ink, paper = _colours(vga)[shown[looks & 15]], _colours(vga)[shown[back]]
    _draw_cursor(vga, glyphs, cells, high)
    lit = glyphs.astype(bool)[..., None]
    picture: Bytes = np.where(lit, ink[:, :, None, None], paper[:, :, None, None])
    wide = glyphs.shape[3]
    lines = picture.transpose(0, 2, 1, 3, 4)
    return _widen(vga, np.ascontiguousarray(lines).reshape(rows * high, columns * wide, 3))


def _glyphs(vga: Shown, memory: Bytes, chars: Bytes, looks: Bytes, high: int) -> Bytes:
    """(row, column, line, dot) bits of the characters, 8 or 9 dots wide."""
    choice = vga.sr[3]
    map_a = choice >> 2 & 3 | choice >> 3 & 4
    map_b = choice & 3 | choice >> 2 & 4
    glyphs = _font(memory, map_b, high)[chars]
    if map_a != map_b:
        bright = (looks & 8).astype(bool)[..., None, None]
        glyphs = np.where(bright, _font(memory, map_a, high)[chars], glyphs)
    if vga.sr[1] & 1:
        return glyphs
    ninth = np.zeros((*glyphs.shape[:3], 1), np.uint8)
    if vga.ar[0x10] & 0x04:
        joined = (chars >= LINE_GRAPHICS.start) & (chars < LINE_GRAPHICS.stop)
        ninth = glyphs[..., 7:8] * joined[..., None, None].astype(np.uint8)
    return np.concatenate((glyphs, ninth), axis=3)


def _draw_cursor(vga: Shown, glyphs: Bytes, cells: Indices, high: int) -> None:
    """The cursor, in the phase of its blinking in which it is seen."""
    first, last = vga.cr[0x0A] & 0x1F, min(vga.cr[0x0B] & 0x1F, high - 1)
    if vga.cr[0x0A] & 0x20 or first > last:
        return
    where = cells == (vga.cr[0x0E] << 8 | vga.cr[0x0F])
    for row, column in np.argwhere(where):
        glyphs[row, column, first : last + 1] = 1
