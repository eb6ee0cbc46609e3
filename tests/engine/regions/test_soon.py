"""What makes regions is loaded beside a guest that runs, and not before it has begun to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from gossamer.core import ahead
from gossamer.engine.regions.soon import FIRST, Soon


class FakeEngine:
    """Counts, and is about to run."""

    count = 1_000
    before_run: Callable[[], None]


class Loaded:
    is_done = True


def test_loading_begins_when_the_guest_has_executed_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[object] = []
    made: list[object] = []

    def load(what: Callable[[], object]) -> Loaded:
        begun.append(what)
        return Loaded()

    def make() -> Any:
        made.append(None)
        return "regions"

    monkeypatch.setattr(ahead, "load", load)
    engine = FakeEngine()
    soon = Soon(cast(Any, engine), make)
    for count in (1_000, FIRST + 999, 500, FIRST + 499):  # it has gone back on the way
        engine.count = count
        engine.before_run()
    assert not begun
    engine.count += 1
    engine.before_run()
    assert len(begun) == 1
    assert not made
    engine.before_run()
    assert len(made) == 1
    assert cast(Any, soon.regions()) == "regions"
    assert len(made) == 1


def test_what_is_loaded_already_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(what: Callable[[], object]) -> Loaded:
        raise AssertionError("loaded again")

    made: list[object] = []

    def make() -> Any:
        made.append(None)
        return "regions"

    monkeypatch.setattr(ahead, "load", load)
    engine = FakeEngine()
    soon = Soon(cast(Any, engine), make, is_loaded=lambda: True)
    assert not made
    engine.before_run()
    assert len(made) == 1
    assert cast(Any, soon.regions()) == "regions"
