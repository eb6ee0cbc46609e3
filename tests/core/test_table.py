"""Tables: what is emptied is zero, and nothing beside it."""

from __future__ import annotations

import random

import pytest

from gossamer.core.table import Table


@pytest.mark.parametrize("code", ["B", "I"])
def test_a_range_is_emptied_and_nothing_else(code: str) -> None:
    rng = random.Random(7)
    table = Table(20_000, code)  # type: ignore[arg-type]
    for _ in range(200):
        table.fill(0xA5)
        full = table.view[0]
        start, end = sorted(rng.choices(range(20_001), k=2))
        table.empty(start, end)
        assert table.view[:start].tolist() == [full] * start
        assert not any(table.view[start:end].tolist())
        assert table.view[end:].tolist() == [full] * (20_000 - end)
