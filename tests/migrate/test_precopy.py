"""Rounds over dirty pages: the bitmap, the switch-over rule, the limits, with a made-up clock."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.base.units import NS_PER_S, PAGE_SIZE, MiB
from gossamer.core.memory import Arena
from gossamer.migrate.dirty import DIRTY_BIT, DirtyPages, Pages
from gossamer.migrate.precopy import (
    FEW_PAGES,
    Chunk,
    Parameters,
    Pause,
    Precopy,
    Switch,
    Sync,
)

MS = NS_PER_S // 1000


def arena(*sizes: int) -> Arena:
    made = Arena(32 * MiB)
    for n, size in enumerate(sizes):
        made.add(f"block{n}", size)
    return made


def numbers(pages: Pages) -> list[tuple[str, int]]:
    return [(block.name, int(n)) for block, found in pages for n in found]


def test_every_page_is_dirty_to_begin_with_and_taken_once() -> None:
    memory = arena(4 * PAGE_SIZE, 3 * PAGE_SIZE)
    flushed: list[int] = []
    dirty = DirtyPages(memory, memory.blocks, lambda: flushed.append(1))
    assert (dirty.left, len(flushed)) == (7, 1)
    first, second = numbers(dirty.take(5)), numbers(dirty.take(100))
    assert first == [("block0", n) for n in range(4)] + [("block1", 0)]
    assert second == [("block1", 1), ("block1", 2)]
    assert (dirty.left, dirty.take(9), dirty.sync()) == (0, [], 0)


def test_what_is_written_comes_again_and_others_keep_their_bits() -> None:
    memory = arena(8 * PAGE_SIZE)
    memory.dirty[:] = 0xFF
    dirty = DirtyPages(memory, memory.blocks, lambda: None)
    assert (memory.dirty[:8] == 0xFF ^ DIRTY_BIT).all()
    dirty.take(8)
    memory.dirty[3] = memory.dirty[6] = 0xFF
    assert (dirty.sync(), dirty.left) == (2, 2)
    memory.dirty[6] = 0xFF  # again, before it is sent
    assert numbers(dirty.take(8)) == [("block0", 3), ("block0", 6)]
    assert (dirty.sync(), numbers(dirty.take(8))) == (1, [("block0", 6)])


class Guest:
    """Memory that is written at a rate, and a wire of a bandwidth."""

    def __init__(
        self, pages: int, rate: int, wire: int, *, hot: int = 0, **parameters: int
    ) -> None:
        self.memory = arena(pages * PAGE_SIZE)
        self.dirty = DirtyPages(self.memory, self.memory.blocks, lambda: None)
        self.now, self.rate, self.wire = NS_PER_S, rate, wire
        self.hot, self.at = hot or pages, 0
        converge = bool(parameters.pop("converge", 0))
        self.precopy = Precopy(
            self.dirty, Parameters(**parameters), self.now, auto_converge=converge
        )
        self.began, self.sent, self.pauses = self.now, 0, 0

    def pass_time(self, ns: int) -> None:
        self.now += ns
        held = 100 - self.precopy.figures.throttle
        count = self.rate * ns // NS_PER_S * held // 100
        for n in range(min(count, self.hot)):
            self.memory.dirty[(self.at + n) % self.hot] = 0xFF
        self.at = (self.at + count) % self.hot

    def run(self, seconds: float) -> bool:
        """Whether it comes to the switch-over."""
        while self.now - self.began < seconds * NS_PER_S:
            step = self.precopy.step(self.now)
            if isinstance(step, Switch):
                return True
            if isinstance(step, Sync):
                self.precopy.sync(self.now)
                continue
            if isinstance(step, Pause):
                self.pauses += 1
                self.pass_time(step.until_ns - self.now)
                continue
            assert isinstance(step, Chunk)
            count = sum(len(found) for _, found in step.pages) * PAGE_SIZE
            took = max(count * NS_PER_S // self.wire, 1000)
            self.pass_time(took)
            self.precopy.wrote(count)
            self.sent += count
        return False


def test_an_idle_guest_goes_in_one_round() -> None:
    guest = Guest(1000, 0, 100 * MiB)
    assert guest.run(10)
    assert guest.sent == 1000 * PAGE_SIZE
    assert guest.dirty.left == 0
    assert guest.precopy.figures.dirty_sync_count == 2


def test_a_busy_guest_is_stopped_when_the_rest_fits_into_the_limit() -> None:
    guest = Guest(2000, 500, 10 * MiB, hot=400, downtime_limit=100)
    assert guest.run(60)
    assert 0 < guest.dirty.left * PAGE_SIZE <= 10 * MiB * 0.1
    assert guest.precopy.figures.dirty_sync_count > 2


def test_rounds_go_on_while_they_make_the_rest_less() -> None:
    """All of it would fit at once, but the guest need not stand still so long."""
    guest = Guest(5000, 1000, 50 * MiB, hot=4000, downtime_limit=2000)
    assert guest.run(60)
    assert guest.dirty.left * PAGE_SIZE < 50 * MiB * 0.02
    assert guest.precopy.figures.dirty_sync_count >= 3


def test_a_guest_that_is_too_fast_never_comes_to_the_end() -> None:
    guest = Guest(2000, 20_000, 10 * MiB, downtime_limit=50)
    assert not guest.run(30)
    assert guest.sent > 3 * 2000 * PAGE_SIZE
    assert guest.precopy.figures.expected_downtime > 50
    guest.precopy.parameters.downtime_limit = 10_000  # changed on the way
    assert guest.run(60)


def test_auto_converge_throttles_until_it_comes_to_the_end() -> None:
    guest = Guest(2000, 20_000, 10 * MiB, downtime_limit=50, converge=1)
    assert guest.run(120)
    assert guest.precopy.figures.throttle >= 80
    assert guest.precopy.figures.throttle <= 99


class Sender:
    """Slices of 100 ms at given rates, and then a guest that writes to so many pages again."""

    def __init__(self, **parameters: int) -> None:
        self.memory = arena(8000 * PAGE_SIZE)
        dirty = DirtyPages(self.memory, self.memory.blocks, lambda: None)
        self.now = NS_PER_S
        self.precopy = Precopy(dirty, Parameters(max_bandwidth=0, **parameters), self.now)

    def sends(self, *mib_a_second: int) -> None:
        for rate in mib_a_second:
            self.precopy.step(self.now)
            self.precopy.wrote(rate * MiB // 10)
            self.now += 100 * MS
        self.precopy.step(self.now)

    def stops(self, pages: int) -> bool:
        """Whether it stops the guest with those left, once it has seen that they stay as many."""
        for _ in range(3):
            self.memory.dirty[:pages] = 0xFF
            self.precopy.sync(self.now)
            if isinstance(self.precopy.step(self.now), Switch):
                return True
        return False


def test_what_fits_is_judged_by_the_slowest_of_the_last_slices() -> None:
    """A host that others use is ten times as quick for a moment."""
    sender = Sender(downtime_limit=300)
    sender.sends(100, 10, 100, 100)
    assert sender.precopy.bandwidth == 100 * MiB
    assert not sender.stops(800)
    assert sender.stops(3 * MiB // PAGE_SIZE)
    sender.sends(100, 100)
    assert not sender.stops(800)
    sender.sends(100)
    assert sender.stops(800), "it was long ago"


@pytest.mark.parametrize(("reserved", "ms"), [(0, 100), (30, 70), (50, 50), (1000, 50)])
def test_the_time_that_devices_take_is_not_for_memory(reserved: int, ms: int) -> None:
    """But half of the limit is, whatever they take: it has to end."""
    sender = Sender(downtime_limit=100)
    sender.sends(20, 20)
    sender.precopy.reserve(reserved * MS)
    most = 20 * MiB * ms // 1000 // PAGE_SIZE
    assert not sender.stops(most + 1)
    assert sender.stops(most)


@pytest.mark.parametrize("limit", [MiB, 20 * MiB])
def test_the_bandwidth_is_limited(limit: int) -> None:
    guest = Guest(2000, 0, 1000 * MiB, max_bandwidth=limit)
    assert guest.run(60)
    assert guest.precopy.bandwidth < 2 * limit
    seconds = (guest.now - guest.began) / NS_PER_S
    assert guest.pauses
    assert guest.sent / limit * 0.8 < seconds + 0.1
    assert seconds < guest.sent / limit * 1.5 + 0.2


def test_no_limit() -> None:
    guest = Guest(2000, 0, 1000 * MiB, max_bandwidth=0)
    assert guest.run(60)
    assert not guest.pauses


def test_memory_goes_once_before_what_was_written_meanwhile_is_looked_for() -> None:
    """All of it would fit into the limit from the beginning."""
    guest = Guest(8000, 100, 1000 * MiB, downtime_limit=2000, max_bandwidth=0)
    while guest.sent < 8000 * PAGE_SIZE:
        step = guest.precopy.step(guest.now)
        assert isinstance(step, Chunk)
        guest.pass_time(12_000_000)
        guest.precopy.wrote(sum(len(found) for _, found in step.pages) * PAGE_SIZE)
        guest.sent += sum(len(found) for _, found in step.pages) * PAGE_SIZE
    assert isinstance(guest.precopy.step(guest.now), Sync)


def test_next_to_nothing_is_left_when_a_guest_is_stopped_that_writes_little() -> None:
    """1,000 pages a second; a round over what was written takes far less than the one before."""
    guest = Guest(8000, 1000, 100 * MiB, hot=8000, downtime_limit=2000)
    assert guest.run(10)
    assert guest.dirty.left <= FEW_PAGES


def test_pages_that_were_never_written_to_are_zero_until_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = arena(8 * PAGE_SIZE)
    never = np.ones(8, np.bool_)
    monkeypatch.setattr(memory, "untouched", never.copy)
    dirty = DirtyPages(memory, memory.blocks, lambda: None)
    assert dirty.zero is None
    dirty.look_at_untouched()
    memory.dirty[3] = 0xFF
    dirty.sync()
    assert dirty.zero is not None
    assert np.flatnonzero(~dirty.zero).tolist() == [3]
