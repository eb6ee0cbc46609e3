"""Bytes written out by hand beside each field type, and what a hostile reader meets."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.base.errors import StreamError
from gossamer.base.wire import WireReader, WireWriter
from gossamer.core.clock import Clock
from gossamer.state.codec import (
    BOOL,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Array,
    AtMost,
    Bitmap,
    Buffer,
    Equal,
    Int,
    Unused,
)
from gossamer.state.declare import (
    Stateful,
    alarm,
    array,
    bitmap,
    boolean,
    buffer,
    child,
    children,
    compat,
    derived,
    i32,
    i64,
    u8,
    u16,
    u32,
    u64,
    vtime,
    wiring,
)
from gossamer.state.describe import describe
from gossamer.state.layout import Constant, Nested, View, subsection
from gossamer.state.transfer import OURS, Profile, load, save


def put(codec: Any, value: Any) -> bytes:
    w = WireWriter()
    codec.put(w, value)
    return bytes(w.data)


CODECS = [
    (U8, 0x12, "12"),
    (U16, 0x1234, "1234"),
    (U32, 0x12345678, "12345678"),
    (U64, 0x123456789ABCDEF0, "123456789abcdef0"),
    (I8, -2, "fe"),
    (I16, -2, "fffe"),
    (I32, -2, "fffffffe"),
    (I64, -2, "fffffffffffffffe"),
    (BOOL, True, "01"),
    (BOOL, False, "00"),
    (Buffer(3), bytearray(b"abc"), "616263"),
    (Unused(3), None, "000000"),
    (Array(U16, 3), [1, 2, 0xFFFF], "00010002ffff"),
    (Array(Array(U8, 2), 2), [[1, 2], [3, 4]], "01020304"),
    (Bitmap(4), 0b1010, "000000000000000a"),
    (Bitmap(65), 1 << 64 | 1, "00000000000000010000000000000001"),
    (Equal(U32, 7), 7, "00000007"),
    (AtMost(9), 9, "00000009"),
    (Int("timer", 8), 5, "0000000000000005"),
]


@pytest.mark.parametrize(("codec", "value", "text"), CODECS)
def test_value_has_these_bytes(codec: Any, value: Any, text: str) -> None:
    assert put(codec, value).hex() == text
    assert codec.size == len(text) // 2
    r = WireReader(bytes.fromhex(text))
    assert codec.get(r) == value
    assert r.left == 0


@pytest.mark.parametrize(("codec", "value", "text"), CODECS)
def test_value_cut_short_is_refused(codec: Any, value: Any, text: str) -> None:
    whole = bytes.fromhex(text)
    for length in range(len(whole)):
        with pytest.raises(StreamError, match="needs"):
            codec.get(WireReader(whole[:length]))


@pytest.mark.parametrize(
    ("codec", "text", "message"),
    [
        (BOOL, "02", "a bool must be 0 or 1, got 2"),
        (Equal(U32, 7), "00000008", "value must be 7, got 8"),
        (AtMost(9), "0000000a", r"value must be 0\.\.9, got 10"),
        (AtMost(9), "ffffffff", r"value must be 0\.\.9, got -1"),
        (Bitmap(4), "0000000000000010", "bits above 4 are set"),
    ],
)
def test_value_that_cannot_be_is_refused(codec: Any, text: str, message: str) -> None:
    with pytest.raises(StreamError, match=message):
        codec.get(WireReader(bytes.fromhex(text)))


# --- a whole object -------------------------------------------------------------------------------


class Inner(Stateful):
    """A nested struct of its own version."""

    vmsd = "inner"
    version = 3
    minimum = 3
    value: int = u16()
    newer: int = u8(since=2)

    def __init__(self) -> None:
        super().__init__()
        self.reset()


class Chip(Stateful):
    """One field of every kind, a middle field of a later version, two subsections."""

    vmsd = "chip"
    version = 3
    minimum = 1
    extra = subsection("chip/extra", 2)
    mine = subsection("chip/mine", ours=True, lost="its own")

    first: int = u8(0x11)
    middle: int = u32(0x22222222, since=3)
    last: int = u16(0x3333)
    sign: int = i32(-1)
    wide: int = i64(-1)
    big: int = u64(5)
    flag: bool = boolean(True)
    bytes_: bytearray = buffer(2, b"ab", wire="bytes")
    words: list[int] = array(U16, 2, [1, 2])
    bits: int = bitmap(3)
    due: Any = alarm("fire")
    since_: int = vtime(100, wire="since")
    inner: Inner = child(Inner)
    pair: list[Inner] = children(Inner, 2)
    more: int = u32(within=extra)
    private: int = u8(within=mine)
    clock: Clock = wiring()
    cache: int = derived()
    quirk: bool = compat(False)
    old: int = u8(0x77, when=lambda chip: chip.quirk)

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.cache = Clock(), 0
        self.reset()

    def fire(self) -> None:
        """Due."""

    @extra.needed
    def extra_needed(self) -> bool:
        return self.more != 0

    @mine.needed
    def mine_needed(self) -> bool:
        return self.private != 0

    def post_load(self, version: int) -> None:
        self.cache = self.first + version


def saved(owner: Stateful, profile: Profile | None = None) -> bytes:
    w = WireWriter()
    save(owner, w, profile or Profile())
    return bytes(w.data)


def loaded(data: bytes, version: int = 3, into: Chip | None = None) -> Chip:
    chip = into or Chip()
    r = WireReader(data)
    load(chip, r, version)
    assert r.left == 0
    return chip


BODY = (
    "11 22222222 3333 ffffffff ffffffffffffffff 0000000000000005 01 6162 0001 0002"
    " 0000000000000000 ffffffffffffffff 0000000000000064 000000 000000 000000"
)


def test_reset_state_has_these_bytes() -> None:
    assert saved(Chip()) == bytes.fromhex(BODY)


def test_alarm_armed_is_its_time() -> None:
    chip = Chip()
    chip.due.set(0x1234)
    assert bytes.fromhex("0000000000001234") in saved(chip)
    assert loaded(saved(chip)).due.when == 0x1234
    assert not loaded(bytes.fromhex(BODY), into=chip).due.armed


def test_older_version_lacks_the_middle_field() -> None:
    old = bytes.fromhex(BODY.replace("22222222 ", "", 1))
    chip = loaded(old, 2)
    assert (chip.first, chip.middle, chip.last) == (0x11, 0x22222222, 0x3333)


@pytest.mark.parametrize("version", [0, 4])
def test_other_versions_are_refused(version: int) -> None:
    with pytest.raises(StreamError, match=rf"version {version}, this build reads 1\.\.3"):
        loaded(bytes.fromhex(BODY), version)


def test_subsection_is_sent_only_when_needed() -> None:
    chip = Chip()
    chip.more = 0x0A0B0C0D
    expected = "05 0a 636869702f6578747261 00000002 0a0b0c0d"
    assert saved(chip) == bytes.fromhex(BODY + expected)
    assert loaded(saved(chip)).more == 0x0A0B0C0D


def test_missing_subsection_leaves_the_reset_value() -> None:
    assert loaded(bytes.fromhex(BODY)).more == 0


def test_our_own_subsection_stays_out_of_streams_for_others() -> None:
    chip = Chip()
    chip.private = 9
    assert b"chip/mine" in saved(chip)
    assert b"chip/mine" not in saved(chip, Profile("qemu-7.2", ours=False))


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        ("05 09 636869702f6f746865", "unknown subsection of chip"),
        ("05 0a 636869702f6578747261 00000003 00000000", r"version 3, this build reads 2\.\.2"),
        ("05 0a 636869702f6578747261 00000002 000000", "needs 4 bytes, 3 left"),
        ("05 0a 636869702f6578747261 0000", "needs 4 bytes, 2 left"),
    ],
)
def test_bad_subsection_is_refused(tail: str, message: str) -> None:
    with pytest.raises(StreamError, match=message):
        loaded(bytes.fromhex(BODY + tail))


def test_what_only_looks_like_a_subsection_is_left_alone() -> None:
    """0x05 and a name of another prefix belong to the next reader."""
    for tail in (b"\x05\x05other", b"\x05\x20chip/ex", b"\x06\x0achip/extra", b"\x05"):
        chip = Chip()
        r = WireReader(bytes.fromhex(BODY) + tail)
        load(chip, r, 3)
        assert r.left == len(tail)


def test_every_truncation_is_refused() -> None:
    chip = Chip()
    chip.more, chip.private = 1, 2
    whole = saved(chip)
    bare = len(bytes.fromhex(BODY))
    first = bare + 2 + 10 + 4 + 4
    for length in range(len(whole)):
        r = WireReader(whole[:length])
        if length in (bare, first):
            load(Chip(), r, 3)
        elif bare < length < bare + 12 or first < length < first + 11:
            load(Chip(), r, 3)  # the name is cut: not a subsection, and the caller sees a rest
            assert r.left
        else:
            with pytest.raises(StreamError, match=r"needs \d+ bytes, \d+ left"):
                load(Chip(), r, 3)


def test_error_names_the_field_and_the_offset() -> None:
    data = bytearray(bytes.fromhex(BODY))
    data[27] = 2  # flag
    with pytest.raises(StreamError) as caught:
        loaded(bytes(data))
    assert str(caught.value) == "flag: a bool must be 0 or 1, got 2 (offset 0x1c)"


class OneByOne(WireReader):
    """Never has many bytes at once: every field is read alone."""

    def ready(self, n: int) -> None:
        return None


#: Something is written in the place of a field's value: every field is written alone.
ALONE = Profile(values={("no such", "field"): lambda value: value})


@given(st.binary(min_size=16, max_size=16))
def test_fields_taken_together_are_as_one_by_one(noise: bytes) -> None:
    """What is in a stream may be anything: value or error, both ways end alike."""
    body = bytearray(bytes.fromhex(BODY))
    body[0:8], body[24:32] = noise[:8], noise[8:]
    ends = []
    for kind in (WireReader, OneByOne):
        chip = Chip()
        try:
            load(chip, kind(bytes(body)), 3)
        except StreamError as fault:
            ends.append(str(fault))
        else:
            ends.append(saved(chip).hex())
            assert saved(chip, ALONE) == saved(chip)
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [("first", 256), ("sign", 1 << 31), ("bytes_", bytearray(3)), ("words", [1, 2, 3])],
)
def test_a_value_that_does_not_fit_is_no_shorter_one(name: str, value: Any) -> None:
    chip = Chip()
    setattr(chip, name, value)
    with pytest.raises((OverflowError, AssertionError)):
        saved(chip)


def test_compat_switch_changes_the_wire_form() -> None:
    chip = Chip()
    chip.quirk = True
    assert saved(chip) == bytes.fromhex(BODY + "77")


def test_nested_struct_is_read_by_its_own_version() -> None:
    """An outer version 1 stream has the nested fields of version 3 all the same."""
    old = bytes.fromhex(BODY.replace("22222222 ", "", 1))[:-9] + bytes.fromhex(
        "000109 000208 000307"
    )
    chip = loaded(old, 1)
    assert (chip.inner.value, chip.inner.newer) == (1, 9)
    assert [(p.value, p.newer) for p in chip.pair] == [(2, 8), (3, 7)]


def test_clock_shift_moves_every_point_in_time_and_nothing_else() -> None:
    chip = Chip()
    plain, shifted = saved(chip), saved(chip, Profile(shift=1000))
    assert shifted == plain.replace(bytes.fromhex("0000000000000064"), (1100).to_bytes(8, "big"))
    chip.due.set(50)
    expected = saved(chip).replace((50).to_bytes(8, "big"), (1050).to_bytes(8, "big"))
    expected = expected.replace((100).to_bytes(8, "big"), (1100).to_bytes(8, "big"))
    assert saved(chip, Profile(shift=1000)) == expected


def test_derived_is_rebuilt_after_the_load() -> None:
    assert loaded(bytes.fromhex(BODY)).cache == 0x11 + 3


@given(
    st.integers(0, 255), st.integers(0, 2**32 - 1), st.integers(-(2**31), 2**31 - 1),
    st.booleans(), st.binary(min_size=2, max_size=2), st.integers(0, 7),
    st.one_of(st.none(), st.integers(0, 2**62)), st.integers(0, 2**32 - 1), st.integers(0, 255),
)  # fmt: skip
def test_load_is_the_inverse_of_save(a, b, c, d, e, f, g, h, k) -> None:
    chip = Chip()
    chip.first, chip.middle, chip.sign, chip.flag, chip.bits = a, b, c, d, f
    chip.bytes_, chip.more, chip.private = bytearray(e), h, k
    chip.pair[1].value = b & 0xFFFF
    if g is not None:
        chip.due.set(g)
    again = loaded(saved(chip))
    assert saved(again) == saved(chip)
    assert (again.middle, again.due.when, again.more) == (b, -1 if g is None else g, h)


# --- layouts ----------------------------------------------------------------------------------


def _put_twice(owner: Any, value: int) -> None:
    if value % 2:
        raise ValueError(f"must be even, got {value}")
    owner.value = value // 2


class Shown(Stateful):
    """The wire order is not the order of the declaration, and depends on the receiver."""

    vmsd = "shown"
    version = 2
    minimum = 1
    layouts = {
        "": [
            View("twice", U16, lambda s: 2 * s.value, _put_twice),
            Constant("unused", Unused(1)),
            "flag",
            Constant("later", Unused(2), since=2),
        ],
        "small": [
            "flag",
            Nested("inner", lambda s: s.inner, "renamed", 1, ["value", "newer"]),
        ],
    }
    value: int = u8(3)
    flag: int = u8(9)
    inner: Inner = child(Inner)

    def __init__(self) -> None:
        super().__init__()
        self.reset()


def test_layout_gives_the_order_and_the_views() -> None:
    assert saved(Shown()).hex() == "000600090000"


def test_layout_may_differ_by_profile() -> None:
    """A nested layout is decided by the version it is given: `newer` came with version 2."""
    assert saved(Shown(), Profile(forms=frozenset({"small"}))).hex() == "090000"


def test_view_that_refuses_a_value_names_it() -> None:
    shown = Shown()
    with pytest.raises(StreamError, match=r"twice: must be even, got 7 \(offset 0x2\)"):
        load(shown, WireReader(bytes.fromhex("000700090000")), 2)
    load(shown, WireReader(bytes.fromhex("00080001")), 1)
    assert (shown.value, shown.flag) == (4, 1)


class Strict(Shown):
    """Values that are each right, and not together."""

    def post_load(self, version: int) -> None:
        if self.value > self.flag:
            raise ValueError(f"value {self.value} is above flag {self.flag}")


def test_values_that_do_not_go_together_are_named() -> None:
    """A stream is hostile: what the last look refuses is no traceback either."""
    load(Strict(), WireReader(bytes.fromhex("00080009")), 1)
    with pytest.raises(StreamError, match=r"value 4 is above flag 1 \(offset 0x4\)"):
        load(Strict(), WireReader(bytes.fromhex("00080001")), 1)


class Cell(Stateful):
    """Nothing but integers: many of them are taken in one step."""

    vmsd = "many/cell"
    version = 2
    minimum = 1

    wide: int = u32()
    small: int = u8(0xFF)


class Slow(Cell):
    """The same on the wire, one by one."""

    def post_load(self, version: int) -> None:
        """There is something to do."""


class Many(Stateful):
    vmsd = "many"
    version = 1
    minimum = 1
    layouts = {"": [Constant("count", Equal(U32, 3)), "cells", "last"]}

    cells: list[Cell] = children(Cell, 3)
    last: int = u8()

    def __init__(self, kind: type[Cell] = Cell) -> None:
        super().__init__()
        self.cells = [kind() for _ in range(3)]
        self.reset()


MANY = bytes.fromhex("00000003 00000001ff 0506aabb02 fffffffe03 09")


def many(kind: type[Cell]) -> Many:
    one = Many(kind)
    one.cells[0].wide, one.cells[1].wide, one.cells[2].wide = 1, 0x0506_AABB, 0xFFFF_FFFE
    one.cells[1].small, one.cells[2].small, one.last = 2, 3, 9
    return one


@pytest.mark.parametrize("kind", [Cell, Slow])
def test_many_alike_are_as_one_by_one(kind: type[Cell]) -> None:
    assert saved(many(kind)) == MANY
    again = Many(kind)
    load(again, WireReader(MANY), 1)
    assert saved(again) == MANY
    assert [one.wide for one in again.cells] == [1, 0x0506_AABB, 0xFFFF_FFFE]
    assert describe(many(kind), OURS) == describe(many(Cell), OURS)
    cells = describe(many(kind), OURS)["fields"][1]
    assert (cells["name"], cells["array_len"], cells["size"]) == ("cells", 3, 5)


@pytest.mark.parametrize("kind", [Cell, Slow])
def test_errors_of_many_name_the_one(kind: type[Cell]) -> None:
    for size in range(4, len(MANY) - 1):
        with pytest.raises(StreamError) as caught:
            load(Many(kind), WireReader(MANY[:size]), 1)
        n, field = divmod(size - 4, 5)
        name = "wide" if field < 4 else "small"
        assert caught.value.path == ("last" if n == 3 else f"cells[{n}]/{name}")
    tail = b"\x05\x0amany/cell/"  # in the place of the second's first bytes
    with pytest.raises(StreamError, match="unknown subsection of many/cell"):
        load(Many(kind), WireReader(MANY[:9] + tail + bytes(20)), 1)
    one = many(kind)
    one.cells[2].small = 256
    with pytest.raises(OverflowError):
        saved(one)


class Inside(Stateful):
    vmsd = "whole/inside"

    flag: bool = boolean()
    count: int = i32(-2)


class Whole(Stateful):
    """Numbers, an array and a nested object: many of them are taken in one step, too."""

    vmsd = "whole"
    extra = subsection("whole/extra")

    regs: list[int] = array(U32, 2, [1, 2])
    inside: Inside = child(Inside)
    state: int = u8()
    more: int = u8(within=extra)
    half: int = derived()

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    @extra.needed
    def extra_needed(self) -> bool:
        return self.more != 0

    def post_load(self, version: int) -> None:
        if self.state % 2:
            raise ValueError(f"state must be even, got {self.state}")
        self.half = self.state // 2


class Wholes(Stateful):
    vmsd = "wholes"

    all_: list[Whole] = children(Whole, 2, wire="all")

    def __init__(self) -> None:
        super().__init__()
        self.reset()


WHOLES = bytes.fromhex("00000001 00000002 01 fffffffe 04  00000007 ffffffff 00 00000003 06")


def wholes() -> Wholes:
    two = Wholes()
    two.all_[0].inside.flag, two.all_[0].state = True, 4
    two.all_[1].regs, two.all_[1].inside.count, two.all_[1].state = [7, 0xFFFF_FFFF], 3, 6
    return two


@pytest.mark.parametrize("reader", [WireReader, OneByOne])
def test_many_with_nested_ones_are_as_one_by_one(reader: type[WireReader]) -> None:
    assert saved(wholes()) == saved(wholes(), ALONE) == WHOLES
    again = Wholes()
    load(again, reader(WHOLES), 0)
    assert saved(again) == WHOLES
    assert [one.half for one in again.all_] == [2, 3]
    for size in range(len(WHOLES)):
        with pytest.raises(StreamError, match="needs"):
            load(Wholes(), reader(WHOLES[:size]), 0)
    for at, text in ((8, "all[0]/inside/flag: a bool"), (13, "all[0]: state must be even, got 5")):
        wrong = bytearray(WHOLES)
        wrong[at] = 5
        with pytest.raises(StreamError, match=re.escape(text)):
            load(Wholes(), reader(bytes(wrong)), 0)


@pytest.mark.parametrize("reader", [WireReader, OneByOne])
def test_one_of_many_may_have_a_subsection(reader: type[WireReader]) -> None:
    for n in range(2):
        two = wholes()
        two.all_[n].more = 9
        data = saved(two)
        assert data == saved(two, ALONE) != WHOLES
        again = Wholes()
        load(again, reader(data + b"~"), 0)
        assert saved(again) == data
    unknown = WHOLES[:14] + b"\x05\x09whole/new" + bytes(4) + WHOLES[14:]
    with pytest.raises(StreamError, match="unknown subsection of whole"):
        load(Wholes(), reader(unknown), 0)


def test_many_need_nothing_of_what_follows() -> None:
    """The sender may be asked for an answer before it goes on."""
    r = Waits(WHOLES + b"~")
    load(Wholes(), r, 0)
    assert r.left == 1


class Waits(WireReader):
    """A stream of which nothing more comes."""

    def peek(self, n: int) -> bytes:
        assert n <= self.left, "waits for ever"
        return super().peek(n)


def test_a_profile_may_say_something_else_of_many() -> None:
    other = Profile("other", values={("many/cell", "small"): lambda value: 0x77})
    w = WireWriter()
    save(many(Cell), w, other)
    assert bytes(w.data)[8:9] == b"\x77"
