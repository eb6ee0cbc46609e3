"""The cells that Heathrow and KeyLargo both have: DBDMA, ESCC, two IDE channels, Cuda with ADB.

Each function puts its cells into the machine (sections in the order of the calls) and maps them at
their offsets in mac-io.  Sources: docs/chips/ of each part; numbers as QEMU 7.2 has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gossamer.base.data import Data
from gossamer.core.irq import IrqLine, IrqSink
from gossamer.devices.adb.bus import AdbBus
from gossamer.devices.adb.keyboard import AdbKeyboard
from gossamer.devices.adb.mouse import AdbMouse
from gossamer.devices.cuda import Cuda
from gossamer.devices.dbdma import Dbdma
from gossamer.devices.escc import Escc
from gossamer.devices.ide.cell import MacioIde
from gossamer.devices.macio import MacIo
from gossamer.devices.via import Via
from gossamer.machines import boot
from gossamer.machines.machine import Machine
from gossamer.machines.serial import EsccPort

if TYPE_CHECKING:
    from gossamer.devices.pmu import Pmu

#: Of each IDE channel: its interrupt, the interrupt of its DMA, its DBDMA channel.
IDE_IRQS: Final = (0x0D, 0x0E)
DMA_IRQS: Final = (0x02, 0x03)
DMA_CHANNELS: Final = (0x16, 0x1A)
IDE_CELLS: Final = ("macio/ide0", "macio/ide1")
#: Offsets in mac-io.
DBDMA_AT, ESCC_LEGACY_AT, ESCC_AT, VIA_AT = 0x08000, 0x12000, 0x13000, 0x16000
IDE_AT: Final = (0x20000, 0x21000)


class IdePair(Data):
    """Both IDE channels and the DMA controller that serves them."""

    ide: tuple[MacioIde, MacioIde]
    dbdma: Dbdma


def add_dbdma(m: Machine, pic: IrqSink, macio: MacIo) -> IdePair:
    """DBDMA with the IDE channels at its ends; these get their sections by `add_ide`."""
    first, second = (
        MacioIde(m.clock, irq=IrqLine(pic, irq), dma_irq=IrqLine(pic, dma_irq))
        for irq, dma_irq in zip(IDE_IRQS, DMA_IRQS, strict=True)
    )
    lines = {n: IrqLine(ide, 0) for n, ide in zip(DMA_CHANNELS, (first, second), strict=True)}
    dbdma = m.add("macio/dbdma", Dbdma(m.clock, m.memory, lines))
    macio.add(DBDMA_AT, dbdma.region())
    return IdePair((first, second), dbdma)


def add_escc(m: Machine, macio: MacIo, irq_a: IrqLine, irq_b: IrqLine) -> Escc:
    """Both serial ports."""
    escc = m.add("macio/escc", Escc(m.clock, irq_a, irq_b))
    macio.add(ESCC_LEGACY_AT, escc.legacy_region())
    macio.add(ESCC_AT, escc.region())
    m.serials += [EsccPort(escc.a), EsccPort(escc.b)]
    return escc


def add_ide(m: Machine, macio: MacIo, pair: IdePair) -> None:
    """Both IDE channels."""
    for n, ide in enumerate(pair.ide):
        m.add(IDE_CELLS[n], ide, instance=n)
        ide.attach_dma(pair.dbdma.connect(DMA_CHANNELS[n], ide))
        macio.add(IDE_AT[n], ide.region)


def add_cuda(m: Machine, macio: MacIo, irq: IrqLine) -> AdbBus:
    """Cuda with its 6522; its ADB."""
    via = m.add("macio/via", Via(m.clock, irq))
    adb = AdbBus(m.clock)
    cuda = m.add("macio/cuda", Cuda(m.clock, via, adb, rtc=boot.mac_seconds(m.hardware)))
    use_power_switch(m, cuda)
    m.add("macio/adb", adb)
    macio.add(VIA_AT, cuda.region())
    return adb


def use_power_switch(m: Machine, chip: Cuda | Pmu) -> None:
    """The chip switches the machine off and resets it, by whatever the machine calls then."""
    chip.power_off, chip.system_reset = (lambda: m.power_off()), (lambda: m.system_reset())


def add_adb_input(m: Machine, adb: AdbBus) -> None:
    """Keyboard and mouse on ADB."""
    m.keyboard = m.add("macio/adb/keyboard", AdbKeyboard(m.clock, adb))
    m.mouse = m.add("macio/adb/mouse", AdbMouse(m.clock, adb))
