"""The monitor's identification: one EDID block.

Source: VESA Enhanced EDID Standard, release A: base block structure 1.4.
"""

from __future__ import annotations

from typing import Final

SIZE: Final = 0x180
NAME: Final = b"gossamer\n"
DPI: Final = 100


def edid(width: int, height: int) -> bytes:
    """The 128-byte base block of a monitor that prefers `width` x `height` at 60 Hz, then zeros."""
    block = bytearray(b"\x00" + b"\xff" * 6 + b"\x00")
    block += _maker("GSM") + (1).to_bytes(2, "little") + bytes(4) + bytes((1, 2024 - 1990))
    block += bytes((1, 4, 0xA5, _centimetres(width), _centimetres(height), 120, 0x06))
    block += bytes((0xEE, 0x91, 0xA3, 0x54, 0x4C, 0x99, 0x26, 0x0F, 0x50, 0x54))  # sRGB primaries
    block += bytes((0x21, 0x08, 0x00))  # 640x480, 800x600, 1024x768 at 60 Hz
    block += b"\x01\x01" * 8
    block += _timing(width, height)
    block += _text(0xFC, NAME) + _range() + _text(0xFE, b"virtual\n")
    block.append(0)
    block.append(-sum(block) & 0xFF)
    return bytes(block.ljust(SIZE, b"\0"))


def _maker(letters: str) -> bytes:
    a, b, c = (ord(x) - 0x40 for x in letters)
    return (a << 10 | b << 5 | c).to_bytes(2, "big")


def _centimetres(pixels: int) -> int:
    return min(pixels * 254 // (DPI * 100), 255)


def _timing(width: int, height: int) -> bytes:
    """A detailed timing: fifth of the width blanked, a thirtieth of the height."""
    h_blank, v_blank = width // 5 & ~7, max(height // 30, 8)
    h_front, h_sync, v_front, v_sync = h_blank // 4, h_blank // 4, 3, 5
    clock = (width + h_blank) * (height + v_blank) * 60 // 10_000
    wide, tall = width * 254 // (DPI * 10), height * 254 // (DPI * 10)
    return min(clock, 0xFFFF).to_bytes(2, "little") + bytes(
        (
            width & 0xFF, h_blank & 0xFF, (width >> 8) << 4 | h_blank >> 8,
            height & 0xFF, v_blank & 0xFF, (height >> 8) << 4 | v_blank >> 8,
            h_front & 0xFF, h_sync & 0xFF, v_front << 4 | v_sync,
            (h_front >> 8) << 6 | (h_sync >> 8) << 4,
            wide & 0xFF, tall & 0xFF, (wide >> 8) << 4 | tall >> 8,
            0, 0, 0x18,
        )
    )  # fmt: skip


def _text(tag: int, text: bytes) -> bytes:
    return bytes((0, 0, 0, tag, 0)) + text.ljust(13, b" ")


def _range() -> bytes:
    """Limits: 50 to 125 Hz, 30 to 160 kHz, pixel clock to 2550 MHz."""
    return bytes((0, 0, 0, 0xFD, 0, 50, 125, 30, 160, 255, 1)) + b"\n".ljust(7, b" ")
