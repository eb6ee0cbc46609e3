"""Whether one stream loads into the machine that a `-dump-vmstate` file describes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from gossamer.base.data import Data, replace
from gossamer.migrate.schema_loads import UNUSED, Finding, Item, Severity, length_text, wire
from gossamer.migrate.vmdesc import FieldDesc, StreamDesc, StructDesc
from gossamer.migrate.vmstate_dump import Device, Machine, State

HOST_SIZED: Final = {"timer", "bitmap", "pci irq state", "struct"}
"""Types whose size in a dump is that of a host's object, not of the wire."""


class _Sent(Data):
    """A stretch of the stream; arrays of structs stand by their first element."""

    path: str
    name: str
    field: FieldDesc
    around: tuple[tuple[str, int | None], ...]


def stream_loads(
    desc: StreamDesc, machine: str, target: Machine
) -> tuple[list[Finding], list[str]]:
    """Findings on loading a stream into `target`, and the sections that it cannot judge.

    A dump has device classes only: sections that QEMU registers by hand (cpu, timer, …) are the
    second list.
    """
    found: list[Finding] = []
    unjudged: list[str] = []
    if not target.name.startswith(machine):
        text = f"machine {machine!r} is sent, {target.name!r} is there"
        found.append(Finding(Severity.FATAL, "configuration", "", text))
    for device in desc.devices:
        title = device.idstr + (f"/{device.instance_id}" if device.instance_id else "")
        candidates = target.by_state(device.state.name) if device.state.name else []
        if not candidates:
            unjudged.append(title)
            continue
        results: list[list[Finding]] = [
            list(section_findings(title, device.state, c)) for c in candidates
        ]
        found += sorted(results, key=_weight)[0]
    return found, unjudged


def _weight(found: list[Finding]) -> tuple[int, int]:
    return max((int(f.severity) for f in found), default=-1), len(found)


def section_findings(title: str, sent: StructDesc, target: Device) -> Iterator[Finding]:
    """What stands against loading one section into `target`."""
    if not target.minimum <= sent.version <= target.version:
        text = (
            f"version {sent.version} is sent, {target.name!r} loads {target.minimum} to "
            f"{target.version}"
        )
        yield Finding(Severity.FATAL, title, "", text)
        return
    yield from _compare(title, sent, target.state, sent.version, "")


def _compare(
    title: str, sent: StructDesc, state: State, version: int, prefix: str
) -> Iterator[Finding]:
    x = _opened(sent, prefix)
    read = wire(state, version, prefix)
    y = [item for item in read if item.sub is None]
    subs = {item.name: item.sub for item in read if item.sub is not None}
    for path, sub in _subsections(sent, prefix):
        known = subs.get(sub.name)
        if known is None:
            text = "subsection is sent, but is unknown there"
            yield Finding(Severity.FATAL, title, path, text)
        elif not known.minimum <= sub.version <= known.version:
            text = f"subsection version {sub.version}, there {known.minimum} to {known.version}"
            yield Finding(Severity.FATAL, title, path, text)
        else:
            yield from _compare(title, sub, known, sub.version, path + ".")
    yield from _fields(title, x, y)


def _opened(
    desc: StructDesc, prefix: str, around: tuple[tuple[str, int | None], ...] = ()
) -> list[_Sent]:
    """Fields with structs opened; of an array one element (all are checked against each other)."""
    out: list[_Sent] = []
    for field in _numbered(desc.fields):
        # `config[0]`: QEMU numbers fields of one name where the dump repeats the name.
        name = field.name.partition("[")[0] if field.struct is None else field.name
        path = prefix + field.name
        if field.struct is None:
            out.append(_Sent(path, name, field, around))
        elif not field.index:
            count = sum(f.name == field.name for f in _numbered(desc.fields) if f.index is not None)
            inner = (*around, (path, count or field.count))
            out += _opened(field.struct, path + ".", inner)
    return out


def _numbered(fields: tuple[FieldDesc, ...]) -> list[FieldDesc]:
    """With a number on every element: QEMU 10 numbers only the first of those it takes apart."""
    out: list[FieldDesc] = []
    for field in fields:
        before = out[-1] if out else None
        again = before is not None and before.name == field.name and field.struct is not None
        if again and before is not None and before.index is not None and field.index is None:
            field = replace(field, index=before.index + 1)
        out.append(field)
    return out


def _subsections(desc: StructDesc, prefix: str) -> Iterator[tuple[str, StructDesc]]:
    """Subsections of a struct and of all structs in it."""
    for field in desc.fields:
        if field.struct is not None:
            yield from _subsections(field.struct, f"{prefix}{field.name}.")
    for sub in desc.subsections:
        yield f"{prefix}<{sub.name}>", sub


def _fits(sent: _Sent, item: Item) -> bool:
    """Whether the lengths agree as far as the dump gives them."""
    field = sent.field
    if field.type in HOST_SIZED or not item.size:
        return True
    if item.count is None:
        return field.size == item.size
    return field.length == item.size * item.count


def _fields(title: str, x: list[_Sent], y: list[Item]) -> Iterator[Finding]:
    """Walk both sequences; a field that is read under a condition may be passed over."""
    at = 0
    arrays: set[str] = set()
    namesakes = _namesakes(y)
    for sent in x:
        found = _next(sent, y, at, namesakes)
        if found is None and (later := _later(sent, y, at)) is not None:
            yield from _unsent(title, y[at:later])
            found = later
        if found is None:
            text = "is sent, but is not read: all that follows is shifted"
            if at < len(y) and y[at].name == sent.name:
                text = (
                    f"{sent.field.length} bytes are sent, {length_text(y[at])} are read: all "
                    "that follows is shifted"
                )
                at += 1
            yield Finding(Severity.FATAL, title, sent.path, text)
            continue
        item, at = y[found], found + 1
        yield from _arrays(title, sent, item, arrays)
        if item.name not in (sent.name, sent.field.name):
            if item.name.startswith(UNUSED):
                text = "no longer kept there: skipped"
            else:
                text = f"called {item.path!r} there; names are not on the wire"
            yield Finding(Severity.NOTE, title, sent.path, text)
    yield from _unsent(title, y[at:])


def _unsent(title: str, items: list[Item]) -> Iterator[Finding]:
    for item in items:
        if not item.conditional:
            text = "is read, but is not sent: all that follows is shifted"
            yield Finding(Severity.FATAL, title, item.path, text)


def _later(sent: _Sent, y: list[Item], at: int) -> int | None:
    """Where the same field of the same struct is read further on."""
    for place in range(at, len(y)):
        if y[place].path == sent.path and _fits(sent, y[place]):
            return place
    return None


def _namesakes(y: list[Item]) -> dict[int, int]:
    """For each place, how many of the same path come before it."""
    seen: Counter[str] = Counter()
    out = {}
    for place, item in enumerate(y):
        out[place] = seen[item.path]
        seen[item.path] += 1
    return out


def _next(sent: _Sent, y: list[Item], at: int, namesakes: dict[int, int]) -> int | None:
    """The place in `y` that reads `sent`: by name past conditional ones, else a renamed one."""
    name = sent.field.name
    digits = name[len(sent.name) + 1 : -1]
    number = int(digits) if digits.isdigit() else 0
    for place in range(at, len(y)):
        alone = sum(item.path == y[place].path for item in y) == 1
        numbered = name == sent.name or alone or namesakes[place] == number
        if y[place].name in (sent.name, name) and numbered and _fits(sent, y[place]):
            return place
        if not y[place].conditional:
            break
    if at < len(y) and y[at].name != sent.name and y[at].size and _fits(sent, y[at]):
        later = any(item.name == sent.name for item in y[at:])
        return None if later else at
    return None


def _arrays(title: str, sent: _Sent, item: Item, reported: set[str]) -> Iterator[Finding]:
    counts = dict(item.around)
    for path, count in sent.around:
        other = counts.get(path)
        if other is not None and count is not None and count != other and path not in reported:
            reported.add(path)
            text = f"{count} elements are sent, {other} are read: all that follows is shifted"
            yield Finding(Severity.FATAL, title, path, text)
