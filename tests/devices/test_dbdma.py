"""DBDMA: programs, conditions, peers that pace themselves, cuts, hostile programs."""

from __future__ import annotations

import random
import struct

import pytest

from gossamer.base.wire import WireReader
from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.core.memory import AddressMap, Arena
from gossamer.devices.dbdma import COMMAND_NS, EMPTY_NS, FROM_MEMORY, TO_MEMORY, Dbdma
from gossamer.state.transfer import OURS, load
from tests.devices.captures import load_body, named, save_body

IDE = 0x16
AT = IDE * 0x80
CONTROL, STATUS, POINTER, INTERRUPT_SELECT, BRANCH_SELECT, WAIT_SELECT = 0, 4, 12, 16, 20, 24
RUN, PAUSE, FLUSH, WAKE, DEAD, ACTIVE, BT = 0x8000, 0x4000, 0x2000, 0x1000, 0x800, 0x400, 0x100
OUTPUT_MORE, OUTPUT_LAST, INPUT_MORE, INPUT_LAST, STORE, LOAD, NOP, STOP = range(8)
PROGRAM, BUFFER = 0x1000, 0x4000


class Controller:
    """Counts edges of the channel's interrupt."""

    def __init__(self):
        self.rises = 0

    def input_changed(self, pin, level):
        self.rises += level

    def input_assigned(self, pin, level):
        assert not level


class Peer:
    """A device that moves when the test makes it."""

    def __init__(self):
        self.ready, self.flushed, self.stopped = 0, 0, 0

    def dma_ready(self, channel, idle=False):
        self.ready += 1

    def dma_flush(self, channel):
        self.flushed += 1

    def dma_stopped(self, channel):
        self.stopped += 1


class Bench:
    def __init__(self, arena=None):
        self.arena = arena or Arena(1 << 20)
        self.memory = AddressMap(self.arena)
        block = self.arena.blocks[0] if arena else self.arena.add("ram", 1 << 20)
        self.memory.map(block, 0)
        self.clock, self.sink, self.peer = Clock(), Controller(), Peer()
        self.dbdma = Dbdma(self.clock, self.memory, {IDE: IrqLine(self.sink, 2)})
        self.channel = self.dbdma.connect(IDE, self.peer)
        self.region = self.dbdma.region()

    def write(self, register, value):
        self.region.store(AT + register, int.from_bytes(value.to_bytes(4, "little"), "big"), 4)

    def read(self, register):
        return int.from_bytes(self.region.load(AT + register, 4).to_bytes(4, "big"), "little")

    def program(self, *commands, at=PROGRAM):
        for n, (command, count, address, argument) in enumerate(commands):
            raw = struct.pack("<HHIIHH", count, command, address, argument, 0xAAAA, 0xBBBB)
            self.memory.write(at + 16 * n, raw)
        if at == PROGRAM:
            self.write(POINTER, at)

    def result(self, n):
        """(residual count, status) of command n."""
        return struct.unpack("<HH", self.memory.read(PROGRAM + 16 * n + 12, 4))

    def run(self, ns=100 * EMPTY_NS):
        self.clock.advance(self.clock.now + ns)

    def start(self):
        self.write(CONTROL, RUN << 16 | RUN)
        self.run()


@pytest.fixture
def bench():
    return Bench()


def test_input_moves_bytes_to_memory_and_reports_status(bench):
    bench.program((INPUT_LAST << 12, 8, BUFFER, 0), (STOP << 12, 0, 0, 0))
    bench.start()
    assert bench.peer.ready == 1
    assert (bench.channel.wanted(TO_MEMORY), bench.channel.wanted(FROM_MEMORY)) == (8, 0)
    assert bench.channel.push(b"abcde") == 5
    assert bench.channel.push(b"fghXY") == 3
    assert bench.memory.read(BUFFER, 10) == b"abcdefgh\0\0"
    assert bench.result(0) == (0, RUN | ACTIVE)
    assert bench.read(STATUS) == RUN | ACTIVE
    bench.run()
    assert bench.read(STATUS) == RUN
    assert bench.read(POINTER) == PROGRAM + 16
    assert bench.result(1) == (0xAAAA, 0xBBBB)


def test_output_gives_bytes_and_chains(bench):
    bench.memory.write(BUFFER, b"0123456789")
    bench.program(
        (OUTPUT_MORE << 12, 4, BUFFER, 0),
        (OUTPUT_LAST << 12, 3, BUFFER + 6, 0),
        (STOP << 12, 0, 0, 0),
    )
    bench.start()
    assert bench.channel.pull(100) == b"0123"
    assert bench.channel.pull(100) == b""
    bench.run()
    assert bench.peer.ready == 2
    assert bench.channel.pull(2) + bench.channel.pull(2) == b"678"


def test_each_command_takes_its_time(bench):
    bench.program((NOP << 12, 0, 0, 0), (NOP << 12, 0, 0, 0), (STOP << 12, 0, 0, 0))
    bench.write(CONTROL, RUN << 16 | RUN)
    for n, pointer in enumerate((PROGRAM, PROGRAM + 16, PROGRAM + 32)):
        due = COMMAND_NS + n * EMPTY_NS
        bench.clock.advance(due - 1)
        assert bench.read(POINTER) == pointer
        bench.clock.advance(due)
    assert bench.read(STATUS) == RUN


def test_finish_leaves_the_residual_count(bench):
    bench.program((INPUT_MORE << 12, 100, BUFFER, 0), (STOP << 12, 0, 0, 0))
    bench.start()
    bench.channel.push(bytes(36))
    bench.channel.finish()
    assert bench.result(0) == (64, RUN | ACTIVE)
    bench.run()
    assert bench.read(STATUS) == RUN


def test_quads_store_and_load_little_endian(bench):
    bench.memory.write(BUFFER + 8, b"\x11\x22\x33\x44")
    bench.program(
        (STORE << 12 | 0x600, 4, BUFFER, 0xDEADBEEF),
        (LOAD << 12 | 0x600, 2, BUFFER + 8, 0x99999999),
        (STOP << 12, 0, 0, 0),
    )
    bench.start()
    assert bench.memory.read(BUFFER, 4) == bytes.fromhex("efbeadde")
    assert bench.memory.read(PROGRAM + 16 + 8, 4) == bytes.fromhex("11229999")


@pytest.mark.parametrize(
    ("choice", "device", "select", "taken"),
    [
        (0, 0x04, 0x0004_0004, False),
        (1, 0x04, 0x0004_0004, True),
        (1, 0x00, 0x0004_0004, False),
        (2, 0x00, 0x0004_0004, True),
        (2, 0x04, 0x0004_0004, False),
        (3, 0x00, 0x0000_0000, True),
    ],
)
def test_branch_follows_device_status(bench, choice, device, select, taken):
    bench.write(BRANCH_SELECT, select)
    bench.channel.set_device_status(0xFF, device)
    bench.program((NOP << 12 | choice << 2, 0, 0, 0x2000), (STOP << 12, 0, 0, 0))
    bench.program((STOP << 12, 0, 0, 0), at=0x2000)
    bench.start()
    assert bench.read(POINTER) == (0x2000 if taken else PROGRAM + 16)
    assert bool(bench.result(0)[1] & BT) == taken


def test_interrupt_is_a_pulse_when_its_condition_holds(bench):
    bench.program((NOP << 12 | 0x30, 0, 0, 0), (NOP << 12 | 0x10, 0, 0, 0), (STOP << 12, 0, 0, 0))
    bench.write(INTERRUPT_SELECT, 0x0001_0001)
    bench.start()
    assert bench.sink.rises == 1


def test_wait_holds_the_channel_until_the_status_allows(bench):
    bench.write(WAIT_SELECT, 0x0080_0080)
    bench.program((NOP << 12 | 2, 0, 0, 0), (STOP << 12, 0, 0, 0))
    bench.start()
    assert bench.read(STATUS) == RUN | ACTIVE
    bench.write(CONTROL, 0x0080 << 16 | 0x80)
    bench.run()
    assert bench.read(STATUS) == RUN | 0x80


def test_pause_stops_and_goes_on(bench):
    bench.program((INPUT_LAST << 12, 4, BUFFER, 0), (STOP << 12, 0, 0, 0))
    bench.start()
    bench.channel.push(b"ab")
    bench.write(CONTROL, PAUSE << 16 | PAUSE)
    assert bench.channel.push(b"cd") == 0
    bench.write(CONTROL, PAUSE << 16)
    assert bench.peer.ready == 2
    assert bench.channel.push(b"cd") == 2
    bench.run()
    assert bench.memory.read(BUFFER, 4) == b"abcd"
    assert bench.read(STATUS) == RUN


def test_wake_runs_what_was_appended_behind_a_stop(bench):
    bench.program((STOP << 12, 0, 0, 0))
    bench.start()
    assert bench.read(STATUS) == RUN
    bench.memory.write(PROGRAM, struct.pack("<HHIIHH", 0, NOP << 12, 0, 0, 0, 0))
    bench.memory.write(PROGRAM + 16, struct.pack("<HHIIHH", 0, STOP << 12, 0, 0, 0, 0))
    bench.write(CONTROL, WAKE << 16 | WAKE)
    bench.run()
    assert bench.read(POINTER) == PROGRAM + 16


def test_flush_and_stop_as_pata_macio_does_them(bench):
    bench.program((INPUT_LAST << 12, 512, BUFFER, 0), (STOP << 12, 0, 0, 0))
    bench.start()
    bench.channel.push(bytes(12))
    bench.write(CONTROL, FLUSH << 16 | FLUSH)
    assert not bench.read(STATUS) & FLUSH
    assert bench.peer.flushed == 1
    assert bench.result(0)[0] == 500
    bench.write(CONTROL, (RUN | WAKE | DEAD) << 16)
    assert bench.read(STATUS) == 0
    assert bench.peer.stopped == 1
    assert bench.channel.push(b"late") == 0


def test_invalid_command_kills_the_channel_until_run_is_cleared(bench):
    bench.program((9 << 12, 0, 0, 0))
    bench.start()
    assert bench.read(STATUS) == RUN | DEAD
    bench.write(CONTROL, RUN << 16)
    assert bench.read(STATUS) == 0


def test_command_pointer_is_locked_while_running(bench):
    bench.program((INPUT_LAST << 12, 4, BUFFER, 0))
    bench.start()
    bench.write(POINTER, 0x8000)
    assert bench.read(POINTER) == PROGRAM


@pytest.mark.parametrize("cut", range(0, 8000, 250))
def test_transfer_cut_anywhere_goes_on_after_a_load(cut):
    """A peer that pushes 2 bytes every 700 ns, the program cut at `cut` ns."""

    def play(bench, moments, data):
        for moment in moments:
            bench.clock.advance(moment)
            del data[: bench.channel.push(bytes(data[:2]))]

    one, other = Bench(), None
    one.program(
        (INPUT_MORE << 12 | 0x30, 5, BUFFER, 0),
        (INPUT_LAST << 12 | 0x30, 7, BUFFER + 5, 0),
        (STOP << 12, 0, 0, 0),
    )
    one.write(CONTROL, RUN << 16 | RUN)
    data = bytearray(b"abcdefghijkl")
    moments = range(700, 12_000, 700)
    play(one, [m for m in moments if m <= cut], data)
    one.clock.advance(max(cut, int(one.clock.now)))
    saved = save_body(one.dbdma, OURS)
    other = Bench(one.arena)
    other.clock.set(one.clock.now)
    load(other.dbdma, WireReader(saved), 3)
    other.dbdma.resume()
    assert save_body(other.dbdma, OURS) == saved
    play(other, [m for m in moments if m > cut], data)
    other.run()
    assert other.memory.read(BUFFER, 12) == b"abcdefghijkl"
    assert other.read(STATUS) == RUN
    assert one.sink.rises + other.sink.rises == 2


def test_active_channel_of_a_stream_without_our_part_fetches_again(bench):
    bench.program((INPUT_LAST << 12, 4, BUFFER, 0), (STOP << 12, 0, 0, 0))
    bench.start()
    plain = save_body(bench.dbdma)
    other = Bench(bench.arena)
    load(other.dbdma, WireReader(plain), 3)
    other.run()
    assert other.channel.push(b"data") == 4
    assert other.memory.read(BUFFER, 4) == b"data"


def test_recorded_sections_load_and_save_to_the_same_bytes(shared):
    found = named(shared, "dbdma")
    assert len(found) >= 15
    for section in found:
        bench = Bench()
        load_body(bench.dbdma, section)
        assert save_body(bench.dbdma) == section.body, section
        assert save_body(bench.dbdma, OURS) == section.body, section


def test_hostile_programs_and_accesses_leave_a_state_that_can_be_saved(bench):
    rng = random.Random(5)
    for n in range(0, 0x8000, 4):
        bench.memory.write(n, rng.getrandbits(32).to_bytes(4, "little"))
    for _ in range(10_000):
        channel = bench.dbdma.channels[rng.choice((IDE, rng.randrange(32)))]
        at = min(channel.number * 0x80 + rng.randrange(0x80), bench.region.size - 8)
        match rng.randrange(6):
            case 0:
                bench.region.load(at & -4, 4)
            case 1:
                bench.region.store(at, rng.getrandbits(64), 8)
            case 2:
                bench.region.store(at, rng.getrandbits(8), 1)
            case 3:
                little = rng.getrandbits(32) | rng.choice((0, RUN << 16 | RUN))
                value = int.from_bytes(little.to_bytes(4, "little"), "big")
                bench.region.store(channel.number * 0x80 + rng.choice((0, 0, 12)), value, 4)
            case 4:
                channel.push(rng.randbytes(rng.randrange(70000)))
                channel.pull(rng.randrange(70000))
            case _:
                channel.finish()
                channel.set_device_status(0xFF, rng.getrandbits(8))
                bench.clock.advance(bench.clock.now + rng.randrange(3000))
    assert len(save_body(bench.dbdma)) == 3232
    save_body(bench.dbdma, OURS)


@pytest.mark.parametrize("command", [NOP << 12 | 0x0C, OUTPUT_LAST << 12 | 0x0C])
def test_a_program_that_runs_in_a_circle_leaves_the_guest_its_time(bench, command):
    """A branch to itself, of NOP and of an empty data command: few commands a millisecond."""
    bench.program((command, 0, 0, PROGRAM))
    bench.write(CONTROL, RUN << 16 | RUN)
    moves = bench.clock.moves
    bench.clock.advance(bench.clock.now + 1_000_000)
    assert 20 < bench.clock.moves - moves <= 200
