"""Devices at the host's speed, at the parts' own, and from the one to the other in the middle."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from gossamer.base.errors import HostError
from gossamer.base.wire import WireReader
from gossamer.core.clock import NEVER
from gossamer.devices.dbdma import CHAIN
from gossamer.devices.ide.timing import FAST, TRUE
from gossamer.machines.build import build
from gossamer.machines.drives_attach import drive_at
from gossamer.machines.options import parse
from gossamer.state.transfer import OURS, load
from tests.devices.captures import save_body
from tests.devices.ide.ide_rig import CHANNEL, PROGRAM, STOP, Disc, Rig
from tests.devices.test_escc import Port

INPUT_MORE, OUTPUT_MORE = 2, 0
SECTORS = 200
RAM = 0x8000
CONTENT = random.Random(33).randbytes(SECTORS * 512)
ODD = (1, 511, 4096, 513, 30_001, 7, 60_000)


def pieces(total: int) -> list[int]:
    """Lengths of descriptors, most of them no whole sectors."""
    out: list[int] = []
    while left := total - sum(out):
        out.append(min(ODD[len(out) % len(ODD)], left))
    return out


def chain(rig: Rig, operation: int, lengths: list[int]) -> None:
    """A program of one command a piece, and start it."""
    words, at = bytearray(), RAM
    for n in [*lengths, None]:
        op, count = (STOP, 0) if n is None else (operation, n)
        words += count.to_bytes(2, "little") + (op << 12).to_bytes(2, "little")
        words += at.to_bytes(4, "little") + bytes(8)
        at += count
    rig.map.write(PROGRAM, words)
    region, base = rig.dbdma.region(), CHANNEL * 0x80
    for offset, value in ((0, 0x8000_0000), (0x0C, PROGRAM), (0, 0x8000_8000)):
        region.store(base + offset, int.from_bytes(value.to_bytes(4, "little"), "big"), 4)


def at_rate(rig: Rig, on: bool) -> Rig:
    rig.cell.set_true_rate(on)
    return rig


def play(rig: Rig, cut: int = -1, after: bool = False) -> tuple[Rig, int]:
    """Let it happen, saved and loaded at step `cut`, with the rate `after` from there on."""
    steps = 0
    while rig.status & 0x80 or rig.dbdma.channels[CHANNEL].status & 0x400:
        if steps == cut:
            rig = at_rate(rig.cut(), after)
        assert rig.clock.deadline < NEVER, "busy, and nothing will change it"
        rig.clock.advance(rig.clock.deadline)
        steps += 1
    return rig, steps


def reading(true: bool) -> Rig:
    rig = at_rate(Rig("disk", Disc(CONTENT)), true)
    chain(rig, INPUT_MORE, pieces(len(CONTENT)))
    rig.command(0xC8, n=SECTORS)
    return rig


def writing(true: bool) -> Rig:
    rig = at_rate(Rig("disk", Disc(bytes(len(CONTENT)))), true)
    rig.map.write(RAM, CONTENT)
    chain(rig, OUTPUT_MORE, pieces(len(CONTENT)))
    rig.command(0xCA, n=SECTORS)
    return rig


def test_whole_transfer_takes_a_few_steps() -> None:
    """Case 33: an alarm for each 64 KiB, not for each 8 KiB and each descriptor."""
    for begin in (reading, writing):
        quick, slow = play(begin(False)), play(begin(True))
        assert quick[1] < 8 < slow[1]
        assert quick[0].clock.now < 10_000 < slow[0].clock.now
        assert quick[0].status == slow[0].status == 0x50
        assert quick[0].map.read(RAM, len(CONTENT)) == CONTENT
        assert bytes(quick[0].disc.data) == CONTENT


@pytest.mark.parametrize("before", [False, True], ids=["fast", "true"])
@pytest.mark.parametrize("after", [False, True], ids=["fast", "true"])
def test_transfer_cut_anywhere_goes_on_under_either_rate(before: bool, after: bool) -> None:
    for begin in (reading, writing):
        steps = play(begin(before))[1]
        for cut in range(steps):
            rig, _ = play(begin(before), cut, after)
            assert rig.map.read(RAM, len(CONTENT)) == CONTENT
            assert bytes(rig.disc.data) == CONTENT
            assert rig.status == 0x50
            assert rig.line.level


def test_cd_reads_through_many_descriptors_and_cuts() -> None:
    disc = CONTENT[: 40 * 2048]
    for before in (False, True):
        for cut in range(6):
            rig = at_rate(Rig("cd", Disc(disc)), before)
            rig.packet(bytes((0x28, 0, 0, 0, 0, 0, 0, 0, 40)), feature=1)
            chain(rig, INPUT_MORE, pieces(len(disc)))
            rig, _ = play(rig, cut, not before)
            assert rig.map.read(RAM, len(disc)) == disc


def test_one_step_runs_through_so_many_descriptors_at_the_most() -> None:
    """A guest's program of single bytes does not keep the host from everything else."""
    rig = at_rate(Rig("disk", Disc(CONTENT)), False)
    chain(rig, INPUT_MORE, [1] * 1024)
    rig.command(0xC8, n=2)
    _, steps = play(rig)
    assert steps >= 1024 // CHAIN
    assert rig.map.read(RAM, 1024) == CONTENT[:1024]


def test_chain_ends_where_the_program_is_paused_or_wants_the_other_direction() -> None:
    rig = at_rate(Rig("disk", Disc(CONTENT)), False)
    chain(rig, INPUT_MORE, [512, 512])
    rig.map.write(PROGRAM + 16 + 3, bytes((OUTPUT_MORE << 4,)))
    rig.command(0xC8, n=2)
    for _ in range(20):
        if rig.clock.deadline < NEVER:
            rig.clock.advance(rig.clock.deadline)
    assert rig.clock.deadline == NEVER  # it waits; nothing goes on without end
    assert rig.map.read(RAM, 1024) == CONTENT[:512] + bytes(512)
    assert rig.drive.left == 512


def test_host_error_in_the_middle_waits_and_is_repeated() -> None:
    rig = at_rate(Rig("disk", Disc(CONTENT), lambda write, error: "stop"), False)
    chain(rig, INPUT_MORE, pieces(len(CONTENT)))
    rig.command(0xC8, n=SECTORS)
    rig.disc.fails = HostError("no")
    while not rig.drive.stalled:
        rig.clock.advance(rig.clock.deadline)
    rig.disc.fails = None
    rig = rig.cut()
    at_rate(rig, False)
    rig.cell.retry()
    rig, _ = play(rig)
    assert rig.map.read(RAM, len(CONTENT)) == CONTENT


# --- the serial line ------------------------------------------------------------------------------


def quick_port() -> Port:
    port = Port()
    port.chip.set_true_rate(False)
    port.linux()
    return port


def test_character_is_sent_at_once() -> None:
    port = quick_port()
    for byte in b"hello":
        assert port.get(0) & 0x04
        port.send(byte)
    assert bytes(byte for _, byte in port.out) == b"hello"
    assert port.get(1) & 1
    assert port.clock.deadline == NEVER


def test_transmit_interrupt_comes_with_each_character_sent_at_once() -> None:
    port = quick_port()
    port.set(1, 0x02)
    port.set(9, 0x08)
    assert not port.irq_a.level
    port.send(0x41)
    assert port.irq_a.level
    port.command(5)
    assert not port.irq_a.level
    port.send(0x42)
    assert port.irq_a.level


def test_transmitter_that_is_off_keeps_one_until_it_is_on() -> None:
    port = quick_port()
    port.set(5, 0x62)
    port.send(0x41)
    assert not port.out
    assert not port.get(0) & 0x04
    port.set(5, 0x6A)
    assert [byte for _, byte in port.out] == [0x41]


@pytest.mark.parametrize("true", [False, True])
def test_characters_under_way_in_a_save_leave_under_either_rate(true: bool) -> None:
    port = Port()
    port.linux()
    port.send(1)
    port.send(2)
    saved = save_body(port.chip, OURS)
    other = Port()
    other.chip.set_true_rate(true)
    load(other.chip, WireReader(saved), 2)
    other.chip.resume()
    other.clock.advance(other.clock.deadline)
    if other.clock.deadline < NEVER:
        other.clock.advance(other.clock.deadline)
    other.send(3)
    other.clock.advance(other.clock.now + 10**9)
    assert [byte for _, byte in other.out] == [1, 2, 3]
    assert other.get(1) & 1
    assert other.get(0) & 0x04


def test_loopback_at_once() -> None:
    port = quick_port()
    port.set(14, 0x11)
    port.send(0x5A)
    assert port.get(0) & 1
    assert port.take() == 0x5A


# --- the choice -----------------------------------------------------------------------------------


def test_options_choose_the_rates() -> None:
    plain = ["-M", "g3beige", "-m", "8", "-nographic", "-serial", "null", "-bios", "builtin"]
    quick = build(parse(plain))
    assert drive_at(quick, 2).timing is FAST
    assert not quick.part("macio/escc").a.true_rate
    asked = ["-global", "macio-ide.true-rate=on", "-global", "escc.true-rate=on"]
    slow = build(parse([*plain, *asked]))
    assert drive_at(slow, 2).timing is TRUE
    assert slow.part("macio/escc").b.true_rate


def test_step_of_a_transfer_always_takes_time() -> None:
    assert FAST.moving(1) > 0
    assert replace(TRUE, sector=0).moving(512) > 0
