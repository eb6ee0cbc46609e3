"""How a viewer is let in: version, security, the first messages.  Source: RFC 6143, 7.1 to 7.3."""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator
from typing import Final

from gossamer.core import host
from gossamer.front.vnc.layers import PeerError
from gossamer.front.vnc.viewer import Viewer

VERSION: Final = b"RFB 003.008\n"
NONE, VNC_AUTH, VENCRYPT = 1, 2, 19
X509_NONE, X509_VNC = 260, 261
_MINORS: Final = {3: 3, 4: 3, 5: 3, 7: 7, 8: 8}
Part = Generator[int, bytes, None]
Join = Callable[[Viewer, bool], None]


def admitted(viewer: Viewer, join: Join) -> Part:
    """From the first byte to ServerInit; PeerError for who is not let in."""
    viewer.send(VERSION)
    text = yield len(VERSION)
    minor = _minor(text)
    if minor >= 7:
        kind = _security(viewer)
        viewer.send(bytes((1, kind)))
        chosen = (yield 1)[0]
        if chosen != kind:
            raise refused(viewer, minor, f"security type {chosen} was not offered")
    else:
        kind = _security(viewer, plain=True)
        viewer.send(struct.pack(">I", kind))
        if not kind:
            raise refused(viewer, minor, "this server wants TLS, which RFB 3.3 has not", bare=True)
    if kind == VENCRYPT:
        kind = yield from _vencrypt(viewer)
    if kind == VNC_AUTH:
        yield from _password(viewer, minor)
    elif minor >= 8:
        viewer.send(bytes(4))
    shared = (yield 1)[0] != 0
    join(viewer, shared)
    width, height = viewer.size = viewer.hub.picture.size
    name = f"QEMU ({viewer.hub.vm.name})".encode("utf-8", "replace")[:256]
    viewer.resized()
    head = struct.pack(">HH", width, height) + viewer.form.data()
    viewer.send(head + struct.pack(">I", len(name)) + name)


def _minor(text: bytes) -> int:
    digits = text[8:11]
    if text[:8] != VERSION[:8] or text[11:] != b"\n" or not digits.isdigit():
        raise PeerError(f"no RFB 3: {text!r}")
    minor = _MINORS.get(int(digits))
    if minor is None:
        raise PeerError(f"RFB 3.{int(digits)}: expected 3.3, 3.7 or 3.8")
    return minor


def _security(viewer: Viewer, *, plain: bool = False) -> int:
    hub = viewer.hub
    if hub.tls is not None and not viewer.web:
        return 0 if plain else VENCRYPT
    return VNC_AUTH if hub.access.needed else NONE


def refused(viewer: Viewer, minor: int, why: str, *, bare: bool = False) -> PeerError:
    """The error for a viewer that is not let in; it gets the reason where its version can."""
    reason = struct.pack(">I", len(why)) + why.encode()
    if bare:
        viewer.send(reason)
    else:
        viewer.send(struct.pack(">I", 1) + (reason if minor >= 8 else b""))
    return PeerError(why)


def _vencrypt(viewer: Viewer) -> Generator[int, bytes, int]:
    """VeNCrypt 0.2 with certificates; the security inside."""
    hub = viewer.hub
    viewer.send(bytes((0, 2)))
    version = yield 2
    if version != bytes((0, 2)):
        viewer.send(b"\1")
        raise PeerError(f"VeNCrypt {version[0]}.{version[1]}: expected 0.2")
    inside = X509_VNC if hub.access.needed else X509_NONE
    viewer.send(bytes((0, 1)) + struct.pack(">I", inside))
    chosen = struct.unpack(">I", (yield 4))[0]
    if chosen != inside:
        viewer.send(b"\0")
        raise PeerError(f"VeNCrypt type {chosen} was not offered")
    viewer.send(b"\1")
    viewer.start_tls()
    return VNC_AUTH if hub.access.needed else NONE


def _password(viewer: Viewer, minor: int) -> Part:
    from gossamer.front.vnc.auth import CHALLENGE, right  # noqa: PLC0415 - needs an extra

    challenge = host.random_bytes(CHALLENGE)
    viewer.send(challenge)
    answer = yield CHALLENGE
    password = viewer.hub.access.now
    if password is None or not right(challenge, password, answer):
        raise refused(viewer, minor, "Authentication failed")
    viewer.send(bytes(4))
