"""What a build can save and load: descriptions in the form of QEMU's `-dump-vmstate`.

The form has no types, only host sizes; a description made from ours has wire sizes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Final

from gossamer.base.data import Data, replace
from gossamer.base.errors import StreamError
from gossamer.migrate.vmdesc import StreamDesc, StructDesc

MAX_TEXT: Final = 256 << 20
MAX_DEPTH: Final = 48
_NUMBER: Final = re.compile(r"\[\d+\]$")


class Field(Data):
    """One field.  `size` is of one element in bytes, of the host's struct where `struct` is there.

    `count` None: not an array of a fixed length.  `conditional`: a predicate decides whether it is
    sent, so `since` does not.
    """

    name: str
    size: int
    since: int = 0
    conditional: bool = False
    count: int | None = None
    struct: State | None = None

    @property
    def length(self) -> int:
        return self.size * (1 if self.count is None else self.count)


class State(Data):
    """A description: a section's, a struct's or a subsection's."""

    name: str
    version: int
    minimum: int
    fields: tuple[Field, ...] = ()
    subsections: tuple[State, ...] = ()


class Device(Data):
    """A device class and its description; versions as the class registers them."""

    name: str
    version: int
    minimum: int
    state: State


class Machine(Data):
    """Everything one build knows for one machine type."""

    name: str
    devices: Mapping[str, Device]

    def by_state(self, name: str) -> list[Device]:
        """The devices whose description has that name (the name that a stream shows)."""
        return [d for d in self.devices.values() if d.state.name == name]


def read(text: str, source: str = "dump") -> Machine:
    """Read a `-dump-vmstate` file; StreamError names the place."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as fault:
        raise StreamError(f"is not JSON: {fault}", source) from None
    if not isinstance(tree, dict):
        raise StreamError(f"an object is expected, got {type(tree).__name__}", source)
    machine = tree.get("vmschkmachine")
    if not isinstance(machine, dict) or not isinstance(machine.get("Name"), str):
        raise StreamError("is not a -dump-vmstate file: no vmschkmachine", source)
    devices = {}
    for name, item in tree.items():
        if name == "vmschkmachine":
            continue
        path = f"{source}/{name}"
        devices[name] = Device(
            name,
            _number(item, "version_id", path),
            _number(item, "minimum_version_id", path),
            _state(_object(item, path).get("Description"), path, 0),
        )
    return Machine(machine["Name"], devices)


def _object(item: object, path: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise StreamError(f"an object is expected, got {type(item).__name__}", path)
    return item


def _number(item: object, key: str, path: str) -> int:
    value = _object(item, path).get(key, 0)
    if not isinstance(value, int) or not -1 << 31 <= value < 1 << 40:
        raise StreamError(f"{key} must be a number, got {value!r:.60}", path)
    return value


def _list(item: dict[str, Any], key: str, path: str) -> list[Any]:
    value = item.get(key, [])
    if not isinstance(value, list):
        raise StreamError(f"{key} must be a list, got {type(value).__name__}", path)
    return value


def _state(item: object, path: str, depth: int) -> State:
    if depth > MAX_DEPTH:
        raise StreamError(f"nested deeper than {MAX_DEPTH}", path)
    tree = _object(item, path)
    return State(
        str(tree.get("name", "")),
        _number(tree, "version_id", path),
        _number(tree, "minimum_version_id", path),
        tuple(_field(f, path, depth) for f in _list(tree, "Fields", path)),
        tuple(
            _state(s, f"{path}/Subsections[{i}]", depth + 1)
            for i, s in enumerate(_list(tree, "Subsections", path))
        ),
    )


def _field(item: object, path: str, depth: int) -> Field:
    tree = _object(item, path)
    name = str(tree.get("field", ""))
    path = f"{path}/{name}"
    nested = tree.get("Description")
    return Field(
        name,
        _number(tree, "size", path),
        _number(tree, "version_id", path),
        bool(tree.get("field_exists", False)),
        _number(tree, "num", path) if "num" in tree else None,
        None if nested is None else _state(nested, path, depth + 1),
    )


def write(machine: Machine) -> str:
    """The text of a `-dump-vmstate` file."""
    tree: dict[str, Any] = {"vmschkmachine": {"Name": machine.name}}
    for name, device in machine.devices.items():
        tree[name] = {
            "Name": name,
            "version_id": device.version,
            "minimum_version_id": device.minimum,
            "Description": _state_json(device.state),
        }
    return json.dumps(tree, indent=2) + "\n"


def _state_json(state: State) -> dict[str, Any]:
    out: dict[str, Any] = {
        "name": state.name,
        "version_id": state.version,
        "minimum_version_id": state.minimum,
    }
    if state.fields:
        out["Fields"] = [_field_json(f) for f in state.fields]
    if state.subsections:
        out["Subsections"] = [_state_json(s) for s in state.subsections]
    return out


def _field_json(field: Field) -> dict[str, Any]:
    out: dict[str, Any] = {
        "field": field.name,
        "version_id": field.since,
        "field_exists": field.conditional,
    }
    if field.count is not None:
        out["num"] = field.count
    out["size"] = field.size
    if field.struct is not None:
        out["Description"] = _state_json(field.struct)
    return out


def from_json(tree: Mapping[str, Any]) -> State:
    """A description from JSON in the form of a stream (`state.describe` with `every`).

    `minimum_version` may be given (else: the version); a field may have `since` and `conditional`.
    """
    version = int(tree["version"])
    return State(
        str(tree["vmsd_name"]),
        version,
        int(tree.get("minimum_version", version)),
        tuple(_fields_from_json(tree.get("fields", ()))),
        tuple(from_json(s) for s in tree.get("subsections", ())),
    )


def with_conditions(every: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """`every` (all that may be sent) with what `now` (sent at this moment) lacks as conditional.

    Subsections are conditional anyhow and are left as they are.
    """
    sent = {(f["name"], f.get("index")): f for f in now.get("fields", ())}
    fields = []
    for item in every.get("fields", ()):
        other = sent.get((item["name"], item.get("index")))
        if other is None:
            fields.append({**item, "conditional": True})
        elif "struct" in item and "struct" in other:
            fields.append({**item, "struct": with_conditions(item["struct"], other["struct"])})
        else:
            fields.append(dict(item))
    return {**every, "fields": fields}


def _fields_from_json(fields: Iterable[Mapping[str, Any]]) -> Iterator[Field]:
    """Fields; elements of one array that are listed one by one become one field with a count."""
    for (name, indexed), group in groupby(fields, lambda f: (f["name"], "index" in f)):
        items = list(group)
        if not indexed:
            yield from map(_field_from_json, items)
            continue
        widest = max(items, key=lambda f: int(f["size"]))
        assert name == widest["name"]
        yield replace(_field_from_json(widest), count=len(items))


def _field_from_json(tree: Mapping[str, Any]) -> Field:
    # QEMU numbers fields of one name (`config[0]`); a dump repeats the name.
    name = _NUMBER.sub("", tree["name"])
    struct = from_json(tree["struct"]) if "struct" in tree else None
    return Field(
        str(name),
        int(tree["size"]),
        int(tree.get("since", 0)),
        bool(tree.get("conditional", False)),
        tree.get("array_len"),
        struct,
    )


def machine_from_json(name: str, devices: Iterable[tuple[str, Mapping[str, Any]]]) -> Machine:
    """A machine from (device class, JSON in the form of a stream) pairs: what our writer needs."""
    out = {}
    for device, tree in devices:
        state = from_json(tree)
        out[device] = Device(device, state.version, state.minimum, state)
    return Machine(name, out)


def from_struct(desc: StructDesc) -> State:
    """A description of what one section of a stream carries (all of it unconditionally)."""
    return State(
        desc.name,
        desc.version,
        desc.version,
        tuple(
            Field(
                f.label, f.size, 0, False, f.count,
                None if f.struct is None else from_struct(f.struct),
            )
            for f in desc.fields
        ),
        tuple(from_struct(s) for s in desc.subsections),
    )  # fmt: skip


def from_stream(desc: StreamDesc, machine: str) -> Machine:
    """What a stream carries, by section (`ide`, `ide/1`)."""
    devices = {}
    for item in desc.devices:
        if not item.state.name:
            continue
        title = f"{item.idstr}/{item.instance_id}" if item.instance_id else item.idstr
        state = from_struct(item.state)
        devices[title] = Device(title, state.version, state.version, state)
    return Machine(machine, devices)
