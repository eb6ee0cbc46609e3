"""The story of `gossamer demo builtin`: no tick is lost over hops, and lossy hops lose them."""

from __future__ import annotations

import pytest

from gossamer import cli
from gossamer.front.story import Hop, Story


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    out = capsys.readouterr().out
    line = next(x for x in out.splitlines() if x.startswith("hops="))
    return {k: int(v) for k, v in (word.split("=") for word in line.split())}


def test_no_tick_is_lost_over_hops(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "builtin", "--hops", "2"]) == 0
    found = told(capsys)
    assert found["hops"] == 2
    assert found["seen"] > 100
    assert found["lost"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["g3beige", "mac99"])
def test_story_of_a_macintosh(machine: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "builtin", "--hops", "2", "-M", machine]) == 0
    assert told(capsys)["lost"] == 0


def test_lossy_hops_stall_the_guest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "builtin", "--hops", "1", "--lossy"]) == 0
    text = capsys.readouterr().out
    assert "guest: time ran back by " in text
    assert "guest: no tick for " in text
    assert "lost=0" not in text


def test_wrong_number_of_hops(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "builtin", "--hops", "0"]) == 2
    assert "--hops: expected a number of hops, got '0'" in capsys.readouterr().err


def test_ticks_are_counted_from_the_first_one_seen() -> None:
    story = Story("bare", lossy=False, hops=[Hop(0)])
    story.told(5_000_000, 0)
    story.told(9_500_000, 3)
    story.told(20_400_000, 14)
    assert (story.hops[0].expected, story.hops[0].seen, story.hops[0].lost) == (14, 14, 0)
    story.told(25_000_000, 14)
    assert story.hops[0].lost == 5


def test_lines_of_the_guest_are_put_together() -> None:
    story = Story("bare", lossy=False)
    for text in ("ti", "ck 100\r", "\ntick 2", "00\r\n"):
        story.wrote(text)
    assert list(story.lines) == ["tick 100", "tick 200"]
