"""CD-ROM drives: the packet phases, the commands, disc changes, and cuts in mid-transfer."""

from __future__ import annotations

import random

import pytest

from gossamer.base.errors import HostError
from gossamer.devices.ide import atapi
from gossamer.devices.ide.cell import CDROM
from tests.devices.ide.ide_rig import INPUT_LAST, Disc, Rig

SECTORS = 1000


def sector(n: int) -> bytes:
    return (0xCD000000 + n).to_bytes(4, "big") * 512


def disc() -> Disc:
    return Disc(b"".join(sector(n) for n in range(SECTORS)), read_only=True)


@pytest.fixture
def rig() -> Rig:
    return Rig(CDROM, disc())


def ask(rig: Rig, *cdb: int, size: int = 0xFFFE) -> bytes:
    """A packet that must succeed; its data."""
    rig.packet(bytes(cdb), size=size)
    data = rig.answer()
    assert rig.get(7) == 0x50, f"sense {rig.drive.sense_key:x}/{rig.drive.asc:02x}"
    assert rig.get(2) == 3
    return data


def refused(rig: Rig, *cdb: int) -> tuple[int, int]:
    """A packet that must fail; sense key and additional sense code."""
    rig.packet(bytes(cdb))
    assert rig.get(7) == 0x41
    key = rig.get(1) >> 4
    sense = ask(rig, 3, 0, 0, 0, 18)
    assert sense[2] == key
    return key, sense[12]


def test_signature_and_identify(rig: Rig):
    assert (rig.get(4), rig.get(5)) == (0x14, 0xEB)
    rig.put(7, 0xEC)
    assert rig.settle() == 0x41
    assert (rig.get(4), rig.get(5)) == (0x14, 0xEB)
    rig.put(7, 0xA1)
    assert rig.settle() == 0x58
    assert rig.take(512)[:2] == b"\xc0\x85"


def test_inquiry(rig: Rig):
    data = ask(rig, 0x12, 0, 0, 0, 96)
    assert data == b"\x05\x80\x00\x21\x1f\0\0\0QEMU    QEMU DVD-ROM    2.5+"
    assert ask(rig, 0x12, 0, 0, 0, 5) == data[:5]
    assert ask(rig, 0x12, 1, 0x83, 0, 96)[8:] == b"QM00001".ljust(20)
    assert refused(rig, 0x12, 1, 0x80, 0, 96) == (5, 0x24)


def test_capacity_and_table_of_contents(rig: Rig):
    assert ask(rig, 0x25) == bytes.fromhex("000003e7 00000800")
    assert ask(rig, 0x43, 0, 0, 0, 0, 0, 0, 0, 100) == bytes.fromhex(
        "0012 0101 0014010000000000 0016aa00000003e8"
    )
    assert ask(rig, 0x43, 2, 0, 0, 0, 0, 0xAA, 0, 100) == bytes.fromhex(
        "000a 0101 0016aa0000000f19"
    )
    assert ask(rig, 0x43, 0, 1, 0, 0, 0, 0, 0, 100) == bytes.fromhex("000a 0101 00140100 00000000")
    assert len(ask(rig, 0x43, 0, 2, 0, 0, 0, 0, 0, 100)) == 48
    assert refused(rig, 0x43, 0, 5, 0, 0, 0, 0, 0, 100) == (5, 0x24)
    assert refused(rig, 0x43, 0, 0, 0, 0, 0, 7, 0, 100) == (5, 0x24)


@pytest.mark.parametrize("size", [2048, 3000, 512, 0xFFFE, 0, 4097])
def test_read_in_blocks_of_the_size_asked_for(rig: Rig, size: int):
    data = ask(rig, 0x28, 0, 0, 0, 0, 5, 0, 0, 40, size=size)
    assert data == b"".join(sector(5 + n) for n in range(40))


def test_read_takes_time_and_interrupts_for_each_block(rig: Rig):
    rig.packet(bytes((0xA8, 0, 0, 0, 0, 9, 0, 0, 0, 2)), size=2048)
    start = rig.clock.now
    assert start > 2_000_000
    assert rig.line.level
    assert rig.get(7) == 0x58
    assert rig.take(2048) == sector(9)
    assert rig.status & 0x80
    rig.settle()
    assert rig.clock.now - start == 4 * 30_842
    assert rig.line.level
    assert rig.take(2048) == sector(10)


def test_raw_sectors(rig: Rig):
    data = ask(rig, 0xBE, 0, 0, 0, 0, 5, 0, 0, 2, 0xF8)
    assert len(data) == 2 * 2352
    assert data[:16] == b"\0" + b"\xff" * 10 + b"\0" + b"\x00\x02\x05\x01"
    assert data[2352 + 16 : 2352 + 16 + 2048] == sector(6)
    assert ask(rig, 0xBE, 0, 0, 0, 0, 5, 0, 0, 1, 0x10) == sector(5)
    assert refused(rig, 0xBE, 0, 0, 0, 0, 5, 0, 0, 1, 0x20) == (5, 0x24)


def test_what_cannot_be_done_is_refused(rig: Rig):
    assert refused(rig, 0x28, 0, 0, 0, 3, 0xE8, 0, 0, 1) == (5, 0x21)
    assert refused(rig, 0x2B, 0, 0, 0, 3, 0xE8) == (5, 0x21)
    assert refused(rig, 0xEE) == (5, 0x20)
    assert refused(rig, 0x5A, 0, 0xC1) == (5, 0x39)
    assert refused(rig, 0x5A, 0, 0x0D) == (5, 0x24)
    assert refused(rig, 0xAD, 0, 0, 0, 0, 0, 0, 0, 0, 36) == (5, 0x30)
    assert refused(rig, 0x4A, 0, 0, 0, 0x10, 0, 0, 0, 8) == (5, 0x24)


def test_mode_pages_and_configuration(rig: Rig):
    page = ask(rig, 0x5A, 0, 0x2A, 0, 0, 0, 0, 0, 128)
    assert page[:2] == b"\x00\x1c"
    assert page[8:10] == b"\x2a\x14"
    everything = ask(rig, 0x5A, 0, 0x3F, 0, 0, 0, 0, 0, 128)
    assert len(everything) == int.from_bytes(everything[:2], "big") + 2 == 54
    assert ask(rig, 0x46, 0, 0, 0, 0, 0, 0, 1, 0) == bytes.fromhex(
        "00000010 00000008 00000308 00100000 00080100"
    )
    assert ask(rig, 0xBD, 0, 0, 0, 0, 0, 0, 0, 0, 8) == bytes.fromhex("0000000000010000")
    assert len(ask(rig, 0x51, 0, 0, 0, 0, 0, 0, 0, 34)) == 34


def test_locked_tray_stays_shut_and_asks_the_guest(rig: Rig):
    ask(rig, 0x1E, 0, 0, 0, 1)
    assert refused(rig, 0x1B, 0, 0, 0, 2) == (2, 0x53)
    assert not atapi.request_eject(rig.drive)
    event = (0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8)
    assert ask(rig.cut(), *event)[4] == 1
    ask(rig, 0x1E, 0, 0, 0, 0)
    ask(rig, 0x1B, 0, 0, 0, 2)
    assert rig.cut().drive.tray_open
    assert refused(rig, 0x00) == (2, 0x3A)
    assert ask(rig, *event)[5] == 1
    ask(rig, 0x1B, 0, 0, 0, 3)
    ask(rig, 0x00)
    assert ask(rig, *event)[4:6] == b"\x02\x02"
    assert ask(rig, *event)[4:6] == b"\x00\x02"


@pytest.mark.parametrize("cut", [False, True], ids=["", "saved"])
@pytest.mark.parametrize(
    "steps", ["change", "eject change", "change change", "change eject change"]
)
def test_changed_disc_shows_as_attention_once(steps: str, cut: bool):
    """Case 26: the first TEST UNIT READY reports 6/28 and uses it up; the next command works."""
    rig = Rig(CDROM, disc())
    ask(rig, 0x00)
    for step in steps.split():
        if step == "eject":
            atapi.change_media(rig.drive, None)
            assert refused(rig, 0x00) == (2, 0x3A)
            assert refused(rig, 0x00) == (2, 0x3A)
        else:
            atapi.change_media(rig.drive, disc())
    if cut:
        rig = rig.cut()
        rig.drive.media = disc()
    assert ask(rig, 0x12, 0, 0, 0, 36)[0] == 5  # INQUIRY does not use it up
    assert refused(rig, 0x00) == (6, 0x28)
    assert ask(rig, 0x28, 0, 0, 0, 0, 1, 0, 0, 1) == sector(1)
    ask(rig, 0x00)


def test_changed_disc_is_reported_by_request_sense():
    rig = Rig(CDROM, None)
    assert refused(rig, 0x00) == (2, 0x3A)
    atapi.change_media(rig.drive, disc())
    assert ask(rig, 3, 0, 0, 0, 18)[2:14:10] == bytes((6, 0x28))
    ask(rig, 0x00)


def test_change_that_qemu_has_half_reported_shows_as_attention():
    """QEMU counts 1 (no medium next), 2 (attention next)."""
    for step in (1, 2):
        rig = Rig(CDROM, disc())
        rig.drive.cdrom_changed = step
        assert refused(rig, 0x00) == (6, 0x28)
        ask(rig, 0x00)


def test_open_tray_is_no_medium_and_keeps_the_attention():
    rig = Rig(CDROM, disc())
    atapi.change_media(rig.drive, disc())
    rig.drive.tray_open = True
    assert refused(rig, 0x00) == (2, 0x3A)
    rig.drive.tray_open = False
    assert refused(rig, 0x00) == (6, 0x28)


def test_dma_read(rig: Rig):
    rig.program(INPUT_LAST, 0x8000, 30 * 2048)
    rig.packet(bytes((0x28, 0, 0, 0, 0, 3, 0, 0, 30)), feature=1)
    assert rig.settle() == 0x50
    assert rig.line.level
    assert rig.map.read(0x8000, 30 * 2048) == b"".join(sector(3 + n) for n in range(30))
    rig.program(INPUT_LAST, 0x8000, 8)
    rig.packet(bytes((0x25,)), feature=1)
    assert rig.settle() == 0x50
    assert rig.map.read(0x8000, 8) == bytes.fromhex("000003e7 00000800")


def test_cut_at_every_event_changes_nothing():
    def run(cut: int, feature: int) -> tuple[bytes, int]:
        rig, got = Rig(CDROM, disc()), b""
        rig.program(INPUT_LAST, 0x8000, 20 * 2048)
        rig.packet(bytes((0x28, 0, 0, 0, 0, 3, 0, 0, 20)), feature=feature, size=3000)
        for n in range(200):
            if n == cut:
                rig = rig.cut()
            if rig.status & 0x80:
                rig.clock.advance(rig.clock.deadline)
            elif rig.status & 8:
                length = rig.get(4) | rig.get(5) << 8
                got += rig.take(min(length, 1000) & ~1)
                got += rig.take(length - min(length, 1000) & ~1)
            else:
                break
        return got or rig.map.read(0x8000, 20 * 2048), rig.clock.now

    for feature in (0, 1):
        whole = run(-1, feature)
        assert whole[0] == b"".join(sector(3 + n) for n in range(20))
        for cut in range(12):
            assert run(cut, feature) == whole


def test_unreadable_disc(rig: Rig):
    rig.disc.fails = HostError("scratched")
    rig.packet(bytes((0x28, 0, 0, 0, 0, 3, 0, 0, 1)))
    rig.disc.fails = None
    assert rig.get(7) == 0x41
    assert ask(rig, 3, 0, 0, 0, 18)[2:14] == bytes((3, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x11, 0))


def test_device_reset_ends_a_transfer(rig: Rig):
    rig.packet(bytes((0x28, 0, 0, 0, 0, 3, 0, 0, 9)), size=2048)
    rig.take(100)
    rig.put(7, 0x08)
    assert rig.settle() == 0
    assert [rig.get(n) for n in (2, 3, 4, 5)] == [1, 1, 0x14, 0xEB]
    assert ask(rig, 0x25)[:4] == (SECTORS - 1).to_bytes(4, "big")


def test_random_packets_never_raise_and_always_save():
    rnd = random.Random(7)
    rig = Rig(CDROM, disc())
    ops = [0, 3, 0x12, 0x1B, 0x1E, 0x25, 0x28, 0x2B, 0x43, 0x46, 0x4A, 0x51, 0x5A, 0xA8, 0xAD, 0xBE]
    for n in range(1500):
        rig.control(4)
        rig.control(0)
        rig.settle()
        cdb = bytes((rnd.choice(ops), *rnd.randbytes(11)))
        if rnd.random() < 0.7:
            cdb = cdb[:2] + bytes(3) + cdb[5:7] + bytes(1) + cdb[8:]
        rig.packet(cdb, size=rnd.choice([0, 1, 7, 2048, 0xFFFF]), feature=rnd.choice([0, 0, 1]))
        for _ in range(3):
            if rig.status & 8:
                rig.take(rnd.choice([2, 512, 4096]))
            rig.clock.advance(rig.clock.now + 500_000)
        if n % 50 == 0:
            rig = rig.cut()
