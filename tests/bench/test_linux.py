"""`gossamer bench linux`: its rows, its figures, and its dealings with an emulator."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pytest

from gossamer import cli
from gossamer.base.errors import ConfigError
from gossamer.bench.linux import command
from gossamer.bench.linux.guest import Guest
from gossamer.bench.linux.places import machine_words, place_of
from gossamer.bench.linux.report import Figure, line
from gossamer.bench.linux.rows import BOOT, FIGURES, ROWS
from gossamer.bench.peer import geometric_mean

FAKE = """
import re, socket, sys, time
text = " ".join(sys.argv)
slow = float(sys.argv[1])
path = re.search(r"unix:([^,]+)", text)[1]
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen(1)
port = server.accept()[0]
port.sendall(b"Linux\\r\\nGUEST READY\\r\\nguest# ")
typed = b""
while data := port.recv(100):
    typed += data
    port.sendall(data.replace(b"\\n", b"\\r\\n"))
    if typed.endswith(b"\\n"):
        said = b""
        if typed.startswith(b"bench"):
            said = f"bench int.mix {1000 / slow:.0f} iter/s\\r\\n".encode()
        if b"work.lua" in typed:
            said = b"915794502\\r\\n"
        time.sleep(slow)
        port.sendall(said + b"guest# ")
        typed = b""
"""


def figure(ours: list[float], theirs: list[float], *, less: bool) -> Figure:
    made = Figure("x", "s", less)
    for emulator, values in (("gossamer", ours), ("qemu", theirs)):
        for value in values:
            made.add(emulator, value)
    return made


def test_ratio_is_how_many_times_better_gossamer_is() -> None:
    assert figure([2, 1, 9], [4, 6, 4], less=True).ratio == 2
    assert figure([2, 1, 9], [4, 6, 4], less=False).ratio == 0.5
    assert figure([2], [], less=True).ratio is None
    assert "2.00" in line(figure([2], [4], less=True))
    assert geometric_mean([2.0, 8.0, None]) == pytest.approx(4)
    assert geometric_mean([None]) is None


def test_rows_have_names_of_their_own() -> None:
    names = [*BOOT, *(row.name for row in ROWS), *FIGURES]
    assert len(set(names)) == len(names)
    assert all("'" not in row.command.replace("-e '", "").replace("'", "", 1) for row in ROWS)


def fake(tmp_path: Path) -> list[str]:
    file = tmp_path / "fake.py"
    file.write_text(FAKE)
    return [sys.executable, str(file)]


def test_guest_is_booted_typed_to_and_timed(tmp_path: Path) -> None:
    guest = Guest("fake", [*fake(tmp_path), "0.2"], tmp_path)
    try:
        assert "GUEST READY" in guest.boot().text
        taken = guest.shell("echo hello")
        assert "echo hello" in taken.text
        assert taken.wall >= 0.2
        assert guest.resident > 1
    finally:
        guest.close()
    assert guest.process.poll() is not None


def test_emulator_that_does_not_start_is_reported(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import sys; sys.exit('no such machine')"]
    with pytest.raises(ConfigError, match=r"fake: did not open its serial port .*no such machine"):
        Guest("fake", words, tmp_path)


def arguments(tmp_path: Path, *words: str) -> argparse.Namespace:
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"kernel")
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return parser.parse_args(["linux", "--kernel", str(kernel), "--rounds", "2", *words])


def test_both_are_measured_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = tmp_path / "programs"
    programs.write_bytes(b"")
    words = fake(tmp_path)
    monkeypatch.setattr(command, "OURS", ("gossamer", [*words, "0.05"]))
    monkeypatch.setattr(command, "find_qemu", lambda args: "qemu")
    monkeypatch.setattr(command, "version_of", lambda qemu: "QEMU 7.2")
    made: list[command.Bench] = []

    class Here(command.Bench):
        def __init__(self, *given: object) -> None:
            super().__init__(*given)  # type: ignore[arg-type]
            self.commands["qemu"] = [*words, "0.2"]
            made.append(self)

    monkeypatch.setattr(command, "Bench", Here)
    monkeypatch.setattr(command.Bench, "_uses", lambda self, *needs: False)
    args = arguments(tmp_path, "--json", "--programs", str(programs), "lua.work", "int", "boot")
    assert command.run(args) == 0
    report = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in report["rows"]}
    assert set(rows) == {"boot", "memory.resident", "lua.work", "int.mix"}
    assert len(rows["lua.work"]["values"]["qemu"]) == 2
    assert rows["lua.work"]["ratio"] > 1
    assert rows["int.mix"]["ratio"] == 4
    assert report["total"] > 1
    assert report["host"]["cores"] >= 1


def test_wrong_result_of_a_program_is_no_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.write_bytes(b"")
    monkeypatch.setattr(command, "OURS", ("gossamer", [*fake(tmp_path), "0"]))
    monkeypatch.setattr(command.Bench, "_uses", lambda self, *needs: False)
    words = ("--no-qemu", "--programs", str(programs), "zstd.1")
    with pytest.raises(ConfigError, match=r"zstd.1: expected c416f848"):
        command.run(arguments(tmp_path, *words))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--no-qemu", "-M", "pseries", "raw"], "on pseries there is no disk or screen"),
        (["--rounds", "0"], "--rounds: expected 1 or more"),
        (["--no-qemu", "nonsense"], "no row begins with nonsense"),
        (["--qemu", "no-such-emulator"], "no-such-emulator: not installed"),
        (["--no-qemu", "--kernel", "/no/such"], "--kernel: there is no file /no/such"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel = tmp_path / "k"
    kernel.write_bytes(b"")
    assert cli.main(["bench", "linux", "--kernel", str(kernel), *words]) == 2
    assert text in capsys.readouterr().err


def test_a_pseries_is_measured_with_what_its_guest_has(tmp_path: Path) -> None:
    bench = command.Bench(arguments(tmp_path, "-M", "pseries-7.2", "--no-qemu"), tmp_path, "")
    assert {row.name for row in bench.rows} == {"console.text", "idle"}
    ours, theirs = (bench._options(emulator) for emulator in ("gossamer", "qemu"))
    assert ours[:4] == ["-M", "pseries-7.2,x-vof=on,cap-vsx=off,cap-dfp=off", "-cpu", "970mp_v1.1"]
    assert theirs == ours
    assert "-nodefaults" in ours
    assert "console=hvc0" in ours
    assert place_of("pseries").qemu == "qemu-system-ppc64"
    assert machine_words("pseries", "power8") == ["-M", "pseries,x-vof=on", "-cpu", "power8"]
    assert machine_words("mac99", "") == ["-M", "mac99"]


def test_list_names_the_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "linux", "--list"]) == 0
    assert "console.text" in capsys.readouterr().out
