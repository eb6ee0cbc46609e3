"""Raw images that are open for writing: in place, with an undo log for saves."""

from __future__ import annotations

import errno
import os
import random
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.block import Capture, ImageError, RawDisk, open_image
from gossamer.block.undo import undo_folders

SIZE = 400_000 // 512 * 512
CHUNK = 65536


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "disks").mkdir()
    (tmp_path / "disks" / "disk.img").write_bytes(random.Random(1).randbytes(SIZE))
    return tmp_path / "disks" / "disk.img"


def opened(path: Path) -> RawDisk:
    image = open_image(path)
    assert isinstance(image, RawDisk)
    return image


def test_case_9_writes_are_in_the_file_at_once_and_on_the_medium_after_a_flush(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(path.read_bytes()[70_000:70_007]))
    image = opened(path)
    image.write(70_000, b"changed")
    image.zero(0, CHUNK)
    assert path.read_bytes()[70_000:70_007] == b"changed"
    assert path.read_bytes()[:CHUNK] == bytes(CHUNK)
    assert not synced
    image.flush()
    assert synced == [b"changed"]
    image.abandon()
    assert [entry.name for entry in path.parent.iterdir()] == ["disk.img"]


def test_save_when_restored_then_content_and_hash_are_back(path: Path) -> None:
    image = opened(path)
    image.write(100, b"first" * 20_000)
    image.zero(200_000, 150_000)
    content, known, capture = image.read(0, SIZE), image.content_hash(), image.capture("x")
    image.write(0, b"second" * 50_000)
    assert image.content_hash() != known
    image.restore(capture)
    assert image.read(0, SIZE) == content
    assert image.content_hash() == known
    image.write(0, b"third" * 50_000)
    image.close()
    image = opened(path)
    image.restore(capture)
    assert image.read(0, SIZE) == content == path.read_bytes()
    image.forget(capture.id)
    image.close()
    assert [entry.name for entry in path.parent.iterdir()] == ["disk.img"]


def test_saves_when_several_then_each_can_be_restored_in_any_order(path: Path) -> None:
    image = opened(path)
    generator = random.Random(4)
    saves = []
    for _ in range(6):
        saves.append((image.capture("x"), image.read(0, SIZE)))
        image.write(generator.randrange(SIZE - 90_000), generator.randbytes(90_000))
    generator.shuffle(saves)
    while saves:
        for capture, content in saves:
            image.restore(capture)
            assert image.read(0, SIZE) == content
        image.forget(saves.pop()[0].id)
        image.write(generator.randrange(SIZE - 90_000), generator.randbytes(90_000))
    assert not image.undo.kept_bytes
    image.close()


def test_log_when_a_save_is_replaced_a_hundred_times_then_bounded(path: Path) -> None:
    """Beside one that stays."""
    image = opened(path)
    first, before = image.capture("first"), image.read(0, SIZE)
    for n in range(100):
        image.write(n % 7 * 50_000, b"%d" % n * 20_000)
        latest = image.capture("latest")
        image.forget_all_of("latest", but=latest.id)
    assert image.undo.kept_bytes < 2 * SIZE
    assert len(list((path.parent / "disk.img.undo").iterdir())) == 2
    assert [entry.owner for entry in image.undo.entries] == ["first", "latest"]
    image.restore(first)
    assert image.read(0, SIZE) == before
    image.close()


def test_image_when_changed_by_another_program_then_the_save_is_refused(path: Path) -> None:
    image = opened(path)
    capture = image.capture("x")
    image.write(0, b"ours")
    image.close()
    with path.open("r+b") as file:
        file.seek(200_000)
        file.write(b"by another program")
    image = opened(path)
    before = image.read(0, SIZE)
    message = r"changed since it was saved \(1 clusters, the first at 0x30000\)"
    with pytest.raises(ImageError, match=message) as caught:
        image.restore(capture)
    assert caught.value.errno == errno.ESTALE
    assert image.read(0, SIZE) == before
    image.close()


def test_log_when_it_is_taken_away_then_only_an_unchanged_image_is_restored(path: Path) -> None:
    image = opened(path)
    capture, content = image.capture("x"), image.read(0, SIZE)
    image.close()
    (path.parent / "disk.img.undo").rename(path.parent / "elsewhere")
    image = opened(path)
    image.restore(capture)
    assert image.read(0, SIZE) == content
    image.write(0, b"changed")
    with pytest.raises(ImageError, match="has changed since it was saved"):
        image.restore(capture)
    image.close()


def test_old_save_with_an_overlay_then_written_in_place(path: Path) -> None:
    """As gossamer 0.1.0 saved raw disks: a fingerprint of the file, and what lay over it."""
    image = open_image(path, snapshot=True)
    image.write(100, b"first" * 20_000)
    image.zero(200_000, 150_000)
    capture, content = image.capture(), image.read(0, SIZE)
    capture = Capture(capture.size, capture.base, list(capture.clusters))
    image.close()
    image = opened(path)
    image.write(130_000, b"covered")
    image.restore(capture)
    assert image.read(0, SIZE) == content
    image.close()
    assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == ["disk.img"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 512}, "the disk has 399872 bytes, the saved one 512"),
        ({"clusters": [(1, bytes(CHUNK))]}, "the saved overlay has a cluster at 0x1"),
        ({"clusters": [(0, bytes(100))]}, "the saved overlay has 100 bytes at 0x0"),
        ({"clusters": [(1 << 40, bytes(CHUNK))]}, "a cluster at 0x10000000000"),
        ({"base": b"abc"}, "the saved overlay has a fingerprint that is truncated"),
        ({"base": bytes(7) + b"\xff" + bytes(8)}, "a fingerprint of more than the disk"),
        ({"base": bytes(15) + b"\1"}, "the image has changed"),
    ],
)
def test_capture_when_broken_then_refused_and_disk_unchanged(
    path: Path, change: dict[str, object], message: str
) -> None:
    image = opened(path)
    image.write(0, b"now")
    capture, content = image.capture("x"), image.read(0, SIZE)
    for name, value in change.items():
        setattr(capture, name, value)
    with pytest.raises(ImageError, match=message):
        image.restore(capture)
    assert image.read(0, SIZE) == content
    image.close()


def test_size_when_not_whole_sectors_then_filled_with_zeros(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(b"x" * 700)
    image = opened(tmp_path / "odd")
    assert image.size == 1024
    assert image.read(600, 424) == b"x" * 100 + bytes(324)
    capture = image.capture("x")
    image.write(1, b"y")
    assert (tmp_path / "odd").read_bytes() == b"xy" + b"x" * 698
    image.write(512, b"z" * 512)
    image.restore(capture)
    assert image.read(0, 1024) == b"x" * 700 + bytes(324)
    image.close()


def test_folder_of_the_image_when_it_takes_nothing_then_the_log_is_in_the_state_folder(
    path: Path, state_folder: Path
) -> None:
    beside, elsewhere = undo_folders(path)
    beside.write_bytes(b"a file of the user")
    image = opened(path)
    capture, content = image.capture("x"), image.read(0, SIZE)
    image.write(0, b"changed")
    image.close()
    assert elsewhere.is_relative_to(state_folder)
    assert elsewhere.is_dir()
    image = opened(path)
    image.restore(capture)
    assert path.read_bytes() == content
    image.forget(capture.id)
    image.close()
    assert not elsewhere.exists()
    assert beside.read_bytes() == b"a file of the user"


def test_no_place_for_a_log_then_the_save_is_refused(path: Path, state_folder: Path) -> None:
    undo_folders(path)[0].write_bytes(b"a file of the user")
    state_folder.write_bytes(b"another")
    image = opened(path)
    with pytest.raises(ImageError, match="cannot keep its content for the save"):
        image.capture("x")
    image.write(0, b"goes on")
    image.close()
    assert path.read_bytes()[:7] == b"goes on"


def test_log_when_the_image_is_private_then_private_too(path: Path) -> None:
    path.chmod(0o600)
    image = opened(path)
    image.capture("x")
    folder = path.parent / "disk.img.undo"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    image.close()


def test_many_saves_then_few_descriptors(path: Path) -> None:
    image = opened(path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    captures = []
    for n in range(40):
        captures.append(image.capture(str(n)))
        image.write(n * 512, b"x" * 512)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
    image.restore(captures[0])
    image.close()


def test_sparse_image_when_written_after_a_save_then_holes_take_no_room_in_the_log(
    tmp_path: Path,
) -> None:
    path = tmp_path / "sparse.img"
    path.touch()
    os.truncate(path, 64 << 20)
    image = opened(path)
    capture = image.capture("x")
    image.write(0, b"x" * (4 << 20))
    assert image.undo.kept_bytes < 65536
    image.restore(capture)
    assert not image.read(0, 4 << 20).strip(b"\0")
    image.close()


@pytest.mark.parametrize("offset", [0, 100])
def test_case_12_guessed_image_when_the_first_sector_would_become_another_format_then_refused(
    path: Path, offset: int
) -> None:
    path.write_bytes(b"QFI" + bytes(SIZE - 3))
    image = opened(path)
    assert image.probed
    with pytest.raises(ImageError, match="say format=raw to allow that") as caught:
        image.write(0, b"QFI\xfb\0\0\0\3")
    assert caught.value.errno == errno.EPERM
    with pytest.raises(ImageError, match="another format's magic"):
        image.write(3, b"\xfb\0\0\0\3")
    image.write(512, b"QFI\xfb\0\0\0\3")
    image.close()
    image = open_image(path, format="raw")
    assert not image.probed
    image.write(0, b"QFI\xfb\0\0\0\3")
    image.close()


steps = st.tuples(
    st.sampled_from(["write", "zero", "save", "restore", "forget", "open"]),
    st.integers(0, SIZE - 1),
    st.sampled_from([1, 512, CHUNK, 150_000]),
)


@settings(max_examples=40)
@given(st.lists(steps, max_size=20))
def test_disk_when_operated_then_equals_the_model(plan: list[tuple[str, int, int]]) -> None:
    generator = random.Random(2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "disk.img"
        path.write_bytes(bytes(100_000) + generator.randbytes(SIZE - 100_000))
        model = bytearray(path.read_bytes())
        saves: list[tuple[Capture, bytes]] = []
        image = opened(path)
        for what, offset, length in plan:
            length = min(length, SIZE - offset)
            if what == "write":
                data = generator.randbytes(length)
                image.write(offset, data)
                model[offset : offset + length] = data
            elif what == "zero":
                image.zero(offset, length)
                model[offset : offset + length] = bytes(length)
            elif what == "open":
                image.close()
                image = opened(path)
            elif what == "save":
                saves.append((image.capture("x"), bytes(model)))
            elif saves and what == "restore":
                capture, content = saves[offset % len(saves)]
                image.restore(capture)
                model[:] = content
            elif saves:
                capture, _ = saves.pop(offset % len(saves))
                image.forget(capture.id)
            assert image.read(offset, length) == model[offset : offset + length]
        known = image.content_hash()
        image.close()
        assert path.read_bytes() == model
        image = opened(path)
        assert image.content_hash() == known
        image.abandon()
