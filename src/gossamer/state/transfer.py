"""Save and load of one stateful object's body: QEMU's VMState rules.

- list order is wire order; a field is there when its `when` holds, else when its `since` is not
  above the section's version; nested structs are decided by their own current version;
- subsections follow the fields: 0x05, counted name, be32 version, fields; recognised by peeking
  for a name that begins with the enclosing description's name; unknown ones fail, missing ones
  leave the reset value;
- a load writes nothing that it has not read in full; the caller loads into a fresh machine.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from gossamer.base.data import Data, field
from gossamer.base.wire import WireReader, WireWriter
from gossamer.state.codec import NOT_ARMED
from gossamer.state.declare import ChildState, State, Stateful
from gossamer.state.layout import Constant, Layout, Nested, Subsection, View
from gossamer.state.rows import (
    Bulk,
    Elements,
    Items,
    Row,
    Steps,
    Stretch,
    bulk_of,
    declared_items,
    layout_items,
    packed_all,
    plain_row,
    steps_of,
    unpack_all,
)

SUBSECTION: Final = 0x05
_MARK: Final = bytes([SUBSECTION])
#: A point on the virtual clock that never comes (a signed 64-bit field's largest value).
NO_EVENT: Final = (1 << 63) - 1


class Profile(Data):
    """Which receiver a stream is for, or which sender it is from.

    `versions` are those of descriptions that are not our own there; `known` are the names of
    sections and subsections that exist there (None: all of ours); `forms` name layouts that a
    class may have beside its own.  `ours` streams carry the subsections that only
    gossamer knows.  `shift` (ns) is added to every point on the virtual clock that is written.
    `values` maps (description, field) to what is
    written instead of the field's value.  `also` are subsections that are read but that our
    objects do not declare, by description; `saw` is called with owner and name of each
    subsection that is written or read.
    """

    name: str = "gossamer-1"
    ours: bool = True
    shift: int = 0
    known: frozenset[str] | None = None
    versions: Mapping[str, int] = field(default_factory=dict, compare=False)
    forms: frozenset[str] = frozenset()
    values: Mapping[tuple[str, str], Callable[[Any], Any]] = field(
        default_factory=dict, compare=False
    )
    also: Mapping[str, tuple[Subsection, ...]] = field(default_factory=dict, compare=False)
    saw: Callable[[Stateful, str], None] | None = field(default=None, compare=False)


OURS: Final = Profile()


def layout_of(owner: Stateful, profile: Profile) -> Items:
    """The items of an object's own body for a profile, in wire order."""
    return layout_items(type(owner), _chosen_layout(owner, profile))


def _chosen_layout(owner: Stateful, profile: Profile) -> Items:
    layouts = owner.layouts
    chosen: Layout | None = layouts.get("")
    for form in profile.forms & layouts.keys() if profile.forms else ():
        chosen = layouts[form]
    return declared_items(type(owner), None) if chosen is None else chosen


def version_of(owner: Stateful, profile: Profile) -> int:
    """The version of an object's description for a profile."""
    return profile.versions.get(owner.vmsd, owner.version)


def subsection_items(owner: Stateful, sub: Subsection) -> Items:
    return declared_items(type(owner), sub) if sub.layout is None else sub.layout


def _steps(owner: Stateful, profile: Profile, version: int) -> Steps:
    """The items of an object's own body, with fields in stretches."""
    return steps_of(type(owner), _chosen_layout(owner, profile), version)


def field_view(owner: Stateful, item: str) -> View:
    """A state attribute as a wire item."""
    d = owner.declared[item]
    assert isinstance(d, State), f"{type(owner).__name__}.{item} is no state"
    return d.view


def nested_of(owner: Stateful, item: ChildState) -> Iterator[Nested]:
    """Child objects as wire items, one for each."""
    name = item.wire or item.name
    for n, one in enumerate(item.objects(owner)):
        label = name if item.count is None else f"{name}[{n}]"
        yield Nested(label, partial(_given, one))


def sent_subsections(owner: Stateful, profile: Profile) -> list[Subsection]:
    return [
        s
        for s in owner.subsections
        if is_known(s, profile) and s.exists(owner) and s.is_needed(owner)
    ]


def is_known(sub: Subsection, profile: Profile) -> bool:
    """Whether the profile's receiver knows a subsection."""
    known = profile.known is None or sub.name in profile.known
    return profile.ours or (not sub.ours and known)


def _given(one: Stateful, owner: Stateful) -> Stateful:
    return one


# --- save -------------------------------------------------------------------------------------


def save(owner: Stateful, w: WireWriter, profile: Profile = OURS) -> None:
    """Write the object's body (no section header)."""
    owner.pre_save()
    version = version_of(owner, profile)
    _save_items(owner, _steps(owner, profile, version), version, w, profile)
    for sub in sent_subsections(owner, profile):
        w.uint(SUBSECTION, 1)
        w.cstr(sub.name)
        version = profile.versions.get(sub.name, sub.version)
        w.uint(version, 4)
        steps = steps_of(type(owner), subsection_items(owner, sub), version)
        _save_items(owner, steps, version, w, profile)
        if profile.saw is not None:
            profile.saw(owner, sub.name)


def _save_items(
    owner: Stateful, items: Steps, version: int, w: WireWriter, profile: Profile
) -> None:
    for item in items:
        if isinstance(item, Stretch):
            _save_stretch(owner, item, version, w, profile)
        elif isinstance(item, str):
            _save_view(owner, field_view(owner, item), version, w, profile)
        elif isinstance(item, View):
            _save_view(owner, item, version, w, profile)
        elif isinstance(item, Constant):
            if item.since <= version:
                item.codec.put(w, None)
        elif isinstance(item, Nested):
            _save_nested(owner, item, w, profile)
        else:
            _save_children(item.objects(owner), w, profile)


def _save_children(objects: list[Stateful], w: WireWriter, profile: Profile) -> None:
    common = _common(objects, profile)
    try:
        if isinstance(common, Row):
            w.raw(packed_all(common, objects))
            return
        if common is not None and not _have_more(objects, profile):
            w.raw(common.given(objects))
            return
    except (struct.error, ValueError):
        pass  # one by one: the error is that of the field
    for one in objects:
        save(one, w, profile)


def _have_more(objects: list[Stateful], profile: Profile) -> bool:
    """Bring them up to date; whether one has a subsection to send."""
    for one in objects:
        one.pre_save()
    return any(sent_subsections(one, profile) for one in objects)


def _common(objects: list[Stateful], profile: Profile) -> Row | Bulk | None:
    """How many objects are taken at once, for this profile; None: take them one by one."""
    kind = type(objects[0]) if len(objects) > 1 else None
    if kind is None or profile.values or profile.forms or profile.also.get(kind.vmsd):
        return None
    if kind.vmsd in profile.versions or any(type(one) is not kind for one in objects):
        return None
    row = plain_row(kind)
    if row is not None:
        return row
    bulk = bulk_of(kind)
    if bulk is None or any(n in profile.also or n in profile.versions for n in bulk.inside):
        return None
    return bulk


def _save_stretch(
    owner: Stateful, stretch: Stretch, version: int, w: WireWriter, profile: Profile
) -> None:
    if not profile.values and not profile.shift:
        try:
            w.raw(stretch.given(owner))
        except (struct.error, ValueError):
            pass  # one by one: the error is that of the field
        else:
            return
    _save_items(owner, stretch.items, version, w, profile)


def _save_view(owner: Stateful, v: View, version: int, w: WireWriter, profile: Profile) -> None:
    if v.is_there(owner, version):
        value = v.get(owner)
        if v.clock and profile.shift and value not in (NOT_ARMED, NO_EVENT):
            value += profile.shift
        other = profile.values.get((owner.vmsd, v.name))
        v.codec_of(owner).put(w, value if other is None else other(value))


def _save_nested(owner: Stateful, item: Nested, w: WireWriter, profile: Profile) -> None:
    if item.when is not None and not item.when(owner):
        return
    target = item.target(owner)
    if item.layout is None:
        save(target, w, profile)
    else:
        version = target.version if item.version is None else item.version
        _save_items(target, steps_of(type(target), item.layout, version), version, w, profile)


# --- load -------------------------------------------------------------------------------------


def load(owner: Stateful, r: WireReader, version: int, profile: Profile = OURS) -> None:
    """Read the object's body; StreamError (with path and offset) when it is not one."""
    if not owner.minimum <= version <= owner.version:
        raise r.error(f"version {version}, this build reads {owner.minimum}..{owner.version}")
    _load_body(owner, r, version, profile)


def _load_body(owner: Stateful, r: WireReader, version: int, profile: Profile) -> None:
    _load_items(owner, _steps(owner, profile, version), version, r, profile)
    _load_subsections(owner, r, profile)
    try:
        owner.post_load(version)
    except ValueError as fault:  # values that do not go together
        raise r.error(str(fault)) from None


def _load_items(
    owner: Stateful, items: Steps, version: int, r: WireReader, profile: Profile
) -> None:
    for item in items:
        if isinstance(item, Stretch):
            _load_stretch(owner, item, version, r, profile)
        elif isinstance(item, str):
            _load_view(owner, field_view(owner, item), version, r)
        elif isinstance(item, View):
            _load_view(owner, item, version, r)
        elif isinstance(item, Constant):
            if item.since <= version:
                with r.within(item.name):
                    item.codec.get(r)
        elif isinstance(item, Nested):
            _load_nested(owner, item, r, profile)
        elif isinstance(item, Elements):
            if not _load_children(item.objects(owner), r, profile):
                for one in item.items:
                    _load_nested(owner, one, r, profile)
        elif not _load_children(item.objects(owner), r, profile):
            _load_each(item, item.objects(owner), r, profile)


def _load_children(objects: list[Stateful], r: WireReader, profile: Profile) -> bool:
    """Load many objects in one step; False, and nothing is read, where that cannot be done."""
    common = _common(objects, profile)
    if common is None:
        return False
    names = [objects[0].vmsd, *(common.inside if isinstance(common, Bulk) else ())]
    size = common.packed.size * len(objects)
    ahead = r.peek(size + 1)
    if ahead[size:] == _MARK:  # else nothing need have come of what follows
        ahead = r.peek(size + 2 + max(map(len, names)))
    if any(name and name.encode() in ahead for name in names):
        return False  # perhaps a subsection's name
    raw = r.ready(size)
    if raw is None:
        return False
    if isinstance(common, Row):
        unpack_all(common, objects, raw)
        return True
    try:
        common.take(objects, raw)
        for one in objects:
            one.post_load(one.version)
    except ValueError:
        r.at -= size  # one by one: the error is that of the field
        return False
    return True


def _load_each(item: ChildState, objects: list[Stateful], r: WireReader, profile: Profile) -> None:
    """Load objects one by one, each by its name: as `nested_of` has it, which takes longer."""
    name = item.wire or item.name
    for n, one in enumerate(objects):
        r.parts.append(name if item.count is None else f"{name}[{n}]")
        try:
            _load_body(one, r, version_of(one, profile), profile)
        finally:
            r.parts.pop()


def _load_stretch(
    owner: Stateful, stretch: Stretch, version: int, r: WireReader, profile: Profile
) -> None:
    raw = r.ready(stretch.packed.size)
    if raw is not None:
        try:
            stretch.take(owner, raw)
        except (ValueError, IndexError):
            r.at -= stretch.packed.size  # one by one: the error is that of the field
        else:
            return
    _load_items(owner, stretch.items, version, r, profile)


def _load_view(owner: Stateful, v: View, version: int, r: WireReader) -> None:
    if v.is_there(owner, version):
        r.parts.append(v.name)  # as `within` does, which takes longer than a field
        try:
            value = v.codec_of(owner).get(r)
            try:
                v.put(owner, value)
            except (ValueError, IndexError) as e:
                raise r.error(str(e)) from e
        finally:
            r.parts.pop()


def _load_nested(owner: Stateful, item: Nested, r: WireReader, profile: Profile) -> None:
    if item.when is not None and not item.when(owner):
        return
    target = item.target(owner)
    r.parts.append(item.name)
    try:
        if item.layout is None:
            _load_body(target, r, version_of(target, profile), profile)
        else:
            version = target.version if item.version is None else item.version
            steps = steps_of(type(target), item.layout, version)
            _load_items(target, steps, version, r, profile)
    finally:
        r.parts.pop()


def _load_subsections(owner: Stateful, r: WireReader, profile: Profile) -> None:
    if r.next_byte() != SUBSECTION:
        return
    listed = (*owner.subsections, *profile.also.get(owner.vmsd, ()))
    known = {s.name: s for s in listed if s.exists(owner)}
    prefix = owner.vmsd
    while prefix:
        head = r.peek(2)
        if len(head) < 2 or head[0] != SUBSECTION:
            return
        name = r.peek(2 + head[1])[2:]
        if len(name) != head[1] or not name.startswith(prefix.encode()):
            return
        text = name.decode("ascii", "replace")
        sub = known.get(text)
        with r.within(text):
            if sub is None:
                raise r.error(f"unknown subsection of {prefix}")
            r.take(2 + head[1])
            version = r.uint(4)
            if not sub.minimum <= version <= sub.newest:
                raise r.error(f"version {version}, this build reads {sub.minimum}..{sub.newest}")
            steps = steps_of(type(owner), subsection_items(owner, sub), version)
            _load_items(owner, steps, version, r, profile)
            if profile.saw is not None:
                profile.saw(owner, text)
