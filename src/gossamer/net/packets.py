"""A frame a packet: datagram sockets, and a tap that was opened for us."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from collections import deque
from collections.abc import Mapping

from gossamer.base.errors import HostError
from gossamer.net.backend import MOST_FRAME, MOST_PENDING, MOST_WAITING, Backend

Address = str | tuple[str, int]


class Packets(Backend):
    """What reads and writes one frame at a time on a descriptor."""

    def __init__(self, name: str, kind: str, text: str) -> None:
        super().__init__(name)
        self.kind, self._text = kind, text
        self.fd = -1
        self._out: deque[bytes] = deque()
        self._waiting = 0

    @property
    def info(self) -> str:
        return self._text

    def events(self) -> Mapping[int, int]:
        if self.fd < 0:
            return {}
        return {
            self.fd: (select.POLLIN if self.reads else 0) | (select.POLLOUT if self._out else 0)
        }

    def handle(self, fd: int, mask: int) -> None:
        if mask & select.POLLOUT:
            self.flush()
        if mask & (select.POLLIN | select.POLLERR):
            frames: list[bytes] = []
            with contextlib.suppress(OSError):
                while len(self.pending) + len(frames) < MOST_PENDING:
                    frames.append(self.read())
            self.take(frames)

    def send(self, frame: bytes) -> None:
        if self._waiting + len(frame) > MOST_WAITING or self.fd < 0:
            self.dropped += 1
            return
        self._out.append(frame)
        self._waiting += len(frame)

    def flush(self) -> None:
        while self._out:
            try:
                self.write(self._out[0])
            except BlockingIOError:
                return
            except OSError:  # no reader just now, or too long for it: lost, as on a wire
                self.dropped += 1
            self._waiting -= len(self._out.popleft())

    def read(self) -> bytes:
        return os.read(self.fd, MOST_FRAME)

    def write(self, frame: bytes) -> None:
        os.write(self.fd, frame)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Tap(Packets):
    """A tap or macvtap that the launcher has opened."""

    def __init__(self, name: str, fd: int) -> None:
        super().__init__(name, "tap", f"fd={fd}")
        try:
            os.set_blocking(fd, False)
        except OSError as fault:
            raise HostError(f"-netdev {name}: fd={fd}: {fault.strerror}") from None
        self.fd = fd


class Datagrams(Packets):
    """``dgram``: from `local` to `remote`, each (host, port) or a path; multicast to a group."""

    def __init__(
        self, name: str, local: Address | None, remote: Address | None, fd: int | None = None
    ) -> None:
        super().__init__(name, "dgram", f"{_shown(local)} to {_shown(remote)}")
        self._remote = remote
        self._path = local if isinstance(local, str) else None
        try:
            self._socket = socket.socket(fileno=fd) if fd is not None else _bound(local, remote)
        except OSError as fault:
            why = fault.strerror or fault
            raise HostError(f"-netdev {name}: {_shown(local)}: cannot be had: {why}") from None
        self._socket.setblocking(False)
        self.fd = self._socket.fileno()

    def write(self, frame: bytes) -> None:
        if self._remote is None:
            self._socket.send(frame)
        else:
            self._socket.sendto(frame, self._remote)

    def close(self) -> None:
        self._socket.close()
        self.fd = -1
        if self._path:
            with contextlib.suppress(OSError):
                os.unlink(self._path)  # noqa: PTH108 - a socket's name


def _shown(address: Address | None) -> str:
    if address is None:
        return "a descriptor"
    return address if isinstance(address, str) else f"{address[0]}:{address[1]}"


def _bound(local: Address | None, remote: Address | None) -> socket.socket:
    of = local if local is not None else remote
    if isinstance(of, str):
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if isinstance(local, str):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(local)  # noqa: PTH108 - a socket's name
            made.bind(local)
        return made
    family = socket.AF_INET6 if of is not None and ":" in of[0] else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM)
    if isinstance(remote, tuple) and 224 <= int(remote[0].partition(".")[0] or 0) < 240:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(remote)
        here = socket.inet_aton(local[0]) if isinstance(local, tuple) else bytes(4)
        group = struct.pack("=4s4s", socket.inet_aton(remote[0]), here)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    elif isinstance(local, tuple):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(local)
    return made
