"""The server: where viewers connect, how often the screen is looked at, who gets what.

A look is taken at most 30 times a second, and only while a viewer waits for a change; a screen that
stays as it is is looked at less often.  What a look gives is made into pixels and encoded in a
thread, one at a time for all viewers, so that the guest runs on beside it and a hundred viewers
take turns; all of it together takes a twentieth of the machine's time (budget.py).  A viewer gets
the next piece of an update when it has read the one before.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from websockets.server import ServerProtocol

from gossamer.base.errors import GossamerError, HostError
from gossamer.control.events import VncConnected, VncDisconnected, VncInitialized
from gossamer.control.screen import Look, Screen
from gossamer.control.session import Session
from gossamer.control.steps import InThread, Steps
from gossamer.control.viewers import Access, VncClientInfo, VncListener, VncServerInfo
from gossamer.core import host
from gossamer.core.host import listen_private
from gossamer.front.loop import Loop, Timer
from gossamer.front.refusals import Refusals
from gossamer.front.sockets import first_free, remove_stale
from gossamer.front.vnc.budget import Budget
from gossamer.front.vnc.encodings import MOST_TIGHT_WIDTH, TIGHT
from gossamer.front.vnc.hub import Hub
from gossamer.front.vnc.layers import ClosedError, WebSocketLayer
from gossamer.front.vnc.messages import let_go, parts, rectangle, report_pointer, talk, update
from gossamer.front.vnc.picture import CELL_WIDTH, Cells, Rectangle, rectangles
from gossamer.front.vnc.viewer import LOW, Viewer
from gossamer.machines.config import Vnc, VncPlace

FRAME_NS: Final = 33_333_333
"""Between two looks, at the least."""
SLOWEST_NS: Final = 200_000_000
"""Between two looks at a screen that does not change."""
SLOWER: Final = 1.25
MOST_VIEWERS: Final = 128
_WIDEST: Final = 1 << 16
_LEAST_WAIT_NS: Final = 1_000_000
T = TypeVar("T")


class VncServer:
    """A server of ``-vnc``; a source of the loop.  HostError when it cannot listen."""

    def __init__(self, session: Session, loop: Loop, options: Vnc) -> None:
        self.session, self.loop = session, loop
        self.hub = Hub(session, options)
        self.screen = Screen(session.vm)
        self.budget = Budget(lambda: host.thread_cpu_ns() + loop.waited_ns)
        self.viewers: dict[int, Viewer] = {}
        self._busy = False
        self._timer: Timer | None = None
        self._last_look = self._next_look = 0
        self._between = FRAME_NS
        self._refusals = Refusals(session, "vnc")
        self._listeners: dict[int, tuple[socket.socket, bool]] = {}
        try:
            if options.place.host or options.place.path:  # else viewers come by `adopt`
                self._listen(options.place, web=False)
            if options.web is not None:
                self._listen(options.web, web=True)
        except BaseException:
            self.close()
            raise

    # --- where it listens ---------------------------------------------------------------------

    def _listen(self, place: VncPlace, *, web: bool) -> None:
        listener = _listener(place)
        listener.setblocking(False)
        self._listeners[listener.fileno()] = listener, web

    @property
    def id(self) -> str:
        return self.hub.options.id

    @property
    def access(self) -> Access:
        return self.hub.access

    @property
    def auth(self) -> str:
        return self.hub.auth

    @property
    def vencrypt(self) -> str | None:
        return self.hub.vencrypt

    def listeners(self) -> tuple[VncListener, ...]:
        found = []
        for listener, web in self._listeners.values():
            at = self._end(listener, web=web)
            sub = None if web else self.hub.vencrypt
            found.append(VncListener(at.host, at.service, at.family, web, at.auth or "none", sub))
        return tuple(found)

    def _end(self, one: socket.socket, *, web: bool) -> VncServerInfo:
        """The server's end of a socket."""
        auth = self.hub.web_auth if web else self.hub.auth
        if one.family == socket.AF_UNIX:
            return VncServerInfo("", self.hub.options.place.path, "unix", web, auth)
        name = one.getsockname()
        family = "ipv6" if one.family == socket.AF_INET6 else "ipv4"
        return VncServerInfo(str(name[0]), str(name[1]), family, web, auth)

    def clients(self) -> tuple[VncClientInfo, ...]:
        return tuple(viewer.client for viewer in self.viewers.values() if viewer.joined)

    # --- the loop -----------------------------------------------------------------------------

    def events(self) -> dict[int, int]:
        masks = dict.fromkeys(self._listeners, select.POLLIN)
        for fd, viewer in self.viewers.items():
            masks[fd] = viewer.mask
        return masks

    def handle(self, fd: int, mask: int) -> None:
        if fd in self._listeners:
            self._accept(*self._listeners[fd])
            return
        viewer = self.viewers.get(fd)
        if viewer is None:
            return
        try:
            self._costed(lambda: viewer.handle(mask))
        except (EOFError, OSError):
            self.drop(viewer)
        except ClosedError:
            with contextlib.suppress(OSError, EOFError):
                viewer.drain()
            self.drop(viewer)
        except GossamerError as fault:
            self._refuse(viewer, str(fault))
        self._wake()

    def _accept(self, listener: socket.socket, web: bool) -> None:
        try:
            peer = listener.accept()[0]
        except OSError:
            return
        if len(self.viewers) >= MOST_VIEWERS:
            peer.close()
            self._refusals.report(f"{MOST_VIEWERS} viewers look already")
            return
        self._begin(Viewer(self.hub, peer, self._end(peer, web=web)))

    def adopt(self, peer: socket.socket, opened: ServerProtocol, head: bytes) -> None:
        """Serve a viewer whose WebSocket is open; it still has to get `head`."""
        if len(self.viewers) >= MOST_VIEWERS:
            peer.close()
            self._refusals.report(f"{MOST_VIEWERS} viewers look already")
            return
        viewer = Viewer(self.hub, peer, self._end(peer, web=True), WebSocketLayer(opened))
        viewer.out += head
        self._begin(viewer)

    def _begin(self, viewer: Viewer) -> None:
        waiting = [one for one in self.viewers.values() if not one.joined]
        if len(waiting) >= self.hub.options.connections:
            self.drop(waiting[0])
        self.viewers[viewer.fd] = viewer
        self.session.vm.events.report(VncConnected(viewer.local, viewer.info))
        viewer.start(talk(viewer, self._join, self._hurry))
        with contextlib.suppress(OSError, EOFError):
            viewer.drain()

    def _join(self, viewer: Viewer, shared: bool) -> None:
        """A viewer was let in; whether others may look, too."""
        others = [one for one in self.viewers.values() if one.joined and one is not viewer]
        share = self.hub.options.share
        if share == "force-shared" and not shared:
            raise GossamerError("it wants to look alone, and share=force-shared")
        if share == "allow-exclusive":
            if any(one.exclusive for one in others) and shared:
                raise GossamerError("another viewer looks alone")
            viewer.exclusive = not shared
            if not shared:
                for one in others:
                    self.drop(one)
        self._look_now()
        viewer.joined = True
        self.session.vm.events.report(VncInitialized(viewer.local, viewer.client))

    def _refuse(self, viewer: Viewer, why: str) -> None:
        """End a connection whose peer broke a rule; what it still has to get is tried once."""
        with contextlib.suppress(OSError, EOFError):
            viewer.drain()
        at = viewer.info
        where = f"{at.host}:{at.service}" if at.host else at.family
        self.drop(viewer)
        self._refusals.report(f"{where}: {why}: the viewer is dropped")

    def drop(self, viewer: Viewer) -> None:
        """End a connection; its keys and buttons are let go."""
        if self.viewers.pop(viewer.fd, None) is None:
            return
        client = viewer.client
        viewer.ending = True
        viewer.peer.close()
        if viewer.joined and not self.hub.held:
            for name in viewer.keys | viewer.late:
                self.hub.key(name, down=False)
            if viewer.buttons & 7:
                self.hub.press(viewer.buttons & 7, 0)
                self.hub.move(0, 0, 0)
        self.session.vm.events.report(VncDisconnected(viewer.local, client))

    def drop_clients(self) -> None:
        for viewer in tuple(self.viewers.values()):
            self.drop(viewer)

    def close(self) -> None:
        """End everything."""
        if self._timer is not None:
            self._timer.cancel()
        for viewer in tuple(self.viewers.values()):
            viewer.peer.close()
        self.viewers.clear()
        for listener, web in self._listeners.values():
            listener.close()
            if not web and self.hub.options.place.path:
                Path(self.hub.options.place.path).unlink(missing_ok=True)
        self._listeners.clear()

    # --- pictures -----------------------------------------------------------------------------

    def _hurry(self) -> None:
        """A viewer has done something: what comes of it is shown soon."""
        self._between = FRAME_NS
        self._next_look = min(self._next_look, self._last_look + FRAME_NS)

    def _wake(self) -> None:
        """Go on with what viewers wait for, or say when."""
        if self._busy:
            return
        looked_for = any(viewer.looks for viewer in self.viewers.values())
        hungry = any(viewer.hungry for viewer in self.viewers.values())
        if not looked_for and not hungry:
            return
        wait, short = self._next_look - host.monotonic_ns(), self.budget.left_ns
        if short:
            self._after(max(short, _LEAST_WAIT_NS, 0 if hungry else wait))
        elif looked_for and wait <= 0:
            self._costed(self._look)
        elif hungry:
            self._costed(lambda: self.session.spawn(self._serve()))
        else:
            self._after(wait)

    def _after(self, wait_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.after(wait_ns / 1e9, self._wake)

    def _look(self) -> None:
        """Look at the screen, now."""
        now = host.monotonic_ns()
        for viewer in self.viewers.values():
            if viewer.joined and not self.hub.held:
                report_pointer(viewer)
                let_go(viewer)
        look = None if self.session.vm.busy else self.screen.look()
        for viewer in self.viewers.values():
            viewer.stale = False
        slower = min(int(self._between * SLOWER), SLOWEST_NS)
        self._between = FRAME_NS if look is not None else slower
        self._last_look, self._next_look = now, now + self._between
        if look is not None or any(viewer.hungry for viewer in self.viewers.values()):
            self.session.spawn(self._serve(look))
        else:
            self._after(self._between)

    def _look_now(self) -> None:
        """Have a picture of the screen as it is, of its size, for a viewer that comes."""
        look = None if self._busy or self.session.vm.busy else self.screen.look()
        if look is not None:
            marks = self.hub.picture.apply(look)
            for viewer in self.viewers.values():
                viewer.changed(marks)

    def _serve(self, look: Look | None = None) -> Steps[None]:
        """Take a look on, and send what can be sent, in a thread; then see what comes next."""
        self._busy = True
        try:
            if look is not None:
                marks: Cells | None = yield InThread(
                    lambda: self._costed(lambda: self.hub.picture.apply(look), beside=True)
                )
                for viewer in self.viewers.values():
                    viewer.changed(marks)
            hungry = [viewer for viewer in self.viewers.values() if viewer.hungry]
            for viewer in hungry:
                self._promise(viewer)
            pieces = yield InThread(
                lambda: self._costed(
                    lambda: [(one, self._piece(one)) for one in hungry], beside=True
                )
            )
            self._costed(lambda: self._sent(pieces))
        except MemoryError:
            self._refusals.report("the host has no memory for a picture")
            self.drop_clients()
        finally:
            self._busy = False
        self._after(0)

    def _costed(self, work: Callable[[], T], *, beside: bool = False) -> T:
        """Do work for viewers at their cost; `beside`: in this thread, which is not the loop's."""
        began = self.budget.cpu_ns()
        try:
            return work()
        finally:
            took = self.budget.cpu_ns() - began
            if beside:
                self.loop.post(lambda: self.budget.spent(took))
            else:
                self.budget.spent(took)

    def _sent(self, pieces: list[tuple[Viewer, bytes]]) -> None:
        """Send parts of updates to those who are still there."""
        for viewer, data in pieces:
            if self.viewers.get(viewer.fd) is viewer:
                viewer.send(data)
                if not viewer.todo:
                    viewer.updated()
                self._drain(viewer)

    def _drain(self, viewer: Viewer) -> None:
        try:
            viewer.drain()
        except (OSError, EOFError):
            self.drop(viewer)

    def _promise(self, viewer: Viewer) -> None:
        """Begin an update, unless one is under way."""
        if viewer.updating:
            return
        first = parts(viewer, self.hub.picture.size)
        if first:
            viewer.resized()
        widest = MOST_TIGHT_WIDTH if viewer.encoding == TIGHT else _WIDEST
        owed = rectangles(viewer.dirty, viewer.size, widest // CELL_WIDTH * CELL_WIDTH)
        viewer.dirty[:] = False
        viewer.wants = False
        viewer.todo.extend(owed)
        viewer.send(update(len(first) + len(owed)) + b"".join(first))
        viewer.updating = True
        viewer.update_form, viewer.update_kind = viewer.form, viewer.encoding

    def _piece(self, viewer: Viewer) -> bytes:
        """The next rectangles of a viewer's update (in the thread)."""
        out = bytearray()
        kind, form, encoder = viewer.update_kind, viewer.update_form, viewer.encoder
        while viewer.todo and len(out) < LOW:
            where: Rectangle = viewer.todo.popleft()
            out += rectangle(*where, kind)
            out += encoder.encode(kind, form, self.hub.picture.part(where))
        return bytes(out)


def _listener(place: VncPlace) -> socket.socket:
    if place.path:
        listener = socket.socket(socket.AF_UNIX)
        try:
            remove_stale(place.path)
            listen_private(listener, place.path, 16)
        except OSError as fault:
            listener.close()
            raise HostError(f"-vnc: {place.path}: cannot listen: {fault.strerror}") from None
        return listener
    return first_free("-vnc", place.host, range(place.port, place.last + 1), backlog=16)


def open_servers(session: Session, loop: Loop) -> list[VncServer]:
    """The servers that -vnc asked for, in the loop."""
    made: list[VncServer] = []
    try:
        for options in session.vm.config.vncs:
            made.append(VncServer(session, loop, options))
    except BaseException:
        for one in made:
            one.close()
        raise
    for one in made:
        loop.add(one)
    session.vnc_servers = list(made)
    return made
