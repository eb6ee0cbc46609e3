"""A machine as a stream: all at once, or memory first and the devices when it stands still.

The format is QEMU's; a profile says which receiver.  `control.stream_in` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from gossamer.base.data import Data, replace
from gossamer.base.late import np
from gossamer.base.units import PAGE_SIZE
from gossamer.base.wire import WireWriter
from gossamer.control.globalstate import GlobalState
from gossamer.control.progress import SILENT, Progress
from gossamer.core.memory import RamBlock
from gossamer.machines.kind import WHOLE_FRAME
from gossamer.machines.machine import Machine, Part
from gossamer.migrate import htab, ram
from gossamer.migrate.dirty import Pages
from gossamer.migrate.framing import Cmd, Configuration, Kind
from gossamer.migrate.mapped_out import CAPABILITY, MappedOut
from gossamer.migrate.ram_writer import RamWriter, largest_first
from gossamer.migrate.writer import StreamWriter
from gossamer.state.declare import Stateful
from gossamer.state.describe import Json, describe
from gossamer.state.transfer import OURS, Profile, save, version_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Out(Protocol):
    """Where a stream goes."""

    def write(self, data: bytes | memoryview, /) -> object: ...


class Extra(Data):
    """A section that the control floor adds (globalstate)."""

    idstr: str
    owner: Stateful


class Carried(Data):
    """A section of a chip that is not here: kept as it came, and sent on."""

    idstr: str
    version: int
    body: bytes


def body_of(owner: Stateful, profile: Profile = OURS) -> bytes:
    """One object's section body."""
    w = WireWriter()
    save(owner, w, profile)
    return bytes(w.data)


def save_all(m: Machine) -> dict[str, bytes]:
    """The bodies of all sections but memory's, by title, as they are between two slices."""
    return {p.title: body_of(p.device) for p in m.sections if p.idstr != htab.IDSTR}


def section_description(part: Part, profile: Profile = OURS, *, every: bool = False) -> Json:
    """The JSON entry of a section."""
    head: Json = {"name": part.idstr, "instance_id": part.instance}
    return head | describe(part.device, profile, every=every)


def blocks_of(m: Machine) -> list[RamBlock]:
    """The blocks of memory in the order of a stream, the largest first."""
    by_name = {b.name: b for b in m.arena.blocks}
    return [by_name[b.name] for b in largest_first([(b.name, b.size) for b in m.arena.blocks])]


class StreamOut:
    """One machine's stream: `begin`, `part` for some pages, again and again, `devices`, `end`."""

    def __init__(
        self, m: Machine, out: Out, progress: Progress = SILENT, *, ours: bool = True
    ) -> None:
        self.machine = m
        self.frame = WHOLE_FRAME if ours else m.version.frame
        self.writer = StreamWriter(out, self.frame.footers)
        self.ram = RamWriter(out, advance=progress.advance)
        self.blocks = blocks_of(m)
        #: A page table outside memory, which goes beside it.
        self.table = m.hash_table
        #: Memory goes to fixed places of a file; `flush` puts all before it there.
        self.mapped: MappedOut | None = None
        self.flush: Callable[[], None] = lambda: None
        #: Called when a section was written: what is there may go.
        self.onward: Callable[[], None] = lambda: None
        self._describe: Callable[[], str] = str
        self._form: _Form = []
        #: A description made ahead, and for which form.
        self._ready: tuple[_Form, str] = [], ""
        progress.phase("RAM", sum(b.size for b in self.blocks))

    def begin(self, commands: Sequence[tuple[int, bytes]] = ()) -> None:
        """What comes before the first page; `commands` follow the configuration."""
        capabilities = None if self.mapped is None else (CAPABILITY,)
        name = Configuration(self.machine.name, capabilities=capabilities)
        self.writer.begin(name if self.frame.names_machine or capabilities else None)
        for number, data in commands:
            self.writer.command(number, data)
        number = self.machine.kind.sections.ram
        self.writer.open(Kind.START, number, "ram", 0, ram.VERSION)
        listed = largest_first([(b.name, b.size) for b in self.blocks])
        if self.mapped is None:
            self.ram.block_list(listed)
        else:
            self.flush()
            self.mapped.block_list(listed)
        self.ram.end()
        self.writer.close(number)
        if self.table is not None:
            self.writer.open(Kind.START, number + 1, htab.IDSTR, 0, htab.VERSION)
            self.writer.out.write(htab.head(self.table))
            self.writer.close(number + 1)

    def everything(self) -> Pages:
        """Every page of every block."""
        return [(b, np.arange(b.size // PAGE_SIZE, dtype=np.int64)) for b in self.blocks]

    def part(self, pages: Pages, zero: NDArray[np.bool_] | None = None) -> None:
        """Some pages, as they are now; `zero`: pages of the arena that need not be read."""
        number, arena = self.machine.kind.sections.ram, self.machine.arena
        self.writer.open(Kind.PART, number, "")
        for block, numbers in pages:
            blank = None
            if zero is not None:
                at = block.offset // PAGE_SIZE
                blank = zero[at : at + block.size // PAGE_SIZE]
            self.ram.pages(block.name, arena.bytes_of(block), numbers, blank)
        self.ram.end()
        self.writer.close(number)

    def end_memory(self) -> None:
        """The end of memory."""
        number = self.machine.kind.sections.ram
        self.writer.open(Kind.END, number, "")
        self.ram.end()
        self.writer.close(number)

    def devices(
        self,
        extra: Extra,
        profile: Profile = OURS,
        *,
        carried: Sequence[Carried] = (),
        switchover: bool = False,
        memory_follows: bool = False,
    ) -> None:
        """The end of memory and the devices; `end` makes it a whole machine.

        The machine stands still between two instructions since the last page was sent.
        `switchover`: SWITCHOVER_START comes before the devices.  `memory_follows`: pages come
        behind them, and `end_memory` (postcopy).
        """
        m, w = self.machine, self.writer
        number = m.kind.sections.ram + 1
        if self.table is not None:
            w.open(Kind.PART, number, "")
            w.out.write(htab.entries(self.table))
            w.close(number)
        if not memory_follows:
            self.end_memory()
        if self.table is not None:
            w.open(Kind.END, number, "")
            w.out.write(htab.NOTHING)
            w.close(number)
        if switchover:
            w.command(Cmd.SWITCHOVER_START)
        self._form = []
        for one in _sections(m, extra, profile, carried, self._form):
            w.full(one.number, one.idstr, one.instance, one.version, one.body)
            self.onward()
        self._describe = partial(_description, m, extra, profile, carried)

    def prepare(
        self, extra: Extra, profile: Profile = OURS, carried: Sequence[Carried] = ()
    ) -> None:
        """Do what `devices` and `end` do, so that it goes fast when the machine stands still.

        The description stays as it is unless sections get another form meanwhile.
        """
        form = self.rehearse(extra, profile, carried)
        self._ready = form, _description(self.machine, extra, profile, carried)

    def rehearse(self, extra: Extra, profile: Profile, carried: Sequence[Carried] = ()) -> _Form:
        """Make all sections as they are now, and forget them: the next time is quicker."""
        form: _Form = []
        for _ in _sections(self.machine, extra, profile, carried, form):
            pass
        return form

    def end(self) -> None:
        """The end element and the description."""
        text = None
        if self.machine.hardware.vmdesc and self.frame.described:
            form, text = self._ready
            if form != self._form:
                text = self._describe()
        self.writer.end(text)


class _Section(NamedTuple):
    """One that is to be written."""

    number: int
    idstr: str
    instance: int
    version: int
    body: bytes


_Form: TypeAlias = "list[tuple[int, str | int]]"
"""What decides how sections are described: their lengths, and which subsections are there."""


def _sections(
    m: Machine, extra: Extra, profile: Profile, carried: Sequence[Carried], form: _Form
) -> Iterator[_Section]:
    """The sections of a machine but memory's, in their order; `form` gets their form."""
    profile = replace(profile, saw=lambda owner, name: form.append((id(owner), name)))
    numbers = m.kind.sections
    section_id = numbers.first + m.kind.has_nic(m.hardware)
    for part in m.sections:
        if part.idstr == htab.IDSTR:
            continue  # it has been sent like memory
        if profile.known is not None and part.device.vmsd not in profile.known:
            continue  # `losses` says so
        number = numbers.fixed.get(part.idstr, section_id)
        section_id += number == section_id
        body, version = body_of(part.device, profile), version_of(part.device, profile)
        form.append((number, len(body)))
        yield _Section(number, part.idstr, part.instance, version, body)
        if part.idstr == "timer":
            for one in carried:
                yield _Section(numbers.first, one.idstr, 0, one.version, one.body)
    if _is_sent(m, extra, profile):
        body = body_of(extra.owner, profile)
        yield _Section(section_id, extra.idstr, 0, extra.owner.version, body)


def _is_sent(m: Machine, extra: Extra, profile: Profile) -> bool:
    """Whether the receiver's machine has the section of the run state."""
    state = extra.owner
    if profile.ours or m.version.frame.says_state or not isinstance(state, GlobalState):
        return True
    return state.name not in ("running", "paused")


def _description(m: Machine, extra: Extra, profile: Profile, carried: Sequence[Carried]) -> str:
    """The description of all sections."""
    devices = _descriptions(m, extra, profile, carried)
    return json.dumps({"page_size": PAGE_SIZE, "devices": devices})


def _descriptions(
    m: Machine, extra: Extra, profile: Profile, carried: Sequence[Carried]
) -> list[Json]:
    """What the sections of a stream hold, in their order."""
    devices: list[Json] = []
    for part in m.sections:
        if profile.known is not None and part.device.vmsd not in profile.known:
            continue
        if part.idstr == htab.IDSTR:
            continue
        devices.append(section_description(part, profile))
        if part.idstr == "timer":
            devices += [_carried_description(one) for one in carried]
    if not _is_sent(m, extra, profile):
        return devices
    head = {"name": extra.idstr, "instance_id": 0}
    return [*devices, head | describe(extra.owner, profile)]


def _carried_description(one: Carried) -> Json:
    data = {"name": "data", "size": len(one.body), "type": "buffer"}
    return {"name": one.idstr, "instance_id": 0, "size": len(one.body), "fields": [data]}


def save_stream(
    m: Machine,
    out: Out,
    extra: Extra,
    profile: Profile = OURS,
    *,
    carried: Sequence[Carried] = (),
    commands: Sequence[tuple[int, bytes]] = (),
    switchover: bool = False,
    progress: Progress = SILENT,
) -> None:
    """Write the whole machine, stopped between two instructions."""
    m.arena.need_all()
    m.engine.flush()  # so that R and C updates come at the same moments with and without a cut
    stream = StreamOut(m, out, progress, ours=profile.ours)
    stream.begin(commands)
    stream.part(stream.everything(), m.arena.untouched())
    stream.devices(extra, profile, carried=carried, switchover=switchover)
    stream.end()
