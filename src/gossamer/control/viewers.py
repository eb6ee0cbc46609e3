"""Who looks at the screen by VNC, and who may: data of the servers, and their passwords.

The servers themselves are the front's; commands act on what a `Session` knows of them.
"""

from __future__ import annotations

from typing import Annotated, Final, Protocol

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.control.shapes import Name
from gossamer.core import host

LONGEST_PASSWORD: Final = 8
"""Characters of a VNC password that count."""


class VncBasicInfo(Data):
    """One end of a connection."""

    host: str
    service: str
    family: str
    websocket: bool


class VncServerInfo(Data):
    """The server's end; `auth` as in query-vnc."""

    host: str
    service: str
    family: str
    websocket: bool
    auth: str | None = None


class VncClientInfo(Data):
    """A viewer's end; `x509_dname` the name in its certificate."""

    host: str
    service: str
    family: str
    websocket: bool
    x509_dname: Annotated[str | None, Name("x509_dname")] = None


class VncListener(Data):
    """A place where viewers can connect; `vencrypt` what is inside TLS."""

    host: str
    service: str
    family: str
    websocket: bool
    auth: str
    vencrypt: str | None = None


class Access(Data, frozen=False):
    """The password of a server.  `needed` False: viewers are let in without any."""

    needed: bool = False
    password: str | None = None
    #: Seconds since 1970 (UTC) from which on it is none any more.
    expires: int | None = None

    @property
    def now(self) -> str | None:
        """The password that lets a viewer in now; None: none does."""
        if self.expires is not None and host.utc_ns() >= self.expires * 1_000_000_000:
            return None
        return self.password

    def change(self, password: str) -> None:
        """Let in who gives `password`; an empty one locks the server."""
        if not self.needed:
            raise ConfigError("If you want use passwords please enable password auth using "
                              "'-vnc ${dpy},password=on'.")  # fmt: skip
        self.password = password or None


class VncServer(Protocol):
    """A server as commands see it."""

    @property
    def id(self) -> str:
        """What -vnc's id= calls it."""

    @property
    def access(self) -> Access:
        """Who may."""

    @property
    def auth(self) -> str:
        """``none``, ``vnc`` or ``vencrypt``."""

    @property
    def vencrypt(self) -> str | None:
        """What is inside TLS, ``x509-none`` or ``x509-vnc``; None without TLS."""

    def listeners(self) -> tuple[VncListener, ...]:
        """Where it listens."""

    def clients(self) -> tuple[VncClientInfo, ...]:
        """The viewers that look."""

    def drop_clients(self) -> None:
        """End all of them."""


def find(servers: list[VncServer], name: str | None) -> VncServer:
    """The server with that id, or the first; ConfigError where there is none."""
    if not servers:
        raise ConfigError("VNC is not active: -vnc makes a server")
    if name is None:
        return servers[0]
    for server in servers:
        if server.id == name:
            return server
    known = ", ".join(server.id for server in servers)
    raise ConfigError(f"VNC display '{name}' not found (there is: {known})")
