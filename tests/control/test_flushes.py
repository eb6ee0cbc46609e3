"""A flush begun in a thread: what is written is on its way, and the image can go meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gossamer.block import create, open_image
from gossamer.control import flushes


@pytest.fixture(params=["raw", "qcow2"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"disk.{request.param}"
    create(path, request.param, 1 << 20)
    return path


def test_flush_ahead_ends_and_the_image_stays_usable(disk: Path) -> None:
    image = open_image(disk, format=disk.suffix[1:])
    image.write(0, b"x" * 4096)
    over = flushes.begin(image)
    image.write(4096, b"y" * 4096)
    image.close()
    for thread in threading.enumerate():
        if thread.name == "flush":
            thread.join(600)
    assert over()


def test_read_only_image_has_nothing_to_flush(disk: Path) -> None:
    image = open_image(disk, format=disk.suffix[1:], read_only=True)
    assert flushes.begin(image)()
    image.close()
