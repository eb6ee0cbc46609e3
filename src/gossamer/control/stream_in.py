"""A machine out of a stream: ours, or any QEMU's.

A stream is loaded into a fresh machine; the running one is replaced only when all of it has been
read and every section has agreed (`control.vm`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from io import SEEK_CUR
from typing import TYPE_CHECKING, BinaryIO, Final

from gossamer.base.data import Data, field, replace
from gossamer.base.errors import StreamError
from gossamer.base.late import np
from gossamer.base.units import NS_PER_S, PAGE_SIZE, ticks_at
from gossamer.control.progress import SILENT, Progress
from gossamer.control.stream_out import Carried, Extra
from gossamer.core.memory import RamBlock
from gossamer.machines.machine import Machine
from gossamer.migrate import htab, live_state, mapped_out, ram
from gossamer.migrate.area import AreaReader
from gossamer.migrate.arrival import Arrival
from gossamer.migrate.coverage import Coverage
from gossamer.migrate.framing import (
    Cmd,
    Command,
    Configuration,
    Description,
    Eof,
    Kind,
    Section,
    Walker,
)
from gossamer.migrate.incoming import CAUGHT_UP, Incoming
from gossamer.migrate.pages import inflate_page, mapped_pages, xbzrle_decode
from gossamer.migrate.source import Source
from gossamer.state.declare import Stateful
from gossamer.state.transfer import OURS, Profile, load

if TYPE_CHECKING:
    from gossamer.migrate.multifd_in import MultifdIn

#: QEMU's user-mode network (version 4): no sockets, then an id and 16 leases.
_SLIRP_VERSION, _SLIRP_SIZE = 4, 131
#: Capabilities that a configuration may name.
_SHARED: Final = "x-ignore-shared"
_OURS: Final = "/gossamer"
_BEGINNING: Final = 64
_CAUGHT_UP: Final = CAUGHT_UP.to_bytes(4, "big")
EAGER_NS: Final = NS_PER_S // 100
"""So long is the rest waited for eagerly when the sender is about to stop its machine."""
_END_WAIT: Final = 1.0
"""Seconds that a description is waited for behind the end of a stream."""


class Loaded(Data, frozen=False):
    """What a stream brought.

    `sections` and `subsections` by name; `missing` are sections of the machine that were not in
    it; `carried` those that only QEMU has.  `modern`: there is a sign of QEMU 8.2 or later, which
    load and save DEC; an older one hands on what it was once given.  `suspended`: its globalstate
    has the form of 9.0 and later.
    """

    sections: set[tuple[str, int]] = field(default_factory=set)
    subsections: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    carried: tuple[Carried, ...] = ()
    modern: bool = False
    suspended: bool = False

    @property
    def foreign(self) -> bool:
        """Whether it is not gossamer's: it has none of what our streams always have."""
        return not any(name.endswith(_OURS) for name in self.subsections)


# --- load -----------------------------------------------------------------------------------------


class _Bodies:
    """Reads each section's body into the machine."""

    def __init__(
        self,
        m: Machine,
        source: Source,
        extra: Extra,
        profile: Profile,
        progress: Progress = SILENT,
    ) -> None:
        self.machine, self.source, self.progress = m, source, progress
        self.loaded = Loaded()
        seen = self.loaded.subsections  # not self: it would wait for the garbage collector
        self.profile = replace(profile, saw=lambda owner, name: seen.add(name))
        self.owners: dict[tuple[str, int], Stateful] = {
            (p.idstr, p.instance): p.device for p in m.sections
        }
        self.owners[extra.idstr, 0] = extra.owner
        self.ram = ram.RamReader()
        self.blocks: dict[str, RamBlock] = {b.name: b for b in m.arena.blocks}
        self.filled: set[str] = set()
        self.coverage = Coverage()
        self.cpu_clock: int | None = None
        self.multifd: MultifdIn | None = None
        #: Pages that come behind the machine.
        self.arrival: Arrival | None = None

    def __call__(self, section: Section, source: Source) -> None:
        if section.idstr == "ram":
            self._ram(section, source)
            return
        if section.idstr == htab.IDSTR:
            self._table(section, source)
            return
        if section.key in self.loaded.sections:
            raise source.error("the section is there twice")
        owner = self.owners.get(section.key)
        if owner is None and live_state.passes(section, source):
            return
        if owner is None:
            self._carry(section, source)
            return
        if section.version_id < owner.version:  # its nested copies have no version on the wire
            versions = {**self.profile.versions, owner.vmsd: section.version_id}
            self.profile = replace(self.profile, versions=versions)
        load(owner, source, section.version_id, self.profile)
        self.loaded.sections.add(section.key)
        if owner is self.machine.cpus[-1]:
            self.cpu_clock = self.machine.clock.now

    def _table(self, section: Section, source: Source) -> None:
        """The page table of a machine whose guest has it kept by a hypervisor."""
        table = self.machine.hash_table
        if table is None:
            raise source.error(f"{self.machine.name} has no page table outside memory")
        if section.version_id != htab.VERSION:
            raise source.error(f"version {section.version_id}, this build reads {htab.VERSION}")
        htab.read(table, source, first=section.kind == Kind.START)
        if section.kind == Kind.END:
            self.loaded.sections.add(section.key)

    def _carry(self, section: Section, source: Source) -> None:
        """Keep the bytes of a section that this machine has no chip for."""
        if section.idstr != self.machine.kind.sections.network:
            usual = "it needs the devices that the sender has now"
            what = self.machine.kind.foreign.get(section.idstr, usual)
            raise source.error(f"{self.machine.name} has no such section: {what}")
        if section.version_id != _SLIRP_VERSION:
            text = f"version {section.version_id}, this build keeps {_SLIRP_VERSION}"
            raise source.error(text)
        if source.peek(1) != b"\0":
            raise source.error("has sockets of guestfwd=, which are not understood here")
        body = bytes(source.take(_SLIRP_SIZE))
        self.loaded.carried += (Carried(section.idstr, section.version_id, body),)
        self.loaded.sections.add(section.key)

    # --- RAM --------------------------------------------------------------------------------------

    def _ram(self, section: Section, source: Source) -> None:
        if section.version_id != ram.VERSION:
            raise source.error(f"version {section.version_id}, this build reads {ram.VERSION}")
        for record in self.ram.read(source):
            if isinstance(record, ram.BlockList):
                self._check_blocks(record, source)
                self.coverage(record)
                for block in record.blocks:
                    self._mapped(block, source)
            elif isinstance(record, ram.Run):
                self._pages(record)
                self.coverage(record)
                self.progress.advance(len(record.addresses) * PAGE_SIZE)
            elif self.multifd is not None and (
                record.kind == ram.MULTIFD_FLUSH or not self.coverage.flushed
            ):
                self.coverage(record)
                self.multifd.sync()
            else:
                self.coverage(record)

    def _mapped(self, block: ram.Block, source: Source) -> None:
        """Take in a block whose pages are at fixed places of the file."""
        if block.mapped is None:
            return
        if block.mapped.page_size != PAGE_SIZE:
            raise source.error(f"pages of {block.mapped.page_size} bytes, expected {PAGE_SIZE}")
        self.filled.add(block.name)
        arena, mine = self.machine.arena, self.blocks[block.name]
        pages = slice(mine.offset // PAGE_SIZE, (mine.offset + mine.size) // PAGE_SIZE)
        if isinstance(source.file, AreaReader):
            # What a fresh machine has written (its ROMs) comes anew, or is clear there.
            written = np.flatnonzero(arena.dirty[pages])
            arena.bytes_of(mine).reshape(-1, PAGE_SIZE)[written] = 0
            where = block.mapped.pages_offset
            source.file.bring(arena, mine.offset, where, block.length, self.progress.advance)
            arena.dirty[pages] = 0xFF
            return
        for run in mapped_pages(source.file, block):
            self._pages(run)
        self.progress.advance(block.length)

    def store(self, name: str, addresses: ram.U64, pages: ram.U8 | None) -> None:
        """Pages that came over another connection, which a thread reads."""
        block = self.ram.blocks.get(name)
        if block is None:
            raise StreamError(f"page of RAM block {name!r}, which the stream does not list")
        if bool((addresses > np.uint64(block.length - PAGE_SIZE)).any()) or bool(
            (addresses % np.uint64(PAGE_SIZE)).any()
        ):
            raise StreamError(f"a page that is not one of {name}'s {block.length:#x} bytes")
        fills = np.zeros(len(addresses), np.uint8) if pages is None else None
        kind = ram.PAGE if fills is None else ram.ZERO
        run = ram.Run(kind, block, False, addresses, 0, 0, 0, fills, pages)
        self._pages(run)
        self.coverage(run)
        self.progress.advance(len(addresses) * PAGE_SIZE)

    def _check_blocks(self, record: ram.BlockList, source: Source) -> None:
        self.progress.phase("RAM", record.total)
        for block in record.blocks:
            mine = self.blocks.get(block.name)
            if mine is None:
                known = ", ".join(self.blocks)
                raise source.error(f"unknown RAM block {block.name} (there is: {known})")
            if mine.size != block.length:
                raise source.error(
                    f"RAM block {block.name}: {block.length} bytes, this machine has {mine.size}"
                )

    def _pages(self, run: ram.Run) -> None:
        arrival, block = self.arrival, self.blocks[run.block.name]
        if arrival is None:
            self._put(run)
        elif (part := arrival.wanted(run, block)) is not None:
            self._put(part)
            arrival.stored(part, block)

    def _put(self, run: ram.Run) -> None:
        arena, block = self.machine.arena, self.blocks[run.block.name]
        memory = arena.bytes_of(block).reshape(-1, PAGE_SIZE)
        numbers = (run.addresses // np.uint64(PAGE_SIZE)).astype(np.int64)
        places = numbers + block.offset // PAGE_SIZE
        self.filled.add(run.block.name)
        if run.kind == ram.ZERO and run.fills is not None and not run.fills.any():
            # What a fresh machine has not written to is clear, and stays untouched.
            memory[numbers[arena.dirty[places] != 0]] = 0
            return
        if run.kind == ram.PAGE and run.pages is not None:
            first, count = int(numbers[0]), len(numbers)
            if int(numbers[-1]) - first + 1 == count and bool((np.diff(numbers) == 1).all()):
                at = int(places[0])
                arena.dirty[at : at + count] = 0xFF
                memory[first : first + count] = run.pages
                return
        arena.dirty[places] = 0xFF
        if run.kind == ram.PAGE and run.pages is not None:
            memory[numbers] = run.pages
        elif run.kind == ram.ZERO and run.fills is not None:
            memory[numbers] = run.fills[:, None]
        elif run.kind == ram.COMPRESS_PAGE and run.payload is not None:
            page = inflate_page(run.payload, PAGE_SIZE, run.block.name)
            memory[int(numbers[0])] = np.frombuffer(page, np.uint8)
        elif run.kind == ram.XBZRLE and run.payload is not None:
            xbzrle_decode(run.payload, memoryview(memory[int(numbers[0])]), run.block.name)
        else:
            text = f"a {ram.flag_names(run.kind)} record needs a capability"
            raise StreamError(text, run.block.name, run.offset)

    # --- the whole --------------------------------------------------------------------------------

    def configure(self, configuration: Configuration) -> None:
        """What the two sides must agree on."""
        m = self.machine
        if configuration.machine != m.name:
            text = f"machine {configuration.machine}, expected {m.name}"
            raise StreamError(text, "configuration")
        if configuration.page_bits not in (None, 12):
            text = f"pages of 2**{configuration.page_bits} bytes, expected 2**12"
            raise StreamError(text, "configuration")
        for capability in configuration.capabilities or ():
            if capability not in (_SHARED, mapped_out.CAPABILITY):
                known = f"{_SHARED}, {mapped_out.CAPABILITY}"
                text = f"capability {capability} was not agreed on (known here: {known})"
                raise StreamError(text, "configuration")
            self.ram.shared_addresses |= capability == _SHARED
            self.ram.mapped |= capability == mapped_out.CAPABILITY
        if self.ram.mapped and self.source.size is None:
            text = "mapped-ram: pages at fixed places of a file can be read from a file only"
            raise StreamError(text, "configuration")
        mine = m.hardware.uuid.replace("-", "")
        if configuration.uuid is not None and mine and configuration.uuid.hex() != mine:
            text = f"UUID {configuration.uuid.hex()}, expected {mine}"
            raise StreamError(text, "configuration")

    def finish(self) -> Loaded:
        """All of it has been read: is it enough?"""
        m, loaded = self.machine, self.loaded
        missing = [key for key in self.owners if key not in loaded.sections]
        loaded.missing = [f"{name}/{n}" if n else name for name, n in missing]
        if missing and not loaded.foreign:
            raise StreamError(f"sections missing: {', '.join(loaded.missing)}")
        cards = [name for name in loaded.missing if "/" in name and ":" in name]
        if cards:
            raise StreamError(f"the sender has no such device: {', '.join(cards)}; leave it out")
        if ("cpu", 0) in missing or not self.ram.blocks:
            raise StreamError("sections missing: cpu or ram")
        empty = [name for name in self.ram.blocks if name not in self.filled]
        if empty and self.ram.shared_addresses:
            text = f"no page of {', '.join(empty)}: the sender's memory is shared, not sent"
            raise StreamError(text, "ram")
        if self.arrival is None and (fault := self.coverage.fault):
            raise StreamError(fault, "ram")
        clock = self.cpu_clock if m.cpu.HAS_DECREMENTER else None
        if loaded.foreign and clock is not None and clock != m.clock.now:
            # The clock came after the CPU: what DEC was measured by moves along.
            hz = m.cpu.tb_hz
            moved = ticks_at(m.clock.now, hz) - ticks_at(clock, hz)
            for cpu in m.cpus:
                cpu.block.set("dec_zero", cpu.block.get("dec_zero") + moved)
                cpu.rearm()
        m.arena.dirty[:] = 0xFF
        return loaded


class StreamReader:
    """Fills a fresh machine from a stream.

    `talk` obeys the sender's commands.  With its consent memory may follow behind the machine:
    `read` is back when all is there but that, and `rest` takes it in.
    """

    def __init__(
        self,
        m: Machine,
        file: BinaryIO | Source,
        extra: Extra,
        profile: Profile = OURS,
        *,
        multifd: MultifdIn | None = None,
        talk: Incoming | None = None,
        progress: Progress = SILENT,
    ) -> None:
        source = file if isinstance(file, Source) else Source(file, _place(file))
        self.bodies = _Bodies(m, source, extra, profile, progress)
        if multifd is not None:
            self.bodies.multifd = multifd
            multifd.begin(self.bodies.store)
        self._walker = Walker(source, self.bodies)
        self._events = self._walker.events()
        self._talk = talk
        #: Called once when the sender is about to stop its machine and waits for an answer.
        self.caught_up: Callable[[], None] | None = None
        if talk is not None:
            talk.begin(m.arena)

    def read(self) -> Loaded:
        """Read the machine; StreamError says what did not fit, and where.

        Lines have not got their levels yet: the caller may mend what it likes, then `m.resume()`.
        """
        bodies, source = self.bodies, self.bodies.source
        ended = False
        for event in self._events:
            if isinstance(event, Configuration):
                bodies.configure(event)
            elif isinstance(event, Command):
                if self._obey(event, live_state.POSTCOPY):
                    return bodies.finish()
            elif isinstance(event, Eof):
                ended = True
                if not source.window and not _has_more(source.file):
                    break
            elif isinstance(event, Description):
                begins = event.text[:_BEGINNING].lstrip("{ ")
                bodies.loaded.modern |= begins.startswith('"configuration"')
                break
        if not ended:
            raise StreamError("the stream has no end element")
        bodies.arrival = None
        return bodies.finish()

    def _obey(self, command: Command, agreed: Collection[int]) -> bool:
        """Do what a command says; whether the machine is to run now."""
        bodies, talk = self.bodies, self._talk
        arrival = bodies.arrival
        live_state.check_command(command, () if arrival is None else agreed)
        bodies.loaded.modern |= command.number == Cmd.SWITCHOVER_START
        if command.number == Cmd.PING and command.data == _CAUGHT_UP:
            self._get_ready()
        if talk is not None:
            talk.command(command)
            bodies.arrival = talk.arrival
        return command.number == Cmd.POSTCOPY_RUN

    def _get_ready(self) -> None:
        """The devices come next, unless one has come already."""
        call, self.caught_up = self.caught_up, None
        if call is not None and not self.bodies.loaded.sections:
            call()
            if self._talk is not None:
                self._talk.channel.be_eager(EAGER_NS)

    def rest(self) -> bool:
        """Take in the memory that follows, to the end of the stream; StreamError: not all came.

        False: the sender says over another connection that it goes on; call it again.
        """
        talk = self._talk
        assert talk is not None
        for event in self._events:
            talk.channel.extend()
            if isinstance(event, Eof):
                break
            if isinstance(event, Command):
                self._obey(event, live_state.RECOVERY)
                if event.number == Cmd.POSTCOPY_RESUME:
                    return False
        arrival = self.bodies.arrival
        assert arrival is not None
        if arrival.left:
            raise StreamError(f"{arrival.left:,} pages of memory have not come", "ram")
        return True

    def go_on(self, source: Source) -> None:
        """Take the rest from another connection, after the one before has broken."""
        self.bodies.source = self._walker.source = source
        self.bodies.ram.current = None
        self._events = self._walker.elements()


def read_stream(
    m: Machine,
    file: BinaryIO | Source,
    extra: Extra,
    profile: Profile = OURS,
    *,
    progress: Progress = SILENT,
) -> Loaded:
    """Fill a fresh machine from a stream; see `StreamReader.read`."""
    return StreamReader(m, file, extra, profile, progress=progress).read()


def _place(file: BinaryIO) -> int:
    """Where in a file that can seek the stream begins (``file:PATH,offset=``); 0 in any other."""
    return file.seek(0, SEEK_CUR) if file.seekable() else 0


def _has_more(file: BinaryIO) -> bool:
    """Whether a description may follow; a peer that waits for our answer sends nothing more."""
    ask: Callable[[float], bool] | None = getattr(file, "has_input", None)
    return True if ask is None else ask(_END_WAIT)


def load_stream(m: Machine, file: BinaryIO, extra: Extra, profile: Profile = OURS) -> Loaded:
    """Fill a fresh machine from a stream, to the letter, and let its lines take their levels."""
    loaded = read_stream(m, file, extra, profile)
    m.resume()
    return loaded
