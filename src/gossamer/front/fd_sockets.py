"""Sockets that were inherited: ``-chardev socket,fd=N``, connected or listening."""

from __future__ import annotations

import socket

from gossamer.base.errors import ConfigError, HostError
from gossamer.front.sockets import SocketChardev, SocketServer


class InheritedServer(SocketServer):
    """Listens at a socket that was made by the parent."""

    def __init__(self, label: str, fd: int, *, wait: bool) -> None:
        SocketChardev.__init__(self, label)
        self._wait, self._path = wait, None
        self.listener = _inherited(label, fd)
        self.listener.setblocking(False)


class InheritedClient(SocketChardev):
    """Talks to a peer that the parent connected to."""

    def __init__(self, label: str, fd: int) -> None:
        super().__init__(label)
        self.adopt(_inherited(label, fd))


def open_fd(label: str, place: str, options: dict[str, str]) -> SocketChardev:
    """``fd:N`` with the options server and wait."""
    if not (place.isascii() and place.isdigit() and len(place) < 8):
        raise ConfigError(f"{label}: expected fd:NUMBER")
    for key, value in options.items():
        if key not in ("server", "wait") or value not in ("on", "off"):
            raise ConfigError(f"{label}: {key}={value}: there is server=on|off and wait=on|off")
    if options.get("server") == "on":
        return InheritedServer(label, int(place), wait=options.get("wait", "on") == "on")
    return InheritedClient(label, int(place))


def _inherited(label: str, fd: int) -> socket.socket:
    try:
        return socket.socket(fileno=fd)
    except OSError as fault:
        raise HostError(f"{label}: descriptor {fd}: {fault.strerror}") from None
