"""Run a command while its processes stand still at random: what takes time for order fails.

python -m tests.pauses SEED COMMAND...: one process after the other that the command has started,
itself included, is stopped for 0.1 to 4 seconds.  Its exit status is the command's.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """The process and all that it has started, directly or not."""
    children: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(place.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(place.parent.name))
    found, n = [pid], 0
    while n < len(found):
        found += children.get(found[n], [])
        n += 1
    return found


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """It stands still inside, if it is there at all."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def main(seed: str, *command: str) -> int:
    chance = random.Random(seed)
    with subprocess.Popen(command) as run:
        while run.poll() is None:
            time.sleep(chance.uniform(0.05, 0.8))
            with stopped(chance.choice(descendants(run.pid))):
                time.sleep(chance.choice((0.2, 0.5, 1.0, 2.5)) * chance.uniform(0.5, 1.5))
    return run.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
