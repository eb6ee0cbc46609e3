"""Frames over a stream socket, each behind its length: QEMU's ``stream`` and ``socket``.

As QEMU 7.2 has it on the wire: four bytes of length, big-endian, then the frame.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Mapping
from typing import Final

from gossamer.base.errors import HostError
from gossamer.core import host
from gossamer.net.backend import ENDED, MOST_FRAME, MOST_PENDING, MOST_WAITING, Backend

_HEAD: Final = 4
_PIECE: Final = 64 << 10
_CONNECT_S: Final = 10.0
Address = str | tuple[str, int]


class Stream(Backend):
    """One peer at a time.  A client connects at once, and (with `retry_ns`) again when it ends."""

    kind = "stream"

    def __init__(
        self,
        name: str,
        address: Address,
        *,
        server: bool,
        retry_ns: int = 0,
        fd: int | None = None,
        kind: str = "stream",
    ) -> None:
        super().__init__(name)
        self.kind, self.address, self.server, self.retry_ns = kind, address, server, retry_ns
        self.listener: socket.socket | None = None
        self.peer: socket.socket | None = None
        self._out, self._in = bytearray(), bytearray()
        self._next_try = 0
        if fd is not None:
            self._adopt(_of_fd(name, fd))
        elif server:
            self.listener = _listen(name, address)
        else:
            self._connect(first=True)

    @property
    def place(self) -> str:
        """Where the other end is."""
        if isinstance(self.address, str):
            return self.address and f"unix:{self.address}"
        return f"tcp:{self.address[0]}:{self.address[1]}"

    @property
    def port(self) -> int:
        """The port that the host chose, of a server."""
        assert self.listener is not None
        return int(self.listener.getsockname()[1])

    @property
    def info(self) -> str:
        if self.peer is not None:
            return f"connected to {self.place or 'a descriptor'}"
        return f"listening on {self.place}" if self.server else f"not connected to {self.place}"

    def _connect(self, *, first: bool = False) -> None:
        self._next_try = host.monotonic_ns() + self.retry_ns
        family = _family(self.address)
        peer = socket.socket(family)
        peer.settimeout(_CONNECT_S if first and not self.retry_ns else 0.2)
        try:
            peer.connect(self.address)
        except OSError as fault:
            peer.close()
            if first and not self.retry_ns:
                why = fault.strerror or fault
                raise HostError(
                    f"-netdev {self.name}: {self.place}: cannot connect: {why}"
                ) from None
            return
        self._adopt(peer)

    def _adopt(self, peer: socket.socket) -> None:
        peer.setblocking(False)
        if peer.family != socket.AF_UNIX:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peer = peer
        self._out.clear()
        self._in.clear()
        self.changed(self.place)

    def events(self) -> Mapping[int, int]:
        wanted: dict[int, int] = {}
        if self.peer is None:
            if self.listener is not None:
                wanted[self.listener.fileno()] = select.POLLIN
        else:
            mask = (select.POLLIN if self.reads else 0) | (select.POLLOUT if self._out else 0)
            wanted[self.peer.fileno()] = mask
        return wanted

    def handle(self, fd: int, mask: int) -> None:
        if self.peer is not None and fd == self.peer.fileno():
            if mask & select.POLLOUT:
                self.flush()
            if self.peer is not None and mask & (select.POLLIN | ENDED) and self.reads:
                self._read()
        elif self.peer is None and self.listener is not None and fd == self.listener.fileno():
            with contextlib.suppress(OSError):
                self._adopt(self.listener.accept()[0])

    def retry(self) -> None:
        super().retry()
        if self.peer is None and self.retry_ns and host.monotonic_ns() >= self._next_try:
            self._connect()
        if self._in and self.reads:
            self._frames()

    def _read(self) -> None:
        assert self.peer is not None
        try:
            data = self.peer.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop()
            return
        self._in += data
        self._frames()

    def _frames(self) -> None:
        """Deliver what has come whole, some frames at a time."""
        data, at, end, broken = bytes(self._in), 0, len(self._in), False
        while self.reads and not broken:
            frames: list[bytes] = []
            while len(self.pending) + len(frames) < MOST_PENDING and end - at >= _HEAD:
                first = at + _HEAD
                last = first + int.from_bytes(data[at:first], "big")
                broken = last - first > MOST_FRAME
                if broken or last > end:
                    break
                frames.append(data[first:last])
                at = last
            if not frames:
                break
            self.take(frames)
        del self._in[:at]
        if broken:
            self._drop()

    def send(self, frame: bytes) -> None:
        if self.peer is None or len(self._out) + len(frame) > MOST_WAITING:
            self.dropped += 1
            return
        self._out += len(frame).to_bytes(_HEAD, "big") + frame

    def flush(self) -> None:
        try:
            while self._out and self.peer is not None:
                del self._out[: self.peer.send(self._out[:_PIECE])]
        except BlockingIOError:
            pass
        except OSError:
            self._drop()

    def _drop(self) -> None:
        """The peer has gone; what was on its way is lost."""
        if self.peer is not None:
            self.peer.close()
            self.peer = None
            self._out.clear()
            self._in.clear()
            self.changed(None)

    def close(self) -> None:
        if self.peer is not None:
            self.flush()
            self._drop()
        if self.listener is not None:
            self.listener.close()
            if isinstance(self.address, str):
                with contextlib.suppress(OSError):
                    os.unlink(self.address)  # noqa: PTH108 - a socket's name
            self.listener = None


def _family(address: Address) -> socket.AddressFamily:
    if isinstance(address, str):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def _of_fd(name: str, fd: int) -> socket.socket:
    try:
        return socket.socket(fileno=fd)
    except OSError as fault:
        raise HostError(f"-netdev {name}: fd={fd}: no socket: {fault.strerror}") from None


def _listen(name: str, address: Address) -> socket.socket:
    try:
        listener = _listening(address)
    except OSError as fault:
        why = fault.strerror or fault
        raise HostError(f"-netdev {name}: {address}: cannot listen: {why}") from None
    listener.setblocking(False)
    return listener


def _listening(address: Address) -> socket.socket:
    if not isinstance(address, str):
        return socket.create_server(address, family=_family(address), backlog=1)
    with contextlib.suppress(FileNotFoundError):
        _remove_stale(address)
    listener = socket.socket(socket.AF_UNIX)
    try:
        host.listen_private(listener, address, 1)
    except OSError:
        listener.close()
        raise
    return listener


def _remove_stale(path: str) -> None:
    """Remove a socket without a listener."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)  # noqa: PTH108 - a socket's name
