"""The story that `gossamer demo builtin` tells: a machine that is cut every second and never knows.

The built-in guest runs in a process of its own.  Every second it is saved, that process ends, and
a new one goes on from the file.  The guest counts the ticks of its decrementer; here it is shown
how many it should have seen, and how many it has.  With --lossy each save forgets what QEMU 7.2's
streams leave out (decrementer, time base offset, pending interrupts), and the ticks stop.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from gossamer.base.errors import ConfigError, HostError
from gossamer.machines.builtin import TICK_HZ

HOPS: Final = 10
SHOWN: Final = 8
"""Hops, and lines of the guest, that stay on the screen."""
NS_A_TICK: Final = 1_000_000_000 // TICK_HZ


@dataclass
class Hop:
    """One stay in one process."""

    number: int
    expected: int = 0
    seen: int = 0
    size: int = 0
    save_ms: float = 0.0
    load_ms: float = 0.0

    @property
    def lost(self) -> int:
        """Ticks that should have come and did not; one may be due this very moment."""
        gone = self.expected - self.seen
        return gone if gone > 1 else 0


@dataclass
class Story:
    """What has happened so far."""

    machine: str
    lossy: bool
    hops: list[Hop] = field(default_factory=list)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=SHOWN))
    _tail: str = ""
    _origin: tuple[int, int] | None = None

    def wrote(self, text: str) -> None:
        """The guest wrote something."""
        *whole, self._tail = (self._tail + text).split("\n")
        self.lines.extend(line.rstrip("\r") for line in whole)

    def told(self, clock_ns: int, ticks: int) -> None:
        """The guest has counted `ticks` at virtual `clock_ns`."""
        if self._origin is None:
            if not ticks:
                return
            self._origin = clock_ns // NS_A_TICK, ticks
        start, first = self._origin
        hop = self.hops[-1]
        hop.expected, hop.seen = clock_ns // NS_A_TICK - start + first, ticks


def story(words: Sequence[str]) -> int:
    """`gossamer demo builtin`: --hops N, --lossy, and options of gossamer run."""
    hops, lossy, options = _options(list(words))
    told = Story(_machine(options), lossy)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="gossamer-story-") as folder:
        events = _run(told, hops, options, Path(folder))
        if console.is_terminal:
            with Live(_picture(told), console=console, refresh_per_second=10) as live:
                for _ in events:
                    live.update(_picture(told))
        else:
            _plain(told, events)
    last = told.hops[-1]
    print(f"hops={len(told.hops) - 1} expected={last.expected} seen={last.seen} lost={last.lost}")
    if not lossy:
        print("With --lossy the saves forget what QEMU 7.2's forget.")
    return 0


def _options(words: list[str]) -> tuple[int, bool, list[str]]:
    hops, lossy, rest = HOPS, False, []
    while words:
        word = words.pop(0)
        if word == "--lossy":
            lossy = True
        elif word == "--hops":
            given = words.pop(0) if words else ""
            if not given.isascii() or not given.isdigit() or not int(given):
                raise ConfigError(f"--hops: expected a number of hops, got {given!r}")
            hops = int(given)
        else:
            rest.append(word)
    if not {"-M", "-machine"} & set(rest):
        rest = ["-M", "bare", *rest]
    firmware = [] if _machine(rest).startswith("bare") else ["-bios", "builtin"]
    return hops, lossy, [*rest, *firmware, "-m", "8", "-nographic", "-serial", "null"]


def _machine(options: list[str]) -> str:
    at = next(n for n, word in enumerate(options) if word in ("-M", "-machine"))
    return options[at + 1] if at + 1 < len(options) else ""


# --- processes ------------------------------------------------------------------------------------


def _spawn() -> subprocess.Popen[str]:
    """A process that has everything imported and waits for its order."""
    command = [sys.executable, "-m", "gossamer.front.story_stage"]
    return subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )


def _run(told: Story, hops: int, options: list[str], folder: Path) -> Iterator[None]:
    """Run the guest through `hops` hops; yields whenever something is new."""
    file: Path | None = None
    waiting: subprocess.Popen[str] | None = _spawn()
    try:
        for n in range(hops + 1):
            assert waiting is not None
            stage, waiting = waiting, _spawn() if n < hops else None
            told.hops.append(Hop(n))
            after = folder / f"hop-{n}.gossamer"
            order = {
                "options": options,
                "load": str(file) if file else None,
                "save": str(after) if n < hops else None,
                "lossy": told.lossy,
            }
            yield from _stay(told, stage, order)
            if file is not None:
                file.unlink()
            file = after
    finally:
        if waiting is not None:
            waiting.kill()
            waiting.communicate()


def _stay(told: Story, stage: subprocess.Popen[str], order: dict[str, Any]) -> Iterator[None]:
    """One process from its order to its end."""
    assert stage.stdin is not None
    assert stage.stdout is not None
    try:
        stage.stdin.write(json.dumps(order) + "\n")
        stage.stdin.close()
        for line in stage.stdout:
            _take(told, json.loads(line))
            yield
        status = stage.wait()
    finally:
        stage.kill()
        stage.wait()
        stage.stdout.close()
    if status:
        raise HostError(f"the process of hop {told.hops[-1].number} ended with status {status}")


def _take(told: Story, news: dict[str, Any]) -> None:
    hop = told.hops[-1]
    if "wrote" in news:
        told.wrote(news["wrote"])
    if "clock" in news:
        told.told(news["clock"], news["ticks"])
    hop.load_ms = news.get("load_ms", hop.load_ms)
    hop.save_ms = news.get("save_ms", hop.save_ms)
    hop.size = news.get("size", hop.size)


# --- showing --------------------------------------------------------------------------------------


def _line(hop: Hop) -> str:
    saved = f"saved {hop.size / 1024:.0f} KiB in {hop.save_ms:.0f} ms" if hop.size else "running"
    loaded = f"loaded in {hop.load_ms:.0f} ms, " if hop.load_ms else ""
    return (
        f"hop {hop.number}: ticks expected {hop.expected}, seen {hop.seen}, lost {hop.lost}; "
        f"{loaded}{saved}"
    )


def _plain(told: Story, events: Iterator[None]) -> None:
    """A line a hop, and the guest's lines as they come."""
    shown = 0
    for _ in events:
        while told.lines:
            print(f"  guest: {told.lines.popleft()}", flush=True)
        while shown < len(told.hops) - 1:
            print(_line(told.hops[shown]), flush=True)
            shown += 1
    print(_line(told.hops[-1]), flush=True)


def _picture(told: Story) -> Group:
    title = f"{told.machine}: saved, destroyed and loaded in a new process every second"
    if told.lossy:
        title += ", without what QEMU 7.2's streams leave out"
    table = Table(title=title, title_justify="left")
    for name in ("hop", "ticks expected", "seen", "lost", "load", "save", "size"):
        table.add_column(name, justify="right")
    for hop in told.hops[-SHOWN:]:
        table.add_row(
            str(hop.number),
            str(hop.expected),
            str(hop.seen),
            Text(str(hop.lost), style="bold red" if hop.lost else "green"),
            f"{hop.load_ms:.0f} ms" if hop.load_ms else "",
            f"{hop.save_ms:.0f} ms" if hop.size else "",
            f"{hop.size / 1024:.0f} KiB" if hop.size else "",
        )
    return Group(table, Panel(Text("\n".join(told.lines)), title="the guest", title_align="left"))
