"""Commits of raw images where the host has no room, and journals that are not the image's own."""

from __future__ import annotations

import errno
import os
import random
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from gossamer.block import ImageError, OverlayImage, open_image
from gossamer.block.journal import journal_paths

SIZE = 300_032
BEFORE = random.Random(1).randbytes(SIZE)
CHANGE = b"new" * 60_000
AFTER = BEFORE[:1000] + CHANGE + BEFORE[1000 + len(CHANGE) :]


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "disks").mkdir()
    path = tmp_path / "disks" / "disk.img"
    path.write_bytes(BEFORE)
    return path


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`full(file, …)`: from now on flushing these files fails as on a full medium."""
    real, refused = os.fsync, set[str]()

    def fsync(fd: int) -> None:
        if str(Path(f"/proc/self/fd/{fd}").readlink()) in refused:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(fd)

    def make(*files: Path) -> None:
        refused.clear()
        refused.update(map(str, files))

    monkeypatch.setattr(os, "fsync", fsync)
    return make


def changed(path: Path) -> OverlayImage:
    """The image, opened and written, not committed."""
    image = open_image(path)
    assert isinstance(image, OverlayImage)
    image.write(1000, CHANGE)
    return image


def dies_at_write(image: OverlayImage, number: int) -> None:
    """Its commit is killed before the `number`-th write into the file."""
    real = image.base.file.write_at
    left = number

    def write_at(offset: int, *buffers: bytes) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt
        real(offset, *buffers)

    image.base.file.write_at = write_at
    with pytest.raises(KeyboardInterrupt):
        image.commit()
    image.abandon()


def test_no_room_beside_the_image_then_the_journal_is_in_the_state_folder(
    path: Path, full, state_folder: Path
) -> None:
    beside, elsewhere = journal_paths(path)
    assert elsewhere.is_relative_to(state_folder)
    full(beside)
    dies_at_write(changed(path), 2)
    assert not beside.exists()
    assert stat.S_IMODE(elsewhere.parent.stat().st_mode) == 0o700
    with pytest.raises(ImageError, match="a commit to it was interrupted"):
        open_image(path, read_only=True)
    open_image(path).close()
    assert path.read_bytes() == AFTER
    assert not elsewhere.exists()


def test_no_room_for_a_journal_anywhere_then_written_without_one(path: Path, full) -> None:
    full(*journal_paths(path))
    changed(path).close()
    assert path.read_bytes() == AFTER
    assert not any(journal.exists() for journal in journal_paths(path))


def test_state_folder_when_it_cannot_be_made_then_written_without_one(
    path: Path, full, state_folder: Path
) -> None:
    state_folder.write_bytes(b"a file")
    full(journal_paths(path)[0])
    changed(path).close()
    assert path.read_bytes() == AFTER


def test_nothing_can_be_written_then_changes_are_kept_and_close_can_be_tried_again(
    path: Path, full
) -> None:
    image = changed(path)
    full(*journal_paths(path))
    real = image.base.file.write_at

    def refuse(offset: int, *buffers: bytes) -> None:
        raise ImageError(path, "cannot write", errno.ENOSPC)

    image.base.file.write_at = refuse
    for finish in (image.close, image.commit, image.close):
        with pytest.raises(ImageError, match="cannot write") as caught:
            finish()
        assert caught.value.errno == errno.ENOSPC
        assert image.read(0, SIZE) == AFTER
    image.base.file.write_at = real
    image.write(0, b"more")
    image.close()
    assert path.read_bytes() == b"more" + AFTER[4:]


def test_play_when_it_fails_then_the_journal_stays_and_close_can_be_tried_again(path: Path) -> None:
    image = changed(path)
    real, writes = image.base.file.write_at, 0

    def refuse_second(offset: int, *buffers: bytes) -> None:
        nonlocal writes
        writes += 1
        if writes == 2:
            raise ImageError(path, "cannot write", errno.EIO)
        real(offset, *buffers)

    image.base.file.write_at = refuse_second
    with pytest.raises(ImageError, match="cannot write"):
        image.close()
    assert journal_paths(path)[0].exists()
    image.write(0, b"more")
    image.close()
    assert path.read_bytes() == b"more" + AFTER[4:]
    assert not journal_paths(path)[0].exists()


def test_image_when_sparse_then_the_journal_does_not_take_its_room(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"")
    os.truncate(path, SIZE)
    beside, elsewhere = journal_paths(path)
    reserved = 0

    def fallocate(fd: int, offset: int, length: int) -> None:
        nonlocal reserved
        if beside.exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        reserved += length

    monkeypatch.setattr(os, "posix_fallocate", fallocate)
    dies_at_write(changed(path), 1)
    assert reserved >= len(CHANGE)
    assert elsewhere.exists()
    open_image(path).close()
    assert path.read_bytes()[1000 : 1000 + len(CHANGE)] == CHANGE


def test_image_when_opened_by_another_name_then_its_journal_is_found(path: Path) -> None:
    link = path.parent.parent / "link.img"
    link.symlink_to(path)
    dies_at_write(changed(link), 2)
    open_image(path).close()
    assert path.read_bytes() == AFTER


def test_journal_when_the_image_is_private_then_private_too(path: Path) -> None:
    path.chmod(0o600)
    dies_at_write(changed(path), 1)
    assert stat.S_IMODE(journal_paths(path)[0].stat().st_mode) == 0o600


USERS = b"gossip, not a journal"


def test_file_when_it_only_has_the_journals_name_then_untouched(path: Path) -> None:
    beside, elsewhere = journal_paths(path)
    beside.write_bytes(USERS)
    open_image(path, read_only=True).close()
    dies_at_write(changed(path), 2)
    assert elsewhere.exists()
    open_image(path).close()
    assert path.read_bytes() == AFTER
    assert beside.read_bytes() == USERS


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda p: p.symlink_to("/dev/zero")])
def test_journals_name_when_not_a_file_then_untouched(
    path: Path, make: Callable[[Path], None]
) -> None:
    beside = journal_paths(path)[0]
    make(beside)
    kind = beside.lstat().st_mode
    changed(path).close()
    assert path.read_bytes() == AFTER
    assert beside.lstat().st_mode == kind


@pytest.mark.parametrize("begun", [0, 3, 8])
def test_journal_when_only_begun_then_removed_and_no_hindrance_for_reading(
    path: Path, begun: int
) -> None:
    dies_at_write(changed(path), 1)
    beside = journal_paths(path)[0]
    beside.write_bytes(beside.read_bytes()[:begun])
    open_image(path, read_only=True).close()
    assert beside.exists()
    open_image(path).close()
    assert not beside.exists()
    assert path.read_bytes() == BEFORE


@pytest.mark.parametrize("number", [1, 2, 3])
def test_journal_when_the_image_is_another_then_refused_and_both_untouched(
    path: Path, number: int
) -> None:
    """A backup put back, or a write by another program, after a kill at any write."""
    dies_at_write(changed(path), number)
    beside = journal_paths(path)[0]
    journal, played = beside.read_bytes(), path.read_bytes()
    other = bytearray(played)
    other[150_000] ^= 1
    for content in (bytes(other), random.Random(2).randbytes(SIZE), BEFORE[:-512]):
        path.write_bytes(content)
        with pytest.raises(ImageError, match=r"to another state of .*disk\.img, ") as caught:
            open_image(path)
        assert str(caught.value).startswith(f"{beside}: ")
        assert "\n" not in str(caught.value)
        assert caught.value.errno == errno.ESTALE
        assert path.read_bytes() == content
        assert beside.read_bytes() == journal
    path.write_bytes(played)
    open_image(path).close()
    assert path.read_bytes() == AFTER


def test_journal_when_power_failed_between_any_sectors_then_played(path: Path) -> None:
    dies_at_write(changed(path), 1)
    generator = random.Random(3)
    for at in range(0, SIZE, 512):
        if generator.random() < 0.5:
            with path.open("r+b") as file:
                file.seek(at)
                file.write(AFTER[at : at + 512])
    open_image(path).close()
    assert path.read_bytes() == AFTER


def test_journal_when_the_file_has_a_partial_sector_then_played(path: Path) -> None:
    path.write_bytes(BEFORE[:-500])
    image = changed(path)
    image.write(SIZE - 512, b"z" * 512)
    dies_at_write(image, 3)
    open_image(path).close()
    assert path.read_bytes() == AFTER[:-512] + b"z" * 12
