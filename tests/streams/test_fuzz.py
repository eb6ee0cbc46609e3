"""Damaged streams: an error in words or a reading, never a traceback, never memory for a claim."""

from __future__ import annotations

import io
import os
import random
import tracemalloc

import pytest

from gossamer.base.errors import GossamerError
from gossamer.migrate import multifd, returnpath
from gossamer.migrate.source import Source
from tests.migrate.streams import small_stream
from tests.migrate.test_channels_read import HELLO, MESSAGES, packet, postcopy
from tests.migrate.test_ram import OLD
from tests.streams import fuzz

STREAMS = [
    small_stream(), small_stream(footers=False), small_stream(described=False), postcopy(),
]  # fmt: skip
COUNT = int(os.environ.get("GOSSAMER_FUZZ", "5000"))


def test_undamaged_streams_are_read() -> None:
    assert [fuzz.swallow(data) for data in STREAMS] == ["", "", "", ""]


def test_damaged_streams_never_break_the_reader() -> None:
    refused, read = fuzz.run(STREAMS, COUNT, seed=COUNT)
    assert refused > COUNT // 3, "the damage does nothing"
    assert read > COUNT // 20, "nothing is ever read"


@pytest.mark.parametrize("seed", range(3))
def test_damage_allocates_nothing_that_the_file_has_not(seed: int) -> None:
    chance = random.Random(seed)
    tracemalloc.start()
    try:
        for _ in range(60):
            fuzz.swallow(fuzz.damage(chance.choice(STREAMS), chance))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20, f"{peak:,} bytes for files of 30 KB"


def test_damaged_captures_of_other_channels() -> None:
    chance = random.Random(5)
    capture = HELLO + packet(0, OLD, [0]) + packet(1, b"", [], flags=1)
    messages = b"".join(map(returnpath.encode, MESSAGES))
    refused = 0
    for _ in range(600):
        for data, walk in ((capture, multifd.walk), (messages, returnpath.walk)):
            try:
                list(walk(Source(io.BytesIO(fuzz.damage(data, chance)))))
            except GossamerError:
                refused += 1
    assert refused > 300
