"""-web: where browsers reach the machine's page, and what it offers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.machines.config import Web, unknown
from gossamer.machines.values import number, on_off, pairs
from gossamer.machines.vnc_options import LOOPBACK

PORT: Final = 8006
_LAST: Final = 65535
_KNOWN: Final = ("web", "to", "token", "files", "open", "view-only", "leash")
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{16,128}")


def parse_web(text: str) -> Web | None:
    """The value of -web; None for ``none``."""
    values = pairs("-web", text, first="web")
    for key in values:
        if key not in _KNOWN:
            raise unknown("part of -web", key, _KNOWN)
    address = values.get("web", "")
    if address == "none":
        return None
    host, port = _place(address)
    token = values.get("token", "")
    if token and not _TOKEN.fullmatch(token):
        raise ConfigError("-web: token: expected 16 to 128 letters, digits, - or _")
    last = number("-web: to", values["to"], port, _LAST) if "to" in values else port
    folder = values.get("files")
    if folder is not None and not Path(folder).is_dir():
        raise ConfigError(f"-web: files: {folder}: expected a folder")
    return Web(
        host,
        port,
        last,
        token,
        None if folder is None else Path(folder).absolute(),
        on_off("-web: view-only", values.get("view-only", "off")),
        on_off("-web: open", values.get("open", "off")),
        number("-web: leash", values["leash"], 3, _LAST) if "leash" in values else None,
    )


def _place(address: str) -> tuple[str, int]:
    """``HOST:PORT``, ``:PORT``, ``PORT``, or nothing."""
    if not address:
        return LOOPBACK, PORT
    host, _, port = address.rpartition(":")
    return host.strip("[]") or LOOPBACK, number("-web: the port", port, 0, _LAST)
