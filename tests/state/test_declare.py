"""What a class may declare: the rest fails at import or at assignment."""

from __future__ import annotations

import json

import pytest

from gossamer.core.clock import Clock
from gossamer.state.codec import U16
from gossamer.state.declare import (
    Stateful,
    alarm,
    array,
    buffer,
    child,
    children,
    compat,
    derived,
    u8,
    u32,
    wiring,
)
from gossamer.state.describe import describe, struct_size
from gossamer.state.layout import subsection
from gossamer.state.transfer import OURS, Profile


def test_attribute_that_is_nothing_fails_at_import() -> None:
    with pytest.raises(TypeError, match=r"Bad\.forgotten is neither state, derived, wiring"):

        class Bad(Stateful):
            forgotten = 5


def test_undeclared_attribute_fails_at_assignment() -> None:
    class Good(Stateful):
        LIMIT = 3
        value: int = u8()

    good = Good()
    good.reset()
    assert (good.value, good.LIMIT) == (0, 3)
    with pytest.raises(AttributeError, match="forgotten"):
        good.forgotten = 1  # type: ignore[attr-defined]


def test_reset_gives_fresh_values_to_each_object() -> None:
    class Lists(Stateful):
        words: list[int] = array(U16, 2, [1, 2])
        raw: bytearray = buffer(2, b"xy")

    a, b = Lists(), Lists()
    a.reset()
    b.reset()
    a.words[0], a.raw[0] = 9, 9
    assert (b.words, b.raw) == ([1, 2], bytearray(b"xy"))
    a.reset()
    assert (a.words, a.raw) == ([1, 2], bytearray(b"xy"))


def test_declarations_are_inherited_in_order() -> None:
    class Base(Stateful):
        first: int = u8(1)

    class Derived(Base):
        second: int = u8(2)

    assert list(Derived.declared) == ["first", "second"]


def test_alarm_keeps_its_object_over_reset_and_is_cancelled() -> None:
    class Ticker(Stateful):
        clock: Clock = wiring()
        due = alarm("fire")
        fired: int = u32()

        def __init__(self) -> None:
            super().__init__()
            self.clock = Clock()
            self.reset()

        def fire(self) -> None:
            self.fired += 1

    ticker = Ticker()
    one = ticker.due
    one.set(5)
    ticker.clock.advance(5)
    assert ticker.fired == 1
    one.set(9)
    ticker.reset()
    assert ticker.due is one
    assert not one.armed
    assert ticker.fired == 0


class Inner(Stateful):
    vmsd = "inner"
    version = 1
    minimum = 1
    value: int = u8()


class Outer(Stateful):
    vmsd = "outer"
    version = 4
    minimum = 1
    extra = subsection("outer/extra", 2)
    one: int = u32()
    table: list[int] = array(U16, 3)
    single: list[int] = array(U16, 1)
    raw: bytearray = buffer(5)
    newer: int = u8(since=5)
    inner: Inner = child(Inner)
    pair: list[Inner] = children(Inner, 2, "pairs")
    more: int = u32(within=extra, wire="more_words")
    hidden: int = derived()
    switch: bool = compat(False)

    def __init__(self) -> None:
        super().__init__()
        self.hidden = 0
        self.reset()

    @extra.needed
    def extra_needed(self) -> bool:
        return bool(self.more)


#: As QEMU writes such an object's description (facts: JSON of a section).
EXPECTED = {
    "vmsd_name": "outer",
    "version": 4,
    "fields": [
        {"name": "one", "type": "uint32", "size": 4},
        {"name": "table", "array_len": 3, "type": "uint16", "size": 2},
        {"name": "single", "type": "uint16", "size": 2},
        {"name": "raw", "type": "buffer", "size": 5},
        {
            "name": "inner",
            "type": "struct",
            "struct": {
                "vmsd_name": "inner",
                "version": 1,
                "fields": [{"name": "value", "type": "uint8", "size": 1}],
            },
            "size": 1,
        },
        {
            "name": "pairs",
            "array_len": 2,
            "type": "struct",
            "struct": {
                "vmsd_name": "inner",
                "version": 1,
                "fields": [{"name": "value", "type": "uint8", "size": 1}],
            },
            "size": 1,
        },
    ],
}
EXTRA = {
    "vmsd_name": "outer/extra",
    "version": 2,
    "fields": [{"name": "more_words", "type": "uint32", "size": 4}],
}


def test_description_says_what_is_saved() -> None:
    outer = Outer()
    assert describe(outer, OURS) == EXPECTED
    outer.more = 1
    assert describe(outer, OURS) == EXPECTED | {"subsections": [EXTRA]}


def test_description_has_the_size_of_the_bytes() -> None:
    from gossamer.base.wire import WireWriter
    from gossamer.state.transfer import save

    outer = Outer()
    outer.more = 1
    w = WireWriter()
    save(outer, w)
    assert struct_size(describe(outer, OURS)) == len(w.data)


def test_static_schema_has_every_field_and_subsection() -> None:
    schema = describe(Outer(), OURS, every=True)
    assert "newer" in [f["name"] for f in schema["fields"]]
    assert schema["subsections"] == [EXTRA]


class Optional(Inner):
    """An inner struct with a subsection of its own."""

    tail = subsection("inner/tail")
    more: int = u8(within=tail)

    @tail.needed
    def tail_needed(self) -> bool:
        return bool(self.more)


class Uneven(Stateful):
    vmsd = "uneven"
    version = 1
    minimum = 1
    pair: list[Optional] = children(Optional, 2)


def test_structs_of_an_array_that_differ_are_listed_one_by_one() -> None:
    uneven = Uneven()
    uneven.reset()
    assert [f.get("array_len") for f in describe(uneven, OURS)["fields"]] == [2]
    uneven.pair[1].more = 5
    fields = describe(uneven, OURS)["fields"]
    assert [(f["name"], f["index"], f["size"]) for f in fields] == [
        ("pair", 0, 1), ("pair", 1, 1 + 2 + 10 + 4 + 1),
    ]  # fmt: skip


def test_fields_have_the_keys_that_qemu_writes(shared) -> None:
    """The recorded facts add offset and observed values, and put a struct's parts beside it."""
    found: set[frozenset[str]] = set()

    def visit(node: object) -> None:
        if isinstance(node, dict):
            if {"name", "type", "offset"} <= set(node):
                keys = set(node) - {"offset", "observed"}
                if "fields" in keys:
                    keys = keys - {"fields", "vmsd_name", "version", "subsections"} | {"struct"}
                found.add(frozenset(keys))
            for v in node.values():
                visit(v)
        elif isinstance(node, list):
            for v in node:
                visit(v)

    visit(json.loads((shared / "facts" / "g3beige.json").read_text()))
    assert {frozenset(f) for f in EXPECTED["fields"]} <= found


def test_profile_for_others_hides_our_subsections() -> None:
    class Private(Stateful):
        vmsd = "private"
        mine = subsection("private/mine", ours=True, lost="its own")
        value: int = u8(within=mine)

    one = Private()
    one.reset()
    assert "subsections" in describe(one, OURS)
    assert "subsections" not in describe(one, Profile("qemu-7.2", ours=False))


def test_subsections_that_a_class_leaves_are_left_by_those_that_derive_from_it() -> None:
    class First(Stateful):
        one = u8()
        kept, gone = subsection("first/kept"), subsection("first/gone")

    class Second(First):
        without = ("first/gone",)
        own = subsection("second/own")

    class Third(Second):
        pass

    assert [s.name for s in Third.subsections] == ["first/kept", "second/own"]
    assert [s.name for s in Second.subsections] == ["first/kept", "second/own"]
    assert [s.name for s in First.subsections] == ["first/kept", "first/gone"]
