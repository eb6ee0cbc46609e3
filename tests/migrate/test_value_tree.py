"""Descriptions and the values they cut out of bodies."""

from __future__ import annotations

import copy
import io
import json
from typing import Any

import pytest

from gossamer.base.errors import StreamError
from gossamer.base.wire import WireReader
from gossamer.migrate import value_tree, vmdesc
from gossamer.migrate.inspect import open_stream
from gossamer.migrate.rewrite import Edit, rewrite
from gossamer.migrate.value_tree import Leaf, Struct
from tests.migrate.streams import CHIP, CHIP_BODY, TIMER, small_stream


def described(device: dict[str, Any]) -> vmdesc.StreamDesc:
    return vmdesc.parse(json.dumps({"page_size": 4096, "devices": [device]}))


def chip() -> Struct:
    layout = described(CHIP).devices[0].state
    assert layout.length == len(CHIP_BODY)
    return value_tree.decode(layout, WireReader(CHIP_BODY, 0x100), "chip")


def test_decode_names_every_value() -> None:
    found = {path: leaf.value for path, leaf in value_tree.leaves(chip())}
    assert found == {
        "irq": 1,
        "alarm": 2_000_312_000,
        "points[0].x": -1,
        "points[0].y": (1, 2),
        "points[1].x": 5,
        "points[1].y": (3, 4),
        "one[0].x": 7,
        "one[0].y": (8, 9),
        "blob": b"hello",
        "<chip/extra>.count": 77,
    }


def test_offsets_are_those_of_the_stream() -> None:
    found = dict(value_tree.leaves(chip()))
    assert found["blob"].offset == 0x100 + CHIP_BODY.index(b"hello")


def test_encode_and_describe_give_back_what_was_read() -> None:
    tree = chip()
    assert value_tree.encode(tree) == CHIP_BODY
    head = {"name": "chip", "instance_id": 1}
    assert json.dumps(head | value_tree.describe(tree)) == json.dumps(CHIP)


def test_encode_carries_a_changed_value() -> None:
    tree = chip()
    leaf = dict(value_tree.leaves(tree))["points[1].x"]
    leaf.value = -2
    assert value_tree.encode(tree) == CHIP_BODY.replace(b"\x00\x05\x03\x04", b"\xff\xfe\x03\x04")


def test_decode_when_a_subsection_is_another_then_refused() -> None:
    layout = described(CHIP).devices[0].state
    with pytest.raises(StreamError) as caught:
        value_tree.decode(layout, WireReader(CHIP_BODY.replace(b"chip/extra", b"chip/extrb")))
    assert "says subsection 'chip/extra' version 1" in str(caught.value)
    assert "the stream has 'chip/extrb' version 1" in str(caught.value)


def lie(change: dict[str, Any], *path: Any) -> str:
    tree = {"page_size": 4096, "devices": [copy.deepcopy(CHIP)]}
    at: Any = tree
    for step in path:
        at = at[step]
    at.update(change)
    with pytest.raises(StreamError) as caught:
        vmdesc.parse(json.dumps(tree))
    return str(caught.value)


def test_parse_when_the_description_lies_then_says_where() -> None:
    fields = ("devices", 0, "fields")
    assert "alarm: type 'timer' with size 4, expected 8" in lie({"size": 4}, *fields, 1)
    assert "points: size 5, its members add up to 4" in lie({"size": 5}, *fields, 2)
    assert "array_len must be a number from 0" in lie({"array_len": 1 << 40}, *fields, 2)
    assert "size must be a number from 0 to 4294967296, got -1" in lie({"size": -1}, *fields, 4)
    assert "size must be a number" in lie({"size": True}, *fields, 4)
    assert "fields must be a list of objects" in lie({"fields": 7}, "devices", 0)
    assert "page_size 3000 is not a power of two" in lie({"page_size": 3000})
    assert "name must be a name, got None" in lie({"name": None}, "devices", 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "an object is expected, got list"),
        ("[" * 100_000, "is not JSON"),
        ('{"page_size": ' + "9" * 5000 + "}", "is not JSON"),
    ],
)
def test_parse_when_text_is_not_a_description_then_refused(text: str, message: str) -> None:
    with pytest.raises(StreamError) as caught:
        vmdesc.parse(text)
    assert message in str(caught.value)


def test_deep_nesting_is_refused() -> None:
    inner: dict[str, Any] = {"vmsd_name": "x", "version": 0, "fields": []}
    for _ in range(60):
        nested = {"name": "n", "type": "struct", "size": 0, "struct": inner}
        inner = {"vmsd_name": "x", "version": 0, "fields": [nested]}
    with pytest.raises(StreamError, match="nested deeper than 48"):
        vmdesc.parse(json.dumps({"devices": [inner | {"name": "x", "instance_id": 0}]}))


def test_stream_without_description_is_measured_by_its_footers() -> None:
    whole = open_stream(io.BytesIO(small_stream()))
    bare = open_stream(io.BytesIO(small_stream(described=False)))
    assert bare.desc is None
    assert [(s.title, s.length) for s in bare.sections] == [
        (s.title, s.length) for s in whole.sections
    ]
    assert bare.values(bare.devices[1]) is None


def test_stream_with_neither_description_nor_footers_is_refused() -> None:
    data = small_stream(described=False, footers=False)
    with pytest.raises(StreamError, match="timer: its layout is unknown"):
        open_stream(io.BytesIO(data))


def test_a_description_with_the_wrong_version_is_refused() -> None:
    data = small_stream().replace(
        b'"vmsd_name": "chip", "version": 3', b'"vmsd_name": "chip", "version": 4'
    )
    with pytest.raises(StreamError, match="chip/1: version 3 in the stream, 4 in its description"):
        open_stream(io.BytesIO(data))


def test_rewrite_drops_a_section_and_its_description() -> None:
    stream = open_stream(io.BytesIO(small_stream()))
    out = io.BytesIO()

    def drop(section: Any, tree: Struct) -> Any:
        return None if section.idstr == "chip" else (section, tree)

    rewrite(stream, out, Edit(section=drop))
    again = open_stream(out)
    assert [s.title for s in again.devices] == ["timer"]
    assert again.desc is not None
    assert [d.idstr for d in again.desc.devices] == ["timer"]


def test_rewrite_describes_what_it_changed() -> None:
    stream = open_stream(io.BytesIO(small_stream()))
    out = io.BytesIO()

    def grow(section: Any, tree: Struct) -> Any:
        if section.idstr == "chip":
            tree.members.append(Leaf("new", "uint16", 0, 2, None, 7))
            tree.subsections.clear()
        return section, tree

    rewrite(stream, out, Edit(section=grow))
    again = open_stream(out)
    tree = again.values(again.devices[1])
    assert tree is not None
    assert dict(value_tree.leaves(tree))["new"].value == 7
    assert not tree.subsections


@pytest.mark.parametrize("footers", [True, False])
def test_rewrite_without_edits_is_byte_identical(footers: bool) -> None:
    data = small_stream(footers=footers) + b"padding"
    out = io.BytesIO()
    rewrite(open_stream(io.BytesIO(data)), out)
    assert out.getvalue() == data
    assert TIMER["name"] == "timer"


def test_a_description_of_endless_values_is_refused() -> None:
    inner: dict[str, Any] = {"vmsd_name": "x", "version": 0, "fields": []}
    for _ in range(3):
        field = {"name": "n", "type": "struct", "size": 0, "struct": inner, "array_len": 60_000}
        inner = {"vmsd_name": "x", "version": 0, "fields": [field]}
    with pytest.raises(StreamError, match="values, at most 1,048,576 are believed"):
        vmdesc.parse(json.dumps({"devices": [inner | {"name": "x", "instance_id": 0}]}))
