"""Re-emits a stream from what was parsed, with changes on the way.

An unchanged stream comes out byte for byte.  Used by `convert` and `doctor --fix`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

from gossamer.base.data import Data, replace
from gossamer.base.errors import StreamError
from gossamer.migrate import ram_writer, value_tree, writer
from gossamer.migrate.framing import (
    Cmd,
    Command,
    Configuration,
    Description,
    Eof,
    Header,
    Kind,
    Section,
    Trailing,
)
from gossamer.migrate.inspect import RAM, StreamFile
from gossamer.migrate.ram import RamReader, Record
from gossamer.migrate.ram_writer import Sink
from gossamer.migrate.source import Source
from gossamer.migrate.value_tree import Struct


class Edit(Data, frozen=False):
    """What to change.  Each function gets the parsed thing and gives what to write instead.

    `section`, `configuration`: None drops it; the returned tree is encoded and described.
    `records`: records to write for one that was read.  `before_devices`: raw elements to put in
    front of the first device section.  `missing_configuration` is written where the stream has
    none; `footers` None keeps them as they are.
    """

    section: Callable[[Section, Struct], tuple[Section, Struct] | None] | None = None
    records: Callable[[Record], Iterable[Record]] | None = None
    command: Callable[[Command], Command | None] | None = None
    configuration: Callable[[Configuration], Configuration | None] | None = None
    description: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None
    before_devices: bytes = b""
    missing_configuration: Configuration | None = None
    footers: bool | None = None


def rewrite(stream: StreamFile, out: Sink, edit: Edit | None = None) -> None:
    """Write `stream` with `edit` applied."""
    _Rewriter(stream, out, edit or Edit()).run()


class _Rewriter:
    def __init__(self, stream: StreamFile, out: Sink, edit: Edit) -> None:
        self.stream, self.out, self.edit = stream, out, edit
        self.changed: dict[int, tuple[Section, Struct] | None] = {}
        names = (stream.configuration.capabilities or ()) if stream.configuration else ()
        mapped = "mapped-ram" in names
        if mapped and self.edit.records is None:
            raise StreamError("a mapped-ram file has its pages at fixed places: not rewritten")
        self.ram = RamReader(stream.page_size, "x-ignore-shared" in names, mapped)
        self.devices_begun = False

    def run(self) -> None:
        events = self.stream.events
        at = 0
        while at < len(events):
            event = events[at]
            at += 1
            if isinstance(event, Command) and event.number == Cmd.PACKAGED:
                end = at
                while end < len(events) and getattr(events[end], "package", False):
                    end += 1
                self._package(events[at:end])
                at = end
            else:
                self._event(event)

    def _package(self, inner: list[Any]) -> None:
        outer, parts = self.out, _Collect()
        self.out = parts
        for event in inner:
            self._event(event)
        self.out = outer
        self.out.write(writer.package(bytes(parts.data)))

    def _event(self, event: Any) -> None:  # noqa: ANN401 - any event, distinguished here
        if isinstance(event, Header):
            self.out.write(writer.header(event.version))
            missing = self.edit.missing_configuration
            if missing is not None and self.stream.configuration is None:
                self.out.write(writer.configuration(missing))
        elif isinstance(event, Configuration):
            change = self.edit.configuration
            changed = change(event) if change else event
            if changed is not None:
                self.out.write(writer.configuration(changed))
        elif isinstance(event, Command):
            kept = self.edit.command(event) if self.edit.command else event
            if kept is not None:
                self.out.write(writer.command(kept.number, kept.data))
        elif isinstance(event, Section):
            self._section(event)
        elif isinstance(event, Eof):
            self.out.write(writer.eof())
        elif isinstance(event, Description):
            self._description(event)
        elif isinstance(event, Trailing):
            _copy(self.stream.file, event.offset, event.length, self.out)

    def _section(self, section: Section) -> None:
        if section.kind == Kind.FULL and section.idstr != RAM:
            if not self.devices_begun:
                self.devices_begun = True
                self.out.write(self.edit.before_devices)
            self._device(section)
            return
        self.out.write(writer.section_head(section))
        if section.idstr == RAM:
            self._ram(section)
        else:
            _copy(self.stream.file, section.body, section.length, self.out)
        self._footer(section)

    def _footer(self, section: Section) -> None:
        wanted = self.edit.footers
        if section.footer if wanted is None else wanted:
            self.out.write(writer.footer(section.section_id))

    def _device(self, section: Section) -> None:
        tree = self.stream.values(section)
        if tree is None:
            self.out.write(writer.section_head(section))
            _copy(self.stream.file, section.body, section.length, self.out)
        else:
            kept = self.edit.section(section, tree) if self.edit.section else (section, tree)
            if kept is None:
                self.changed[section.offset] = None
                return
            before, (section, tree) = section, kept
            body = value_tree.encode(tree)
            if section != before or body != self.stream.body(before):
                # Only then: what values cannot show is in the original JSON alone.
                self.changed[before.offset] = kept
            self.out.write(writer.section_head(section))
            self.out.write(body)
        self._footer(section)

    def _ram(self, section: Section) -> None:
        self.stream.file.seek(section.body)
        source = Source(self.stream.file, section.body)
        source.parts.append(section.title)
        for record in self.ram.read(source):
            for item in self.edit.records(record) if self.edit.records else (record,):
                self.out.write(ram_writer.record(item))

    def _description(self, event: Description) -> None:
        if self.edit.section is None and self.edit.description is None:
            self.out.write(writer.description(event.text))
            return
        tree: dict[str, Any] | None = json.loads(event.text)
        assert tree is not None
        tree["devices"] = self._devices(tree.get("devices", []))
        if self.edit.description is not None:
            tree = self.edit.description(tree)
        if tree is not None:
            self.out.write(writer.description(writer.description_text(tree)))

    def _devices(self, old: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Each device's JSON made anew from what was written; what was not decoded stays."""
        raw: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for item in old:
            raw.setdefault((item["name"], item["instance_id"]), []).append(item)
        out = []
        for section in self.stream.devices:
            queue = raw.get(section.key)
            before = queue.pop(0) if queue else None
            kept = self.changed.get(section.offset, (section, None))
            if kept is None or before is None:
                continue
            now, tree = kept
            out.append(before if tree is None else _device_json(now, tree, before))
        return out


def _device_json(section: Section, tree: Struct, before: dict[str, Any]) -> dict[str, Any]:
    if "vmsd_name" not in before:
        return before
    head = {"name": section.idstr, "instance_id": section.instance_id}
    return head | value_tree.describe(tree) | {"version": section.version_id}


def renamed(section: Section, **changes: Any) -> Section:  # noqa: ANN401 - fields of Section
    """A section with some fields of its head changed."""
    return replace(section, **changes)


class _Collect:
    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes | memoryview, /) -> None:
        self.data += data


def _copy(file: BinaryIO, offset: int, length: int, out: Sink) -> None:
    file.seek(offset)
    while length:
        part = file.read(min(length, 1 << 20))
        if not part:
            raise StreamError(f"needs {length} bytes more, the file ends", "", offset)
        out.write(part)
        offset += len(part)
        length -= len(part)
