"""A folder as a disc: what pycdlib reads back, bounds, and files that are in the way."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gossamer.base.errors import ConfigError
from gossamer.block import FolderDisc, ImageError, open_image
from gossamer.block import folder as folders
from gossamer.control.vm import Vm
from gossamer.machines.options import parse
from tests.conftest import unavailable

try:
    from pycdlib.pycdlib import PyCdlib
except ImportError:  # pragma: no cover - the test extra has it
    unavailable("pycdlib is not installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "My files"
    (top / "sub" / "deep").mkdir(parents=True)
    (top / "Hello World.txt").write_text("hello\n")
    (top / "a.b.c").write_text("small")
    (top / "A.B.C").write_text("capital")
    (top / "tool").write_text("#!/bin/sh\n")
    (top / "tool").chmod(0o755)
    (top / "sub" / "big").write_bytes(bytes(range(256)) * 1000)
    (top / "sub" / "deep" / ("ünï…" + "x" * 90)).write_text("")
    (top / "sub" / "deep" / ("ünï…" + "x" * 91)).write_text("2")
    (top / "sub" / "link").symlink_to("../a.b.c")
    for path in (*top.rglob("*"), top):
        os.utime(path, (1_700_000_000, 1_700_000_000), follow_symlinks=False)
    return top


@pytest.fixture
def opened() -> Iterator[Callable[[Path], Any]]:
    """Opens a folder as a disc, and closes it at the end."""
    with ExitStack() as stack:

        def open_(path: Path) -> Any:
            image = open_image(path, read_only=True)
            stack.callback(image.close)
            return image

        yield open_


def read_back(image: FolderDisc | Any) -> Any:
    disc = PyCdlib()
    disc.open_fp(io.BytesIO(image.read(0, image.size)))
    return disc


def content(disc: Any, **place: str) -> bytes:
    out = io.BytesIO()
    disc.get_file_from_iso_fp(out, **place)
    return out.getvalue()


def names(disc: Any, kind: str) -> dict[str, list[str]]:
    return {at: sorted([*below, *files]) for at, below, files in disc.walk(**{kind: "/"})}


def test_names_and_content_in_all_three_ways(folder: Path, opened: Any) -> None:
    image = opened(folder)
    assert (type(image), image.read_only, image.size % 2048) == (FolderDisc, True, 0)
    disc = read_back(image)
    long = sorted(["ünï…" + "x" * 90, "ünï…" + "x" * 91])
    assert names(disc, "rr_path") == {
        "/": ["A.B.C", "Hello World.txt", "a.b.c", "sub", "tool"],
        "/sub": ["big", "deep", "link"],
        "/sub/deep": long,
    }
    plain = names(disc, "iso_path")
    assert plain["/"] == ["A_B.C;1", "A_B_1.C;1", "HELLO_WORLD.TXT;1", "SUB", "TOOL.;1"]
    assert all(len(name) <= 33 for entries in plain.values() for name in entries)
    joliet = names(disc, "joliet_path")
    assert joliet["/"] == names(disc, "rr_path")["/"]
    assert len(set(joliet["/sub/deep"])) == 2
    assert content(disc, rr_path="/a.b.c") == b"small"
    assert content(disc, joliet_path="/A.B.C") == b"capital"
    assert content(disc, iso_path="/SUB/BIG.;1") == bytes(range(256)) * 1000
    assert disc.get_record(rr_path="/sub/link").rock_ridge.symlink_path() == b"../a.b.c"
    assert disc.file_mode(rr_path="/tool") & 0o777 == 0o555
    assert disc.pvd.volume_identifier.rstrip() == b"MY_FILES"


def test_same_files_are_the_same_disc_and_others_another(folder: Path, opened: Any) -> None:
    first, second = opened(folder), opened(folder / ".")
    assert first.content_hash() == second.content_hash()
    (folder / "a.b.c").write_text("SMALL")
    os.utime(folder / "a.b.c", (1_700_000_000, 1_700_000_000))
    assert opened(folder).content_hash() != first.content_hash()
    # It is the disc that the folder was.
    assert content(read_back(first), rr_path="/a.b.c") == b"small"
    with pytest.raises(ImageError, match="read-only"):
        first.write(0, b"x" * 512)
    first.close()
    with pytest.raises(ImageError, match="closed"):
        first.read(0, 512)


def test_empty_folder_is_an_empty_disc(tmp_path: Path, opened: Any) -> None:
    disc = read_back(opened(tmp_path))
    assert names(disc, "rr_path") == {"/": []}


def test_what_cannot_be_on_a_disc_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(text: str) -> None:
        with pytest.raises(ImageError, match=text) as fault:
            open_image(folder, read_only=True)
        assert "\n" not in str(fault.value)

    with monkeypatch.context() as patch:
        patch.setattr(folders, "MOST_BYTES", 1 << 10)
        refused("My files: holds more than 0 MiB")
        patch.undo()
        patch.setattr(folders, "MOST_ENTRIES", 5)
        refused("My files: holds more than 5 files")
    deep = folder.joinpath(*"1234567")
    deep.mkdir(parents=True)
    (deep / "file").touch()
    refused("7/file: lies more than 7 folders deep")
    (deep / "file").unlink()
    bad = os.fsencode(folder) + b"/\xff"
    Path(os.fsdecode(bad)).touch()
    refused("its name is not UTF-8")
    Path(os.fsdecode(bad)).unlink()
    os.mkfifo(folder / "pipe")
    refused("pipe: is neither file, folder nor link")
    (folder / "pipe").unlink()
    with pytest.raises(ImageError, match="My files"):
        open_image(folder)  # a disk is written to
    with pytest.raises(ImageError, match="My files"):
        open_image(folder, format="qcow2", read_only=True)


def test_file_that_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def refuse(self: Path, *args: Any, **more: Any) -> Any:
        if self.name == "big":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *args, **more)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageError, match="sub/big: cannot be put on a disc: Permission denied"):
        open_image(folder, read_only=True)


def test_file_that_shrinks_meanwhile_is_no_disc(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = folders._make

    def make(disc: Any, top: Path, at: Any) -> Any:
        found = made(disc, top, at)
        os.truncate(folder / "sub" / "big", 10)
        return found

    monkeypatch.setattr(folders, "_make", make)
    with pytest.raises(ImageError, match="big: changed while a disc was made"):
        open_image(folder, read_only=True)


def test_without_pycdlib_it_says_what_is_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pycdlib.pycdlib", None)
    with pytest.raises(ImageError, match=r"needs the package pycdlib \(the extra discs\)"):
        open_image(folder, read_only=True)


WORDS = ("-M", "g3beige", "-bios", "builtin", "-m", "8", "-nodefaults")


def test_save_knows_what_the_disc_was(folder: Path, tmp_path: Path) -> None:
    vm = Vm(parse([*WORDS, "-cdrom", str(folder)]))
    vm.run(instructions=1000)
    vm.save(tmp_path / "cut")
    vm.restore(tmp_path / "cut")
    (folder / "a.b.c").write_text("other")
    vm.restore(tmp_path / "cut")  # the disc in the drive is still the one that it was
    place = vm.media.find("ide1-cd0", None)
    vm.media.change(place, folder, None, force=True)
    with pytest.raises(ConfigError, match=r"drive2: the folder .*My files makes another disc now"):
        vm.restore(tmp_path / "cut")
    vm.media.open_tray(place, force=True)
    vm.media.take_out(place)
    vm.restore(tmp_path / "cut")
    vm.close()
