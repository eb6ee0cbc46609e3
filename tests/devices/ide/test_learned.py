"""Learned accesses to a cell and its DMA: two rigs, one of which repeats by face and data alone."""

from __future__ import annotations

import random

import pytest

from gossamer.base.wire import WireWriter
from gossamer.core.clock import NEVER
from gossamer.core.faces import DATA, NO, POSTED, YES
from gossamer.core.region import Region
from gossamer.core.trace import Trace
from gossamer.devices.ide.drive import CDROM, DISK
from gossamer.state.transfer import save

from .ide_rig import CHANNEL, PROGRAM, Disc, Rig

CONTROL = 0x160
DMA = CHANNEL * 0x80
TASK_FILE = tuple(n << 4 for n in range(1, 8))


def rigs(kind: str) -> tuple[Rig, Rig]:
    both = tuple(Rig(kind, Disc(bytes(range(256)) * 1024)) for _ in range(2))
    for rig in both:
        rig.cell.attach(1, CDROM, Disc(bytes(1 << 16)))
    return both[0], both[1]


def saved(rig: Rig) -> list[object]:
    """Every byte that a save has of them, memory, the line and the next alarm."""
    out: list[object] = [rig.line.level, rig.clock.deadline, bytes(rig.arena.view)]
    for chip in (rig.cell, rig.dbdma):
        w = WireWriter()
        save(chip, w)
        out.append(bytes(w.data))
    return out


class Twin:
    """The rig whose learned accesses are repeated: chips hear of them when something else comes."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.chips = (rig.cell, rig.dbdma)
        self.faces: list[object] = []
        self.data: list[tuple[Region, int, int]] = []

    def settle(self) -> None:
        for chip, face in zip(self.chips, self.faces, strict=False):
            chip.set_face(face)
        for region, offset, value in self.data:
            assert region.take is not None
            region.take(offset, value)
        self.faces, self.data = [], []


def some_access(chance: random.Random) -> tuple[int, int, int, int | None]:
    """Region (0: cell, 1: DMA), offset, size, value or None."""
    pick = chance.random()
    if pick < 0.1:
        return 0, CONTROL, 1, chance.choice((None, None, None, 0, 2, 0x80, 4))
    if pick < 0.3:
        return 0, 0x70, 1, chance.choice((None, None, None, 0xC8, 0xCA, 0xEC, 0xE7, 0xA0, 0xB7))
    if pick < 0.4:
        return 0, 0x60, 1, chance.choice((None, 0xE0, 0xE0, 0xF0, 0xA0, 0x40))
    if pick < 0.65:
        return 0, chance.choice(TASK_FILE), 1, chance.choice((None, chance.randrange(4)))
    if pick < 0.7:
        return 0, 0, 2, chance.choice((None, chance.randrange(1 << 16)))
    if pick < 0.75:
        return 0, 0x200, 4, chance.choice((None, 0x25102100, 0x11))
    if pick < 0.77:
        return 0, chance.choice(TASK_FILE), chance.choice((2, 4)), chance.choice((None, 1))
    register = chance.choice((0, 0, 0, 4, 4, 12, 12, 16))
    value = {
        0: chance.choice((0x8000_8000, 0x8000_0000, 0x9800_0000, 0x2000_2000, 0x0001_0001)),
        12: chance.choice((PROGRAM, PROGRAM + 16, 0)),
    }.get(register, 0)
    at = DMA if chance.random() < 0.95 else 0x80
    swapped = int.from_bytes(value.to_bytes(4, "little"), "big")
    return 1, at + register, 4, chance.choice((None, swapped))


@pytest.mark.parametrize("kind", [DISK, "none"])
def test_what_a_face_and_data_repeat_is_what_the_chips_do(kind: str) -> None:
    chance = random.Random(kind)
    first, second = rigs(kind)
    twin, trace = Twin(second), Trace()
    first.cell.trace = first.dbdma.trace = trace
    regions = [(rig.cell.region, rig.dbdma.region()) for rig in (first, second)]
    for rig in (first, second):
        for n, word in enumerate((0x3000_0200, 0x4000, 0, 0, 0x7000_0000, 0, 0, 0)):
            rig.map.write(PROGRAM + 4 * n, word.to_bytes(4, "little"))
    known: dict[object, object] = {}
    seen = dict.fromkeys((NO, YES, POSTED), 0)
    for n in range(6000):
        which, offset, size, value = some_access(chance)
        region, its = regions[0][which], regions[1][which]
        assert region.learns is not None
        kind_of = region.learns(offset, value)
        moves, events = first.clock.moves, trace.total
        before = (first.cell.face(), first.dbdma.face())
        got = None
        if value is None:
            got = region.load(offset, size)
        else:
            region.store(offset, value, size)
        if first.clock.moves != moves or trace.total != events:
            kind_of = NO
        seen[kind_of] += 1
        assert kind_of != DATA
        if kind_of == NO:
            twin.settle()
            if value is None:
                assert its.load(offset, size) == got
            else:
                its.store(offset, value, size)
        else:
            twin.faces = [first.cell.face(), first.dbdma.face()]
            if kind_of == POSTED:
                assert value is not None
                twin.data.append((its, offset, value))
            access = (before, which, offset, size, kind_of, value if kind_of != POSTED else 0)
            end = (got, *twin.faces)
            assert known.setdefault(access, end) == end, "a face does not say all"
        if chance.random() < 0.1 and first.clock.deadline < NEVER:
            twin.settle()
            for rig in (first, second):
                rig.clock.advance(rig.clock.deadline)
        if n % 7 == 0:
            twin.settle()
            assert saved(first) == saved(second)
    assert min(seen.values()) > 100, seen
