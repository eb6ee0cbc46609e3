"""KeyLargo's general-purpose I/O: a byte of control for each pin, some of which interrupt.

Pins 0 to 17 are the external interrupts: pin n drives OpenPIC source 0x2e + n.  On these machines
two are wired: pin 1 to the PMU's request line, active low, a level; pin 9 to the programmer's
switch, active high, an edge.  Source: Linux arch/powerpc/include/asm/keylargo.h and drivers/
macintosh/via-pmu.c; OpenBIOS drivers/macio.c; docs page gpio.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.core.irq import IrqLine
from gossamer.core.region import Region
from gossamer.state.codec import U8
from gossamer.state.declare import array, derived, wiring

OFFSET: Final = 0x50
"""Where the cell lies in mac-io."""
SIZE: Final = 0x30
"""Its bytes: 8 of levels, then a byte a pin."""
LEVELS, PINS = 8, 36

DATA_OUT, DATA_IN, OUTPUT_ENABLE = 0x01, 0x02, 0x04
"""Bits of a pin's byte; DATA_IN is the level of the pin."""

PMU_PIN, NMI_PIN = 1, 9
WIRED: Final = (PMU_PIN, NMI_PIN)
ACTIVE_LOW: Final = frozenset({PMU_PIN})


class Gpio(Device):
    """The pins.  `lines` gives the interrupt line of each wired pin.

    It is an `IrqSink`: input n asserted brings pin n to its active level.  A pin whose output is
    enabled has the level that the guest gives it, except a wired one, which its driver holds.
    """

    vmsd = "macio_gpio"

    gpio_levels: list[int] = array(U8, LEVELS)
    gpio_regs: list[int] = array(U8, PINS)
    #: Inputs that are asserted, bit n for pin n: what the drivers' lines say.
    asserted: int = derived()

    lines: Mapping[int, IrqLine] = wiring()

    def __init__(self, clock: Clock, lines: Mapping[int, IrqLine]) -> None:
        super().__init__(clock)
        self.idstr = "macio_gpio"
        for pin in lines:
            if pin not in WIRED:
                raise ConfigError(f"gpio: pins {WIRED} can interrupt, got {pin}")
        self.lines, self.asserted = lines, 0
        self.reset()

    def reset(self) -> None:
        """Every pin an input; its level is what drives it."""
        super().reset()
        for pin in WIRED:
            self._follow(pin)
        self.update_irq()

    def region(self) -> Region:
        """The registers at mac-io 0x50."""
        return Region("gpio", SIZE, self.read_gpio, self.write_gpio, widths=(1,))

    # --- pins ---------------------------------------------------------------------------------

    def input_changed(self, pin: int, level: bool) -> None:
        self._drive(pin, level)
        self.update_irq()

    def input_assigned(self, pin: int, level: bool) -> None:
        self._drive(pin, level)
        self.resume()

    def nmi(self) -> None:
        """The programmer's switch is pressed and let go."""
        self.input_changed(NMI_PIN, True)
        self.input_changed(NMI_PIN, False)

    def _drive(self, pin: int, asserted: bool) -> None:
        bit = 1 << pin
        self.asserted = self.asserted | bit if asserted else self.asserted & ~bit
        self._follow(pin)

    def _follow(self, pin: int) -> None:
        """Bring the level bit of a pin up to date: a wired one's driver's, an output's own."""
        register = self.gpio_regs[pin]
        high = bool(register & DATA_OUT) if register & OUTPUT_ENABLE else False
        if pin in WIRED:
            high = bool(self.asserted >> pin & 1) != (pin in ACTIVE_LOW)
        self.gpio_regs[pin] = register & ~DATA_IN | (DATA_IN if high else 0)

    def _level(self, pin: int) -> bool:
        """Whether a pin asks for an interrupt."""
        return bool(self.gpio_regs[pin] & DATA_IN) != (pin in ACTIVE_LOW)

    def update_irq(self) -> None:
        for pin, line in self.lines.items():
            line.set(self._level(pin))

    def resume(self) -> None:
        for pin, line in self.lines.items():
            line.assign(self._level(pin))

    # --- registers ----------------------------------------------------------------------------

    def read_gpio(self, offset: int, _size: int) -> int:
        if offset < LEVELS:
            return self.gpio_levels[offset]
        if offset < LEVELS + PINS:
            return self.gpio_regs[offset - LEVELS]
        self.note(f"read of unknown register {offset:#x}")
        return 0

    def write_gpio(self, offset: int, _size: int, value: int) -> None:
        pin = offset - LEVELS
        if not 0 <= pin < PINS:
            self.note(f"write to unknown or read-only register {offset:#x}")
            return
        self.gpio_regs[pin] = value & ~DATA_IN & 0xFF | self.gpio_regs[pin] & DATA_IN
        if value & OUTPUT_ENABLE:
            self._follow(pin)
        self.update_irq()
