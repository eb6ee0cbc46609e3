"""A face is all that learned accesses read or change: with it a chip is as it was, to the byte."""

from __future__ import annotations

import random

import pytest

from gossamer.base.wire import WireWriter
from gossamer.core.clock import Clock
from gossamer.core.faces import DATA
from gossamer.core.irq import IrqLine
from gossamer.devices.escc import Escc
from gossamer.devices.heathrow import Heathrow
from gossamer.devices.openpic import OpenPic
from gossamer.state.transfer import save

CPU_BASE, SOURCE_BASE = 0x20000, 0x10000
PINS = (0x0F, 0x10, 0x05)


class Board:
    """A serial and an interrupt controller, and a pin that moves by itself."""

    def __init__(self, kind: type[Heathrow | OpenPic], chance: random.Random) -> None:
        self.clock, self.chance, self.sent = Clock(), chance, bytearray()
        self.pic = kind(self.clock, IrqLine())
        self.lines = [IrqLine(self.pic, pin) for pin in PINS]
        self.escc = Escc(self.clock, *self.lines[:2])
        self.escc.set_true_rate(False)
        self.escc.a.transmit = self.escc.b.transmit = self.sent.append
        self.chips = (self.escc, self.pic)
        self.regions = (self.escc.region(), self.pic.region())

    def state(self) -> list[object]:
        """Every byte that a save has of them, lines, and what is derived."""
        out: list[object] = [line.level for line in (*self.lines, self.pic.out)]
        for chip in self.chips:
            w = WireWriter()
            save(chip, w)
            out.append(bytes(w.data))
        return [*out, getattr(self.pic, "inputs", 0)]

    def access(self) -> tuple[int, int, int | None]:
        """Some access: region, offset, value or None."""
        chance = self.chance
        if chance.random() < 0.6:
            value = chance.choice((0x38, 0x28, 3, 1, 0x12, 5, 5, 5, 0x6A, 0x6A, 0xC1, 0x10, 0x20))
            return 0, chance.choice((0, 0x20, 0x20, 0x20, 0x10, 0x30)), chance.choice((None, value))
        value = chance.choice((0, 0x0080_8000, 0x0008_0005, 0x0048_0007, 0xFFFF_FFFF))
        if isinstance(self.pic, Heathrow):
            return 1, chance.randrange(0x10, 0x30, 4), chance.choice((None, value))
        source = SOURCE_BASE + 0x20 * chance.choice(PINS) + chance.choice((0, 0x10))
        register = CPU_BASE + chance.choice((0x80, 0x90, 0xA0, 0xA0, 0xB0))
        return (
            1,
            chance.choice((source, register, register)),
            chance.choice((None, value & 0x48_000F)),
        )


@pytest.mark.parametrize("kind", [Heathrow, OpenPic])
def test_chips_are_put_back_and_forth_by_their_faces(kind: type[Heathrow | OpenPic]) -> None:
    board = Board(kind, random.Random(4))
    learned = sent = 0
    for n in range(3000 if kind is Heathrow else 500):
        if n % 50 == 0:  # transmitters and receivers are on
            for port in (0, 0x20):
                board.regions[0].load(port, 1)  # WR0 is next
                for byte in (5, 0x6A, 3, 0xC1, 0x0E, 1):  # and no loop back
                    board.regions[0].store(port, byte, 1)
        which, offset, value = board.access()
        region, size = board.regions[which], 4 if which else 1
        assert region.learns is not None
        kind_of = region.learns(offset, value)
        before, faces = board.state(), [chip.face() for chip in board.chips]
        moves, out = board.clock.moves, len(board.sent)
        if value is None:
            region.load(offset, size)
        else:
            region.store(offset, value, size)
        if board.chance.random() < 0.05:
            board.lines[2].set(not board.lines[2].level)
            kind_of = 0
        if board.chance.random() < 0.05:
            board.escc.a.receive(board.chance.randrange(256))
            kind_of = 0
        if not kind_of or board.clock.moves != moves:
            continue
        learned += 1
        after, then = board.state(), [chip.face() for chip in board.chips]
        if kind_of == DATA:
            assert board.sent[out:] == bytes([value & 0xFF])
            sent += 1
        else:
            assert len(board.sent) == out
            for chip, face in zip(board.chips, faces, strict=True):
                chip.set_face(face)
            assert board.state() == before
        for chip, face in zip(board.chips, then, strict=True):
            chip.set_face(face)
        assert board.state() == after
    assert learned > 200
    assert sent > 3
