"""``guestfwd=``: connections of the guest to an address of its network, led to a socket here.

As in QEMU one connection of the host's serves a rule as long as the emulator lives; where the peer
has ended it, the next bytes of the guest begin another.  For the process that runs libslirp.
"""

from __future__ import annotations

import contextlib
import select
import socket
from typing import Any, Final

MOST_WAITING: Final = 4 << 20
"""Bytes that wait for a peer that does not read; then the connection is given up."""
_PIECE: Final = 64 << 10
_CONNECT_S: Final = 5.0
_AGAIN_S: Final = 0.5


class GuestForward:
    """One rule's end at the host.  OSError when its peer cannot be reached at the start."""

    def __init__(self, rule: dict[str, Any]) -> None:
        self.rule = rule
        self.guest, self.port = str(rule["guest"]), int(rule["port"])
        self._out = bytearray()
        self.peer: socket.socket | None = self._connected(_CONNECT_S)

    def _connected(self, seconds: float) -> socket.socket:
        to = self.rule["to"]
        family = socket.AF_UNIX if isinstance(to, str) else socket.AF_INET
        peer = socket.socket(family)
        try:
            peer.settimeout(seconds)
            peer.connect(to if isinstance(to, str) else (to[0], to[1]))
        except OSError as fault:
            peer.close()
            text = f"guestfwd: {to if isinstance(to, str) else f'{to[0]}:{to[1]}'}: cannot connect"
            raise OSError(fault.errno or 0, f"{text}: {fault.strerror or fault}") from None
        peer.setblocking(False)
        return peer

    def write(self, data: bytes) -> None:
        """Bytes of the guest's."""
        if self.peer is None:
            with contextlib.suppress(OSError):
                self.peer = self._connected(_AGAIN_S)
        if self.peer is None:
            return
        self._out += data
        self.flush()
        if len(self._out) > MOST_WAITING:
            self.end()

    def flush(self) -> None:
        try:
            while self._out and self.peer is not None:
                del self._out[: self.peer.send(self._out[:_PIECE])]
        except BlockingIOError:
            return
        except OSError:
            self.end()

    def read(self, room: int) -> bytes:
        """Bytes for the guest, as far as there are `room` bytes; empty: none now."""
        if self.peer is None:
            return b""
        try:
            data = self.peer.recv(min(room, _PIECE))
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self.end()
        return data

    def mask(self, room: int) -> int:
        """What to poll for; `room`: how much the guest would take."""
        return (select.POLLIN if room else 0) | (select.POLLOUT if self._out else 0)

    def end(self) -> None:
        if self.peer is not None:
            self.peer.close()
        self.peer = None
        self._out.clear()
