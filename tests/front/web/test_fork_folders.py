"""A fork's folder goes when fork and parent have ended, also when both were killed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from gossamer.front.web.fork_folders import ForkFolder, remove_left


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_held_folder_stays_and_one_whose_holders_ended_goes() -> None:
    folder = ForkFolder()
    (folder.path / "0.qcow2").write_bytes(b"disk")
    theirs = os.dup(folder.lock)  # as the fork has it
    folder.hand_over()
    remove_left()
    assert (folder.path / "0.qcow2").exists()
    os.close(theirs)
    remove_left()
    assert not folder.path.exists()


def test_folder_that_its_maker_has_not_locked_yet_stays(temporary: Path) -> None:
    young = temporary / "gossamer-fork-young"
    young.mkdir()
    (young / "lock.new").touch()
    remove_left()
    assert young.exists()


def test_link_to_a_folder_elsewhere_is_not_followed(temporary: Path) -> None:
    elsewhere = temporary / "mine"
    elsewhere.mkdir()
    (elsewhere / "text").write_text("kept")
    left = temporary / "gossamer-fork-link"
    left.symlink_to(elsewhere)
    (elsewhere / "lock").touch()
    remove_left()
    assert (elsewhere / "text").read_text() == "kept"


def test_removed_by_its_maker() -> None:
    folder = ForkFolder()
    folder.remove()
    assert not folder.path.exists()
    assert folder.lock == -1
