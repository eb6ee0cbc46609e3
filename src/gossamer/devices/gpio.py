"""KeyLargo's general-purpose pins, those of them that matter: the PMU's interrupt and the NMI switch.

Eight bytes of levels, then a byte for each pin: bit 0 output data, bit 1 input data, bit 2 output
enable.  An active pin is low and asks for an interrupt of its own.  Source: Linux
arch/powerpc/include/asm/keylargo.h, drivers/macintosh/via-pmu.c; docs page gpio.md.
"""

from __future__ import annotations

from typing import ClassVar, Final

from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.core.irq import IrqLine
from gossamer.core.region import Region
from gossamer.state.codec import U8
from gossamer.state.declare import array, wiring
from gossamer.state.layout import Layout

OFFSET: Final = 0x50
"""Where the cell lies in mac-io."""
SIZE: Final = 0x30
LEVELS: Final = 8
PINS: Final = 36
OUT_DATA, IN_DATA, OUT_ENABLE = 0x01, 0x02, 0x04
PMU_PIN: Final = 1
NMI_PIN: Final = 9


class Gpio(Device):
    """The cell; an `IrqSink` whose pins are active low.  `lines` gives the interrupt of a pin."""

    vmsd = "macio_gpio"

    gpio_levels: list[int] = array(U8, LEVELS)
    gpio_regs: list[int] = array(U8, PINS)

    lines: dict[int, IrqLine] = wiring()

    layouts: ClassVar[dict[str, Layout]] = {"": ["gpio_levels", "gpio_regs"]}

    def __init__(self, clock: Clock, lines: dict[int, IrqLine]) -> None:
        super().__init__(clock)
        self.idstr, self.lines = "macio_gpio", lines
        self.reset()
        for pin in lines:
            self.gpio_regs[pin] = IN_DATA

    def reset(self) -> None:
        """Outputs and enables go to zero; inputs stay as they are driven."""
        inputs = [r & IN_DATA for r in self.gpio_regs] if hasattr(self, "gpio_regs") else None
        super().reset()
        if inputs is not None:
            self.gpio_regs = inputs
        self.update_irq()

    def region(self) -> Region:
        return Region("gpio", SIZE, self.read_byte, self.write_byte, widths=(1,))

    # --- inputs -------------------------------------------------------------------------------

    def _drive(self, pin: int, active: bool) -> None:
        high = 0 if active else IN_DATA
        self.gpio_regs[pin] = self.gpio_regs[pin] & ~IN_DATA | high

    def input_changed(self, pin: int, level: bool) -> None:
        self._drive(pin, level)
        self.update_irq()

    def input_assigned(self, pin: int, level: bool) -> None:
        self._drive(pin, level)
        if pin in self.lines:
            self.lines[pin].assign(level)

    def update_irq(self) -> None:
        for pin, line in self.lines.items():
            line.set(not self.gpio_regs[pin] & IN_DATA)

    def resume(self) -> None:
        for pin, line in self.lines.items():
            line.assign(not self.gpio_regs[pin] & IN_DATA)

    # --- registers ----------------------------------------------------------------------------

    @property
    def levels(self) -> list[int]:
        """The level bytes: pin n is bit n & 7 of byte n >> 3."""
        out = [0] * LEVELS
        for pin, register in enumerate(self.gpio_regs):
            high = register & (OUT_DATA if register & OUT_ENABLE else IN_DATA)
            out[pin >> 3] |= int(bool(high)) << (pin & 7)
        return out

    def read_byte(self, offset: int, _size: int) -> int:
        if offset < LEVELS:
            return self.levels[offset]
        pin = offset - LEVELS
        return self.gpio_regs[pin] if pin < PINS else 0

    def write_byte(self, offset: int, _size: int, value: int) -> None:
        pin = offset - LEVELS
        if not 0 <= pin < PINS:
            self.note(f"write to {offset:#x}")
            return
        kept = value & OUT_DATA and IN_DATA if value & OUT_ENABLE else self.gpio_regs[pin] & IN_DATA
        if pin in self.lines:
            kept = self.gpio_regs[pin] & IN_DATA
        self.gpio_regs[pin] = value & 0xFF & ~IN_DATA | kept
