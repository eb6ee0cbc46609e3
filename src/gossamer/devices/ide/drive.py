"""One IDE drive: task file, status, PIO buffer, and the clockwork of its commands.

The commands themselves are in `ata` (disk) and `atapi` (CD-ROM).  A drive does one thing at a
time: `stage` says what it is busy with and `timer` when that is over.  Source: ATA/ATAPI-6
(T13/1410D), clauses 7 and 9; the wire form is QEMU's `ide_drive`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from gossamer.base.errors import GossamerError, StreamError
from gossamer.core.clock import Alarm, Clock
from gossamer.devices.ide.media import (
    CD_SECTOR,
    IGNORE,
    SECTOR,
    STOP,
    BlockBackend,
    ErrorPolicy,
    report,
)
from gossamer.devices.ide.timing import TRUE, Timing
from gossamer.state.declare import (
    Stateful,
    alarm,
    boolean,
    buffer,
    derived,
    i32,
    u8,
    u16,
    u32,
    u64,
    wiring,
)  # fmt: skip
from gossamer.state.layout import Loss, subsection

if TYPE_CHECKING:
    from gossamer.devices.ide.cell import IdeBus

# Status and error.
BSY: Final = 0x80
DRDY: Final = 0x40
SEEK: Final = 0x10
DRQ: Final = 0x08
ERR: Final = 0x01
ABRT: Final = 0x04
IDNF: Final = 0x10
UNC: Final = 0x40
# Device register.
LBA: Final = 0x40
SLAVE: Final = 0x10
FIXED: Final = 0xA0
# Interrupt reason (ATAPI).
CD_COMMAND: Final = 0x01
CD_TO_HOST: Final = 0x02

# What a drive is.
NONE: Final = "none"
DISK: Final = "disk"
CDROM: Final = "cd"
ATAPI_DEVICE: Final = 0x80
"""Upper half of word 0 of identify data: a packet device."""

# Stages.
IDLE: Final = 0
EXECUTE: Final = 1
READ: Final = 2
COMMIT: Final = 3
DMA: Final = 4
PACKET: Final = 5
RESET: Final = 6

PACKET_OP: Final = 0xA0
"""The ATA command that takes a packet."""

# What follows the last byte of a PIO block: QEMU's end_transfer_fn_idx.
THEN_READ: Final = 0
THEN_WRITE: Final = 1
THEN_STOP: Final = 2
THEN_REPLY: Final = 3
THEN_PACKET: Final = 4
THEN_NOTHING: Final = 5
TO_DRIVE: Final = (THEN_WRITE, THEN_PACKET)

BUFFER_SIZE: Final = 256 * SECTOR + 4
_ZEROS: Final = bytes(BUFFER_SIZE)
MAX_MULTIPLE: Final = 16

WRITTEN: Final = {
    1: ("hob_feature", "feature"),
    2: ("hob_nsector", "nsector"),
    3: ("hob_sector", "sector"),
    4: ("hob_lcyl", "lcyl"),
    5: ("hob_hcyl", "hcyl"),
}
"""Where registers 1 to 5 are written to, and where what they held goes."""

NOWHERE: Final = 1 << 48
"""Sector 0 of a track, which there is none of: beyond every disk."""

RESET_NS: Final = 2_000_000


class IdeDrive(Stateful):
    """A drive, or the place where none is (`kind` NONE)."""

    vmsd = "ide_drive"
    version = 3
    minimum = 3

    pio = subsection("ide_drive/pio_state")
    tray = subsection("ide_drive/tray_state")
    gesn = subsection("ide_drive/atapi/gesn_state")
    ours = subsection("ide_drive/gossamer", ours=True)

    mult_sectors = i32(MAX_MULTIPLE)
    identify_set = i32()
    identify_data = buffer(SECTOR, when=lambda drive: drive.identify_set != 0)
    feature = u8()
    error = u8()
    nsector = u32(1)
    sector = u8(1)
    lcyl = u8()
    hcyl = u8()
    hob_feature = u8()
    hob_sector = u8()
    hob_nsector = u8()
    hob_lcyl = u8()
    hob_hcyl = u8()
    select = u8(FIXED)
    status = u8(DRDY | SEEK)
    lba48 = u8()
    sense_key = u8()
    asc = u8()
    cdrom_changed = u8()

    req_nb_sectors = i32(within=pio)
    io_buffer = buffer(BUFFER_SIZE, within=pio)
    cur_io_buffer_offset = i32(within=pio)
    cur_io_buffer_len = i32(within=pio)
    end_transfer_fn_idx = u8(THEN_NOTHING, within=pio)
    elementary_transfer_size = i32(within=pio)
    packet_transfer_size = i32(within=pio)

    tray_open = boolean(within=tray)
    tray_locked = boolean(within=tray)
    new_media = boolean(within=gesn)
    eject_request = boolean(within=gesn)

    stage = u8(within=ours)
    timer: Alarm = alarm("_expired", within=ours)
    op = u8(within=ours)
    ascq = u8(within=ours)
    stalled = boolean(within=ours)
    heads = u16(within=ours)
    sectors = u16(within=ours)
    head = u64(within=ours)
    position = u64(within=ours)
    left = u32(within=ours)
    staged = u32(within=ours)
    unit_bytes = u16(SECTOR, within=ours)

    clock: Clock = wiring()
    bus: IdeBus = wiring()
    unit: int = wiring()
    kind: str = wiring()
    media: BlockBackend | None = wiring()
    model: str = wiring()
    serial: str = wiring()
    firmware: str = wiring()
    #: World Wide Name, 64 bits; 0: none.
    wwn: int = wiring()
    policy: ErrorPolicy = wiring()
    timing: Timing = wiring()
    #: Where the host's time counts: begins a flush in the background, and says whether it is over.
    ahead: Callable[[], Callable[[], bool]] | None = wiring()
    syncing: Callable[[], bool] | None = derived()
    note: Callable[[str], None] = wiring()

    @pio.needed
    def pio_needed(self) -> bool:
        return bool(self.status & DRQ) or self.stage != IDLE

    @tray.needed
    def tray_needed(self) -> bool:
        return self.tray_open or self.tray_locked

    @gesn.needed
    def gesn_needed(self) -> bool:
        return self.new_media or self.eject_request

    @ours.losing
    def ours_lost(self) -> Iterator[Loss]:
        if self.stage != IDLE or self.stalled:
            yield Loss(f"drive {self.unit} is at work on a command", passes=True)
        elif (self.heads, self.sectors) != self.geometry()[1:]:
            yield Loss(f"drive {self.unit}: the geometry that the guest chose")
        elif self.ascq:
            yield Loss(f"drive {self.unit}: the qualifier of its last error")

    @ours.needed
    def ours_needed(self) -> bool:
        """Anything that a load without it would not come to by itself."""
        default = (self.heads, self.sectors) == self.geometry()[1:]
        busy = self.stage != IDLE or self.stalled or bool(self.status & DRQ)
        return busy or not default or bool(self.head or self.ascq)

    def __init__(self, bus: IdeBus, unit: int, clock: Clock, note: Callable[[str], None]) -> None:
        super().__init__()
        self.bus, self.unit, self.clock, self.note = bus, unit, clock, note
        self.kind, self.media, self.policy = NONE, None, report
        self.model = self.serial = self.firmware = ""
        self.wwn, self.timing, self.ahead = 0, TRUE, None
        self.reset()

    def reset(self) -> None:
        """Power on."""
        super().reset()
        self.syncing = None
        self.select = FIXED | (SLAVE if self.unit else 0)
        _, self.heads, self.sectors = self.geometry()
        self.sign()

    def post_load(self, _version: int) -> None:
        """Refuse nothing a guest could not have done; keep the buffer's bounds."""
        self.syncing = None
        if not 0 <= self.cur_io_buffer_offset <= BUFFER_SIZE:
            raise StreamError(f"cur_io_buffer_offset {self.cur_io_buffer_offset} is outside")
        if not 0 <= self.cur_io_buffer_len <= BUFFER_SIZE - self.cur_io_buffer_offset:
            raise StreamError(f"cur_io_buffer_len {self.cur_io_buffer_len} is outside")
        if self.identify_set and any(self.identify_data[:2]):
            kind = CDROM if self.identify_data[1] & ATAPI_DEVICE else DISK
            if kind != self.kind:
                raise StreamError(f"drive at this place: expected {self.kind}, got {kind}")
        if self.status & BSY and self.stage == IDLE and not self.bus.in_reset:
            self.note("a command that the stream does not describe ends in an error")
            self.status, self.error = DRDY | ERR, ABRT
        if not self.heads or not self.sectors:
            _, self.heads, self.sectors = self.geometry()

    # --- medium -----------------------------------------------------------------------------------

    @property
    def total(self) -> int:
        """Sectors of 512 bytes, or of 2048 on a CD; none when there is no medium."""
        if self.media is None:
            return 0
        return self.media.size // (CD_SECTOR if self.kind == CDROM else SECTOR)

    def geometry(self) -> tuple[int, int, int]:
        """Cylinders, heads and sectors a track that the disk claims."""
        cylinders = min(self.total // (16 * 63), 16383)
        return max(cylinders, 2) if self.kind == DISK else 0, 16, 63

    def read_media(self, offset: int, length: int) -> bytes | None:
        """Bytes of the medium; none when the host failed and the guest has the error (or waits)."""
        assert self.media is not None
        try:
            return self.media.read(offset, length).ljust(length, b"\0")
        except GossamerError as e:
            return bytes(length) if self._failed(False, e) == IGNORE else None

    def write_media(self, offset: int, data: bytes) -> bool:
        """Whether the bytes went to the medium, or are to be taken as written."""
        assert self.media is not None
        try:
            self.media.write(offset, data)
            if self.writes_through:
                self.media.flush()
        except GossamerError as e:
            return self._failed(True, e) == IGNORE
        return True

    @property
    def writes_through(self) -> bool:
        """Whether the guest has switched the write cache off: a write that is done is durable."""
        return bool(self.identify_set) and not self.identify_data[2 * 85] & 0x20

    def flushed_ahead(self) -> bool:
        """Whether the slow part of a flush is over; false: ask again later."""
        if self.ahead is None:
            return True
        if self.syncing is None:
            try:
                self.syncing = self.ahead()
            except GossamerError:
                return True  # the flush proper will fail and say so
        if not self.syncing():
            return False
        self.syncing = None
        return True

    def flush_media(self) -> bool:
        try:
            if self.media is not None:
                self.media.flush()
        except GossamerError as e:
            return self._failed(True, e) == IGNORE
        return True

    def _failed(self, write: bool, error: GossamerError) -> str:
        self.note(f"host error: {error}")
        action = self.policy(write, error)
        self.stalled = action == STOP
        if self.stalled:
            self.bus.remember(self, write)
        return action

    def retry(self) -> None:
        """The machine goes on after an error stopped it: do again what failed."""
        if self.stalled:
            self.stalled = False
            self.timer.set(self.clock.now)

    # --- task file --------------------------------------------------------------------------------

    def read_register(self, n: int) -> int:
        """Registers 1 to 6, the previous contents where HOB is set."""
        hob = self.bus.hob
        match n:
            case 1:
                return self.hob_feature if hob else self.error
            case 2:
                return self.hob_nsector if hob else self.nsector & 0xFF
            case 3:
                return self.hob_sector if hob else self.sector
            case 4:
                return self.hob_lcyl if hob else self.lcyl
            case 5:
                return self.hob_hcyl if hob else self.hcyl
        return self.select

    def write_register(self, n: int, value: int) -> None:
        """Registers 1 to 5; both drives of a bus hear each write."""
        before, now = WRITTEN[n]
        setattr(self, before, getattr(self, now) & 0xFF)
        setattr(self, now, value)

    @property
    def byte_count(self) -> int:
        return self.hcyl << 8 | self.lcyl

    @byte_count.setter
    def byte_count(self, value: int) -> None:
        self.lcyl, self.hcyl = value & 0xFF, value >> 8 & 0xFF

    def sign(self) -> None:
        """The signature that says what is there, as after a reset."""
        self.select &= 0xF0
        self.nsector = self.sector = 1
        self.byte_count = {DISK: 0, CDROM: 0xEB14, NONE: 0xFFFF}[self.kind]

    def sector_number(self) -> int:
        """The sector that the task file names."""
        if not self.select & LBA:
            track = (self.hcyl << 8 | self.lcyl) * self.heads + (self.select & 0x0F)
            return track * self.sectors + self.sector - 1 if self.sector else NOWHERE
        low = self.hcyl << 16 | self.lcyl << 8 | self.sector
        if not self.lba48:
            return (self.select & 0x0F) << 24 | low
        return self.hob_hcyl << 40 | self.hob_lcyl << 32 | self.hob_sector << 24 | low

    def set_sector_number(self, n: int) -> None:
        if not self.select & LBA:
            track, sector = divmod(n, self.sectors)
            cylinder, head = divmod(track, self.heads)
            self.select = self.select & 0xF0 | head & 0x0F
            self.byte_count, self.sector = cylinder, sector + 1 & 0xFF
            return
        self.sector, self.lcyl, self.hcyl = n & 0xFF, n >> 8 & 0xFF, n >> 16 & 0xFF
        if self.lba48:
            self.hob_sector, self.hob_lcyl = n >> 24 & 0xFF, n >> 32 & 0xFF
            self.hob_hcyl = n >> 40 & 0xFF
        else:
            self.select = self.select & 0xF0 | n >> 24 & 0x0F

    # --- the clockwork ----------------------------------------------------------------------------

    def busy(self, stage: int, delay: int | None) -> None:
        """Be busy with `stage` for `delay` ns; None: until the channel has room."""
        self.stage = stage
        self.status = self.status & ~DRQ | BSY | DRDY
        if delay is not None:
            self.timer.set(self.clock.now + delay)

    def finish(self, status: int = DRDY | SEEK) -> None:
        """The command is over: interrupt."""
        self.settle()
        self.status = status
        self.bus.raise_interrupt(self)

    def settle(self) -> None:
        """Nothing is under way any more: what only a command in progress uses is as at power on.

        So an idle drive keeps nothing that a save would have to carry and a guest cannot see.
        """
        self.timer.cancel()
        # A disk's DMA command has nothing in the buffer but what is staged.
        end = self.staged if self.stage == DMA and self.op != PACKET_OP else BUFFER_SIZE
        self.stage, self.stalled, self.op, self.syncing = IDLE, False, 0, None
        self.position = self.left = self.staged = 0
        self.unit_bytes = SECTOR
        self.req_nb_sectors = self.elementary_transfer_size = self.packet_transfer_size = 0
        self.cur_io_buffer_offset = self.cur_io_buffer_len = 0
        self.end_transfer_fn_idx = THEN_NOTHING
        if end and self.io_buffer != _ZEROS:  # looking takes less than clearing
            self.io_buffer[:] = _ZEROS

    def ready(self) -> None:
        """The last byte of a block was the command's last: no interrupt."""
        self.settle()
        self.status = DRDY | SEEK

    def abort(self, error: int = ABRT) -> None:
        self.error = error
        self.finish(DRDY | ERR)

    def seek_time(self, to: int) -> int:
        """Time for the head to come to sector `to`; it is there afterwards."""
        time = 0 if to == self.head else self.timing.seek
        self.head = to
        return time

    def halt(self) -> None:
        """Stop whatever goes on (reset); the drive is busy until the reset is over."""
        self.settle()
        if self.kind != NONE:
            self.status, self.error = BSY | SEEK, 1

    def _expired(self) -> None:
        self.bus.dispatch(self)

    # --- PIO --------------------------------------------------------------------------------------

    def offer(self, length: int, then: int, offset: int = 0) -> None:
        """Ask the CPU to move `length` bytes through the data register, then do `then`."""
        self.stage = IDLE
        self.cur_io_buffer_offset, self.cur_io_buffer_len = offset, length
        self.end_transfer_fn_idx = then
        self.status = self.status & ~(BSY | ERR) | DRDY | SEEK | DRQ

    def read_data(self, size: int) -> int:
        """`size` bytes from the buffer, first byte lowest; zero where none is offered."""
        if not self.status & DRQ or self.end_transfer_fn_idx in TO_DRIVE:
            return 0
        at, n = self.cur_io_buffer_offset, min(size, self.cur_io_buffer_len)
        value = int.from_bytes(self.io_buffer[at : at + n], "little")
        self._moved(n)
        return value

    def write_data(self, size: int, value: int) -> None:
        if not self.status & DRQ or self.end_transfer_fn_idx not in TO_DRIVE:
            return
        at, n = self.cur_io_buffer_offset, min(size, self.cur_io_buffer_len)
        self.io_buffer[at : at + n] = value.to_bytes(size, "little")[:n]
        self._moved(n)

    def _moved(self, n: int) -> None:
        self.cur_io_buffer_offset += n
        self.cur_io_buffer_len -= n
        if self.cur_io_buffer_len == 0:
            self.status &= ~DRQ
            self.bus.block_moved(self)
