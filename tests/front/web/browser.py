"""What a browser does, without one: requests and WebSockets to a machine's page."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final
from urllib.parse import urlencode

from websockets.sync.client import ClientConnection, connect

from gossamer.control.vm import Vm
from tests.front.qmp.client import Host

TOKEN: Final = "a-token-of-24-characters"
MACHINE: Final = ("-M", "g3beige", "-bios", "builtin", "-m", "8", "-vga", "std", "-S")


class Served(Host):
    """A machine with a page; it stands still unless `machine` says otherwise."""

    def __init__(
        self, folder: Path, *words: str, web: str = "", machine: tuple[str, ...] = MACHINE
    ) -> None:
        more = f",{web}" if web else ""
        page = f"127.0.0.1:8006,to=9006,token={TOKEN}{more}"
        super().__init__(folder, *machine, "-web", page, *words)
        self.said: list[str] = []
        assert self.console._session is not None
        self.console._session.report = self.said.append
        self.port = int(self.client.do("x-query-web")["address"].split(":")[2].split("/")[0])
        self.peers = ExitStack()

    def get(self, path: str, *, token: str = TOKEN, **headers: str) -> tuple[int, bytes, Any]:
        """Status, body and headers of a request."""
        peer = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            mark = "&" if "?" in path else "?"
            peer.request("GET", f"{path}{mark}token={token}" if token else path, headers=headers)
            reply = peer.getresponse()
            return reply.status, reply.read(), reply.headers
        finally:
            peer.close()

    def open(
        self, path: str, *, token: str = TOKEN, origin: str | None = "", **query: str
    ) -> ClientConnection:
        """A WebSocket; by default as a page of this server opens it."""
        here = f"127.0.0.1:{self.port}"
        way = connect(
            f"ws://{here}{path}?{urlencode({**query, 'token': token})}",
            origin=f"http://{here}" if origin == "" else origin,  # type: ignore[arg-type]
            compression=None,
            open_timeout=600,
        )
        return self.peers.enter_context(way)

    @property
    def vm(self) -> Vm:
        assert self.console._session is not None
        return self.console._session.vm

    def do(self, call: Callable[[], Any]) -> Any:
        """The result of `call`, made in the machine's thread."""
        done: SimpleQueue[Any] = SimpleQueue()
        self.console.loop.post(lambda: done.put(call()))
        return done.get(timeout=600)

    def monitor(self) -> Monitor:
        return Monitor(self.open("/qmp"))

    def end(self) -> int | BaseException | None:
        self.peers.close()
        return super().end()


class Monitor:
    """The page's QMP."""

    def __init__(self, peer: ClientConnection) -> None:
        self.peer = peer
        self.greeting = json.loads(peer.recv(30))
        self.events: list[dict[str, Any]] = []
        assert self.send("qmp_capabilities") == {"return": {}}

    def send(self, command: str, /, **arguments: Any) -> dict[str, Any]:
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.peer.send(json.dumps({"execute": command, "arguments": named}))
        while "event" in (value := json.loads(self.peer.recv(30))):
            self.events.append(value)
        found: dict[str, Any] = value
        return found

    def do(self, command: str, /, **arguments: Any) -> Any:
        reply = self.send(command, **arguments)
        assert "return" in reply, reply
        return reply["return"]
