"""Power Macintosh G3 (Beige) as QEMU's `g3beige` builds it.

Sources: docs/chips/ of each part; addresses and interrupt numbers as QEMU 7.2 has them (facts
section 4, its `info mtree` and `info pic`).
"""

from __future__ import annotations

from typing import Final

from gossamer.base.units import MiB
from gossamer.core.irq import IrqLine
from gossamer.devices.adb import AdbBus
from gossamer.devices.adb_keyboard import AdbKeyboard
from gossamer.devices.adb_mouse import AdbMouse
from gossamer.devices.cuda import Cuda
from gossamer.devices.dbdma import Dbdma
from gossamer.devices.escc import Escc
from gossamer.devices.grackle import IRQ_PINS, Grackle
from gossamer.devices.heathrow import Heathrow
from gossamer.devices.ide import MacioIde
from gossamer.devices.macio import MacIoOldWorld
from gossamer.devices.nvram import MacioNvram
from gossamer.devices.via import Via
from gossamer.isa.body import Irq
from gossamer.machines import boot, builtin, firmware
from gossamer.machines.config import Config
from gossamer.machines.devices_attach import add_display, add_network, add_usb, room
from gossamer.machines.mac_common import add_fw_cfg
from gossamer.machines.machine import Machine
from gossamer.machines.nvram_image import nvram_image
from gossamer.machines.serial import EsccPort

TB_HZ: Final = 16_600_000
CLOCK_HZ: Final = 266_000_000
BUS_HZ: Final = 66_000_000
ROM_BASE: Final = 0xFFC0_0000
ROM_SIZE: Final = 4 * MiB
MACHINE_ID: Final = 2
#: Heathrow inputs.
IDE0_IRQ, IDE1_IRQ = 0x0D, 0x0E
IDE0_DMA_IRQ, IDE1_DMA_IRQ = 0x02, 0x03
#: DBDMA channels.
IDE0_DMA, IDE1_DMA = 0x16, 0x1A
CUDA_IRQ, ESCC_B_IRQ, ESCC_A_IRQ = 0x12, 0x10, 0x0F


def g3beige(config: Config) -> Machine:
    """Compose the machine and load its firmware."""
    m = Machine(config, tb_hz=TB_HZ, other_memory=room(config))
    m.ram("ppc_heathrow.ram", config.ram_size, at=0)
    if config.bios == builtin.NAME:
        rom = builtin.rom("g3beige", TB_HZ, ROM_SIZE)
    else:
        file = firmware.find_firmware(config.bios, config.firmware_folders)
        rom = firmware.load_image(file, ROM_BASE, ROM_SIZE)
    m.rom("ppc_heathrow.bios", ROM_SIZE, rom, at=ROM_BASE)

    pic = Heathrow(m.clock, IrqLine(m.cpu, Irq.EXTERNAL))

    def pin(n: int) -> IrqLine:
        return IrqLine(pic, n)

    grackle = m.add("pci", Grackle(m.clock, m.memory, [pin(n) for n in IRQ_PINS]))
    grackle.map_registers(m.memory)
    bus = m.add("pci/bus", grackle.bus)
    m.add("pci/grackle", grackle.function, idstr="")
    ide0 = MacioIde(m.clock, irq=pin(IDE0_IRQ), dma_irq=pin(IDE0_DMA_IRQ))
    ide1 = MacioIde(m.clock, irq=pin(IDE1_IRQ), dma_irq=pin(IDE1_DMA_IRQ))
    dma_lines = {IDE0_DMA: IrqLine(ide0, 0), IDE1_DMA: IrqLine(ide1, 0)}
    dbdma = m.add("macio/dbdma", Dbdma(m.clock, m.memory, dma_lines))
    escc = m.add("macio/escc", Escc(m.clock, pin(ESCC_A_IRQ), pin(ESCC_B_IRQ)))
    m.add("macio/heathrow", pic)
    via = m.add("macio/via", Via(m.clock, pin(CUDA_IRQ)))
    adb = AdbBus(m.clock)
    cuda = m.add("macio/cuda", Cuda(m.clock, via, adb, rtc=boot.mac_seconds(config)))
    cuda.power_off, cuda.system_reset = (lambda: m.power_off()), (lambda: m.system_reset())
    m.add("macio/adb", adb)
    nvram = m.add("macio/nvram", MacioNvram(m.clock, nvram_image(config.prom_env)))
    for n, (ide, number) in enumerate(((ide0, IDE0_DMA), (ide1, IDE1_DMA))):
        m.add(f"macio/ide{n}", ide, instance=n)
        ide.attach_dma(dbdma.connect(number, ide))

    macio = m.add("macio", MacIoOldWorld(m.clock, bus, 0x10 << 3))
    for offset, region in (
        (0x00000, pic.region()),
        (0x08000, dbdma.region()),
        (0x12000, escc.legacy_region()),
        (0x13000, escc.region()),
        (0x16000, cuda.region()),
        (0x20000, ide0.region),
        (0x21000, ide1.region),
        (0x60000, nvram.region()),
    ):
        macio.add(offset, region)

    add_display(m, bus)
    add_network(m, bus)
    m.keyboard = m.add("macio/adb/keyboard", AdbKeyboard(m.clock, adb))
    m.mouse = m.add("macio/adb/mouse", AdbMouse(m.clock, adb))
    add_usb(m, bus)

    add_fw_cfg(m, config, machine_id=MACHINE_ID, tb_hz=TB_HZ, clock_hz=CLOCK_HZ, bus_hz=BUS_HZ)
    m.serials += [EsccPort(escc.a), EsccPort(escc.b)]
    return m
