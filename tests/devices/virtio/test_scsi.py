"""virtio-scsi: requests, control, events, errors of the host, and rings that break rules."""

from __future__ import annotations

from struct import pack, unpack

import pytest

from gossamer.base.errors import HostError
from gossamer.base.wire import WireReader, WireWriter
from gossamer.core.clock import Clock
from gossamer.devices.ide.media import STOP
from gossamer.devices.scsi.disk import CDROM, DISK, ScsiDisk
from gossamer.devices.virtio.scsi import CHANGE, VirtioScsi
from gossamer.state.transfer import load, save
from tests.devices.virtio.rig import AVAIL, BUFFERS, NEXT, PLAIN, WRITE, Image, Rig

SENSE = 12
DATA = BUFFERS + 0x1000
ANSWER = BUFFERS + 0x400


class Guest(Rig):
    """Requests of one command on queue 2; `queue` is where `offer` puts chains."""

    def __init__(self, features: int = PLAIN | CHANGE) -> None:
        super().__init__()
        self.bus.functions.clear()
        self.adapter = VirtioScsi(Clock(), self.bus, 0)
        self.adapter.trace = self.trace
        self.disk = self.adapter  # type: ignore[assignment]
        self.hard = ScsiDisk(Clock(), self.adapter.scsi, DISK, number=0)
        self.drive = ScsiDisk(Clock(), self.adapter.scsi, CDROM, number=1, lun=2)
        self.adapter.attach(self.drive)
        self.image = self.hard.media = Image()
        self.queue = 2
        self.begin(features)

    def begin(self, features: int) -> None:
        if not hasattr(self, "queue"):
            return
        super().begin(features)
        self.select(self.queue)

    def select(self, queue: int) -> None:
        """Use another queue from now on, with the same rings."""
        self.queue, self.index = queue, 0
        self.memory.write(AVAIL, bytes(0x2000))
        self.common(22, queue)
        for at, value in ((24, 256), (32, 0x1000), (40, 0x2000), (48, 0x3000), (28, 1)):
            self.common(at, value)

    def offer(self, *heads: int) -> None:
        for head in heads:
            self.memory.write(AVAIL + 4 + 2 * (self.index % 256), pack("<H", head))
            self.index += 1
        self.memory.write(AVAIL + 2, pack("<H", self.index))
        self.adapter.notify(self.queue)

    def do(
        self, cdb: bytes, *, out: int = 0, into: int = 0, lun: bytes = b"\1\0\0\0"
    ) -> tuple[int, int, int, bytes]:
        """Response, status, what is left, sense."""
        self.memory.write(BUFFERS, lun.ljust(19, b"\0") + cdb.ljust(32, b"\0"))
        self.memory.write(ANSWER, b"\xff" * 108)
        parts = [(BUFFERS, 51, 0)]
        parts += [(DATA, out, 0)] if out else []
        parts += [(ANSWER, 108, WRITE)]
        parts += [(DATA, into, WRITE)] if into else []
        for n, (at, length, flags) in enumerate(parts):
            more = NEXT if n + 1 < len(parts) else 0
            self.descriptor(n, at, length, flags | more, n + 1)
        self.offer(0)
        length, left = unpack("<II", self.memory.read(ANSWER, 8))
        status, response = self.memory.read(ANSWER + 10, 2)
        return response, status, left, self.memory.read(ANSWER + SENSE, min(length, 96))


@pytest.fixture
def guest() -> Guest:
    made = Guest()
    assert made.do(bytes(6))[:2] == (0, 2)
    assert made.do(bytes(6)) == (0, 0, 0, b"")
    return made


def test_blocks_move_both_ways(guest: Guest) -> None:
    read = bytes((0x28, 0, 0, 0, 0, 3, 0, 0, 1, 0))
    assert guest.do(read, into=512) == (0, 0, 0, b"")
    assert guest.memory.read(DATA, 512) == guest.image.data[3 * 512 : 4 * 512]
    assert guest.do(read, into=1024) == (0, 0, 512, b"")
    guest.memory.write(DATA, b"new".ljust(512, b"!"))
    assert guest.do(bytes((0x2A, 0, 0, 0, 0, 9, 0, 0, 1, 0)), out=512) == (0, 0, 0, b"")
    assert guest.image.data[9 * 512 :][:4] == b"new!"


def test_places_where_there_is_nothing(guest: Guest) -> None:
    for lun in (b"\1\5\0\0", b"\0\0\0\0", b"\2\0\0\0", b"\1\0\x80\0"):
        assert guest.do(bytes(6), lun=lun)[0] == 3
    response, status, _, sense = guest.do(bytes(6), lun=b"\1\0\x40\5")
    assert (response, status, sense[2], sense[12]) == (0, 2, 5, 0x25)


def test_an_error_of_the_host_waits_and_is_done_again(guest: Guest) -> None:
    def read(offset: int, length: int) -> bytes:
        raise HostError("no such sector")

    guest.image.read = read  # type: ignore[method-assign]
    guest.hard.policy = lambda write, error: STOP
    guest.do(bytes((0x28, 0, 0, 0, 0, 3, 0, 0, 1, 0)), into=512)
    assert guest.adapter.stalled
    assert len(guest.used) == 2
    del guest.image.read
    guest.adapter.retry()
    assert len(guest.used) == 3
    assert guest.memory.read(DATA, 512) == guest.image.data[3 * 512 : 4 * 512]


def test_tasks_and_questions_are_answered(guest: Guest) -> None:
    guest.select(0)

    def ask(data: bytes, room: int) -> bytes:
        guest.memory.write(BUFFERS, data)
        guest.memory.write(ANSWER, b"\xff" * room)
        guest.descriptor(0, BUFFERS, len(data), NEXT, 1)
        guest.descriptor(1, ANSWER, room, WRITE)
        guest.offer(0)
        return guest.memory.read(ANSWER, room)

    here, away = b"\1\0\0\0".ljust(8, b"\0"), b"\1\7\0\0".ljust(8, b"\0")
    tasks = ((5, here, 0), (0, here, 0), (9, here, 10), (0, away, 3), (4, here, 0))
    for function, lun, want in tasks:
        assert ask(pack("<II", 0, function) + lun + bytes(8), 1)[0] == want, function
    assert ask(pack("<I", 0) + pack("<I", 5) + b"\1\0\0\1".ljust(16, b"\0"), 1)[0] == 12
    assert ask(pack("<I", 2) + bytes(12), 5) == bytes(5)
    assert guest.hard.attention_key == 6


def test_a_changed_disc_is_an_event(guest: Guest) -> None:
    guest.drive.change_media(None)
    guest.select(1)
    guest.descriptor(0, ANSWER, 16, WRITE)
    guest.offer(0)
    assert guest.used == []
    guest.drive.change_media(Image())
    assert guest.memory.read(ANSWER, 16) == pack("<IBBH4xI", 3, 1, 1, 0x200, 0x29).ljust(16, b"\0")
    guest.drive.change_media(None)  # no room: the next one says so
    assert guest.adapter.core.missed
    guest.offer(0)
    assert guest.memory.read(ANSWER, 4) == pack("<I", 1 << 31)


def test_a_chain_without_room_for_an_answer_breaks_the_device(guest: Guest) -> None:
    guest.descriptor(0, BUFFERS, 51, NEXT, 1)
    guest.descriptor(1, ANSWER, 8, WRITE)
    guest.offer(0)
    assert guest.adapter.core.broken
    assert "missing headers" in guest.notes[-1]


def test_sizes_that_cannot_be(guest: Guest) -> None:
    guest.adapter.write_device(24, 4, 8, "little")
    assert guest.adapter.core.broken


def test_a_stream_and_back(guest: Guest) -> None:
    writer = WireWriter()
    save(guest.adapter, writer)
    other = Guest()
    load(other.adapter, WireReader(writer.data), 1)
    again = WireWriter()
    save(other.adapter, again)
    assert again.data == writer.data
    assert other.adapter.queues[2].last == guest.adapter.queues[2].last == 2
