"""Sockets as character devices: TCP and Unix, as client or server of one client at a time."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import sys
from typing import Final

from gossamer.base.errors import ConfigError, HostError
from gossamer.core.host import listen_private
from gossamer.front.chardev import FdChardev

Address = str | tuple[str, int]
LOOPBACK: Final = "127.0.0.1"
"""Where ``tcp::PORT`` is: who wants to be reached from elsewhere names an address."""
MOST_FDS: Final = 16
"""Descriptors passed by a client that wait for a command."""


class SocketChardev(FdChardev):
    """What server and client share: one connection, or none."""

    def __init__(self, label: str) -> None:
        super().__init__(label, -1, -1)
        self.peer: socket.socket | None = None

    def adopt(self, peer: socket.socket) -> None:
        """Talk to `peer` from now on."""
        peer.setblocking(False)
        if peer.family != socket.AF_UNIX:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peer = peer
        self.read_fd = self.write_fd = peer.fileno()
        self.opened()

    def input_ended(self) -> None:
        # A peer that sends a command and shuts that direction still wants the answer.
        self.flush()
        self.drop()

    def output_failed(self, fault: OSError) -> None:
        del fault
        self.drop()

    def drop(self) -> None:
        """End the connection; output for it is lost."""
        peer, self.peer = self.peer, None
        self.read_fd = self.write_fd = -1
        self.out.clear()
        while self.passed_fds:
            os.close(self.passed_fds.popleft())
        if peer is not None:
            peer.close()
            self.closed()

    def hang_up(self) -> None:
        self.flush()
        self.drop()

    def read_some(self, room: int) -> bytes:
        """Bytes, and the descriptors that came with them (SCM_RIGHTS)."""
        if self.peer is None or self.peer.family != socket.AF_UNIX:
            return super().read_some(room)
        data, fds, _, _ = socket.recv_fds(self.peer, room, MOST_FDS)
        self.passed_fds.extend(fds)
        while len(self.passed_fds) > MOST_FDS:
            os.close(self.passed_fds.popleft())
        return data

    def give_up(self) -> None:
        """Drop a client that does not read, with a word."""
        text = f"gossamer: {self.label}: the client does not read {len(self.out)} bytes: dropped"
        print(text, file=sys.stderr, flush=True)
        self.drop()

    def overflowed(self) -> None:
        self.give_up()

    def close(self) -> None:
        self.flush()
        self.drop()


class SocketServer(SocketChardev):
    """Listens at `address`; with `wait` the machine starts when the first client is there."""

    def __init__(self, label: str, address: Address, *, wait: bool) -> None:
        super().__init__(label)
        self._wait = wait
        self._path = address if isinstance(address, str) else None
        try:
            if isinstance(address, str):
                remove_stale(address)
            self.listener = _listen(address)
        except OSError as fault:
            raise HostError(f"{label}: cannot listen: {fault.strerror or fault}") from None
        self.listener.setblocking(False)

    @property
    def waiting(self) -> bool:
        return self._wait and self.peer is None

    @property
    def port(self) -> int:
        """The TCP port; what the host chose when 0 was asked for."""
        return int(self.listener.getsockname()[1])

    def adopt(self, peer: socket.socket) -> None:
        self._wait = False
        super().adopt(peer)

    def events(self) -> dict[int, int]:
        if self.listener.fileno() < 0 or (self.peer is not None and not self.full):
            return super().events()
        return {**super().events(), self.listener.fileno(): select.POLLIN}

    def handle(self, fd: int, mask: int) -> None:
        if fd != self.listener.fileno():
            super().handle(fd, mask)
            return
        if self.peer is not None and self.full:
            # A peer that does not read gives way to the next.
            self.give_up()
        if self.peer is None:
            with contextlib.suppress(OSError):
                self.adopt(self.listener.accept()[0])

    def close(self) -> None:
        super().close()
        if self.listener.fileno() < 0:
            return
        self.listener.close()
        if self._path is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)  # noqa: PTH108 - a socket's name


class SocketClient(SocketChardev):
    """Connects to `address` at once; a connection that ends is not made again."""

    def __init__(self, label: str, address: Address) -> None:
        super().__init__(label)
        try:
            if isinstance(address, str):
                peer = _connect_unix(address)
            else:
                peer = socket.create_connection(address, timeout=10)
        except OSError as fault:
            raise HostError(f"{label}: cannot connect: {fault.strerror or fault}") from None
        self.adopt(peer)


def open_socket(label: str, kind: str, place: str, options: dict[str, str]) -> SocketChardev:
    """``unix:PATH`` or ``tcp:HOST:PORT`` with the options server and wait."""
    address = _address(label, kind, place)
    server, wait = False, True
    for key, value in options.items():
        if key in ("server", "wait", "nodelay") and value in ("on", "off"):
            server = value == "on" if key == "server" else server
            wait = value == "on" if key == "wait" else wait
        elif key == "nowait":
            wait = False
        else:
            raise ConfigError(f"{label}: {key}={value}: there is server=on|off and wait=on|off")
    return SocketServer(label, address, wait=wait) if server else SocketClient(label, address)


def _address(label: str, kind: str, place: str) -> Address:
    if kind == "unix":
        if not place or len(os.fsencode(place)) > 107:
            raise ConfigError(f"{label}: a socket's path has 1 to 107 bytes")
        return place
    host, colon, port = place.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit() and int(port[:6]) < 65536):
        raise ConfigError(f"{label}: expected tcp:HOST:PORT")
    return (host.strip("[]") or LOOPBACK, int(port))


def _connect_unix(path: str) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    try:
        peer.connect(path)
    except OSError:
        peer.close()
        raise
    return peer


def _listen(address: Address) -> socket.socket:
    if isinstance(address, str):
        listener = socket.socket(socket.AF_UNIX)
        try:
            listen_private(listener, address, 1)
        except OSError:
            listener.close()
            raise
        return listener
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=1)


def first_free(option: str, host: str, ports: range, *, backlog: int) -> socket.socket:
    """A listener at the first of `ports` that is free; HostError, in the name of `option`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    why = ""
    for port in ports:
        try:
            return socket.create_server((host, port), family=family, backlog=backlog)
        except (OSError, OverflowError) as fault:
            why = getattr(fault, "strerror", None) or str(fault)
    raise HostError(f"{option}: {host}:{ports.start}: cannot listen: {why}")


def remove_stale(path: str) -> None:
    """Remove a socket without a listener; anything else there is left alone."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)  # noqa: PTH108 - a socket's name
