"""What a save file says about itself, in its first frame."""

from __future__ import annotations

import json
from typing import Any, Final

from gossamer.base.data import Data, asdict, field, fields
from gossamer.base.errors import StreamError

MAX_META: Final = 1 << 20
"""Bytes of JSON."""
FORMAT: Final = "gossamer-state"


class DiskMeta(Data):
    """A disk of the machine: `name` as in the DISK frames, `size` of the guest's disk in bytes.

    `backing` and `identity` name the image below the overlay (path, and whatever its owner keeps
    to know it again).
    """

    name: str
    size: int
    format: str = "raw"
    backing: str = ""
    identity: str = ""


class Meta(Data):
    """What is saved.

    `ram_size` in bytes, `created_ns` in ns since 1970 UTC, `clock_ns` virtual ns, `icount`
    instructions since power-on, `gossamer` the version that wrote it, `devices` what stands where:
    ``place: kind``, of what sections alone do not say.  `hardware` is the machine as data, checked
    when one is built from it; files of 0.1.0 have the command line in `options` instead.  `discs`:
    of discs that were made here, ``name: hash of the content``; where there is none it is left out.
    """

    machine: str
    machine_version: str
    ram_size: int
    created_ns: int
    icount: int
    name: str
    gossamer: str
    clock_ns: int = 0
    disks: tuple[DiskMeta, ...] = ()
    options: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    hardware: dict[str, Any] = field(default_factory=dict)
    discs: tuple[str, ...] = ()

    def encode(self) -> bytes:
        tree = {"format": FORMAT, **asdict(self)}
        if not self.discs:
            del tree["discs"]  # releases that know none read it too
        data = json.dumps(tree, ensure_ascii=True).encode()
        assert len(data) <= MAX_META, f"META of {len(data)} bytes, at most {MAX_META}"
        return data

    @classmethod
    def parse(cls, data: bytes, path: str = "", offset: int | None = None) -> Meta:
        """Read `encode`'s bytes; StreamError naming `path` and `offset` when they are not."""
        try:
            tree = json.loads(data)
            if not isinstance(tree, dict) or tree.pop("format", None) != FORMAT:
                raise ValueError(f'not an object with "format": "{FORMAT}"')
            disks = tuple(_typed(DiskMeta, one) for one in _listed(tree.pop("disks", [])))
            texts = {name: _texts(name, tree.pop(name, [])) for name in _LISTS}
            meta: Meta = _typed(cls, {**tree, "disks": disks, **texts})
        except (ValueError, RecursionError) as fault:
            raise StreamError(f"META: {fault}", path, offset) from None
        return meta


_LISTS: Final = ("options", "devices", "discs")


def _listed(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"expected a list, got {value!r:.40}")
    return value


def _texts(name: str, value: object) -> tuple[str, ...]:
    texts = tuple(_listed(value))
    if not all(isinstance(one, str) for one in texts):
        raise ValueError(f"{name} must be texts")
    return texts


_TYPES: Final = {"str": str, "int": int, "dict[str, Any]": dict}


def _typed(made: type[Any], tree: object) -> Any:  # noqa: ANN401 - an instance of `made`
    """An instance of a data class of texts and whole numbers; keys and types are checked."""
    if not isinstance(tree, dict):
        raise ValueError(f"expected an object, got {tree!r:.40}")
    known = {one.name: one for one in fields(made)}
    for name, value in tree.items():
        if name not in known:
            raise ValueError(f"unknown key {name!r:.40}")
        wanted = _TYPES.get(str(known[name].type), tuple)
        if type(value) is not wanted:
            raise ValueError(f"{name} must be of type {wanted.__name__}, got {value!r:.40}")
    try:
        return made(**tree)
    except TypeError as fault:
        raise ValueError(str(fault).partition("() ")[2]) from None
