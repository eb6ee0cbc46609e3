"""What a class declares, in stretches: fields that are taken from the wire in one step.

A stretch is one object's.  A row is that of many objects of a class that holds nothing but plain
integers (an interrupt controller has thousands of sources).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import chain
from operator import attrgetter
from struct import Struct
from typing import Any, Final, TypeAlias

from gossamer.base.data import Data
from gossamer.state.codec import Array, Bool, Buffer, Int, Octets, Unused
from gossamer.state.declare import ChildState, State, Stateful
from gossamer.state.layout import Constant, Item, Nested, Subsection, View

_LEAST: Final = 2
"""Fields that are worth a stretch."""
_MOST_KEPT: Final = 4096
"""Lists of items that are remembered; only a class that makes them anew each time has so many."""

Items: TypeAlias = "Sequence[Item | ChildState]"
Steps: TypeAlias = "Sequence[Item | ChildState | Stretch | Elements]"


class Row(Data):
    """Plain integers that are all there is of an object."""

    names: tuple[str, ...]
    packed: Struct


class Slot(Data):
    """A field of a stretch: which of its values are this field's, and what they become.

    `make` gives the field's value for them, None: there is one, as it is; `spread` what the field's
    value is in the stretch, None: as it is.  Both raise ValueError where it is no such value.
    """

    view: View
    first: int
    behind: int
    make: Callable[[Any], Any] | None
    spread: Callable[[Any], Any] | None


class Stretch(Data):
    """Fields that every such section has, each of one size.

    `take` and `given` raise an error where a field cannot be taken or given so; the fields one by
    one then say which it is.
    """

    items: tuple[Item | ChildState, ...]
    packed: Struct
    slots: tuple[Slot, ...]

    def take(self, owner: Stateful, data: memoryview) -> None:
        """Set the owner's fields."""
        values = self.packed.unpack(data)
        for slot in self.slots:
            make = slot.make
            if make is None:
                slot.view.put(owner, values[slot.first])
            else:
                slot.view.put(owner, make(values[slot.first : slot.behind]))

    def given(self, owner: Stateful) -> bytes:
        """The owner's fields."""
        values: list[Any] = []
        for slot in self.slots:
            value = slot.view.get(owner)
            if slot.spread is None:
                values.append(value)
            else:
                values += slot.spread(value)
        return self.packed.pack(*values)


class Elements(Data):
    """Objects of a list that follow each other on the wire."""

    items: tuple[Nested, ...]
    name: str
    first: int

    def objects(self, owner: Stateful) -> list[Stateful]:
        listed: list[Stateful] = getattr(owner, self.name)
        return listed[self.first : self.first + len(self.items)]


@cache
def declared_items(kind: type[Stateful], within: Subsection | None) -> Items:
    """What a class declares for its section or a subsection, in that order: asked at every save."""
    return tuple(
        d.name if isinstance(d, State) else d
        for d in kind.declared.values()
        if isinstance(d, State | ChildState) and d.within is within
    )


def layout_items(kind: type[Stateful], layout: Items) -> Items:
    """The items of a layout of the class, with its nested objects in place of their names."""
    nested = _nested(kind)
    if not nested:
        return layout
    return [nested.get(item, item) if isinstance(item, str) else item for item in layout]


@cache
def _nested(kind: type[Stateful]) -> Mapping[str, ChildState]:
    return {name: d for name, d in kind.declared.items() if isinstance(d, ChildState)}


_kept: dict[tuple[type[Stateful], int, int], tuple[Items, Steps]] = {}


def steps_of(kind: type[Stateful], items: Items, version: int) -> Steps:
    """What is taken one after the other: `items` of a section of `version`, in stretches.

    `items` is what a class declares or a layout of it: it is worked out once for each.
    """
    key = kind, id(items), version
    found = _kept.get(key)
    if found is None:
        if len(_kept) >= _MOST_KEPT:
            _kept.clear()
        # The items are kept with it, so that their identity is never another's.
        found = _kept[key] = items, _in_stretches(kind, layout_items(kind, items), version)
    return found[1]


def _in_stretches(kind: type[Stateful], items: Items, version: int) -> Steps:
    out: list[Item | ChildState | Stretch | Elements] = []
    together: list[tuple[Item | ChildState, View | Constant, str]] = []
    listed: list[Nested] = []

    def close() -> None:
        if len(together) < _LEAST:
            out.extend(item for item, _, _ in together)
        else:
            out.append(_stretch(together))
        together.clear()
        if len(listed) < _LEAST:
            out.extend(listed)
        else:
            assert listed[0].element is not None
            out.append(Elements(tuple(listed), *listed[0].element))
        listed.clear()

    for item in items:
        if isinstance(item, Nested) and item.element is not None:
            name, number = item.element
            if together or (listed and listed[-1].element != (name, number - 1)):
                close()
            listed.append(item)
            continue
        if listed:
            close()
        field = _field(kind, item)
        if field is not None and field.since > version and not getattr(field, "when", None):
            continue  # such a section has no such field
        letters = "" if field is None else _letters(field)
        if field is None or not letters:
            close()
            out.append(item)
        else:
            together.append((item, field, letters))
    close()
    return out


def _field(kind: type[Stateful], item: Item | ChildState) -> View | Constant | None:
    """An item that is a single field."""
    if isinstance(item, str):
        declared = kind.declared[item]
        assert isinstance(declared, State), f"{kind.__name__}.{item} is no state"
        return declared.view
    return item if isinstance(item, View | Constant) else None


def _letters(field: View | Constant) -> str:
    """Of `struct`, for a field that is always there and of one size; "" for any other."""
    codec = field.codec
    if isinstance(field, Constant):
        return f"{codec.size}x" if isinstance(codec, Unused) else ""
    if field.when is not None or field.sized is not None or field.compat:
        return ""
    if type(codec) is Int:
        return codec.letter
    if type(codec) is Bool:
        return "B"
    if type(codec) in (Buffer, Octets):
        return f"{codec.size}s"
    if type(codec) is Array and type(codec.of) is Int:
        return f"{codec.count}{codec.of.letter}"
    return ""


def _stretch(together: Sequence[tuple[Item | ChildState, View | Constant, str]]) -> Stretch:
    slots, at = [], 0
    for _, field, _ in together:
        if isinstance(field, Constant):
            continue
        codec = field.codec
        count = codec.count if type(codec) is Array else 1
        make, spread = _both_ways(codec)
        slots.append(Slot(field, at, at + count, make, spread))
        at += count
    letters = "".join(letters for _, _, letters in together)
    items = tuple(item for item, _, _ in together)
    return Stretch(items, Struct(">" + letters), tuple(slots))


def _both_ways(
    codec: object,
) -> tuple[Callable[[Any], Any] | None, Callable[[Any], Any] | None]:
    """What makes a field's value of those of a stretch, and the other way."""
    if type(codec) is Array:
        return list, _of_length(codec.count, lambda value: value)
    if isinstance(codec, Buffer | Octets):
        return lambda values: bytearray(values[0]), _of_length(codec.size, lambda value: (value,))
    if isinstance(codec, Bool):
        return _truth, lambda value: (bool(value),)
    return None, None


def _of_length(length: int, spread: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:  # noqa: ANN401 - a list or a buffer
        if len(value) != length:
            raise ValueError(f"{len(value)} elements, expected {length}")
        return spread(value)

    return checked


def _truth(values: Sequence[int]) -> bool:
    if values[0] > 1:
        raise ValueError(f"a bool must be 0 or 1, got {values[0]}")
    return bool(values[0])


@cache
def plain_row(kind: type[Stateful]) -> Row | None:
    """The row that is all there is of such an object; None where there is more to it.

    More is a subsection, a layout, or something that is done before a save or after a load.
    """
    fields = [kind.declared[item] for item in declared_items(kind, None) if isinstance(item, str)]
    if not _is_plain(kind) or len(fields) < _LEAST:
        return None
    if len(fields) != len(declared_items(kind, None)):
        return None
    letters = "".join(_plain_letter(kind, d) for d in fields)
    if len(letters) != len(fields):
        return None
    return Row(tuple(d.name for d in fields), Struct(">" + letters))


def _plain_letter(kind: type[Stateful], d: object) -> str:
    """Of an integer attribute that is on the wire as it is; "" for anything else."""
    if type(d) is not State or not isinstance(d.codec, Int):
        return ""
    return d.codec.letter if d.when is None and not d.clock and d.since <= kind.version else ""


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


class Bulk(Data):
    """Objects of one class with nested ones, all of it of one size: how each is taken in a step.

    `parts` are the object itself (no name) and the nested ones, with their slots of `packed`;
    `inside` the names of the nested ones' descriptions.
    """

    packed: Struct
    parts: tuple[tuple[str, tuple[Slot, ...]], ...]
    inside: tuple[str, ...]

    def take(self, objects: Sequence[Stateful], data: memoryview) -> None:
        """Set the objects' fields."""
        for one, values in zip(objects, self.packed.iter_unpack(data), strict=True):
            for name, slots in self.parts:
                target = getattr(one, name) if name else one
                for slot in slots:
                    make = slot.make
                    value = values[slot.first]
                    if make is not None:
                        value = make(values[slot.first : slot.behind])
                    setattr(target, slot.view.name, value)

    def given(self, objects: Sequence[Stateful]) -> bytes:
        """The objects' fields."""
        values: list[Any] = []
        for one in objects:
            for name, slots in self.parts:
                target = getattr(one, name) if name else one
                for slot in slots:
                    value = getattr(target, slot.view.name)
                    if slot.spread is None:
                        values.append(value)
                    else:
                        values += slot.spread(value)
        return Struct(">" + self.packed.format[1:] * len(objects)).pack(*values)


@cache
def bulk_of(kind: type[Stateful]) -> Bulk | None:
    """How many objects of a class are taken at once; None where they cannot be."""
    if kind.layouts:
        return None
    letters, parts, inside, at = "", [], [], 0
    for item in declared_items(kind, None):
        name, of = "", kind
        if isinstance(item, ChildState):
            name, of = item.name, item.kind
            if item.count is not None or not _is_plain(of):
                return None
            inside.append(of.vmsd)
        fields = [item] if of is kind else declared_items(of, None)
        slots: list[Slot] = []
        for field in fields:
            d = of.declared[field] if isinstance(field, str) else None
            if type(d) is not State or d.clock or d.wire or d.since > of.version:
                return None
            if not (more := _letters(d.view)):
                return None
            count = d.codec.count if type(d.codec) is Array else 1
            slots.append(Slot(d.view, at, at + count, *_both_ways(d.codec)))
            letters, at = letters + more, at + count
        parts.append((name, tuple(slots)))
    return Bulk(Struct(">" + letters), tuple(parts), tuple(inside)) if inside else None


def _is_plain(kind: type[Stateful]) -> bool:
    """Whether a class declares all that there is to its objects."""
    does_more = kind.pre_save is not Stateful.pre_save or kind.post_load is not Stateful.post_load
    return not (does_more or kind.subsections or kind.layouts)
