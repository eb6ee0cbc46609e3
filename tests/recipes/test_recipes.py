"""Building guests: what is there without apt, a compiler or a network."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from gossamer import cli
from gossamer.base.errors import ConfigError, HostError
from gossamer.recipes import building, kept, linux, packages, ramdisk, shown, unpack
from gossamer.recipes.kept import Record
from gossamer.recipes.ramdisk import Entry
from gossamer.recipes.work import Work


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gossamer" / "guests"


def keep(place: Path, **more: bytes) -> Record:
    """A guest of a few bytes, as a build keeps it."""
    contents = {"vmlinux": b"kernel", "initramfs.cpio.gz": b"disk", **more}
    place.mkdir(parents=True, exist_ok=True)
    files = {name: place / f"{name}.made" for name in contents}
    for name, path in files.items():
        path.write_bytes(contents[name])
    sums = {name: kept.sha256(path) for name, path in files.items()}
    record = Record("linux", "recipe", {"gcc": "12"}, sums, sums, "2026-11-30", 300)
    kept.keep(place, record, files)
    return record


# --- what is kept ---------------------------------------------------------------------------------


def test_guest_that_was_kept_is_found_with_its_record(cache: Path) -> None:
    assert kept.find("linux") is None
    record = keep(cache / "linux")
    assert kept.find("linux") == cache / "linux"
    assert kept.read(cache / "linux") == record


def test_guest_with_a_changed_file_is_refused_in_one_line(cache: Path) -> None:
    keep(cache / "linux")
    (cache / "linux" / "vmlinux").write_bytes(b"kernal")
    with pytest.raises(HostError, match=r"vmlinux: its SHA-256 is .*, the record says .* --again"):
        kept.find("linux")
    (cache / "linux" / "vmlinux").unlink()
    with pytest.raises(HostError, match="vmlinux: No such file"):
        kept.find("linux")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"format": 2}', '{"format": 1}', "[" * 100_000,
     '{"format": 1, "name": 1, "recipe": "", "packages": {}, "files": {}, "contents": {}, '
     '"built": "", "seconds": 1}',
     '{"format": 1, "name": "l", "recipe": "", "packages": {}, "files": {"../x": "y"}, '
     '"contents": {}, "built": "", "seconds": 1}',
     '{"format": 1, "name": "l", "recipe": "", "packages": [], "files": {}, "contents": {}, '
     '"built": "", "seconds": 1, "more": 2}'],
)  # fmt: skip
def test_record_that_makes_no_sense_is_no_guest(cache: Path, text: str) -> None:
    keep(cache / "linux")
    (cache / "linux" / kept.RECORD).write_text(text)
    assert kept.find("linux") is None


def test_relative_cache_home_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kept.folder() == tmp_path / ".cache" / "gossamer" / "guests"


# --- the command ----------------------------------------------------------------------------------


def test_list_says_what_is_there(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["guest", "list"]) == 0
    assert "not built: gossamer guest build linux" in capsys.readouterr().out
    record = keep(cache / "linux")
    assert cli.main(["guest", "list"]) == 0
    said = capsys.readouterr().out
    assert record.files["vmlinux"] in said
    assert "by another release's recipe" in said
    assert cli.main(["guest", "list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["fault"], row["record"]["seconds"]) == ("linux", None, 300)
    (cache / "linux" / "vmlinux").write_bytes(b"")
    assert cli.main(["guest", "list"]) == 1
    assert "DAMAGED" in capsys.readouterr().err
    assert cli.main(["guest", "remove", "linux"]) == 0
    assert not (cache / "linux").exists()
    assert cli.main(["guest", "remove", "linux"]) == 1


def test_guest_that_is_there_is_not_built_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(cache / "linux")
    monkeypatch.setattr(packages, "check_host", lambda: pytest.fail("a build began"))
    assert cli.main(["guest", "build", "linux"]) == 0
    assert str(cache / "linux" / "vmlinux") in capsys.readouterr().out


def test_build_without_a_terminal_says_what_it_would_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packages, "check_host", lambda: None)
    monkeypatch.setattr(packages, "versions", lambda names: {"make": "4"})
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert cli.main(["guest", "build", "linux"]) == 2
    said = capsys.readouterr().err
    assert "- installs, as root: apt-get install --no-install-recommends bc binutils-pow" in said
    assert said.endswith("no terminal to ask at; --yes agrees to that\n")


def test_build_where_there_is_no_debian_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="needs Debian's packages, and there is no apt-get"):
        building.build(yes=True)


def test_build_without_rights_names_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "as_root", lambda: None)
    with pytest.raises(ConfigError, match="once: apt-get install --no-install-recommends bc flex;"):
        packages.install(["bc", "flex"])


def test_build_on_a_full_disk_says_so_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    ready(monkeypatch)
    usage = shutil._ntuple_diskusage(1 << 40, 1 << 40, 300 << 20)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(HostError, match="300 MB are free, 1100 are needed"):
        building.build(yes=True)


def ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host on which nothing is missing."""
    monkeypatch.setattr(packages, "check_host", lambda: None)
    monkeypatch.setattr(packages, "versions", lambda names: dict.fromkeys(names, "1"))


def test_second_build_at_a_time_is_refused_and_a_built_guest_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ready(monkeypatch)

    def build(self: linux.Linux) -> dict[str, bytes]:
        self.packages = {"linux-source-6.1": "6.1.1"}
        with pytest.raises(HostError, match="another one is at work"):
            building.build(yes=True, again=True)
        return {"vmlinux": b"kernel", "initramfs.cpio.gz": b"disk"}

    monkeypatch.setattr(linux.Linux, "build", build)
    assert building.build(yes=True) == cache / "linux"
    assert kept.find("linux") == cache / "linux"
    assert gzip.decompress((cache / "linux" / "initramfs.cpio.gz").read_bytes()) == b"disk"
    assert not (cache / "linux" / "build").exists()
    assert "no sums are on record" in capsys.readouterr().err


def test_interrupted_build_keeps_what_it_has_and_a_new_recipe_does_not(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ready(monkeypatch)
    seen = []

    def build(self: linux.Linux) -> dict[str, bytes]:
        part = self._folder / "part"
        seen.append(part.exists())
        part.touch()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        raise AssertionError("SIGTERM did not end it")

    monkeypatch.setattr(linux.Linux, "build", build)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            building.build(yes=True)
        assert "goes on from there" in capsys.readouterr().err
    monkeypatch.setattr(linux, "recipe_sum", lambda: "another")
    with pytest.raises(KeyboardInterrupt):
        building.build(yes=True)
    assert seen == [False, True, False]
    assert kept.find("linux") is None


def test_sums_are_compared_with_those_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "KNOWN", tmp_path / "known.json")
    row = {"recipe": "r", "packages": {"gcc": "12"}, "contents": {"vmlinux": "00"}}
    (tmp_path / "known.json").write_text(json.dumps([row]))

    def said(packages: dict[str, str], contents: dict[str, str]) -> str:
        record = Record("linux", "r", packages, {}, contents, "", 1)
        return building._compared(record)

    assert "are those on record" in said({"gcc": "12"}, {"vmlinux": "00"})
    assert said({"gcc": "12"}, {"vmlinux": "01"}).startswith("NOTE")
    assert "no sums are on record" in said({"gcc": "13"}, {"vmlinux": "00"})


def test_known_sums_are_of_packages_and_contents() -> None:
    for row in json.loads(building.KNOWN.read_text()):
        assert set(row) == {"recipe", "packages", "contents"}
        assert set(row["contents"]) == {linux.KERNEL, linux.INITRD, linux.FIRMWARE}


# --- programs -------------------------------------------------------------------------------------


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path / "log", os.environ, os.open(os.devnull, os.O_RDONLY))


def test_program_that_fails_is_named_with_its_reason(work: Work, tmp_path: Path) -> None:
    script = "echo fine; echo 'x.c:1: error: no such thing' >&2; exit 3"
    with pytest.raises(HostError, match=r"^sh: status 3: x.c:1: error: no such thing \(the whole"):
        work.run(["sh", "-c", script], tmp_path)
    assert "fine" in work.log.read_text()
    with pytest.raises(HostError, match="sh: no room left on the disk"):
        work.run(["sh", "-c", "echo 'write: No space left on device'; exit 1"], tmp_path)
    with pytest.raises(HostError, match="sh: no network"):
        work.run(["sh", "-c", "echo 'W: Temporary failure resolving x'; exit 100"], tmp_path)
    with pytest.raises(HostError, match="sh: signal SIGKILL: it said nothing"):
        work.run(["sh", "-c", "kill -9 $$"], tmp_path)
    with pytest.raises(ConfigError, match=r"^nothing-of-this-name is not installed$"):
        work.run(["nothing-of-this-name"], tmp_path)


def test_program_gets_what_is_fed_and_its_lines_are_counted(work: Work, tmp_path: Path) -> None:
    lines: list[str] = []
    work.run(["cat"], tmp_path, lines.append, feed=b"a\nb\n")
    assert lines == ["a", "b"]


def test_program_ends_when_its_reader_is_interrupted(work: Work, tmp_path: Path) -> None:
    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work.run(["sh", "-c", "echo $$ > pid; echo x; exec sleep 100"], tmp_path, stop)
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_progress_on_a_file_is_a_line_a_step() -> None:
    out = io.StringIO()
    progress = shown.Shown(out)
    progress.begin("compiling", 3)
    progress.moved(2)
    progress.end()
    assert out.getvalue() == "  compiling …\n    0:00\n"


# --- sources --------------------------------------------------------------------------------------


def test_entries_of_apt_that_are_debians_are_asked_for_sources_too(tmp_path: Path) -> None:
    start, to = tmp_path / "apt", tmp_path / "parts"
    (start / "sources.list.d").mkdir(parents=True)
    to.mkdir()
    host = "http://mirror.invalid"
    (start / "sources.list").write_text(f"# x\ndeb [trusted=no] {host}/debian stable main\n")
    (start / "sources.list.d" / "debian.sources").write_text(
        f"Types: deb\nURIs: {host}/debian\nSuites: stable\n\n"
        f"Types: deb\nURIs: {host}/debian-security\nSuites: stable-security\n"
    )
    (start / "sources.list.d" / "other.list").write_text(f"deb {host}/node stable main\n")
    (start / "sources.list.d" / "other.sources").write_text(f"Types: deb\nURIs: {host}/node\n")
    assert packages._copy_sources(start, to) == 2
    assert sorted(path.name for path in to.iterdir()) == ["debian.sources", "sources.list"]
    copied = (to / "debian.sources").read_text()
    assert copied.count("Types: deb deb-src\n") == 2
    assert len(copied.split("\n\n")) == 2, "the blank line between two entries is gone"
    assert (to / "sources.list").read_text() == (
        f"deb [trusted=no] {host}/debian stable main\n"
        f"deb-src [trusted=no] {host}/debian stable main\n"
    )


@pytest.mark.parametrize(
    ("name", "is_wanted"),
    [
        ("l/Makefile", True),
        ("l/arch/powerpc/kernel/head_book3s_32.S", True),
        ("l/arch/x86/kernel/head.S", False),
        ("l/arch/Kconfig", True),
        ("l/sound/core/init.c", False),
        ("l/sound/oss/dmasound/Kconfig", True),
        ("l/drivers/net/ethernet/sun/sungem.c", True),
        ("l/drivers/gpu/drm/drm_file.c", False),
        ("l/drivers/gpu/Makefile", True),
    ],
)
def test_what_is_unpacked_of_linux(name: str, is_wanted: bool) -> None:
    assert unpack.wanted(name) == is_wanted


def package(path: Path, names: dict[str, bytes]) -> Path:
    """A package with a source of Linux in it, made without dpkg: as `dpkg-deb` would show it."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:xz") as f:
        add(f, names)
    with tarfile.open(path, "w") as f:
        add(f, {"./usr/src/linux-source-6.1.tar.xz": inner.getvalue()})
    return path


def add(archive: tarfile.TarFile, names: dict[str, bytes]) -> None:
    for name, data in names.items():
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))


def fake_dpkg_deb(folder: Path) -> Path:
    """A folder with a dpkg-deb for packages that are tar files."""
    tools = folder / "bin"
    tools.mkdir()
    (tools / "dpkg-deb").write_text('#!/bin/sh\nexec cat "$2"\n')
    (tools / "dpkg-deb").chmod(0o755)
    return tools


def test_linux_is_unpacked_as_a_whole_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{fake_dpkg_deb(tmp_path)}:{os.environ['PATH']}")
    names = {"l/Kbuild": b"1", "l/init/main.c": b"2", "l/arch/x86/x.c": b"3"}
    seen: list[int] = []
    unpack.linux(package(tmp_path / "a.deb", names), tmp_path / "out", lambda: seen.append(1))
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.c")}
    assert (found, len(seen)) == ({"init/main.c"}, 3)
    bad = package(tmp_path / "b.deb", {"l/readme": b""})
    with pytest.raises(HostError, match=r"b\.deb: holds no source of Linux"):
        unpack.linux(bad, tmp_path / "out2", lambda: None)
    bad.write_bytes(bad.read_bytes()[:700])
    with pytest.raises(HostError, match=r"b\.deb: "):
        unpack.linux(bad, tmp_path / "out2", lambda: None)
    assert sorted(path.name for path in tmp_path.iterdir() if "out" in path.name) == ["out"]


def test_one_file_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{fake_dpkg_deb(tmp_path)}:{os.environ['PATH']}")
    with tarfile.open(tmp_path / "a.deb", "w") as f:
        add(f, {"./usr/share/qemu/openbios-ppc": b"\x7fELF", "./usr/share/doc/x": b""})
    unpack.one_file(tmp_path / "a.deb", "openbios-ppc", tmp_path / "firmware")
    assert (tmp_path / "firmware").read_bytes() == b"\x7fELF"
    with pytest.raises(HostError, match=r"a\.deb: has no openbios-sparc"):
        unpack.one_file(tmp_path / "a.deb", "openbios-sparc", tmp_path / "firmware")


# --- the RAM disk ---------------------------------------------------------------------------------


def test_ram_disk_is_what_cpio_reads(tmp_path: Path) -> None:
    if shutil.which("cpio") is None:
        pytest.skip("cpio is not installed")
    entries = [
        Entry("bin/tool", ramdisk.PROGRAM, b"#!/bin/sh\n"),
        Entry("bin/link", ramdisk.LINK, b"/bin/tool"),
        Entry("etc/deep/file", ramdisk.FILE, b"12345"),
    ]
    data = ramdisk.archive(entries)
    subprocess.run(["cpio", "-id", "--quiet"], input=data, cwd=tmp_path, check=True)
    assert (tmp_path / "bin" / "tool").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "bin" / "link").readlink() == Path("/bin/tool")
    assert (tmp_path / "etc" / "deep" / "file").read_bytes() == b"12345"


def test_ram_disk_bytes_are_those_of_the_format() -> None:
    data = ramdisk.archive([Entry("a/b", ramdisk.CONSOLE, device=(5, 1))])
    folder = b"070701" + b"00000001" + b"000041ed" + b"0" * 16 + b"00000002" + b"6553f100"
    assert data.startswith(folder + b"0" * 40 + b"00000002" + b"0" * 8 + b"a\0")
    second = data[112:]
    assert second.startswith(b"070701" + b"00000002" + b"00002180")
    assert second[78:94] == b"00000005" + b"00000001"
    assert b"TRAILER!!!\0" in data
    assert len(data) % 512 == 0


def test_recipe_has_its_files_and_its_programs_can_be_run() -> None:
    made = {entry.path: entry for entry in linux.entries(b"busybox", ["/bin/sh", "/sbin/init"])}
    for path in ("init", "etc/start", "etc/shell", "usr/share/udhcpc/default.script"):
        assert made[path].mode == ramdisk.PROGRAM
        subprocess.run(["sh", "-n", "-c", made[path].data.decode()], check=True)
    assert made["sbin/init"].data == b"/bin/busybox"
    assert made["etc/inittab"].mode == ramdisk.FILE
    for name in ("kernel.config", "busybox.config"):
        assert "CONFIG_" in (linux.RECIPE / name).read_text()
