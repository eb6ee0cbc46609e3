"""A small QMP client, and a machine with its QMP socket in a thread of this process."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

from gossamer.front import session as front_session
from gossamer.front.console import Console
from gossamer.machines.config import Config
from gossamer.machines.options import parse


class Client:
    """One connection; `events` keeps what came beside answers."""

    def __init__(
        self, path: str, *, negotiate: bool = True, server: threading.Thread | None = None
    ) -> None:
        self.events: list[dict[str, Any]] = []
        self.socket = connected(path, server)
        self._data = b""
        try:
            self.greeting = self.receive()
            if negotiate:
                assert self.send(execute="qmp_capabilities") == {"return": {}}
        except BaseException:
            self.close()
            raise

    @classmethod
    def on(cls, peer: socket.socket) -> Client:
        """A client on a connection that the server has made."""
        made = cls.__new__(cls)
        peer.settimeout(600)
        made.events, made.socket, made._data = [], peer, b""
        made.greeting = made.receive()
        assert made.send(execute="qmp_capabilities") == {"return": {}}
        return made

    def receive(self) -> dict[str, Any]:
        while b"\r\n" not in self._data:
            piece = self.socket.recv(65536)
            if not piece:
                raise EOFError
            self._data += piece
        line, _, self._data = self._data.partition(b"\r\n")
        value: dict[str, Any] = json.loads(line)
        return value

    def answer(self) -> dict[str, Any]:
        while "event" in (value := self.receive()):
            self.events.append(value)
        return value

    def send(self, **request: Any) -> dict[str, Any]:
        self.socket.sendall(json.dumps(request).encode())
        return self.answer()

    def text(self, text: bytes) -> dict[str, Any]:
        self.socket.sendall(text)
        return self.answer()

    def do(self, command: str, /, **arguments: Any) -> Any:
        """The result of a command that works."""
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        reply = self.send(execute=command, arguments=named)
        assert "return" in reply, reply
        return reply["return"]

    def refused(self, command: str, /, **arguments: Any) -> tuple[str, str]:
        """Class and text of the error."""
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        reply = self.send(execute=command, arguments=named)
        assert "error" in reply, reply
        return reply["error"]["class"], reply["error"]["desc"]

    def wait_event(self, name: str, **data: Any) -> dict[str, Any]:
        """The next event of that name with that data, those already seen first."""
        while True:
            for n, event in enumerate(self.events):
                if event["event"] == name and data.items() <= event.get("data", {}).items():
                    del self.events[: n + 1]
                    return event
            value = self.receive()
            assert "event" in value, value
            self.events.append(value)

    def close(self) -> None:
        self.socket.close()


def connected(path: str, server: threading.Thread | None = None) -> socket.socket:
    end = time.monotonic() + 600
    while True:
        made = socket.socket(socket.AF_UNIX)
        try:
            made.connect(path)
            break
        except OSError:
            made.close()
            assert server is None or server.is_alive(), vars(server)
            assert time.monotonic() < end
            time.sleep(0.01)
    made.settimeout(600)
    return made


class Host(threading.Thread):
    """A machine that runs in this process, with QMP at `path`."""

    def __init__(self, folder: Path, *words: str, name: str = "q") -> None:
        super().__init__(daemon=True)
        self.path = f"{folder}/{name}.qmp"
        self.config: Config = parse(
            [
                "-nodefaults",
                "-serial",
                "null",
                *words,
                "-qmp",
                f"unix:{self.path},server=on,wait=off",
            ]
        )
        self.status: int | BaseException | None = None
        self.start()
        self.client = Client(self.path, server=self)

    def run(self) -> None:
        with Console(self.config) as console:
            self.console = console
            # Signals belong to the main thread.
            console._signals.caught = lambda fd: contextlib.nullcontext()  # type: ignore[method-assign,assignment,return-value]
            try:
                self.status = front_session.run_machine(self.config, console)
            except BaseException as fault:
                self.status = fault

    def again(self, *, negotiate: bool = True) -> Client:
        """Another connection in the place of the one before."""
        self.client.close()
        self.client = Client(self.path, negotiate=negotiate)
        return self.client

    def end(self) -> int | BaseException | None:
        if self.is_alive():
            try:
                self.client.send(execute="quit")
            except (OSError, EOFError):
                self.join(0.5)  # it may be at its end already
                with contextlib.suppress(OSError, EOFError, AssertionError):
                    if self.is_alive():
                        self.client.close()
                        self.client = Client(self.path, server=self)
                        self.client.send(execute="quit")
        self.join(600)
        assert not self.is_alive()
        self.client.close()
        return self.status
