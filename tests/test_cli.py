"""The command line: what it prints, what it exits with, how soon it is there."""

from __future__ import annotations

import gc
import shlex
import subprocess
import sys
import types
from importlib import import_module
from pathlib import Path

import pytest

import gossamer
from gossamer import cli
from gossamer.base.errors import ConfigError, HostError
from gossamer.demo import guests, story
from gossamer.front.console import Console
from gossamer.machines.config import Config
from gossamer.recipes import building, kept
from tests.front.fakes import FakeVm, session_of

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The machines that were asked for; each ends at once, with status 0."""
    made: list[Config] = []

    def run_machine(config: Config, console: Console, ready: object) -> int:
        made.append(config)
        vm = FakeVm()
        vm.quit()
        return console.run(session_of(vm))

    monkeypatch.setattr("gossamer.front.session.run_machine", run_machine)
    return made


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("usage: gossamer COMMAND ...\n")
    for name in ("run", "demo", "stream", "verify", "bench"):
        assert f"\n  {name} " in said.out
    assert cli.main([]) == 2


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--version"], ["-V"], ["run", "-version"]):
        assert cli.main(words) == 0
    assert cli.system_ppc(["--version"]) == 0
    assert capsys.readouterr().out == f"gossamer {gossamer.__version__}\n" * 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["rnu"],
            "unknown command 'rnu'; did you mean run? (there is: bench, demo, fleet, guest,",
        ),
        (["run", "-M", "g3"], "unknown machine 'g3'"),
        (["run", "-serial", "frob"], "unknown character device 'frob'"),
        (["demo", "windows"], "unknown demo 'windows' (there is: builtin, linux, openbios, web)"),
        (["demo", "--frob"], "unknown option '--frob'"),
        (["demo", "-M"], "-M needs a value"),
        (["run", "-M"], "-M needs a value"),
        (["verify", "luck"], "unknown gossamer verify 'luck' (there is: cuts, float, hops, isa)"),
        (["run", "-pidfile", "/no/where", "-serial", "null"], "-pidfile: /no/where: No such file"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    words: list[str], said: str, started: list[Config], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith(f"gossamer: {said}")
    assert len(lines) == 1 or words[0] == "demo"
    assert started == []


def test_missing_part_of_the_build_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"^x: not in this build \(gossamer.nowhere is missing\)"):
        cli.part(lambda: import_module("gossamer.nowhere"), "x")
    # A library that a part needs is no missing part.
    (tmp_path / "needy.py").write_text("import a_library_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_not_there"):
        cli.part(lambda: import_module("needy"), "x")


def test_run_takes_qemus_options(started: list[Config], tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    words = ["-m", "64", "-display", "none", "-pidfile", str(pidfile), "-serial", "null"]
    assert cli.main(["run", *words]) == 0
    assert cli.system_ppc(words) == 0
    assert [c.ram_size >> 20 for c in started] == [64, 64]
    assert not pidfile.exists()


def test_run_help_lists_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--help"]) == 0
    assert cli.main(["demo", "--help"]) == 0
    said = capsys.readouterr().out
    for option in ("-prom-env", "-icount", "-nographic", "--lossy"):
        assert option in said


def test_demo_openbios(started: list[Config]) -> None:
    assert cli.main(["demo", "openbios", "-serial", "null", "-monitor", "none"]) == 0
    assert [(c.machine, c.prom_env) for c in started] == [("g3beige", ("auto-boot?=false",))]


def test_demo_linux_takes_files_from_the_environment(
    started: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOSSAMER_LINUX_KERNEL", "k")
    monkeypatch.setenv("GOSSAMER_LINUX_INITRD", "i")
    null = ["-serial", "null", "-monitor", "none"]
    assert cli.main(["demo", "linux", *null]) == 0
    assert cli.main(["demo", "linux", *null, "-M", "mac99", "-m", "64", "-append", "quiet"]) == 0
    assert cli.main(["demo", "linux", *null, "-kernel", "mine"]) == 0
    seen = [(c.machine, c.ram_size >> 20, c.kernel, c.initrd, c.append) for c in started]
    assert seen == [
        ("g3beige", 256, Path("k"), Path("i"), "console=ttyPZ0"),
        ("mac99", 64, Path("k"), Path("i"), "quiet"),
        ("g3beige", 256, Path("mine"), None, "console=ttyPZ0"),
    ]


def test_demo_linux_looks_beside_the_checkout(tmp_path: Path) -> None:
    assert guests.beside_checkout(tmp_path) is None
    (tmp_path / "vmlinux.gz").write_bytes(b"x")
    assert guests.beside_checkout(tmp_path) == ["-kernel", f"{tmp_path}/vmlinux.gz"]
    (tmp_path / "initramfs.cpio.gz").write_bytes(b"x")
    assert guests.beside_checkout(tmp_path) == [
        "-kernel", f"{tmp_path}/vmlinux.gz", "-initrd", f"{tmp_path}/initramfs.cpio.gz",
    ]  # fmt: skip


@pytest.fixture
def no_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with neither a kernel named nor one built; the folder of the cache."""
    for variable in ("GOSSAMER_LINUX_KERNEL", "GOSSAMER_LINUX_INITRD"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(guests, "beside_checkout", lambda: None)
    return tmp_path / "gossamer" / "guests"


def test_demo_linux_takes_the_one_that_was_built(started: list[Config], no_linux: Path) -> None:
    built_guest(no_linux / "linux")
    assert cli.main(["demo", "linux", "-serial", "null", "-monitor", "none"]) == 0
    (config,) = started
    assert [str(config.kernel), str(config.initrd), str(config.bios)] == [
        str(no_linux / "linux" / name) for name in ("vmlinux", "initramfs.cpio.gz", "openbios-ppc")
    ]


def test_demo_linux_offers_to_build_one(
    started: list[Config],
    no_linux: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = []

    def build(*, yes: bool) -> Path | None:
        asked.append(yes)
        return built_guest(no_linux / "linux") if yes else None

    monkeypatch.setattr(building, "build", build)
    null = ["-serial", "null", "-monitor", "none"]
    assert cli.main(["demo", "linux", *null]) == 2
    assert "gossamer guest build linux makes one, or give -kernel FILE" in capsys.readouterr().err
    assert cli.main(["demo", "linux", "--yes", *null]) == 0
    assert asked == [False, True]
    assert [config.kernel for config in started] == [no_linux / "linux" / "vmlinux"]


def built_guest(place: Path) -> Path:
    """What a build leaves, with other bytes."""
    place.mkdir(parents=True)
    files = {
        name: place / f"{name}.new" for name in ("vmlinux", "initramfs.cpio.gz", "openbios-ppc")
    }
    for name, path in files.items():
        path.write_bytes(name.encode())
    sums = {name: kept.sha256(path) for name, path in files.items()}
    record = kept.Record("linux", "r", {}, sums, {}, "2026-11-30T00:00:00+00:00", 1)
    kept.keep(place, record, files)
    return place


def test_demo_is_the_story(monkeypatch: pytest.MonkeyPatch, started: list[Config]) -> None:
    given: list[list[str]] = []
    monkeypatch.setattr(story, "story", lambda words: given.append(words) or 0)
    assert cli.main(["demo"]) == 0
    assert cli.main(["demo", "--hops", "3"]) == 0
    assert cli.main(["demo", "builtin", "--lossy"]) == 0
    assert (given, started) == ([[], ["--hops", "3"], ["--lossy"]], [])


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        (ConfigError("no\n  good"), 2, "gossamer: no good\n"),
        (HostError("disk full"), 2, "gossamer: disk full\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_faults_become_statuses(
    fault: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        raise fault

    assert cli.guarded(fail) == status
    assert capsys.readouterr().err == said


def test_output_that_has_no_room_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "gossamer", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert ran.stderr.startswith("gossamer: ")
    assert "No space left on device" in ran.stderr


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        cli.guarded(lambda: 1 // 0)


HOSTS = "Linux on x86_64, Linux on aarch64, Darwin on arm64, Darwin on x86_64"


@pytest.mark.parametrize(
    ("version", "system", "machine", "said"),
    [
        ((3, 10), "Linux", "x86_64", "needs Python 3.11 or newer, this is 3.10"),
        ((3, 12), "Windows", "AMD64", f"runs with {HOSTS}; this is Windows on AMD64"),
        ((3, 12), "Linux", "i686", f"runs with {HOSTS}; this is Linux on i686"),
    ],
)
def test_platform_that_cannot_run_it(
    version: tuple[int, int], system: str, machine: str, said: str
) -> None:
    for system_, machine_ in cli.HOSTS:
        cli.check_platform((3, 14), system_, machine_)
    with pytest.raises(ConfigError) as caught:
        cli.check_platform(version, system, machine)
    assert str(caught.value) == said


def test_tool_is_found_by_its_two_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    module = types.ModuleType("gossamer.bench.engine.command")

    def add_parser(subparsers: object) -> None:
        subparsers.add_parser("engine").add_argument("--n", type=int)  # type: ignore[attr-defined]

    def run(arguments: object) -> int:
        seen.append(arguments.n)  # type: ignore[attr-defined]
        return 1

    module.add_parser, module.run = add_parser, run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert cli.main(["bench", "engine", "--n", "5"]) == 1
    assert seen == [5]


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=CHECKOUT, env={"PYTHONPATH": "src", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip


def test_help_imports_little() -> None:
    probe = "import sys; from gossamer import cli; cli.main(['--help']); print(len(sys.modules))"
    done = python(
        "-c", probe + "; print({'numpy','argparse','rich','llvmlite'} & set(sys.modules))"
    )
    assert done.stdout.endswith("set()\n"), done.stdout


def test_closed_output_is_quiet() -> None:
    command = f"{shlex.quote(sys.executable)} -m gossamer run --help | true"
    done = subprocess.run(
        ["sh", "-c", command], cwd=CHECKOUT, env={"PYTHONPATH": "src", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.stderr == ""


def test_a_command_that_fails_leaves_the_collector_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "-M", "g3beige", "-bios", "/nothing/there"]) == 2
    assert "/nothing/there" in capsys.readouterr().err
    assert gc.isenabled()


def test_the_64_bit_command_has_its_own_default_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.system_ppc64(["-m", "100"]) == cli.BAD_INPUT
    assert "pseries needs at least 256 MiB" in capsys.readouterr().err
    assert cli.system_ppc64(["-machine", "bare", "-m", "4000"]) == cli.BAD_INPUT
    assert "bare takes at most" in capsys.readouterr().err
