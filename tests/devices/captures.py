"""Device sections of recorded QEMU streams, found by the description at the stream's end."""

from __future__ import annotations

import io
import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gossamer.base.units import MiB
from gossamer.base.wire import WireReader, WireWriter
from gossamer.machines.config import Drive
from gossamer.migrate import vmdesc
from gossamer.state.declare import Stateful
from gossamer.state.transfer import Profile, load, save

QEMU = Profile("qemu-7.2", ours=False)


@dataclass(frozen=True)
class Section:
    """One device section: `body` without header and footer, `description` as QEMU gave it."""

    capture: str
    idstr: str
    instance: int
    version: int
    body: bytes
    description: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.capture}:{self.idstr}/{self.instance}"


def capture_drives(name: str, folder: Path) -> tuple[Drive, ...]:
    """The disk that the sender of a recorded stream had, with nothing on it."""
    if "disk" not in name:
        return ()
    file = folder / "disk.img"
    with file.open("wb") as out:
        out.truncate(64 * MiB)
    return (Drive("ide", 0, "disk", file, "raw"),)


def body_size(described: dict[str, Any]) -> int:
    """Bytes of a described object on the wire."""
    total = 0
    for field in described.get("fields", []):
        one = body_size(field["struct"]) if "struct" in field else field["size"]
        total += one * field.get("array_len", 1)
    for sub in described.get("subsections", []):
        total += 6 + len(sub["vmsd_name"]) + body_size(sub)
    return total


def sections(path: Path) -> Iterator[Section]:
    """The device sections of one recorded stream (`*.mig.xz`)."""
    data = lzma.decompress(path.read_bytes())
    name = path.name.removesuffix(".mig.xz")
    described = vmdesc.find(io.BytesIO(data))
    assert described is not None, f"{name} has no description"
    end = described.offset - 1
    devices = json.loads(described.text)["devices"]
    for footer in (5, 0):
        lengths = [14 + len(d["name"]) + body_size(d) + footer for d in devices]
        at = end - sum(lengths)
        if data[at] == 4:
            break
    for device, length in zip(devices, lengths, strict=True):
        idstr = device["name"]
        head = at + 14 + len(idstr)
        assert data[at + 6 : at + 6 + len(idstr)] == idstr.encode(), f"{name}: {idstr} not found"
        version = int.from_bytes(data[head - 4 : head], "big")
        body = data[head : at + length - footer]
        yield Section(name, idstr, device["instance_id"], version, body, device)
        at += length
    assert data[at] == 0, f"{name}: no end after the last section"


@cache
def all_sections(shared: Path) -> tuple[Section, ...]:
    """Those of every recorded stream."""
    streams = sorted((shared / "streams").glob("*.mig.xz"))
    return tuple(s for path in streams for s in sections(path))


def named(shared: Path, *idstrs: str) -> list[Section]:
    """Sections by the name after the last slash of their idstr."""
    return [s for s in all_sections(shared) if s.idstr.rsplit("/", 1)[-1] in idstrs]


def load_body(device: Stateful, section: Section) -> None:
    """Load a section and check that every byte was read."""
    reader = WireReader(section.body)
    load(device, reader, section.version, QEMU)
    assert reader.left == 0, f"{section}: {reader.left} bytes left"


def save_body(device: Stateful, profile: Profile = QEMU) -> bytes:
    writer = WireWriter()
    save(device, writer, profile)
    return bytes(writer.data)
