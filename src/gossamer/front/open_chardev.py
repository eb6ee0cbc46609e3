"""Character devices from QEMU's spelling: ``stdio``, ``file:P``, ``unix:P,server=on``."""

from __future__ import annotations

from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.front.chardev import Chardev, FileOut, Null
from gossamer.front.ptys import PtyChardev
from gossamer.front.sockets import open_socket
from gossamer.front.stdio import Stdio
from gossamer.machines.values import pairs

KINDS: Final = "stdio, null, none, file:PATH, unix:PATH, tcp:HOST:PORT, pty; mon: before one"


def open_chardev(spec: str, *, signals: bool = True) -> Chardev | None:
    """Open the device that `spec` names; None for ``none``.

    A leading ``mon:`` is the caller's business.  `signals`: whether C-c on a terminal interrupts
    the emulator instead of reaching the guest.
    """
    kind, colon, rest = spec.partition(":")
    if not colon:
        if kind == "stdio":
            return Stdio(signals=signals)
        if kind == "null":
            return Null("null")
        if kind == "none":
            return None
        if kind == "pty":
            return PtyChardev()
    elif kind == "file" and rest:
        return FileOut(rest.replace(",,", ","))
    elif kind in ("unix", "tcp"):
        place, comma, options = rest.partition(",")
        return open_socket(spec, kind, place, pairs(spec, options) if comma else {})
    raise ConfigError(f"unknown character device {spec!r} (there is: {KINDS})")
