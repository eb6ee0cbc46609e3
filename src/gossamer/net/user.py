"""``-netdev user``: the guest behind a router that libslirp makes, in a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Final

from gossamer.base.errors import ConfigError, HostError
from gossamer.net.stream import Stream

_START_S: Final = 120.0
_ANSWER_S: Final = 5.0
_MOST_ANSWER: Final = 1 << 20
_BUFFER: Final = 1 << 20
_MOST_FORWARDS: Final = 256


class User(Stream):
    """The emulator's end: frames on a stream, commands and answers on a socket beside it.

    HostError where libslirp is not there or refuses.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self.options = dict(options)
        self.forwards = len(options["hostfwd"])
        mine, theirs = socket.socketpair()
        for one in (mine, theirs):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self.control, commands = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        super().__init__(name, "", server=False, fd=mine.detach(), kind="user")
        fds = (theirs.fileno(), commands.fileno())
        command = [sys.executable, "-c", _RUN, *map(str, fds), json.dumps(self.options)]
        self.process = subprocess.Popen(  # noqa: S603 - ourselves
            command,
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        theirs.close()
        commands.close()
        try:
            why = self._answer(_START_S)
        except HostError:
            self.close()
            raise
        if why is not None:
            self.close()
            hint = "; Debian has it as libslirp0" if "libslirp.so" in str(why) else ""
            raise HostError(f"-netdev {name}: user: {why}{hint}")

    @property
    def info(self) -> str:
        restrict = "on" if self.options["restrict"] else "off"
        return f"net={self.options['net']},restrict={restrict}"

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
        if self.peer is None:
            raise HostError(f"netdev {self.name}: its process has ended")
        try:
            self.control.settimeout(_ANSWER_S)
            self.control.send(json.dumps(command).encode())
        except OSError:
            raise HostError(f"netdev {self.name}: its process does not answer") from None
        return self._answer(_ANSWER_S)

    def _answer(self, seconds: float) -> object:
        """The next answer."""
        self.control.settimeout(seconds)
        try:
            data = self.control.recv(_MOST_ANSWER)
        except OSError:
            data = b""
        if not data:
            raise HostError(f"-netdev {self.name}: user: its process does not start or answer")
        return json.loads(data)

    def close(self) -> None:
        super().close()
        self.control.close()
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()


_RUN: Final = "from gossamer.net.slirp_child import main; main()"
