"""`gossamer stream check`: would this load there, and if not, why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from gossamer.base.data import Data
from gossamer.base.errors import HostError, StreamError
from gossamer.migrate import schema_loads, vmstate_dump
from gossamer.migrate.inspect import StreamFile
from gossamer.migrate.releases import OURS, Release, release
from gossamer.migrate.schema_loads import Finding, Severity, wire
from gossamer.migrate.stream_loads import stream_loads
from gossamer.migrate.vmstate_dump import Machine
from gossamer.streams.meaning import context_of
from gossamer.streams.page import Page
from gossamer.streams.refusals import refusals
from gossamer.streams.show import RamSum

STYLES: Final = {Severity.FATAL: "bold red", Severity.MAYBE: "yellow", Severity.NOTE: "cyan"}
WORDS: Final = {Severity.FATAL: "fails", Severity.MAYBE: "may fail", Severity.NOTE: "fine"}
_MODERN: Final = "sd-card/ext_csd_modes-state"
MAX_DUMP: Final = 256 << 20


class Verdict(Data):
    """Findings, and sections that nothing could be said about."""

    findings: list[Finding]
    unjudged: Sequence[str] = ()

    @property
    def worst(self) -> Severity:
        return max((f.severity for f in self.findings), default=Severity.NOTE)

    @property
    def text(self) -> str:
        if self.worst is Severity.FATAL:
            return "does not load"
        return "loads, with conditions" if self.worst is Severity.MAYBE else "loads"


def is_dump(path: str) -> bool:
    """Whether a file begins like JSON."""
    try:
        with Path(path).open("rb") as file:
            return file.read(64).lstrip()[:1] == b"{"
    except OSError:
        return False


def read_dump(path: str) -> Machine:
    """A `-dump-vmstate` file."""
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_DUMP + 1)
        if len(raw) > MAX_DUMP:
            raise StreamError(f"is longer than {MAX_DUMP:,} bytes", path)
        text = raw.decode("utf-8")
    except OSError as fault:
        raise HostError(f"{path}: cannot be read: {fault.strerror}") from None
    except UnicodeDecodeError as fault:
        raise StreamError(f"is not UTF-8 text: {fault.reason}", path, fault.start) from None
    return vmstate_dump.read(text, path)


def dump_into(source: Machine, target: Machine, device: str | None = None) -> Verdict:
    """Whether what `source` saves loads in `target`."""
    found = schema_loads.compare(source, target)
    return Verdict([f for f in found if device is None or f.section == device])


def release_of(target: Machine) -> Release:
    """The release that wrote a dump, as far as its classes show: the last of its kind.

    Versions of the 6522 show 5.2, eMMC's subsection shows 9.1 and later, our machines have versions
    in their names.
    """
    if "-" in target.name:
        return release(OURS)
    vias = target.by_state("mos6522")
    if any(device.version == 0 for device in vias):
        return release("qemu-5.2")
    modern = any(
        item.sub is not None and item.name == _MODERN
        for device in target.by_state("sd-card")
        for item in wire(device.state, device.version, "")
    )
    return release("qemu-10.0" if modern else "qemu-7.2")


def stream_into(
    stream: StreamFile, counted: RamSum, target: Machine | None, to: Release
) -> Verdict:
    """Whether a stream loads in release `to`, and in the machine that a dump of it describes."""
    found = [Finding(Severity.FATAL, r.where, "", r.why) for r in refusals(stream, counted, to)]
    context = context_of(stream)
    mine, theirs = context.timebase, to.timebase.get(context.machine)
    if mine and theirs and mine != theirs and context.clock:
        text = f"loads, but the guest's clock then runs {theirs / mine:g} times as fast"
        found.append(Finding(Severity.MAYBE, "cpu", "timebase", text))
    if target is None:
        return Verdict(found)
    if stream.desc is None:
        raise StreamError("has no description: it cannot be held against a schema", stream.name)
    machine = stream.configuration.machine if stream.configuration else ""
    more, unjudged = stream_loads(stream.desc, machine, target)
    known = {(f.section, f.severity) for f in found}
    found += [f for f in more if (f.section, f.severity) not in known]
    return Verdict(found, unjudged)


def print_verdict(page: Page, title: str, verdict: Verdict, quiet: bool) -> None:
    """Findings, worst first, and the verdict."""
    page.heading(title)
    shown = [f for f in verdict.findings if not quiet or f.severity > Severity.NOTE]
    shown.sort(key=lambda f: (-f.severity, f.section))
    if shown:
        page.line()
        rows = [[WORDS[f.severity], f.section, f.field, f.text] for f in shown]
        page.table(["loading", "section", "field", "why"], rows)
    if verdict.unjudged:
        page.line()
        page.line(
            "not in a dump, so not judged: " + ", ".join(dict.fromkeys(verdict.unjudged)), "dim"
        )
    page.line()
    counts = {s: sum(f.severity is s for f in verdict.findings) for s in Severity}
    numbers = ", ".join(f"{counts[s]} {WORDS[s]}" for s in reversed(Severity) if counts[s])
    tail = f" ({numbers})" if numbers else ""
    page.line(f"{verdict.text}{tail}", STYLES[verdict.worst])


def as_json(verdict: Verdict) -> dict[str, Any]:
    """The verdict for programs."""
    return {
        "verdict": verdict.text,
        "loads": verdict.worst is not Severity.FATAL,
        "findings": [
            {
                "severity": f.severity.name.lower(), "section": f.section, "field": f.field,
                "why": f.text,
            }
            for f in verdict.findings
        ],
        "unjudged": list(verdict.unjudged),
    }  # fmt: skip
