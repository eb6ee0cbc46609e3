"""ATA disks: registers, PIO, DMA, errors, and cuts in the middle of all of them."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest

from gossamer.base.errors import ConfigError, HostError, StreamError
from gossamer.base.wire import WireReader
from gossamer.devices.ide.cell import CDROM, DISK
from gossamer.devices.ide.media import error_policy
from gossamer.state.describe import describe
from gossamer.state.transfer import load
from tests.devices.captures import QEMU, load_body, named, save_body
from tests.devices.ide.ide_rig import INPUT_LAST, OUTPUT_LAST, Disc, Rig

SECTORS = 4096


def image() -> Disc:
    return Disc(b"".join(n.to_bytes(4, "big") * 128 for n in range(SECTORS)))


@pytest.fixture
def rig() -> Rig:
    return Rig(DISK, image())


def sector(n: int) -> bytes:
    return n.to_bytes(4, "big") * 128


def test_absent_drives_read_as_zero():
    rig = Rig("none", None)
    assert [rig.get(n) for n in range(1, 8)] == [0] * 7
    rig.command(0xEC)
    assert rig.status == 0
    assert not rig.line.level


def test_signature_after_reset(rig: Rig):
    rig.control(4)
    assert rig.status == 0x80
    rig.control(0)
    assert rig.settle() == 0x50
    assert [rig.get(n) for n in range(1, 7)] == [1, 1, 1, 0, 0, 0xA0]
    rig.put(6, 0xB0)
    assert (rig.get(4), rig.get(5), rig.get(7)) == (0xFF, 0xFF, 0)


def test_identify_gives_capacity_and_names(rig: Rig):
    rig.command(0xEC)
    assert rig.settle() == 0x58
    assert rig.line.level
    assert rig.get(7) == 0x58
    assert not rig.line.level
    data = rig.take(512)
    assert int.from_bytes(data[120:124], "little") == SECTORS
    assert data[54:68] == b"EQUMH RADDSI K"[:14]
    assert rig.get(7) == 0x50


def test_pio_read_delivers_sectors_and_interrupts_for_each(rig: Rig):
    rig.command(0x20, n=3, lba=0x123)
    for n in range(3):
        assert rig.settle() == 0x58
        assert rig.line.level
        rig.get(7)
        assert rig.take(512) == sector(0x123 + n)
    assert rig.get(7) == 0x50
    assert [rig.get(n) for n in (2, 3, 4, 5, 6)] == [0, 0x26, 1, 0, 0xE0]


def test_pio_read_takes_time(rig: Rig):
    rig.command(0x20, n=1, lba=7)
    assert rig.status & 0x80
    rig.settle()
    assert 1_000_000 < rig.clock.now < 2_000_000


def test_read_past_the_end_delivers_what_there_is_then_fails(rig: Rig):
    rig.command(0x20, n=2, lba=SECTORS - 1)
    rig.settle()
    assert rig.take(512) == sector(SECTORS - 1)
    assert rig.settle() == 0x41
    assert rig.get(1) == 0x10


def test_read_multiple_moves_blocks(rig: Rig):
    rig.command(0xC6, n=8)
    assert rig.settle() == 0x50
    rig.command(0xC4, n=20, lba=10)
    got = b""
    for block in (8, 8, 4):
        assert rig.settle() == 0x58
        got += rig.take(512 * block)
    assert got == b"".join(sector(10 + n) for n in range(20))
    rig.command(0xC6, n=3)
    assert rig.settle() == 0x41


def test_pio_write_reaches_the_disk(rig: Rig):
    rig.command(0x30, n=2, lba=5)
    assert rig.settle() == 0x58
    assert not rig.line.level, "the first block is asked for without an interrupt"
    rig.give(b"A" * 512)
    assert rig.settle() == 0x58
    assert rig.line.level
    rig.give(b"B" * 512)
    assert rig.settle() == 0x50
    assert rig.disc.data[5 * 512 : 7 * 512] == b"A" * 512 + b"B" * 512


def test_lba48_addresses_and_counts(rig: Rig):
    rig.command48(0x24, n=0x101, lba=0x10)
    for n in range(0x101):
        rig.settle()
        assert rig.take(512) == sector(0x10 + n)
    assert rig.get(7) == 0x50
    rig.command48(0x24, n=1, lba=1 << 33)
    assert rig.settle() == 0x41


def test_chs_addresses_after_initialize_parameters(rig: Rig):
    rig.put(6, 0xA0 | 3)
    rig.put(2, 10)
    rig.put(7, 0x91)  # 4 heads, 10 sectors a track
    assert rig.settle() == 0x50
    for register, value in ((6, 0xA2), (2, 1), (3, 5), (4, 6), (5, 0)):
        rig.put(register, value)
    rig.put(7, 0x20)
    rig.settle()
    assert rig.take(512) == sector((6 * 4 + 2) * 10 + 4)


def test_unknown_command_aborts(rig: Rig):
    rig.command(0x87)
    assert rig.settle() == 0x41
    assert rig.get(1) == 4
    assert rig.line.level


def test_interrupt_waits_while_masked(rig: Rig):
    rig.control(2)
    rig.command(0xE7)
    rig.settle()
    assert not rig.line.level
    assert rig.cut().cell.bus.interrupt
    rig.control(0)
    assert rig.line.level
    assert rig.disc.flushes == 1


@pytest.mark.parametrize("program_first", [True, False])
def test_dma_read_fills_memory(rig: Rig, program_first: bool):
    if program_first:
        rig.program(INPUT_LAST, 0x8000, 40 * 512)
    rig.command(0xC8, n=40, lba=100)
    if not program_first:
        rig.clock.advance(10_000_000)
        assert rig.status & 0x80, "no descriptor, no data"
        rig.program(INPUT_LAST, 0x8000, 40 * 512)
    start = rig.clock.now
    assert rig.settle() == 0x50
    assert rig.map.read(0x8000, 40 * 512) == b"".join(sector(100 + n) for n in range(40))
    assert rig.clock.now - start > 24 * 30_842, "sectors take time"
    assert rig.line.level


def test_dma_write_reaches_the_disk(rig: Rig):
    data = random.Random(1).randbytes(33 * 512)
    rig.map.write(0x8000, data)
    rig.program(OUTPUT_LAST, 0x8000, len(data))
    rig.command48(0x35, n=33, lba=50)
    assert rig.settle() == 0x50
    assert rig.disc.data[50 * 512 : 83 * 512] == data


def test_cut_at_every_event_of_a_dma_write_changes_nothing():
    data = random.Random(2).randbytes(64 * 512)

    def run(cut: int) -> tuple[bytes, int]:
        rig = Rig(DISK, image())
        rig.map.write(0x8000, data)
        rig.program(OUTPUT_LAST, 0x8000, len(data))
        rig.command(0xCA, n=64, lba=9)
        for n in range(100):
            if n == cut:
                rig = rig.cut()
            if not rig.status & 0x80:
                break
            rig.clock.advance(rig.clock.deadline)
        return bytes(rig.disc.data[9 * 512 : 73 * 512]), rig.clock.now

    whole = run(-1)
    assert whole[0] == data
    for cut in range(10):
        assert run(cut) == whole


def test_cut_in_the_middle_of_pio_goes_on_with_the_next_byte(rig: Rig):
    rig.command(0x20, n=2, lba=70)
    rig.settle()
    got = rig.take(100)
    rig = rig.cut()
    assert rig.line.level
    got += rig.take(412)
    rig = rig.cut()
    rig.settle()
    got += rig.take(512)
    assert got == sector(70) + sector(71)
    assert rig.get(7) == 0x50


def through_qemu(rig: Rig) -> Rig:
    """As a stream in QEMU's form carries the cell."""
    other = Rig(rig.kind, rig.disc)
    load(other.cell, WireReader(save_body(rig.cell, QEMU)), 5, QEMU)
    other.cell.resume()
    return other


def test_pio_goes_on_from_a_stream_in_the_form_of_qemu(rig: Rig):
    rig.command(0xC4, n=40, lba=70)
    rig.settle()
    got = rig.take(1000)
    rig = through_qemu(rig)
    got += rig.take(16 * 512 - 1000)
    for block in (16, 8):
        assert rig.settle() == 0x58
        got += rig.take(block * 512)
    assert got == b"".join(sector(70 + n) for n in range(40))
    assert rig.get(7) == 0x50


def test_busy_drive_without_our_subsection_ends_in_an_error(rig: Rig):
    rig.command(0xC8, n=1)
    assert rig.status & 0x80
    rig = through_qemu(rig)
    assert (rig.status, rig.get(1)) == (0x41, 4)
    rig.command(0xE7)
    assert rig.settle() == 0x50


def test_features_and_power(rig: Rig):
    rig.command(0xEF, feature=3, n=0x22)
    assert rig.settle() == 0x50
    rig.command(0xEC)
    rig.settle()
    assert int.from_bytes(rig.take(512)[126:128], "little") == 0x0407
    for feature in (0x99, 3):
        rig.command(0xEF, feature=feature, n=0x27)
        assert rig.settle() == 0x41
    rig.command(0xE5)
    assert rig.settle() == 0x50
    assert rig.get(2) == 0xFF
    rig.command(0xE0)
    assert rig.settle() == 0x40


def test_case_9_write_is_durable_when_the_write_cache_is_off(rig: Rig):
    for feature, flushes in ((None, 0), (0x82, 2), (0x02, 0)):
        if feature is not None:
            rig.command(0xEF, feature=feature)
            assert rig.settle() == 0x50
        rig = rig.cut()
        before = rig.disc.flushes - (feature == 0x82)
        rig.command(0x30, n=1, lba=5)
        rig.settle()
        rig.give(b"A" * 512)
        assert rig.settle() == 0x50
        assert rig.disc.flushes - before == flushes


def test_host_error_is_reported(rig: Rig):
    rig.disc.fails = HostError("the disk is gone")
    rig.command(0x20, n=1)
    assert rig.settle() == 0x41
    assert rig.get(1) == 0x40


def test_host_error_with_stop_waits_for_retry():
    stopped = []
    rig = Rig(DISK, image(), error_policy("stop", "stop", lambda: stopped.append(1)))
    rig.disc.fails = HostError("full")
    rig.program(INPUT_LAST, 0x8000, 512)
    rig.command(0xC8, n=1, lba=3)
    rig.clock.advance(50_000_000)
    assert stopped == [1]
    assert rig.status & 0x80
    rig = rig.cut()
    rig.disc.fails = None
    rig.cell.retry()
    assert rig.settle() == 0x50
    assert rig.map.read(0x8000, 512) == sector(3)


def test_enospc_stops_only_when_the_host_is_full():
    decide = error_policy("report", "enospc", lambda: None)
    full, other = HostError("full"), HostError("broken")
    full.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert decide(True, full) == "stop"
    assert decide(True, other) == "report"
    with pytest.raises(ConfigError, match="rerror must be report, ignore or stop, got 'enospc'"):
        error_policy("enospc", "report", lambda: None)


def test_read_only_disk_refuses_writes():
    rig = Rig(DISK, Disc(bytes(SECTORS * 512), read_only=True))
    rig.command(0x30, n=1)
    rig.settle()
    rig.give(b"x" * 512)
    assert rig.settle() == 0x41
    assert not any(rig.disc.data)


def test_smart_says_all_is_well(rig: Rig):
    rig.command(0xB0, feature=0xDA, lba=0xC24F << 8)
    assert rig.settle() == 0x50
    assert (rig.get(4), rig.get(5)) == (0x4F, 0xC2)
    rig.command(0xB0, feature=0xDA)
    assert rig.settle() == 0x41


@pytest.mark.parametrize("kind", [DISK, CDROM, "none"])
def test_random_accesses_never_raise_and_always_save(kind: str):
    rnd = random.Random(kind)
    rig = Rig(kind, image())
    for n in range(12_000):
        offset = rnd.choice([rnd.randrange(0, 0x80), rnd.randrange(0x1000), 0x70, 0x160, 0])
        size = rnd.choice([1, 1, 2, 4])
        if rnd.random() < 0.4:
            rig.cell.region.load(offset & -size, size)
        else:
            value = rnd.choice([rnd.getrandbits(8 * size), 0x20, 0xC8, 0xA0, 0xC4, 0x30, 0])
            rig.cell.region.store(offset & -size, value & (1 << 8 * size) - 1, size)
        if rnd.random() < 0.3:
            rig.clock.advance(rig.clock.now + rnd.randrange(3_000_000))
        if n % 500 == 0:
            rig = rig.cut()


def test_capture_sections_load_and_save_byte_for_byte(shared: Path):
    found = named(shared, "ide")
    assert len(found) >= 20
    for section in found:
        disk = DISK if "disk" in section.capture else "none"
        cell = Rig(CDROM if section.instance else disk, None).cell
        load_body(cell, section)
        assert save_body(cell) == section.body, section
        if "10.0" in section.capture:  # numbers only the first of two drives in its JSON
            continue
        ours = describe(cell, QEMU)
        assert ours == {key: section.description[key] for key in ours}, section


@pytest.mark.parametrize("kind", ["none", CDROM])
def test_stream_of_another_drive_is_refused(kind: str):
    rig = Rig(DISK, image())
    rig.command(0xEC)
    rig.settle()
    other = Rig(kind, None).cell
    with pytest.raises(StreamError, match=f"drive at this place: expected {kind}, got disk"):
        load(other, WireReader(save_body(rig.cell)), 5, QEMU)


def test_stream_with_a_buffer_out_of_bounds_is_refused():
    rig = Rig(DISK, image())
    rig.command(0xEC)
    rig.settle()
    body = bytearray(save_body(rig.cell))
    at = body.index(b"ide_drive/pio_state") + 19 + 4 + 4 + 256 * 512 + 4
    body[at : at + 4] = b"\x7f\xff\xff\xff"
    other = Rig(DISK, image()).cell
    with pytest.raises(StreamError, match="cur_io_buffer_offset 2147483647 is outside"):
        load(other, WireReader(body), 5, QEMU)


# --- flush in the background ----------------------------------------------------------------------


def test_flush_in_the_background_keeps_the_drive_busy_until_it_is_over(rig: Rig):
    over = [False]
    rig.drive.ahead = lambda: lambda: over[0]
    rig.command(0xE7)
    for _ in range(5):
        rig.clock.advance(rig.clock.deadline)
        assert rig.status & 0x80
        assert not rig.line.level
        assert not rig.disc.flushes
    over[0] = True
    assert rig.settle() == 0x50
    assert rig.line.level
    assert rig.disc.flushes == 1


def test_flush_in_the_background_is_done_anew_after_a_load(rig: Rig):
    rig.drive.ahead = lambda: lambda: False
    rig.command(0xE7)
    rig.clock.advance(rig.clock.deadline)
    other = rig.cut()
    assert other.settle() == 0x50
    assert other.disc.flushes == 1


def test_reset_forgets_a_flush_in_the_background(rig: Rig):
    rig.drive.ahead = lambda: lambda: False
    rig.command(0xEA)
    rig.clock.advance(rig.clock.deadline)
    rig.control(4)
    rig.control(0)
    rig.drive.ahead = None
    rig.settle()
    rig.command(0xE7)
    assert rig.settle() == 0x50


def test_image_that_cannot_be_flushed_ahead_says_so_at_the_flush(rig: Rig):
    def fails() -> None:
        raise HostError("no descriptor")

    rig.drive.ahead = fails
    rig.disc.fails = HostError("gone")
    rig.command(0xE7)
    assert rig.settle() == 0x41
