"""Snapshots that become images of their own, beside a machine that goes on writing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from gossamer.block import Qcow2Image, create, open_image, parting
from gossamer.block.errors import ImageError
from gossamer.block.parting import part_snapshot

STATE = b"state of the machine" * 5000


@pytest.fixture
def image(tmp_path: Path) -> Qcow2Image:
    """Two snapshots; written to before, between and after them."""
    create(tmp_path / "base.img", "qcow2", 4 << 20)
    below = open_image(tmp_path / "base.img")
    below.write(1 << 20, b"below" * 1000)
    below.close()
    create(tmp_path / "a.qcow2", "qcow2", None, "base.img", backing_format="qcow2")
    made = cast(Qcow2Image, open_image(tmp_path / "a.qcow2"))
    made.write(0, b"first" * 20_000)
    made.create_snapshot("one", [STATE], vm_clock_ns=5, date_ns=7_000, icount=9)
    made.write(10, b"second" * 20_000)
    made.create_snapshot("two", vm_clock_ns=6, date_ns=8_000)
    made.write(0, b"third" * 50_000)
    return made


def content(path: Path) -> bytes:
    with_it = open_image(path, read_only=True)
    try:
        return with_it.read(0, with_it.size)
    finally:
        with_it.close()


def expected(image: Qcow2Image, name: str) -> bytes:
    snapshot = image.find_snapshot(name)
    return image.read_snapshot(snapshot, 0, snapshot.disk_size)


def test_copy_has_the_disk_and_the_state_of_the_snapshot(image: Qcow2Image, tmp_path: Path) -> None:
    for name, date in (("one", 7_000), ("two", 8_000)):
        to = tmp_path / f"{name}.qcow2"
        part_snapshot(image.path, date, to)
        assert content(to) == expected(image, name)
        copy = cast(Qcow2Image, open_image(to))
        (snapshot,) = copy.snapshots
        assert (snapshot.name, snapshot.date_ns) == (name, date)
        copy.write(0, b"other")
        copy.apply_snapshot(name)
        assert copy.read(0, copy.size) == expected(image, name)
        if name == "one":
            assert (snapshot.vm_clock_ns, snapshot.icount) == (5, 9)
            with copy.open_vmstate(name) as state:
                assert state.read() == STATE
        copy.close()
    assert expected(image, "one")[:5] == b"first"
    assert expected(image, "two")[10:16] == b"second"
    assert expected(image, "two")[1 << 20 :][:5] == b"below"
    assert image.read(0, 5) == b"third"
    image.close()


def test_a_snapshot_that_goes_meanwhile_is_noticed(
    image: Qcow2Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = parting._copy

    def again() -> None:
        image.delete_snapshot("one")
        image.create_snapshot("one", vm_clock_ns=5, date_ns=7_000)

    actions: list[tuple[Callable[[], object], str]] = [
        (again, "made anew meanwhile"),
        (lambda: image.delete_snapshot("one"), "is not there"),
    ]
    for n, (action, text) in enumerate(actions):

        def copy(*args: object, action: Callable[[], object] = action) -> None:
            real(*args)  # type: ignore[arg-type]
            action()

        monkeypatch.setattr(parting, "_copy", copy)
        with pytest.raises(ImageError, match=text):
            part_snapshot(image.path, 7_000, tmp_path / f"{n}.qcow2")
    image.close()


def test_no_room(image: Qcow2Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = SimpleNamespace(f_bavail=65 << 8, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda path: free)
    with pytest.raises(ImageError, match="65 MiB are free"):
        part_snapshot(image.path, 7_000, tmp_path / "x.qcow2")
    assert not (tmp_path / "x.qcow2").exists()
    image.close()
