"""The demo counts what it did, and notices what it must notice."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gossamer import cli
from gossamer.fleet import demo
from gossamer.fleet.demo import Tally

CHECKOUT = Path(__file__).resolve().parents[2]


class Guest:
    """A machine that has printed `text` and whose clock stands at `clock` ns."""

    name = "mac"

    def __init__(self, clock: int, *texts: str) -> None:
        self.texts, self.status = list(texts), {"clock-ns": clock}

    def text(self, since: int = 0) -> tuple[int, str]:
        return 0, self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]

    def stop(self) -> None:
        self.stands = True

    def run(self) -> None:
        self.stands = False


def printed(count: int, missed: int = 0) -> str:
    return "".join(f"tick {n} late 1 worst 2 missed {missed}\n" for n in range(100, count + 1, 100))


@pytest.mark.parametrize(
    ("guest", "lost", "missed"),
    [
        (Guest(1_000_000_000, printed(900), printed(1000)), 0, 0),
        (Guest(2_000_000_000, printed(900), printed(1000)), 0, 1000),
        (Guest(2_000_000_000, printed(900), printed(1000), printed(1000), printed(2000)), 0, 0),
        (Guest(1_000_000_000, printed(900), printed(1000, missed=3)), 1, 0),
        (Guest(1_000_000_000, printed(900)), 1, 0),
        (Guest(1_000_000_000, ""), 1, 0),
    ],
)
def test_ticks_that_are_gone_are_noticed(
    guest: Any, lost: int, missed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "PATIENCE_S", 0.1)
    monkeypatch.setattr(demo, "QUIET_S", 0.1)
    tally = Tally()
    demo._judged({"mac": guest}, "mac", 0, tally)  # type: ignore[arg-type]
    assert (tally.lost, tally.missed) == (lost, missed)
    assert tally.fine == (not lost and not missed)


@pytest.mark.parametrize("words", [["--machines", "1"], ["--nodes", "99"]])
def test_numbers(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fleet", "demo", *words]) == 2
    assert "expected 2 to 64" in capsys.readouterr().err


@pytest.mark.slow
def test_demo_of_two_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fleet", "demo", "--machines", "2"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("machines=2 nodes=2 moves=6 ")
    assert " restored=1 " in last
    assert " lost=0 missed=0 " in last


@pytest.mark.slow
def test_demo_over_ray() -> None:
    """In the environment GOSSAMER_RAY, which has ray and this gossamer."""
    python = os.environ.get("GOSSAMER_RAY")
    if not python:
        pytest.skip("GOSSAMER_RAY names no python with ray")
    done = subprocess.run(
        [python, str(Path(__file__).with_name("cluster.py")), "--machines", "2"],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    if "a cluster is up" not in done.stdout:
        pytest.skip("Ray starts no cluster here: " + done.stderr.strip()[-200:])
    last = done.stdout.splitlines()[-1]
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]
    assert last.startswith("machines=2 nodes=2 moves=6 "), last
    assert " lost=0 missed=0 " in last
