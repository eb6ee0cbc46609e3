"""A machine as a stream, and back.  The format is QEMU's; a profile says which receiver.

A stream is loaded into a fresh machine; the running one is replaced only when all of it has been
read and every section has agreed (`control.vm`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Protocol

import numpy as np

from gossamer.base.errors import StreamError
from gossamer.base.wire import WireWriter
from gossamer.core.memory import RamBlock
from gossamer.machines.machine import Machine, Part
from gossamer.migrate import ram
from gossamer.migrate.framing import (
    Configuration,
    Description,
    Eof,
    Kind,
    Section,
    Walker,
)
from gossamer.migrate.ram_writer import RamWriter, largest_first
from gossamer.migrate.source import Source
from gossamer.migrate.writer import StreamWriter
from gossamer.state.declare import Stateful
from gossamer.state.describe import Json, describe
from gossamer.state.transfer import OURS, Profile, load, save

RAM_SECTION: Final = 2
FIRST_DEVICE: Final = 5
_IDS: Final = {"timer": 0, "slirp": 4}


class Out(Protocol):
    """Where a stream goes."""

    def write(self, data: bytes | memoryview, /) -> object: ...


@dataclass(frozen=True)
class Extra:
    """A section that the control floor adds (globalstate)."""

    idstr: str
    owner: Stateful


def body_of(owner: Stateful, profile: Profile = OURS) -> bytes:
    """One object's section body."""
    w = WireWriter()
    save(owner, w, profile)
    return bytes(w.data)


# --- save -----------------------------------------------------------------------------------------


def save_stream(m: Machine, out: Out, extra: Extra, profile: Profile = OURS) -> None:
    """Write the whole machine, stopped between two instructions."""
    m.engine.flush()  # so that R and C updates come at the same moments with and without a cut
    w = StreamWriter(out)
    w.begin(Configuration(m.name))
    _save_ram(m, w)
    devices: list[Json] = []
    for section_id, part in enumerate(m.sections, FIRST_DEVICE - 1):
        number = _IDS.get(part.idstr, section_id)
        w.full(
            number,
            part.idstr,
            part.instance,
            part.device.version,
            body_of(part.device, profile),
        )
        devices.append(section_description(part, profile))
    last = FIRST_DEVICE + len(m.sections)
    w.full(last, extra.idstr, 0, extra.owner.version, body_of(extra.owner, profile))
    head = {"name": extra.idstr, "instance_id": 0}
    devices.append(head | describe(extra.owner, profile))
    text = None
    if m.config.vmdesc:
        text = json.dumps({"page_size": 4096, "devices": devices})
    w.end(text)


def section_description(part: Part, profile: Profile = OURS, *, every: bool = False) -> Json:
    """The JSON entry of a section."""
    head: Json = {"name": part.idstr, "instance_id": part.instance}
    return head | describe(part.device, profile, every=every)


def _save_ram(m: Machine, w: StreamWriter) -> None:
    blocks = largest_first([(b.name, b.size) for b in m.arena.blocks])
    by_name = {b.name: b for b in m.arena.blocks}
    out = RamWriter(w.out)
    w.open(Kind.START, RAM_SECTION, "ram", 0, ram.VERSION)
    out.block_list(blocks)
    out.end()
    w.close(RAM_SECTION)
    w.open(Kind.PART, RAM_SECTION, "")
    for block in blocks:
        out.block(block.name, m.arena.bytes_of(by_name[block.name]))
    out.end()
    w.close(RAM_SECTION)
    w.open(Kind.END, RAM_SECTION, "")
    out.end()
    w.close(RAM_SECTION)


# --- load -----------------------------------------------------------------------------------------


class _Bodies:
    """Reads each section's body into the machine."""

    def __init__(self, m: Machine, extra: Extra, profile: Profile) -> None:
        self.machine, self.profile = m, profile
        self.owners: dict[tuple[str, int], Stateful] = {
            (p.idstr, p.instance): p.device for p in m.sections
        }
        self.owners[extra.idstr, 0] = extra.owner
        self.seen: set[tuple[str, int]] = set()
        self.ram = ram.RamReader()
        self.blocks: dict[str, RamBlock] = {b.name: b for b in m.arena.blocks}

    def __call__(self, section: Section, source: Source) -> None:
        if section.idstr == "ram":
            self._ram(section, source)
            return
        owner = self.owners.get(section.key)
        if owner is None:
            raise source.error(f"{self.machine.name} has no such section")
        if section.key in self.seen:
            raise source.error("the section is there twice")
        self.seen.add(section.key)
        load(owner, source, section.version_id, self.profile)

    def _ram(self, section: Section, source: Source) -> None:
        if section.version_id != ram.VERSION:
            raise source.error(f"version {section.version_id}, this build reads {ram.VERSION}")
        for record in self.ram.read(source):
            if isinstance(record, ram.BlockList):
                self._check_blocks(record, source)
            elif isinstance(record, ram.Run):
                self._pages(record, source)

    def _check_blocks(self, record: ram.BlockList, source: Source) -> None:
        for block in record.blocks:
            mine = self.blocks.get(block.name)
            if mine is None:
                known = ", ".join(self.blocks)
                raise source.error(f"unknown RAM block {block.name} (there is: {known})")
            if mine.size != block.length:
                raise source.error(
                    f"RAM block {block.name}: {block.length} bytes, this machine has {mine.size}"
                )

    def _pages(self, run: ram.Run, source: Source) -> None:
        memory = self.machine.arena.bytes_of(self.blocks[run.block.name]).reshape(-1, 4096)
        numbers = (run.addresses // np.uint64(4096)).astype(np.int64)
        if run.kind == ram.PAGE and run.pages is not None:
            memory[numbers] = run.pages
        elif run.kind == ram.ZERO and run.fills is not None:
            if run.fills.any():
                memory[numbers] = run.fills[:, None]
            else:
                self._zero(memory, numbers)
        else:
            raise source.error(f"a {ram.flag_names(run.kind)} record needs a capability")

    def _zero(self, memory: Any, numbers: Any) -> None:  # noqa: ANN401 - numpy arrays
        """Clear pages; a fresh machine's are clear already and stay untouched."""
        for n in numbers.tolist():
            page = memory[n]
            if page.any():
                page[:] = 0


def load_stream(m: Machine, file: BinaryIO, extra: Extra, profile: Profile = OURS) -> None:
    """Fill a fresh machine from a stream; StreamError says what did not fit, and where."""
    bodies = _Bodies(m, extra, profile)
    ended = False
    for event in Walker(Source(file), bodies).events():
        if isinstance(event, Configuration) and event.machine != m.name:
            raise StreamError(f"machine {event.machine}, expected {m.name}", "configuration")
        ended = ended or isinstance(event, Eof)
        if isinstance(event, Description):
            break
    if not ended:
        raise StreamError("the stream has no end element")
    if profile.ours:
        missing = [f"{n}/{i}" for n, i in bodies.owners if (n, i) not in bodies.seen]
        if missing:
            raise StreamError(f"sections missing: {', '.join(missing)}")
    m.arena.dirty[:] = 0xFF
    m.resume()
