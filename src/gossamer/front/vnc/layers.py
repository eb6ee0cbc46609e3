"""What lies between a viewer's socket and RFB: TLS, and the frames of a WebSocket.

A layer never blocks and owns no descriptor: bytes go in, bytes come out.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from websockets.exceptions import ProtocolError
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from gossamer.base.errors import ProtocolError as BrokenRule

MOST_MESSAGE: Final = 64 << 10
"""Bytes of one message of a browser."""
_PIECE: Final = 16 << 10


class PeerError(BrokenRule):
    """The other end does not keep to a protocol, or is not let in; `reply`: what it still gets."""

    def __init__(self, text: str, reply: bytes = b"") -> None:
        super().__init__(text)
        self.reply = reply


class ClosedError(PeerError):
    """The other end has closed its connection as its protocol says."""


class Layer(Protocol):
    """One layer; `received` and `sending` also give what it has to answer by itself."""

    def received(self, data: bytes) -> tuple[bytes, bytes]:
        """Bytes of the wire: those inside, and those that go back at once; PeerError."""

    def sending(self, data: bytes) -> bytes:
        """Bytes for the wire."""


class TlsLayer:
    """TLS, as server; what is sent before the handshake is over waits for its end.

    `agrees` says whether the viewer with that name in its certificate (or none) is let in.
    """

    def __init__(self, context: ssl.SSLContext, agrees: Callable[[str | None], bool]) -> None:
        self._agrees = agrees
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self.ready = False
        self._waiting = b""

    @property
    def peer(self) -> str | None:
        """The name in the viewer's certificate, as QEMU writes it."""
        found = self._tls.getpeercert()
        if not found:
            return None
        subject: Any = found["subject"]
        parts = [f"{_SHORT.get(k, k)}={v}" for rdn in subject for k, v in rdn]
        return ",".join(reversed(parts))

    def received(self, data: bytes) -> tuple[bytes, bytes]:
        self._in.write(data)
        plain = bytearray()
        try:
            if not self.ready:
                self._tls.do_handshake()
                self.ready = True
                if not self._agrees(self.peer):
                    raise PeerError(f"the certificate of {self.peer} is not let in")
                if self._waiting:
                    self._tls.write(self._waiting)
                    self._waiting = b""
            while piece := self._tls.read(_PIECE):
                plain += piece
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as fault:
            raise PeerError(f"TLS: {fault.reason or fault}") from None
        return bytes(plain), self._out.read()

    def sending(self, data: bytes) -> bytes:
        if not self.ready:
            self._waiting += data
            return b""
        self._tls.write(data)
        return self._out.read()


_SHORT: Final = {
    "commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU",
    "countryName": "C", "localityName": "L", "stateOrProvinceName": "ST",
}  # fmt: skip


class WebSocketLayer:
    """A WebSocket with binary messages, as noVNC speaks it.

    A page of another host is refused: its Origin must name the host that it connects to.
    `opened`: a protocol whose handshake is over.
    """

    def __init__(self, opened: ServerProtocol | None = None) -> None:
        self._protocol = opened or ServerProtocol(
            subprotocols=[Subprotocol("binary")],
            select_subprotocol=_binary,
            max_size=MOST_MESSAGE,
        )
        self._open = opened is not None
        self._early = b""

    def received(self, data: bytes) -> tuple[bytes, bytes]:
        p = self._protocol
        try:
            p.receive_data(data)
        except (ProtocolError, EOFError) as fault:  # what it has to say is sent all the same
            raise PeerError(f"WebSocket: {fault}") from None
        plain = bytearray()
        for event in p.events_received():
            if isinstance(event, Request):
                self._accept(event)
            elif isinstance(event, Frame) and event.opcode in (Opcode.BINARY, Opcode.CONT):
                plain += event.data
        reply = b"".join(p.data_to_send())
        if self._open and self._early:
            reply += self.sending(self._early)
            self._early = b""
        if p.handshake_exc is not None:
            raise PeerError(f"WebSocket: {p.handshake_exc}", reply)
        if p.close_expected():
            raise ClosedError("WebSocket: closed", reply)
        return bytes(plain), reply

    def _accept(self, request: Request) -> None:
        origin, there = request.headers.get("Origin"), request.headers.get("Host", "")
        if origin is not None and urlsplit(origin).hostname != urlsplit(f"//{there}").hostname:
            self._protocol.send_response(
                self._protocol.reject(403, f"a page of {origin} may not connect to {there}\n")
            )
            raise PeerError(
                f"WebSocket: a page of {origin!r:.80} wants to look",
                b"".join(self._protocol.data_to_send()),
            )
        self._protocol.send_response(self._protocol.accept(request))
        self._open = self._protocol.handshake_exc is None

    def sending(self, data: bytes) -> bytes:
        if not self._open:
            self._early += data
            return b""
        out = bytearray()
        for at in range(0, len(data), MOST_MESSAGE):
            self._protocol.send_binary(data[at : at + MOST_MESSAGE])
            out += b"".join(self._protocol.data_to_send())
        return bytes(out)


def _binary(protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """NoVNC offers ``binary``, or nothing."""
    return Subprotocol("binary") if "binary" in offered else None
