"""Types of arguments and results: from annotations, JSON in and out, and words of refusal."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import pytest

from gossamer.base.data import Data
from gossamer.control.commands.rows import TABLE
from gossamer.control.shapes import (
    ArgumentError,
    Name,
    Size,
    arguments,
    dumped,
    member,
    parsed,
    type_of,
)


class Colour(StrEnum):
    RED = "red"
    DARK_BLUE = "dark-blue"


class Point(Data):
    x_place: int
    kept: Annotated[int, Name("as_is")] = 3
    name: str | None = None


class ByName(Data):
    type: Literal["name"]
    data: str


class ByNumber(Data):
    type: Literal["number"]
    data: int


@pytest.mark.parametrize(
    ("annotation", "json", "value"),
    [
        (str, "a", "a"),
        (int, -5, -5),
        (Size, 2**64 - 1, 2**64 - 1),
        (float, 1.5, 1.5),
        (bool, True, True),
        (object, {"a": [None]}, {"a": [None]}),
        (Colour, "dark-blue", Colour.DARK_BLUE),
        (tuple[int, ...], [1, 2], (1, 2)),
        (Point, {"x-place": 1}, Point(1)),
        (Point, {"x-place": 1, "as_is": 2, "name": "n"}, Point(1, 2, "n")),
        (ByName | ByNumber, {"type": "number", "data": 7}, ByNumber("number", 7)),
        (str | Point, {"x-place": 4}, Point(4)),
        (str | Point, "p", "p"),
        (str | None, "p", "p"),
    ],
)
def test_json_becomes_python_and_back(annotation: object, json: object, value: object) -> None:
    assert parsed(type_of(annotation), json, "v") == value
    again = dumped(value)
    assert again == json or again == {"as_is": 3, **json}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("annotation", "json", "said"),
    [
        (str, 5, "Invalid parameter type for 'v', expected: string"),
        (int, "5", "Invalid parameter type for 'v', expected: integer"),
        (int, True, "Invalid parameter type for 'v', expected: integer"),
        (int, 1.0, "Invalid parameter type for 'v', expected: integer"),
        (int, 1 << 63, "Parameter 'v' expects "),
        (Size, -1, "Parameter 'v' expects 0 to "),
        (bool, 1, "Invalid parameter type for 'v', expected: boolean"),
        (bool, None, "Invalid parameter type for 'v', expected: boolean"),
        (Colour, "green", "Parameter 'v' does not accept value 'green'"),
        (Colour, 3, "Invalid parameter type for 'v', expected: string"),
        (tuple[int, ...], {}, "Invalid parameter type for 'v', expected: array"),
        (tuple[int, ...], [1, "2"], "Invalid parameter type for 'v[1]', expected: integer"),
        (Point, [], "Invalid parameter type for 'v', expected: object"),
        (Point, {}, "Parameter 'v.x-place' is missing"),
        (Point, {"x-place": 1, "z": 2}, "Parameter 'v.z' is unexpected"),
        (ByName | ByNumber, {"data": 1}, "Parameter 'v.type' is missing"),
        (ByName | ByNumber, {"type": "x"}, "Parameter 'v.type' does not accept value 'x'"),
        (ByName | ByNumber, {"type": "name", "data": 1}, "Invalid parameter type for 'v.data', "),
        (str | Point, 5, "Invalid parameter type for 'v', expected: strOrPoint"),
    ],
)
def test_what_does_not_fit_is_refused(annotation: object, json: object, said: str) -> None:
    with pytest.raises(ArgumentError) as fault:
        parsed(type_of(annotation), json, "v")
    assert str(fault.value).startswith(said)


def test_arguments_by_name_with_bytes_as_base64() -> None:
    members = (member("some_data", bytes, optional=False), member("id_", str, optional=True))
    assert arguments(members, {"some-data": "aGk="}, "") == {"some_data": b"hi"}
    assert arguments(members, {"some-data": "", "id": "x"}, "") == {"some_data": b"", "id_": "x"}
    for given, said in (
        ({}, "Parameter 'some-data' is missing"),
        ({"some-data": "aGk=", "more": 1}, "Parameter 'more' is unexpected"),
        ({"some-data": "%"}, "Parameter 'some-data' expects base64"),
    ):
        with pytest.raises(ArgumentError, match=said):
            arguments(members, given, "")
    assert dumped({"a": b"hi", "b": (Colour.RED,)}) == {"a": "aGk=", "b": ["red"]}


def test_annotation_without_a_meaning_is_found_at_once() -> None:
    with pytest.raises(TypeError, match="means nothing"):
        type_of(dict)


@pytest.mark.parametrize("name", TABLE.rows)
def test_every_row_has_types_and_one_line_of_help(name: str) -> None:
    row = TABLE.find(name)
    assert row.help
    assert "\n" not in row.help
    assert row.members is not None
    assert row.result is None or row.result
