"""The universal interrupt controller of a 405EP: 32 sources, a critical and an ordinary output.

Registers are DCRs from `base` on.  Source: PPC405EP user's manual chapter 7; docs page uic.md.
Source n is bit 31 - n of every register.
"""

from __future__ import annotations

from typing import Final

from gossamer.core.clock import Clock
from gossamer.core.dcr import DcrBus
from gossamer.core.device import Device
from gossamer.core.irq import IrqLine
from gossamer.state.declare import u32, wiring

SR, SRS, ER, CR, PR, TR, MSR, VR, VCR = range(9)
SOURCES: Final = 32
VCR_BITS: Final = 0xFFFF_FFFD
#: VCR: the first source is the highest in priority, or the last one.
FIRST_HIGHEST: Final = 1
VECTOR_BASE: Final = 0xFFFF_FFFC
VECTOR_STEP: Final = 0x200


class Uic(Device):
    """The controller.  `critical` and `ordinary`: its outputs."""

    vmsd = "ppc-uic"
    version = 1
    minimum = 1

    level: int = u32()
    uicsr: int = u32()
    uicer: int = u32()
    uiccr: int = u32()
    uicpr: int = u32()
    uictr: int = u32()
    uicvcr: int = u32()
    uicvr: int = u32()

    critical: IrqLine = wiring()
    ordinary: IrqLine = wiring()

    def __init__(
        self, clock: Clock, bus: DcrBus, base: int, critical: IrqLine, ordinary: IrqLine
    ) -> None:
        super().__init__(clock)
        self.idstr = "ppc-uic"
        self.critical, self.ordinary = critical, ordinary
        bus.add(
            range(base, base + 9),
            lambda number: self.read(number - base),
            lambda number, value: self.write(number - base, value),
        )
        self.reset()

    def reset(self) -> None:
        level = self.level if hasattr(self, "level") else 0
        super().reset()
        self.level = level  # the inputs are what their drivers say
        self.uicsr = level
        self.update_irq()

    # --- inputs -----------------------------------------------------------------------------------

    def input_changed(self, pin: int, level: bool) -> None:
        """Source `pin` moved: PR says which level asks, TR whether an edge does."""
        mask = 1 << (SOURCES - 1 - pin)
        was = self.level
        self.level = was | mask if level else was & ~mask
        if self.uictr & mask:
            if level and not was & mask:
                self.uicsr |= mask
        else:
            self._follow()
        self.update_irq()

    def input_assigned(self, pin: int, level: bool) -> None:
        mask = 1 << (SOURCES - 1 - pin)
        self.level = self.level | mask if level else self.level & ~mask

    def _follow(self) -> None:
        """Status of sources that are levels is the level's."""
        self.uicsr = self.uicsr & self.uictr | self.level & ~self.uictr

    # --- registers --------------------------------------------------------------------------------

    def read(self, register: int) -> int:
        if register == MSR:
            return self.uicsr & self.uicer
        if register == VR:
            return self.uicvr
        return (
            self.uicsr,
            self.uicsr,
            self.uicer,
            self.uiccr,
            self.uicpr,
            self.uictr,
            0,
            0,
            self.uicvcr,
        )[register]

    def write(self, register: int, value: int) -> None:
        if register == SR:
            self.uicsr &= ~value
            self._follow_set()
        elif register == SRS:
            self.uicsr |= value
        elif register == ER:
            self.uicer = value
        elif register == CR:
            self.uiccr = value
        elif register == PR:
            self.uicpr = value
        elif register == TR:
            self.uictr = value
        elif register == VCR:
            self.uicvcr = value & VCR_BITS
        else:
            self.note(f"write to register {register}, which can only be read")
            return
        self.update_irq()

    def _follow_set(self) -> None:
        """A level that still asks sets its status again."""
        self.uicsr |= self.level & ~self.uictr

    # --- outputs ----------------------------------------------------------------------------------

    def update_irq(self) -> None:
        asking = self.uicsr & self.uicer
        self._find_vector(asking & self.uiccr)
        self.critical.set(bool(asking & self.uiccr))
        self.ordinary.set(bool(asking & ~self.uiccr))

    def _find_vector(self, critical: int) -> None:
        """VR: where the handler of the critical source with the highest priority lies; 0: none."""
        self.uicvr = 0
        if not critical:
            return
        if self.uicvcr & FIRST_HIGHEST:
            distance = SOURCES - critical.bit_length()
        else:
            distance = (critical & -critical).bit_length() - 1
        self.uicvr = (self.uicvcr & VECTOR_BASE) + VECTOR_STEP * distance & 0xFFFF_FFFF

    def resume(self) -> None:
        asking = self.uicsr & self.uicer
        self.critical.assign(bool(asking & self.uiccr))
        self.ordinary.assign(bool(asking & ~self.uiccr))
