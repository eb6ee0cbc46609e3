"""Interrupt presentation: priorities, rejection and what comes again."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from gossamer.base.wire import WireReader, WireWriter
from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.devices.spapr import xics
from gossamer.devices.spapr.xics import Icp, Ics
from gossamer.state.transfer import load, save
from tests.devices.spapr.rig import Rig

EDGE, LEVEL = 0x1100, 0x1200


@dataclass
class Cpu:
    """The external input."""

    level: bool = False
    changes: list[bool] = field(default_factory=list)

    def input_changed(self, pin: int, level: bool) -> None:
        self.level = level
        self.changes.append(level)

    def input_assigned(self, pin: int, level: bool) -> None:
        self.level = level


class Board:
    def __init__(self) -> None:
        clock = Clock()
        self.cpu = Cpu()
        self.ics = Ics(clock, 0x1000)
        self.icp = Icp(clock, 0, IrqLine(self.cpu, 0), self.ics)
        self.ics.claim(EDGE)
        self.ics.claim(LEVEL, level=True)
        self.rig = Rig()
        self.rig.add(xics.xics_calls(self.ics, lambda: self.icp))

    def xirr(self) -> int:
        return self.rig.call(xics.H_XIRR)[1][0]


@pytest.fixture
def board() -> Board:
    made = Board()
    made.rig.call(xics.H_CPPR, 0xFF)
    for number in (EDGE, LEVEL):
        made.ics.set_xive(number, 0, 5, 5)
    return made


def test_a_message_is_taken_once(board: Board) -> None:
    board.ics.pulse(EDGE)
    assert board.cpu.level
    assert board.xirr() == 0xFF00_0000 | EDGE
    assert not board.cpu.level
    assert board.xirr() == 0x0500_0000
    board.rig.call(xics.H_EOI, 0xFF00_0000 | EDGE)
    assert board.xirr() == 0xFF00_0000


def test_a_level_comes_again_until_it_falls(board: Board) -> None:
    line = IrqLine(board.ics, LEVEL)
    line.set(True)
    assert board.xirr() & 0xFF_FFFF == LEVEL
    board.rig.call(xics.H_EOI, 0xFF00_0000 | LEVEL)
    assert board.xirr() & 0xFF_FFFF == LEVEL
    line.set(False)
    board.rig.call(xics.H_EOI, 0xFF00_0000 | LEVEL)
    assert not board.cpu.level


def test_what_is_less_favoured_waits(board: Board) -> None:
    board.rig.call(xics.H_CPPR, 5)
    board.ics.pulse(EDGE)
    assert not board.cpu.level
    assert board.ics.irqs[0x100].status == xics.REJECTED
    board.rig.call(xics.H_CPPR, 6)
    assert board.xirr() & 0xFF_FFFF == EDGE


def test_a_more_favoured_one_takes_its_place(board: Board) -> None:
    board.ics.pulse(EDGE)
    board.ics.set_xive(LEVEL, 0, 3, 3)
    IrqLine(board.ics, LEVEL).set(True)
    assert board.xirr() == 0xFF00_0000 | LEVEL
    board.rig.call(xics.H_EOI, 0xFF00_0000 | LEVEL)


def test_masked_messages_are_kept(board: Board) -> None:
    board.ics.set_xive(EDGE, 0, 0xFF, 5)
    board.ics.pulse(EDGE)
    assert board.ics.irqs[0x100].status == xics.MASKED_PENDING
    board.ics.set_xive(EDGE, 0, 5, 5)
    assert board.xirr() & 0xFF_FFFF == EDGE


def test_calls_between_processors(board: Board) -> None:
    """As measured with QEMU 7.2."""
    call = board.rig.call
    assert call(xics.H_IPI, 0, 5)[0] == 0
    assert call(xics.H_IPOLL, 0)[1][:2] == [0xFF00_0002, 5]
    assert board.xirr() == 0xFF00_0002
    assert call(xics.H_IPI, 0, 0xFF)[0] == 0
    assert call(xics.H_EOI, 0xFF00_0002)[0] == 0
    assert board.xirr() == 0xFF00_0000
    assert call(xics.H_IPI, 9, 5)[0] == call(xics.H_IPOLL, 1)[0] == -4


def test_a_guest_may_end_what_never_began(board: Board) -> None:
    for xirr in (0, (1 << 64) - 1, 0xFF00_0000 | LEVEL, 0x00FF_FFFF):
        assert board.rig.call(xics.H_EOI, xirr)[0] == 0


def test_state_goes_over_with_its_line() -> None:
    one, other = Board(), Board()
    one.rig.call(xics.H_CPPR, 0xFF)
    one.ics.set_xive(EDGE, 0, 5, 5)
    one.ics.pulse(EDGE)
    for mine, theirs in ((one.ics, other.ics), (one.icp, other.icp)):
        w = WireWriter()
        save(mine, w)
        load(theirs, WireReader(bytes(w.data)), 1)
        assert len(w.data) == (32772 if mine is one.ics else 6)
    assert not other.cpu.level
    other.icp.resume()
    assert other.cpu.level
    assert not other.cpu.changes
    assert other.xirr() == 0xFF00_0000 | EDGE
