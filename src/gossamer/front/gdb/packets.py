"""Packets of gdb's remote protocol: framing, checksums, escapes, acknowledgements.

Source: Debugging with GDB, appendix E (Overview, Packet Acknowledgment, Binary Data).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

#: Bytes of the longest packet that is taken, ``$`` and ``#`` not counted: gdb's PacketSize.
LONGEST: Final = 0x4000
INTERRUPT: Final = b"\x03"
_ESCAPED: Final = b"$#}*"


def checksum(body: bytes) -> bytes:
    """Two hexadecimal digits: the sum of the bytes modulo 256."""
    return b"%02x" % (sum(body) & 0xFF)


def escape(data: bytes) -> bytes:
    """Binary data as it stands in a packet."""
    out = bytearray()
    for byte in data:
        if byte in _ESCAPED:
            out += bytes((0x7D, byte ^ 0x20))
        else:
            out.append(byte)
    return bytes(out)


def unescape(body: bytes) -> bytes:
    """The inverse of `escape`; an escape at the very end is dropped."""
    out = bytearray()
    escaped = False
    for byte in body:
        if escaped:
            out.append(byte ^ 0x20)
            escaped = False
        elif byte == 0x7D:
            escaped = True
        else:
            out.append(byte)
    return bytes(out)


class Wire:
    """One connection's packets.

    `received` is called with the body of each packet, escapes still in it; `interrupted` when the
    client sends the byte 0x03 between packets.  `send` writes bytes to the client.  What is longer
    than `LONGEST`, or whose checksum is wrong, is refused with ``-`` (or dropped where
    acknowledgements are off); the client then sends it again or gives up.
    """

    def __init__(
        self,
        send: Callable[[bytes], None],
        received: Callable[[bytes], None],
        interrupted: Callable[[], None],
    ) -> None:
        self._send, self._received, self._interrupted = send, received, interrupted
        self.acknowledges = True
        self._body: bytearray | None = None
        self._sum = b""
        self._in_sum = False
        self._last = b""

    def reset(self) -> None:
        """Start anew for another client."""
        self.acknowledges = True
        self._body, self._sum, self._in_sum, self._last = None, b"", False, b""

    def feed(self, data: bytes) -> None:
        """Take what came from the client."""
        for byte in data:
            self._take(byte)

    def _take(self, byte: int) -> None:
        if self._in_sum:
            self._sum += bytes((byte,))
            if len(self._sum) == 2:
                self._finish()
        elif byte == 0x24:  # $: a packet begins, also in the middle of one that was cut short
            self._body = bytearray()
        elif self._body is None:
            self._between(byte)
        elif byte == 0x23:  # #
            self._in_sum, self._sum = True, b""
        elif len(self._body) <= LONGEST:
            self._body.append(byte)

    def _between(self, byte: int) -> None:
        if byte == INTERRUPT[0]:
            self._interrupted()
        elif byte == 0x2D and self.acknowledges and self._last:  # -
            self._send(self._last)

    def _finish(self) -> None:
        assert self._body is not None
        body, self._body, self._in_sum = bytes(self._body), None, False
        good = self._sum.lower() == checksum(body) and len(body) <= LONGEST
        if self.acknowledges:
            self._send(b"+" if good else b"-")
        if good:
            self._received(body)

    def answer(self, body: bytes) -> None:
        """Send a packet; `body` has its escapes."""
        self._last = b"$" + body + b"#" + checksum(body)
        self._send(self._last)
