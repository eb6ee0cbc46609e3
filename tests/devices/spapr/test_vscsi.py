"""Virtual SCSI: messages, SRP, its disks, errors of the host, and a guest that means no good."""

from __future__ import annotations

from struct import pack

import pytest

from gossamer.base.errors import HostError
from gossamer.base.wire import WireReader, WireWriter
from gossamer.core.clock import Clock
from gossamer.devices.ide.media import STOP
from gossamer.devices.scsi.disk import CDROM, DISK, ScsiDisk
from gossamer.devices.spapr import srp
from gossamer.devices.spapr.vio_bus import H_REG_CRQ, H_SEND_CRQ, H_VIO_SIGNAL
from gossamer.devices.spapr.vscsi import VirtualScsi
from gossamer.state.transfer import load, save
from tests.devices.spapr.vio_rig import UNIT, VioRig
from tests.devices.virtio.rig import Image

QUEUE, IU, DATA = 0x1000, 0x3000, 0x8000


class Guest(VioRig):
    """A driver with one request at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.adapter = self.put(VirtualScsi)
        self.disk = ScsiDisk(Clock(), self.adapter.bus, DISK, number=0, name="d")
        self.drive = ScsiDisk(Clock(), self.adapter.bus, CDROM, number=2)
        self.image = self.disk.media = Image()
        assert self.call(H_REG_CRQ, UNIT, QUEUE, 0x1000)[0] == 0
        self.call(H_VIO_SIGNAL, UNIT, 1)
        self.taken = 0

    def message(self, form: int, length: int, at: int = IU) -> bytes | None:
        """Send a message; the answer's, if there is one."""
        assert self.call(H_SEND_CRQ, UNIT, 0x8000 << 48 | form << 48 | length, at)[0] == 0
        return self.answer()

    def answer(self) -> bytes | None:
        at = QUEUE + 16 * self.taken
        found = self.memory.read(at, 16)
        if not found[0]:
            return None
        self.memory.write(at, bytes(16))
        self.taken = (self.taken + 1) % 256
        return found

    def unit(self, cdb: bytes, *, out: int = 0, into: int = 0, number: int = 0) -> bytes:
        form = 1
        forms = (form if out else 0) << 4 | (form if into else 0)
        head = pack(">B4xBxx8s4xQ4x", 2, forms, b"a tag...", (0x8000 | number << 8) << 48)
        buffer = pack(">QII", DATA, 0, out or into) if out or into else b""
        return head + cdb.ljust(16, b"\0") + buffer

    def do(self, cdb: bytes, *, out: int = 0, into: int = 0, number: int = 0) -> tuple[int, int]:
        """Status and sense key of a command."""
        unit = self.unit(cdb, out=out, into=into, number=number)
        self.memory.write(IU, unit)
        answer = self.message(1, len(unit))
        assert answer is not None
        assert answer[8:] == b"a tag..."
        reply = self.memory.read(IU, 56)
        return reply[19], reply[36 + 2] & 15 if reply[18] & 2 else 0


@pytest.fixture
def guest() -> Guest:
    made = Guest()
    assert made.do(bytes(6)) == (2, 6)  # it was switched on
    assert made.do(bytes(6)) == (0, 0)
    return made


def test_a_login_and_an_initialisation(guest: Guest) -> None:
    assert guest.call(H_SEND_CRQ, UNIT, 0xC001 << 48, 0)[0] == 0
    assert guest.answer() == b"\xc0\x02".ljust(16, b"\0")
    guest.memory.write(IU, bytes(8) + b"a tag..." + bytes(16))
    assert guest.message(1, 32) is not None
    assert guest.memory.read(IU, 8) == bytes((0xC0, 0, 0, 0, 0, 0, 0, 22))


def test_blocks_move_both_ways(guest: Guest) -> None:
    assert guest.do(bytes((0x28, 0, 0, 0, 0, 3, 0, 0, 2, 0)), into=1024) == (0, 0)
    assert guest.memory.read(DATA, 1024) == guest.image.data[3 * 512 : 5 * 512]
    guest.memory.write(DATA, b"new".ljust(512, b"!"))
    assert guest.do(bytes((0x2A, 0, 0, 0, 0, 9, 0, 0, 1, 0)), out=512) == (0, 0)
    assert guest.image.data[9 * 512 :][:4] == b"new!"
    assert guest.image.flushes == 0
    assert guest.do(bytes((0x35,)).ljust(10, b"\0")) == (0, 0)
    assert guest.image.flushes == 1
    assert guest.edges.count == 5


def test_without_a_cache_each_write_is_durable(guest: Guest) -> None:
    guest.memory.write(DATA, bytes((0, 0, 0, 0, 8, 18)).ljust(24, b"\0"))
    assert guest.do(bytes((0x15, 0x10, 0, 0, 24, 0)), out=24) == (0, 0)
    before = guest.image.flushes
    assert guest.do(bytes((0x2A, 0, 0, 0, 0, 9, 0, 0, 1, 0)), out=512) == (0, 0)
    assert guest.image.flushes == before + 1
    assert guest.disk.own_needed()


@pytest.mark.parametrize(
    ("cdb", "key"),
    [
        (bytes((0x28, 0, 0, 0, 0, 64, 0, 0, 1, 0)), 5),
        (bytes((0x28, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0)), 5),
        (bytes((0x88, 0, *[0xFF] * 12, 0, 0)), 5),
        (bytes((0xA8, 0, 0, 0, 0, 0, 0xFF, 0, 0, 0, 0, 0)), 5),
        (bytes((0x93, 1, *[0] * 8, 0xFF, 0, 0, 0, 0, 0)), 5),
        (bytes((0xEE,)), 5),
        (bytes((0x60,)), 5),
    ],
)
def test_what_the_disk_has_not(guest: Guest, cdb: bytes, key: int) -> None:
    assert guest.do(cdb, into=512) == (2, key)


def test_a_drive_without_a_disc(guest: Guest) -> None:
    assert guest.do(bytes(6), number=2) == (2, 6)
    assert guest.do(bytes(6), number=2) == (2, 2)


def test_a_disc_that_comes_is_reported_in_two_steps(guest: Guest) -> None:
    guest.do(bytes(6), number=2)
    guest.drive.change_media(Image())
    assert guest.do(bytes(6), number=2) == (2, 6)
    assert guest.memory.read(IU + 36 + 12, 1) == b"\x3a"
    assert guest.do(bytes(6), number=2) == (2, 6)
    assert guest.memory.read(IU + 36 + 12, 1) == b"\x28"
    assert guest.do(bytes(6), number=2) == (0, 0)


def test_a_locked_tray_asks_the_guest(guest: Guest) -> None:
    guest.do(bytes(6), number=2)
    guest.drive.media = Image()
    guest.do(bytes((0x1E, 0, 0, 0, 1, 0)), number=2)
    assert not guest.drive.request_eject()
    assert guest.do(bytes(6), number=2) == (2, 6)
    assert guest.do(bytes((0x1B, 0, 0, 0, 2, 0)), number=2) == (2, 5)
    guest.do(bytes((0x1E,)).ljust(6, b"\0"), number=2)
    assert guest.do(bytes((0x1B, 0, 0, 0, 2, 0)), number=2) == (0, 0)
    assert guest.drive.tray_open


def test_an_error_of_the_host_waits_and_is_done_again(guest: Guest) -> None:
    failing = [True]

    def read(offset: int, length: int) -> bytes:
        if failing:
            raise HostError("no such sector")
        return b"there".ljust(length, b".")

    guest.image.read = read  # type: ignore[method-assign]
    guest.disk.policy = lambda write, error: STOP
    unit = guest.unit(bytes((0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0)), into=512)
    guest.memory.write(IU, unit)
    assert guest.message(1, len(unit)) is None
    assert guest.adapter.stalled
    assert guest.disk.stalled
    writer = WireWriter()
    save(guest.adapter, writer)
    other = Guest()
    load(other.adapter, WireReader(writer.data), 1)
    assert other.adapter.waiting == guest.adapter.waiting
    failing.clear()
    guest.adapter.retry()
    assert guest.answer() is not None
    assert guest.memory.read(DATA, 5) == b"there"
    assert not guest.adapter.stalled


def test_more_than_may_wait_is_lost(guest: Guest) -> None:
    guest.adapter.waiting = [bytes(16)]
    for _ in range(100):
        assert guest.message(1, 64) is None
    assert len(guest.adapter.waiting) == srp.LIMIT


@pytest.mark.parametrize(
    ("length", "at"), [(0x200, IU), (64, 0x10_0000), (64, (1 << 64) - 8), (0xFFFF, 0)]
)
def test_a_unit_that_is_none(guest: Guest, length: int, at: int) -> None:
    assert guest.message(1, length, at) is None


def test_a_queue_that_is_full_or_gone_loses_answers(guest: Guest) -> None:
    guest.memory.write(QUEUE + 16 * guest.taken, b"\x80")
    unit = guest.unit(bytes(6))
    guest.memory.write(IU, unit)
    guest.message(1, len(unit))
    assert guest.adapter.crq_next == 16 * guest.taken - 16
    guest.call(0x138, UNIT, 0, 0, 256)
    assert guest.call(H_SEND_CRQ, UNIT, 0x8001 << 48 | 64, IU)[0] == 0


def test_descriptors_that_go_on_for_ever_have_an_end(guest: Guest) -> None:
    """A table of 4 GiB whose pieces are all the same page: one command moves 32 MiB at the most."""
    head = pack(">B4xBBB8s4xQ4x", 2, 2, 0, 0, b"a tag...", 0x8000 << 48)
    cdb = bytes((0xA8, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0, 0)).ljust(16, b"\0")
    unit = head + cdb + pack(">QII", DATA, 0, 0xFFFF_FFF0) + pack(">I", 0xFFFF_FFFF)
    guest.memory.write(IU, unit)
    assert guest.message(1, len(unit)) is not None
    assert guest.memory.read(IU + 19, 1) == b"\x02"


def test_pieces_of_no_length_are_passed(guest: Guest) -> None:
    head = pack(">B4xBBB8s4xQ4x", 2, 2, 0, 0, b"a tag...", 0x8000 << 48)
    unit = head + bytes((0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0)).ljust(16, b"\0")
    unit += pack(">QII", DATA, 0, 16 * 0x1000) + pack(">I", 0xFFFF_FFFF)
    guest.memory.write(DATA, bytes(0x1_0000))
    guest.memory.write(IU, unit)
    assert guest.message(1, len(unit)) is not None
    assert guest.memory.read(IU + 24, 4) == (512).to_bytes(4, "big")  # nothing has moved
