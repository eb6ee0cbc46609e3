"""``-netdev user``: the guest behind a router that libslirp makes, in a process of its own."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from gossamer.base.errors import ConfigError, HostError
from gossamer.net.backend import ENDED, MOST_WAITING, Backend

_START_S: Final = 20.0
_ANSWER_S: Final = 5.0
_MOST: Final = 72 << 10
_BUFFER: Final = 1 << 20
_MOST_FORWARDS: Final = 256


class User(Backend):
    """The emulator's end.  HostError where libslirp is not there or refuses."""

    kind = "user"

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.options = dict(options)
        self.forwards = len(options["hostfwd"])
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for one in (mine, theirs):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self.peer = mine
        self._out: deque[bytes] = deque()
        self._waiting = 0
        self._answers: deque[object] = deque()
        command = [sys.executable, "-c", _RUN, str(theirs.fileno()), json.dumps(self.options)]
        self.process = subprocess.Popen(  # noqa: S603 - ourselves
            command,
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        theirs.close()
        try:
            why = self._answer(_START_S)
        except HostError:
            self.close()
            raise
        if why is not None:
            self.close()
            hint = "; Debian has it as libslirp0" if "libslirp.so" in str(why) else ""
            raise HostError(f"-netdev {name}: user: {why}{hint}")
        mine.setblocking(False)

    @property
    def info(self) -> str:
        restrict = "on" if self.options["restrict"] else "off"
        return f"net={self.options['net']},restrict={restrict}"

    def events(self) -> Mapping[int, int]:
        if self.peer.fileno() < 0:
            return {}
        mask = (select.POLLIN if self.reads else 0) | (select.POLLOUT if self._out else 0)
        return {self.peer.fileno(): mask}

    def handle(self, fd: int, mask: int) -> None:
        if mask & select.POLLOUT:
            self.flush()
        if mask & (select.POLLIN | ENDED):
            self._read()

    def _read(self) -> None:
        while self.reads:
            try:
                data = self.peer.recv(_MOST)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._gone()
                return
            self._take_in(data)

    def _take_in(self, data: bytes) -> None:
        if data[:1] == b"F":
            self.take(data[1:])
        else:
            self._answers.append(json.loads(data[1:]))

    def _gone(self) -> None:
        """The process has ended: the cable leads nowhere."""
        if self.peer.fileno() >= 0:
            self.peer.close()
            self.changed(None)

    def send(self, frame: bytes) -> None:
        if self.peer.fileno() < 0 or self._waiting + len(frame) > MOST_WAITING:
            self.dropped += 1
            return
        self._out.append(b"F" + frame)
        self._waiting += len(frame)

    def flush(self) -> None:
        try:
            while self._out:
                self.peer.send(self._out[0])
                self._waiting -= len(self._out.popleft()) - 1
        except BlockingIOError:
            return
        except OSError:
            self._gone()

    # --- commands -----------------------------------------------------------------------------

    def connections(self) -> str:
        """Its table of connections, as ``info usernet`` shows it."""
        return str(self._ask({"do": "info"}))

    def add_forward(self, rule: Mapping[str, Any]) -> None:
        """Begin to forward connections to the guest; ConfigError, HostError if it cannot."""
        if self.forwards >= _MOST_FORWARDS:
            raise ConfigError(f"hostfwd_add: there are {_MOST_FORWARDS} already")
        if self._ask({"do": "add", **rule}) is not None:
            raise HostError("Could not set up host forwarding rule: the port is taken, or refused")
        self.forwards += 1

    def remove_forward(self, rule: Mapping[str, Any]) -> bool:
        """End that; whether it was there."""
        removed = self._ask({"do": "remove", **rule}) is None
        self.forwards -= removed
        return removed

    def _ask(self, command: Mapping[str, Any]) -> object:
        if self.peer.fileno() < 0:
            raise HostError(f"netdev {self.name}: its process has ended")
        self.peer.setblocking(True)
        try:
            self.peer.settimeout(_ANSWER_S)
            self.peer.send(b"C" + json.dumps(command).encode())
            return self._answer(_ANSWER_S)
        except OSError:
            raise HostError(f"netdev {self.name}: its process does not answer") from None
        finally:
            self.peer.setblocking(False)

    def _answer(self, seconds: float) -> object:
        """The next answer; frames that come before it are taken in."""
        self.peer.settimeout(seconds)
        while not self._answers:
            try:
                data = self.peer.recv(_MOST)
            except OSError:
                data = b""
            if not data:
                raise HostError(f"-netdev {self.name}: user: its process does not start or answer")
            self._take_in(data)
        return self._answers.popleft()

    def close(self) -> None:
        self.peer.close()
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()


_RUN: Final = "from gossamer.net.slirp_child import main; main()"
