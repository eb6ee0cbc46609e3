"""A stream with its sections decoded: what the doctor and the converter look at and change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from gossamer.base.data import Data, field
from gossamer.migrate.framing import Section
from gossamer.migrate.inspect import StreamFile
from gossamer.migrate.rewrite import Edit, rewrite
from gossamer.migrate.value_tree import NOT_ARMED, Leaf, Node, Struct, StructArray
from gossamer.streams import chips
from gossamer.streams.meaning import Context, context_of

Key = tuple[str, int]


class Patient(Data, frozen=False):
    """Sections by (name, instance), each a tree that may be changed; `write` re-emits them."""

    stream: StreamFile
    context: Context
    trees: dict[Key, Struct] = field(default_factory=dict)

    @classmethod
    def of(cls, stream: StreamFile, machine: str | None = None) -> Patient:
        trees = {}
        for section, tree in stream.trees():
            if tree is not None:
                trees[section.key] = tree
        return cls(stream, context_of(stream, machine), trees)

    @property
    def never_ran(self) -> bool:
        """Whether it was saved before its first instruction: there is nothing it could miss."""
        state = leaf(self.tree("globalstate"), "runstate")
        name = state.value.split(b"\0")[0] if state and isinstance(state.value, bytes) else b""
        return self.context.clock == 0 and name in (b"prelaunch", b"")

    def tree(self, idstr: str, instance: int = 0) -> Struct | None:
        return self.trees.get((idstr, instance))

    def named(self, vmsd: str) -> Iterator[tuple[str, Struct]]:
        """Every struct of a description, with the path of section and fields to it."""
        for (idstr, instance), tree in self.trees.items():
            title = f"{idstr}/{instance}" if instance else idstr
            yield from _named(tree, vmsd, title)

    def clock_leaves(self) -> Iterator[tuple[str, str, Leaf]]:
        """Every leaf that holds a point on the virtual clock: path, description, leaf."""
        for (idstr, instance), tree in self.trees.items():
            title = f"{idstr}/{instance}" if instance else idstr
            for path, vmsd, leaf in _leaves(tree, title):
                if leaf.type == "timer" or (vmsd, leaf.name) in chips.CLOCK_FIELDS:
                    yield path, vmsd, leaf

    def section(self, section: Section, tree: Struct) -> tuple[Section, Struct]:
        """What `rewrite` writes for a section: the changed tree."""
        return section, self.trees.get(section.key, tree)

    def write(self, out: BinaryIO) -> None:
        """The stream with every change."""
        rewrite(self.stream, out, Edit(section=self.section))


def _named(node: Node, vmsd: str, path: str) -> Iterator[tuple[str, Struct]]:
    if isinstance(node, Leaf):
        return
    if isinstance(node, StructArray):
        for element in node.elements:
            yield from _named(element, vmsd, path + element.name)
        return
    if node.vmsd == vmsd:
        yield path, node
    for member in node.members:
        yield from _named(member, vmsd, f"{path}.{member.name}")


def _leaves(node: Node, path: str, vmsd: str = "") -> Iterator[tuple[str, str, Leaf]]:
    if isinstance(node, Leaf):
        yield path, vmsd, node
    elif isinstance(node, StructArray):
        for element in node.elements:
            yield from _leaves(element, path + element.name)
    else:
        for member in node.members:
            yield from _leaves(member, f"{path}.{member.name}", node.vmsd)
        for sub in node.subsections:
            yield from _leaves(sub, f"{path}.<{sub.vmsd}>", sub.vmsd)


def member(tree: Struct | None, path: str) -> Node | None:
    """A member by a path of names: `mos6522_cuda.parent_obj`, `timers`, `bus.ifs[0]`."""
    if tree is None:
        return None
    for node in tree.members:
        if node.name == path:
            return node
        if isinstance(node, Struct) and path.startswith(node.name + "."):
            found = member(node, path[len(node.name) + 1 :])
            if found is not None:
                return found
    return None


def leaf(tree: Struct | None, path: str) -> Leaf | None:
    """A leaf by path, None when it is not there."""
    found = member(tree, path)
    return found if isinstance(found, Leaf) else None


def integer(tree: Struct | None, path: str) -> int | None:
    """An integer by path."""
    found = leaf(tree, path)
    return found.value if found and isinstance(found.value, int) else None


def elements(tree: Struct | None, path: str) -> list[Struct]:
    """Elements of an array of structs, all in one or field by field; empty when not there."""
    found = member(tree, path)
    if isinstance(found, StructArray):
        return found.elements
    out: list[Struct] = []
    while isinstance(one := member(tree, f"{path}[{len(out)}]"), Struct):
        out.append(one)
    return out


def put(tree: Struct | None, path: str, value: int) -> None:
    """Set an integer leaf that is there."""
    found = leaf(tree, path)
    assert found is not None, path
    found.value = value


def shift_clock(patient: Patient, ns: int) -> None:
    """Move the virtual clock and all that is measured by it by `ns`.

    Seconds of the Mac's date are offsets to the clock: they move the other way, in whole seconds.
    """
    timer = patient.tree("timer")
    clock = integer(timer, "cpu_clock_offset")
    assert clock is not None
    put(timer, "cpu_clock_offset", clock + ns)
    for _path, vmsd, at in patient.clock_leaves():
        value = at.value
        if not isinstance(value, int) or value == NOT_ARMED:
            continue
        if vmsd == "mos6522_timer" and value in (0, (1 << 63) - 1):
            continue
        at.value = min(value + ns, (1 << 63) - 1)
    for name, vmsd in (("cuda", "cuda"), ("pmu", "pmu")):
        for _path, tree in patient.named(vmsd):
            offset = integer(tree, "tick_offset")
            if offset is not None:
                seconds = (clock + ns) // 10**9 - clock // 10**9
                put(tree, "tick_offset", (offset - seconds) % (1 << 32))
        target = integer(patient.tree(name), "one_sec_target")
        if target is not None:
            put(patient.tree(name), "one_sec_target", target + ns // 10**6)
    context = patient.context
    patient.context = Context(context.machine, clock + ns, context.timebase)
