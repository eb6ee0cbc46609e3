"""One connection of a browser: a request, and then an answer or a WebSocket.

Nothing here blocks.  What a peer can make wait is bounded: a request by the websockets library, a
message by `MOST_MESSAGE`, output by `MOST_WAITING` (a WebSocket's peer that lets more wait is
dropped; of a file only the next piece is in memory).
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable, Iterator
from typing import Final

from websockets.exceptions import ProtocolError
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from gossamer.base.errors import ProtocolError as BrokenRule
from gossamer.front.web.pages import Answer, refusal

PIECE: Final = 64 << 10
MOST_MESSAGE: Final = 1 << 20
MOST_WAITING: Final = 16 << 20
LOW: Final = 256 << 10
"""Bytes that wait below which more is read, and more of a file is sent."""


class PeerError(BrokenRule):
    """The peer does not keep to the protocol, or is not let in."""


class Endpoint:
    """What a WebSocket leads to."""

    def message(self, data: bytes) -> None:
        """A message has come; PeerError for one that is not understood."""

    def room(self) -> bool:
        """Whether another message can be taken now."""
        return True

    def closed(self) -> None:
        """The connection has ended."""


class Connection:
    """A socket; `route` is called with the request, and answers it."""

    def __init__(self, peer: socket.socket, route: Callable[[Connection, Request], None]) -> None:
        peer.setblocking(False)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peer, self.fd = peer, peer.fileno()
        self.route = route
        self.protocol = ServerProtocol(max_size=MOST_MESSAGE)
        self.out = bytearray()
        self.body: Iterator[bytes] | None = None
        self.endpoint: Endpoint | None = None
        self.asked = self.ending = self.given_away = False
        self._message = bytearray()

    @property
    def where(self) -> str:
        with contextlib.suppress(OSError):
            name = self.peer.getpeername()
            return f"{name[0]}:{name[1]}"
        return "a browser"

    # --- the loop -----------------------------------------------------------------------------

    @property
    def mask(self) -> int:
        """What its socket is waited for."""
        reads = not self.ending and len(self.out) < LOW
        if reads and self.endpoint is not None:
            reads = self.endpoint.room()
        writes = bool(self.out) or self.body is not None
        return (select.POLLIN if reads else 0) | (select.POLLOUT if writes else 0)

    def handle(self, mask: int) -> None:
        """The socket is ready; PeerError, OSError, EOFError when the connection is over."""
        if mask & select.POLLOUT:
            self.drain()
        if mask & (select.POLLIN | select.POLLHUP | select.POLLERR):
            data = self.peer.recv(PIECE)
            if not data:
                raise EOFError
            if not self.ending:
                self._take(data)
        if not self.given_away:
            self.drain()

    def drain(self) -> None:
        """Write what the host takes at once."""
        with contextlib.suppress(BlockingIOError):
            while self._filled():
                done = self.peer.send(self.out[:LOW])
                del self.out[:done]
        if self.ending and not self.out and self.body is None:
            raise EOFError

    def _filled(self) -> bool:
        """Whether there is something to write; the next piece of a file is fetched."""
        if not self.out and self.body is not None:
            piece = next(self.body, None)
            if piece is None:
                self.body = None
            else:
                self.out += piece
        return bool(self.out)

    # --- the protocol -------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        p = self.protocol
        try:
            p.receive_data(data)
        except (ProtocolError, EOFError) as fault:
            raise PeerError(f"WebSocket: {fault}") from None
        for event in p.events_received():
            if isinstance(event, Request):
                self.asked = True
                self.route(self, event)
                if self.given_away:
                    return
            elif isinstance(event, Frame):
                self._frame(event)
        said = b"".join(p.data_to_send())
        self.out += said
        if not self.asked and p.handshake_exc is not None:
            self.ending = True
            if not said:  # the library has not refused it by itself
                self.answer(refusal(400, f"no request that is served here: {p.handshake_exc}"))
        elif self.endpoint is not None and p.close_expected():
            self.ending = True

    def _frame(self, frame: Frame) -> None:
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        self._message += frame.data
        if frame.fin:
            data = bytes(self._message)
            self._message.clear()
            if self.endpoint is not None and not self.ending:
                self.endpoint.message(data)

    def accept(self, request: Request, endpoint: Endpoint | None) -> bool:
        """Make it a WebSocket that leads to `endpoint`; whether it is one now."""
        p = self.protocol
        p.send_response(p.accept(request))
        self.out += b"".join(p.data_to_send())
        if p.handshake_exc is not None:
            self.ending = True
            return False
        self.endpoint = endpoint
        return True

    def answer(self, answer: Answer) -> None:
        """Send an answer, and end."""
        self.out += answer.serialize()
        self.ending = True

    def stream(self, head: bytes, body: Iterator[bytes]) -> None:
        """Send an answer piece by piece, and end."""
        self.out += head
        self.body = body
        self.ending = True

    # --- messages -----------------------------------------------------------------------------

    def send(self, data: bytes, *, text: bool = False) -> None:
        """Send a message; one for a peer that has closed is dropped."""
        if self.ending or self.protocol.state is not OPEN:
            return
        if text:
            self.protocol.send_text(data)
        else:
            self.protocol.send_binary(data)
        self.out += b"".join(self.protocol.data_to_send())

    @property
    def overfull(self) -> bool:
        return self.endpoint is not None and len(self.out) > MOST_WAITING

    def finish(self, code: int = 1000, reason: str = "") -> None:
        """Close a WebSocket, with a reason of at most 123 bytes."""
        if not self.ending and self.endpoint is not None:
            if self.protocol.state is OPEN:
                self.protocol.send_close(code, reason.encode()[:120].decode(errors="ignore"))
                self.out += b"".join(self.protocol.data_to_send())
            self.ending = True

    def close(self) -> None:
        """End it at once."""
        endpoint, self.endpoint = self.endpoint, None
        body, self.body = self.body, None
        close = getattr(body, "close", None)
        if close is not None:
            close()
        self.peer.close()
        if endpoint is not None:
            endpoint.closed()
