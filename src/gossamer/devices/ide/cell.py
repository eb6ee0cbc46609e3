"""An IDE cell of MacIO: task file at stride 0x10, control, timing and interrupt registers.

Source: ATA/ATAPI-6 (T13/1410D) for the task file; Linux' pmac IDE driver for the cell's layout;
behaviour as QEMU 7.2 shows it: docs/chips/ide.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.core.faces import NO, POSTED, YES, Face
from gossamer.core.irq import IrqLine
from gossamer.core.region import Region, swap
from gossamer.devices.ide import ata, atapi
from gossamer.devices.ide.drive import (
    BSY,
    CDROM,
    DISK,
    DMA,
    DRQ,
    EXECUTE,
    FIXED,
    NONE,
    PACKET,
    PACKET_OP,
    RESET,
    RESET_NS,
    SLAVE,
    THEN_PACKET,
    THEN_REPLY,
    UNC,
    IdeDrive,
)
from gossamer.devices.ide.media import BlockBackend, DmaChannel, ErrorPolicy, report
from gossamer.devices.ide.timing import FAST, TRUE
from gossamer.state.codec import U32
from gossamer.state.declare import Stateful, boolean, child, i32, i64, u8, u32, wiring
from gossamer.state.layout import Loss, Nested, View, subsection

SIZE: Final = 0x1000
DATA: Final = 0
DEVICE: Final = 6
COMMAND: Final = 7
CONTROL: Final = (0x08, 0x16)
"""Offsets 0x80 and 0x160 (in units of 0x10)."""
TIMING: Final = 0x20
INTERRUPT: Final = 0x30

# Device control.
NO_INTERRUPT: Final = 0x02
SOFT_RESET: Final = 0x04
HOB: Final = 0x80
# Interrupt register.
DEVICE_INTERRUPT: Final = 0x4000_0000
DMA_INTERRUPT: Final = 0x8000_0000

# What a stopped request was, as QEMU numbers it in `error_status`.
RETRY_DMA: Final = 0x08
RETRY_PIO: Final = 0x10
RETRY_READ: Final = 0x20

DISK_MODEL: Final = "QEMU HARDDISK"
CDROM_MODEL: Final = "QEMU DVD-ROM"
FIRMWARE: Final = "2.5+"


class IdeBus(Stateful):
    """The cable: two places, one of them selected, and the interrupt they share."""

    vmsd = "ide_bus"
    version = minimum = 1

    failed = subsection("ide_bus/error", 2)
    ours = subsection(
        "ide_bus/gossamer",
        ours=True,
        lost=Loss("an interrupt that the guest has masked", passes=True),
    )

    cmd = u8()
    unit = u8()
    error_status = i32(within=failed)
    retry_sector_num = i64(within=failed)
    retry_nsector = u32(within=failed)
    retry_unit = u8(within=failed)
    interrupt = boolean(within=ours)
    drives: list[IdeDrive] = wiring()
    channel: DmaChannel | None = wiring()
    changed: Callable[[], None] = wiring()

    @failed.needed
    def failed_needed(self) -> bool:
        return self.error_status != 0

    @ours.needed
    def ours_needed(self) -> bool:
        """An interrupt that is pending while the CPU has it masked."""
        return self.interrupt and bool(self.cmd & NO_INTERRUPT)

    def __init__(
        self, clock: Clock, note: Callable[[str], None], changed: Callable[[], None]
    ) -> None:
        super().__init__()
        self.channel, self.changed = None, changed
        self.reset()
        self.drives = [IdeDrive(self, unit, clock, note) for unit in (0, 1)]

    def post_load(self, _version: int) -> None:
        self.unit &= 1

    @property
    def active(self) -> IdeDrive:
        return self.drives[self.unit]

    @property
    def empty(self) -> bool:
        return all(drive.kind == NONE for drive in self.drives)

    @property
    def in_reset(self) -> bool:
        """The host holds SRST: every drive is busy and does nothing."""
        return bool(self.cmd & SOFT_RESET)

    @property
    def hob(self) -> bool:
        return bool(self.cmd & HOB)

    @property
    def level(self) -> bool:
        """The interrupt as it leaves the cable."""
        return self.interrupt and not self.cmd & NO_INTERRUPT

    def raise_interrupt(self, drive: IdeDrive) -> None:
        """A drive asks for attention; one that is not selected does not drive the line."""
        if drive is self.active:
            self.interrupt = True
            self.changed()

    # --- registers --------------------------------------------------------------------------------

    def read_status(self) -> int:
        """The status of the selected drive; zero where none is."""
        drive = self.drives[self.unit]
        if drive.kind == NONE:
            return 0
        return BSY if self.cmd & SOFT_RESET else drive.status

    def read_and_acknowledge(self) -> int:
        """The same, and the interrupt is acknowledged."""
        self.acknowledge()
        return self.read_status()

    def acknowledge(self) -> None:
        if self.interrupt:
            self.interrupt = False
            self.changed()

    def read(self, n: int) -> int:
        """Task file register 1 to 7."""
        if n == COMMAND:
            return self.read_and_acknowledge()
        if self.empty or (n == 1 and self.active.kind == NONE):
            return 0
        return self.active.read_register(n)

    def write(self, n: int, value: int) -> None:
        """Task file register 1 to 7."""
        if n == COMMAND:
            self.command(value)
            return
        self.cmd &= ~HOB
        first, second = self.drives
        if (second if self.unit else first).status & (BSY | DRQ):
            return
        if n == DEVICE:
            first.select = value & ~SLAVE & 0xFF | FIXED
            second.select = value | SLAVE | FIXED
            self.unit = value >> 4 & 1
        else:
            first.write_register(n, value)
            second.write_register(n, value)

    def control(self, value: int) -> None:
        """The device control register."""
        was, self.cmd = self.cmd, value
        if (was ^ value) & SOFT_RESET:
            for drive in self.drives:
                drive.halt()
            self.interrupt = False
            self.unit = 0
            if not value & SOFT_RESET:
                for drive in self.drives:
                    self._reset_drive(drive)
        self.changed()

    def _reset_drive(self, drive: IdeDrive) -> None:
        if drive.kind == NONE:
            drive.sign()
        else:
            drive.busy(RESET, RESET_NS)

    def command(self, value: int) -> None:
        drive = self.active
        self.acknowledge()
        if drive.kind == NONE:
            return
        if value == ata.DEVICE_RESET and drive.kind == CDROM:
            drive.halt()
            drive.op = value
            self._reset_drive(drive)
        elif drive.status & (BSY | DRQ):
            drive.note("command while busy")
        else:
            drive.op, drive.error = value, 0
            ata.start(drive)

    # --- what a drive's clockwork calls -----------------------------------------------------------

    def dispatch(self, drive: IdeDrive) -> None:
        """A stage is over."""
        if drive.stage == RESET:
            drive.settle()
            drive.error = 1
            drive.sign()
            drive.select = FIXED | drive.unit << 4
            atapi.reset(drive)
            drive.status = 0 if drive.kind == CDROM else ata.READY
        elif drive.stage == PACKET or (drive.stage != EXECUTE and drive.op == PACKET_OP):
            atapi.advance(drive)
        else:
            ata.advance(drive)

    def block_moved(self, drive: IdeDrive) -> None:
        """The CPU has moved the last byte of a block."""
        if drive.end_transfer_fn_idx in (THEN_PACKET, THEN_REPLY):
            atapi.block_moved(drive)
        else:
            ata.block_moved(drive)

    def remember(self, drive: IdeDrive, write: bool) -> None:
        """Put down in QEMU's terms which request waits for `retry`."""
        self.error_status = RETRY_DMA if drive.stage == DMA else RETRY_PIO
        self.error_status |= 0 if write else RETRY_READ
        self.retry_unit, self.retry_nsector = drive.unit, drive.nsector
        self.retry_sector_num = drive.sector_number()

    def dma_ready(self, idle: bool) -> None:
        """The channel has come to a descriptor with room; `idle`: no drive is moving data."""
        for drive in self.drives:
            if drive.stage == DMA and not drive.timer.armed and not drive.stalled:
                if idle:
                    self.dispatch(drive)
                else:
                    drive.timer.set(drive.clock.now)


class MacioIde(Device):
    """The cell: `irq` is its own interrupt, `dma_irq` that of its DBDMA channel.

    Input 0 takes the channel's interrupt, which is shown in the interrupt register.
    """

    vmsd = "ide"
    version = minimum = 5

    bus: IdeBus = child(IdeBus)
    dma_active = boolean()
    timing_reg = u32()
    dma_level = boolean()
    irq: IrqLine = wiring()
    dma_irq: IrqLine = wiring()
    region: Region = wiring()

    def __init__(
        self, clock: Clock, *, irq: IrqLine, dma_irq: IrqLine | None = None, instance: int = 0
    ) -> None:
        super().__init__(clock)
        self.irq, self.dma_irq = irq, dma_irq or IrqLine()
        self.idstr, self.instance = "ide", instance
        self.bus = IdeBus(clock, self.note, self.update_irq)
        self.region = Region(
            "pmac-ide",
            SIZE,
            self.read,
            self.write,
            little=True,
            learns=self._learns,
            take=self._take,
            writer=self._writer,
        )
        self.reset()

    def attach(
        self,
        unit: int,
        kind: str,
        media: BlockBackend | None,
        *,
        serial: str = "",
        model: str = "",
        firmware: str = "",
        wwn: int = 0,
        policy: ErrorPolicy = report,
    ) -> IdeDrive:
        """Put a drive (DISK or CDROM) at place `unit` (0, 1); a CD drive may be empty."""
        drive = self.bus.drives[unit]
        drive.kind, drive.media, drive.policy = kind, media, policy
        drive.model = model or (DISK_MODEL if kind == DISK else CDROM_MODEL)
        drive.serial, drive.firmware = serial or "QM00001", firmware or FIRMWARE
        drive.wwn = wwn
        drive.reset()
        return drive

    def set_true_rate(self, on: bool) -> None:
        """Whether transfers take their time, or as little as the host allows."""
        for drive in self.bus.drives:
            drive.timing = TRUE if on else FAST

    def attach_dma(self, channel: DmaChannel) -> None:
        """Give the cell its DBDMA channel."""
        self.bus.channel = channel

    def dma_ready(self, channel: object, idle: bool = False) -> None:
        """Called by the channel when a descriptor with room has come."""
        self.bus.dma_ready(idle)

    def dma_flush(self, channel: object) -> None:
        """Called by the channel to have what is underway in memory: nothing is kept back here."""

    def dma_stopped(self, channel: object) -> None:
        """Called by the channel when the host stopped it: the transfer waits for another run."""

    def retry(self) -> None:
        """The machine goes on after a host error stopped it: do again what failed.

        A request that QEMU had stopped ends in an error, which guests answer by repeating it.
        """
        stopped, self.bus.error_status = self.bus.error_status, 0
        waiting = [drive for drive in self.bus.drives if drive.stalled]
        for drive in waiting:
            drive.retry()
        unit, self.bus.retry_unit = self.bus.retry_unit & 1, 0
        self.bus.retry_sector_num = self.bus.retry_nsector = 0
        if stopped and not waiting:
            self.note("request stopped by QEMU")
            self.bus.drives[unit].abort(UNC)

    def reset(self) -> None:
        super().reset()
        for drive in self.bus.drives:
            drive.reset()
        self.update_irq()

    def pre_save(self) -> None:
        self.dma_active = any(drive.stage == DMA for drive in self.bus.drives)

    # --- interrupts -------------------------------------------------------------------------------

    @property
    def irq_reg(self) -> int:
        """The interrupt register."""
        device = DEVICE_INTERRUPT if self.bus.level else 0
        return device | (DMA_INTERRUPT if self.dma_level else 0)

    @irq_reg.setter
    def irq_reg(self, value: int) -> None:
        self.dma_level = bool(value & DMA_INTERRUPT)
        if not self.bus.cmd & NO_INTERRUPT:
            self.bus.interrupt = bool(value & DEVICE_INTERRUPT)

    def update_irq(self) -> None:
        self.irq.set(self.bus.level)
        self.dma_irq.set(self.dma_level)

    def resume(self) -> None:
        self.irq.assign(self.bus.level)
        self.dma_irq.assign(self.dma_level)

    def input_changed(self, pin: int, level: bool) -> None:
        self.dma_level = level
        self.update_irq()

    def input_assigned(self, pin: int, level: bool) -> None:
        self.dma_level = level
        self.dma_irq.assign(level)

    # --- registers --------------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        n = offset >> 4
        if n == DATA:
            return self.bus.active.read_data(size)
        if size == 1 and n <= COMMAND:
            return self.bus.read(n)
        if size == 1 and n in CONTROL:
            return self.bus.read_status()
        if size == 4 and n == TIMING:
            return self.timing_reg
        if size == 4 and n == INTERRUPT:
            return self.irq_reg
        return (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        n = offset >> 4
        if n == DATA:
            self.bus.active.write_data(size, value)
        elif size == 1 and n <= COMMAND:
            self.bus.write(n, value)
        elif size == 1 and n in CONTROL:
            self.bus.control(value)
        elif size == 4 and n == TIMING:
            self.timing_reg = value
        elif not (size == 4 and n == INTERRUPT):
            self.note(f"write of {size} bytes at {offset:#x}")

    def _writer(self, offset: int, size: int) -> Callable[[int], None] | None:
        n = offset >> 4
        if n == DATA and size in self.region.widths:
            return lambda value: self.bus.active.write_data(size, swap(value, size))
        return self.bus.command if size == 1 and n == COMMAND else None

    # --- learned accesses -------------------------------------------------------------------------

    def _learns(self, offset: int, value: int | None) -> int:
        """Status, selection, timing, and the task file where it is taken."""
        n = offset >> 4
        if value is None:
            return YES if n == COMMAND or n in CONTROL else NO
        if DATA < n < DEVICE:
            return NO if self.bus.active.status & (BSY | DRQ) else POSTED
        return YES if n in (DEVICE, TIMING) else NO

    def _take(self, offset: int, value: int) -> None:
        for drive in self.bus.drives:
            drive.write_register(offset >> 4, value)

    def face(self) -> Face:
        bus = self.bus
        first, second = bus.drives
        return (
            *(bus.cmd, bus.unit, bus.interrupt, self.irq.level, self.timing_reg),
            *(first.status, first.select, second.status, second.select),
        )

    def set_face(self, face: Face) -> None:
        bus = self.bus
        first, second = bus.drives
        bus.cmd, bus.unit, bus.interrupt, self.irq.level, self.timing_reg = face[:5]
        first.status, first.select, second.status, second.select = face[5:]


def _drive(unit: int) -> Nested:
    return Nested(f"bus.ifs[{unit}]", lambda cell: cell.bus.drives[unit])


MacioIde.layouts = {
    "": [
        Nested("bus", lambda cell: cell.bus),
        _drive(0),
        _drive(1),
        "dma_active",
        "timing_reg",
        View(
            "irq_reg",
            U32,
            lambda cell: cell.irq_reg,
            lambda cell, value: setattr(cell, "irq_reg", value),
        ),
    ]
}
