"""Bodies of sections as trees of named values: decode by a description, encode back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from gossamer.base.data import Data, field
from gossamer.base.late import np
from gossamer.base.wire import WireReader, WireWriter
from gossamer.migrate import writer
from gossamer.migrate.framing import Kind
from gossamer.migrate.vmdesc import INTEGERS, SCALARS, SIGNED, FieldDesc, StructDesc

NOT_ARMED: Final = (1 << 64) - 1
"""A timer that is not pending."""

Scalar: TypeAlias = int | bytes


class Leaf(Data, frozen=False):
    """A field without members: an integer, bytes, or a tuple of either for an array.

    `size` is of one element, in bytes; `offset` is in the stream.
    """

    name: str
    type: str
    offset: int
    size: int
    count: int | None
    value: Scalar | tuple[Scalar, ...]
    index: int | None = None

    @property
    def length(self) -> int:
        return self.size * (1 if self.count is None else self.count)


class Struct(Data, frozen=False):
    """A struct, a section's body or a subsection."""

    name: str
    vmsd: str
    version: int
    offset: int
    length: int
    members: list[Node] = field(default_factory=list)
    subsections: list[Struct] = field(default_factory=list)
    index: int | None = None


class StructArray(Data, frozen=False):
    """An array of structs that are all laid out alike."""

    name: str
    vmsd: str
    offset: int
    length: int
    elements: list[Struct] = field(default_factory=list)
    index: int | None = None


Node: TypeAlias = Leaf | Struct | StructArray


def decode(desc: StructDesc, reader: WireReader, name: str = "") -> Struct:
    """Read a body; the reader is left behind it."""
    node = Struct(name or desc.name, desc.name, desc.version, reader.offset, desc.length)
    for item in desc.fields:
        node.members.append(_field(item, reader))
    for sub in desc.subsections:
        with reader.within(sub.name):
            _subsection_head(sub, reader)
            node.subsections.append(decode(sub, reader))
    return node


def _subsection_head(desc: StructDesc, reader: WireReader) -> None:
    offset, kind = reader.offset, reader.uint(1)
    name = reader.cstr() if kind == Kind.SUBSECTION else None
    version = reader.uint(4) if name is not None else -1
    if name != desc.name or version != desc.version:
        got = f"type {kind:#04x}" if name is None else f"{name!r} version {version}"
        raise reader.error(
            f"the description says subsection {desc.name!r} version {desc.version} at "
            f"{offset:#x}, the stream has {got}"
        )


def _field(desc: FieldDesc, reader: WireReader) -> Node:
    with reader.within(desc.label):
        if desc.struct is None:
            return _leaf(desc, reader)
        if desc.count is None:
            node = decode(desc.struct, reader, desc.label)
            node.index = desc.index
            return node
        array = StructArray(desc.label, desc.struct.name, reader.offset, desc.length)
        array.index = desc.index
        for i in range(desc.count):
            with reader.within(f"[{i}]"):
                array.elements.append(decode(desc.struct, reader, f"[{i}]"))
        return array


def _leaf(desc: FieldDesc, reader: WireReader) -> Leaf:
    offset, raw = reader.offset, reader.take(desc.length)
    value: Scalar | tuple[Scalar, ...]
    if desc.type not in INTEGERS or desc.size != SCALARS[desc.type]:
        if desc.count is None:
            value = bytes(raw)
        else:
            n = desc.size
            value = tuple(bytes(raw[i * n : i * n + n]) for i in range(desc.count))
    elif desc.count is None:
        value = int.from_bytes(raw, "big", signed=desc.type in SIGNED)
    else:
        value = tuple(np.frombuffer(raw, _dtype(desc.type)).tolist())
    return Leaf(desc.label, desc.type, offset, desc.size, desc.count, value, desc.index)


def _dtype(kind: str) -> str:
    return f">{'i' if kind in SIGNED else 'u'}{SCALARS[kind]}"


def encode(node: Node) -> bytes:
    """The bytes of a tree: exactly those it was read from unless a value was changed."""
    out = WireWriter()
    _encode(node, out)
    return bytes(out.data)


def _encode(node: Node, out: WireWriter) -> None:
    if isinstance(node, Leaf):
        out.raw(_leaf_bytes(node))
        return
    for part in node.elements if isinstance(node, StructArray) else node.members:
        _encode(part, out)
    if isinstance(node, Struct):
        for sub in node.subsections:
            out.raw(writer.subsection_head(sub.vmsd, sub.version))
            _encode(sub, out)


def _leaf_bytes(leaf: Leaf) -> bytes:
    items = leaf.value if isinstance(leaf.value, tuple) else (leaf.value,)
    if not items:
        return b""
    if isinstance(items[0], int):
        if len(items) == 1:
            return items[0].to_bytes(leaf.size, "big", signed=leaf.type in SIGNED)
        return np.array(items, _dtype(leaf.type)).tobytes()
    return b"".join(item for item in items if isinstance(item, bytes))


def length(node: Node) -> int:
    """Bytes that `encode` gives, subsections and their heads included."""
    if isinstance(node, Leaf):
        return node.length
    if isinstance(node, StructArray):
        return sum(map(length, node.elements))
    heads = sum(6 + len(sub.vmsd) + length(sub) for sub in node.subsections)
    return heads + sum(map(length, node.members))


def describe(node: Struct) -> dict[str, Any]:
    """The JSON of a struct, keys in QEMU's order: vmsd_name, version, fields, subsections."""
    out: dict[str, Any] = {"vmsd_name": node.vmsd, "version": node.version}
    out["fields"] = [_describe_field(member) for member in node.members]
    if node.subsections:
        out["subsections"] = [describe(sub) for sub in node.subsections]
    return out


def _describe_field(node: Node) -> dict[str, Any]:
    suffix = f"[{node.index}]"
    plain = node.name if node.index is None else node.name.removesuffix(suffix)
    out: dict[str, Any] = {"name": plain}
    count = node.count if isinstance(node, Leaf) else None
    if isinstance(node, StructArray):
        count = len(node.elements)
    if count is not None:
        out["array_len"] = count
    if node.index is not None:
        out["index"] = node.index
    if isinstance(node, Leaf):
        return out | {"type": node.type, "size": node.size}
    struct = node.elements[0] if isinstance(node, StructArray) and node.elements else node
    assert isinstance(struct, Struct)
    return out | {"type": "struct", "struct": describe(struct), "size": length(struct)}


def leaves(node: Node, prefix: str = "") -> Iterator[tuple[str, Leaf]]:
    """Every leaf with its path: `timers[0].latch`, `<cpu/fpu>.env.fpscr`."""
    if isinstance(node, Leaf):
        yield prefix, node
        return
    if isinstance(node, StructArray):
        for element in node.elements:
            yield from leaves(element, prefix + element.name)
        return
    dot = prefix + "." if prefix else ""
    for member in node.members:
        yield from leaves(member, dot + member.name)
    for sub in node.subsections:
        yield from leaves(sub, f"{dot}<{sub.vmsd}>")


def subsections(node: Node, prefix: str = "") -> Iterator[tuple[str, Struct]]:
    """Every subsection with the path that `leaves` gives it."""
    if isinstance(node, Leaf):
        return
    if isinstance(node, StructArray):
        for element in node.elements:
            yield from subsections(element, prefix + element.name)
        return
    dot = prefix + "." if prefix else ""
    for member in node.members:
        yield from subsections(member, dot + member.name)
    for sub in node.subsections:
        yield f"{dot}<{sub.vmsd}>", sub
        yield from subsections(sub, f"{dot}<{sub.vmsd}>")
