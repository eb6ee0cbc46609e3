"""Virtual I/O of a pseries: unit addresses, interrupt numbers, and the devices in their places.

Addresses, numbers and the order of sections as measured with QEMU 7.2; what a user's `reg` leads to
is its documentation's (docs/system/ppc/pseries).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.core.irq import IrqLine
from gossamer.devices.scsi.bus import ScsiBus
from gossamer.devices.spapr.calls import GuestRam
from gossamer.devices.spapr.fdt import Node
from gossamer.devices.spapr.llan import LogicalLan
from gossamer.devices.spapr.phb import LSIS
from gossamer.devices.spapr.tce import TceWindow
from gossamer.devices.spapr.vio import Nvram, Terminal, VioDevice
from gossamer.devices.spapr.vio_bus import WINDOW_BYTES, WINDOW_ENTRIES, DmaDevice, VioBus
from gossamer.devices.spapr.vscsi import VirtualScsi
from gossamer.devices.spapr.xics import Ics
from gossamer.machines.config import Added
from gossamer.machines.machine import Machine
from gossamer.machines.pseries_versions import FIRST_IRQ, Numbers

#: Unit addresses that the machine gives, from here on.
FIRST_REG: Final = 0x7100_0000
VIO_IRQ: Final = 0x1100
LIBVIRT_TERMINALS: Final = 0x3000_0000


def source_of(reg: int) -> int:
    """The interrupt of a unit address, where numbers are fixed."""
    if reg >= FIRST_REG:
        return VIO_IRQ | reg & 0xFF
    if reg >= LIBVIRT_TERMINALS:
        return VIO_IRQ | 0xF0 | reg >> 12 & 0xF
    return VIO_IRQ | reg >> 12 & 0xFF


class VioSlots:
    """The bus with what it takes to put a device on it."""

    def __init__(
        self, m: Machine, ics: Ics, ram: GuestRam, numbers: Numbers, bus: VioBus, nvram: Nvram
    ) -> None:
        self.m, self.ics, self.ram, self.numbers, self.bus = m, ics, ram, numbers, bus
        self.nvram = nvram

    @property
    def devices(self) -> list[VioDevice | Nvram]:
        """All that the tree has nodes of."""
        return [*self.bus.devices.values(), self.nvram]

    def _place(self, reg: int | None, where: str) -> tuple[int, int]:
        """A unit address and its interrupt, claimed."""
        taken = {*self.bus.devices, self.nvram.reg}
        if reg is None:
            reg = next(n for n in range(FIRST_REG, 1 << 32) if n not in taken)
        elif reg in taken:
            raise ConfigError(f"{where}: reg={reg:#x} is taken")
        if self.numbers.in_order:
            first = self.numbers.lsi + LSIS - FIRST_IRQ
            source = FIRST_IRQ + next(
                n for n in range(first, len(self.ics.irqs)) if not self.ics.irqs[n].flags
            )
        else:
            source = source_of(reg)
            if self.ics.source(source) is not None:
                raise ConfigError(f"{where}: reg={reg:#x}: its interrupt {source:#x} is taken")
        self.ics.claim(source)
        return reg, source

    def _window(self, reg: int) -> TceWindow:
        window = TceWindow(self.m.clock, reg, start=WINDOW_ENTRIES, main=False)
        return self.m.add(f"vio/dma@{reg:x}", window, instance=reg)

    def add_lan(self, added: Added, mac: bytes) -> LogicalLan:
        reg, source = self._place(added.optional("reg"), added.where)
        m, line = self.m, IrqLine(self.ics, source)
        card = LogicalLan(m.clock, reg, source, line, self._window(reg), self.ram, mac=mac)
        self.bus.add(card)
        return m.add(f"vio/l-lan@{reg:x}", card, known_as=_title(added, f"l-lan@{reg:x}"))

    def add_scsi(self, added: Added) -> VirtualScsi:
        reg, source = self._place(added.optional("reg"), added.where)
        m, line = self.m, IrqLine(self.ics, source)
        own = f"v-scsi@{reg:x}"
        name = f"{added.id or own}.0"
        chip = VirtualScsi(m.clock, reg, source, line, self._window(reg), self.ram, name=name)
        self.bus.add(chip)
        m.add(f"vio/{own}", chip, known_as=_title(added, own))
        m.scsi.append(chip.bus)
        return chip


def _title(added: Added, name: str) -> str:
    """As ``info qtree`` has it: a device without an id is called after its node."""
    return f'{added.driver}, id "{added.id or name}"'


def scsi_name(m: Machine, given: str) -> str:
    """What a new bus of a virtio adapter is called: after its id, or by its number."""
    if given:
        return f"{given}.0"
    return f"scsi.{sum(_is_counted(one) for one in m.scsi)}"


def _is_counted(bus: ScsiBus) -> bool:
    return bus.name.startswith("scsi.")


def add_nodes(vdevice: Node, devices: Sequence[VioDevice | Nvram]) -> None:
    """A node for each, in the order of their addresses."""
    for device in sorted(devices, key=lambda one: one.reg):
        name = _name(device)
        node = vdevice.add(f"{name}@{device.reg:x}")
        if isinstance(device, LogicalLan):
            node.set("ibm,mac-address-filters", 0)
            # Linux before 3.10 takes an address whose first byte it does not know for one of eight.
            known = device.mac[0] & 3 == 2
            node.set("local-mac-address", device.mac if known else bytes(2) + device.mac)
        elif isinstance(device, VirtualScsi):
            node.set("#size-cells", 0)
            node.set("#address-cells", 2)
        elif isinstance(device, Nvram):
            node.set("#bytes", len(device.buf))
        if isinstance(device, DmaDevice):
            node.set("ibm,my-dma-window", [device.window.liobn, 0, 0, 0, WINDOW_BYTES])
            node.set("ibm,#dma-size-cells", 2)
            node.set("ibm,#dma-address-cells", 2)
        kind, compatible = _KINDS[name]
        node.set("interrupts", [device.source, 0])
        node.set("compatible", compatible)
        node.set("device_type", kind)
        node.set("reg", device.reg)


_KINDS: Final = {
    "vty": ("serial", "hvterm1"),
    "nvram": ("nvram", "qemu,spapr-nvram"),
    "l-lan": ("network", "IBM,l-lan"),
    "v-scsi": ("vscsi", "IBM,v-scsi"),
}


def _name(device: VioDevice | Nvram) -> str:
    if isinstance(device, Terminal):
        return "vty"
    if isinstance(device, LogicalLan):
        return "l-lan"
    return "v-scsi" if isinstance(device, VirtualScsi) else "nvram"
