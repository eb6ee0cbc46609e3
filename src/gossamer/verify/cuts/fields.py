"""The state of a machine as named values, to say in words where two machines differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

import numpy as np

from gossamer.base.units import PAGE_SIZE
from gossamer.machines.machine import Machine, Part
from gossamer.state.declare import ChildState, State, Stateful
from gossamer.state.layout import Item, Nested, View
from gossamer.state.transfer import (
    OURS,
    field_view,
    layout_of,
    nested_of,
    sent_subsections,
    subsection_items,
)

SHOWN: Final = 40
"""Differences printed at the most; the rest is counted."""


def fields(owner: Stateful, path: str) -> Iterator[tuple[str, Any]]:
    """(path, value) of everything that `save` writes for `owner`, in wire order."""
    owner.pre_save()
    yield from _items(owner, layout_of(owner, OURS), path)
    for sub in sent_subsections(owner, OURS):
        yield from _items(owner, subsection_items(owner, sub), f"{path} {sub.name}:")


def _items(
    owner: Stateful, items: Iterable[Item | ChildState], path: str
) -> Iterator[tuple[str, Any]]:
    for item in items:
        if isinstance(item, str):
            view = field_view(owner, item)
            yield f"{path} {item}", view.get(owner)
        elif isinstance(item, View):
            yield f"{path} {item.name}", item.get(owner)
        elif isinstance(item, Nested):
            yield from _nested(owner, item, path)
        elif isinstance(item, ChildState):
            for one in nested_of(owner, item):
                yield from _nested(owner, one, path)


def _nested(owner: Stateful, item: Nested, path: str) -> Iterator[tuple[str, Any]]:
    if item.when is not None and not item.when(owner):
        return
    target = item.target(owner)
    if item.layout is None:
        yield from fields(target, f"{path} {item.name}.")
    else:
        yield from _items(target, item.layout, f"{path} {item.name}.")


class Composed(Protocol):
    """Chips in their places: a machine, or a few chips of one."""

    @property
    def parts(self) -> Sequence[Part]: ...


def objects(machine: Composed) -> Iterator[tuple[str, Stateful]]:
    """Every object with declared state, by its path in the composition."""
    seen = {id(part.device) for part in machine.parts}
    for part in machine.parts:
        yield from _family(part.device, part.path, seen)


def _family(owner: Stateful, path: str, seen: set[int]) -> Iterator[tuple[str, Stateful]]:
    """The object, its children, and what else travels in its section (the drives of a bus)."""
    yield path, owner
    for name, declared in owner.declared.items():
        if isinstance(declared, ChildState):
            for n, one in enumerate(declared.objects(owner)):
                index = "" if declared.count is None else f"[{n}]"
                seen.add(id(one))
                yield from _family(one, f"{path}.{name}{index}", seen)
    for item in layout_of(owner, OURS):
        if isinstance(item, Nested) and item.layout is None:
            target = item.target(owner)
            if id(target) not in seen:
                seen.add(id(target))
                yield from _family(target, f"{path}.{item.name}", seen)


def attributes(machine: Composed) -> dict[str, Any]:
    """Every declared state attribute, whether a stream would carry it now or not."""
    out: dict[str, Any] = {}
    for path, owner in objects(machine):
        for name, declared in owner.declared.items():
            if isinstance(declared, State):
                out[f"{path}.{name}"] = plain(declared.value(owner))
    return out


def plain(value: Any) -> Any:  # noqa: ANN401 - a codec's value
    """A copy that later changes do not reach."""
    if isinstance(value, bytearray):
        return bytes(value)
    return list(value) if isinstance(value, list) else value


def not_carried(before: dict[str, Any], machine: Composed) -> list[str]:
    """A line for each declared attribute that a save and load did not carry."""
    after = attributes(machine)
    return [
        line
        for path, value in before.items()
        if after[path] != value
        for line in described(path, value, after[path])
    ]


def differences(a: Machine, b: Machine) -> list[str]:
    """A line for each value that differs between machines `a` (uncut) and `b`."""
    out: list[str] = []
    for one, other in zip(a.sections, b.sections, strict=True):
        ours = dict(fields(one.device, one.title))
        theirs = dict(fields(other.device, other.title))
        for path in [*ours, *(p for p in theirs if p not in ours)]:
            if ours.get(path) != theirs.get(path):
                out += described(path, ours.get(path), theirs.get(path))
    out += _ram_differences(a, b)
    return out


def described(path: str, a: Any, b: Any) -> list[str]:  # noqa: ANN401 - a codec's value
    """Lines for a value that is `a` in the uncut run and `b` in the cut one."""
    path = path.replace(". ", ".")
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        pairs = [(n, x, y) for n, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
        return [f"{path}[{n}]: {_shown(x)} uncut, {_shown(y)} cut" for n, x, y in pairs]
    if isinstance(a, bytes | bytearray) and isinstance(b, bytes | bytearray):
        where = [n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y]
        first = where[0] if where else min(len(a), len(b))
        return [f"{path}: {len(where)} bytes differ, the first at {first:#x}"]
    return [f"{path}: {_shown(a)} uncut, {_shown(b)} cut"]


def _shown(value: object) -> str:
    if value is None:
        return "absent"
    return f"{value:#x}" if isinstance(value, int) and not isinstance(value, bool) else repr(value)


def _ram_differences(a: Machine, b: Machine) -> list[str]:
    out = []
    for one, other in zip(a.arena.blocks, b.arena.blocks, strict=True):
        ours = a.arena.bytes_of(one).reshape(-1, PAGE_SIZE)
        theirs = b.arena.bytes_of(other).reshape(-1, PAGE_SIZE)
        for page in np.flatnonzero((ours != theirs).any(axis=1)).tolist():
            where = np.flatnonzero(ours[page] != theirs[page])
            at = int(where[0])
            out.append(
                f"{one.name} page {page:#x}: {len(where)} bytes differ, the first at "
                f"{page * PAGE_SIZE + at:#x}: {ours[page][at]:#04x} uncut, "
                f"{theirs[page][at]:#04x} cut"
            )
    return out


def listed(lines: list[str]) -> list[str]:
    """At most `SHOWN` lines, and how many more there are."""
    more = len(lines) - SHOWN
    return lines[:SHOWN] + ([f"... and {more} more"] if more > 0 else [])
