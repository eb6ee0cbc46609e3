"""Machines with a page, ended when the test is."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gossamer.front import refusals
from tests.front.web.browser import Served


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line about refusals, however long the test takes."""
    monkeypatch.setattr(refusals, "_BETWEEN_NS", 1 << 62)


@pytest.fixture
def served() -> Iterator[Callable[..., Served]]:
    """Makes machines with a page."""
    made: list[tuple[Served | None, Path]] = []

    def make(*words: str, **given: Any) -> Served:
        folder = Path(tempfile.mkdtemp(prefix="gsm-"))
        made.append((None, folder))
        host = Served(folder, *words, **given)
        made[-1] = host, folder
        return host

    yield make
    for host, folder in made:
        if host is not None:
            assert host.end() == 0
        shutil.rmtree(folder)
