"""Heathrow interrupt controller and feature registers: 64 sources, one output to the CPU.

Two banks of four registers, little-endian, at the start of the mac-io function: bank 0 (sources
32..63) at 0x10, bank 1 (sources 0..31) at 0x20; in each: event, enable, clear, level.  A source's
rising edge latches its event; writing a bit to clear drops it, except for a level source that is
still asserted.  Source: Linux arch/powerpc/platforms/powermac/pic.c and macio_asic; docs page
heathrow.md.
"""

from __future__ import annotations

from typing import Final

from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.core.faces import NO, YES, Face
from gossamer.core.irq import IrqLine
from gossamer.core.region import Region
from gossamer.state.declare import Stateful, children, u32, wiring
from gossamer.state.layout import subsection

EVENT, ENABLE, CLEAR, LEVEL = 0x0, 0x4, 0x8, 0xC
MEDIA_BAY: Final = 0x34
"""Media bay and identification register, 32 bits."""
FEATURES: Final = 0x38
"""Feature control register (clocks and resets of the cells), 32 bits."""
LEVEL_SOURCES: Final = (0, 0x1FF0_0000)
"""Level-sensitive sources of bank 0 and bank 1 (sources 20..28)."""


class HeathrowBank(Stateful):
    """32 sources: latched `events`, enabled by `mask`, inputs as they are in `levels`."""

    vmsd = "heathrow_pic_one"

    events: int = u32()
    mask: int = u32()
    levels: int = u32()
    level_triggered: int = u32()

    @property
    def pending(self) -> int:
        """Enabled sources that ask for service."""
        return (self.events | self.levels & self.level_triggered) & self.mask


class Heathrow(Device):
    """The controller; an `IrqSink` with 64 pins.  `out` is the CPU's external interrupt."""

    vmsd = "heathrow_pic"
    version = 1
    minimum = 1

    extra = subsection("heathrow_pic/gossamer", ours=True, lost="feature and media-bay registers")

    pics: list[HeathrowBank] = children(HeathrowBank, 2)
    media_bay: int = u32(within=extra)
    features: int = u32(within=extra)

    out: IrqLine = wiring()

    @extra.needed
    def extra_needed(self) -> bool:
        """The feature registers are not as they are after reset."""
        return bool(self.media_bay or self.features)

    def __init__(self, clock: Clock, out: IrqLine) -> None:
        super().__init__(clock)
        self.idstr = "heathrow_pic"
        self.out = out
        self.reset()

    def reset(self) -> None:
        levels = [bank.levels for bank in self.pics] if hasattr(self, "pics") else [0, 0]
        super().reset()
        for bank, level, kind in zip(self.pics, levels, LEVEL_SOURCES, strict=True):
            bank.levels, bank.level_triggered = level, kind
        self.update_irq()

    def region(self) -> Region:
        """The registers: 0x1000 bytes at offset 0 of mac-io."""
        return Region(
            "heathrow",
            0x1000,
            self.read_register,
            self.write_register,
            widths=(4,),
            little=True,
            learns=self._learns,
        )

    def _learns(self, offset: int, value: int | None) -> int:
        """The registers of both banks do nothing but what their state says."""
        if not 0x10 <= offset < 0x30 or offset & 3:
            return NO
        return YES if value is None or offset & 0xC in (ENABLE, CLEAR) else NO

    def face(self) -> Face:
        high, low = self.pics
        return (
            *(high.events, high.mask, high.levels, high.level_triggered),
            *(low.events, low.mask, low.levels, low.level_triggered),
            self.out.level,
        )

    def set_face(self, face: Face) -> None:
        high, low = self.pics
        high.events, high.mask, high.levels = face[:3]
        low.events, low.mask, low.levels = face[4:7]
        self.out.level = face[8]

    # --- inputs -------------------------------------------------------------------------------

    def input_changed(self, pin: int, level: bool) -> None:
        bank, bit = self.pics[1 - pin // 32], 1 << pin % 32
        if level:
            bank.levels |= bit
            bank.events |= bit
        else:
            bank.levels &= ~bit
        self.update_irq()

    def input_assigned(self, pin: int, level: bool) -> None:
        bank, bit = self.pics[1 - pin // 32], 1 << pin % 32
        bank.levels = bank.levels | bit if level else bank.levels & ~bit

    @property
    def level(self) -> bool:
        high, low = self.pics
        return bool(high.pending or low.pending)

    def update_irq(self) -> None:
        self.out.set(self.level)

    def resume(self) -> None:
        self.out.assign(self.level)

    # --- registers ----------------------------------------------------------------------------

    def read_register(self, offset: int, _size: int) -> int:
        if 0x10 <= offset < 0x30:
            bank = self.pics[(offset >> 4) - 1]
            match offset & 0xC:
                case 0x0:
                    return bank.events
                case 0x4:
                    return bank.mask
                case 0x8:
                    return 0
                case _:
                    return bank.levels
        if offset == MEDIA_BAY:
            return self.media_bay
        if offset == FEATURES:
            return self.features
        self.note(f"read of unknown register {offset:#x}")
        return 0

    def write_register(self, offset: int, _size: int, value: int) -> None:
        if 0x10 <= offset < 0x30:
            bank = self.pics[(offset >> 4) - 1]
            if offset & 0xC == ENABLE:
                bank.mask = value
            elif offset & 0xC == CLEAR:
                bank.events &= ~value | bank.levels & bank.level_triggered
            else:
                self.note(f"write to read-only register {offset:#x}")
            self.update_irq()
        elif offset == MEDIA_BAY:
            self.media_bay = value
        elif offset == FEATURES:
            self.features = value
        else:
            self.note(f"write to unknown register {offset:#x}")
