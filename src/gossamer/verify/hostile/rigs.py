"""Chips alone: each with its clock, its memory and pins that are listened to, and no CPU.

A rig is made in an address map that outlives it, so that a chip can be thrown away and made anew
while memory stays what it was.  Chips lie where they lie in the machine that the layout is of.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from gossamer.base.units import KiB, MiB
from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.core.irq import IrqLine
from gossamer.core.memory import AddressMap, Arena, RamBlock
from gossamer.core.region import Region
from gossamer.core.trace import Trace
from gossamer.devices import grackle, uninorth
from gossamer.devices.adb.bus import AdbBus
from gossamer.devices.adb.keyboard import AdbKeyboard
from gossamer.devices.adb.mouse import AdbMouse
from gossamer.devices.cuda import Cuda
from gossamer.devices.dbdma import Dbdma
from gossamer.devices.escc import Escc
from gossamer.devices.fwcfg import FwCfg
from gossamer.devices.gpio import PMU_PIN, Gpio
from gossamer.devices.heathrow import Heathrow
from gossamer.devices.ide.cell import MacioIde
from gossamer.devices.ide.drive import CDROM, DISK
from gossamer.devices.keylargo import KeyLargo
from gossamer.devices.m48t59 import M48t59
from gossamer.devices.ne2000 import Ne2000
from gossamer.devices.nvram import MacioNvram
from gossamer.devices.opb_405ep import Opb405ep
from gossamer.devices.openpic import OpenPic
from gossamer.devices.pci import PciBus
from gossamer.devices.pmu import Pmu
from gossamer.devices.sungem import SunGem
from gossamer.devices.uart16550 import Uart16550
from gossamer.devices.usb.hid import UsbKeyboard, UsbMouse
from gossamer.devices.usb.ohci import Ohci
from gossamer.devices.usb.tablet import UsbTablet
from gossamer.devices.vga.card import Vga
from gossamer.devices.via import Via
from gossamer.machines.machine import Part
from gossamer.machines.ref405ep import SYSTEM_HZ
from gossamer.verify.hostile.layout import Layout

RAM_SIZE, VIDEO_SIZE, ROM_SIZE = 1 * MiB, 16 * MiB, 64 * KiB
DISK_SIZE: Final = 1 * MiB
MAC: Final = b"\x52\x54\x00\x12\x34\x56"


class Medium:
    """A disk in memory."""

    def __init__(self, size: int, *, read_only: bool = False) -> None:
        self.size, self.read_only = size, read_only
        self.content = bytearray(range(256)) * (size // 256)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.content[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        self.content[offset : offset + len(data)] = data

    def flush(self) -> None:
        """It is in memory."""


class Surroundings:
    """What stays when a chip is made anew: memory, media, and what has been seen of its pins."""

    def __init__(self) -> None:
        self.arena = Arena(RAM_SIZE + VIDEO_SIZE + 2 * ROM_SIZE + 256 * KiB)
        self.memory = AddressMap(self.arena, Trace())
        self.ram = self.arena.add("ram", RAM_SIZE)
        self.video = self.arena.add("video", VIDEO_SIZE)
        self.roms = [self.arena.add(f"rom{n}", ROM_SIZE, read_only=True) for n in range(2)]
        self.card_rom = self.arena.add("card", 256 * KiB, read_only=True)
        self.memory.map(self.ram, 0)
        self.disk, self.disc = Medium(DISK_SIZE), Medium(DISK_SIZE, read_only=True)
        #: (ns, what, value): levels of pins, bytes and frames sent.
        self.seen: list[tuple[int, object, object]] = []

    def clear(self) -> None:
        """Take everything but RAM out of the map."""
        for mapping in list(self.memory._mappings):
            if mapping.target is not self.ram:
                self.memory.unmap(mapping)


class Rig:
    """A chip, or a few that only work together, in their surroundings."""

    def __init__(self, layout: Layout, around: Surroundings) -> None:
        self.layout, self.around = layout, around
        self.clock = Clock()
        self.memory = around.memory
        self.parts: list[Part] = []
        self._named = 0

    # --- what chips are connected to --------------------------------------------------------------

    def line(self, pin: int) -> IrqLine:
        """A line into nothing but our ears."""
        return IrqLine(self, pin)

    def input_changed(self, pin: int, level: bool) -> None:
        self.note(pin, level)

    def input_assigned(self, pin: int, level: bool) -> None:
        """After a load: no edge."""

    def note(self, what: object, value: object) -> None:
        self.around.seen.append((int(self.clock.now), what, value))

    def add(self, path: str, device: Device, *regions: tuple[Region, int]) -> None:
        """Put a chip in its place, with its regions at their addresses."""
        device.path, device.trace = path, self.memory.trace
        for n, alarm in enumerate(self.clock.alarms[self._named :]):
            alarm.key = (path, f"{n:02}")
        self._named = len(self.clock.alarms)
        self.parts.append(Part(path, device, device.idstr or path, 0))
        for region, at in regions:
            self.memory.map(region, at)

    def at(self, name: str, n: int = 0) -> int:
        return self.layout.at(name, n)


# --- rigs -----------------------------------------------------------------------------------------


def _ide(r: Rig, *, true_rate: bool) -> None:
    cells = [MacioIde(r.clock, irq=r.line(n), dma_irq=r.line(n + 2)) for n in range(2)]
    channels = (0x16, 0x1A)
    lines = {n: IrqLine(cell, 0) for n, cell in zip(channels, cells, strict=True)}
    dbdma = Dbdma(r.clock, r.memory, lines)
    r.add("dbdma", dbdma, (dbdma.region(), r.at("dbdma")))
    for n, (cell, channel) in enumerate(zip(cells, channels, strict=True)):
        r.add(f"ide{n}", cell, (cell.region, r.at("pmac-ide", n)))
        cell.set_true_rate(true_rate)
        cell.attach_dma(dbdma.connect(channel, cell))
    cells[0].attach(0, DISK, r.around.disk)
    cells[0].attach(1, CDROM, None)
    cells[1].attach(0, CDROM, r.around.disc)


def _adb_devices(r: Rig, adb: AdbBus) -> None:
    r.add("adb/keyboard", AdbKeyboard(r.clock, adb))
    r.add("adb/mouse", AdbMouse(r.clock, adb))


def _cuda(r: Rig) -> None:
    via = Via(r.clock, r.line(0))
    r.add("via", via)
    adb = AdbBus(r.clock)
    cuda = Cuda(r.clock, via, adb, rtc=3_000_000_000)
    cuda.power_off = lambda: r.note("power", "off")
    cuda.system_reset = lambda: r.note("power", "reset")
    r.add("cuda", cuda, (cuda.region(), r.at("via")))
    r.add("adb", adb)
    _adb_devices(r, adb)


def _pmu(r: Rig, *, with_adb: bool) -> None:
    gpio = Gpio(r.clock, {PMU_PIN: r.line(1)})
    r.add("gpio", gpio, (gpio.region(), r.at("gpio")))
    via = Via(r.clock, r.line(0))
    r.add("via", via)
    adb = AdbBus(r.clock) if with_adb else None
    pmu = Pmu(r.clock, via, IrqLine(gpio, PMU_PIN), adb=adb, rtc=3_000_000_000)
    pmu.power_off = lambda: r.note("power", "off")
    pmu.system_reset = lambda: r.note("power", "reset")
    r.add("pmu", pmu, (pmu.region(), r.at("via")))
    if adb is not None:
        r.add("adb", adb)
        _adb_devices(r, adb)


def _escc(r: Rig, *, true_rate: bool) -> None:
    escc = Escc(r.clock, r.line(0), r.line(1))
    escc.set_true_rate(true_rate)
    r.add(
        "escc",
        escc,
        (escc.legacy_region(), r.at("escc-legacy")),
        (escc.region(), r.at("escc")),
    )
    for n, channel in enumerate(escc.chn):
        channel.transmit = partial(r.note, f"serial {n}")


def _heathrow(r: Rig) -> None:
    pic = Heathrow(r.clock, r.line(0))
    r.add("heathrow", pic, (pic.region(), r.at("heathrow")))


def _openpic(r: Rig) -> None:
    pic = OpenPic(r.clock, r.line(0))
    r.add("openpic", pic, (pic.region(), r.at("openpic")))


def _nvram(r: Rig) -> None:
    nvram = MacioNvram(r.clock, bytes(range(256)), stride=2)
    r.add("nvram", nvram, (nvram.region(), r.at("nvram")))
    fw_cfg = FwCfg(r.clock)
    fw_cfg.add(3, bytes(range(8)))
    r.add(
        "fw_cfg",
        fw_cfg,
        (fw_cfg.control, r.at("fwcfg.ctl")),
        (fw_cfg.data, r.at("fwcfg.data")),
    )


def _main_bus(r: Rig) -> PciBus:
    """The bridge of mac99's bus."""
    host = uninorth.main_host(r.clock, r.memory, [r.line(n) for n in range(4)])
    host.map_registers(r.memory, uninorth.MAIN_CONFIG)
    r.add("pci", host)
    r.add("pci/bus", host.bus)
    r.memory.map(host.own_region(), uninorth.REGISTERS)
    return host.bus


def _ohci(r: Rig) -> None:
    ohci = Ohci(r.clock, _main_bus(r), 0x0D << 3)
    r.add("ohci", ohci)
    for n, kind in enumerate((UsbKeyboard, UsbMouse, UsbTablet)):
        device = kind(r.clock, f"x/{n + 1}/{kind.vmsd}")
        r.add(f"ohci/{n}", device)
        ohci.connect(n, device)


def _vga(r: Rig) -> None:
    vga = Vga(r.clock, _main_bus(r), 0x0E << 3, vram=r.around.video, rom=r.around.roms[0])
    r.add("vga", vga)


def _sungem(r: Rig) -> None:
    gem = SunGem(r.clock, _main_bus(r), 0x0F << 3, mac=MAC)
    gem.send = lambda frame: r.note("frame", frame)
    r.add("sungem", gem)


def _keylargo(r: Rig) -> None:
    r.add("macio", KeyLargo(r.clock, _main_bus(r), 0x0C << 3))


def _ne2000(r: Rig) -> None:
    host = grackle.Grackle(r.clock, r.memory, [r.line(n) for n in range(4)])
    host.map_registers(r.memory)
    r.add("pci", host)
    r.add("pci/bus", host.bus)
    card = Ne2000(r.clock, host.bus, 2 << 3, rom=r.around.card_rom, mac=MAC)
    card.ne2000.send = lambda frame: r.note("frame", frame)
    r.add("ne2000", card)


def _uart(r: Rig) -> None:
    for n in range(2):
        uart = Uart16550(r.clock, r.line(n))
        r.add(f"uart{n}", uart, (uart.region(), r.at("serial", n)))
        uart.transmit = partial(r.note, f"serial {n}")


def _board_clock(r: Rig) -> None:
    nvram = M48t59(r.clock, 1_000_000_000)
    r.add("nvram", nvram, (nvram.region(), r.at("m48t59.nvram")))


def _opb(r: Rig) -> None:
    opb = Opb405ep(r.clock, SYSTEM_HZ)
    r.add("opb", opb, *((region, at) for at, region in opb.regions().items()))


#: By name: the machine whose layout it has, its grammars, what makes it.
RIGS: Final[dict[str, tuple[str, tuple[str, ...], Callable[[Rig], None]]]] = {
    "ide": ("g3beige", ("ide", "dbdma"), partial(_ide, true_rate=False)),
    "ide-true-rate": ("g3beige", ("ide", "dbdma"), partial(_ide, true_rate=True)),
    "cuda": ("g3beige", ("cuda", "via"), _cuda),
    "pmu": ("mac99,via=pmu", ("pmu", "via", "gpio"), partial(_pmu, with_adb=False)),
    "pmu-adb": ("mac99,via=pmu-adb", ("pmu", "via", "gpio"), partial(_pmu, with_adb=True)),
    "escc": ("g3beige", ("escc",), partial(_escc, true_rate=False)),
    "escc-true-rate": ("g3beige", ("escc",), partial(_escc, true_rate=True)),
    "heathrow": ("g3beige", ("heathrow",), _heathrow),
    "openpic": ("mac99", ("openpic",), _openpic),
    "nvram": ("mac99", ("nvram", "fw_cfg"), _nvram),
    "ohci": ("mac99", ("ohci", "pci"), _ohci),
    "vga": ("mac99", ("vga", "pci"), _vga),
    "sungem": ("mac99", ("sungem", "pci"), _sungem),
    "keylargo": ("mac99", ("pci",), _keylargo),
    "ne2000": ("g3beige", ("ne2000", "pci"), _ne2000),
    "uart": ("ref405ep", ("uart",), _uart),
    "m48t59": ("ref405ep", ("m48t59",), _board_clock),
    "opb": ("ref405ep", ("opb",), _opb),
}


def make(name: str, layout: Layout, around: Surroundings) -> Rig:
    """The rig called `name`, at power on, in cleared surroundings."""
    around.clear()
    rig = Rig(layout, around)
    RIGS[name][2](rig)
    return rig


__all__ = ["RIGS", "Medium", "RamBlock", "Rig", "Surroundings", "make"]
