"""Power Macintosh G3 (Beige) as QEMU's `g3beige` builds it.

Sources: docs/chips/ of each part; addresses and interrupt numbers as QEMU 7.2 has them (facts
section 4, its `info mtree` and `info pic`).
"""

from __future__ import annotations

from typing import Final

from gossamer.base.units import MiB
from gossamer.core.irq import IrqLine
from gossamer.devices.grackle import IRQ_PINS, Grackle
from gossamer.devices.heathrow import Heathrow
from gossamer.devices.macio import MacIoOldWorld
from gossamer.devices.nvram import MacioNvram
from gossamer.devices.pci import PciBus
from gossamer.isa.interrupts import Irq
from gossamer.machines.config import Hardware
from gossamer.machines.devices_attach import add_display, add_network, add_usb, room
from gossamer.machines.kind import CPUS, MAC_PROPERTIES, MachineKind, Version
from gossamer.machines.mac_cells import (
    IDE_CELLS,
    add_adb_input,
    add_cuda,
    add_dbdma,
    add_escc,
    add_ide,
)
from gossamer.machines.mac_common import add_fw_cfg, add_rom
from gossamer.machines.machine import Machine
from gossamer.machines.nvram_image import nvram_image

CLOCK_HZ: Final = 266_000_000
BUS_HZ: Final = 66_000_000
ROM_BASE: Final = 0xFFC0_0000
ROM_SIZE: Final = 4 * MiB
MACHINE_ID: Final = 2
MACIO_SLOT: Final = 0x10
#: Heathrow inputs.
CUDA_IRQ, ESCC_B_IRQ, ESCC_A_IRQ = 0x12, 0x10, 0x0F


def g3beige(hardware: Hardware) -> Machine:
    """Compose the machine and load its firmware."""
    m = Machine(hardware, KIND, other_memory=room(hardware, KIND))
    m.ram(KIND.ram_block, hardware.ram_size, at=0)
    add_rom(m, "ppc_heathrow.bios", ROM_BASE, ROM_SIZE)

    pic = Heathrow(m.clock, IrqLine(m.cpu, Irq.EXTERNAL))
    bus = _add_bridge(m, pic)
    macio = MacIoOldWorld(m.clock, bus, MACIO_SLOT << 3)
    ide = add_dbdma(m, pic, macio)
    escc = add_escc(m, macio, IrqLine(pic, ESCC_A_IRQ), IrqLine(pic, ESCC_B_IRQ))
    m.add("macio/heathrow", pic)
    macio.add(0x00000, pic.region())
    adb = add_cuda(m, macio, IrqLine(pic, CUDA_IRQ))
    nvram = m.add("macio/nvram", MacioNvram(m.clock, nvram_image(hardware.prom_env)))
    macio.add(0x60000, nvram.region())
    add_ide(m, macio, ide)
    m.add("macio", macio)

    add_display(m, bus)
    add_network(m, bus)
    add_adb_input(m, adb)
    add_usb(m, bus)
    fw_cfg = add_fw_cfg(m, machine_id=MACHINE_ID, clock_hz=CLOCK_HZ, bus_hz=BUS_HZ)
    m.memory.faces.join(m.clock, (escc, pic, *ide.ide, ide.dbdma, fw_cfg), pic.out)
    return m


def _add_bridge(m: Machine, pic: Heathrow) -> PciBus:
    """Grackle; the bus with the devices."""
    grackle = m.add("pci", Grackle(m.clock, m.memory, [IrqLine(pic, n) for n in IRQ_PINS]))
    grackle.map_registers(m.memory)
    bus = m.add("pci/bus", grackle.bus)
    m.add("pci/grackle", grackle.function, idstr="")
    return bus


KIND: Final = MachineKind(
    name="g3beige",
    title="Power Macintosh G3 (Beige), Heathrow",
    compose=g3beige,
    versions=(
        Version("1.0", {("adb_mouse", "keeps_clicks"): False, ("cpu", "has_loaded_tlbs"): False}),
        Version("1.1"),
    ),
    cpus=CPUS,
    tb_hz=16_600_000,
    ram_block="ppc_heathrow.ram",
    ram_default=128 * MiB,
    # OpenBIOS 1.1 was seen to reach its prompt with 4 MiB.
    ram_least=4 * MiB,
    # As QEMU 7.2.
    ram_most=2047 * MiB,
    serials=2,
    firmware=True,
    boot="cd",
    ide=IDE_CELLS,
    cd_place=2,
    vga=("std", "none"),
    nic="ne2k_pci",
    usb=False,
    properties=MAC_PROPERTIES,
    pics=("macio/heathrow",),
    irq_names={
        0x02: "DMA of IDE 0",
        0x03: "DMA of IDE 1",
        0x0D: "IDE 0",
        0x0E: "IDE 1",
        ESCC_A_IRQ: "serial A",
        ESCC_B_IRQ: "serial B",
        CUDA_IRQ: "VIA (CUDA)",
        **dict.fromkeys(IRQ_PINS, "PCI"),
    },
)
