"""Machines with a page, ended when the test is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from gossamer.front import refusals
from tests.front.hosts import each_in_a_folder
from tests.front.web.browser import Served


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line about refusals, however long the test takes."""
    monkeypatch.setattr(refusals, "_BETWEEN_NS", 1 << 62)


@pytest.fixture
def served() -> Iterator[Callable[..., Served]]:
    """Makes machines with a page."""
    yield from each_in_a_folder(Served)
