"""Regions on disk: what is read is what was written, by us, whole."""

from __future__ import annotations

from multiprocessing import get_context
from pathlib import Path

import pytest

from gossamer.engine.regions.store import RegionStore, Stored, name_of

REGION = Stored(0x40, 3, {0x40: 0x3863_0001, 0x44: 0x4BFF_FFFC, -4: 7}, (-1, 0), b"object")
NAME = name_of(0x40, b"code")


def filled(path: Path, count: int = 3) -> RegionStore:
    store = RegionStore(path)
    for n in range(count):
        store.add(name_of(n, b""), Stored(n, 1, {n: n}, (0,), bytes([n]) * 100))
    store.flush()
    return store


def found(path: Path, count: int) -> int:
    """How many of the first `count` regions of `filled` are found, as they were written."""
    store = RegionStore(path)
    n = 0
    for k in range(count):
        for stored in store.find(name_of(k, b"")):
            assert stored == Stored(k, 1, {k: k}, (0,), bytes([k]) * 100)
            n += 1
    return n


def test_region_is_found_by_another_store(tmp_path: Path) -> None:
    store = RegionStore(tmp_path / "cache")
    store.add(NAME, REGION)
    assert list(store.find(NAME)) == [REGION]
    assert list(RegionStore(tmp_path / "cache").find(NAME)) == []
    store.flush()
    assert list(RegionStore(tmp_path / "cache").find(NAME)) == [REGION]
    assert list(RegionStore(tmp_path / "cache").find(name_of(0x44, b"code"))) == []


def test_file_is_private(tmp_path: Path) -> None:
    filled(tmp_path / "cache")
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622, 0o666])
def test_file_that_others_may_touch_is_neither_read_nor_written(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "cache"
    filled(path)
    path.chmod(mode)
    before = path.read_bytes()
    assert found(path, 3) == 0
    filled(path, 5)
    assert path.read_bytes() == before


def test_link_is_not_followed(tmp_path: Path) -> None:
    filled(tmp_path / "real")
    (tmp_path / "cache").symlink_to(tmp_path / "real")
    assert found(tmp_path / "cache", 3) == 0


def test_any_changed_byte_loses_regions_and_brings_no_other(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    filled(path)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert found(path, 3) < 3


def test_file_cut_anywhere_is_mended_by_the_next_writer(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    filled(path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert found(path, 3) < 3
        store = RegionStore(path)
        store.add(NAME, REGION)
        store.flush()
        assert list(RegionStore(path).find(NAME)) == [REGION], length


def test_file_that_grows_too_big_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    store = RegionStore(path, most=4096)
    for n in range(100):
        store.add(name_of(n, b""), Stored(n, 1, {n: n}, (0,), bytes([n]) * 100))
        store.flush()
        assert path.stat().st_size <= 4096
    assert 0 < found(path, 100) < 40


def test_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    filled(tmp_path / "file" / "cache")
    assert found(tmp_path / "file" / "cache", 3) == 0


def _write(path: Path, start: int) -> None:
    store = RegionStore(path)
    for n in range(start, start + 20):
        store.add(name_of(n, b""), Stored(n, 1, {n: n}, (0,), bytes([n]) * 100))
        store.flush()


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    # Processes without a pool: its semaphores need a /dev/shm, which a bare chroot does not have.
    writers = [get_context("fork").Process(target=_write, args=(path, n)) for n in range(0, 80, 20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert found(path, 80) == 80
    assert list(tmp_path.iterdir()) == [path]


def test_place_that_was_hot_is_known_to_later_processes_alone(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    store = RegionStore(path)
    store.note_hot(NAME)
    store.note_hot(NAME)
    assert not store.was_hot(NAME)
    store.add(NAME, REGION)
    assert store.pending == 1
    store.flush()
    size = path.stat().st_size
    later = RegionStore(path)
    assert later.was_hot(NAME)
    assert not later.was_hot(name_of(0x44, b"code"))
    assert list(later.find(NAME)) == [REGION]
    later.note_hot(NAME)
    later.flush()
    assert path.stat().st_size == size
