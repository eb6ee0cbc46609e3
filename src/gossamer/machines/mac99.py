"""Power Macintosh of the Core99 family as QEMU's `mac99` builds it.

Sources: docs/chips/ of each part; addresses and interrupt numbers as QEMU 7.2 has them (facts
sections 4 and 5, its `info mtree`, the device tree that OpenBIOS makes).
"""

from __future__ import annotations

from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.base.units import MiB
from gossamer.core.irq import IrqLine
from gossamer.devices import uninorth
from gossamer.devices.adb import AdbBus
from gossamer.devices.adb_keyboard import AdbKeyboard
from gossamer.devices.adb_mouse import AdbMouse
from gossamer.devices.cuda import Cuda
from gossamer.devices.dbdma import Dbdma
from gossamer.devices.escc import Escc
from gossamer.devices.gpio import OFFSET as GPIO_OFFSET
from gossamer.devices.gpio import PMU_PIN, Gpio
from gossamer.devices.ide import MacioIde
from gossamer.devices.keylargo import KeyLargo
from gossamer.devices.nvram import MacioNvram
from gossamer.devices.openpic import OpenPic
from gossamer.devices.pci import PciBus
from gossamer.devices.pmu import Pmu
from gossamer.devices.via import Via
from gossamer.isa.body import Irq
from gossamer.machines import boot, builtin, firmware
from gossamer.machines.config import Config
from gossamer.machines.device_options import built_in
from gossamer.machines.devices_attach import (
    add_display,
    add_network,
    add_usb,
    add_usb_device,
    free_slot,
    room,
)
from gossamer.machines.mac_common import add_fw_cfg
from gossamer.machines.machine import Machine
from gossamer.machines.nvram_image import nvram_image
from gossamer.machines.serial import EsccPort

TB_HZ: Final = 100_000_000
CLOCK_HZ: Final = 900_000_000
BUS_HZ: Final = 100_000_000
ROM_BASE: Final = 0xFFF0_0000
ROM_SIZE: Final = 1 * MiB
NVRAM_BASE: Final = 0xFFF0_4000
MACHINE_ID: Final = 1
VIAS: Final = ("cuda", "pmu", "pmu-adb")
#: OpenPIC inputs.
IDE0_IRQ, IDE1_IRQ = 0x0D, 0x0E
IDE0_DMA_IRQ, IDE1_DMA_IRQ = 0x02, 0x03
GPIO1_IRQ = 0x2F
VIA_IRQ, ESCC_B_IRQ, ESCC_A_IRQ = 0x19, 0x24, 0x25
#: DBDMA channels.
IDE0_DMA, IDE1_DMA = 0x16, 0x1A


def mac99(config: Config) -> Machine:
    """Compose the machine and load its firmware."""
    if config.cpu not in config.model.cpus:
        raise ConfigError(f"mac99 has the CPUs {', '.join(config.model.cpus)}, got {config.cpu}")
    via = config.properties.get("via", "cuda")
    m = Machine(config, tb_hz=TB_HZ, other_memory=room(config))
    m.ram("ppc_core99.ram", config.ram_size, at=0)
    if config.bios == builtin.NAME:
        rom = builtin.rom("mac99", TB_HZ, ROM_SIZE)
    else:
        file = firmware.find_firmware(config.bios, config.firmware_folders)
        rom = firmware.load_image(file, ROM_BASE, ROM_SIZE)
    m.rom("ppc_core99.bios", ROM_SIZE, rom, at=ROM_BASE)

    pic = OpenPic(m.clock, IrqLine(m.cpu, Irq.EXTERNAL))
    bus = _add_bridges(m, pic)
    macio = KeyLargo(m.clock, bus, free_slot(bus))
    _add_cells(m, pic, macio)
    adb = _add_cuda(m, pic, macio) if via == "cuda" else _add_pmu(m, pic, macio, via)
    m.add("macio", macio)
    if adb is not None:
        m.keyboard = m.add("macio/adb/keyboard", AdbKeyboard(m.clock, adb))
        m.mouse = m.add("macio/adb/mouse", AdbMouse(m.clock, adb))
    usb = add_usb(m, bus)
    if usb is not None and adb is None:
        for driver in ("usb-kbd", "usb-mouse"):
            add_usb_device(m, usb, built_in(config, driver))
    add_display(m, bus)
    add_network(m, bus)
    nvram = m.add("nvram", MacioNvram(m.clock, nvram_image(config.prom_env), stride=2))
    m.memory.map(nvram.region(), NVRAM_BASE, priority=1)  # over the ROM
    add_fw_cfg(
        m,
        config,
        machine_id=MACHINE_ID,
        tb_hz=TB_HZ,
        clock_hz=CLOCK_HZ,
        bus_hz=BUS_HZ,
        nvram_address=NVRAM_BASE,
        via=VIAS.index(via),
    )
    return m


def _add_bridges(m: Machine, pic: OpenPic) -> PciBus:
    """UniNorth's three bridges; the bus with the devices."""
    main = uninorth.main_host(m.clock, m.memory, [IrqLine(pic, n) for n in uninorth.IRQ_PINS])
    for n, (name, host, at) in enumerate(
        (
            ("agp", uninorth.agp_host(m.clock), uninorth.AGP_CONFIG),
            ("internal", uninorth.internal_host(m.clock), uninorth.INTERNAL_CONFIG),
            ("pci", main, uninorth.MAIN_CONFIG),
        )
    ):
        host.map_registers(m.memory, at)
        m.add(name, host, instance=n)
        m.add(f"{name}/bus", host.bus, instance=n)
        m.add(f"{name}/uninorth", host.function, idstr="")
    m.map(main.own_region(), at=uninorth.REGISTERS)
    return main.bus


def _add_cells(m: Machine, pic: OpenPic, macio: KeyLargo) -> None:
    """DBDMA, ESCC, OpenPIC and IDE."""
    ide0 = MacioIde(m.clock, irq=IrqLine(pic, IDE0_IRQ), dma_irq=IrqLine(pic, IDE0_DMA_IRQ))
    ide1 = MacioIde(m.clock, irq=IrqLine(pic, IDE1_IRQ), dma_irq=IrqLine(pic, IDE1_DMA_IRQ))
    dma_lines = {IDE0_DMA: IrqLine(ide0, 0), IDE1_DMA: IrqLine(ide1, 0)}
    dbdma = m.add("macio/dbdma", Dbdma(m.clock, m.memory, dma_lines))
    escc = m.add("macio/escc", Escc(m.clock, IrqLine(pic, ESCC_A_IRQ), IrqLine(pic, ESCC_B_IRQ)))
    m.add("macio/openpic", pic)
    for n, (ide, number) in enumerate(((ide0, IDE0_DMA), (ide1, IDE1_DMA))):
        m.add(f"macio/ide{n}", ide, instance=n)
        ide.attach_dma(dbdma.connect(number, ide))
    for offset, region in (
        (0x08000, dbdma.region()),
        (0x12000, escc.legacy_region()),
        (0x13000, escc.region()),
        (0x20000, ide0.region),
        (0x21000, ide1.region),
        (0x40000, pic.region()),
    ):
        macio.add(offset, region)
    m.serials += [EsccPort(escc.a), EsccPort(escc.b)]


def _add_cuda(m: Machine, pic: OpenPic, macio: KeyLargo) -> AdbBus:
    """Cuda with its 6522 and ADB."""
    via = m.add("macio/via", Via(m.clock, IrqLine(pic, VIA_IRQ)))
    adb = AdbBus(m.clock)
    cuda = m.add("macio/cuda", Cuda(m.clock, via, adb, rtc=boot.mac_seconds(m.config)))
    cuda.power_off, cuda.system_reset = (lambda: m.power_off()), (lambda: m.system_reset())
    m.add("macio/adb", adb)
    macio.add(0x16000, cuda.region())
    return adb


def _add_pmu(m: Machine, pic: OpenPic, macio: KeyLargo, kind: str) -> AdbBus | None:
    """The PMU with its 6522 and interrupt pin; its ADB when it has one."""
    gpio = m.add("macio/gpio", Gpio(m.clock, {PMU_PIN: IrqLine(pic, GPIO1_IRQ)}))
    via = m.add("macio/via", Via(m.clock, IrqLine(pic, VIA_IRQ)))
    adb = AdbBus(m.clock) if kind == "pmu-adb" else None
    pmu = m.add(
        "macio/pmu",
        Pmu(m.clock, via, IrqLine(gpio, PMU_PIN), adb=adb, rtc=boot.mac_seconds(m.config)),
    )
    pmu.power_off, pmu.system_reset = (lambda: m.power_off()), (lambda: m.system_reset())
    if adb is not None:
        m.add("macio/adb", adb)
    macio.add(GPIO_OFFSET, gpio.region())
    macio.add(0x16000, pmu.region())
    return adb
