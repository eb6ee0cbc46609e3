"""A whole run from the command line: a program, its console, the monitor, the state's schema."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
ECHO = [
    0x3C60F000,  # lis    r3,0xf000
    0x38800048,  # li     r4,'H'
    0x90830000,  # stw    r4,0(r3)
    0x80A30004,  # lwz    r5,4(r3)
    0x70A50001,  # andi.  r5,r5,1
    0x4182FFF8,  # beq    .-8
    0x80830000,  # lwz    r4,0(r3)
    0x90830000,  # stw    r4,0(r3)
    0x2C040071,  # cmpwi  r4,'q'
    0x4082FFE8,  # bne    .-24
    0x38800000,  # li     r4,0
    0x90830008,  # stw    r4,8(r3)
    0x48000000,  # b      .
]


def gossamer(tmp_path: Path, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    program = tmp_path / "echo.bin"
    program.write_bytes(b"".join(word.to_bytes(4, "big") for word in ECHO))
    command = [sys.executable, "-m", "gossamer", "run", "-M", "bare", "-kernel", str(program)]
    env = os.environ | {"PYTHONPATH": str(CHECKOUT / "src"), "XDG_STATE_HOME": str(tmp_path)}
    return subprocess.run(
        [*command, *words], input=typed, env=env, capture_output=True, text=True, timeout=600
    )


@pytest.mark.slow
def test_program_echoes_what_is_typed_and_ends(tmp_path: Path) -> None:
    done = gossamer(tmp_path, "-serial", "stdio", "-monitor", "none", typed="abcq")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Habcq", "")


@pytest.mark.slow
def test_monitor_saves_and_loads_a_running_program(tmp_path: Path) -> None:
    keys = "ab\x01cstop\nsavevm one\ninfo snapshots\nloadvm one\ncont\n\x01cq"
    done = gossamer(tmp_path, "-nographic", typed=keys)
    assert done.stderr == ""
    assert done.returncode == 0
    assert "error" not in done.stdout
    assert "one" in done.stdout
    assert done.stdout.endswith("q")


@pytest.mark.slow
def test_schema_of_the_state_is_written(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    assert gossamer(tmp_path, "-dump-vmstate", str(path), "-nographic").returncode == 0
    schema = json.loads(path.read_text())
    assert schema["vmschkmachine"]["Name"] == "bare-1.0"
    assert {"timer", "cpu", "gossamer-console"} <= set(schema)


@pytest.mark.slow
def test_receiving_from_nowhere_is_refused(tmp_path: Path) -> None:
    done = gossamer(tmp_path, "-incoming", "file:nowhere.mig", "-nographic")
    assert done.returncode == 2
    assert done.stderr.startswith("gossamer: ")
    assert "nowhere.mig" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_page_has_no_address_before_a_move_can_come_in(tmp_path: Path) -> None:
    nowhere = f"unix:{tmp_path}/nowhere/socket"
    page = ("-web", "127.0.0.1:18006,to=19006")
    done = gossamer(tmp_path, "-incoming", nowhere, "-nographic", *page)
    assert done.returncode == 2
    assert "nowhere/socket" in done.stderr
    assert len(done.stderr.splitlines()) == 1
