"""Commands about VNC: who looks, and the password.  Source: QEMU 7.2's QAPI schema, ui.json."""

from __future__ import annotations

from enum import StrEnum

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.control.commands.table import command
from gossamer.control.session import Session
from gossamer.control.viewers import VncClientInfo, VncListener, find
from gossamer.core import host

_LATEST = 1 << 40
"""Seconds since 1970 that no password outlives."""


class VncInfo(Data):
    """The first VNC server."""

    enabled: bool
    host: str | None = None
    service: str | None = None
    family: str | None = None
    auth: str | None = None
    clients: tuple[VncClientInfo, ...] | None = None


@command("query-vnc", held=True)
def query_vnc(session: Session) -> VncInfo:
    """The VNC server, and who looks."""
    if not session.vnc_servers:
        return VncInfo(enabled=False)
    server = session.vnc_servers[0]
    place = server.listeners()[0]
    return VncInfo(True, place.host, place.service, place.family, server.auth, server.clients())


class VncServersInfo(Data):
    """A VNC server."""

    id: str
    server: tuple[VncListener, ...]
    clients: tuple[VncClientInfo, ...]
    auth: str
    vencrypt: str | None = None


@command("query-vnc-servers", held=True)
def query_vnc_servers(session: Session) -> tuple[VncServersInfo, ...]:
    """All VNC servers, and who looks."""
    return tuple(
        VncServersInfo(one.id, one.listeners(), one.clients(), one.auth, one.vencrypt)
        for one in session.vnc_servers
    )


class PasswordAction(StrEnum):
    """What becomes of the viewers that are there."""

    KEEP = "keep"
    FAIL = "fail"
    DISCONNECT = "disconnect"


@command("set_password", held=True)
def set_password(
    session: Session,
    protocol: str,
    password: str,
    connected: PasswordAction = PasswordAction.KEEP,
    display: str | None = None,
) -> None:
    """Set the password of a VNC server."""
    _check_protocol(protocol)
    if connected is not PasswordAction.KEEP:
        raise ConfigError(f"parameter 'connected': VNC takes keep alone, got {connected}")
    find(session.vnc_servers, display).access.change(password)


@command("expire_password", held=True)
def expire_password(session: Session, protocol: str, time: str, display: str | None = None) -> None:
    """Say when the password ends: now, never, +SECONDS, or seconds since 1970."""
    _check_protocol(protocol)
    access = find(session.vnc_servers, display).access
    if time == "never":
        access.expires = None
        return
    digits = time.removeprefix("+")
    if time == "now":
        digits = "0"
        time = "+0"
    if not (digits.isascii() and digits.isdigit() and int(digits[:20]) < _LATEST):
        raise ConfigError(f"parameter 'time': expected now, never, +SECONDS or seconds, got {time}")
    now = host.utc_ns() // 1_000_000_000 if time.startswith("+") else 0
    access.expires = now + int(digits)


@command("change-vnc-password", held=True)
def change_vnc_password(session: Session, password: str) -> None:
    """Set the password of the first VNC server."""
    find(session.vnc_servers, None).access.change(password)


def _check_protocol(protocol: str) -> None:
    if protocol != "vnc":
        raise ConfigError(f"Parameter 'protocol' does not accept value '{protocol}': there is vnc")
