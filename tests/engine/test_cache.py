"""The object cache on disk: what is not wholly trustworthy is ignored and made anew."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossamer.engine import build, llvm, module, tidying
from gossamer.isa.architecture import architecture

OBJECT = b"\x7fELF" + bytes(range(256)) * 40


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(llvm, "compile_object", lambda text, quick: OBJECT)
    monkeypatch.setattr(module, "module_text", lambda architecture: "")
    return tmp_path / "gossamer"


PART = architecture("750")


def only(folder: Path) -> Path:
    (path,) = folder.glob("tier0-*")
    return path


def test_object_is_kept_for_the_owner_alone_and_found_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert build.object_for(PART) == OBJECT
    assert stat.S_IMODE(only(folder).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    def never(text: str, quick: bool) -> bytes:
        raise AssertionError("compiled again")

    monkeypatch.setattr(llvm, "compile_object", never)
    assert build.object_for(PART) == OBJECT


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o620])
def test_file_that_others_may_touch_is_ignored(folder: Path, mode: int) -> None:
    build.object_for(PART)
    only(folder).chmod(mode)
    assert build._read(only(folder)) is None
    assert build.object_for(PART) == OBJECT
    assert stat.S_IMODE(only(folder).stat().st_mode) == 0o600


def test_file_of_another_owner_is_ignored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build.object_for(PART)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    assert build._read(only(folder)) is None


def test_any_flipped_byte_is_noticed(folder: Path) -> None:
    build.object_for(PART)
    path = only(folder)
    whole = path.read_bytes()
    places = [*range(64), *range(64, len(whole), 97), len(whole) - 1]
    for at in places:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        assert build._read(path) is None, at
    path.write_bytes(whole)
    assert build._read(path) == OBJECT


def test_any_truncation_is_noticed(folder: Path) -> None:
    build.object_for(PART)
    path = only(folder)
    whole = path.read_bytes()
    for length in [*range(64), *range(64, len(whole), 101), len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert build._read(path) is None, length


def test_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert build.object_for(PART) == OBJECT


def test_key_depends_on_architecture_and_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    one = build.cache_key(PART)
    assert build.cache_key(architecture("750", "7400")) != one
    assert build.cache_key(architecture("750", word=64)) != one
    assert build.cache_key(architecture("750", mmu="loaded")) != one
    monkeypatch.setattr(build, "_source_hash", lambda: "other")
    assert build.cache_key(PART) != one


def test_hash_of_the_sources_is_kept_by_their_places_sizes_and_times(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = build._source_hash.__wrapped__
    made = hashed()
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert hashed() == made
    build._write(path, b"kept")
    assert hashed() == "kept", "the sources were read again"
    path.write_bytes(path.read_bytes()[:-1])
    assert hashed() == made, "a damaged file was used"
    build._write(path, b"kept")
    found = build._sources

    def touched(root: str, package: str) -> Iterator[tuple[str, os.stat_result]]:
        for name, status in found(root, package):
            new = os.stat_result([*status[:8], status.st_mtime + (name == "isa/form.py"), 0])
            yield name, new if name == "isa/form.py" else status

    monkeypatch.setattr(build, "_sources", touched)
    assert hashed() == made, "a file with another time was taken for the old one"


def test_a_run_of_libvirts_keeps_its_code_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/run/lib/domain-7-mac/.cache")
    of_one_run = build.cache_folder()
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert of_one_run == build.cache_folder()
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/user/domain/.cache")
    assert build.cache_folder() == Path("/home/user/domain/.cache/gossamer")


def test_files_of_other_keys_are_bounded_and_the_least_used_go(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    keys = [f"{n:032x}" for n in range(8)]
    for n, key in enumerate(keys):
        for name in (f"tier0-{key}.o", f"regions-{key}.cache"):
            (folder / name).write_bytes(bytes(500))
            os.utime(folder / name, ns=(n, n))
    (folder / "notes.o").write_bytes(bytes(9000))
    (folder / f"tier0-{8:032x}.o").symlink_to(folder / "notes.o")
    tidying.mark_used(folder / f"regions-{keys[1]}.cache")
    tidying.tidy(folder, keys[0], 3000)
    left = {p.name for p in folder.iterdir()}
    kept = [keys[n] for n in (0, 1, 6, 7)]
    ours = {name for key in kept for name in (f"tier0-{key}.o", f"regions-{key}.cache")}
    assert left == ours | {"notes.o", f"tier0-{8:032x}.o"}


def test_object_that_is_made_tidies_and_one_that_is_found_is_marked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir(mode=0o700)
    old = folder / f"tier0-{0:032x}.o"
    old.write_bytes(b"")
    os.truncate(old, tidying.MOST + 1)
    build.object_for(PART)
    path = only(folder)
    os.utime(path, ns=(1, 1))
    build.object_for(PART)
    assert path.stat().st_mtime_ns > 1


LEAVING = """
import time
from threading import Event, Thread
from gossamer.engine import llvm

def compiling():
    with llvm._compiling:
        begun.set()
        left.wait()
        time.sleep(0.2)
        print("compiled", flush=True)

begun, left = Event(), Event()
Thread(target=compiling, daemon=True).start()
begun.wait()
print("leaves", flush=True)
left.set()
"""


def test_a_process_waits_for_what_it_is_compiling_at_its_end() -> None:
    """LLVM would crash otherwise: its data go before a thread of `core.ahead` does."""
    done = subprocess.run(
        [sys.executable, "-c", LEAVING], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, ["leaves", "compiled"])


def test_compiling_is_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, parse = [], llvm.llvm.parse_assembly

    def parsed(text: str) -> object:
        seen.append(llvm._compiling.locked())
        return parse(text)

    monkeypatch.setattr(llvm.llvm, "parse_assembly", parsed)
    assert llvm.compile_object("define void @f() { ret void }")
    assert (seen, llvm._compiling.locked()) == ([True], False)
