"""Which receivers refuse a stream as it is, and why: what the doctor says before anything is moved.

As a receiver meets it, in the order of the stream; each reason names the capability or option that
would help, or the command that makes a stream which loads.
"""

from __future__ import annotations

from collections.abc import Iterator

from gossamer.base.data import Data
from gossamer.cpu.cpu_64 import part_of
from gossamer.cpu.sprs import PVR
from gossamer.machines import pseries
from gossamer.machines.pseries_cpus import CPUS
from gossamer.migrate import live_state
from gossamer.migrate.framing import Cmd, Command
from gossamer.migrate.inspect import StreamFile
from gossamer.migrate.releases import RESERVATION, RTAS, SHIFT, SLB, Release
from gossamer.migrate.value_tree import Struct, subsections
from gossamer.streams.meaning import context_of, leaf_of
from gossamer.streams.show import RamSum

OURS = "/gossamer"
#: Versions of subsections where a release does not have another one.
_NEWEST = {SHIFT: 2, SLB: 1}
CONVERT = "`stream convert` leaves it out"


class Refusal(Data):
    """Something in the stream that `receiver` does not load; `where` and why."""

    where: str
    why: str


def refusals(stream: StreamFile, counted: RamSum, to: Release) -> list[Refusal]:
    """Everything that stands against loading `stream` in `to`, set up as it is by default."""
    return [
        *_memory(stream, counted, to),
        *_capabilities(stream, to),
        *_commands(stream, to),
        *_sections(stream, to),
    ]


def _memory(stream: StreamFile, counted: RamSum, to: Release) -> Iterator[Refusal]:
    if fault := counted.fault(stream):
        yield Refusal("ram", f"{fault}: no one has all of this machine")
    if stream.footers is False and not to.ours and not context_of(stream).is_unnamed:
        yield Refusal("footers", "refused unless migration.send-section-footer is off there, too")
    if "COMPRESS_PAGE" in counted.flags and not to.ours:
        unless = "unless capability compress is on there" if to.compress else "since 9.1"
        yield Refusal("ram", f"compressed pages are refused {unless}; `convert` sends them plain")
    if "MULTIFD_FLUSH" in counted.flags and not to.flush and not to.ours:
        yield Refusal("ram", f"record MULTIFD_FLUSH is unknown; {CONVERT}")
    if counted.filled and not to.any_fill and not to.ours:
        yield Refusal("ram", "pages filled with one byte that is not 0 are refused")


def _capabilities(stream: StreamFile, to: Release) -> Iterator[Refusal]:
    for name in (stream.configuration.capabilities or ()) if stream.configuration else ():
        if name == "x-ignore-shared" and to.ours:
            continue
        if to.ours:
            why = "is not agreed on when gossamer loads it"
        elif name == "mapped-ram" and not to.suspended:
            why = "is unknown (it came with 9.0)"
        else:
            why = "must be on there, too"
        yield Refusal("configuration", f"capability {name} {why}; {CONVERT}")


def _commands(stream: StreamFile, to: Release) -> Iterator[Refusal]:
    for number in sorted({c.number for c in stream.commands}):
        found = next(c for c in stream.commands if c.number == number)
        why = _command(found, to)
        if why:
            yield Refusal(f"command {found.name}", why)


def _command(command: Command, to: Release) -> str:
    if command.number == Cmd.SWITCHOVER_START and not to.switchover and not to.ours:
        return f"is unknown ('MIG_CMD 0xb'); {CONVERT}, or the sender's send-switchover-start=off"
    if command.number == Cmd.POSTCOPY_ADVISE and command.data and not to.ours:
        return f"is refused unless capability postcopy-ram is on there; {CONVERT}"
    if command.number == Cmd.ENABLE_COLO and not to.ours:
        return f"is refused unless capability x-colo is on there; {CONVERT}"
    if command.number not in live_state.HARMLESS:
        return live_state.REASONS[Cmd(command.number)]
    return ""


def _sections(stream: StreamFile, to: Release) -> Iterator[Refusal]:
    idstrs = {s.idstr for s in stream.sections}
    if live_state.DISKS in idstrs:
        yield Refusal(
            live_state.DISKS,
            live_state.DISKS_REASON if to.ours else "the receiver needs the same disks, writable"
            + ("" if to.compress else "; capability block is gone there"),
        )  # fmt: skip
    context = context_of(stream)
    if context.is_server:
        yield from _another_cpu(stream) if to.ours else _server(stream, context.machine, to)
    if to.ours or not context.is_mac:
        return
    for section in stream.devices:
        want = to.versions.get("mos6522", 1) if section.idstr == "mos6522" else section.version_id
        if section.version_id != want:
            yield Refusal(
                section.title, f"version {section.version_id} is sent, {want} is read; "
                "`stream convert` changes it",
            )  # fmt: skip
        tree = stream.values(section)
        name = tree.vmsd if tree is not None and tree.vmsd else section.idstr
        if name not in to.known:
            yield Refusal(section.title, "the section is unknown; `stream convert` leaves it out")
            continue
        for path, sub in subsections(tree) if tree is not None else ():
            if why := _subsection(sub, to):
                yield Refusal(f"{section.title}{'.' + path if path else ''}", f"<{sub.vmsd}> {why}")


def _another_cpu(stream: StreamFile) -> Iterator[Refusal]:
    """A pseries with a CPU that is not here."""
    foreign = pseries.KIND.foreign
    yield from (Refusal(s.title, foreign[s.idstr]) for s in stream.devices if s.idstr in foreign)
    section = stream.find("cpu")
    sprs = leaf_of(stream.values(section) if section else None, "env.spr")
    pvr = sprs.value[PVR] if sprs and isinstance(sprs.value, tuple) else None
    if isinstance(pvr, int) and pvr not in {facts.version for facts in CPUS.values()}:
        yield Refusal("cpu.env.spr", f"its CPU has PVR {part_of(pvr)}")


def _server(stream: StreamFile, machine: str, to: Release) -> Iterator[Refusal]:
    """A pseries: the sections of what is plugged into it are not judged."""
    if not to.has_server(machine):
        yield Refusal("configuration", f"{to.title} has no {machine}")
    for section, tree in stream.trees():
        if tree is None:
            continue
        if tree.vmsd.startswith("gossamer-"):
            yield Refusal(section.title, "the section is unknown; `stream convert` leaves it out")
        for path, sub in subsections(tree):
            judged = sub.vmsd.endswith(OURS) or sub.vmsd in _NEWEST
            if judged and (why := _subsection(sub, to)):
                yield Refusal(f"{section.title}{'.' + path if path else ''}", f"<{sub.vmsd}> {why}")


def _subsection(sub: Struct, to: Release) -> str:
    if sub.vmsd.endswith(OURS):
        return f"only gossamer knows; {CONVERT}"
    if not to.knows(sub.vmsd):
        return f"is unknown; {CONVERT if sub.vmsd in (RTAS, RESERVATION) else 'leave it out'}"
    if sub.vmsd in _NEWEST and sub.version > to.versions.get(sub.vmsd, _NEWEST[sub.vmsd]):
        return f"version {sub.version} is newer than there; `stream convert` changes it"
    return ""
