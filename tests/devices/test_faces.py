"""A face is all that learned accesses read or change: with it a chip is as it was, to the byte."""

from __future__ import annotations

import random

import pytest

from gossamer.base.wire import WireWriter
from gossamer.core.clock import Clock
from gossamer.core.faces import DATA
from gossamer.core.irq import IrqLine
from gossamer.core.region import swap
from gossamer.core.trace import Trace
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
        self.trace = self.pic.trace = self.escc.trace = Trace()
        self.escc.set_true_rate(False)
        self.escc.a.transmit = self.escc.b.transmit = self.sent.extend
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


def _openpic_access(chance: random.Random) -> tuple[int, int, int | None]:
    """Region, offset, value on the bus or None: sources that interrupt, and what handlers do."""
    pick = chance.random()
    pin = chance.choice(PINS)
    if pick < 0.35:  # the serial ports: interrupts on, characters, resets of pending ones
        byte = chance.choice((1, 0x12, 5, 0x6A, 0x38, 0x28, 0x10, 0x41))
        return 0, chance.choice((0, 0x20, 0x10, 0x30)), chance.choice((None, byte, byte))
    if pick < 0.5:
        priority = chance.choice((1, 5, 5, 9)) << 16
        value = chance.choice((0, 0, 0, 0x8000_0000)) | chance.choice((0, 0x40_0000)) | priority
        return 1, SOURCE_BASE + 0x20 * pin, swap(value | pin | chance.choice((0, 0, 0, 64)), 4)
    if pick < 0.55:
        return 1, SOURCE_BASE + 0x20 * pin + 0x10, swap(chance.choice((0, 1, 1)), 4)
    register, values = chance.choice(
        ((0x80, (None, 0, 0, 3)), (0xA0, (None,)), (0xA0, (None,)), (0xB0, (0,)), (0x90, (None,)))
    )
    value = chance.choice(values)
    return 1, CPU_BASE + register, None if value is None else swap(value, 4)


def test_an_openpic_that_goes_by_faces_is_as_one_that_carries_all_out() -> None:
    """Two boards; the second is only shown faces (and data) while all accesses are learned."""
    first, second = (Board(OpenPic, random.Random(n)) for n in range(2))
    chance = random.Random(5)
    learned, lag = 0, False
    data: list[tuple[int, int]] = []

    def settle() -> None:
        nonlocal lag
        if lag:
            for chip, its in zip(first.chips, second.chips, strict=True):
                its.set_face(faces[chip])
            for offset, value in data:
                assert second.regions[0].take is not None
                second.regions[0].take(offset, value)
            data.clear()
            lag = False

    faces: dict[object, tuple[object, ...]] = {}
    known: dict[object, object] = {}
    for board in (first, second):
        for port in (0, 0x20):
            for byte in (9, 0x0A, 5, 0x6A, 3, 0xC1, 0x0E, 1, 1, 0x12):
                board.regions[0].store(port, byte, 1)
    for _ in range(8000):
        which, offset, value = _openpic_access(chance)
        region, its, size = first.regions[which], second.regions[which], 4 if which else 1
        assert region.learns is not None
        kind, mark = region.learns(offset, value), (first.clock.moves, first.trace.total)
        before = [chip.face() for chip in first.chips]
        got = region.load(offset, size) if value is None else region.store(offset, value, size)
        if kind and mark == (first.clock.moves, first.trace.total):
            learned, lag = learned + 1, True
            faces.update((chip, chip.face()) for chip in first.chips)
            if kind == DATA:
                assert value is not None
                data.append((offset, value))
            access = (*before, which, offset, kind, value if kind != DATA else 0)
            end = (got, *(faces[chip] for chip in first.chips))
            assert known.setdefault(access, end) == end, "a face does not say all"
        else:
            settle()
            done = its.load(offset, size) if value is None else its.store(offset, value, size)
            assert done == got
        if chance.random() < 0.2:
            settle()
            level = chance.random() < 0.5
            for board in (first, second):
                board.lines[2].set(level)
        if chance.random() < 0.1:
            settle()
            assert first.state() == second.state()
    assert learned > 2000
