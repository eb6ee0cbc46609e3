"""Whether what one schema saves another one loads, field by field.

The rules are those of the wire: names of fields and borders of structs are not on it, lengths are
not on it either, so only the sequence of lengths decides; names of subsections are on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from difflib import SequenceMatcher
from enum import IntEnum
from typing import Final

from gossamer.base.data import Data, replace
from gossamer.migrate.vmstate_dump import Device, Machine, State


class Severity(IntEnum):
    """How bad a finding is for loading."""

    NOTE = 0
    """No effect on loading."""
    MAYBE = 1
    """Fails, or goes wrong, only in some states of the machine."""
    FATAL = 2
    """Never loads, or loads nonsense."""


class Finding(Data):
    """One difference: where, what, and why it does or does not matter."""

    severity: Severity
    section: str
    field: str
    text: str


class Item(Data):
    """A stretch of wire: a field that is not a struct, or the place of a subsection.

    `size` 0 and `count` None mean that the schema does not say.  `around` are the enclosing
    structs with their counts, outermost first.
    """

    path: str
    name: str
    size: int
    count: int | None
    conditional: bool
    around: tuple[tuple[str, int | None], ...] = ()
    sub: State | None = None


UNUSED: Final = "unused"


def wire(state: State, version: int, prefix: str = "") -> list[Item]:
    """A description as a sequence of stretches; `version` is the section's.

    Structs are opened, arrays of structs too (one element stands for all): their borders are not
    on the wire, and QEMU 7.2 does not dump which of them are arrays.
    """
    return list(_wire(state, version, prefix, False, ()))


def _wire(
    state: State,
    version: int,
    prefix: str,
    conditional: bool,
    around: tuple[tuple[str, int | None], ...],
) -> Iterator[Item]:
    for field in state.fields:
        if not field.conditional and field.since > version:
            continue
        path, test = prefix + field.name, conditional or field.conditional
        if field.struct is not None:
            inner = (*around, (path, field.count))
            yield from _wire(field.struct, field.struct.version, path + ".", test, inner)
        else:
            yield Item(path, field.name, field.size, field.count, test, around)
    for sub in state.subsections:
        yield Item(f"{prefix}<{sub.name}>", sub.name, 0, None, True, around, sub)


def loads(source: Device, target: Device) -> list[Finding]:
    """Findings on loading a section that `source` saved into `target`."""
    name, sent = source.name, source.version
    if sent > target.version:
        text = f"version {sent} is newer than the {target.version} that is known there"
        return [Finding(Severity.FATAL, name, "", text)]
    if sent < target.minimum:
        text = f"version {sent} is older than {target.minimum}, the oldest that loads there"
        return [Finding(Severity.FATAL, name, "", text)]
    if not source.state.fields and not source.state.subsections:
        text = "saves nothing: such a device cannot be migrated, or has no state"
        return [Finding(Severity.NOTE, name, "", text)]
    found = list(_compare(name, source.state, target.state, sent, sent, ""))
    if target.version != sent:
        text = f"version {sent}, there {target.version} (loads from {target.minimum})"
        found.insert(0, Finding(Severity.NOTE, name, "", text))
    return found


def _compare(
    section: str, a: State, b: State, version_a: int, version_b: int, prefix: str
) -> Iterator[Finding]:
    ours, theirs = wire(a, version_a, prefix), wire(b, version_b, prefix)
    yield from _subsections(section, ours, theirs)
    x = [item for item in ours if item.sub is None]
    y = [item for item in theirs if item.sub is None]
    x, y = _chosen(x, y), _chosen(y, x)
    arrays: set[str] = set()
    matcher = SequenceMatcher(None, [i.name for i in x], [i.name for i in y], autojunk=False)
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        if kind != "equal" and not _paired(x[i1:i2], y[j1:j2]):
            yield from _replaced(section, x[i1:i2], y[j1:j2])
            continue
        for p, q in zip(x[i1:i2], y[j1:j2], strict=True):
            yield from _arrays(section, p, q, arrays)
            yield from _pair(section, p, q)


def _chosen(items: list[Item], others: list[Item]) -> list[Item]:
    """Where one name has several forms of which a condition picks one, the form the others have."""
    mine, theirs = Counter(i.path for i in items), {i.path: i for i in others}
    many = Counter(i.path for i in others)
    out: list[Item] = []
    picked: dict[str, int] = {}
    forms = {item.path for item in items if item.conditional}
    for i, item in enumerate(items):
        other = theirs.get(item.path)
        if item.path not in forms or mine[item.path] == 1 or many[item.path] != 1 or other is None:
            continue
        better = picked.get(item.path)
        fits = _same_length(item, other) is True
        if better is None or (fits and items[better].conditional >= item.conditional):
            picked[item.path] = i
    for i, item in enumerate(items):
        if item.path not in picked:
            out.append(item)
        elif picked[item.path] == i:
            out.append(replace(item, conditional=theirs[item.path].conditional))
    return out


def _arrays(section: str, p: Item, q: Item, reported: set[str]) -> Iterator[Finding]:
    """Arrays of structs around two stretches must have the same lengths."""
    counts = dict(q.around)
    for path, count in p.around:
        other = counts.get(path)
        if count is None or other is None or count == other or path in reported:
            continue
        reported.add(path)
        text = f"{count} elements are sent, {other} are read: all that follows is shifted"
        yield Finding(Severity.FATAL, section, path, text)


def _pair(section: str, p: Item, q: Item) -> Iterator[Finding]:
    """Two stretches at the same place."""
    if _same_length(p, q) is False:
        sent, read = length_text(p), length_text(q)
        text = f"{sent} are sent, {read} are read: all that follows is shifted"
        severity = Severity.MAYBE if p.conditional or q.conditional else Severity.FATAL
        yield Finding(severity, section, p.path, text)
    if p.name != q.name:
        if q.name.startswith(UNUSED):
            yield Finding(Severity.NOTE, section, p.path, "no longer kept there: skipped")
        elif p.name.startswith(UNUSED):
            text = f"unused bytes are read as {q.path!r}"
            yield Finding(Severity.MAYBE, section, p.path, text)
        else:
            text = f"called {q.path!r} there; names are not on the wire"
            yield Finding(Severity.NOTE, section, p.path, text)
    if p.conditional != q.conditional:
        sometimes, other = ("sent", "read") if p.conditional else ("read", "sent")
        text = f"is {sometimes} only under a condition, but {other} always"
        yield Finding(Severity.MAYBE, section, p.path, text)


def length_text(item: Item) -> str:
    """`8 bytes`, or `8 bytes an element` when the count is not known."""
    if item.count is None:
        return f"{item.size} bytes"
    return f"{item.size * item.count} bytes"


def _same_length(p: Item, q: Item) -> bool | None:
    """None when a schema does not say enough."""
    if not p.size or not q.size:
        return None
    if p.count is not None and q.count is not None:
        return p.size * p.count == q.size * q.count
    if p.count is None and q.count is None and p.size == q.size:
        return True
    return None if p.size == q.size or UNUSED in (p.name, q.name) else False


def _paired(x: list[Item], y: list[Item]) -> bool:
    """Whether stretches with other names may be the same ones renamed."""
    if len(x) != len(y):
        return False
    return all(
        _same_length(p, q) is not False and (p.size == q.size or UNUSED in (p.name, q.name))
        for p, q in zip(x, y, strict=True)
    )


def _replaced(section: str, x: list[Item], y: list[Item]) -> Iterator[Finding]:
    """Stretches that have no namesake at the same place."""
    if x and y and _total(x) == _total(y):
        names = ", ".join(i.path for i in x)
        skipped = all(i.name.startswith(UNUSED) for i in y)
        text = f"no longer kept there: the {_total(x)} bytes are skipped"
        if not skipped:
            text = f"the same {_total(x)} bytes are read as {', '.join(i.path for i in y)}"
        severity = Severity.NOTE if skipped else Severity.MAYBE
        yield Finding(severity, section, names, text)
        return
    for p in x:
        text = "is sent, but is not read: all that follows is shifted"
        if p.conditional:
            text = "is not read there: fails if its condition holds when it is saved"
        severity = Severity.MAYBE if p.conditional else Severity.FATAL
        yield Finding(severity, section, p.path, text)
    for q in y:
        text = "is read, but is not sent: all that follows is shifted"
        if q.conditional:
            text = "is not sent: fails if its condition holds when it is loaded"
        severity = Severity.MAYBE if q.conditional else Severity.FATAL
        yield Finding(severity, section, q.path, text)


def _total(items: list[Item]) -> int:
    """Bytes of stretches whose schema gives sizes."""
    return sum(item.size * (1 if item.count is None else item.count) for item in items)


def _subsections(section: str, ours: list[Item], theirs: list[Item]) -> Iterator[Finding]:
    known = {i.name: i for i in theirs if i.sub is not None}
    mine = {i.name: i for i in ours if i.sub is not None}
    for name, item in mine.items():
        other = known.get(name)
        if other is None:
            text = "subsection is unknown there: fails whenever it is sent"
            yield Finding(Severity.MAYBE, section, item.path, text)
            continue
        a, b = item.sub, other.sub
        assert a is not None
        assert b is not None
        if not b.minimum <= a.version <= b.version:
            text = f"subsection version {a.version}, there {b.minimum} to {b.version} load"
            yield Finding(Severity.MAYBE, section, item.path, text)
            continue
        for found in _compare(section, a, b, a.version, a.version, item.path + "."):
            severity = min(found.severity, Severity.MAYBE)
            yield replace(found, severity=severity)
    for name, item in known.items():
        if name not in mine:
            text = "subsection that only the other side has: its state keeps the reset value"
            yield Finding(Severity.NOTE, section, item.path, text)


def _weight(found: list[Finding]) -> tuple[int, int]:
    return max((int(f.severity) for f in found), default=-1), len(found)


def compare(source: Machine, target: Machine) -> list[Finding]:
    """Findings on loading what `source` saves, over every device class of the source."""
    found = []
    if source.name != target.name:
        text = f"machine {source.name!r} is sent, {target.name!r} is there"
        found.append(Finding(Severity.FATAL, "machine", "", text))
    for name, device in source.devices.items():
        # Our classes have other names than QEMU's; the names of descriptions are the wire's.
        same = (
            [target.devices[name]] if name in target.devices else target.by_state(device.state.name)
        )
        if same:
            found += sorted([loads(device, other) for other in same], key=_weight)[0]
        else:
            text = "no such device class there: fails if the machine has one"
            found.append(Finding(Severity.MAYBE, name, "", text))
    return found
