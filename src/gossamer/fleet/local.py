"""Nodes as processes of this computer: `Node` behind a Unix socket, without Ray.

A message is JSON inside `multiprocessing.connection`, which proves by the fleet's key (HMAC) that
both ends belong to the same fleet; only the user can open the socket and the key.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any, Final

from gossamer.base.errors import HostError
from gossamer.fleet.errors import FleetError, NodeLostError
from gossamer.fleet.node import Node

START_S: Final = 600.0
END_S: Final = 60.0
ANSWER_S: Final = 300.0
KEY: Final = "key"
BROKEN: Final = (OSError, EOFError, AuthenticationError)


# --- the fleet's end ----------------------------------------------------------------------------


class LocalNode:
    """A node that is a process of this computer."""

    #: The process is gone or not; and with it, by their lifelines, all its machines.
    certain = True

    def __init__(self, name: str, folder: Path) -> None:
        """`folder` is the fleet's."""
        self.name, self._folder = name, folder
        self._key = (folder / KEY).read_bytes()
        self._free: list[Connection] = []
        self.facts = self.call("facts")

    @classmethod
    def start(cls, name: str, folder: Path, *, stay: bool = False) -> LocalNode:
        """Start its process; with `stay` it outlives this one."""
        prepare(folder)
        ours, theirs = os.pipe()
        with (folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "gossamer.fleet.local", str(folder), name, str(ours)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                pass_fds=() if stay else (ours,),
            )  # fmt: skip
        os.close(ours)
        if stay:
            os.close(theirs)
        end = time.monotonic() + START_S
        while not (folder / f"{name}.sock").exists():
            if process.poll() is not None or time.monotonic() > end:
                said = (folder / f"{name}.log").read_text().strip().splitlines()[-1:]
                raise FleetError(f"node {name} did not start: {' '.join(said)}")
            time.sleep(0.01)
        made = cls(name, folder)
        if stay:
            process.returncode = 0  # not ours to wait for
        else:
            made._process, made._lifeline = process, theirs
        return made

    _process: subprocess.Popen[bytes] | None = None
    _lifeline: int | None = None

    def call(self, method: str, *arguments: Any) -> Any:  # noqa: ANN401 - JSON
        """Call a method of the node; FleetError with its line, NodeLostError when it is gone."""
        try:
            line = self._free.pop() if self._free else self._open()
            line.send_bytes(json.dumps([method, list(arguments)]).encode())
            if not line.poll(ANSWER_S):
                line.close()
                raise NodeLostError(self.name, f"no answer to {method} in {ANSWER_S:.0f} s")
            answer: dict[str, Any] = json.loads(line.recv_bytes())
        except BROKEN as fault:
            raise NodeLostError(self.name, str(fault) or "its process ended") from None
        self._free.append(line)
        if "error" in answer:
            raise FleetError(answer["error"])
        return answer["result"]

    def _open(self) -> Connection:
        return Client(str(self._folder / f"{self.name}.sock"), "AF_UNIX", self._key)

    @property
    def gone(self) -> bool:
        """Whether the process does not exist any more."""
        if self._process is not None:
            return self._process.poll() is not None
        try:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.facts["pid"], os.WNOHANG)  # it may be a child that was to stay
            os.kill(self.facts["pid"], 0)
        except ProcessLookupError:
            return True
        return False

    def kill(self) -> None:
        """What a power failure does to it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.facts["pid"], signal.SIGKILL)
        self._wait()

    def close(self) -> None:
        """End the node and its machines."""
        with contextlib.suppress(FleetError):
            self.call("close")
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + END_S
        while not self.gone and time.monotonic() < end:
            time.sleep(0.01)
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        for kind in ("sock", "early"):
            (self._folder / f"{self.name}.{kind}").unlink(missing_ok=True)
        while self._free:
            self._free.pop().close()


def prepare(folder: Path) -> None:
    """The fleet's folder and key; HostError when it is not ours alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise HostError(f"{folder}: expected a folder of this user alone (mode 0700)")
    with contextlib.suppress(FileExistsError):
        key = os.open(folder / KEY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(key, secrets.token_bytes(32))
        os.close(key)


def found(folder: Path) -> list[LocalNode]:
    """The nodes of a folder that answer; what is left of others goes."""
    nodes = []
    for path in sorted(folder.glob("*.sock")):
        try:
            nodes.append(LocalNode(path.stem, folder))
        except NodeLostError:
            path.unlink(missing_ok=True)
    return nodes


# --- the node's end -----------------------------------------------------------------------------


def serve(folder: Path, name: str, lifeline: int | None) -> None:
    """Be a node until `close` is called, or until `lifeline` closes."""
    node = Node(name)
    over = threading.Event()
    place, early = folder / f"{name}.sock", folder / f"{name}.early"
    early.unlink(missing_ok=True)
    listener = Listener(str(early), "AF_UNIX", authkey=(folder / KEY).read_bytes())
    place.hardlink_to(early)  # who finds it may connect: a socket's file is there before it listens

    def answer(line: Connection) -> None:
        with contextlib.suppress(*BROKEN), line:
            while not over.is_set():
                method, arguments = json.loads(line.recv_bytes())
                result = {"result": None} if method == "close" else node.call(method, arguments)
                if method == "close":
                    node.close()
                line.send_bytes(json.dumps(result).encode())
                if method == "close":
                    over.set()

    def accept() -> None:
        while not over.is_set():
            with contextlib.suppress(*BROKEN):
                threading.Thread(target=answer, args=(listener.accept(),), daemon=True).start()

    def watch() -> None:
        if lifeline is not None:
            os.read(lifeline, 1)
            try:
                node.close()
            finally:  # with this process end the machines that are left
                over.set()

    for task in (accept, watch):
        threading.Thread(target=task, daemon=True).start()
    over.wait()
    place.unlink(missing_ok=True)
    listener.close()


if __name__ == "__main__":
    try:
        pipe: int | None = int(sys.argv[3])
        os.fstat(int(sys.argv[3]))
    except OSError:
        pipe = None
    serve(Path(sys.argv[1]), sys.argv[2], pipe)
