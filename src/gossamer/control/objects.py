"""What -object and object-add make: credentials of transfers, secrets, memory for the machine."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gossamer.base.errors import ConfigError, HostError
from gossamer.control.tls_objects import AUTHZ, X509, TlsObjects
from gossamer.machines.option_objects import SECRET, check_object
from gossamer.machines.values import identifier, size_of

MOST: Final = 256
_LONGEST_SECRET: Final = 64 << 10


class Objects:
    """The objects of one machine by id; `tls` has those that transfers use."""

    def __init__(self, tls: TlsObjects) -> None:
        self.tls = tls
        self._others: dict[str, str] = {}
        self._secrets: dict[str, bytes | None] = {}

    def add(self, kind: str, name: str, values: Mapping[str, Any]) -> None:
        """ConfigError for a kind, an id or a value that cannot be."""
        check_object("object", kind, values)
        if not name or name in self._others or name in self.tls.objects:
            raise ConfigError(f"object id {name!r}: " + ("is taken" if name else "is needed"))
        identifier(f"object {kind}: id", name)
        if len(self._others) + len(self.tls.objects) >= MOST:
            raise ConfigError(f"object {name}: there are {MOST} already: object-del comes first")
        if kind in (X509, AUTHZ):
            self.tls.add(kind, name, dict(values))
            return
        if kind == SECRET:
            self._secrets[name] = _secret(name, values)
        else:
            size_of(f"object {name}: size", str(values.get("size", "")), 1)
        self._others[name] = kind

    def remove(self, name: str) -> None:
        """Forget the object with that id."""
        self._secrets.pop(name, None)
        if self._others.pop(name, None) is None:
            self.tls.remove(name)

    def secret(self, name: str) -> str:
        """The text of a secret; ConfigError where there is none, or it is encrypted."""
        if name not in self._secrets:
            raise ConfigError(f"No secret with id '{name}'")
        data = self._secrets[name]
        if data is None:
            raise ConfigError(f"secret {name}: it is encrypted (keyid=), which is not supported")
        return data.decode("utf-8", "replace")

    def kinds(self) -> dict[str, str]:
        """The kind of each object, by id."""
        mine = {
            name: AUTHZ if isinstance(made, str) else X509
            for name, made in self.tls.objects.items()
        }
        return self._others | mine


def _secret(name: str, values: Mapping[str, Any]) -> bytes | None:
    """A secret is text or a file of it; None for one that is encrypted by another."""
    if ("data" in values) == ("file" in values):
        raise ConfigError(f"secret {name}: needs data= or file=")
    form = values.get("format", "raw")
    if form not in ("raw", "base64"):
        raise ConfigError(f"secret {name}: format is raw or base64, got {form!r}")
    if "file" in values:
        try:
            with Path(values["file"]).open("rb") as file:
                data = file.read(_LONGEST_SECRET + 1)
        except OSError as fault:
            text = f"secret {name}: {values['file']}: cannot be read: {fault.strerror}"
            raise HostError(text) from None
    else:
        data = str(values["data"]).encode()
    if len(data) > _LONGEST_SECRET:
        raise ConfigError(f"secret {name}: more than {_LONGEST_SECRET} bytes")
    if "keyid" in values:
        return None
    if form == "raw":
        return data
    try:
        return base64.b64decode(data, validate=False)
    except binascii.Error:
        raise ConfigError(f"secret {name}: not base64") from None
