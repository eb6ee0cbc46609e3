"""A QMP connection on a character device: negotiation, commands in order, events."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Generator, Mapping
from typing import Any, Final

from gossamer.base.errors import GossamerError
from gossamer.control.commands.rows import TABLE
from gossamer.control.commands.table import Command, CommandError, UnknownCommandError, failure
from gossamer.control.events import Event
from gossamer.control.session import Session
from gossamer.control.shapes import Json, dumped
from gossamer.control.steps import Steps, Wait
from gossamer.core import host
from gossamer.front.chardev import CHUNK, Chardev
from gossamer.front.qmp.reader import BadValueError, BombError, Reader

MOST_WAITING: Final = 8 << 20
"""Bytes of answers and events that wait for a client; a client that lets more wait is dropped."""
MOST_REQUESTS: Final = 64
_LOOK_NS: Final = 20_000_000
NEGOTIATE: Final = "qmp_capabilities"


class Qmp:
    """Serves one client after the other on `device`; `pretty`: laid out for a person."""

    def __init__(self, session: Session, device: Chardev, *, pretty: bool = False) -> None:
        self.session, self.device = session, device
        self._indent = 4 if pretty else None
        self._reader = Reader()
        self._requests: deque[Json] = deque()
        self._negotiated = self._busy = False
        self._client = 0
        device.most = MOST_WAITING
        device.receive = self._receive
        device.room = lambda: 0 if len(self._requests) >= MOST_REQUESTS else CHUNK
        device.opened = self._opened
        self.stop: Callable[[], None] = session.vm.events.add(self._event)

    def _opened(self) -> None:
        """A client is there: greet it."""
        self._client += 1
        self._reader, self._negotiated = Reader(), False
        self._requests.clear()
        version = dumped(TABLE.call(self.session, "query-version"))
        self._write({"QMP": {"version": version, "capabilities": []}})

    def _write(self, value: Json) -> None:
        text = json.dumps(value, ensure_ascii=False, indent=self._indent)
        self.device.write(text.encode("utf-8", "replace").replace(b"\n", b"\r\n") + b"\r\n")

    def _event(self, event: Event) -> None:
        if not self._negotiated or not self.device.connected:
            return
        seconds, rest = divmod(host.utc_ns(), 1_000_000_000)
        stamp = {"seconds": seconds, "microseconds": rest // 1000}
        data = dumped(event)
        message: dict[str, Json] = {"timestamp": stamp, "event": event.name}
        self._write(message | {"data": data} if data else message)

    # --- requests -----------------------------------------------------------------------------

    def _receive(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            self._requests.extend(self._reader.values())
        except BombError as fault:
            self._requests.append(fault)
        if self._requests and not self._busy:
            self._busy = True
            self.session.spawn(self._serve())

    def _serve(self) -> Steps[None]:
        """Answer what has been asked, in order, each in a turn of its own."""
        try:
            while self._requests and not self.session.vm.ended:
                request, client = self._requests.popleft(), self._client
                answer = yield from self._answer(request)
                if client == self._client:
                    self._write(answer)
                    if isinstance(request, BombError):
                        self._end()
                while self.device.full:
                    yield Wait(until_ns=host.monotonic_ns() + _LOOK_NS)
                if self._requests:
                    yield Wait(until_ns=0)
        finally:
            self._busy = False

    def _end(self) -> None:
        """No more of this client."""
        self._requests.clear()
        self._reader = Reader()
        self.device.hang_up()

    def _answer(self, request: Json) -> Steps[Json]:
        echoed: dict[str, Json] = {}
        if isinstance(request, dict) and "id" in request:
            echoed["id"] = request["id"]
        try:
            result = yield from self._done(request)
            return {"return": result, **echoed}
        except Exception as fault:
            kind = fault.kind if isinstance(fault, CommandError) else CommandError.kind
            return {"error": {"class": kind, "desc": failure(fault)}, **echoed}

    def _done(self, request: Json) -> Steps[Json]:
        """Do it; what it gives, as JSON."""
        name, arguments = checked(request)
        if name == NEGOTIATE:
            return self._negotiate(arguments)
        if not self._negotiated:
            raise UnknownCommandError(f"Expecting capabilities negotiation with '{NEGOTIATE}'")
        row = find(name)
        self.session.passed_fds = self.device.passed_fds
        result: Any = row(self.session, arguments)
        if isinstance(result, Generator):
            result = yield from result
        return {} if row.result is None else dumped(result)

    def _negotiate(self, arguments: Mapping[str, Json]) -> Json:
        if self._negotiated:
            raise UnknownCommandError(
                "Capabilities negotiation is already complete, command ignored"
            )
        TABLE.find(NEGOTIATE)(self.session, arguments)
        self._negotiated = True
        return {}


def find(name: str) -> Command:
    """The row that QMP offers as `name`."""
    row = TABLE.find(name)
    if not row.wire:
        raise UnknownCommandError(f"The command {name} has not been found")
    return row


def checked(request: Json) -> tuple[str, Mapping[str, Json]]:
    """Name and arguments of a request; GossamerError in QEMU's words."""
    if isinstance(request, BadValueError | BombError):
        raise request
    if not isinstance(request, dict):
        raise GossamerError("QMP input must be a JSON object")
    for name in request:
        if name not in ("execute", "arguments", "id"):
            raise GossamerError(f"QMP input member '{name}' is unexpected")
    if "execute" not in request:
        raise GossamerError("QMP input lacks member 'execute'")
    command, arguments = request["execute"], request.get("arguments", {})
    if not isinstance(command, str):
        raise GossamerError("QMP input member 'execute' must be a string")
    if not isinstance(arguments, dict):
        raise GossamerError("QMP input member 'arguments' must be an object")
    return command, arguments
