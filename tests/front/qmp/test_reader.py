"""The stream of JSON: where values end, what is no JSON, what has no bound."""

from __future__ import annotations

import contextlib
import json
import random

import pytest

from gossamer.front.qmp.reader import MOST_BYTES, MOST_DEPTH, BadValueError, BombError, Reader


def read(data: bytes, *, step: int = 0) -> list[object]:
    """The values of `data` fed in pieces of `step` bytes; errors as their text."""
    reader, found = Reader(), list[object]()
    step = step or len(data) or 1
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])
        found += reader.values()
    return [str(one) if isinstance(one, BadValueError) else one for one in found]


STREAMS = [
    (b'{"a": 1}', [{"a": 1}]),
    (b'{"a": 1}{"b": [2]}\n\n [3]', [{"a": 1}, {"b": [2]}, [3]]),
    (b"{'a': 'it\\'s \"so\"', \"b\": \"don't\"}", [{"a": 'it\'s "so"', "b": "don't"}]),
    (b'{"a": "}]{[\\"\\\\"}', [{"a": '}]{["\\'}]),
    (b'"str" 5 true null ', ["str", 5, True, None]),
    ('{"a": "ä\\u00e4"}'.encode(), [{"a": "ää"}]),
    (b'{"a": 1', []),
    (b'{"execute": broken}{"a": 1}', ["JSON parse error, invalid keyword 'broken'", {"a": 1}]),
    (b'}{"a": 1}', ["JSON parse error, Expecting value at byte 0", {"a": 1}]),
    (b'{"a": ]{"a": 1}', ["JSON parse error, Expecting value at byte 6", {"a": 1}]),
    (b'{"a": 1, "a": 2}', ["JSON parse error, duplicate key"]),
    (b'{"a": NaN}', ["JSON parse error, invalid keyword 'NaN'"]),
    (b'{"a": "\xff"}{}', ["JSON parse error, stray byte 0xff", {}]),
    (b'{"a": "\xc3("}{}', ["JSON parse error, invalid UTF-8", {}]),
    (b'{\xff{"a": 1}', ["JSON parse error, stray byte 0xff", {"a": 1}]),
    (b'{\x01{"a": 1}', ["JSON parse error, stray byte 0x01", {"a": 1}]),
    (b'{\'bad \xff{"a": 1}', ["JSON parse error, stray byte 0xff", {"a": 1}]),
    (b"{'execute': 'x', 'id':'\n{\"a\": 1}", ["JSON parse error, stray byte 0x0a", {"a": 1}]),
    (b"{'a': '\\\n, 5 6\n7 ", ["JSON parse error, stray byte 0x0a", 7]),
    (b'%%p{"a": 1}', ["JSON parse error, stray byte 0x25", {"a": 1}]),
    (b'{"a": ' + b"9" * 5000 + b"}{}", None),
]


@pytest.mark.parametrize("data", [data for data, _ in STREAMS])
@pytest.mark.parametrize("step", [0, 1, 3])
def test_values_come_out_as_they_are_however_they_arrive(data: bytes, step: int) -> None:
    expected = dict(STREAMS)[data]
    found = read(data, step=step)
    if expected is None:
        assert str(found[0]).startswith("JSON parse error, ")
        assert found[1:] == [{}]
    else:
        assert found == expected


def test_an_open_brace_swallows_what_follows() -> None:
    assert read(b'{"a": {"execute": "quit"}') == []


@pytest.mark.parametrize("bomb", [b"[" * (MOST_DEPTH + 1), b'{"a":' * (MOST_DEPTH + 1)])
def test_bomb_of_depth_ends_the_stream(bomb: bytes) -> None:
    with pytest.raises(BombError, match="deep"):
        read(bomb)


def test_deepest_value_is_read() -> None:
    assert read(b"[" * MOST_DEPTH + b"]" * MOST_DEPTH) != []


@pytest.mark.parametrize("start", [b'"', b'{"a": "', b"[1, ", b"x"])
def test_bomb_of_size_ends_the_stream_in_bounded_memory(start: bytes) -> None:
    reader = Reader()
    reader.feed(start)
    piece = b"7" * (1 << 20)
    with pytest.raises(BombError, match=r"longer than|a word of more than"):
        feed_all(reader, piece, 2 * MOST_BYTES)
    assert reader.pending <= MOST_BYTES + 2 * len(piece)


def feed_all(reader: Reader, piece: bytes, size: int) -> None:
    for _ in range(size // len(piece)):
        reader.feed(piece)
        assert list(reader.values()) == []


def test_random_bytes_never_raise_anything_else() -> None:
    rng = random.Random(7)
    for _ in range(3000):
        data = bytes(rng.choice(b"{}[]\"'\\ :,a1\xff\xc3\n\0%") for _ in range(rng.randrange(40)))
        with contextlib.suppress(BombError):
            read(data, step=rng.randrange(1, 5))


def test_random_values_survive_in_any_pieces() -> None:
    rng = random.Random(8)

    def value(depth: int) -> object:
        kind = rng.randrange(6 if depth else 4)
        if kind == 0:
            return rng.randrange(-(1 << 40), 1 << 40)
        if kind == 1:
            return "".join(rng.choice("a\"'\\{}[]\n é") for _ in range(rng.randrange(8)))
        if kind in (2, 3):
            return rng.choice([True, False, None])
        if kind == 4:
            return [value(depth - 1) for _ in range(rng.randrange(4))]
        return {str(n): value(depth - 1) for n in range(rng.randrange(4))}

    for _ in range(300):
        values = [{"v": value(3)} for _ in range(3)]
        data = b" ".join(json.dumps(v).encode() for v in values)
        assert read(data, step=rng.randrange(1, 9)) == values
