"""`gossamer stream diff`: how two streams differ, field by field, in words where we have them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from gossamer.base.data import Data, field, replace
from gossamer.base.units import NS_PER_S
from gossamer.migrate.framing import Section
from gossamer.migrate.inspect import StreamFile
from gossamer.migrate.value_tree import NOT_ARMED, Leaf, Node, Scalar, StructArray
from gossamer.migrate.value_tree import subsections as all_subsections
from gossamer.streams import chips
from gossamer.streams.meaning import HOST_ONLY, Context, context_of, element_name
from gossamer.streams.page import Page, ns_text, plural
from gossamer.streams.ram_diff import BlockDiff, ranges_text
from gossamer.streams.show import command_text, value_text

_Value: TypeAlias = Scalar | tuple[Scalar, ...]
_INDEX: Final = re.compile(r"\[(\d+)\]")
NEVER: Final = (1 << 63) - 1
"""A point on the clock that is not reached."""
MANY: Final = 12
"""Differing elements of one array that are shown one by one."""


class Difference(Data):
    """One difference: where, both values as text, and in words.  `host`: not of the guest."""

    section: str
    path: str
    a: str
    b: str
    text: str
    host: bool = False


class Report(Data, frozen=False):
    """All differences of two streams."""

    frame: list[Difference] = field(default_factory=list)
    fields: list[Difference] = field(default_factory=list)
    ram: list[BlockDiff] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        guest = [d for d in self.frame + self.fields if not d.host]
        return bool(guest) or any(not block.equal for block in self.ram)


def compare(a: StreamFile, b: StreamFile, pattern: str | None = None) -> Report:
    """Frame and sections; RAM is the caller's."""
    report = Report()
    if pattern is None:
        report.frame += _frame(a, b)
    times = _Times(context_of(a), context_of(b))
    ours, theirs = _by_key(a), _by_key(b)
    for key, section in ours.items():
        if pattern is not None and section.idstr != pattern and section.title != pattern:
            continue
        other = theirs.get(key)
        if other is None:
            report.frame.append(Difference(section.title, "", "there", "missing", "section"))
            continue
        report.fields += _section(a, section, b, other, times)
    for key, section in theirs.items():
        if key not in ours and pattern is None:
            report.frame.append(Difference(section.title, "", "missing", "there", "section"))
    return report


def _by_key(stream: StreamFile) -> dict[tuple[str, int], Section]:
    return {s.key: s for s in stream.devices}


def _frame(a: StreamFile, b: StreamFile) -> Iterator[Difference]:
    def frame_of(stream: StreamFile) -> dict[str, str]:
        config = stream.configuration
        return {
            "machine": config.machine if config else "(no configuration)",
            "capabilities": ", ".join((config.capabilities or ()) if config else ()) or "-",
            "uuid": config.uuid.hex() if config and config.uuid else "-",
            "page size": str(stream.page_size),
            "footers": "yes" if stream.footers else "no",
            "description": "yes" if stream.description else "no",
            "commands": ", ".join(f"{c.name} {command_text(c)}".strip() for c in stream.commands)
            or "-",
        }

    one, two = frame_of(a), frame_of(b)
    for name, value in one.items():
        if value != two[name]:
            yield Difference("stream", name, value, two[name], "")


def _section(
    a: StreamFile, x: Section, b: StreamFile, y: Section, times: _Times
) -> Iterator[Difference]:
    if x.version_id != y.version_id:
        yield Difference(x.title, "version", str(x.version_id), str(y.version_id), "")
    one, two = a.values(x), b.values(y)
    if one is None or two is None:
        if x.length != y.length or not _same_bytes(a, x, b, y):
            sizes = f"{x.length:,} bytes", f"{y.length:,} bytes"
            yield Difference(x.title, "", *sizes, "differs, layout unknown")
        return
    subs_a, subs_b = dict(all_subsections(one)), dict(all_subsections(two))
    for path in subs_a.keys() - subs_b.keys():
        yield Difference(x.title, path, "there", "missing", "subsection missing")
    for path in subs_b.keys() - subs_a.keys():
        yield Difference(x.title, path, "missing", "there", "subsection added")
    theirs = {path: (vmsd, leaf) for path, vmsd, leaf in _leaves(two, "", "")}
    for path, vmsd, leaf in _leaves(one, "", ""):
        found = theirs.pop(path, None)
        if found is None:
            if not _inside(path, subs_a.keys() - subs_b.keys()):
                yield Difference(x.title, path, _text(leaf), "missing", "field missing")
            continue
        theirs_too, mine_too = _alike(found[1], leaf), _alike(leaf, found[1])
        if mine_too.value != theirs_too.value:
            yield from _leaf(x.title, path, vmsd, mine_too, theirs_too, times)
    for path, (_vmsd, leaf) in theirs.items():
        if leaf.length and not _inside(path, subs_b.keys() - subs_a.keys()):
            yield Difference(x.title, path, "missing", _text(leaf), "field added")


def _alike(leaf: Leaf, other: Leaf) -> Leaf:
    """`leaf` with numbers as bytes where another description has bytes."""
    return replace(leaf, value=_spelled(leaf.value, other.value))


def _spelled(value: _Value, other: _Value) -> _Value:
    if isinstance(value, tuple):
        if isinstance(other, bytes) and all(isinstance(p, int) and 0 <= p < 256 for p in value):
            return bytes(p for p in value if isinstance(p, int))
        if not isinstance(other, tuple) or len(value) != len(other):
            return value
        return tuple(_as_bytes(p, q) for p, q in zip(value, other, strict=True))
    return value if isinstance(other, tuple) else _as_bytes(value, other)


def _as_bytes(value: Scalar, other: Scalar) -> Scalar:
    if isinstance(value, int) and isinstance(other, bytes) and 0 <= value < 1 << 8 * len(other):
        return value.to_bytes(len(other), "big")
    return value


def _same_bytes(a: StreamFile, x: Section, b: StreamFile, y: Section) -> bool:
    for at in range(0, x.length, 1 << 20):
        step = min(1 << 20, x.length - at)
        if a.read(x.body + at, step) != b.read(y.body + at, step):
            return False
    return True


def _inside(path: str, subs: set[str]) -> bool:
    return any(path.startswith(sub) for sub in subs)


def _leaves(node: Node, prefix: str, vmsd: str) -> Iterator[tuple[str, str, Leaf]]:
    """Path, the description around it, and the leaf."""
    if isinstance(node, Leaf):
        yield prefix, vmsd, node
    elif isinstance(node, StructArray):
        for element in node.elements:
            yield from _leaves(element, prefix + element.name, vmsd)
    else:
        dot = prefix + "." if prefix else ""
        seen: dict[str, int] = {}
        for member in node.members:
            again = seen.get(member.name, 0)
            seen[member.name] = again + 1
            name = member.name + (f"'{again}" if again else "")
            yield from _leaves(member, dot + name, node.vmsd)
        for sub in node.subsections:
            yield from _leaves(sub, f"{dot}<{sub.vmsd}>", sub.vmsd)


def _text(leaf: Leaf) -> str:
    if isinstance(leaf.value, tuple):
        return plural(len(leaf.value), "element")
    return value_text(leaf, leaf.value)


def _leaf(
    title: str, path: str, vmsd: str, x: Leaf, y: Leaf, times: _Times
) -> Iterator[Difference]:
    host = (vmsd, x.name) in HOST_ONLY
    if isinstance(x.value, tuple) != isinstance(y.value, tuple):
        yield Difference(title, path, _text(x), _text(y), "not described alike", host)
        return
    if not isinstance(x.value, tuple) or not isinstance(y.value, tuple):
        assert not isinstance(x.value, tuple)
        assert not isinstance(y.value, tuple)
        yield _pair(title, path, vmsd, x, (x.value, y.value), 0, times, host)
        return
    if len(x.value) != len(y.value):
        yield Difference(title, path, str(len(x.value)), str(len(y.value)), "number of elements")
    changed = [i for i, (p, q) in enumerate(zip(x.value, y.value, strict=False)) if p != q]
    for i in changed[:MANY]:
        label = f"{path}[{element_name(vmsd, x.name, i)}]"
        yield _pair(title, label, vmsd, x, (x.value[i], y.value[i]), i, times, host)
    if len(changed) > MANY:
        rest = len(changed) - MANY
        yield Difference(title, f"{path}[…]", "", "", f"{rest:,} more elements differ", host)


def _pair(
    title: str, path: str, vmsd: str, leaf: Leaf, pair: tuple[Scalar, Scalar], index: int,
    times: _Times, host: bool,
) -> Difference:  # fmt: skip
    p, q = pair
    if isinstance(p, bytes) and isinstance(q, bytes):
        return _bytes(title, path, vmsd, leaf, p, q)
    if isinstance(p, bytes) or isinstance(q, bytes):
        texts = value_text(leaf, p), value_text(leaf, q)
        return Difference(title, path, *texts, "not described alike", host)
    words = times.words(vmsd, leaf, index, p, q)
    bits = chips.FIELD_BITS.get((vmsd, leaf.name))
    if (vmsd, leaf.name, index) == ("cpu", "env.spr", 27):
        bits = chips.MSR
    if not words and bits is not None:
        gone, new = chips.bit_names(p & ~q, bits), chips.bit_names(q & ~p, bits)
        words = ", ".join(
            part
            for part in (f"{new} set" if q & ~p else "", f"{gone} cleared" if p & ~q else "")
            if part
        )
    known = _KNOWN.get((vmsd, leaf.name, p ^ q))
    if known:
        words += f" ({known})"
    text = "of the host, not of the guest" if host else words
    return Difference(title, path, value_text(leaf, p), value_text(leaf, q), text, host)


_KNOWN: Final = {
    ("openpic_irqsource", "ivpr", 0x20000000): "QEMU loses it whenever it loads",
    ("cpu_common", "interrupt_request", 0x4): "QEMU's note to itself, the guest does not see it",
}
"""Differences, by the bits that changed, that loading and saving in QEMU 7.2 makes."""


def _bytes(title: str, path: str, vmsd: str, leaf: Leaf, p: bytes, q: bytes) -> Difference:
    if (vmsd, leaf.name) == ("globalstate", "runstate"):
        one, two = (v.split(b"\0")[0].decode("ascii", "replace") for v in (p, q))
        text = "run state" if one != two else "only bytes behind the text"
        return Difference(title, path, one, two, text)
    places = [i for i, (s, t) in enumerate(zip(p, q, strict=False)) if s != t]
    if not places:
        return Difference(title, path, f"{len(p)} bytes", f"{len(q)} bytes", "length")
    first = places[0]
    text = f"{plural(len(places), 'byte')} of {len(p):,} differ, the first at {first:#x}"
    return Difference(title, path, p[first : first + 8].hex(), q[first : first + 8].hex(), text)


class _Times(Data):
    """Puts differences of clock values into words."""

    a: Context
    b: Context

    def words(self, vmsd: str, leaf: Leaf, index: int, p: int, q: int) -> str:
        """Words for a pair of values that are times; empty for others."""
        if (vmsd, leaf.name) == ("timer", "cpu_clock_offset"):
            return f"virtual clock {_apart(q - p)}"
        if (vmsd, leaf.name, index) == ("cpu", "env.spr", 22) and self.a.timebase:
            return self._decrementer(p, q)
        if leaf.type == "timer":
            return self._timer(p, q)
        if (vmsd, leaf.name) in chips.CLOCK_FIELDS:
            if NEVER in (p, q):
                return "set for the first time" if p == NEVER else "never again"
            return _apart(q - p) + self._against_clock(p, q)
        if (vmsd, leaf.name) in (("cuda", "tick_offset"), ("pmu", "tick_offset")):
            return f"the guest's date {_apart((q - p) * NS_PER_S)}" + self._date(p, q)
        return ""

    def _decrementer(self, p: int, q: int) -> str:
        assert self.a.timebase
        if not p or not q:
            return "decrementer " + ("appears" if q else "is no longer carried")
        ticks = (q - p + (1 << 31)) % (1 << 32) - (1 << 31)
        return f"decrementer {_apart(ticks * NS_PER_S // self.a.timebase)}"

    def _timer(self, p: int, q: int) -> str:
        if NOT_ARMED in (p, q):
            return "armed" if p == NOT_ARMED else "no longer armed"
        return f"due {_apart(q - p)}" + self._against_clock(p, q)

    def _against_clock(self, p: int, q: int) -> str:
        """What is left when the shift of the clocks is taken away."""
        if self.a.clock is None or self.b.clock is None or self.a.clock == self.b.clock:
            return ""
        rest = (q - self.b.clock) - (p - self.a.clock)
        return ", the same from the clock's view" if rest == 0 else f", {_apart(rest)} by the clock"

    def _date(self, p: int, q: int) -> str:
        if self.a.clock is None or self.b.clock is None:
            return ""
        rest = (q - p) * NS_PER_S + self.b.clock - self.a.clock
        return f" at clock 0, {_apart(rest)} in all"


def _apart(ns: int) -> str:
    return f"{ns_text(ns)} later" if ns >= 0 else f"{ns_text(-ns)} earlier"


def print_report(page: Page, a: str, b: str, report: Report, list_pages: bool) -> None:
    """Print differences as tables; nothing but one line when there are none."""
    page.heading(f"a: {a}")
    page.heading(f"b: {b}")
    rows = _rows(report.frame + report.fields)
    if rows:
        page.line()
        page.table(["section", "field", "a", "b", "in words"], rows)
    differing = [block for block in report.ram if not block.equal]
    if report.ram:
        page.line()
        if not differing:
            page.line("RAM is equal")
    for block in differing:
        page.line(f"{block.name}: {block_text(block)}")
        if list_pages:
            for label, pages in (
                ("differ", block.differ), ("only in a", block.only_a), ("only in b", block.only_b)
            ):  # fmt: skip
                if pages:
                    page.value(1, label, ranges_text(pages, 1 << 30))
    page.line()
    if report.differs:
        count = sum(1 for d in report.frame + report.fields if not d.host)
        page.line(f"{plural(count, 'difference')} outside RAM", "bold yellow")
    else:
        page.line("no difference in the guest", "bold green")


def _rows(found: list[Difference]) -> list[list[str]]:
    """Rows of the table; neighbours in an array that changed alike share a row."""
    rows: list[list[str]] = []
    last: tuple[tuple[str, ...], int, int] | None = None
    for d in found:
        numbers = _INDEX.findall(d.path)
        shape = (d.section, _INDEX.sub("[]", d.path), d.a, d.b, d.text)
        number = int(numbers[0]) if len(numbers) == 1 else -1
        if last is not None and number >= 0 and last[0] == shape and number == last[2] + 1:
            last = (shape, last[1], number)
            rows[-1][1] = _INDEX.sub(f"[{last[1]} to {number}]", d.path)
            continue
        last = (shape, number, number)
        rows.append([d.section, d.path, d.a, d.b, d.text])
    return rows


def block_text(block: BlockDiff) -> str:
    """`214 pages of 4,096 differ`."""
    if block.lengths is not None and 0 in block.lengths:
        return "only in a" if block.lengths[0] else "only in b"
    parts = []
    if block.lengths is not None:
        parts.append(f"length {block.lengths[0]:#x} and {block.lengths[1]:#x}")
    if block.differ:
        verb = "differs" if len(block.differ) == 1 else "differ"
        parts.append(f"{plural(len(block.differ), 'page')} of {block.pages:,} {verb}")
    if block.only_a:
        parts.append(f"{plural(len(block.only_a), 'page')} only in a")
    if block.only_b:
        parts.append(f"{plural(len(block.only_b), 'page')} only in b")
    return ", ".join(parts) or "equal"


def as_json(report: Report) -> dict[str, Any]:
    """The report for programs."""
    return {
        "differs": report.differs,
        "differences": [
            {"section": d.section, "field": d.path, "a": d.a, "b": d.b, "text": d.text}
            | ({"host": True} if d.host else {})
            for d in report.frame + report.fields
        ],
        "ram": [
            {
                "block": block.name, "pages": block.pages, "differ": block.differ,
                "only_a": block.only_a, "only_b": block.only_b,
            }
            for block in report.ram
        ],
    }  # fmt: skip
