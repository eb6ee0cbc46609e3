"""virtio-scsi: a host adapter.

Source: VIRTIO 1.2, 5.6; numbers as QEMU 7.2's `virtio-scsi-pci`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final

from gossamer.core.clock import Clock
from gossamer.devices.pci import PciBus
from gossamer.devices.scsi.bus import ScsiBus
from gossamer.devices.scsi.disk import ScsiDisk
from gossamer.devices.scsi.faults import PortError, StalledError
from gossamer.devices.scsi.sense import GOOD, Sense
from gossamer.devices.virtio import wire
from gossamer.devices.virtio.age import NEWEST, Age
from gossamer.devices.virtio.ring import Order, Request, RingError, VirtQueue
from gossamer.devices.virtio.storage import StorageCore, VirtioStorage
from gossamer.state.declare import boolean, child, u32, wiring
from gossamer.state.layout import Loss, subsection

HOTPLUG, CHANGE = 1 << 1, 1 << 2
FEATURES: Final = HOTPLUG | CHANGE
CONTROL, EVENTS = 0, 1
CONFIG_SIZE: Final = 36
#: Where the driver may write: the sizes of sense data and of command blocks.
SENSE_SIZE_AT, CDB_SIZE_AT = 20, 24
SENSE_SIZE, CDB_SIZE = 96, 32
LEAST_CDB, MOST_SIZE = 16, 65536
MOST_SECTORS, COMMANDS, EVENT_SIZE = 0xFFFF, 128, 16
NUMBERS, UNITS = 255, 16383
# Responses.
OK, BAD_TARGET, FAILURE = 0, 3, 9
FUNCTION_COMPLETE, REJECTED, INCORRECT_LUN = 0, 10, 12
# Kinds of control requests, and functions of task management.
TASK, QUERY, SUBSCRIBE = 0, 1, 2
ABORT_TASK, ABORT_TASK_SET, CLEAR_ACA, CLEAR_TASK_SET, NEXUS_RESET, LUN_RESET = range(6)
QUERY_TASK, QUERY_TASK_SET = 6, 7
# Events.
PARAMETER_CHANGED, EVENTS_MISSED = 3, 1 << 31
HEAD: Final = 19
"""Bytes of a request before its command block."""
ANSWER: Final = 12
"""Bytes of an answer before its sense data."""


class ScsiCore(StorageCore):
    """And what only an adapter has."""

    adapter = subsection(
        "virtio/scsi/gossamer",
        ours=True,
        layout=["stalled", "missed", "sense_size", "cdb_size"],
    )
    #: The driver had no room for an event: the next one says so.
    missed: bool = boolean(within=adapter)
    #: Bytes of sense data and of command blocks, as the driver has set them.
    sense_size: int = u32(SENSE_SIZE, within=adapter)
    cdb_size: int = u32(CDB_SIZE, within=adapter)

    @property
    def _sized(self) -> bool:
        return (self.sense_size, self.cdb_size) != (SENSE_SIZE, CDB_SIZE)

    @adapter.needed
    def adapter_needed(self) -> bool:
        return self.stalled or self.missed or self._sized

    @adapter.losing
    def adapter_lost(self) -> Iterator[Loss]:
        if self.stalled:
            yield Loss("a request that an error of the host stopped")
        if self.missed:
            yield Loss("that an event found no room")
        if self._sized:
            yield Loss("the sizes of requests that the driver has set")

    def post_load(self, version: int) -> None:
        super().post_load(version)
        if not _possible(self.sense_size, self.cdb_size):
            raise ValueError(f"requests of {self.cdb_size} and {self.sense_size} bytes")


def _possible(sense_size: int, cdb_size: int) -> bool:
    return sense_size < MOST_SIZE and LEAST_CDB <= cdb_size < MOST_SIZE


class VirtioScsi(VirtioStorage):
    """The adapter; `bus` has its disks and drives.  `requests`: how many request queues."""

    vmsd = "virtio-scsi"
    version = minimum = 1
    layouts = wire.body()
    FIRST_REQUESTS = 2

    core: ScsiCore = child(ScsiCore)

    scsi: ScsiBus = wiring()

    def __init__(
        self,
        clock: Clock,
        bus: PciBus,
        devfn: int,
        *,
        requests: int = 1,
        name: str = "scsi.0",
        translated: bool = False,
        is_little: Callable[[], bool] = lambda: False,
        age: Age = NEWEST,
    ) -> None:
        where = f"{bus.name}:{devfn >> 3:02x}.{devfn & 7}"
        self.scsi = ScsiBus(where, name, 0, NUMBERS, UNITS)
        super().__init__(
            clock,
            bus,
            devfn,
            kind=8,
            device=0x1004,
            class_code=0x01_00_00,
            config_size=CONFIG_SIZE,
            features=FEATURES,
            queues=(
                (age.queue_size, self._control),
                (age.queue_size, self._events_wait),
                *((age.queue_size, self.requested),) * requests,
            ),
            vectors=requests + 3,
            translated=translated,
            is_little=is_little,
            age=age,
        )

    def make_core(self) -> ScsiCore:
        return ScsiCore(self.queues, self.host_features, self.age)

    def device_reset(self) -> None:
        super().device_reset()
        self.core.missed = False
        self.core.sense_size, self.core.cdb_size = SENSE_SIZE, CDB_SIZE
        self.scsi.stalled = None
        for disk in self.scsi.devices:
            disk.reset()
            disk.changed = self._changer(disk)

    def attach(self, disk: ScsiDisk) -> None:
        """Hear of a drive's changes."""
        disk.changed = self._changer(disk)

    # --- configuration ----------------------------------------------------------------------------

    def fill_config(self, order: Order) -> bytes:
        form = Struct((">" if order == "big" else "<") + "7I2HI")
        numbers = (
            len(self.queues) - self.FIRST_REQUESTS,
            self.age.queue_size - 2,
            MOST_SECTORS,
            COMMANDS,
        )
        sizes = self.core.sense_size, self.core.cdb_size
        return form.pack(*numbers, EVENT_SIZE, *sizes, 0, NUMBERS, UNITS)

    def write_device(self, offset: int, size: int, value: int, order: Order) -> None:
        self.config_space[:] = self.fill_config(self.order)
        super().write_device(offset, size, value, order)

    def config_was_set(self) -> None:
        sense_size, cdb_size = (
            int.from_bytes(self.config_space[at : at + 4], self.order)
            for at in (SENSE_SIZE_AT, CDB_SIZE_AT)
        )
        if _possible(sense_size, cdb_size):
            self.core.sense_size, self.core.cdb_size = sense_size, cdb_size
        else:
            self.fail("bad data written to virtio-scsi configuration space")

    # --- requests ---------------------------------------------------------------------------------

    def retry(self) -> None:
        if self.core.stalled:
            self.scsi.stalled = None
        super().retry()

    def request(self, request: Request) -> int | None:
        head, room = HEAD + self.core.cdb_size, ANSWER + self.core.sense_size
        if request.out_length < head or request.in_length < room:
            raise RingError("virtio-scsi missing headers")
        data = request.read(0, head)
        disk, lun = self._find(data)
        if disk is None:
            return self._answer(request, BAD_TARGET)
        port = Chain(request, head, room)
        if port.both:
            return self._answer(request, FAILURE)
        try:
            done = disk.execute(data[HEAD:], lun, port)
        except StalledError:
            self.core.stalled = True
            return None
        except PortError:
            raise RingError("bogus descriptor or out of resources") from None
        left = max(port.room - done.moved, 0) if done.length else port.room
        left = left if done.status == GOOD else 0
        return self._answer(request, OK, done.status, left, done.sense)

    def _answer(
        self, request: Request, response: int, status: int = 0, left: int = 0, sense: bytes = b""
    ) -> int:
        sense = sense[: self.core.sense_size]
        order = self.order
        head = len(sense).to_bytes(4, order) + left.to_bytes(4, order) + bytes((0, 0))
        request.write(0, head + bytes((status, response)) + sense)
        return request.in_length

    def _find(self, data: bytes) -> tuple[ScsiDisk | None, int]:
        """The unit that a request's first 8 bytes name, or another of its target; its number."""
        if data[0] != 1 or (data[2] and not 0x40 <= data[2] < 0x80):
            return None, 0
        lun = int.from_bytes(data[2:4], "big") & 0x3FFF
        return self.scsi.find(0, data[1], lun), lun

    # --- control ----------------------------------------------------------------------------------

    def _control(self, queue: VirtQueue) -> None:
        self.work_off(queue, self._managed)

    def _managed(self, request: Request) -> int:
        order = self.order
        kind = int.from_bytes(request.read(0, 4), order)
        if request.out_length < 4:
            raise RingError("virtio-scsi missing headers")
        if kind == TASK:
            if request.out_length < 24 or request.in_length < 1:
                raise RingError("virtio-scsi missing headers")
            return request.write(0, bytes((self._task(request.read(0, 24), order),)))
        if kind in (QUERY, SUBSCRIBE):
            if request.out_length < 16 or request.in_length < 5:
                raise RingError("virtio-scsi missing headers")
            return request.write(0, bytes(5))
        self.note(f"control request of kind {kind}")
        return 0

    def _task(self, data: bytes, order: Order) -> int:
        function = int.from_bytes(data[4:8], order)
        disk, lun = self._find(data[8:16])
        if function == NEXUS_RESET:
            for one in self.scsi.devices:
                if one.number == data[9]:
                    one.reset()
            return FUNCTION_COMPLETE
        if function not in (ABORT_TASK, ABORT_TASK_SET, CLEAR_TASK_SET, LUN_RESET, 6, 7):
            return REJECTED
        if disk is None:
            return BAD_TARGET
        if disk.lun != lun:
            return INCORRECT_LUN
        if function == LUN_RESET:
            disk.reset()
        return FUNCTION_COMPLETE

    # --- events -----------------------------------------------------------------------------------

    def _events_wait(self, queue: VirtQueue) -> None:
        if self.core.missed:
            self._event(0, bytes(8), 0)
        self.ring(queue).wake()

    def _changer(self, disk: ScsiDisk) -> Callable[[Sense], None]:
        def changed(why: Sense) -> None:
            if disk.is_cd and self.has(CHANGE):
                place = bytes((1, disk.number)) + (0x4000 * (disk.lun > 255) | disk.lun).to_bytes(2)
                self._event(PARAMETER_CHANGED, place.ljust(8, b"\0"), why[1] | why[2] << 8)

        return changed

    def _event(self, kind: int, place: bytes, reason: int) -> None:
        """Put an event where the driver waits for one."""
        queue, order = self.queues[EVENTS], self.order
        if not queue.desc or self.core.broken or self.core.disabled:
            return
        try:
            ring = self.ring(queue)
            request = ring.take()
            if request is None:
                self.core.missed = True
                return
            if request.out or request.in_length < EVENT_SIZE:
                raise RingError("virtio-scsi missing headers")
            if self.core.missed:
                kind, self.core.missed = kind | EVENTS_MISSED, False
            data = kind.to_bytes(4, order) + place + reason.to_bytes(4, order)
            ring.give(request.head, request.write(0, data))
            self.finish(ring)
        except RingError as fault:
            self.fail(str(fault))


class Chain:
    """The port of a command: what follows its headers in both directions."""

    queues = True

    def __init__(self, request: Request, out: int, into: int) -> None:
        self.request = request
        self._out, self._into = out, into
        self.left_out, self.left_in = request.out_length - out, request.in_length - into
        #: Bytes that the driver has lent, and whether it has in both directions.
        self.room, self.both = self.left_out + self.left_in, bool(self.left_out and self.left_in)

    def give(self, data: bytes) -> int:
        done = self.request.write(self._into, data) if self.left_in else 0
        self._into += done
        self.left_in -= done
        return done

    def take(self, length: int) -> bytes:
        data = self.request.read(self._out, min(length, self.left_out)) if self.left_out else b""
        self._out += len(data)
        self.left_out -= len(data)
        return data
