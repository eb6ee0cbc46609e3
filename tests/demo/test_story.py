"""The story of `gossamer demo`: no tick is lost over hops, lossy hops lose them, and it says so."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from gossamer import cli
from gossamer.base.errors import ConfigError
from gossamer.demo import story, view
from gossamer.demo.acts import Act, Hop
from tests import ptys


def counted(capsys: pytest.CaptureFixture[str]) -> tuple[str, dict[str, int]]:
    out = capsys.readouterr().out
    return out, {k: int(v) for k, v in (word.split("=") for word in out.splitlines()[-1].split())}


def test_both_acts_of_the_bare_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--hops", "1", "-M", "bare"]) == 0
    out, found = counted(capsys)
    assert (found["hops"], found["lossy_hops"], found["lost"]) == (1, 1, 0)
    assert found["seen"] > 0
    assert found["lossy_lost"] > 0
    # "time ran back" as well, unless the save fell between two reads of the time base.
    assert "guest: no tick for " in out
    assert "none is lost, and it noticed nothing." in out
    assert "./run openbios" in out


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["g3beige", "mac99"])
def test_story_of_a_macintosh(machine: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "builtin", "--hops", "2", "-M", machine]) == 0
    _, found = counted(capsys)
    assert found["lost"] == 0
    assert found["seen"] > 0


def test_guest_of_the_default_machine_counts() -> None:
    act = Act(story.MACHINE, lossy=False, hops=[Hop(0)])
    order = {"options": story.planned([]).options, "load": None, "save": None, "lossy": False}
    for _ in story._stay(act, story._spawn(), order):
        pass
    assert act.last.seen > 0


def test_lossy_alone_is_act_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--hops", "1", "--lossy", "-M", "bare"]) == 0
    out, found = counted(capsys)
    assert set(found) == {f"lossy_{word}" for word in ("hops", "expected", "seen", "lost")}
    assert "Act one" not in out


@pytest.mark.parametrize(
    ("words", "hops", "lossy_hops", "machine"),
    [
        ([], 10, 4, "g3beige"),
        (["--hops", "2"], 2, 2, "g3beige"),
        (["--hops", "30", "-M", "mac99"], 30, 4, "mac99"),
        (["--lossy"], 0, 4, "g3beige"),
        (["--lossy", "--hops", "9", "-machine", "bare"], 0, 9, "bare"),
    ],
)
def test_plan(words: list[str], hops: int, lossy_hops: int, machine: str) -> None:
    plan = story.planned(words)
    assert (plan.hops, plan.lossy_hops, plan.machine) == (hops, lossy_hops, machine)
    assert ("builtin" in plan.options) == (machine != "bare")


@pytest.mark.parametrize("given", [["0"], ["x"], []])
def test_wrong_number_of_hops(given: list[str]) -> None:
    with pytest.raises(ConfigError, match="--hops: expected a number of hops, got"):
        story.planned(["--hops", *given])


def test_wrong_option_starts_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story, "_spawn", lambda: pytest.fail("a process was started"))
    assert cli.main(["demo", "-M", "quadra"]) == 2
    assert "quadra" in capsys.readouterr().err


# --- what is counted ------------------------------------------------------------------------------


def test_ticks_are_counted_from_the_first_one_seen() -> None:
    act = Act("bare", lossy=False, hops=[Hop(0)])
    act.counted(5_000_000, 0)
    act.counted(9_500_000, 3, since_ns=600_000)
    act.counted(20_400_000, 14)
    assert (act.last.expected, act.last.seen, act.last.lost) == (14, 14, 0)
    act.counted(20_900_000, 14)
    assert (act.last.expected, act.last.lost) == (15, 0), "it is due this very moment"
    act.counted(25_000_000, 14)
    assert act.last.lost == 5


def test_lines_of_the_guest_are_put_together() -> None:
    act = Act("bare", lossy=False)
    for text in ("ti", "ck 100\r", "\ntick 2", "00 late 1 worst 4 missed 7\r\nno tick for 12\r\n"):
        act.wrote(text)
    assert act.lines == ["tick 100", "tick 200 late 1 worst 4 missed 7", "no tick for 12"]
    assert (act.missed, act.complaints) == (7, ["no tick for 12"])


def ended(*, lossy: bool, seen: int = 5, missed: int = 0, said: str = "") -> Act:
    act = Act("bare", lossy, [Hop(0, 2, 2, 4096, 1.0), Hop(1, 5, seen, 0, 0.0, 2.0)], missed=missed)
    act.wrote(said)
    return act


@pytest.mark.parametrize(
    ("acts", "status"),
    [
        ([ended(lossy=False), ended(lossy=True, seen=2)], 0),
        ([ended(lossy=False), ended(lossy=True)], 1),
        ([ended(lossy=False, seen=2), ended(lossy=True, seen=2)], 1),
        ([ended(lossy=False, seen=0), ended(lossy=True, seen=2)], 1),
        ([ended(lossy=False, missed=1), ended(lossy=True, seen=2)], 1),
        ([ended(lossy=False, said="time ran back by 1\n"), ended(lossy=True, seen=2)], 1),
    ],
)
def test_status_says_whether_it_went_as_it_must(
    acts: list[Act], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = iter(acts)
    monkeypatch.setattr(story, "Act", lambda machine, lossy: next(played))

    def nothing(*_: object) -> Iterator[None]:
        yield

    monkeypatch.setattr(story, "_run", nothing)
    assert story.story(["-M", "bare"]) == status


def test_words_and_counts_of_an_act_that_lost() -> None:
    bad = ended(lossy=False, seen=2, said="no tick for 12\n")
    text = "\n".join(view.closing_words([bad]))
    assert "5 ticks were due, the guest saw 2: lost 3, missed 0.  THIS MUST NOT BE." in text
    assert "It said: no tick for 12" in text
    assert "a save took 1 ms and 4 KiB, a load 2 ms" in text
    assert view.counts([bad]) == "hops=1 expected=5 seen=2 lost=3"


def test_lost_ticks_are_red_on_a_terminal() -> None:
    out = StringIO()
    console = Console(file=out, force_terminal=True, color_system="standard", width=90)
    view.show(ended(lossy=True, seen=2), [None], console)
    assert re.search("\x1b\\[1;31m *3\x1b\\[0m", out.getvalue())


# --- C-c ------------------------------------------------------------------------------------------


def children_of(pid: int) -> list[str]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123
        return file.read().split()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_c_c_leaves_a_clean_terminal_no_child_and_no_file(
    number: signal.Signals, tmp_path: Path
) -> None:
    master, slave = ptys.opened()
    command = [sys.executable, "-m", "gossamer", "demo", "-M", "bare"]
    run = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        env=os.environ | {"TERM": "xterm", "TMPDIR": str(tmp_path)},
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # under nohup they are ignored
    )  # fmt: skip
    os.close(slave)
    seen = bytearray()
    try:
        end = time.monotonic() + 900
        while b"tick 100 " not in seen and time.monotonic() < end:
            seen += os.read(master, 65536)
        stages = children_of(run.pid)
        assert len(stages) == 2, "one runs, one waits"
        assert list(tmp_path.glob("gossamer-story-*")), "its saves are there"
        run.send_signal(number)
        with suppress(OSError):  # EIO when the last process has let go of the terminal
            while data := os.read(master, 65536):
                seen += data
        assert run.wait(600) == cli.INTERRUPTED
    finally:
        run.kill()
        run.wait()
        os.close(master)
    assert [pid for pid in stages if os.path.exists(f"/proc/{pid}")] == []  # noqa: PTH110
    assert seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l") >= 0, "the cursor is back"
    assert b"Traceback" not in seen
    assert list(tmp_path.glob("gossamer-story-*")) == []
