"""`gossamer stream show`: what a stream holds."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from gossamer.base.data import Data, field
from gossamer.base.errors import ConfigError
from gossamer.migrate import ram
from gossamer.migrate.coverage import Coverage
from gossamer.migrate.framing import Cmd, Command, Kind, Section
from gossamer.migrate.inspect import StreamFile
from gossamer.migrate.pages import mapped_pages
from gossamer.migrate.ram import Block, BlockList, Record, Run
from gossamer.migrate.value_tree import Leaf, Node, Struct, StructArray, encode, subsections
from gossamer.streams.meaning import Context, context_of, element_name, heathrow_sources, meaning
from gossamer.streams.page import Page, ns_text, plural, size_text

FEW: Final = 16
"""An array up to this length is shown whole; of a longer one what is not zero."""
MANY: Final = 64
HEAD: Final = 24


class BlockSum(Data, frozen=False):
    """Records of one RAM block, counted.  `again`: pages sent after a page above them."""

    block: Block
    zero: int = 0
    data: int = 0
    packed: int = 0
    again: int = 0
    wire: int = 0
    top: int = -1


class RamSum(Data, frozen=False):
    """Counts RAM records in constant memory: what `on_ram` of a walk is."""

    blocks: dict[str, BlockSum] = field(default_factory=dict)
    flags: dict[str, int] = field(default_factory=dict)
    coverage: Coverage = field(default_factory=Coverage)
    filled: int = 0
    """Runs with a page filled with one byte that is not 0."""

    def fault(self, stream: StreamFile) -> str:
        """Why the stream is no whole machine, empty if it is (or has pages of another size)."""
        return self.coverage.fault if stream.page_size == self.coverage.page_size else ""

    def __call__(self, _section: Section, record: Record) -> None:
        self.coverage(record)
        if isinstance(record, BlockList):
            for block in record.blocks:
                self.blocks[block.name] = BlockSum(block)
        elif isinstance(record, Run):
            self._run(record)
        else:
            self._flag(ram.flag_names(record.kind), 1)

    def _flag(self, name: str, count: int) -> None:
        self.flags[name] = self.flags.get(name, 0) + count

    def _run(self, run: Run) -> None:
        of = self.blocks[run.block.name]
        count = len(run.addresses)
        self._flag(ram.flag_names(run.kind), count)
        highest = np.maximum.accumulate(run.addresses.astype(np.int64))
        before = np.maximum(np.concatenate(([of.top], highest[:-1])), of.top)
        of.again += int((run.addresses.astype(np.int64) <= before).sum())
        of.top = max(of.top, int(highest[-1]))
        of.wire += count * run.stride
        if run.fills is not None:
            of.zero += count
            self.filled += int(run.fills.any())
        elif run.pages is not None:
            of.data += count
        else:
            of.packed += count

    def add_mapped(self, stream: StreamFile) -> None:
        """Count the pages of blocks that a mapped-ram file keeps outside the records."""
        for of in self.blocks.values():
            if of.block.mapped is not None:
                for run in mapped_pages(stream.file, of.block):
                    of.data += len(run.addresses)
                of.wire += of.data * of.block.mapped.page_size


def kind_text(stream: StreamFile) -> str:
    """What sort of stream it is, from what it contains."""
    numbers = {c.number for c in stream.commands}
    parts = []
    if Cmd.SWITCHOVER_START in numbers:
        parts.append("with SWITCHOVER_START (QEMU 10.0 or later)")
    if Cmd.POSTCOPY_LISTEN in numbers:
        parts.append("postcopy")
    if stream.footers is False:
        parts.append("without section footers")
    if stream.configuration is None:
        parts.append("without configuration")
    if stream.description is None:
        parts.append("without description")
    for name in (stream.configuration.capabilities or ()) if stream.configuration else ():
        parts.append(name)
    return ", ".join(parts) or "plain"


def chosen(stream: StreamFile, pattern: str | None) -> list[Section]:
    """Device sections that match a name or a shell pattern (`pci*`, `ide/1`)."""
    if pattern is None:
        return stream.devices
    found = [
        s
        for s in stream.devices
        if fnmatch.fnmatchcase(s.title, pattern)
        or s.idstr == pattern
        or s.idstr.rpartition("/")[2] == pattern
    ]
    if not found:
        names = ", ".join(dict.fromkeys(s.title for s in stream.devices))
        raise ConfigError(f"no section {pattern!r}; there are: {names}")
    return found


def show(
    page: Page, stream: StreamFile, counted: RamSum, section: str | None, ram_only: bool
) -> None:
    """Print a stream."""
    context = context_of(stream)
    if section is None:
        _overview(page, stream, context)
        show_ram(page, counted)
    if ram_only:
        return
    if section is None:
        page.line()
        show_sections(page, stream)
    for i, item in enumerate(chosen(stream, section)):
        if i or section is None:
            page.line()
        show_section(page, stream, item, context)


def _overview(page: Page, stream: StreamFile, context: Context) -> None:
    machine = stream.configuration.machine if stream.configuration else "not named"
    page.heading(f"{stream.name}: {stream.end:,} bytes, machine {machine}")
    page.value(0, "kind", kind_text(stream))
    page.value(0, "page size", f"{stream.page_size}")
    if stream.configuration and stream.configuration.uuid:
        page.value(0, "uuid", stream.configuration.uuid.hex())
    if context.clock is not None:
        page.value(0, "virtual clock", ns_text(context.clock))
    state = stream.find("globalstate")
    tree = stream.values(state) if state else None
    for member in tree.members if tree else ():
        if member.name == "runstate" and isinstance(member, Leaf):
            assert isinstance(member.value, bytes)
            text = member.value.split(b"\0")[0].decode("ascii", "replace")
            page.value(0, "run state", text)
    for command in stream.commands:
        page.value(0, "command", command.name, command_text(command))
    if stream.trailing:
        page.value(0, "after the stream", plural(stream.trailing, "byte"))


def command_text(command: Command) -> str:
    """What a command says."""
    data = command.data
    if command.number == Cmd.POSTCOPY_ADVISE and len(data) == 16:
        host, target = int.from_bytes(data[:8], "big"), int.from_bytes(data[8:], "big")
        return f"host page sizes {host:#x}, target page {target}"
    if command.number == Cmd.POSTCOPY_RAM_DISCARD and len(data) > 2 + data[1]:
        name = data[2 : 2 + data[1]].decode("ascii", "replace")
        return f"{name}: {plural((len(data) - 3 - data[1]) // 16, 'range')}"
    if command.number == Cmd.PING:
        return f"cookie {int.from_bytes(data, 'big')}"
    return f"{int.from_bytes(data, 'big')} bytes" if command.number == Cmd.PACKAGED else ""


def show_ram(page: Page, counted: RamSum) -> None:
    """The summary per block."""
    if not counted.blocks:
        return
    page.line()
    rows = []
    for name, of in counted.blocks.items():
        rows.append(
            [
                name, size_text(of.block.length), f"{of.zero:,}", f"{of.data:,}", f"{of.packed:,}",
                f"{of.again:,}", size_text(of.wire),
            ]
        )  # fmt: skip
    columns = ["RAM block", "length", "zero", "data", "packed", "again", "in the stream"]
    page.table(columns, rows, right=range(1, 7))
    packed = [n for n in ("XBZRLE", "COMPRESS_PAGE") if n in counted.flags]
    if packed:
        counts = ", ".join(f"{counted.flags[n]:,} {n}" for n in packed)
        page.line(f"packed pages: {counts}")


def show_sections(page: Page, stream: StreamFile) -> None:
    """The table of sections."""
    rows = []
    for section in stream.sections:
        tree = stream.values(section) if section.kind == Kind.FULL else None
        subs = ", ".join(sub.vmsd for _, sub in subsections(tree)) if tree else ""
        rows.append(
            [
                section.kind.name, str(section.section_id), section.title,
                str(section.version_id), f"{section.length:,}", f"{section.offset:#x}", subs,
            ]
        )  # fmt: skip
    page.table(
        ["kind", "id", "section", "version", "bytes", "offset", "subsections"], rows, (1, 3, 4, 5)
    )


def show_section(page: Page, stream: StreamFile, section: Section, context: Context) -> None:
    """One section as a tree of values."""
    tree = stream.values(section)
    page.heading(
        f"{section.title}  version {section.version_id}, {plural(section.length, 'byte')} at "
        f"{section.body:#x}"
    )
    if tree is None:
        head = stream.read(section.body, min(section.length, HEAD))
        page.value(1, "(layout unknown)", bytes_text(head, section.length))
        return
    _struct(page, tree, context, 1)


def _struct(page: Page, node: Struct, context: Context, depth: int) -> None:
    for member in node.members:
        _node(page, node.vmsd, member, context, depth)
    for sub in node.subsections:
        page.line("  " * depth + f"<{sub.vmsd}> version {sub.version}", "magenta")
        _struct(page, sub, context, depth + 1)


def _node(page: Page, vmsd: str, node: Node, context: Context, depth: int) -> None:
    if isinstance(node, Leaf):
        for name, text, words in leaf_rows(context, vmsd, node):
            page.value(depth, name, text, words)
    elif isinstance(node, StructArray):
        quiet, last = 0, b""
        for i, element in enumerate(node.elements):
            if len(node.elements) > FEW and _all_zero(element):
                quiet += 1
                continue
            last, same = encode(element), last == encode(element)
            if same and i:
                page.line("  " * depth + f"{node.name}{element.name} the same")
                continue
            page.line("  " * depth + f"{node.name}{element.name}")
            _struct(page, element, context, depth + 1)
            if node.vmsd == "heathrow_pic_one":
                _heathrow(page, element, i, depth + 1)
        if quiet:
            page.line("  " * depth + f"{node.name}: {quiet} of {len(node.elements)} are all zero")
    else:
        page.line("  " * depth + node.name)
        _struct(page, node, context, depth + 1)


def _heathrow(page: Page, element: Struct, index: int, depth: int) -> None:
    words = {m.name: m.value for m in element.members if isinstance(m, Leaf)}
    values = [words.get(n) for n in ("events", "levels", "mask")]
    if all(isinstance(v, int) for v in values):
        events, levels, mask = (v for v in values if isinstance(v, int))
        page.value(depth, "pending", heathrow_sources(index, (events | levels) & mask))
        page.value(depth, "enabled", heathrow_sources(index, mask))


def _all_zero(node: Node) -> bool:
    if isinstance(node, Leaf):
        items = node.value if isinstance(node.value, tuple) else (node.value,)
        return not any(i.strip(b"\0") if isinstance(i, bytes) else i for i in items)
    inner: list[Any] = list(node.elements if isinstance(node, StructArray) else node.members)
    if isinstance(node, Struct):
        inner += node.subsections
    return all(map(_all_zero, inner))


def leaf_rows(context: Context, vmsd: str, leaf: Leaf) -> Iterator[tuple[str, str, str]]:
    """Name, value and meaning: one row, or for an array one per element worth showing."""
    if not isinstance(leaf.value, tuple):
        yield leaf.name, value_text(leaf, leaf.value), meaning(context, vmsd, leaf, leaf.value)
        return
    items = leaf.value
    if len(items) > FEW or vmsd in ("vga", "dbdma_channel"):
        shown = [i for i, v in enumerate(items) if (v.strip(b"\0") if isinstance(v, bytes) else v)]
        if not shown:
            yield leaf.name, f"{len(items)} × 0", ""
            return
    else:
        shown = list(range(len(items)))
    meanings = {i: meaning(context, vmsd, leaf, items[i], i) for i in shown[:MANY]}
    named = any(meanings.values()) or element_name(vmsd, leaf.name, shown[0]) != str(shown[0])
    if not named and len(items) <= FEW and not isinstance(items[0], bytes):
        yield leaf.name, " ".join(value_text(leaf, v) for v in items), ""
        return
    for i in shown[:MANY]:
        label = f"{leaf.name}[{element_name(vmsd, leaf.name, i)}]"
        yield label, value_text(leaf, items[i]), meanings[i]
    rest = len(shown) - MANY
    if rest > 0:
        yield f"{leaf.name}[…]", f"{rest:,} more that are not zero (--json shows all)", ""


def value_text(leaf: Leaf, value: int | bytes) -> str:
    """A value as it stands in the stream."""
    if isinstance(value, bytes):
        return bytes_text(value[:HEAD], len(value))
    if leaf.type == "bool":
        return {0: "false", 1: "true"}.get(value, str(value))
    if abs(value) < 10:
        return str(value)
    return f"{value:#x}" if leaf.type.startswith("uint") or leaf.type == "fpr" else str(value)


def bytes_text(head: bytes, length: int) -> str:
    """The first bytes in hex and how many there are."""
    if not length:
        return "no bytes"
    if not head.strip(b"\0") and length > 8:
        return f"{length:,} bytes, starting with zeros" if length > HEAD else f"{length} zero bytes"
    return head.hex() + (f"… {length:,} bytes" if length > len(head) else "")


def as_json(stream: StreamFile, counted: RamSum, section: str | None) -> dict[str, Any]:
    """Everything `show` knows, whole, for programs."""
    context = context_of(stream)
    out: dict[str, Any] = {
        "name": stream.name,
        "bytes": stream.end,
        "machine": stream.configuration.machine if stream.configuration else None,
        "kind": kind_text(stream),
        "page_size": stream.page_size,
        "clock_ns": context.clock,
        "ram": {
            name: {
                "length": of.block.length, "zero": of.zero, "data": of.data, "packed": of.packed,
                "again": of.again, "bytes": of.wire,
            }
            for name, of in counted.blocks.items()
        },
        "commands": [c.name for c in stream.commands],
        "sections": [],
    }  # fmt: skip
    for item in chosen(stream, section):
        tree = stream.values(item)
        out["sections"].append(
            {
                "name": item.idstr,
                "instance_id": item.instance_id,
                "version": item.version_id,
                "offset": item.offset,
                "size": item.length,
                "values": None if tree is None else _json(tree),
            }
        )
    return out


def _json(node: Node) -> Any:  # noqa: ANN401 - JSON
    if isinstance(node, Leaf):
        if isinstance(node.value, tuple):
            return [v.hex() if isinstance(v, bytes) else v for v in node.value]
        return node.value.hex() if isinstance(node.value, bytes) else node.value
    if isinstance(node, StructArray):
        return [_json(element) for element in node.elements]
    out: dict[str, Any] = {}
    for member in node.members:
        name = member.name
        while name in out:
            name += "'"
        out[name] = _json(member)
    for sub in node.subsections:
        out[f"<{sub.vmsd}>"] = _json(sub)
    return out
