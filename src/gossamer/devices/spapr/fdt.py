"""A device tree, and its flattened form.

Source: Devicetree Specification 0.4, chapter 5.  Of the libraries on PyPI none fits: `pylibfdt` is
kept, but wants SWIG and a C compiler on the user's host; `fdt` has had no release since 2022.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import Struct, pack
from typing import Final

from gossamer.base.bits import align_up

MAGIC: Final = 0xD00D_FEED
VERSION, LAST_COMPATIBLE = 17, 16
BEGIN, END, PROPERTY, NOP, FINISH = 1, 2, 3, 4, 9
DEEPEST: Final = 16
PHANDLE: Final = "phandle"

_HEADER: Final = Struct(">10I")
_RESERVED: Final = Struct(">QQ")
_CELL: Final = Struct(">I")

Value = bytes | str | int | list[int] | list[str] | None
NONE: Final[Mapping[str, Value]] = {}


class Node:
    """A node: its name with the unit address, its properties in order, and its children."""

    __slots__ = ("children", "name", "parent", "properties")

    def __init__(self, name: str, parent: Node | None = None) -> None:
        self.name, self.parent = name, parent
        self.properties: dict[str, bytes] = {}
        self.children: list[Node] = []

    def add(self, name: str, properties: Mapping[str, Value] = NONE) -> Node:
        """A new last child."""
        child = Node(name, self)
        self.children.append(child)
        for key, value in properties.items():
            child.set(key, value)
        return child

    def set(self, name: str, value: Value = None) -> None:
        """Set a property: text, cells of 32 bits, several texts, raw bytes, or nothing."""
        self.properties[name] = encoded(value)

    def put_first(self, name: str, value: Value) -> None:
        """Set a property; one that is new comes before the others, as a firmware adds them."""
        if name not in self.properties:
            self.properties = {name: b"", **self.properties}
        self.set(name, value)

    def cells(self, name: str) -> list[int]:
        """A property's cells; KeyError when there is none."""
        data = self.properties[name]
        return [_CELL.unpack_from(data, at)[0] for at in range(0, len(data) & -4, 4)]

    @property
    def phandle(self) -> int:
        """0: it has none."""
        data = self.properties.get(PHANDLE, b"")
        return int.from_bytes(data, "big") if len(data) == 4 else 0

    @property
    def path(self) -> str:
        if self.parent is None:
            return "/"
        return f"{self.parent.path.rstrip('/')}/{self.name}"

    def walk(self) -> Iterator[Node]:
        """The node and all below, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def child(self, name: str) -> Node | None:
        """A child by its name, whose unit address may be left out."""
        for one in self.children:
            if one.name == name or ("@" not in name and one.name.partition("@")[0] == name):
                return one
        return None

    def find(self, path: str) -> Node | None:
        """The node at a path from here."""
        node: Node | None = self
        for part in path.split("/"):
            if part and node is not None:
                node = node.child(part)
        return node


def encoded(value: Value) -> bytes:
    """A property's bytes."""
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode() + b"\0"
    if isinstance(value, int):
        return _CELL.pack(value)
    return b"".join(encoded(one) for one in value)


def flatten(root: Node, reserved: list[tuple[int, int]] | None = None) -> bytes:
    """The blob; `reserved` are address and length of memory that is taken."""
    strings: dict[str, int] = {}
    names = bytearray()
    body = bytearray()

    def put(node: Node) -> None:
        body.extend(pack(">I", BEGIN) + _padded(node.name.encode() + b"\0"))
        for name, value in node.properties.items():
            if name not in strings:
                strings[name] = len(names)
                names.extend(name.encode() + b"\0")
            body.extend(pack(">III", PROPERTY, len(value), strings[name]) + _padded(value))
        for child in node.children:
            put(child)
        body.extend(pack(">I", END))

    put(root)
    body.extend(pack(">I", FINISH))
    map_ = b"".join(_RESERVED.pack(*one) for one in [*(reserved or []), (0, 0)])
    at_map = align_up(_HEADER.size, 8)
    at_body = at_map + len(map_)
    at_names = at_body + len(body)
    total = at_names + len(names)
    head = _HEADER.pack(
        *(MAGIC, total, at_body, at_names, at_map, VERSION, LAST_COMPATIBLE, 0),
        *(len(names), len(body)),
    )
    return head.ljust(at_map, b"\0") + map_ + bytes(body) + bytes(names)


def _padded(data: bytes) -> bytes:
    return data.ljust(align_up(len(data), 4), b"\0")


def unflatten(blob: bytes) -> tuple[Node, list[tuple[int, int]]]:
    """The tree and the reserved memory of a blob; ValueError says what is wrong with it."""
    if len(blob) < _HEADER.size:
        raise ValueError(f"a device tree of {len(blob)} bytes")
    magic, total, at_body, at_names, at_map, version, last, _, names_size, body_size = (
        _HEADER.unpack_from(blob)
    )
    if magic != MAGIC or last > VERSION or version < LAST_COMPATIBLE:
        raise ValueError(f"magic {magic:#x}, version {version}: no device tree of version 17")
    inside = at_body + body_size <= total and at_names + names_size <= total <= len(blob)
    if not inside or at_map > total:
        raise ValueError("a device tree whose parts lie outside it")
    reserved = []
    at = at_map
    while at + _RESERVED.size <= total:
        one = _RESERVED.unpack_from(blob, at)
        at += _RESERVED.size
        if one == (0, 0):
            break
        reserved.append(one)
    names = blob[at_names : at_names + names_size]
    return _nodes(blob[at_body : at_body + body_size], names), reserved


def _nodes(body: bytes, names: bytes) -> Node:
    root: Node | None = None
    node: Node | None = None
    at = depth = 0
    while at + 4 <= len(body):
        (token,) = _CELL.unpack_from(body, at)
        at += 4
        if token == BEGIN:
            name = _text(body, at)
            at = align_up(at + len(name) + 1, 4)
            depth += 1
            if depth > DEEPEST or (node is None and root is not None):
                raise ValueError(f"a device tree deeper than {DEEPEST} nodes, or with two roots")
            node = Node(name, node) if node is None else node.add(name)
            root = node if root is None else root
        elif token == PROPERTY and node is not None and at + 8 <= len(body):
            length, offset = _CELL.unpack_from(body, at)[0], _CELL.unpack_from(body, at + 4)[0]
            at += 8
            if at + length > len(body):
                raise ValueError("a property that ends outside the device tree")
            node.properties[_text(names, offset)] = body[at : at + length]
            at = align_up(at + length, 4)
        elif token == END and node is not None:
            node, depth = node.parent, depth - 1
        elif token == FINISH and node is None and root is not None:
            return root
        elif token != NOP:
            raise ValueError(f"token {token:#x} in a device tree at {at - 4:#x}")
    raise ValueError("a device tree without an end")


def _text(data: bytes, at: int) -> str:
    end = data.find(b"\0", at)
    if at > len(data) or end < 0:
        raise ValueError("a name that ends outside the device tree")
    try:
        return data[at:end].decode("ascii")
    except UnicodeDecodeError:
        raise ValueError(f"a name in a device tree is not ASCII: {data[at:end]!r}") from None
