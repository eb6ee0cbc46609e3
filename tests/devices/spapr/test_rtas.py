"""Run-time services: argument blocks, the clock, interrupts, NVRAM, parameters."""

from __future__ import annotations

import random
from struct import pack

import pytest

from gossamer.base.errors import StreamError
from gossamer.base.wire import WireReader, WireWriter
from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.devices.spapr import rtas, services
from gossamer.devices.spapr.events import as_bytes
from gossamer.devices.spapr.rtas import TOKENS, Rtas
from gossamer.devices.spapr.spapr import Rtc, Spapr
from gossamer.devices.spapr.vio import Nvram, Terminal
from gossamer.devices.spapr.vof import Firmware
from gossamer.devices.spapr.xics import MASKED, Ics
from gossamer.state.describe import describe
from gossamer.state.transfer import OURS, load, save
from tests.devices.spapr.rig import RAM, Rig

BLOCK, BUFFER = 0x3000, 0x5000
SOURCE = 0x1100


class Board:
    def __init__(self) -> None:
        self.rig, self.clock = Rig(2), Clock()
        ram = self.rig.ram
        self.said = bytearray()
        self.events: list[str] = []
        self.ics = Ics(self.clock, 0x1000)
        self.ics.claim(SOURCE)
        self.ics.servers[0] = None  # type: ignore[assignment]
        terminal = Terminal(self.clock, 0x7100_0000, SOURCE, IrqLine(self.ics, SOURCE))
        terminal.transmit = self.said.extend
        self.spapr = Spapr(self.clock, Firmware(ram), 512_000_000, 951_782_400 * 10**9)
        self.rtc = Rtc(self.clock, self.spapr.utc)
        self.nvram = Nvram(self.clock, 0x7100_0001, 0x1101)
        made = Rtas(ram)
        services.add_console(made, terminal)
        services.add_clock(made, self.rtc)
        services.add_power(
            made, *(lambda n=n: self.events.append(n) for n in ("off", "boot", "die"))
        )
        services.add_cpus(made, self.rig.vcpus)
        services.add_interrupts(made, self.ics)
        services.add_nvram(made, self.nvram, ram)
        services.add_events(made, self.spapr, ram)
        services.add_parameters(made, ram, {20: b"MaxEntCap=1\0"})
        self.rig.add({rtas.H_RTAS: made.call})

    def call(self, name: str, *arguments: int, results: int = 1) -> list[int]:
        block = [TOKENS[name], len(arguments), results, *arguments, *[0x5555] * results]
        self.rig.memory.write(BLOCK, pack(f">{len(block)}I", *block))
        assert self.rig.call(rtas.H_RTAS, BLOCK)[0] == 0
        at = BLOCK + 4 * (3 + len(arguments))
        found = [self.rig.ram.uint(at + 4 * n, 4) for n in range(results)]
        return [found[0] - (found[0] >> 31 << 32), *found[1:]] if found else []


@pytest.fixture
def board() -> Board:
    return Board()


def test_tokens_are_those_of_qemu() -> None:
    """Ends of each run, as measured in its device tree."""
    wanted = {"display-character": 0x2000, "ibm,int-on": 0x200D, "quiesce": 0x2011}
    wanted |= {"ibm,change-msi": 0x2019, "ibm,os-term": 0x201F, "ibm,nmi-interlock": 0x202C}
    assert {name: TOKENS[name] for name in wanted} == wanted


def test_console_and_power(board: Board) -> None:
    assert board.call("display-character", ord("A")) == [0]
    assert board.said == b"A"
    board.call("power-off", 0, 0)
    board.call("system-reboot")
    board.call("ibm,os-term", 0)
    assert board.events == ["off", "boot", "die"]


def test_cpus_stop_and_are_started(board: Board) -> None:
    first, second = board.rig.vcpus.members
    assert board.call("query-cpu-stopped-state", 1, results=2) == [0, 2]
    assert board.call("start-cpu", 1, 0x4000, 5) == [-1], "it runs"
    board.rig.turn = 1
    board.call("stop-self", results=0)
    board.rig.turn = 0
    assert board.call("query-cpu-stopped-state", 1, results=2) == [0, 0]
    assert board.call("start-cpu", 1, 0x4000, 5) == [0]
    assert (second.regs.get("nia"), second.regs.get("gpr", 3)) == (0x4000, 5)
    assert board.call("query-cpu-stopped-state", 1, results=2) == [0, 2]
    assert board.call("query-cpu-stopped-state", 2, results=2)[0] == -3
    assert board.call("start-cpu", 2, 0, 0) == [-3]
    assert not first.stopped


def test_clock(board: Board) -> None:
    assert board.call("get-time-of-day", results=8) == [0, 2000, 2, 29, 0, 0, 0, 0]
    board.clock.set(61_000_000_005)
    assert board.call("get-time-of-day", results=8) == [0, 2000, 2, 29, 0, 1, 1, 5]
    assert board.call("set-time-of-day", 2026, 11, 30, 8, 30, 59, 7) == [0]
    assert board.call("get-time-of-day", results=8) == [0, 2026, 11, 30, 8, 30, 59, 7]
    for bad in ((2026, 13, 1, 0, 0, 0, 0), (2026, 2, 29, 0, 0, 0, 0), (0, 1, 1, 24, 0, 0, 0)):
        assert board.call("set-time-of-day", *bad) == [-3]
    assert board.call("set-time-of-day", *[0xFFFF_FFFF] * 7) == [-3]


@pytest.mark.parametrize("year", [1900, 2262, 2263, 4046, 9999])
def test_clock_of_any_year_is_one_that_can_be_saved(board: Board, year: int) -> None:
    """The offset has 64 bits: beyond them a clock shows another time, before a save and after."""
    assert board.call("set-time-of-day", year, 12, 31, 23, 59, 59, 999_999_999) == [0]
    saved = WireWriter()
    save(board.rtc, saved)
    shown = board.call("get-time-of-day", results=8)
    board.call("set-time-of-day", 2026, 1, 1, 0, 0, 0, 0)
    load(board.rtc, WireReader(bytes(saved.data)), board.rtc.version)
    assert board.call("get-time-of-day", results=8) == shown


def test_interrupts(board: Board) -> None:
    assert board.call("ibm,set-xive", SOURCE, 0, 5) == [0]
    assert board.call("ibm,int-off", SOURCE) == [0]
    assert board.call("ibm,get-xive", SOURCE, results=3) == [0, 0, MASKED]
    assert board.call("ibm,int-on", SOURCE) == [0]
    assert board.call("ibm,get-xive", SOURCE, results=3) == [0, 0, 5]
    for bad in ((SOURCE + 1, 0, 5), (SOURCE, 1, 5), (SOURCE, 0, 256), (0xFFFF_FFFF, 0, 5)):
        assert board.call("ibm,set-xive", *bad) == [-3]


def test_nvram(board: Board) -> None:
    board.rig.memory.write(BUFFER, b"kept")
    assert board.call("nvram-store", 0xFFFC, BUFFER, 4, results=2) == [0, 4]
    assert board.call("nvram-fetch", 0xFFFC, BUFFER + 8, 4, results=2) == [0, 4]
    assert board.rig.ram.read(BUFFER + 8, 4) == b"kept"
    for bad in ((0xFFFD, BUFFER, 4), (0, RAM - 1, 4), (0xFFFF_FFFF, BUFFER, 0xFFFF_FFFF)):
        assert board.call("nvram-store", *bad, results=2)[0] == -3
        assert board.call("nvram-fetch", *bad, results=2)[0] == -3


def test_parameters_and_events(board: Board) -> None:
    assert board.call("ibm,get-system-parameter", 20, BUFFER, 6) == [0]
    assert board.rig.ram.read(BUFFER, 8) == b"\0\x0cMaxE\0\0"
    assert board.call("ibm,get-system-parameter", 44, BUFFER, 6) == [-3]
    assert board.call("ibm,get-system-parameter", 20, RAM - 1, 6) == [-3]
    assert board.call("event-scan", 0xFFFF_FFFF, 0, BUFFER, 2048) == [1]
    assert board.call("check-exception", 0x500, 0, 0xFFFF_FFFF, 0, BUFFER, 2048) == [1]
    assert board.call("ibm,nmi-register", 0x1900, 0x1970) == [0]
    assert (board.spapr.fwnmi_reset, board.spapr.fwnmi_check) == (0x1900, 0x1970)
    assert board.call("ibm,nmi-interlock") == [-3]
    assert board.call("ibm,change-msi", 1, 2, 3, 4, 5, 6, results=4)[0] == -3


#: What QEMU 7.2 hands out for the power button, pressed at 2026-11-30 12:57:20.
POWER_OFF = bytes.fromhex(
    "063400400000006c86008e00000000000000000049424d0050480030000000002026113012572000000000000000"
    "00004800000300000000000000000000000000000000000000005548001800000000a00000d000000000000000"
    "00000000004550001402000000030101000000000000000000"
)
PRESSED = 1_796_043_440 * 10**9
EPOW = 0x4000_0000


def test_the_power_button(board: Board) -> None:
    spapr, sent = board.spapr, []
    spapr.epow = lambda: sent.append(len(spapr.events))
    spapr.power_button(PRESSED)
    spapr.power_button(PRESSED)
    assert sent == [1, 2]
    # Neither a mask of other classes nor a buffer outside memory takes it away.
    assert board.call("check-exception", 0x500, 0x1000, ~EPOW & 0xFFFF_FFFF, 0, BUFFER, 2048) == [1]
    assert board.call("check-exception", 0x500, 0x1000, EPOW, 0, RAM - 8, 2048) == [-3]
    assert board.call("check-exception", 0x500, 0x1000, EPOW, 0, BUFFER, 2048) == [0]
    assert board.rig.ram.read(BUFFER, 117) == POWER_OFF + b"\0"
    assert sent == [1, 2, 1]  # it comes again while there is one
    assert board.call("event-scan", 0xFFFF_FFFF, 0, BUFFER, 2048) == [1]
    assert sent == [1, 2, 1, 1]
    assert board.call("check-exception", 0x500, 0x1000, EPOW, 0, BUFFER, 10) == [0]
    assert board.call("check-exception", 0x500, 0x1000, EPOW, 0, BUFFER, 2048) == [1]
    assert sent == [1, 2, 1, 1]
    for _ in range(1000):
        spapr.power_button(PRESSED)
    assert len(spapr.events) == 256
    spapr.reset()
    assert (spapr.events, spapr.log_number) == ([], 0)


def test_events_on_the_wire(board: Board) -> None:
    """As QEMU 7.2 writes them; a stream with others is refused."""
    spapr = board.spapr
    spapr.power_button(PRESSED)
    spapr.power_button(PRESSED)
    w = WireWriter()
    save(spapr, w)
    queue = b"\x01" + POWER_OFF + b"\x01" + as_bytes(spapr.events[1]) + b"\0"
    at = w.data.index(b"\x05\x14spapr_pending_events\0\0\0\x01" + queue)
    other = Board().spapr
    load(other, WireReader(w.data), spapr.version)
    assert (other.events, other.log_number) == (spapr.events, 2)
    assert describe(spapr, OURS)["subsections"][1]["fields"][0]["size"] == len(queue)
    start = at + 26
    for place, byte, words in (
        (0, 2, "1 .an event. or 0"),
        (4, 0xE5, "type 0xe5, only EPOW"),
        (5, 1, "a log of 16777324 bytes"),
    ):
        bad = bytearray(w.data)
        bad[start + place] = byte
        with pytest.raises(StreamError, match=words):
            load(Board().spapr, WireReader(bad), spapr.version)


def test_blocks_that_are_none(board: Board) -> None:
    board.rig.memory.write(BLOCK, pack(">3I", TOKENS["power-off"], 2, 0xFFFF_FFFF))
    for at in (BLOCK, RAM - 8, RAM, (1 << 64) - 4, 1 << 63):
        assert board.rig.call(rtas.H_RTAS, at)[0] == -4
    assert board.call("power-off", 1)[0] == -3  # an argument is missing
    board.rig.memory.write(BLOCK, pack(">3I", 0x1999, 0, 1))
    assert board.rig.call(rtas.H_RTAS, BLOCK)[0] == -4
    assert board.events == []


def test_hostile_blocks(board: Board) -> None:
    chance = random.Random(7)
    values = [0, 1, SOURCE, BUFFER, RAM - 1, RAM, 0x7FFF_FFFF, 0xFFFF_FFFF]
    for _ in range(2000):
        block = [chance.randrange(0x1FFF, 0x2030), chance.choice([0, 1, 3, 7, 64, 65])]
        block += [chance.choice([0, 1, 2, 8, 64, 65])] + [chance.choice(values) for _ in range(8)]
        board.rig.memory.write(BLOCK, pack(">11I", *block))
        assert board.rig.call(rtas.H_RTAS, BLOCK)[0] in (0, -4)
