"""-vnc: where viewers reach the screen, and who may.  Source: QEMU 7.2's manual, "-vnc"."""

from __future__ import annotations

from typing import Final

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.machines.config import Vnc, VncPlace, unknown
from gossamer.machines.values import choice, identifier, number, on_off, pairs

FIRST_PORT: Final = 5900
FIRST_WEB_PORT: Final = 5700
LOOPBACK: Final = "127.0.0.1"
"""Where ``:N`` is: who wants to be reached from elsewhere names an address."""
_LAST_PORT: Final = 65535
SHARES: Final = ("allow-exclusive", "force-shared", "ignore")
#: What QEMU has, and why it is not here.
_REFUSED: Final = {
    "reverse": "viewers connect to the machine, it connects to none",
    "sasl": "there is no SASL; password=on or tls-creds= with verify-peer",
    "sasl-authz": "there is no SASL",
    "acl": "tls-creds-x509 with verify-peer says who may",
}
#: Switches that change nothing here: every picture is exact, and keys are queued by the guest's.
_IDLE: Final = ("lossy", "non-adaptive", "lock-key-sync")
_KNOWN: Final = (
    "vnc", "id", "to", "websocket", "password", "password-secret", "tls-creds", "tls-authz",
    "share", "connections", "view-only", "power-control", "ipv4", "ipv6", "display", "head",
    "audiodev", "key-delay-ms", *_IDLE,
)  # fmt: skip


class _Given(Data):
    values: dict[str, str]

    def switch(self, key: str) -> bool:
        return on_off(f"-vnc: {key}", self.values.get(key, "off"))

    def number(self, key: str, default: int, most: int) -> int:
        text = self.values.get(key)
        return default if text is None else number(f"-vnc: {key}", text, 0, most)


def parse_vnc(text: str, taken: int = 0) -> Vnc | None:
    """The value of -vnc; None for ``none``.  `taken`: servers that there are already."""
    values = pairs("-vnc", text, first="vnc")
    given = _Given(values)
    for key in values:
        if key in _REFUSED:
            raise ConfigError(f"-vnc: {key}: {_REFUSED[key]}")
        if key not in _KNOWN:
            raise unknown("part of -vnc", key, _KNOWN)
    address = values.get("vnc", "")
    if address == "none":
        return None
    for key in _IDLE:
        given.switch(key)
    given.number("key-delay-ms", 1, 10_000)
    if given.number("display", 0, 0) or given.number("head", 0, 0):
        raise ConfigError("-vnc: there is one display with one head")
    for one, other in (("ipv4", "ipv6"), ("ipv6", "ipv4")):
        if values.get(one) == "off" and values.get(other) == "off":
            raise ConfigError("-vnc: ipv4=off,ipv6=off leaves no way to connect")
    if values.get("tls-authz") and not values.get("tls-creds"):
        raise ConfigError("-vnc: tls-authz: needs tls-creds=")
    place, display = _place(address, given.number("to", 0, _LAST_PORT - FIRST_PORT))
    default = f"vnc{taken + 1}" if taken else "default"
    name = identifier("-vnc: id", values["id"]) if "id" in values else default
    return Vnc(
        id=name,
        place=place,
        web=_web(values.get("websocket"), place, display),
        password=given.switch("password"),
        secret=values.get("password-secret", ""),
        tls=values.get("tls-creds", ""),
        authz=values.get("tls-authz", ""),
        share=choice("-vnc: share", values.get("share", SHARES[0]), SHARES),
        connections=given.number("connections", 32, 1 << 16) or 32,
        view_only=given.switch("view-only"),
        power=given.switch("power-control"),
    )


def _place(address: str, to: int) -> tuple[VncPlace, int]:
    """Where to listen, and the number of the display (-1 on a Unix socket)."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        if not path or len(path.encode()) > 107:
            raise ConfigError("-vnc: a socket's path has 1 to 107 bytes")
        return VncPlace(path=path), -1
    host, colon, display = address.rpartition(":")
    if not colon:
        raise ConfigError(f"-vnc: expected HOST:DISPLAY, unix:PATH or none, got {address!r}")
    n = number("-vnc: the display", display, 0, _LAST_PORT - FIRST_PORT)
    last = max(n, to)
    return VncPlace(_host(host), FIRST_PORT + n, FIRST_PORT + last), n


def _host(text: str) -> str:
    return text.strip("[]") or LOOPBACK


def _web(text: str | None, place: VncPlace, display: int) -> VncPlace | None:
    """Where browsers connect: websocket=on, a port, or HOST:PORT."""
    if text is None or text == "off":
        return None
    if text == "on":
        if display < 0:
            raise ConfigError("-vnc: websocket: beside unix: give it a port")
        return VncPlace(place.host, FIRST_WEB_PORT + display, FIRST_WEB_PORT + display)
    host, _, port = text.rpartition(":")
    n = number("-vnc: websocket", port, 0, _LAST_PORT)
    return VncPlace(_host(host) if host else place.host or LOOPBACK, n, n)
