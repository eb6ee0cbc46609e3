"""Character devices from QEMU's spelling: ``stdio``, ``file:P``, ``unix:P,server=on``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from gossamer.base.errors import ConfigError
from gossamer.base.late import LateModule
from gossamer.front.chardev import Chardev, FileOut, Null
from gossamer.front.stdio import Stdio
from gossamer.machines.values import choice, on_off, pairs, place_and_options

if TYPE_CHECKING:
    from gossamer.front import fd_sockets, ptys, sockets
else:
    fd_sockets = LateModule(lambda: import_module("gossamer.front.fd_sockets"))
    ptys = LateModule(lambda: import_module("gossamer.front.ptys"))
    sockets = LateModule(lambda: import_module("gossamer.front.sockets"))

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
            return ptys.PtyChardev()
    elif kind == "file" and rest:
        path, tail = place_and_options(rest)
        options = pairs(spec, tail) if tail else {}
        for key in options:
            choice(f"option of {spec}", key, ("append",))
        return FileOut(path, append=on_off(f"{spec}: append", options.get("append", "off")))
    elif kind == "fd":
        place, tail = place_and_options(rest)
        return fd_sockets.open_fd(spec, place, pairs(spec, tail) if tail else {})
    elif kind in ("unix", "tcp"):
        place, tail = place_and_options(rest)
        return sockets.open_socket(spec, kind, place, pairs(spec, tail) if tail else {})
    raise ConfigError(f"unknown character device {spec!r} (there is: {KINDS})")
