"""The JSON description at the end of a stream, read as hostile input.

Sizes are checked against types and members here, so that a description which passes can be used
to cut a body into fields without further care.
"""

from __future__ import annotations

import json
import os
from typing import Any, BinaryIO, Final

from gossamer.base.data import Data
from gossamer.base.errors import StreamError
from gossamer.migrate.framing import MAX_DESCRIPTION, Description, Kind

SCALARS: Final = {
    "bool": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8,
    "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8,
    "int32 equal": 4, "int32 le": 4, "uint8 equal": 1, "uint16 equal": 2, "uint32 equal": 4,
    "int64 equal": 8, "uint64 equal": 8, "timer": 8, "fpr": 8, "avr": 16, "nullptr": 1,
}  # fmt: skip
"""Types of a fixed size, in bytes."""
SIGNED: Final = {"int8", "int16", "int32", "int64", "int32 equal", "int32 le", "int64 equal"}
INTEGERS: Final = {name for name in SCALARS if name not in ("fpr", "avr", "nullptr")} | {"fpr"}

MAX_COUNT: Final = 1 << 24
MAX_SIZE: Final = 1 << 32
MAX_DEPTH: Final = 48
MAX_NODES: Final = 1 << 20
"""Values of one section: real ones have some thousands."""
_TAIL_WINDOW: Final = 1 << 20
_TAIL_LIMIT: Final = 24 << 20


class FieldDesc(Data):
    """One field: `size` is of one element, `count` the elements (None: not an array).

    `index` is the element's number in an array whose elements differ.
    """

    name: str
    type: str
    size: int
    count: int | None = None
    index: int | None = None
    struct: StructDesc | None = None

    @property
    def length(self) -> int:
        """Bytes in the stream."""
        return self.size * (1 if self.count is None else self.count)

    @property
    def label(self) -> str:
        return self.name if self.index is None else f"{self.name}[{self.index}]"


class StructDesc(Data):
    """A description's fields and the subsections that are present in the stream."""

    name: str
    version: int
    fields: tuple[FieldDesc, ...]
    subsections: tuple[StructDesc, ...] = ()

    @property
    def length(self) -> int:
        """Bytes in the stream, subsections and their heads included."""
        return sum(f.length for f in self.fields) + sum(
            6 + len(s.name) + s.length for s in self.subsections
        )


class DeviceDesc(Data):
    """One section; `state.name` is empty for a section of the old style."""

    idstr: str
    instance_id: int
    state: StructDesc


class StreamDesc(Data):
    """The whole description; `tree` is the JSON as it was."""

    page_size: int
    devices: tuple[DeviceDesc, ...]
    tree: dict[str, Any]


def parse(text: str, offset: int = 0) -> StreamDesc:
    """Read and check a description; StreamError names the place in the JSON."""
    return _Parser(offset).stream(text)


def _nodes(desc: StructDesc) -> int:
    """How many values a body becomes."""
    total = 1 + sum(map(_nodes, desc.subsections))
    for item in desc.fields:
        times = 1 if item.count is None else item.count
        total += times * _nodes(item.struct) if item.struct is not None else 1
    return total


class _Parser:
    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.where: list[str] = ["description"]

    def fail(self, message: str) -> StreamError:
        return StreamError(message, "/".join(self.where), self.offset)

    def stream(self, text: str) -> StreamDesc:
        try:
            tree = json.loads(text)
        except (ValueError, RecursionError) as fault:
            raise self.fail(f"is not JSON: {fault}") from None
        if not isinstance(tree, dict):
            raise self.fail(f"an object is expected, got {type(tree).__name__}")
        page_size = self.number(tree, "page_size", 1 << 24, 4096)
        if page_size < 512 or page_size & (page_size - 1):
            raise self.fail(f"page_size {page_size} is not a power of two from 512")
        devices = []
        for i, item in enumerate(self.items(tree, "devices")):
            with _At(self, f"devices[{i}]"):
                devices.append(self.device(item))
        return StreamDesc(page_size, tuple(devices), tree)

    def device(self, item: dict[str, Any]) -> DeviceDesc:
        idstr = self.text(item, "name")
        with _At(self, idstr):
            instance = self.number(item, "instance_id", 0xFFFF_FFFF)
            state = self.struct(item, 0, optional_name=True)
            if "size" in item and not state.name:
                size = self.number(item, "size", MAX_SIZE)
                if state.length != size:
                    raise self.fail(f"size {size}, its fields add up to {state.length}")
            if (count := _nodes(state)) > MAX_NODES:
                raise self.fail(f"describes {count:,} values, at most {MAX_NODES:,} are believed")
        return DeviceDesc(idstr, instance, state)

    def struct(self, item: dict[str, Any], depth: int, optional_name: bool = False) -> StructDesc:
        if depth > MAX_DEPTH:
            raise self.fail(f"nested deeper than {MAX_DEPTH}")
        optional = optional_name and "vmsd_name" not in item
        name = "" if optional else self.text(item, "vmsd_name")
        version = self.number(item, "version", 0x7FFF_FFFF, 0)
        fields = []
        for i, raw in enumerate(self.items(item, "fields")):
            with _At(self, f"fields[{i}]"):
                fields.append(self.field(raw, depth))
        subsections = []
        for i, raw in enumerate(self.items(item, "subsections")):
            with _At(self, f"subsections[{i}]"):
                subsections.append(self.struct(raw, depth + 1))
        return StructDesc(name, version, tuple(fields), tuple(subsections))

    def field(self, item: dict[str, Any], depth: int) -> FieldDesc:
        name, kind = self.text(item, "name", empty=True), self.text(item, "type")
        self.where[-1] = name or self.where[-1]
        size = self.number(item, "size", MAX_SIZE)
        count = self.number(item, "array_len", MAX_COUNT) if "array_len" in item else None
        index = self.number(item, "index", MAX_COUNT) if "index" in item else None
        if kind in SCALARS and size != SCALARS[kind]:
            raise self.fail(f"type {kind!r} with size {size}, expected {SCALARS[kind]}")
        if size == 0 and count is not None and count > 1 << 16:
            raise self.fail(f"{count} elements of no size")
        struct = None
        if "struct" in item:
            if not isinstance(item["struct"], dict):
                raise self.fail("struct must be an object")
            struct = self.struct(item["struct"], depth + 1)
            if struct.length != size:
                raise self.fail(f"size {size}, its members add up to {struct.length}")
        if (1 if count is None else count) * size > MAX_SIZE:
            raise self.fail(f"{count} elements of {size} bytes")
        return FieldDesc(name, kind, size, count, index, struct)

    def text(self, item: dict[str, Any], key: str, empty: bool = False) -> str:
        value = item.get(key)
        if not isinstance(value, str) or not (value or empty) or len(value) > 4096:
            raise self.fail(f"{key} must be a name, got {_short(value)}")
        return value

    def number(self, item: dict[str, Any], key: str, most: int, default: int | None = None) -> int:
        value = item.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            raise self.fail(f"{key} must be a number from 0 to {most}, got {_short(value)}")
        return value

    def items(self, item: dict[str, Any], key: str) -> list[dict[str, Any]]:
        value = item.get(key, [])
        if not isinstance(value, list) or not all(isinstance(x, dict) for x in value):
            raise self.fail(f"{key} must be a list of objects, got {_short(value)}")
        return value


class _At:
    """Names the place in the JSON for errors raised inside the `with`."""

    def __init__(self, parser: _Parser, part: str) -> None:
        self.parser, self.part = parser, part

    def __enter__(self) -> None:
        self.parser.where.append(self.part)

    def __exit__(self, *_exc: object) -> None:
        self.parser.where.pop()


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def find(file: BinaryIO) -> Description | None:
    """The description at the end of a file that can seek, found from behind; None if there is none.

    Up to 1 MiB may follow it (a snapshot is padded to its cluster).
    """
    size = file.seek(0, os.SEEK_END)
    tail = b""
    while len(tail) < min(size, _TAIL_LIMIT):
        step = min(_TAIL_WINDOW, size - len(tail))
        before = len(tail)
        file.seek(size - before - step)
        tail = file.read(step) + tail
        found = _search(tail, size - len(tail), size, len(tail) - before + 8)
        if found is not None:
            return found
        if b'"vmsd_name"' not in tail[:step] and len(tail) > 4 * _TAIL_WINDOW:
            return None
    return None


def _search(tail: bytes, base: int, size: int, upto: int) -> Description | None:
    mark = bytes([Kind.EOF, Kind.DESCRIPTION])
    end = min(upto, len(tail))
    while (at := tail.rfind(mark, 0, end)) >= 0:
        end = at + 1
        start, length = at + 6, int.from_bytes(tail[at + 2 : at + 6], "big")
        rest = size - (base + start + length)
        if not 2 <= length <= MAX_DESCRIPTION or not 0 <= rest <= 1 << 20:
            continue
        raw = tail[start : start + length]
        if raw[:1] != b"{" or raw.rstrip()[-1:] != b"}":
            continue
        try:
            return Description(raw.decode("utf-8"), base + at + 1, length)
        except UnicodeDecodeError:
            continue
    return None
