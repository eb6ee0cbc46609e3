"""Forks: a snapshot goes on in a second machine, a process with a page of its own.

It is started with the words that this one was started with, but for what only one process can have
(ports, monitors, files of logs), and ends with it, however that ends: each holds one end of a pipe.
A disk that is written to (qcow2) is parted first: the fork gets the disk of the snapshot, and the
snapshot, in an image of its own, which goes when the fork does.
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, Final

from gossamer.base.errors import ConfigError, HostError
from gossamer.block import part_snapshot
from gossamer.control.session import Session
from gossamer.front.web.fork_folders import ForkFolder, remove_left
from gossamer.machines.option_table import OPTIONS

MOST: Final = 8
"""Forks of a machine at a time."""
_START_S: Final = 600
_NONE: Final[Mapping[Path, int]] = MappingProxyType({})
_HARD_DISKS: Final = frozenset(("-hda", "-hdb", "-hdc", "-hdd"))
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


def with_other_disks(words: Sequence[str], copies: Mapping[Path, Path]) -> list[str]:
    """The options of a machine with other images; ConfigError where one is not found in them."""
    left = {path.absolute(): f"{copy}" for path, copy in copies.items()}

    def other(name: str) -> str:
        return left.pop(Path(name).absolute(), name)

    made: list[str] = []
    rest = iter(words)
    for word in rest:
        option = OPTIONS.get("-" + word.lstrip("-")) if word.startswith("-") else None
        if option is None:
            made.append(other(word))
            continue
        made.append(word)
        if not option.value:
            continue
        value = next(rest)
        if _HARD_DISKS & set(option.names):
            value = other(value)
        elif "-drive" in option.names:
            parts = re.split(r"(?<!,),(?!,)", value)
            names = [part.removeprefix("file=").replace(",,", ",") for part in parts]
            for n, part in enumerate(parts):
                if part.startswith("file=") and Path(names[n]).absolute() in left:
                    parts[n] = "file=" + other(names[n]).replace(",", ",,")
            value = ",".join(parts)
        made.append(value)
    if left:
        names_left = ", ".join(map(str, left))
        raise ConfigError(f"no fork: {names_left}: not named by -drive file=, -hda or by itself")
    return made


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
        #: By process, where its disks are.
        self._folders: dict[int, ForkFolder] = {}
        self._theirs, self._mine = os.pipe()

    def check(self) -> None:
        """ConfigError where there can be no (further) fork."""
        self._forget_ended()
        if len(self.children) >= MOST:
            raise ConfigError(f"{MOST} forks run already")
        disks = self._session.vm.disks
        for disk in disks.writable:
            if disk.image.format != "qcow2" or disk in [one for one, _ in disks.captured]:
                raise ConfigError(
                    f"no fork: {disk.name} is written to, by one machine alone (a qcow2 image has "
                    "snapshots that a second one can go on with)"
                )
        if self._session.vm.config.web is None or not self._session.vm.config.web.words:
            raise ConfigError("no fork: it is not known how this machine was started")

    def _forget_ended(self) -> None:
        for child in [one for one in self.children if one.poll() is not None]:
            self.children.remove(child)
            self._forget_folder(child.pid)

    def _forget_folder(self, pid: int) -> None:
        folder = self._folders.pop(pid, None)
        if folder is not None:
            folder.remove()

    def parts(self, tag: str) -> dict[Path, int]:
        """The images that a fork from a snapshot needs parts of, and the date of their snapshots.

        In the loop's thread, as the machine writes to them.
        """
        disks = self._session.vm.disks
        written = disks.writable
        found = [one for _, one in disks.snapshots if one.name == tag and one.vmstate_size]
        if written and not found:
            raise ConfigError(f"no fork: {tag!r} is in none of the disks that are written to")
        return {Path(disk.image.path): found[0].date_ns for disk in written}

    def begin(self, tag: str, host: str, port: int, parts: Mapping[Path, int] = _NONE) -> str:
        """Start one and wait for its page, whose address is given (in a thread).

        ConfigError, HostError.
        """
        options = self._session.vm.config.web
        assert options is not None
        remove_left()
        folder = ForkFolder() if parts else None
        try:
            copies: dict[Path, Path] = {}
            if folder is not None:
                copies = {path: folder.path / f"{n}.qcow2" for n, path in enumerate(parts)}
            for path, copy in copies.items():
                part_snapshot(path, parts[path], copy)
            words = with_other_disks(options.words, copies)
            words = words_for(words, tag, host, port, self._theirs)
            child, said = self._started(words, () if folder is None else (folder.lock,))
        except BaseException:
            if folder is not None:
                folder.remove()
            raise
        if folder is not None:
            folder.hand_over()
            self._folders[child.pid] = folder
        self.children.append(child)
        with said:
            return _address(child, said)

    def _started(
        self, words: Sequence[str], held: tuple[int, ...]
    ) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
        said = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        try:
            child = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "gossamer", "run", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                pass_fds=(self._theirs, *held),
                start_new_session=True,
            )
        except BaseException:
            said.close()
            raise
        return child, said

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
            self._forget_folder(child.pid)
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
