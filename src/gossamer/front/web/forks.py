"""Forks: a snapshot goes on in a second machine, a process with a page of its own.

It is started with the words that this one was started with, but for what only one process can have
(ports, monitors, files of logs), and ends with it, however that ends: each holds one end of a pipe.
A machine whose disks are written to has no forks: both would write to the same.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import IO, Final

from gossamer.base.errors import ConfigError, HostError
from gossamer.control.session import Session
from gossamer.machines.option_table import OPTIONS

MOST: Final = 8
"""Forks of a machine at a time."""
_START_S: Final = 60
#: What the fork gets anew, or not at all.
_OWN: Final = frozenset(
    (
        "-web", "-vnc", "-display", "-nographic", "-serial", "-monitor", "-mon", "-qmp",
        "-qmp-pretty", "-chardev", "-gdb", "-s", "-S", "-qtest", "-qtest-log", "-pidfile",
        "-daemonize", "-incoming", "-loadvm", "-D", "-d", "-add-fd", "-sandbox",
    )
)  # fmt: skip


def words_for(words: Sequence[str], tag: str, host: str, port: int, leash: int) -> list[str]:
    """The options of a fork that begins with snapshot `tag`; `leash`: its end of the pipe."""
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        name = "-" + word.lstrip("-")
        option = OPTIONS.get(name) if word.startswith("-") else None
        value = [next(rest)] if option is not None and option.value else []
        if option is None or not _OWN & set(option.names):
            kept += [word, *value]
    there = f"[{host}]" if ":" in host else host
    page = f"{there}:{port + 1},to={min(port + 1000, 65535)},leash={leash}"
    own = ["-display", "none", "-serial", "null", "-monitor", "none", "-web", page]
    return [*kept, *own, "-loadvm", tag]


class Leash:
    """A fork's end of the pipe, a source of its loop: it ends when its parent has."""

    def __init__(self, fd: int, end: Callable[[], None]) -> None:
        self._fd, self._end = fd, end

    def events(self) -> dict[int, int]:
        return {self._fd: select.POLLIN} if self._fd >= 0 else {}

    def handle(self, fd: int, mask: int) -> None:
        del fd, mask
        self.close()
        self._end()

    def close(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1


class Forks:
    """Those of one machine."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.children: list[subprocess.Popen[bytes]] = []
        self._theirs, self._mine = os.pipe()

    def check(self) -> None:
        """ConfigError where there can be no (further) fork."""
        self.children = [one for one in self.children if one.poll() is None]
        if len(self.children) >= MOST:
            raise ConfigError(f"{MOST} forks run already")
        written = [disk.name for disk in self._session.vm.disks.writable]
        if written:
            raise ConfigError(f"no fork: {', '.join(written)} is written to, by one machine alone")
        if self._session.vm.config.web is None or not self._session.vm.config.web.words:
            raise ConfigError("no fork: it is not known how this machine was started")

    def begin(self, tag: str, host: str, port: int) -> str:
        """Start one and wait for its page, whose address is given (in a thread).  HostError."""
        options = self._session.vm.config.web
        assert options is not None
        words = words_for(options.words, tag, host, port, self._theirs)
        with tempfile.TemporaryFile() as said:
            child = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "gossamer", "run", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                pass_fds=(self._theirs,),
                start_new_session=True,
            )
            self.children.append(child)
            return _address(child, said)

    def close(self) -> None:
        """End all of them."""
        for child in self.children:
            child.terminate()
        for child in self.children:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.children = []
        if self._mine >= 0:
            os.close(self._mine)
            os.close(self._theirs)
            self._mine = -1


def _address(child: subprocess.Popen[bytes], said: IO[bytes]) -> str:
    end = time.monotonic() + _START_S
    while True:
        over = child.poll() is not None
        said.seek(0)
        text = said.read(1 << 16).decode(errors="replace")
        if match := re.search(r"http://\S+(?=\n)", text):
            return match[0]
        if over or time.monotonic() > end:
            child.kill()
            lines = text.strip().splitlines() or [f"it was not there after {_START_S} s"]
            raise HostError(f"the fork: {lines[-1].removeprefix('gossamer: ')}")
        time.sleep(0.02)
