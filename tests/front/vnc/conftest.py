"""Machines with a VNC server, ended when the test is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.front.hosts import each_in_a_folder
from tests.front.vnc.rfb import Shown


@pytest.fixture
def shown() -> Iterator[Callable[..., Shown]]:
    """Makes machines that are shown."""
    yield from each_in_a_folder(Shown)
