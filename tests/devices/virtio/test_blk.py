"""virtio-blk: requests, and drivers that break the rules of rings."""

from __future__ import annotations

from collections.abc import Callable
from struct import pack

import pytest

from gossamer.base.errors import HostError
from gossamer.base.wire import WireReader, WireWriter
from gossamer.devices.ide.media import STOP
from gossamer.devices.virtio.pci import NEEDS_RESET
from gossamer.state.transfer import load, save
from tests.devices.virtio.rig import (
    AVAIL,
    BUFFERS,
    DESC,
    DISK,
    EVENTS,
    INDIRECT,
    NEXT,
    PLAIN,
    RAM,
    USED,
    WRITE,
    Rig,
)  # fmt: skip

HEADER = (BUFFERS, 16)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_read_and_write_move_sectors(rig: Rig) -> None:
    assert rig.request(0, 3, 1024) == (0, bytes([3]) * 512 + bytes([4]) * 512)
    assert rig.used == [(0, 1025)]
    assert rig.request(1, 3, 0, out=b"x" * 512)[0] == 0
    assert rig.image.data[3 * 512 : 4 * 512] == b"x" * 512
    assert rig.image.flushes == 0
    assert rig.request(4, 0, 0)[0] == 0
    assert rig.image.flushes == 1
    assert rig.disk.isr == 1
    assert rig.lines[0].level


@pytest.mark.parametrize(
    ("kind", "sector", "length"), [(0, 64, 512), (0, 0, 511), (0, 1 << 60, 512)]
)
def test_what_is_not_on_the_disk_is_an_error(rig: Rig, kind: int, sector: int, length: int) -> None:
    assert rig.request(kind, sector, length)[0] == 1
    assert not rig.disk.core.broken


def test_identity_zeroes_and_what_is_unknown(rig: Rig) -> None:
    assert rig.request(8, 0, 20) == (0, b"a disk".ljust(20, b"\0"))
    assert rig.request(13, 0, 0, out=pack("<QII", 5, 2, 0))[0] == 0
    assert not any(rig.image.data[5 * 512 : 7 * 512])
    assert rig.request(11, 0, 0, out=pack("<QII", 5, 2, 1))[0] == 2
    assert rig.request(13, 0, 0, out=pack("<QII", 63, 2, 0))[0] == 1
    assert rig.request(99, 0, 512)[0] == 2


def test_a_cache_that_is_off_makes_writes_durable(rig: Rig) -> None:
    rig.disk.write_device(32, 1, 0, "little")
    before = rig.image.flushes
    rig.request(1, 0, 0, out=b"y" * 512)
    assert rig.image.flushes == before + 1


def test_an_error_of_the_host_waits_for_the_machine(rig: Rig) -> None:
    def fail(offset: int, length: int) -> bytes:
        raise HostError("the cable is out")

    works, rig.image.read = rig.image.read, fail  # type: ignore[method-assign]
    rig.disk.policy = lambda write, error: STOP
    assert rig.request(0, 0, 512)[0] == 0xFF
    assert rig.disk.stalled
    assert rig.used == []
    again = Rig()
    w = WireWriter()
    save(rig.disk, w)
    load(again.disk, WireReader(bytes(w.data)), 2)
    assert again.disk.stalled
    rig.image.read = works  # type: ignore[method-assign]
    rig.disk.retry()
    assert rig.used == [(0, 513)]
    assert not rig.disk.stalled


# --- drivers that break the rules -----------------------------------------------------------------


def _loop(rig: Rig) -> None:
    rig.descriptor(0, *HEADER, NEXT, 0)


def _beyond(rig: Rig) -> None:
    rig.descriptor(0, *HEADER, NEXT, 256)


def _outside(rig: Rig) -> None:
    rig.descriptor(0, RAM - 8, 16, NEXT, 1)
    rig.descriptor(1, BUFFERS, 1, WRITE)


def _far(rig: Rig) -> None:
    rig.descriptor(0, (1 << 64) - 8, 16, NEXT, 1)
    rig.descriptor(1, BUFFERS, 1, WRITE)


def _nothing(rig: Rig) -> None:
    rig.descriptor(0, BUFFERS, 0, 0)


def _order(rig: Rig) -> None:
    rig.descriptor(0, BUFFERS, 16, NEXT | WRITE, 1)
    rig.descriptor(1, BUFFERS, 16, 0)


def _no_status(rig: Rig) -> None:
    rig.descriptor(0, *HEADER, 0)


def _short(rig: Rig) -> None:
    rig.descriptor(0, BUFFERS, 15, NEXT, 1)
    rig.descriptor(1, BUFFERS, 1, WRITE)


def _odd_table(rig: Rig) -> None:
    rig.descriptor(0, DESC, 17, INDIRECT)


def _table_nowhere(rig: Rig) -> None:
    rig.descriptor(0, RAM, 32, INDIRECT)


def _table_in_itself(rig: Rig) -> None:
    rig.memory.write(BUFFERS, pack("<QIHH", BUFFERS, 16, NEXT, 0) * 2)
    rig.descriptor(0, BUFFERS, 32, INDIRECT)


BREAKS = [
    (_loop, "looped"), (_beyond, "256 follows"), (_outside, "bogus"), (_far, "bogus"),
    (_nothing, "zero sized"), (_order, "incorrect order"), (_no_status, "missing headers"),
    (_short, "outhdr too short"), (_odd_table, "invalid size"), (_table_nowhere, "not in memory"),
    (_table_in_itself, "looped"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "text"), BREAKS)
def test_a_broken_chain_stops_the_device(rig: Rig, made: Callable[[Rig], None], text: str) -> None:
    made(rig)
    rig.offer(0)
    assert rig.disk.core.broken
    assert rig.disk.status & NEEDS_RESET
    assert rig.disk.isr == 3
    assert any(text in note for note in rig.notes), rig.notes
    rig.offer(0)
    assert rig.used == []
    rig.begin(PLAIN)
    assert rig.request(0, 0, 512)[0] == 0


@pytest.mark.parametrize("index", [257, 0x8000, 0xFFFF])
def test_more_chains_than_there_are_stop_it(rig: Rig, index: int) -> None:
    rig.index = index - 1
    rig.offer(0)
    assert rig.disk.core.broken


def test_a_head_that_is_none_stops_it(rig: Rig) -> None:
    rig.offer(256)
    assert rig.disk.core.broken


@pytest.mark.parametrize("register", [32, 40, 48])
def test_rings_outside_memory_stop_it(rig: Rig, register: int) -> None:
    rig.common(register, RAM - 2)
    rig.common(28, 1)
    rig.offer(0)
    assert rig.disk.core.broken


def test_rings_on_top_of_each_other_end(rig: Rig) -> None:
    """What is handed back offers new chains: each notification does a ring's worth at the most."""
    rig.common(48, AVAIL)
    rig.common(28, 1)
    rig.request(0, 0, 512)
    assert rig.disk.queues[0].last <= 256


def test_an_interrupt_comes_where_the_driver_wants_one() -> None:
    rig = Rig(EVENTS)
    rig.disk.msix.set_message(1, 0x400, 0x1301)
    rig.disk.config[rig.disk.msix.at + 3] |= 0x80
    rig.common(26, 1)
    rig.request(0, 0, 512)
    assert rig.sent == [(0x400, 0x1301)]
    rig.memory.write(AVAIL + 4 + 2 * 256, pack("<H", 2))  # after two more
    rig.request(0, 0, 512)
    assert len(rig.sent) == 1
    assert rig.memory.read(USED + 4 + 8 * 256, 2) == pack("<H", rig.index)
    rig.request(0, 0, 512)
    assert len(rig.sent) == 2


def test_a_section_comes_back_as_it_was(rig: Rig) -> None:
    rig.request(0, 0, 512)
    w = WireWriter()
    save(rig.disk, w)
    again = Rig()
    load(again.disk, WireReader(bytes(w.data)), 2)
    v = WireWriter()
    save(again.disk, v)
    assert bytes(w.data) == bytes(v.data)
    assert again.disk.queues[0].last == 1
    assert rig.image.size == DISK
