"""The story of `gossamer demo`: a machine that is cut every second and never knows.

The built-in guest runs in a process of its own.  Every second it is saved, that process ends, and
a new one goes on from the file.  The guest counts the ticks of its decrementer; here it is shown
how many it should have seen, and how many it has.  In the second act each save forgets what QEMU
7.2's streams leave out (decrementer, time base offset, pending interrupts), and the ticks stop.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TypeAlias

from rich.console import Console

from gossamer.base.data import Data, field
from gossamer.base.errors import ConfigError, HostError
from gossamer.demo import view
from gossamer.demo.acts import Act, Hop
from gossamer.machines.options import parse

HOPS: Final = 10
LOSSY_HOPS: Final = 4
MACHINE: Final = "g3beige"
Events: TypeAlias = Generator[None, None, None]
"""Yields whenever something is new."""


class Plan(Data, frozen=False):
    """What is asked for: hops of each act (0: the act is left out), options of gossamer run."""

    hops: int = HOPS
    lossy_hops: int = LOSSY_HOPS
    options: list[str] = field(default_factory=list)
    machine: str = MACHINE


def story(words: Sequence[str]) -> int:
    """`gossamer demo`: --hops N, --lossy, -M MACHINE, and options of gossamer run.

    The exit status is 0 when lossless saves lost nothing and lossy ones did lose, else 1.
    """
    plan = planned(list(words))
    parse(plan.options)  # what is wrong with them is said here, not by another process
    acts = [Act(plan.machine, lossy=False)] if plan.hops else []
    acts.append(Act(plan.machine, lossy=True))
    console = Console(highlight=False)
    with _tidy_end():
        for act in acts:
            hops = plan.lossy_hops if act.lossy else plan.hops
            with (
                tempfile.TemporaryDirectory(prefix="gossamer-story-") as folder,
                closing(_run(act, hops, plan.options, Path(folder))) as events,
            ):
                view.show(act, events, console)
    view.print_lines([*view.closing_words(acts), view.counts(acts)], console)
    return 0 if all(act.whole != act.lossy for act in acts) else 1


@contextmanager
def _tidy_end() -> Iterator[None]:
    """SIGTERM and SIGHUP end us as C-c does: no child, no file and no hidden cursor is left."""
    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) == signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def planned(words: list[str]) -> Plan:
    """The plan that the words of a command line ask for."""
    lossy, given, rest = False, 0, list[str]()
    while words:
        word = words.pop(0)
        if word == "--lossy":
            lossy = True
        elif word == "--hops":
            text = words.pop(0) if words else ""
            if not text.isascii() or not text.isdigit() or not int(text):
                raise ConfigError(f"--hops: expected a number of hops, got {text!r}")
            given = int(text)
        else:
            rest.append(word)
    machine = MACHINE
    for option, value in pairwise([*rest, ""]):
        if option in ("-M", "-machine"):
            if not value:
                raise ConfigError(f"{option} needs a value")
            machine = value
    firmware = [] if machine.startswith("bare") else ["-bios", "builtin"]
    options = ["-M", machine, "-m", "8", "-nographic", "-serial", "null", *rest, *firmware]
    if lossy:
        return Plan(0, given or LOSSY_HOPS, options, machine)
    return Plan(given or HOPS, min(given or HOPS, LOSSY_HOPS), options, machine)


# --- processes ------------------------------------------------------------------------------------


def _spawn() -> subprocess.Popen[str]:
    """A process that has everything imported and waits for its order."""
    command = [sys.executable, "-m", "gossamer.demo.stage"]
    # A process group of its own: C-c is for us, and we end it.
    return subprocess.Popen(  # noqa: S603
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        process_group=0,
    )


def _run(act: Act, hops: int, options: list[str], folder: Path) -> Events:
    """Run the guest through `hops` hops; yields whenever something is new."""
    file: Path | None = None
    waiting: subprocess.Popen[str] | None = _spawn()
    try:
        for n in range(hops + 1):
            assert waiting is not None
            stage, waiting = waiting, _spawn() if n < hops else None
            act.hops.append(Hop(n))
            after = folder / f"hop-{n}.gossamer"
            order = {
                "options": options,
                "load": str(file) if file else None,
                "save": str(after) if n < hops else None,
                "lossy": act.lossy,
            }
            yield from _stay(act, stage, order)
            if file is not None:
                file.unlink()
            file = after
    finally:
        if waiting is not None:
            waiting.kill()
            waiting.communicate()


def _stay(act: Act, stage: subprocess.Popen[str], order: dict[str, Any]) -> Events:
    """One process from its order to its end."""
    assert stage.stdin is not None
    assert stage.stdout is not None
    try:
        stage.stdin.write(json.dumps(order) + "\n")
        stage.stdin.close()
        for line in stage.stdout:
            _take(act, json.loads(line))
            yield
        status = stage.wait()
    finally:
        stage.kill()
        stage.wait()
        stage.stdout.close()
    if status:
        raise HostError(f"the process of hop {act.last.number} ended with status {status}")


def _take(act: Act, news: dict[str, Any]) -> None:
    hop = act.last
    if "wrote" in news:
        act.wrote(news["wrote"])
    if "clock" in news:
        act.counted(news["clock"], news["ticks"], news["since"])
    hop.load_ms = news.get("load_ms", hop.load_ms)
    hop.save_ms = news.get("save_ms", hop.save_ms)
    hop.size = news.get("size", hop.size)
