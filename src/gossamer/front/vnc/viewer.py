"""One viewer: its connection, how it is let in, and what it is owed.

RFB is read by a generator that says how many bytes it needs next, so that what a peer can make wait
here has a bound.  Source: RFC 6143; rfbproto (VeNCrypt, fences, continuous updates, xvp); QEMU's
docs/interop/vnc-ledstate and its extensions by their numbers.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections import deque
from collections.abc import Generator
from typing import Final

from gossamer.control.viewers import VncBasicInfo, VncClientInfo, VncServerInfo
from gossamer.front.vnc import encodings
from gossamer.front.vnc.hub import Hub
from gossamer.front.vnc.layers import Layer, PeerError, TlsLayer, WebSocketLayer
from gossamer.front.vnc.picture import Cells, Rectangle, cells
from gossamer.front.vnc.pixels import PixelFormat

PIECE: Final = 16 << 10
LOW: Final = 256 << 10
"""Bytes that wait for a viewer below which it gets more of an update."""
Talk = Generator[int, bytes, None]


class Viewer:
    """The connection; `hub` has the picture and the machine, `local` is the server's end.

    `layer`: what has been agreed on already.
    """

    def __init__(
        self, hub: Hub, peer: socket.socket, local: VncServerInfo, layer: Layer | None = None
    ) -> None:
        self.hub, self.peer, self.local = hub, peer, local
        self.web = local.websocket
        peer.setblocking(False)
        if peer.family != socket.AF_UNIX:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fd = peer.fileno()
        self.info = self._ends(peer)
        self.joined = self.ending = self.exclusive = False
        self.layers: list[Layer] = []
        self.out = bytearray()
        self._in = bytearray()
        # --- what it is owed ---
        self.form = PixelFormat()
        self.known: frozenset[int] = frozenset()
        self.encoder = encodings.Encoder()
        self.size = hub.picture.size
        self.dirty: Cells = cells(*self.size, True)
        self.wants = self.continuous = False
        #: It asked for all of the screen as it is now: a look comes first.
        self.stale = False
        #: Rectangles that the update under way has promised, and the form that it is in.
        self.todo: deque[Rectangle] = deque()
        self.updating = False
        self.update_form = self.form
        self.update_kind = encodings.RAW
        self._later = bytearray()
        #: Where its pointer was seen last, and which buttons and keys it holds.
        self.at: tuple[int, int] | None = None
        self.buttons = 0
        self.keys: set[str] = set()
        #: Keys whose release waits for the machine to run.
        self.late: set[str] = set()
        self.absolute: bool | None = None
        if layer is not None:
            self.layers.append(layer)
        elif self.web:
            if hub.tls is not None:
                self.layers.append(TlsLayer(hub.tls, hub.agrees))
            self.layers.append(WebSocketLayer())

    def start(self, talk: Talk) -> None:
        """Begin to talk: `talk` says how many bytes it needs, and gets them."""
        self._talk = talk
        self._need = next(talk)

    def _ends(self, peer: socket.socket) -> VncBasicInfo:
        try:
            name = peer.getpeername()
        except OSError:
            name = ("", "")
        if peer.family == socket.AF_UNIX:
            return VncBasicInfo("", "", "unix", self.web)
        family = "ipv6" if peer.family == socket.AF_INET6 else "ipv4"
        return VncBasicInfo(str(name[0]), str(name[1]), family, self.web)

    @property
    def client(self) -> VncClientInfo:
        """As events and queries show it."""
        at = self.info
        tls = next((one for one in self.layers if isinstance(one, TlsLayer)), None)
        name = tls.peer if tls is not None and tls.ready else None
        return VncClientInfo(at.host, at.service, at.family, at.websocket, name)

    # --- bytes --------------------------------------------------------------------------------

    @property
    def mask(self) -> int:
        """What its socket is waited for."""
        reads = not self.ending and not (self.joined and self.hub.held)
        return (select.POLLIN if reads and len(self.out) + len(self._later) < 4 * LOW else 0) | (
            select.POLLOUT if self.out else 0
        )

    def send(self, data: bytes, below: int | None = None) -> None:
        """Queue bytes, through the layers (the first `below` of them)."""
        for layer in reversed(self.layers[:below]):
            data = layer.sending(data)
        self.out += data

    def say(self, data: bytes) -> None:
        """Send a message, behind an update that is under way."""
        if self.updating:
            self._later += data
        else:
            self.send(data)

    def updated(self) -> None:
        """The update has been sent."""
        self.updating = False
        if self._later:
            self.send(bytes(self._later))
            self._later.clear()

    def handle(self, mask: int) -> None:
        """The socket is ready; PeerError, OSError, EOFError when the connection is over."""
        if mask & select.POLLOUT:
            self.drain()
        if mask & (select.POLLIN | select.POLLHUP | select.POLLERR) and not self.ending:
            data = self.peer.recv(PIECE)
            if not data:
                raise EOFError
            self.take(data, 0)
            self.drain()

    def drain(self) -> None:
        """Write what the host takes at once."""
        with contextlib.suppress(BlockingIOError):
            while self.out:
                done = self.peer.send(self.out[: 16 * PIECE])
                del self.out[:done]
        if self.ending and not self.out:
            raise EOFError

    def take(self, data: bytes, first: int) -> None:
        """Bytes of the wire, for layer `first` and those above it."""
        for n, layer in enumerate(self.layers[first:], first):
            try:
                data, reply = layer.received(data)
            except PeerError as fault:
                self.send(fault.reply, n)
                raise
            self.send(reply, n)
        self._in += data
        while len(self._in) >= self._need and not self.ending:
            part = bytes(self._in[: self._need])
            del self._in[: self._need]
            self._need = self._talk.send(part)

    def start_tls(self) -> None:
        """All that follows is inside TLS."""
        assert self.hub.tls is not None
        layer = TlsLayer(self.hub.tls, self.hub.agrees)
        early = bytes(self._in)
        self._in.clear()
        self.layers.append(layer)
        if early:
            raise PeerError("TLS: bytes came before it was agreed on")

    def end(self, last: bytes = b"") -> None:
        """Say the last, and go when it has been read."""
        self.send(last)
        self.ending = True
        self.todo.clear()

    # --- updates ------------------------------------------------------------------------------

    @property
    def encoding(self) -> int:
        return next((kind for kind in encodings.CHOICE if kind in self.known), encodings.RAW)

    @property
    def hungry(self) -> bool:
        """Whether it can be sent more of the picture now."""
        return (
            self.joined
            and not self.ending
            and len(self.out) < LOW
            and (bool(self.todo) or (self.looks and not self.stale and bool(self.dirty.any())))
        )

    @property
    def looks(self) -> bool:
        """Whether it waits for what changes."""
        return self.joined and not self.ending and (self.wants or self.continuous)

    def changed(self, marks: Cells | None) -> None:
        """The picture has changed in these cells, or (None) in size."""
        if marks is None:
            self.resized()
        elif marks.shape == self.dirty.shape:
            self.dirty |= marks
        else:  # it cannot follow the size: all of what it sees may have changed
            self.dirty[: marks.shape[0], : marks.shape[1]] |= marks[
                : self.dirty.shape[0], : self.dirty.shape[1]
            ]

    def resized(self) -> None:
        """Everything changes; a viewer that knows how learns the new size with the next update."""
        self.dirty = cells(*self.size, True)

    def mark(self, x: int, y: int, width: int, height: int) -> None:
        """All of a region is owed."""
        rows = slice(y // 16, -(-(y + height) // 16))
        self.dirty[rows, x // 64 : -(-(x + width) // 64)] = True
