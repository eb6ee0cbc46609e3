"""Writes the frame of a stream: for our saver and for re-emitting what was read."""

from __future__ import annotations

import json
from struct import Struct
from typing import Any, Final

from gossamer.base.wire import WireWriter
from gossamer.migrate.framing import MAGIC, VERSION, Cmd, Configuration, Kind, Section
from gossamer.migrate.ram_writer import Sink

_HEAD: Final = Struct(">BI")
_WHICH: Final = Struct(">II")


def header(version: int = VERSION) -> bytes:
    out = WireWriter()
    out.uint(MAGIC, 4)
    out.uint(version, 4)
    return bytes(out.data)


def subsection_head(name: str, version: int) -> bytes:
    """What opens a subsection inside a body."""
    out = WireWriter()
    out.uint(Kind.SUBSECTION, 1)
    out.cstr(name)
    out.uint(version, 4)
    return bytes(out.data)


def configuration(config: Configuration) -> bytes:
    """The configuration element; subsections in `config.order`, or QEMU's order without it."""
    out = WireWriter()
    out.uint(Kind.CONFIGURATION, 1)
    name = config.machine.encode("ascii")
    out.uint(len(name), 4)
    out.raw(name)
    parts: dict[str, bytes] = {}
    if config.page_bits is not None:
        parts["configuration/target-page-bits"] = config.page_bits.to_bytes(4, "big")
    if config.capabilities is not None:
        listed = WireWriter()
        listed.uint(len(config.capabilities), 4)
        for capability in config.capabilities:
            listed.cstr(capability)
        parts["configuration/capabilities"] = bytes(listed.data)
    if config.uuid is not None:
        parts["configuration/uuid"] = config.uuid
    for part in config.order or tuple(parts):
        out.raw(subsection_head(part, 1) + parts[part])
    return bytes(out.data)


def section_head(section: Section) -> bytes:
    """Type byte, id and, for START and FULL, name, instance and version."""
    head = _HEAD.pack(section.kind, section.section_id)
    if section.kind in (Kind.START, Kind.FULL):
        return head + _named(section.idstr, section.instance_id, section.version_id)
    return head


def _named(idstr: str, instance_id: int, version_id: int) -> bytes:
    name = idstr.encode("ascii")
    return bytes([len(name)]) + name + _WHICH.pack(instance_id, version_id)


def footer(section_id: int) -> bytes:
    return bytes([Kind.FOOTER]) + section_id.to_bytes(4, "big")


def command(number: int, data: bytes = b"") -> bytes:
    out = WireWriter()
    out.uint(Kind.COMMAND, 1)
    out.uint(number, 2)
    out.uint(len(data), 2)
    out.raw(data)
    return bytes(out.data)


def package(content: bytes) -> bytes:
    """A PACKAGED command and the elements that it carries."""
    return command(Cmd.PACKAGED, len(content).to_bytes(4, "big")) + content


def eof() -> bytes:
    return bytes([Kind.EOF])


def description_text(tree: dict[str, Any]) -> str:
    """A description as QEMU spells JSON: `", "` and `": "`."""
    return json.dumps(tree, separators=(", ", ": "))


def description(text: str) -> bytes:
    raw = text.encode("utf-8")
    return bytes([Kind.DESCRIPTION]) + len(raw).to_bytes(4, "big") + raw


class StreamWriter:
    """Writes a whole stream in order to `out`; keeps the section ids.

    A saver calls: `begin`, then for RAM `open(START)`, records, `close`, …, then `full` for each
    device, then `end`.
    """

    def __init__(self, out: Sink, footers: bool = True) -> None:
        self.out = out
        self.footers = footers

    def begin(self, config: Configuration | None) -> None:
        self.out.write(header())
        if config is not None:
            self.out.write(configuration(config))

    def open(
        self, kind: Kind, section_id: int, idstr: str, instance_id: int = 0, version_id: int = 0
    ) -> None:
        """Head of a section; the caller writes the body and calls `close` with the same id."""
        self.out.write(
            section_head(Section(kind, section_id, idstr, instance_id, version_id, 0, 0))
        )

    def close(self, section_id: int) -> None:
        if self.footers:
            self.out.write(footer(section_id))

    def full(
        self, section_id: int, idstr: str, instance_id: int, version_id: int, body: bytes
    ) -> None:
        """A device's section."""
        head = _HEAD.pack(Kind.FULL, section_id) + _named(idstr, instance_id, version_id)
        self.out.write(b"".join((head, body, footer(section_id) if self.footers else b"")))

    def command(self, number: int, data: bytes = b"") -> None:
        self.out.write(command(number, data))

    def end(self, text: str | None) -> None:
        """End element and, unless None, the description."""
        self.out.write(eof())
        if text is not None:
            self.out.write(description(text))
