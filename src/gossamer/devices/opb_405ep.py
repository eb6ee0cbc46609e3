"""The 405EP's small devices on the peripheral bus, and the board's FPGA.

General purpose timers, I2C, bus arbiter, GPIO: they hold what is written; the timers count.
Source: what QEMU 7.2 has at these addresses (docs page ref405ep.md); PPC405EP user's manual.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.units import ticks_at
from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.core.region import Region
from gossamer.state.declare import buffer, u8, u32, wiring

GPT_SIZE: Final = 0xD4
GPT_COUNTER: Final = 0
GPIO_SIZE: Final = 0x38
I2C_SIZE: Final = 0x12
FPGA_SIZE: Final = 0x100
FPGA_ONE: Final = 0x0F


class I2cBus(Device):
    """The bus as QEMU has a section of it: no transfer is under way."""

    vmsd = "i2c_bus"
    version = 1
    minimum = 1

    saved_address: int = u8(0xFF)

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.idstr = "i2c_bus"
        self.reset()


class Opb405ep(Device):
    """The devices' registers, as bytes."""

    vmsd = "gossamer-405ep-opb"
    version = 1
    minimum = 1
    lost = "registers of the general purpose timers, I2C, GPIO, bus arbiter and FPGA"

    gpt: bytearray = buffer(GPT_SIZE)
    gpt_offset: int = u32()
    i2c: bytearray = buffer(I2C_SIZE)
    arbiter: bytearray = buffer(2)
    gpio: bytearray = buffer(GPIO_SIZE)
    fpga: int = u8(FPGA_ONE)

    hz: int = wiring()

    def __init__(self, clock: Clock, hz: int) -> None:
        """`hz`: the rate at which the timers count."""
        super().__init__(clock)
        self.idstr = "gossamer-405ep-opb"
        self.hz = hz
        self.reset()

    def regions(self) -> dict[int, Region]:
        """Regions by real address."""
        return {
            0xEF60_0000: Region("gpt", GPT_SIZE, self._read_gpt, self._write_gpt, widths=(4,)),
            0xEF60_0500: self._bytes("ppc4xx-i2c", "i2c", I2C_SIZE),
            0xEF60_0600: self._bytes("opba", "arbiter", 2),
            0xEF60_0700: self._bytes("gpio", "gpio", GPIO_SIZE),
            0xF030_0000: Region("fpga", FPGA_SIZE, self._read_fpga, self._write_fpga, widths=(1,)),
        }

    def _bytes(self, name: str, held: str, size: int) -> Region:
        def read(offset: int, _size: int) -> int:
            return int(getattr(self, held)[offset])

        def write(offset: int, _size: int, value: int) -> None:
            getattr(self, held)[offset] = value & 0xFF

        return Region(name, size, read, write, widths=(1,))

    # --- general purpose timers -------------------------------------------------------------------

    @property
    def _ticks(self) -> int:
        return ticks_at(self.clock.now, self.hz)

    def _read_gpt(self, offset: int, _size: int) -> int:
        if offset == GPT_COUNTER:
            return (self._ticks + self.gpt_offset) & 0xFFFF_FFFF
        return int.from_bytes(self.gpt[offset : offset + 4], "big")

    def _write_gpt(self, offset: int, _size: int, value: int) -> None:
        if offset == GPT_COUNTER:
            self.gpt_offset = (value - self._ticks) & 0xFFFF_FFFF
        else:
            self.gpt[offset : offset + 4] = value.to_bytes(4, "big")

    # --- the board's FPGA -------------------------------------------------------------------------

    def _read_fpga(self, offset: int, _size: int) -> int:
        return self.fpga if offset == 1 else 0

    def _write_fpga(self, offset: int, _size: int, value: int) -> None:
        if offset == 1:
            self.fpga = value & 0xFF
