"""The PCI host bridge of a pseries, and what stands behind it.

Source: LoPAR chapter 7; addresses, numbers and order of sections as measured with QEMU 7.2.
"""

from __future__ import annotations

from typing import Final

from gossamer.core.irq import IrqLine
from gossamer.devices.pci import PciBus, PciDevice, Window
from gossamer.devices.spapr.calls import GuestRam
from gossamer.devices.spapr.phb import IO_SIZE, LSIS, MEM_BUS, WINDOW, WINDOW_ENTRIES, Phb
from gossamer.devices.spapr.spapr import Spapr
from gossamer.devices.spapr.tce import TceWindow, TranslatedRam
from gossamer.devices.spapr.xics import Ics
from gossamer.machines.config import Hardware
from gossamer.machines.devices_attach import PCI_BUS
from gossamer.machines.drives import VIRTIO_NIC
from gossamer.machines.machine import Machine
from gossamer.machines.pseries_versions import Era

#: What QEMU puts before the names of sections and of blocks of memory.
ROM_SIZE: Final = 0x4_0000
PREFIX: Final = "pci@800000020000000"


def add_bridge(m: Machine, ics: Ics, spapr: Spapr, ram: GuestRam, age: Era) -> Phb:
    """The bridge with its DMA windows, and its bus, which is empty."""
    clock, places = m.clock, age.places
    windows = [m.add("phb/dma0", TceWindow(clock, WINDOW, start=WINDOW_ENTRIES), instance=WINDOW)]
    if age.dma_page_shift:
        windows.append(m.add("phb/dma1", TceWindow(clock, WINDOW + 1), instance=WINDOW + 1))
    first = age.numbers.lsi
    bus = PciBus(
        clock,
        PREFIX,
        [IrqLine(ics, first + n) for n in range(LSIS)],
        memory=Window(m.memory, MEM_BUS, places.memory_size, places.memory),
        io=Window(m.memory, 0, IO_SIZE, places.io),
    )
    if places.memory64_size:
        bus.memory64 = Window(m.memory, places.bus64, places.memory64_size, places.memory64)
    dma = bus.dma = TranslatedRam(windows, ram)
    msi = age.numbers.msi
    phb = Phb(clock, bus, ics, spapr, windows, dma, first_lsi=first, first_msi=msi, places=places)
    m.add("phb", phb)
    m.add(PCI_BUS, bus)
    for n in range(LSIS):
        ics.claim(first + n, level=True)
    return phb


def roms(hardware: Hardware) -> int:
    """Bytes of option ROMs that the machine's devices have."""
    cards = (*hardware.devices, *hardware.nics)
    return sum(ROM_SIZE for one in cards if one.driver == VIRTIO_NIC)


def functions(m: Machine) -> list[tuple[PciDevice, str]]:
    """The functions behind the bridge, each with QEMU's name of its kind."""
    found = []
    for part in m.parts:
        if isinstance(part.device, PciDevice):
            found.append((part.device, part.known_as.partition(",")[0]))
    return found
