"""Power Macintosh of the Core99 family as QEMU's `mac99` builds it.

Sources: docs/chips/ of each part; addresses and interrupt numbers as QEMU 7.2 has them (facts
sections 4 and 5, its `info mtree`, the device tree that OpenBIOS makes).
"""

from __future__ import annotations

from typing import Final

from gossamer.base.units import MiB
from gossamer.core.irq import IrqLine
from gossamer.devices import uninorth
from gossamer.devices.adb.bus import AdbBus
from gossamer.devices.gpio import OFFSET as GPIO_OFFSET
from gossamer.devices.gpio import PMU_PIN, Gpio
from gossamer.devices.keylargo import KeyLargo
from gossamer.devices.nvram import MacioNvram
from gossamer.devices.openpic import OpenPic
from gossamer.devices.pci import PciBus
from gossamer.devices.pmu import Pmu
from gossamer.devices.via import Via
from gossamer.isa.interrupts import Irq
from gossamer.machines import boot
from gossamer.machines.config import Hardware
from gossamer.machines.device_options import built_in
from gossamer.machines.devices_attach import (
    add_display,
    add_network,
    add_usb,
    free_slot,
    room,
)
from gossamer.machines.kind import CPUS, MAC_PROPERTIES, MachineKind, Version
from gossamer.machines.mac_cells import (
    IDE_CELLS,
    VIA_AT,
    add_adb_input,
    add_cuda,
    add_dbdma,
    add_escc,
    add_ide,
    use_power_switch,
)
from gossamer.machines.mac_common import add_fw_cfg, add_rom
from gossamer.machines.machine import Machine
from gossamer.machines.nvram_image import nvram_image
from gossamer.machines.usb_attach import add_usb_device

CLOCK_HZ: Final = 900_000_000
BUS_HZ: Final = 100_000_000
ROM_BASE: Final = 0xFFF0_0000
ROM_SIZE: Final = 1 * MiB
NVRAM_BASE: Final = 0xFFF0_4000
MACHINE_ID: Final = 1
VIAS: Final = ("cuda", "pmu", "pmu-adb")
#: Hz: QEMU's up to 8.2, and from 9.0 on (a real G4's).
TIMEBASES: Final = (100_000_000, 25_000_000)
#: OpenPIC inputs.
GPIO1_IRQ = 0x2F
VIA_IRQ, ESCC_B_IRQ, ESCC_A_IRQ = 0x19, 0x24, 0x25


def mac99(hardware: Hardware) -> Machine:
    """Compose the machine and load its firmware."""
    via = hardware.properties.get("via", "cuda")
    tb_hz = int(hardware.properties.get("timebase", KIND.tb_hz))
    m = Machine(hardware, KIND, other_memory=room(hardware, KIND), tb_hz=tb_hz)
    m.ram(KIND.ram_block, hardware.ram_size, at=0)
    add_rom(m, "ppc_core99.bios", ROM_BASE, ROM_SIZE)

    pic = OpenPic(m.clock, IrqLine(m.cpu, Irq.EXTERNAL))
    bus = _add_bridges(m, pic)
    macio = KeyLargo(m.clock, bus, free_slot(bus))
    ide = add_dbdma(m, pic, macio)
    escc = add_escc(m, macio, IrqLine(pic, ESCC_A_IRQ), IrqLine(pic, ESCC_B_IRQ))
    m.add("macio/openpic", pic)
    macio.add(0x40000, pic.region())
    add_ide(m, macio, ide)
    adb = (
        add_cuda(m, macio, IrqLine(pic, VIA_IRQ)) if via == "cuda" else _add_pmu(m, pic, macio, via)
    )
    m.add("macio", macio)

    if adb is not None:
        add_adb_input(m, adb)
    usb = add_usb(m, bus)
    if usb is not None and adb is None:
        for driver in ("usb-kbd", "usb-mouse"):
            add_usb_device(m, usb, built_in(hardware, driver))
    add_display(m, bus)
    add_network(m, bus)
    nvram = m.add("nvram", MacioNvram(m.clock, nvram_image(hardware.prom_env), stride=2))
    m.memory.map(nvram.region(), NVRAM_BASE, priority=1)  # over the ROM
    fw_cfg = add_fw_cfg(
        m,
        machine_id=MACHINE_ID,
        clock_hz=CLOCK_HZ,
        bus_hz=BUS_HZ,
        nvram_address=NVRAM_BASE,
        via=VIAS.index(via),
    )
    m.memory.faces.join(m.clock, (escc, pic, *ide.ide, ide.dbdma, fw_cfg), pic.out)
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


def _add_pmu(m: Machine, pic: OpenPic, macio: KeyLargo, kind: str) -> AdbBus | None:
    """The PMU with its 6522 and interrupt pin; its ADB when it has one."""
    gpio = m.add("macio/gpio", Gpio(m.clock, {PMU_PIN: IrqLine(pic, GPIO1_IRQ)}))
    via = m.add("macio/via", Via(m.clock, IrqLine(pic, VIA_IRQ)))
    adb = AdbBus(m.clock) if kind == "pmu-adb" else None
    pmu = m.add(
        "macio/pmu",
        Pmu(m.clock, via, IrqLine(gpio, PMU_PIN), adb=adb, rtc=boot.mac_seconds(m.hardware)),
    )
    use_power_switch(m, pmu)
    if adb is not None:
        m.add("macio/adb", adb)
    macio.add(GPIO_OFFSET, gpio.region())
    macio.add(VIA_AT, pmu.region())
    return adb


KIND: Final = MachineKind(
    name="mac99",
    title="Power Macintosh (Core99, as QEMU's mac99), KeyLargo and UniNorth",
    compose=mac99,
    versions=(
        Version("1.0", {("adb_mouse", "keeps_clicks"): False, ("cpu", "has_loaded_tlbs"): False}),
        Version("1.1", {("cpu", "sends_rate"): False}),
        Version("1.2", {("cpu", "sends_rate"): True}, released=False),
    ),
    cpus=("7400", *(c for c in CPUS if c != "7400")),
    tb_hz=TIMEBASES[0],
    ram_block="ppc_core99.ram",
    ram_default=128 * MiB,
    ram_least=4 * MiB,
    # As QEMU 7.2: PCI memory begins at 2 GiB.
    ram_most=2048 * MiB,
    serials=2,
    firmware=True,
    boot="cd",
    ide=IDE_CELLS,
    cd_place=2,
    vga=("std", "none"),
    nic="sungem",
    usb=True,
    properties={"via": VIAS, "timebase": tuple(map(str, TIMEBASES)), **MAC_PROPERTIES},
    pics=("macio/openpic",),
)
