"""Motorola MPC106 "Grackle": the host bridge of the Power Macintosh G3 (Beige).

Source: MPC106 PCI Bridge/Memory Controller User's Manual, chapters 3 (address maps) and 7; what
QEMU 7.2 shows of it: docs/chips/grackle.md.
"""

from __future__ import annotations

from typing import Final

from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.core.memory import AddressMap
from gossamer.devices.pci import CONFIG_SIZE, PciBus, PciDevice, PciHost, Window
from gossamer.state.codec import Buffer
from gossamer.state.declare import wiring
from gossamer.state.layout import View, subsection

CONFIG_ADDRESS: Final = 0xFEC0_0000
CONFIG_DATA: Final = 0xFEE0_0000
MEMORY_BASE: Final = 0x8000_0000
MEMORY_SIZE: Final = 0x7E00_0000
IO_BASE: Final = 0xFE00_0000
IO_SIZE: Final = 0x20_0000
IRQ_PINS: Final = (0x15, 0x16, 0x17, 0x18)
"""The Heathrow inputs of the bus's four lines."""


class GrackleFunction(PciDevice):
    """The bridge itself, function 0 of slot 0.  Its registers are plain storage, as QEMU's are.

    QEMU sends no section for it, so neither do we: its configuration space goes with `Grackle`.
    """

    def __init__(self, clock: Clock, bus: PciBus) -> None:
        super().__init__(clock, bus, 0, vendor=0x1057, device=0x0002, class_code=0x06_00_01)
        self.idstr = ""
        self.reset()


class Grackle(PciHost):
    """The bridge's configuration registers; it makes the bus behind it and its own function.

    Memory space is seen one to one at 0x80000000..0xfdffffff, I/O space (2 MiB) at 0xfe000000.
    `lines` are the bus's four interrupt lines: Heathrow inputs `IRQ_PINS`.
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
            )
        ],
    )
    function: GrackleFunction = wiring()

    def __init__(
        self, clock: Clock, ram: AddressMap, lines: list[IrqLine], name: str = "pci.0"
    ) -> None:
        bus = PciBus(
            clock,
            name,
            lines,
            memory=Window(ram, MEMORY_BASE, MEMORY_SIZE, MEMORY_BASE),
            io=Window(ram, 0, IO_SIZE, IO_BASE),
        )
        self.function = GrackleFunction(clock, bus)
        super().__init__(clock, bus)

    @bridge.needed
    def bridge_needed(self) -> bool:
        return self.function.config != self.function.power_on

    def reset(self) -> None:
        super().reset()
        self.function.reset()

    def map_registers(self, ram: AddressMap) -> None:
        """Put the address and data registers where the G3 has them."""
        ram.map(self.address, CONFIG_ADDRESS)
        ram.map(self.data, CONFIG_DATA)
