"""Machines with a VNC server, ended when the test is."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.front.vnc.rfb import Shown


@pytest.fixture
def shown() -> Iterator[Callable[..., Shown]]:
    """Makes machines that are shown."""
    made: list[tuple[Shown | None, Path]] = []

    def make(*words: str, **given: Any) -> Shown:
        folder = Path(tempfile.mkdtemp(prefix="gsm-"))
        made.append((None, folder))
        host = Shown(folder, *words, **given)
        made[-1] = host, folder
        return host

    yield make
    for host, folder in made:
        if host is not None:
            assert host.end() == 0
        shutil.rmtree(folder)
