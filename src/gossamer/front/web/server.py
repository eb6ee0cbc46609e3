"""The page's server, a source of the loop: who connects, and what each path leads to.

| path | what |
|---|---|
| ``/`` | the page; it needs the token |
| ``/page/…``, ``/vendor/…`` | its files, which are the same for all |
| ``/vnc`` | WebSocket: RFB |
| ``/qmp`` | WebSocket: a QMP monitor |
| ``/machine`` | what it has, as JSON |
| ``/serialN`` | WebSocket: serial port N |
| ``/past``, ``/picture?tag=`` | the tree of snapshots, what one shows |
| ``/difference?tag=&other=`` | what differs between two, in words |
| ``/state?tag=`` | a snapshot as a file; without a tag: the machine as it is |
| ``/fork?tag=`` | a snapshot goes on in a machine of its own: its page's address |
| ``/upload?name=`` | WebSocket: a file that becomes a snapshot, or (``kind=disc``) a disc |
| ``/discs`` | images that can be put into a drive |
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from websockets.http11 import Request

from gossamer.base.errors import ConfigError, GossamerError
from gossamer.control.commands.table import failure
from gossamer.control.session import Session
from gossamer.control.shapes import Json
from gossamer.control.steps import Steps
from gossamer.front.loop import Loop
from gossamer.front.port import Channel
from gossamer.front.refusals import Refusals
from gossamer.front.sockets import first_free
from gossamer.front.vnc.server import VncServer
from gossamer.front.web import discs, pages, states
from gossamer.front.web.channels import QmpEnd, SerialEnd
from gossamer.front.web.connection import Connection, PeerError
from gossamer.front.web.forks import Forks, Leash
from gossamer.front.web.gate import Asked, Gate, asked
from gossamer.front.web.past import Past
from gossamer.machines.config import Vnc, VncPlace, Web

MOST_CONNECTIONS: Final = 256
MOST_UNASKED: Final = 64
"""Connections that have not asked for anything yet; the oldest of more is dropped."""


class WebServer:
    """The page of one machine.  HostError when it cannot listen."""

    def __init__(
        self, session: Session, loop: Loop, channels: Sequence[Channel | None], options: Web
    ) -> None:
        self.session, self.loop, self.options = session, loop, options
        self.channels = {one.number: one for one in channels if one is not None}
        for channel in self.channels.values():
            channel.keeps = True
        self.gate = Gate(options)
        self.connections: dict[int, Connection] = {}
        self._refusals = Refusals(session, "web")
        ports = range(options.port, options.last + 1)
        self._listener = first_free("-web", options.host, ports, backlog=64)
        self._listener.setblocking(False)
        # A place of neither host nor path: viewers come through this server alone.
        self.vnc = VncServer(
            session,
            loop,
            Vnc("web", VncPlace(), share="force-shared", view_only=options.view_only),
        )

        self.past = Past(session)
        self.forks = Forks(session)
        self._leash: Leash | None = None
        if options.leash is not None:
            self._leash = Leash(options.leash, session.vm.quit)
            loop.add(self._leash)

    @property
    def address(self) -> str:
        """What a browser opens."""
        name, port = self._listener.getsockname()[:2]
        there = f"[{name}]" if ":" in name else name
        return f"http://{there}:{port}/?token={self.gate.token}"

    def announce(self) -> None:
        """Report the address, and open it where -web says so: all that the page uses is there."""
        self.session.report(f"gossamer: the machine is at {self.address}")
        if self.options.opens:
            show(self.address)

    # --- the loop -----------------------------------------------------------------------------

    def events(self) -> dict[int, int]:
        for connection in tuple(self.connections.values()):
            if isinstance(connection.endpoint, SerialEnd):
                connection.endpoint.flush()
            if connection.overfull:
                self._refuse(connection, "it does not read")
        masks = {fd: one.mask for fd, one in self.connections.items()}
        masks[self._listener.fileno()] = select.POLLIN
        return masks

    def handle(self, fd: int, mask: int) -> None:
        if fd == self._listener.fileno():
            self._accept()
            return
        connection = self.connections.get(fd)
        if connection is None:
            return
        try:
            connection.handle(mask)
        except (EOFError, OSError):
            self._drop(connection)
        except GossamerError as fault:
            self._refuse(connection, str(fault))

    def _accept(self) -> None:
        try:
            peer = self._listener.accept()[0]
        except OSError:
            return
        if len(self.connections) >= MOST_CONNECTIONS:
            peer.close()
            self._refusals.report(f"{MOST_CONNECTIONS} connections are open already")
            return
        waiting = [one for one in self.connections.values() if not one.asked]
        if len(waiting) >= MOST_UNASKED:
            self._drop(waiting[0])
        connection = Connection(peer, self._route)
        self.connections[connection.fd] = connection

    def _refuse(self, connection: Connection, why: str) -> None:
        """End a connection whose peer broke a rule; what it still has to get is tried once."""
        where = connection.where
        with contextlib.suppress(OSError, EOFError):
            connection.drain()
        self._drop(connection)
        self._refusals.report(f"{where}: {why}: the connection is ended")

    def _drop(self, connection: Connection) -> None:
        if self.connections.pop(connection.fd, None) is not None:
            connection.close()

    def close(self) -> None:
        """End everything."""
        for connection in tuple(self.connections.values()):
            self._drop(connection)
        self.past.close()
        self.forks.close()
        if self._leash is not None:
            self._leash.close()
            self.loop.remove(self._leash)
        self.vnc.close()
        self.loop.remove(self.vnc)
        self.loop.remove(self)
        self._listener.close()

    # --- requests -----------------------------------------------------------------------------

    def _route(self, connection: Connection, request: Request) -> None:
        """Answer a request."""
        why = self.gate.refusal(request.headers)
        if why is not None:
            connection.answer(pages.refusal(403, why))
            self._refusals.report(f"{connection.where}: {why}")
            return
        try:
            given = asked(request.path)
        except ValueError as fault:
            connection.answer(pages.refusal(400, str(fault)))
            return
        found = pages.file(given.path) if given.path in pages.listed() else None
        if found is not None:
            connection.answer(found)
        elif not self.gate.knows(given):
            text = "the address lacks its token: gossamer has written the whole one where it runs"
            connection.answer(pages.refusal(403, text))
        elif given.path == "/":
            connection.answer(pages.page())
        elif given.path == "/machine":
            more = {"serials": sorted(self.channels), "viewOnly": self.options.view_only}
            connection.answer(_json(more))
        else:
            try:
                found_it = self._opened(connection, request, given) or (
                    not self.options.view_only and self._asked(connection, given)
                )
            except GossamerError as fault:
                connection.answer(pages.refusal(400, failure(fault)))
                return
            if not found_it:
                connection.answer(pages.refusal(404, f"there is no {given.path[:80]} here"))

    def _asked(self, connection: Connection, given: Asked) -> bool:
        """Whether there is something at that path; it is answered now, or later."""
        tag = given.query.get("tag", "")
        match given.path:
            case "/past":
                connection.answer(_json(self.past.tree()))
            case "/discs":
                connection.answer(_json(discs.listed(self.options.files)))
            case "/picture":
                self.past.picture(tag, lambda found: self._reply(connection, found))
            case "/difference":
                other = given.query.get("other", "")
                self.past.difference(tag, other, lambda found: self._reply(connection, found))
            case "/fork":
                self._fork(connection, tag)
            case "/state" if tag:
                file = self.past.file(tag)
                if file is None:
                    raise ConfigError(f"{tag[:80]!r} is inside a disk image: go back to it first")
                states.send_file(connection, file, file.name)
            case "/state":
                self.session.check_idle()
                self.session.spawn(self._send_now(connection))
            case _:
                return False
        return True

    def _fork(self, connection: Connection, tag: str) -> None:
        self.past.check(tag)
        self.forks.check()
        parts = self.forks.parts(tag)
        host, port = self._listener.getsockname()[:2]

        def begin() -> pages.Answer:
            return _json({"address": self.forks.begin(tag, host, port, parts)})

        self.past.begin(begin, lambda found: self._reply(connection, found))

    def _send_now(self, connection: Connection) -> Steps[None]:
        try:
            yield from states.send_now(self.session, connection)
        except (GossamerError, OSError) as fault:
            self._reply(connection, fault)

    def _reply(self, connection: Connection, found: pages.Answer | Exception) -> None:
        """Answer what was asked a while ago, if the browser still waits."""
        if self.connections.get(connection.fd) is not connection:
            return
        if isinstance(found, Exception):
            found = pages.refusal(500, failure(found))
        connection.answer(found)

    def _opened(self, connection: Connection, request: Request, given: Asked) -> bool:
        """Whether there is a WebSocket at that path; it is open then."""
        if given.path == "/vnc":
            if connection.accept(request, None):
                self._give_away(connection)
            return True
        if given.path == "/upload" and not self.options.view_only:
            name = given.query.get("name", "")
            upload = (
                discs.receive(self.session, connection, self.options.files, name)
                if given.query.get("kind") == "disc"
                else states.receive(self.session, connection, name)
            )
            if not connection.accept(request, upload):
                upload.closed()
            return True
        if given.path == "/qmp" and not self.options.view_only:
            end = QmpEnd(self.session, connection)
            if connection.accept(request, end):
                end.begin()
            else:
                end.closed()
            return True
        number = given.path.removeprefix("/serial")
        if given.path != number and number.isdecimal() and int(number[:9]) in self.channels:
            channel = self.channels[int(number[:9])]
            serial = SerialEnd(channel, connection, view_only=self.options.view_only)
            if connection.accept(request, serial):
                serial.begin()
            return True
        return False

    def _give_away(self, connection: Connection) -> None:
        """Let the VNC server go on with a connection."""
        self.connections.pop(connection.fd, None)
        connection.given_away = True
        self.vnc.adopt(connection.peer, connection.protocol, bytes(connection.out))


def _json(value: Json) -> pages.Answer:
    return pages.Answer(json.dumps(value).encode(), "json")


def show(address: str) -> None:
    """Have the desktop's browser open the page, where there is one; it is not waited for."""
    command = shutil.which("xdg-open") or shutil.which("open")
    seen = (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform == "darwin"
    )
    if command is not None and seen:
        with contextlib.suppress(OSError):
            subprocess.Popen(  # noqa: S603
                [command, address],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )


def open_web(session: Session, loop: Loop, channels: Sequence[Channel | None]) -> WebServer:
    """The server that -web asked for, in the loop."""
    options = session.vm.config.web
    assert options is not None
    made = WebServer(session, loop, channels, options)
    loop.add(made)
    loop.add(made.vnc)
    session.web = lambda: (made.address, len(made.connections) + len(made.vnc.viewers))
    return made


__all__ = ["PeerError", "WebServer", "open_web"]
