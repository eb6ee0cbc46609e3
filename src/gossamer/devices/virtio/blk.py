"""virtio-blk: a disk.  Source: VIRTIO 1.2, 5.2; numbers as QEMU 7.2's `virtio-blk-pci`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from struct import Struct
from typing import Final, TypeVar

from gossamer.base.errors import GossamerError
from gossamer.core.clock import Clock
from gossamer.devices.ide.media import (
    IGNORE,
    SECTOR,
    STOP,
    BlockBackend,
    ErrorPolicy,
    report,
)
from gossamer.devices.pci import PciBus
from gossamer.devices.virtio import wire
from gossamer.devices.virtio.age import NEWEST, Age
from gossamer.devices.virtio.pci import DRIVER_OK
from gossamer.devices.virtio.ring import CHUNK, Order, Request, RingError
from gossamer.devices.virtio.storage import StorageCore, VirtioStorage
from gossamer.state.declare import boolean, child, wiring
from gossamer.state.layout import Loss, subsection

DISK: Final = "disk"
SEG_MAX, GEOMETRY, BLK_SIZE, FLUSH, TOPOLOGY, CONFIG_WCE, DISCARD, WRITE_ZEROES = (
    1 << n for n in (2, 4, 6, 9, 10, 11, 13, 14)
)
FEATURES: Final = (
    SEG_MAX | GEOMETRY | BLK_SIZE | FLUSH | TOPOLOGY | CONFIG_WCE | DISCARD | WRITE_ZEROES
)
#: Offered by early versions, whose disks answer such a request with UNSUPPORTED.
SCSI_COMMANDS: Final = 1 << 7
#: Of a request.
MOST_SECTORS: Final = 0x3F_FFFF
WCE_AT: Final = 32
CONFIG_SIZE: Final = 57
EARLY_SIZE: Final = 36
"""Of the configuration, up to what tells of sectors that are thrown away."""
# Kinds of requests, and statuses.
READ, WRITE, SCSI, SYNC, IDENTIFY, TRIM, ZEROES = 0, 1, 2, 4, 8, 11, 13
BARRIER: Final = 1 << 31
OK, IO_ERROR, UNSUPPORTED = 0, 1, 2
T = TypeVar("T")
HEADER, IDENTITY, SEGMENT = 16, 20, 16
UNMAP: Final = 1


class BlkCore(StorageCore):
    """And what only a disk has."""

    drive = subsection("virtio/blk/gossamer", ours=True, layout=["stalled", "cached"])
    #: The guest lets writes wait in a cache; off: each one that is done is durable.
    cached: bool = boolean(True, within=drive)

    @drive.needed
    def drive_needed(self) -> bool:
        return self.stalled or not self.cached

    @drive.losing
    def drive_lost(self) -> Iterator[Loss]:
        if not self.cached:
            yield Loss("that the guest switched the write cache off")


class VirtioBlk(VirtioStorage):
    """A disk; `media` is its image, `serial` what it says of itself (20 characters)."""

    vmsd = "virtio-blk"
    version = minimum = 2
    layouts = wire.body(wire.NO_REQUEST)

    core: BlkCore = child(BlkCore)

    media: BlockBackend | None = wiring()
    policy: ErrorPolicy = wiring()
    #: What all drives of a machine have.
    model: str = wiring()
    serial: str = wiring()
    ahead: Callable[[], Callable[[], bool]] | None = wiring()

    def __init__(
        self,
        clock: Clock,
        bus: PciBus,
        devfn: int,
        *,
        serial: str = "",
        translated: bool = False,
        is_little: Callable[[], bool] = lambda: False,
        age: Age = NEWEST,
    ) -> None:
        self.media, self.policy, self.ahead = None, report, None
        self.serial, self.model = serial, "virtio-blk"
        features = FEATURES if age.discards else FEATURES & ~(DISCARD | WRITE_ZEROES)
        features |= SCSI_COMMANDS if age.offers_scsi else 0
        super().__init__(
            clock,
            bus,
            devfn,
            kind=2,
            device=0x1001,
            class_code=0x01_00_00,
            config_size=CONFIG_SIZE if age.discards else EARLY_SIZE,
            features=features,
            queues=((age.queue_size, self.requested),),
            vectors=2,
            translated=translated,
            is_little=is_little,
            age=age,
        )

    def make_core(self) -> BlkCore:
        return BlkCore(self.queues, self.host_features, self.age)

    def device_reset(self) -> None:
        super().device_reset()
        self.core.cached = True

    def status_written(self, value: int) -> None:
        if value & DRIVER_OK and not self.status & DRIVER_OK and not self.has(CONFIG_WCE):
            self.core.cached = self.has(FLUSH)

    # --- configuration ----------------------------------------------------------------------------

    @property
    def total(self) -> int:
        """Sectors of 512 bytes."""
        return 0 if self.media is None else self.media.size // SECTOR

    def fill_config(self, order: Order) -> bytes:
        cylinders = max(min(self.total // (16 * 63), 16383), 2)
        form = Struct((">" if order == "big" else "<") + "QIIHBBIBBHIBBHIIIIIB")
        whole = form.pack(
            *(self.total, 0, self.age.queue_size - 2, cylinders, 16, 63, SECTOR),
            *(0, 0, 0, 0, self.core.cached, 0, 1),
            *(MOST_SECTORS, 1, 1, MOST_SECTORS, 1, 1),
        )
        return whole[: len(self.config_space)]

    def config_was_set(self) -> None:
        self.core.cached = bool(self.config_space[WCE_AT])
        if not self.core.cached:
            self._flush()

    # --- requests ---------------------------------------------------------------------------------

    def request(self, request: Request) -> int | None:
        if not request.out or not request.into:
            raise RingError("virtio-blk missing headers")
        header = request.read(0, HEADER)
        if len(header) < HEADER:
            raise RingError("virtio-blk request outhdr too short")
        order = self.order
        kind = int.from_bytes(header[:4], order) & ~BARRIER
        sector = int.from_bytes(header[8:], order)
        status = self._do(request, kind, sector)
        if status is None:
            return None
        request.write(request.in_length - 1, bytes([status]))
        return request.in_length

    def _do(self, request: Request, kind: int, sector: int) -> int | None:
        if kind == READ:
            return self._read(request, sector)
        if kind == WRITE:
            return self._write(request, sector)
        if kind == SYNC:
            return self._flush()
        if kind == IDENTIFY:
            room = min(request.in_length - 1, IDENTITY)
            text = self.serial.encode("ascii", "replace")[:room]
            request.write(0, text.ljust(room, b"\0"))
            return OK
        if kind in (TRIM, ZEROES):
            return self._zero(request, kind)
        self.note(f"request of kind {kind}")
        return UNSUPPORTED

    def _inside(self, sector: int, length: int) -> bool:
        count, rest = divmod(length, SECTOR)
        return not rest and count <= MOST_SECTORS and sector + count <= self.total

    def _read(self, request: Request, sector: int) -> int | None:
        length = request.in_length - 1
        if not self._inside(sector, length):
            return IO_ERROR
        for at in range(0, length, CHUNK):
            size = min(CHUNK, length - at)
            data = self._try(False, partial(self._content, sector * SECTOR + at, size))
            if isinstance(data, int | None):
                return data
            request.write(at, data)
        return OK

    def _content(self, offset: int, length: int) -> bytes:
        assert self.media is not None
        return self.media.read(offset, length).ljust(length, b"\0")

    def _write(self, request: Request, sector: int) -> int | None:
        length = request.out_length - HEADER
        if not self._inside(sector, length):
            return IO_ERROR
        for at in range(0, length, CHUNK):
            data = request.read(HEADER + at, min(CHUNK, length - at))
            done = self._put(sector * SECTOR + at, data)
            if done != OK:
                return done
        return OK if self.core.cached else self._flush()

    def _put(self, offset: int, data: bytes) -> int | None:
        assert self.media is not None
        done = self._try(True, partial(self.media.write, offset, data))
        return done if isinstance(done, int) or self.core.stalled else OK

    def _flush(self) -> int | None:
        if self.media is None:
            return OK
        done = self._try(True, self.media.flush)
        return done if isinstance(done, int) or self.core.stalled else OK

    def _try(self, write: bool, action: Callable[[], T]) -> T | int | None:
        """What the action gives; where the host fails a status, None to wait for `retry`."""
        try:
            return action()
        except GossamerError as fault:
            self.note(f"host error: {fault}")
            decided = self.policy(write, fault)
        if decided == STOP:
            self.core.stalled = True
            return None
        return OK if decided == IGNORE else IO_ERROR

    def _zero(self, request: Request, kind: int) -> int | None:
        """Write zeroes, or discard, which may leave what is there."""
        if request.out_length - HEADER != SEGMENT:
            return UNSUPPORTED
        order = self.order
        data = request.read(HEADER, SEGMENT)
        sector, count, flags = (
            int.from_bytes(data[a:b], order) for a, b in ((0, 8), (8, 12), (12, 16))
        )
        if flags & ~UNMAP or (kind == TRIM and flags):
            return UNSUPPORTED
        if count > MOST_SECTORS or not self._inside(sector, count * SECTOR):
            return IO_ERROR
        if kind == ZEROES:
            zeros, end = bytes(CHUNK), (sector + count) * SECTOR
            for at in range(sector * SECTOR, end, CHUNK):
                done = self._put(at, zeros[: end - at])
                if done != OK:
                    return done
        return OK if self.core.cached or kind == TRIM else self._flush()
