"""The `channels` of migrate and migrate-incoming (QEMU 8.2): a place in parts instead of a URI."""

from __future__ import annotations

import shlex
from typing import Literal

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.control.shapes import Size


class SocketPlace(Data):
    """A socket: ``inet`` has host and port, ``unix`` a path, ``fd`` the name of a descriptor."""

    transport: Literal["socket"]
    type: Literal["inet", "unix", "fd"]
    host: str | None = None
    port: str | None = None
    path: str | None = None
    str_: str | None = None


class ExecPlace(Data):
    """A command and its arguments, which takes or gives the stream."""

    transport: Literal["exec"]
    args: tuple[str, ...]


class FilePlace(Data):
    """A file, from byte `offset` on."""

    transport: Literal["file"]
    filename: str
    offset: Size


class MigrationChannel(Data):
    """One connection of a migration."""

    channel_type: Literal["main"]
    addr: SocketPlace | ExecPlace | FilePlace


def uri_of(uri: str | None, channels: tuple[MigrationChannel, ...] | None) -> str:
    """The URI of what was given: the one or the other.  ConfigError for both, none, or several."""
    if channels is None:
        if uri is None:
            raise ConfigError("Parameter 'uri' is missing")
        return uri
    if uri is not None:
        text = "are mutually exclusive; exactly one of the two should be present"
        raise ConfigError(f"'uri' and 'channels' arguments {text}")
    if len(channels) != 1:
        raise ConfigError(f"channels: {len(channels)} entries, expected exactly one, of type main")
    place = channels[0].addr
    if isinstance(place, ExecPlace):
        if not place.args:
            raise ConfigError("channels: exec needs args")
        return f"exec:{shlex.join(place.args)}"
    if isinstance(place, FilePlace):
        return f"file:{place.filename}" + (f",offset={place.offset}" if place.offset else "")
    return _socket(place)


def _socket(place: SocketPlace) -> str:
    if place.type == "inet":
        host, port = _given(place, "host"), _given(place, "port")
        return f"tcp:[{host}]:{port}" if ":" in host else f"tcp:{host}:{port}"
    if place.type == "unix":
        return f"unix:{_given(place, 'path')}"
    return f"fd:{_given(place, 'str_')}"


def _given(place: SocketPlace, name: str) -> str:
    value: str | None = getattr(place, name)
    if value is None:
        raise ConfigError(f"channels: a socket of type {place.type} needs {name.rstrip('_')}")
    return value
