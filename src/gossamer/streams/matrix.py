"""`gossamer stream matrix`: what moves from where to where; writes docs/compatibility.md.

Nothing is typed here that another file says: versions of our machines and their schemas, the table
of releases (`migrate.releases`, with its evidence), what each chip declares to be `lost=`.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Final

from gossamer.base.data import Data
from gossamer.base.units import MiB
from gossamer.control.stream_out import section_description
from gossamer.machines import pseries_versions, registry
from gossamer.machines.build import build
from gossamer.machines.machine import Machine
from gossamer.machines.options import parse
from gossamer.migrate import schema_loads, vmstate_dump
from gossamer.migrate.releases import EVIDENCE, OURS, QEMU, SHIFT, SLB, Release, release
from gossamer.migrate.schema_loads import Severity
from gossamer.state.declare import Stateful
from gossamer.state.layout import Loss, Subsection

MACHINES: Final = ("g3beige", "mac99")
#: The one whose versions are QEMU's.
SERVER: Final = "pseries"
WHOLE, PARTLY, REFUSED = "whole", "with losses", "no"
_WORDS: Final = {
    Severity.NOTE: WHOLE, Severity.MAYBE: "with conditions", Severity.FATAL: REFUSED
}  # fmt: skip


class Peer(Data):
    """One end: a release, and of ours the version of the machine."""

    title: str
    release: Release
    version: str = ""


class Cell(Data):
    """Whether a stream of one loads in the other, and what there is to say."""

    word: str
    notes: tuple[str, ...] = ()


def peers(machine: str) -> list[Peer]:
    """Who writes and reads streams of `machine`, ours first, the oldest first."""
    kind = next(k for k in registry.kinds() if k.name == machine)
    ours = [f"{machine}-{v.name}" for v in kind.versions]
    found = [Peer(f"gossamer {v}", release(OURS), v) for v in ours]
    return found + [Peer(r.title, r) for r in QEMU.values()]


def cell(machine: str, source: Peer, target: Peer) -> Cell:
    """What comes of moving a guest of `machine` from `source` to `target`."""
    if source.version and target.version:
        return _between_ours(source.version, target.version)
    if target.version:
        return _to_ours(machine, source.release)
    if source.version:
        return _from_ours(machine, target.release)
    return _between_theirs(machine, source.release, target.release)


def _between_ours(source: str, target: str) -> Cell:
    """By the two schemas."""
    found = schema_loads.compare(_schema(source), _schema(target))
    worst = max((f.severity for f in found), default=Severity.NOTE)
    notes = (f"{f.section}: {f.text}" for f in found if f.severity > Severity.NOTE)
    return Cell(_WORDS[worst], tuple(dict.fromkeys(notes)))


@cache
def built(version: str) -> Machine:
    """A machine of a version, without firmware or disks."""
    kind, _ = registry.find_version(version)
    memory = str(max(8, kind.ram_least // MiB))
    words = ["-M", version, "-m", memory, "-nographic", "-serial", "null"]
    return build(parse([*words, "-bios", "builtin"] if kind.firmware else words))


def _schema(version: str) -> vmstate_dump.Machine:
    """What it can save and load, as -dump-vmstate says it."""
    described = [
        (
            part.title,
            vmstate_dump.with_conditions(
                section_description(part, every=True), section_description(part)
            ),
        )
        for part in built(version).sections
    ]
    # The version is not on the wire: a stream says "g3beige".
    return vmstate_dump.machine_from_json(version.rpartition("-")[0], described)


def _rates(machine: str, source: Release, target: Release) -> tuple[int, int] | None:
    """Ticks of the time base there and here, where they differ."""
    one, other = (r.timebase.get(machine) for r in (source, target))
    return (one, other) if one and other and one != other else None


def _to_ours(machine: str, source: Release) -> Cell:
    notes = []
    if not source.reads_decrementer:
        notes.append("decrementer and lines that were lost there are repaired where they follow")
    rate = source.timebase.get(machine)
    if rate is not None:
        notes.append(f"the time base goes on at {rate:,} Hz")
    return Cell(WHOLE, tuple(notes))


def _from_ours(machine: str, target: Release) -> Cell:
    notes = ["what the receiver does not know is said before and after the move"]
    if not target.reads_decrementer:
        notes.append("the decrementer is set anew by the guest")
    if target.stale_decrementer:
        notes.append("a time base below 2**32 jumps there (keep-tb refuses)")
    rate = target.timebase.get(machine)
    if rate is not None:
        notes.append(f"the time base must be {rate:,} Hz (-M {machine},timebase={rate})")
    return Cell(PARTLY, tuple(notes))


def _between_theirs(machine: str, source: Release, target: Release) -> Cell:
    """As far as this table knows two releases of QEMU."""
    if source == target and source.reads_decrementer:
        return Cell(WHOLE)
    against = []
    if source.switchover and not target.switchover:
        against.append("command SWITCHOVER_START is unknown (send-switchover-start=off)")
    changed = dict(source.versions.items() ^ target.versions.items())
    against += [
        f"another version of {name}" for name in sorted(changed) if name not in (SHIFT, SLB)
    ]
    if against:
        return Cell(REFUSED, (*against, "`stream convert` makes one that loads"))
    notes = []
    if not (source.reads_decrementer and target.reads_decrementer):
        notes.append("decrementer and pending interrupts are lost (`stream doctor --fix`)")
    if rates := _rates(machine, source, target):
        notes.append(f"the guest's clock runs {rates[1] / rates[0]:g} times as fast")
    return Cell(PARTLY if notes else WHOLE, tuple(notes))


# --- what a release of QEMU does not know -----------------------------------------------------


def unknown_there(machine: Machine, to: Release) -> Iterator[tuple[str, str]]:
    """(section or subsection, what is lost without it), as the chips declare it."""
    seen: set[str] = set()
    for part in machine.sections:
        device = part.device
        if device.vmsd not in to.known:
            yield device.vmsd, device.lost or "all of its state"
            continue
        for sub in _subsections(device):
            if sub.name not in seen and sub.name not in to.known:
                seen.add(sub.name)
                for text in _texts(sub):
                    yield sub.name, text


def _subsections(device: Stateful) -> Iterator[Subsection]:
    yield from (s for s in device.subsections if s.ours and s.exists(device))


def _texts(sub: Subsection) -> list[str]:
    """What is lost without a subsection, or what its judge may say."""
    if sub.judge is None:
        return [_marked(loss) for loss in sub.losses(None)]
    tree = ast.parse(textwrap.dedent(inspect.getsource(sub.judge)))
    calls = (n for n in ast.walk(tree) if isinstance(n, ast.Call) and _name(n.func) == "Loss")
    found = []
    for call in calls:
        passes = len(call.args) > 1 or any(k.arg == "passes" for k in call.keywords)
        found.append(_marked(Loss(_words(call.args[0]), passes)))
    return found


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _words(node: ast.expr) -> str:
    """A text; what is put into it at run time becomes an ellipsis."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_words(v) if isinstance(v, ast.Constant) else "…" for v in node.values)
    return "…"


def _marked(loss: Loss) -> str:
    return f"{loss.text} (waited for: over in a moment)" if loss.passes else loss.text


Table = tuple[str, list[Peer], Callable[[Peer, Peer], Cell]]
"""A machine, who has it, and what comes of a move between two of them."""


def _tables() -> list[Table]:
    return [(machine, peers(machine), partial(cell, machine)) for machine in MACHINES]


def as_json() -> dict[str, list[dict[str, object]]]:
    """Every pair, by machine."""
    tables = [(SERVER, server_peers(), server_cell), *_tables()]
    return {
        machine: [
            {"from": a.title, "to": b.title, "verdict": one.word, "notes": list(one.notes)}
            for a in ends
            for b in ends
            for one in (judged(a, b),)
        ]
        for machine, ends, judged in tables
    }


# --- the server, whose versions are QEMU's -------------------------------------------------------


def server_peers() -> list[Peer]:
    """Who has it; the version is the same at both ends."""
    return [Peer("gossamer", release(OURS)), *(Peer(r.title, r) for r in QEMU.values())]


def server_cell(a: Peer, b: Peer) -> Cell:
    """What comes of moving a guest of a version that both have."""
    source, target = a.release, b.release
    if source.ours and target.ours:
        return Cell(WHOLE)
    stands = "a guest that waits for its decrementer is not woken"
    if target.ours:
        if source.reads_decrementer:
            return Cell(WHOLE)
        return Cell(WHOLE, ("the decrementer, which was lost there, interrupts at once",))
    if target.sleeps:
        return Cell(PARTLY, (stands,))
    if source.ours:
        notes = ["what the receiver does not know is said before and after the move"]
        if not target.reads_decrementer:
            notes.append("the guest is run on to where it sets the decrementer itself")
        return Cell(PARTLY, tuple(notes))
    against = []
    if source.switchover and not target.switchover:
        against.append("command SWITCHOVER_START is unknown (send-switchover-start=off)")
    if source.versions.get(SLB, 1) > target.versions.get(SLB, 1):
        against.append(f"another version of {SLB}")
    if against:
        return Cell(REFUSED, (*against, "`stream convert` makes one that loads"))
    if not target.reads_decrementer:
        return Cell(PARTLY, ("the decrementer is lost (`stream doctor --fix` for that receiver)",))
    if source.reads_decrementer:
        return Cell(WHOLE)
    return Cell(WHOLE, ("the decrementer, which was lost there, interrupts at once",))


def _versions() -> Iterator[str]:
    """What its versions are like."""
    yield "A stream names the machine's version, and only the same version loads it, here and in"
    yield "QEMU. What QEMU 7.2 sends loads here, and is written again byte for byte. QEMU 5.2 has"
    yield "the versions up to 5.2, 10.0 those from 3.0 on, 11.1 those from 5.2 on. Up to 2.3"
    yield "QEMU's streams name no machine, have no section footers, and say the run state only of"
    yield "a machine that neither runs nor is paused; up to 2.2 they have no description either."
    yield "Ours have all of it. From 2.6 on a logical LAN has `spapr_llan/rx_pools`, from 2.7 on"
    yield "a bridge a second `spapr_iommu`, from 2.8 on there is `spapr_option_vector_ov5_cas`."
    yield ""
    yield "Our own versions are beside them, as the Macs have theirs: what our own subsections hold"
    yield "changes with the next one only. For its guest and on the wire each is one of QEMU's:"
    for name, theirs in pseries_versions.OWN.items():
        yield f"{SERVER}-{name} is {SERVER}-{theirs}."
    yield ""
    yield "| version | interrupts | largest page | CPU numbers | virtio | its streams have |"
    yield "|---|---|---|---|---|---|"
    for one in (*pseries_versions.ERAS, *pseries_versions.LATER):
        numbers = "in order" if one.numbers.in_order else "fixed"
        row = (
            f"{SERVER}-{one.name}",
            f"{one.numbers.sources:,}, {numbers}",
            {16: "64 KiB", 34: "16 GiB"}[one.page_shift],
            f"0, {one.spacing}, …",
            "yes" if one.virtio else "no",
            ", ".join(f"`{name}`" for name in _named(one)),
        )
        yield f"| {' | '.join(row)} |"
    yield ""
    yield from (f"- {what}: {text}" for what, text in pseries_versions.EVIDENCE.items())


def _named(one: pseries_versions.Era) -> Iterator[str]:
    """Sections and subsections that not every version has."""
    there = {
        "masks in cpu": one.masks,
        "places in spapr_pci": one.masks,
        "cpu/slb with its size": one.counts_slb,
        "cpu/compat": one.compat,
        "spapr_cpu": one.areas,
        "spapr/cap/htm": one.transactions,
        "spapr/cap/hpt_maxpagesize": one.says_page_size,
        "spapr_irq_map": not one.numbers.in_order,
        "spapr_dtb": one.tree,
        "spapr_fwnmi": one.nmi,
    }
    return (name for name, is_there in there.items() if is_there)


# --- the page -----------------------------------------------------------------------------------


def page() -> str:
    """docs/compatibility.md."""
    out = [
        "# What moves where",
        "",
        "Made by `gossamer stream matrix` from what is declared: the schemas of our machines, the",
        "table of QEMU's releases, and what each chip says is lost without it. A test compares.",
        "",
        f"*{WHOLE}*: nothing is lost. *{PARTLY}*, *with conditions*: see the numbers. *{REFUSED}*:",
        "the receiver refuses, and the guest stays where it was. Before anything is moved",
        "`query-migrate` (and `info migrate`) lists what the receiver will not know of this guest;",
        "`gossamer stream check STREAM RELEASE` judges a stream.",
        "",
    ]
    notes: dict[str, int] = {}
    for machine, ends, judged in [*_tables(), (SERVER, server_peers(), server_cell)]:
        out += [f"## {machine}", ""]
        out.append("| from \\ to | " + " | ".join(p.title for p in ends) + " |")
        out.append("|---" * (len(ends) + 1) + "|")
        for source in ends:
            row = [source.title]
            for target in ends:
                one = judged(source, target)
                numbers = [notes.setdefault(note, len(notes) + 1) for note in one.notes]
                marks = f" ({', '.join(map(str, sorted(numbers)))})" if numbers else ""
                row.append(one.word + marks)
            out.append("| " + " | ".join(row) + " |")
        out.append("")
    out += [f"{number}. {note}" for note, number in notes.items()]
    out += ["", f"## Versions of {SERVER}", "", *_versions()]
    out += ["", "## What QEMU does not know of our chips", ""]
    out += ["| machine | section | without it is lost |", "|---|---|---|"]
    newest = release("qemu-11.1")
    for machine in (*MACHINES, SERVER):
        ours = [p.version for p in peers(machine) if p.version]
        rows = [row for v in (ours[-1], *ours[:2]) for row in unknown_there(built(v), newest)]
        out += [f"| {machine} | `{name}` | {text} |" for name, text in dict.fromkeys(rows)]
    out += ["", "## Where the table of releases is known from", ""]
    out += [f"- `{column}`: {text}" for column, text in EVIDENCE.items()]
    return "\n".join(out) + "\n"
