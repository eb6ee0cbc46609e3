"""The types that arguments and results of commands are made of, taken from Python's annotations.

| annotation | on the wire |
|---|---|
| ``str``, ``int``, ``float``, ``bool`` | string, integer, number, boolean |
| ``Size`` | an integer from 0 to 2**64-1 |
| ``object`` | any JSON value |
| a ``StrEnum`` | one of its values |
| ``tuple[X, ...]`` | array |
| a data class | object; a field with a default may be left out, None is not sent |
| ``X | None`` with a default | may be left out |
| ``A | B`` of data classes | object with variants; the first field of each is a ``Literal`` |
| ``str | A``, ``str | int`` and so on | an alternate, distinguished by the kind of JSON value |

Names: an underscore becomes a dash; ``Annotated[X, Name("as_is")]`` says otherwise.  Errors have
the words of QEMU 7.2.
"""

from __future__ import annotations

import base64
import typing
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NewType, TypeAlias

from gossamer.base.data import Data, fields, is_data
from gossamer.base.errors import GossamerError

Size = NewType("Size", int)
Json: TypeAlias = Any
#: The smallest and the largest integer of a type.
_I64: Final = -(1 << 63), (1 << 63) - 1
_U64: Final = 0, (1 << 64) - 1


class ArgumentError(GossamerError):
    """An argument that does not fit its type; the text is QEMU's."""


class Name(Data):
    """The name on the wire, where it is not the attribute's with dashes."""

    text: str


class Builtin(Data):
    """A type without parts; `word` is what QEMU's errors call it."""

    name: str
    word: str
    python: tuple[type, ...]


class Enumeration(Data):
    """Strings; `python` is None for a one-valued literal."""

    name: str
    values: tuple[str, ...]
    python: type[StrEnum] | None = None


class Array(Data):
    """Any number of values of one type."""

    of: Type


class Member(Data):
    """A named value of an object, or an argument of a command."""

    name: str
    attribute: str
    type: Type
    optional: bool = False
    bytes: bool = False


class Struct(Data):
    """An object with named members."""

    name: str
    members: tuple[Member, ...]
    python: type


class Variants(Data):
    """An object whose `tag` says which of the structures it is."""

    name: str
    tag: str
    cases: Mapping[str, Struct]


class Alternate(Data):
    """A value of one of several types, distinguished by its JSON kind."""

    name: str
    choices: tuple[Type, ...]


Type: TypeAlias = Builtin | Enumeration | Array | Struct | Variants | Alternate

STR: Final = Builtin("str", "string", (str,))
INT: Final = Builtin("int", "integer", (int,))
SIZE: Final = Builtin("size", "integer", (int,))
NUMBER: Final = Builtin("number", "number", (int, float))
BOOL: Final = Builtin("bool", "boolean", (bool,))
ANY: Final = Builtin("any", "value", (object,))
_BUILTINS: Final[Mapping[object, Builtin]] = {
    str: STR, int: INT, Size: SIZE, float: NUMBER, bool: BOOL, object: ANY, bytes: STR,
}  # fmt: skip


# --- from annotations ---------------------------------------------------------------------------


@cache
def type_of(annotation: Any) -> Type:  # noqa: ANN401 - whatever stands in a signature
    """The type that an annotation means; TypeError for one that has no meaning here."""
    if annotation in _BUILTINS:
        return _BUILTINS[annotation]
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return type_of(inside[0])
    if origin is Literal:
        return Enumeration("", tuple(inside))
    if origin is tuple and inside[1:] == (Ellipsis,):
        return Array(type_of(inside[0]))
    if origin in (UnionType, typing.Union):
        return _union([one for one in inside if one is not NoneType])
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return Enumeration(annotation.__name__, tuple(annotation), annotation)
    if is_data(annotation):
        return Struct(annotation.__name__, fields_of(annotation), annotation)
    raise TypeError(f"{annotation} means nothing in the table of commands")


def _union(inside: list[Any]) -> Type:
    if len(inside) == 1:
        return type_of(inside[0])
    types = tuple(type_of(one) for one in inside)
    name = "Or".join(getattr(one, "name", "list") for one in types)
    structs = [one for one in types if isinstance(one, Struct)]
    if len(structs) < len(types):
        return Alternate(name, types)
    tag = structs[0].members[0].name
    cases: dict[str, Struct] = {}
    for struct in structs:
        first = struct.members[0]
        if first.name != tag or not isinstance(first.type, Enumeration):
            raise TypeError(f"{struct.name}: its first field must be the literal {tag!r}")
        cases |= dict.fromkeys(first.type.values, struct)
    return Variants(name, tag, cases)


def fields_of(made: type[Data]) -> tuple[Member, ...]:
    """The members of a data class."""
    hints = typing.get_type_hints(made, include_extras=True)
    return tuple(member(f.name, hints[f.name], optional=not f.is_required) for f in fields(made))


def member(attribute: str, annotation: Any, *, optional: bool) -> Member:  # noqa: ANN401
    """A field or an argument by its name in Python."""
    name = attribute.rstrip("_").replace("_", "-")
    for extra in getattr(annotation, "__metadata__", ()):
        name = extra.text if isinstance(extra, Name) else name
    bare = annotation.__origin__ if typing.get_origin(annotation) is Annotated else annotation
    return Member(name, attribute, type_of(annotation), optional, bare is bytes)


# --- values -------------------------------------------------------------------------------------


def parsed(kind: Type, value: Json, path: str) -> Any:  # noqa: ANN401
    """A JSON value as Python's; ArgumentError names `path`."""
    match kind:
        case Builtin():
            return _builtin(kind, value, path)
        case Enumeration():
            if not isinstance(value, str):
                raise _wrong(path, "string")
            if value not in kind.values:
                raise ArgumentError(f"Parameter '{path}' does not accept value '{value}'")
            return value if kind.python is None else kind.python(value)
        case Array():
            if not isinstance(value, list):
                raise _wrong(path, "array")
            return tuple(parsed(kind.of, one, f"{path}[{n}]") for n, one in enumerate(value))
        case Struct():
            if not isinstance(value, dict):
                raise _wrong(path, "object")
            return kind.python(**arguments(kind.members, value, f"{path}." if path else ""))
        case Variants():
            return _variant(kind, value, path)
        case Alternate():
            return _alternate(kind, value, path)


def arguments(
    members: tuple[Member, ...], given: Mapping[str, Json], path: str, rest: str = ""
) -> dict[str, Any]:
    """Python's keyword arguments from an object; ArgumentError for what lacks or is too much.

    `rest`: the argument that takes all that has no name of its own, if there is one.
    """
    known = {one.name for one in members}
    out: dict[str, Any] = {}
    for name in given:
        if name not in known and not rest:
            raise ArgumentError(f"Parameter '{path}{name}' is unexpected")
    if rest:
        out[rest] = {name: value for name, value in given.items() if name not in known}
    for one in members:
        if one.name in given:
            value = parsed(one.type, given[one.name], path + one.name)
            out[one.attribute] = _decoded(value, path + one.name) if one.bytes else value
        elif not one.optional:
            raise ArgumentError(f"Parameter '{path}{one.name}' is missing")
    return out


def _decoded(text: str, path: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ArgumentError(f"Parameter '{path}' expects base64") from None


def _wrong(path: str, word: str) -> ArgumentError:
    return ArgumentError(f"Invalid parameter type for '{path}', expected: {word}")


def _builtin(kind: Builtin, value: Json, path: str) -> Any:  # noqa: ANN401
    if kind is ANY:
        return value
    if not isinstance(value, kind.python) or (isinstance(value, bool) and kind is not BOOL):
        raise _wrong(path, kind.word)
    if kind in (INT, SIZE):
        assert isinstance(value, int)
        least, most = _I64 if kind is INT else _U64
        if not least <= value <= most:
            raise ArgumentError(f"Parameter '{path}' expects {least} to {most}")
    return value


def _variant(kind: Variants, value: Json, path: str) -> Any:  # noqa: ANN401
    if not isinstance(value, dict):
        raise _wrong(path, "object")
    where = f"{path}.{kind.tag}" if path else kind.tag
    if kind.tag not in value:
        raise ArgumentError(f"Parameter '{where}' is missing")
    tag = value[kind.tag]
    if not isinstance(tag, str):
        raise _wrong(where, "string")
    if tag not in kind.cases:
        raise ArgumentError(f"Parameter '{where}' does not accept value '{tag}'")
    return parsed(kind.cases[tag], value, path)


def _alternate(kind: Alternate, value: Json, path: str) -> Any:  # noqa: ANN401
    for choice in kind.choices:
        if _json_kind(choice) == _kind_of(value):
            return parsed(choice, value, path)
    raise _wrong(path, kind.name)


def _json_kind(kind: Type) -> str:
    match kind:
        case Builtin():
            return kind.word
        case Enumeration():
            return "string"
        case Array():
            return "array"
    return "object"


def _kind_of(value: Json) -> str:
    kinds = {bool: "boolean", str: "string", int: "integer", float: "number", list: "array"}
    return kinds.get(type(value), "object" if isinstance(value, dict) else "null")


def dumped(value: Any) -> Json:  # noqa: ANN401
    """A result as a JSON value: structures become objects without the members that are None."""
    if isinstance(value, Data):
        shape = type_of(type(value))
        assert isinstance(shape, Struct)
        found = ((one, getattr(value, one.attribute)) for one in shape.members)
        return {one.name: dumped(part) for one, part in found if part is not None}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, list | tuple):
        return [dumped(one) for one in value]
    if isinstance(value, Mapping):
        return {name: dumped(one) for name, one in value.items()}
    return value
