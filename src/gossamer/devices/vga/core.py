"""The registers of a VGA with Bochs display extensions (VBE DISPI), apart from any bus.

Source: IBM VGA technical reference (ports, masks by FreeVGA's tables), Bochs' vbe_display_api.txt;
masks, limits and reset values as QEMU 7.2's `VGA` shows them: docs/chips/vga.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from gossamer.state.codec import U8, U16, Equal
from gossamer.state.declare import Stateful, array, boolean, buffer, i32, u8, u16, u32, wiring
from gossamer.state.layout import Constant, Layout, subsection

# DISPI registers.
ID, XRES, YRES, BPP, ENABLE, BANK, VIRT_WIDTH, VIRT_HEIGHT, X_OFFSET, Y_OFFSET = range(10)
MEMORY_64K: Final = 10
ENABLED: Final = 0x01
GET_CAPS: Final = 0x02
DAC_8BIT: Final = 0x20
NO_CLEAR: Final = 0x80
MAX_WIDTH: Final = 16000
MAX_HEIGHT: Final = 12000
IDS: Final = range(0xB0C0, 0xB0C6)

SR_MASK: Final = (0x03, 0x3D, 0x0F, 0x3F, 0x0E, 0x00, 0x00, 0xFF)
GR_MASK: Final = (0x0F, 0x0F, 0x0F, 0x1F, 0x03, 0x7B, 0x0F, 0x0F, 0xFF, 0, 0, 0, 0, 0, 0, 0)
AR_MASK: Final = (0x3F,) * 16 + (0xEF, 0xFF, 0x3F, 0x0F, 0x0F)

FRAME_NS: Final = 16_666_667
"""A frame at 60 Hz."""
RETRACE_NS: Final = 1_500_000
"""Vertical retrace: the last 9 % of a frame."""
LINE_NS: Final = 31_778
BLANK_NS: Final = 6_356
"""Horizontal blanking: the last fifth of a line of 31.8 µs."""
V_RETRACE: Final = 0x08
DISPLAY_OFF: Final = 0x01
COLOR: Final = 0x01


class VgaCore(Stateful):
    """State and ports.  `now` gives virtual time, `clear(length)` zeroes the start of memory."""

    vmsd = "vga"
    version = minimum = 2
    layouts: ClassVar[dict[str, Layout]] = {
        "": [
            "latch", "sr_index", "sr", "gr_index", "gr", "ar_index", "ar", "ar_flip_flop",
            "cr_index", "cr", "msr", "fcr", "st00", "st01", "dac_state", "dac_sub_index",
            "dac_read_index", "dac_write_index", "dac_cache", "palette", "bank_offset",
            Constant("is_vbe_vmstate", Equal(U8, 1)),
            "vbe_index", "vbe_regs", "vbe_start_addr", "vbe_line_offset", "vbe_bank_mask",
        ]
    }  # fmt: skip

    endian = subsection("vga.endian", 1)

    latch = u32()
    sr_index = u8()
    sr = buffer(8)
    gr_index = u8()
    gr = buffer(16)
    ar_index = u8()
    ar = buffer(21)
    ar_flip_flop = i32()
    cr_index = u8()
    cr = buffer(256)
    msr = u8()
    fcr = u8()
    st00 = u8()
    st01 = u8()
    dac_state = u8()
    dac_sub_index = u8()
    dac_read_index = u8()
    dac_write_index = u8()
    dac_cache = buffer(3)
    palette = buffer(768)
    bank_offset = i32()
    vbe_index = u16()
    vbe_regs = array(U16, 10, [0xB0C5, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    vbe_start_addr = u32()
    vbe_line_offset = u32()
    vbe_bank_mask = u32()
    big_endian_fb = boolean(True, within=endian)
    memory_size: int = wiring()
    now: Callable[[], int] = wiring()
    clear: Callable[[int], None] = wiring()

    @endian.needed
    def endian_needed(self) -> bool:
        """Only where it differs from a PowerPC's default."""
        return not self.big_endian_fb

    def __init__(
        self, memory_size: int, now: Callable[[], int], clear: Callable[[int], None]
    ) -> None:
        super().__init__()
        self.memory_size, self.now, self.clear = memory_size, now, clear
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.vbe_bank_mask = (self.memory_size >> 16) - 1

    def post_load(self, _version: int) -> None:
        """Bring indices that a stream may hold out of range back into it."""
        self.dac_sub_index %= 3
        self.sr_index &= 7
        self.gr_index &= 15
        self.ar_flip_flop &= 1

    # --- legacy ports, 0x3b0 .. 0x3df -----------------------------------------------------------

    def read_port(self, port: int) -> int:
        """One byte; ones where the colour or monochrome half is not selected."""
        if 0x3C0 <= port <= 0x3CF:
            return self._read_common(port)
        if (port < 0x3C0) == bool(self.msr & COLOR):
            return 0xFF
        if port & 0xF == 4:
            return self.cr_index
        if port & 0xF == 5:
            return self.cr[self.cr_index]
        if port & 0xF == 0xA:
            self.ar_flip_flop = 0
            self.st01 = self.input_status()
            return self.st01
        return 0

    def input_status(self) -> int:
        """Input status 1: retrace and blanking, from virtual time alone."""
        at = self.now() % FRAME_NS
        if at >= FRAME_NS - RETRACE_NS:
            return V_RETRACE | DISPLAY_OFF
        return DISPLAY_OFF if at % LINE_NS >= LINE_NS - BLANK_NS else 0

    def _read_common(self, port: int) -> int:
        match port:
            case 0x3C0:
                return 0 if self.ar_flip_flop else self.ar_index
            case 0x3C1:
                index = self.ar_index & 0x1F
                return self.ar[index] if index < len(self.ar) else 0
            case 0x3C2:
                return self.st00
            case 0x3C4:
                return self.sr_index
            case 0x3C5:
                return self.sr[self.sr_index]
            case 0x3C7:
                return self.dac_state
            case 0x3C8:
                return self.dac_write_index
            case 0x3C9:
                return self._read_palette()
            case 0x3CA:
                return self.fcr
            case 0x3CC:
                return self.msr
            case 0x3CE:
                return self.gr_index
            case 0x3CF:
                return self.gr[self.gr_index]
        return 0

    def _read_palette(self) -> int:
        value = self.palette[self.dac_read_index * 3 + self.dac_sub_index]
        self.dac_sub_index += 1
        if self.dac_sub_index == 3:
            self.dac_sub_index = 0
            self.dac_read_index = (self.dac_read_index + 1) & 0xFF
        return value

    def write_port(self, port: int, value: int) -> None:
        """One byte."""
        if 0x3C0 <= port <= 0x3CF:
            self._write_common(port, value)
        elif (port < 0x3C0) != bool(self.msr & COLOR):
            if port & 0xF == 4:
                self.cr_index = value
            elif port & 0xF == 5:
                self._write_crtc(value)
            elif port & 0xF == 0xA:
                self.fcr = value & 0x10

    def _write_common(self, port: int, value: int) -> None:
        match port:
            case 0x3C0:
                self._write_attribute(value)
            case 0x3C2:
                self.msr = value & ~0x10
            case 0x3C4:
                self.sr_index = value & 7
            case 0x3C5:
                self.sr[self.sr_index] = value & SR_MASK[self.sr_index]
                if self.vbe_on:
                    self._program_vga()
            case 0x3C7:
                self.dac_read_index, self.dac_sub_index, self.dac_state = value, 0, 3
            case 0x3C8:
                self.dac_write_index, self.dac_sub_index, self.dac_state = value, 0, 0
            case 0x3C9:
                self._write_palette(value)
            case 0x3CE:
                self.gr_index = value & 15
            case 0x3CF:
                self.gr[self.gr_index] = value & GR_MASK[self.gr_index]
                if self.vbe_on:
                    self._program_vga()

    def _write_attribute(self, value: int) -> None:
        if not self.ar_flip_flop:
            self.ar_index = value & 0x3F
        else:
            index = self.ar_index & 0x1F
            if index < len(self.ar):
                self.ar[index] = value & AR_MASK[index]
        self.ar_flip_flop ^= 1

    def _write_palette(self, value: int) -> None:
        self.dac_cache[self.dac_sub_index] = value
        self.dac_sub_index += 1
        if self.dac_sub_index == 3:
            at = self.dac_write_index * 3
            self.palette[at : at + 3] = self.dac_cache
            self.dac_sub_index = 0
            self.dac_write_index = (self.dac_write_index + 1) & 0xFF

    def _write_crtc(self, value: int) -> None:
        index = self.cr_index
        if self.cr[0x11] & 0x80 and index <= 7:
            if index == 7:  # protected, but for bit 8 of line compare
                self.cr[7] = self.cr[7] & ~0x10 | value & 0x10
                if self.vbe_on:
                    self._program_vga()
            return
        self.cr[index] = value
        if self.vbe_on:
            self._program_vga()

    # --- DISPI ----------------------------------------------------------------------------------

    @property
    def vbe_on(self) -> bool:
        return bool(self.vbe_regs[ENABLE] & ENABLED)

    @property
    def vbe_bits(self) -> int:
        """Bits a pixel takes in memory."""
        bpp = self.vbe_regs[BPP]
        return 16 if bpp == 15 else bpp

    def read_vbe(self, index: int) -> int:
        if index < len(self.vbe_regs):
            if self.vbe_regs[ENABLE] & GET_CAPS and index in (XRES, YRES, BPP):
                return {XRES: MAX_WIDTH, YRES: MAX_HEIGHT, BPP: 32}[index]
            return self.vbe_regs[index]
        return self.memory_size >> 16 if index == MEMORY_64K else 0

    def write_vbe(self, index: int, value: int) -> None:
        match index:
            case 0:  # ID
                if value in IDS:
                    self.vbe_regs[ID] = value
            case 1 | 2 | 3 | 6 | 8 | 9:
                self.vbe_regs[index] = value
                self._fit()
                if self.vbe_on:
                    self._program_vga()
            case 5:  # BANK
                self.vbe_regs[BANK] = value & self.vbe_bank_mask
                self.bank_offset = self.vbe_regs[BANK] << 16
            case 4:
                self._write_enable(value)

    def _write_enable(self, value: int) -> None:
        if value & ENABLED and not self.vbe_on:
            self.vbe_regs[VIRT_WIDTH] = self.vbe_regs[X_OFFSET] = self.vbe_regs[Y_OFFSET] = 0
            self.vbe_regs[ENABLE] |= ENABLED
            self._fit()
            self._program_vga()
            if not value & NO_CLEAR:
                self.clear(min(self.vbe_regs[YRES] * self.vbe_line_offset, self.memory_size))
        elif not value & ENABLED:
            self.bank_offset = 0
        self.vbe_regs[ENABLE] = value

    def _fit(self) -> None:
        """Bring the mode into what memory and the limits allow, once it is enabled."""
        if not self.vbe_on:
            return
        regs = self.vbe_regs
        if regs[BPP] not in (4, 8, 15, 16, 24, 32):
            regs[BPP] = 8
        regs[XRES] = max(min(regs[XRES], MAX_WIDTH) & ~7, 8)
        wide = max(min(regs[VIRT_WIDTH] & ~7, MAX_WIDTH), regs[XRES])
        line = wide * self.vbe_bits // 8
        most = self.memory_size // line
        regs[YRES] = max(min(regs[YRES], MAX_HEIGHT, most), 1)
        regs[VIRT_WIDTH], regs[VIRT_HEIGHT] = wide, most & 0xFFFF
        screen = regs[YRES] * line
        regs[X_OFFSET] = min(regs[X_OFFSET], MAX_WIDTH)
        regs[Y_OFFSET] = min(regs[Y_OFFSET], MAX_HEIGHT)
        offset = regs[X_OFFSET] * self.vbe_bits // 8 + regs[Y_OFFSET] * line
        if offset + screen > self.memory_size:
            regs[Y_OFFSET] = 0
            offset = regs[X_OFFSET] * self.vbe_bits // 8
            if offset + screen > self.memory_size:
                regs[X_OFFSET] = offset = 0
        self.vbe_line_offset, self.vbe_start_addr = line, offset // 4

    def _program_vga(self) -> None:
        """Make the legacy registers fit the mode, so that old software sees sense."""
        cr, rows = self.cr, self.vbe_regs[YRES] - 1
        self.gr[6] = self.gr[6] & ~0x0C | 0x05
        cr[0x17] |= 3
        cr[0x13] = self.vbe_line_offset >> 3 & 0xFF
        cr[0x01] = (self.vbe_regs[XRES] >> 3) - 1 & 0xFF
        cr[0x12] = rows & 0xFF
        cr[0x07] = cr[0x07] & ~0x42 | rows >> 7 & 0x02 | rows >> 3 & 0x40 | 0x10
        cr[0x09] = cr[0x09] & ~0x9F | 0x40
        cr[0x18] = 0xFF
        shift = 0 if self.vbe_regs[BPP] == 4 else 2
        self.gr[5] = self.gr[5] & ~0x60 | shift << 5
