"""Commit journals that gossamer 0.1.0 left behind: played, forgotten or refused."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from gossamer.block import ImageError, open_image
from gossamer.block.journal import journal_paths

from .old_journal import write_journal

SIZE = 300_032
CHUNK = 65536
BEFORE = random.Random(1).randbytes(SIZE)
CHANGE = b"new" * 60_000
AFTER = BEFORE[:1000] + CHANGE + BEFORE[1000 + len(CHANGE) :]
CHANGES = [(at, AFTER[at : at + CHUNK]) for at in range(0, 3 * CHUNK, CHUNK)]


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An image whose commit was killed before its first write."""
    (tmp_path / "disks").mkdir()
    path = tmp_path / "disks" / "disk.img"
    path.write_bytes(BEFORE)
    write_journal(journal_paths(path)[0], BEFORE, CHANGES)
    return path


def played(path: Path, length: int) -> bytes:
    """The image when the commit was killed after `length` bytes."""
    path.write_bytes(AFTER[:length] + BEFORE[length:])
    return path.read_bytes()


def test_journal_then_played_and_gone_and_no_reading_before(path: Path) -> None:
    with pytest.raises(ImageError, match="a commit to it was interrupted"):
        open_image(path, read_only=True)
    open_image(path).close()
    assert path.read_bytes() == AFTER
    assert not journal_paths(path)[0].exists()


def test_journal_in_the_state_folder_then_played(path: Path, state_folder: Path) -> None:
    beside, elsewhere = journal_paths(path)
    assert elsewhere.is_relative_to(state_folder)
    elsewhere.parent.mkdir(parents=True)
    beside.rename(elsewhere)
    open_image(path).close()
    assert path.read_bytes() == AFTER
    assert not elsewhere.exists()


def test_image_when_opened_by_another_name_then_its_journal_is_found(path: Path) -> None:
    link = path.parent.parent / "link.img"
    link.symlink_to(path)
    open_image(link).close()
    assert path.read_bytes() == AFTER


def test_play_when_it_fails_in_mid_sector_then_it_can_be_tried_again_case_21(path: Path) -> None:
    for length in (1, 700, 1000, 65536, 70_001, 150_000):
        played(path, length)
        open_image(path).close()
        assert path.read_bytes() == AFTER
        write_journal(journal_paths(path)[0], BEFORE, CHANGES)


USERS = b"gossip, not a journal"


def test_file_when_it_only_has_the_journals_name_then_untouched(path: Path) -> None:
    beside = journal_paths(path)[0]
    beside.write_bytes(USERS)
    open_image(path, read_only=True).close()
    open_image(path).close()
    assert path.read_bytes() == BEFORE
    assert beside.read_bytes() == USERS


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda p: p.symlink_to("/dev/zero")])
def test_journals_name_when_not_a_file_then_untouched(
    path: Path, make: Callable[[Path], None]
) -> None:
    beside = journal_paths(path)[0]
    beside.unlink()
    make(beside)
    kind = beside.lstat().st_mode
    open_image(path).close()
    assert path.read_bytes() == BEFORE
    assert beside.lstat().st_mode == kind


@pytest.mark.parametrize("kept", [0, 3, 8, 10, 16, 5000, -1])
def test_journal_when_not_whole_then_removed_and_no_hindrance_for_reading(
    path: Path, kept: int
) -> None:
    beside = journal_paths(path)[0]
    beside.write_bytes(beside.read_bytes()[:kept])
    open_image(path, read_only=True).close()
    assert beside.exists()
    open_image(path).close()
    assert not beside.exists()
    assert path.read_bytes() == BEFORE


@pytest.mark.parametrize("length", [0, 1000, 100_000, 150_000])
def test_journal_when_the_image_is_another_then_refused_and_both_untouched(
    path: Path, length: int
) -> None:
    """A backup put back, or a write by another program, after a kill at any write."""
    before = played(path, length)
    beside = journal_paths(path)[0]
    journal = beside.read_bytes()
    other = bytearray(before)
    other[160_000] ^= 1
    other[170_000] ^= 1
    for content in (bytes(other), random.Random(2).randbytes(SIZE), BEFORE[:-512]):
        path.write_bytes(content)
        with pytest.raises(ImageError, match=r"to another state of .*disk\.img, ") as caught:
            open_image(path)
        assert str(caught.value).startswith(f"{beside}: ")
        assert "\n" not in str(caught.value)
        assert caught.value.errno == errno.ESTALE
        assert path.read_bytes() == content
        assert beside.read_bytes() == journal
    path.write_bytes(before)
    open_image(path).close()
    assert path.read_bytes() == AFTER


def test_journal_when_power_failed_between_any_sectors_then_played(path: Path) -> None:
    generator = random.Random(3)
    for at in range(0, SIZE, 512):
        if generator.random() < 0.5:
            with path.open("r+b") as file:
                file.seek(at)
                file.write(AFTER[at : at + 512])
    open_image(path).close()
    assert path.read_bytes() == AFTER
