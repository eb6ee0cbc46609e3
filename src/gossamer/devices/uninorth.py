"""Apple UniNorth: memory controller and three PCI host bridges (AGP, internal, main) of mac99.

Each bridge has a configuration address and data register and one bus; the main bus alone has
memory and I/O windows here.  Source: Linux arch/powerpc/platforms/powermac/pci.c and
arch/powerpc/include/asm/uninorth.h; what QEMU 7.2 shows of it: docs/chips/uninorth.md.
"""

from __future__ import annotations

from typing import Final

from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.core.memory import AddressMap
from gossamer.core.region import Region
from gossamer.devices.pci import CONFIG_SIZE, PINS, PciBus, PciDevice, PciHost, Window
from gossamer.state.codec import U32, Buffer
from gossamer.state.declare import array, wiring
from gossamer.state.layout import View, subsection

APPLE: Final = 0x106B
AGP_CONFIG, MAIN_CONFIG, INTERNAL_CONFIG = 0xF080_0000, 0xF280_0000, 0xF480_0000
"""The configuration address registers; the data registers are 0x400000 above."""
DATA_OFFSET: Final = 0x40_0000
MEMORY_BASE: Final = 0x8000_0000
MEMORY_SIZE: Final = 0x1000_0000
IO_BASE: Final = 0xF200_0000
IO_SIZE: Final = 0x80_0000
REGISTERS: Final = 0xF800_0000
IRQ_PINS: Final = (0x1B, 0x1C, 0x1D, 0x1E)
"""The OpenPIC inputs of the main bus's four lines."""
LATENCY: Final = 0x0D
ADDRESS_SELECT: Final = 0x48
"""Which 16 MiB and 256 MiB ranges the main bridge decodes."""
PC_FORM: Final = 0x8000_0000
TYPE_1: Final = 1

VERSION: Final = 0x000
KEPT: Final = (0x020, 0x030, 0x040, 0x070)
"""Clock control, power management, arbiter control, hardware-init state: plain storage."""
REVISION: Final = 7


class UniNorthFunction(PciDevice):
    """A bridge's own function.  QEMU sends no section for it: its space goes with its host."""

    def __init__(self, clock: Clock, bus: PciBus, slot: int, device: int) -> None:
        super().__init__(clock, bus, slot << 3, vendor=APPLE, device=device, class_code=0x06_00_00)
        self.idstr = ""
        self.define(LATENCY, 1, 0x10)
        self.reset()


class UniNorthHost(PciHost):
    """One bridge: address and data registers, a bus, and its own function on it.

    An address has one of three forms: bit 31 set, as on a PC (OpenBIOS uses it); bit 0 set, the
    same without bit 31 (type 1); else one of bits 11 to 30 selects a slot (type 0).
    """

    bridge = subsection(
        "PCIHost/gossamer",
        ours=True,
        lost="the bridge's own configuration space",
        layout=[
            View(
                "config",
                Buffer(CONFIG_SIZE),
                lambda host: host.function.config,
                lambda host, config: host.function.load_config(config),
            ),
            "registers",
        ],
    )
    #: UniNorth's own registers; the main bridge keeps them.
    registers: list[int] = array(U32, len(KEPT), within=bridge)
    function: UniNorthFunction = wiring()

    def __init__(
        self,
        clock: Clock,
        name: str,
        slot: int,
        device: int,
        lines: list[IrqLine] | None = None,
        ram: AddressMap | None = None,
    ) -> None:
        bus = PciBus(
            clock,
            name,
            lines or [IrqLine() for _ in range(PINS)],
            memory=None if ram is None else Window(ram, MEMORY_BASE, MEMORY_SIZE, MEMORY_BASE),
            io=None if ram is None else Window(ram, 0, IO_SIZE, IO_BASE),
        )
        self.function = UniNorthFunction(clock, bus, slot, device)
        super().__init__(clock, bus, f"uninorth-{name}")

    @bridge.needed
    def bridge_needed(self) -> bool:
        return self.function.config != self.function.power_on or any(self.registers)

    def reset(self) -> None:
        super().reset()
        self.function.reset()

    def select(self, offset: int) -> tuple[int, int, int] | None:
        reg = self.config_reg
        if reg & PC_FORM:
            return reg >> 16 & 0xFF, reg >> 8 & 0xFF, reg & 0xFC | offset & 3
        register = reg & 0xF8 | offset & 7
        if reg & TYPE_1:
            return reg >> 16 & 0xFF, reg >> 8 & 0xFF, register
        slots = reg & 0x7FFF_F800
        if not slots:
            return None
        slot = (slots & -slots).bit_length() - 1
        return 0, slot << 3 | reg >> 8 & 7, register

    def map_registers(self, ram: AddressMap, at: int) -> None:
        """Put the address register at `at` and the data register where it belongs."""
        ram.map(self.address, at)
        ram.map(self.data, at + DATA_OFFSET)

    # --- UniNorth's own registers -----------------------------------------------------------------

    def own_region(self) -> Region:
        """Version, clocks, power: 4 KiB at 0xf8000000, big-endian words."""
        return Region("uninorth", 0x1000, self.read_own, self.write_own, widths=(4,))

    def read_own(self, offset: int, _size: int) -> int:
        if offset == VERSION:
            return REVISION
        if offset in KEPT:
            return self.registers[KEPT.index(offset)]
        self.note(f"read of unknown register {offset:#x}")
        return 0

    def write_own(self, offset: int, _size: int, value: int) -> None:
        if offset in KEPT:
            self.registers[KEPT.index(offset)] = value
        else:
            self.note(f"write to unknown or read-only register {offset:#x}")


def agp_host(clock: Clock) -> UniNorthHost:
    """The AGP bridge: an empty bus."""
    return UniNorthHost(clock, "pci.0", 0x0B, 0x0020)


def internal_host(clock: Clock) -> UniNorthHost:
    """The bridge of the internal bus: empty, since QEMU puts the cells of it on the main bus."""
    return UniNorthHost(clock, "pci.1", 0x0E, 0x001E)


def main_host(clock: Clock, ram: AddressMap, lines: list[IrqLine]) -> UniNorthHost:
    """The bridge of the bus with the devices; `lines` are the OpenPIC inputs `IRQ_PINS`."""
    host = UniNorthHost(clock, "pci.2", 0x0B, 0x001F, lines, ram)
    host.function.define(ADDRESS_SELECT, 4, 0x0100_0000, writable=0xFFFF_FFFF)
    host.function.reset()
    return host
