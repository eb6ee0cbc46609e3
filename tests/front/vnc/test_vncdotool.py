"""vncdotool, a viewer of others: its captures equal screendump's, and what it types arrives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.front.vnc.rfb import MACHINE, Shown
from tests.front.vnc.test_viewers import wait_for

api = pytest.importorskip("vncdotool.api")
Make = Callable[..., Shown]


@pytest.fixture(scope="module")
def viewer() -> Iterator[Callable[[int], Any]]:
    """Connects vncdotool; its reactor ends with the tests of this file."""
    yield lambda port: api.connect(f"127.0.0.1::{port}", timeout=600)
    api.shutdown()


def test_captures_equal_screendump_in_every_depth_and_keys_arrive(
    shown: Make, viewer: Callable[[int], Any], tmp_path: Path
) -> None:
    image = pytest.importorskip("PIL.Image")
    host = shown(machine=MACHINE[:-1])
    host.client.do("stop")
    client = viewer(host.port)
    taken, dumped = tmp_path / "taken.png", tmp_path / "dumped.png"
    for bpp in (4, 8, 15, 16, 24, 32):
        host.mode(320, 240, bpp)
        client.refreshScreen()  # what it asked for before this mode may come first
        client.captureScreen(str(taken))
        host.client.do("screendump", filename=str(dumped), format="png")
        pictures = [np.asarray(image.open(path).convert("RGB")) for path in (taken, dumped)]
        assert pictures[0].shape == (240, 320, 3)
        assert (pictures[0] == pictures[1]).all(), bpp
    host.client.do("cont")
    typed: list[tuple[Any, ...]] = []
    host.vm.noted = lambda *values: typed.append(values)  # type: ignore[method-assign]
    client.keyPress("shift-b")
    client.mouseMove(10, 10)
    client.mouseMove(13, 8)
    wait_for(lambda: len(typed) >= 5)
    assert typed == [
        ("key", 0x38, 1), ("key", 0x0B, 1), ("key", 0x0B, 0), ("key", 0x38, 0),
        ("mouse", 3, -2, 0, 0),
    ]  # fmt: skip
    client.disconnect()
