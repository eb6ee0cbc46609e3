"""Programs that a recipe runs: with their output in a log, progress counted, ended with us."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from gossamer.base.errors import ConfigError, HostError

_DIE_WITH_PARENT: Final = 1  # PR_SET_PDEATHSIG, prctl(2)
NO_NETWORK: Final = (
    "Could not resolve", "Temporary failure resolving", "Network is unreachable",
    "Could not connect", "Connection timed out", "Unable to connect", "No route to host",
)  # fmt: skip
FULL: Final = "No space left on device"


class Work:
    """Runs the programs of one build; `log` gets all that they write.

    `lock`: a descriptor that they inherit, so that what holds it is free when the last has ended.
    """

    def __init__(self, log: Path, environment: Mapping[str, str], lock: int) -> None:
        self.log, self._environment, self._lock = log, dict(environment), lock
        with log.open("ab") as f:
            f.write(b"\n")

    def run(
        self,
        words: Sequence[str],
        folder: Path,
        line: Callable[[str], None] = lambda text: None,
        feed: bytes = b"",
    ) -> None:
        """Run a program in `folder`; `line` gets each line that it writes.

        ConfigError when there is no such program, HostError when it fails: with its reason.
        """
        tail: deque[str] = deque(maxlen=40)
        with self._start(words, folder, feed) as child, self.log.open("ab") as log:
            assert child.stdout is not None
            log.write(f"$ {' '.join(words)}\n".encode())
            try:
                for raw in child.stdout:
                    log.write(raw)
                    tail.append(raw.decode(errors="replace").rstrip())
                    line(tail[-1])
                status = child.wait()
            except BaseException:
                child.terminate()
                child.wait()
                raise
        if status:
            raise self._failed(words[0], status, tail)

    def _start(self, words: Sequence[str], folder: Path, feed: bytes) -> subprocess.Popen[bytes]:
        reader, writer = os.pipe()
        os.write(writer, feed)  # a few bytes: they fit into a pipe
        os.close(writer)
        try:
            return subprocess.Popen(  # noqa: S603 - the recipe's own words
                words, cwd=folder, env=self._environment, stdin=reader, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, pass_fds=[self._lock], preexec_fn=_end_with_parent,
            )  # fmt: skip
        except FileNotFoundError:
            raise ConfigError(f"{words[0]} is not installed") from None
        finally:
            os.close(reader)

    def _failed(self, name: str, status: int, tail: Sequence[str]) -> HostError:
        text = "\n".join(tail)
        where = f"the whole output: {self.log}"
        if FULL in text:
            return HostError(f"{name}: no room left on the disk ({where})")
        if any(words in text for words in NO_NETWORK):
            return HostError(f"{name}: no network: the package mirror cannot be reached ({where})")
        wrong = [line for line in tail if "rror" in line or line.startswith("E:")]
        said = (wrong or [line for line in tail if line.strip()] or ["it said nothing"])[0]
        how = f"status {status}" if status > 0 else f"signal {signal.Signals(-status).name}"
        return HostError(f"{name}: {how}: {said.strip()[:200]} ({where})")


def _end_with_parent() -> None:
    """In a child: be ended when the process that started it ends, however that happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)
