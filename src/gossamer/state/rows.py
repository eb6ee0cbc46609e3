"""What a class declares, as rows: integers that follow each other on the wire, taken in one step.

A row is one object's, or that of many objects of a class that holds nothing else (an interrupt
controller has thousands of sources).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain, groupby
from operator import attrgetter
from struct import Struct
from typing import Any, Final

from gossamer.base.data import Data
from gossamer.state.codec import Int
from gossamer.state.declare import ChildState, State, Stateful
from gossamer.state.layout import Item, Layout, Subsection

_LEAST_ROW: Final = 2

Items = Sequence[Item | ChildState]


class Row(Data):
    """Plain integers that follow each other on the wire."""

    names: tuple[str, ...]
    packed: Struct


@cache
def declared_items(kind: type[Stateful], within: Subsection | None) -> Items:
    """What a class declares for its section or a subsection, in that order: asked at every save."""
    return tuple(
        d.name if isinstance(d, State) else d
        for d in kind.declared.values()
        if isinstance(d, State | ChildState) and d.within is within
    )


def layout_items(kind: type[Stateful], layout: Layout) -> Items:
    """The items of a layout of the class, with its nested objects in place of their names."""
    nested = _nested(kind)
    if not nested:
        return layout
    return [nested.get(item, item) if isinstance(item, str) else item for item in layout]


@cache
def _nested(kind: type[Stateful]) -> Mapping[str, ChildState]:
    return {name: d for name, d in kind.declared.items() if isinstance(d, ChildState)}


@cache
def rows_of(kind: type[Stateful], version: int) -> Sequence[Item | ChildState | Row]:
    """What a class declares for its section of `version`, integers in rows."""
    out: list[Item | ChildState | Row] = []
    for plain, group in groupby(
        declared_items(kind, None), lambda item: bool(_letter(kind, version, item))
    ):
        items = tuple(group)
        if not plain or len(items) < _LEAST_ROW:
            out += items
            continue
        letters = "".join(_letter(kind, version, item) for item in items)
        out.append(Row(tuple(str(item) for item in items), Struct(">" + letters)))
    return out


def _letter(kind: type[Stateful], version: int, item: Item | ChildState) -> str:
    """Of an integer attribute that every such section has as it is; "" for anything else."""
    d = kind.declared[item] if isinstance(item, str) else None
    if not isinstance(d, State) or type(d) is not State or not isinstance(d.codec, Int):
        return ""
    return d.codec.letter if d.when is None and not d.clock and d.since <= version else ""


@cache
def plain_row(kind: type[Stateful]) -> Row | None:
    """The row that is all there is of such an object; None where there is more to it.

    More is a subsection, a layout, or something that is done before a save or after a load.
    """
    does_more = kind.pre_save is not Stateful.pre_save or kind.post_load is not Stateful.post_load
    rows = rows_of(kind, kind.version)
    if does_more or kind.subsections or kind.layouts or len(rows) != 1:
        return None
    return rows[0] if isinstance(rows[0], Row) else None


def packed_all(row: Row, objects: Sequence[Stateful]) -> bytes:
    """The objects' rows; `struct.error` when a value is none."""
    whole = Struct(">" + row.packed.format[1:] * len(objects))
    return whole.pack(*chain.from_iterable(map(attrgetter(*row.names), objects)))


def unpack_all(row: Row, objects: Sequence[Stateful], data: memoryview) -> None:
    """Set the objects' attributes."""
    columns: Any = zip(*row.packed.iter_unpack(data), strict=True)
    for name, values in zip(row.names, columns, strict=True):
        for one, value in zip(objects, values, strict=True):
            setattr(one, name, value)
