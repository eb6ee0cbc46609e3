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
from gossamer.isa.body import Irq
from gossamer.machines.config import Config
from gossamer.machines.devices_attach import add_display, add_network, add_usb, room
from gossamer.machines.mac_cells import add_adb_input, add_cuda, add_dbdma, add_escc, add_ide
from gossamer.machines.mac_common import add_fw_cfg, add_rom
from gossamer.machines.machine import Machine
from gossamer.machines.nvram_image import nvram_image

TB_HZ: Final = 16_600_000
CLOCK_HZ: Final = 266_000_000
BUS_HZ: Final = 66_000_000
ROM_BASE: Final = 0xFFC0_0000
ROM_SIZE: Final = 4 * MiB
MACHINE_ID: Final = 2
MACIO_SLOT: Final = 0x10
#: Heathrow inputs.
CUDA_IRQ, ESCC_B_IRQ, ESCC_A_IRQ = 0x12, 0x10, 0x0F


def g3beige(config: Config) -> Machine:
    """Compose the machine and load its firmware."""
    m = Machine(config, tb_hz=TB_HZ, other_memory=room(config))
    m.ram("ppc_heathrow.ram", config.ram_size, at=0)
    add_rom(m, "ppc_heathrow.bios", ROM_BASE, ROM_SIZE)

    pic = Heathrow(m.clock, IrqLine(m.cpu, Irq.EXTERNAL))
    bus = _add_bridge(m, pic)
    macio = MacIoOldWorld(m.clock, bus, MACIO_SLOT << 3)
    ide = add_dbdma(m, pic, macio)
    add_escc(m, macio, IrqLine(pic, ESCC_A_IRQ), IrqLine(pic, ESCC_B_IRQ))
    m.add("macio/heathrow", pic)
    macio.add(0x00000, pic.region())
    adb = add_cuda(m, macio, IrqLine(pic, CUDA_IRQ))
    nvram = m.add("macio/nvram", MacioNvram(m.clock, nvram_image(config.prom_env)))
    macio.add(0x60000, nvram.region())
    add_ide(m, macio, ide)
    m.add("macio", macio)

    add_display(m, bus)
    add_network(m, bus)
    add_adb_input(m, adb)
    add_usb(m, bus)
    add_fw_cfg(m, config, machine_id=MACHINE_ID, tb_hz=TB_HZ, clock_hz=CLOCK_HZ, bus_hz=BUS_HZ)
    return m


def _add_bridge(m: Machine, pic: Heathrow) -> PciBus:
    """Grackle; the bus with the devices."""
    grackle = m.add("pci", Grackle(m.clock, m.memory, [IrqLine(pic, n) for n in IRQ_PINS]))
    grackle.map_registers(m.memory)
    bus = m.add("pci/bus", grackle.bus)
    m.add("pci/grackle", grackle.function, idstr="")
    return bus
