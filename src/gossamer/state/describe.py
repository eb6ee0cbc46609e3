"""The JSON description of an object's body, as QEMU appends it to a stream."""

from __future__ import annotations

from itertools import groupby
from typing import Any, TypeGuard

from gossamer.state.codec import Array
from gossamer.state.declare import ChildState, Stateful
from gossamer.state.layout import Constant, Item, Nested, Subsection, View
from gossamer.state.rows import Items, bulk_of, plain_row
from gossamer.state.transfer import (
    Profile,
    field_view,
    is_known,
    layout_of,
    nested_of,
    sent_subsections,
    subsection_items,
    version_of,
)

Json = dict[str, Any]


def describe(owner: Stateful, profile: Profile, *, every: bool = False) -> Json:
    """``{"vmsd_name", "version", "fields", "subsections"}`` of what `save` writes now.

    With `every`, all subsections and conditional fields are listed: the static schema.
    """
    version = version_of(owner, profile)
    out: Json = {
        "vmsd_name": owner.vmsd,
        "version": version,
        "fields": _fields(owner, layout_of(owner, profile), version, profile, every),
    }
    subs = owner.subsections if every else sent_subsections(owner, profile)
    chosen = [s for s in subs if is_known(s, profile) and s.exists(owner)]
    if chosen:
        out["subsections"] = [_subsection(owner, s, profile, every) for s in chosen]
    return out


def _subsection(owner: Stateful, sub: Subsection, profile: Profile, every: bool) -> Json:
    version = profile.versions.get(sub.name, sub.version)
    return {
        "vmsd_name": sub.name,
        "version": version,
        "fields": _fields(owner, subsection_items(owner, sub), version, profile, every),
    }


def _fields(
    owner: Stateful,
    items: Items,
    version: int,
    profile: Profile,
    every: bool,
) -> list[Json]:
    out: list[Json] = []
    known: dict[type[Stateful], Json] = {}
    for item in items:
        if isinstance(item, str):
            out += _view(owner, field_view(owner, item), version, every)
        elif isinstance(item, View):
            out += _view(owner, item, version, every)
        elif isinstance(item, Constant):
            if item.since <= version:
                out.append(_plain(item.name, item.codec))
        elif isinstance(item, Nested):
            out += _nested(owner, item, profile, every, known)
        else:
            out += _children(owner, item, profile, every)
    return _joined(out, {i.name.partition("[")[0] for i in items if _is_joined(i)})


def _children(owner: Stateful, item: ChildState, profile: Profile, every: bool) -> list[Json]:
    entries: list[Json] = []
    objects = item.objects(owner)
    kinds = {type(one) for one in objects}
    alike = len(objects) > 1 and len(kinds) == 1 and _are_alike(objects, profile, every)
    for nested in nested_of(owner, item):
        entries += _nested(owner, nested, profile, every)
        if alike:
            return _compressed(entries * len(objects))
    return _compressed(entries)


def _are_alike(objects: list[Stateful], profile: Profile, every: bool) -> bool:
    """Whether objects of one class cannot but be described alike."""
    kind = type(objects[0])
    if plain_row(kind) is not None:
        return True
    if bulk_of(kind) is None:
        return False
    return every or not any(sent_subsections(one, profile) for one in objects)


def _is_joined(item: Item | ChildState) -> TypeGuard[Nested]:
    return isinstance(item, Nested) and item.joined


def _joined(entries: list[Json], names: set[str]) -> list[Json]:
    """The entries with the arrays of these `names` as one entry each."""
    out: list[Json] = []
    for name, run in groupby(entries, lambda e: str(e["name"])):
        same = list(run)
        out += _compressed(same) if name in names else same
    return out


def _compressed(entries: list[Json]) -> list[Json]:
    """One entry for an array of structs that are all described alike, as QEMU has it."""
    if len(entries) < 2:
        return entries
    bare = [{k: v for k, v in e.items() if k != "index"} for e in entries]
    if any(b != bare[0] for b in bare):
        return entries
    return [{"name": bare[0]["name"], "array_len": len(bare)} | bare[0]]


def _plain(name: str, codec: Any) -> Json:  # noqa: ANN401 - any Codec
    if isinstance(codec, Array) and codec.count > 1:
        return {
            "name": name,
            "array_len": codec.count,
            "type": codec.kind,
            "size": codec.of.size,
        }
    return {"name": name, "type": codec.kind, "size": codec.size}


def _view(owner: Stateful, v: View, version: int, every: bool) -> list[Json]:
    if not (v.exists(owner) if every else v.is_there(owner, version)):
        return []
    codec = v.codec_of(owner)
    if not every and isinstance(codec, Array) and not codec.count:
        return []  # QEMU names the elements, of which there are none
    return [_plain(v.name, codec)]


def _nested(
    owner: Stateful,
    item: Nested,
    profile: Profile,
    every: bool,
    known: dict[type[Stateful], Json] | None = None,
) -> list[Json]:
    """`known`: what plain objects of a list are, each class once."""
    if item.when is not None and not every and not item.when(owner):
        return []
    target: Stateful = item.target(owner)
    kind = type(target)
    if item.layout is None and known is not None and plain_row(kind) is not None:
        if kind not in known:
            known[kind] = describe(target, profile, every=every)
        struct = known[kind]
    elif item.layout is None:
        struct = describe(target, profile, every=every)
    else:
        version = target.version if item.version is None else item.version
        fields = _fields(target, item.layout, version, profile, every)
        struct = {"vmsd_name": item.vmsd, "version": version, "fields": fields}
    name, bracket, index = (item.name, "", "") if item.literal else item.name.partition("[")
    out: Json = {"name": name}
    if bracket:
        out["index"] = int(index[:-1])
    return [out | {"type": "struct", "struct": struct, "size": struct_size(struct)}]


def struct_size(struct: Json) -> int:
    """Bytes of a described struct on the wire, subsection headers included."""
    total = 0
    for f in struct["fields"]:
        total += f["size"] * f.get("array_len", 1)
    for sub in struct.get("subsections", []):
        total += 2 + len(sub["vmsd_name"]) + 4 + struct_size(sub)
    return total
