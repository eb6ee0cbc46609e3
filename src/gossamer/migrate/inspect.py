"""A stream in a file, taken apart: what is where, and the values of each section.

Works on a stream of any architecture: bodies are measured by the trailing JSON; without it by a
schema given by the caller; without that by looking for the footer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, Protocol

from gossamer.base.data import Data, field
from gossamer.base.errors import StreamError
from gossamer.base.units import PAGE_SIZE
from gossamer.base.wire import WireReader
from gossamer.migrate import htab, vmdesc
from gossamer.migrate.framing import (
    Command,
    Configuration,
    Description,
    Event,
    Header,
    Kind,
    Section,
    Trailing,
    Walker,
)
from gossamer.migrate.ram import VERSION, RamReader, Record
from gossamer.migrate.source import Source
from gossamer.migrate.value_tree import Struct, decode
from gossamer.migrate.vmdesc import StreamDesc, StructDesc

RAM: Final = "ram"
MAX_SCAN: Final = 256 << 20
MAX_EVENTS: Final = 1 << 20
"""A migration sends some twenty PARTs a second: this is a day's."""
MAX_BODY: Final = 256 << 20
"""A device's body longer than this is shown, never decoded into values."""


class Schema(Protocol):
    """What a caller knows about sections when the stream does not say."""

    def layout(self, section: Section, source: Source) -> StructDesc | None:
        """The layout of the body that comes next (looked at, not read), None when unknown."""


class BodyReader(Data, frozen=False):
    """Measures every body of a stream; RAM records go to `on_ram`."""

    desc: StreamDesc | None = None
    schema: Schema | None = None
    on_ram: Callable[[Section, Record], None] | None = None
    ram: RamReader = field(default_factory=RamReader)
    layouts: dict[int, StructDesc | None] = field(default_factory=dict)
    """Layout of each device section by its offset in the stream."""
    _pending: dict[tuple[str, int], list[StructDesc]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for device in self.desc.devices if self.desc else ():
            key = (device.idstr, device.instance_id)
            self._pending.setdefault(key, []).append(device.state)

    def __call__(self, section: Section, source: Source) -> None:
        if section.idstr == RAM:
            self._ram(section, source)
        elif section.kind == Kind.FULL:
            self._device(section, source)
        elif section.idstr == htab.IDSTR:
            htab.skip(source, first=section.kind == Kind.START)
        else:
            _to_footer(section, source)

    def _ram(self, section: Section, source: Source) -> None:
        if section.version_id != VERSION:
            raise source.error(f"version {section.version_id}, expected {VERSION}")
        for record in self.ram.read(source):
            if self.on_ram is not None:
                self.on_ram(section, record)

    def _device(self, section: Section, source: Source) -> None:
        queue = self._pending.get(section.key)
        layout = queue.pop(0) if queue else None
        if layout is None and self.schema is not None:
            layout = self.schema.layout(section, source)
        self.layouts[section.offset] = layout
        if layout is None:
            _to_footer(section, source)
            return
        if layout.name and self.desc and layout.version != section.version_id:
            raise source.error(
                f"version {section.version_id} in the stream, {layout.version} in its description"
            )
        source.skip(layout.length)


def _to_footer(section: Section, source: Source) -> None:
    """Read up to the section's footer, the only sign of its end when its layout is not known."""
    mark = bytes([Kind.FOOTER]) + section.section_id.to_bytes(4, "big")
    have, at = 0, 0
    while have < MAX_SCAN:
        more = source.fill(max(have * 2, 1 << 16))
        grown, have = more > have, more
        window = bytes(source.window)
        while (found := window.find(mark, at)) >= 0:
            if _plausible(window[found + 5 : found + 64], source, found + 5):
                source.take(found)
                return
            at = found + 1
        at = max(at, have - 4)
        if not grown:
            break
    raise source.error(
        "its layout is unknown: the stream has no description and names no machine that is known "
        f"here (nor does --machine), and no footer follows within {have} bytes"
    )


def _plausible(after: bytes, source: Source, at: int) -> bool:
    """Whether an element may begin here."""
    if not after:
        return source.limit == source.offset + at
    if after[0] in (Kind.START, Kind.FULL):
        if len(after) < 7 or not after[5]:
            return False
        name = after[6 : 6 + min(after[5], len(after) - 6)]
        return all(0x20 < c < 0x7F for c in name)
    return after[0] in (Kind.EOF, Kind.PART, Kind.END, Kind.COMMAND)


class StreamFile(Data, frozen=False):
    """One stream: its elements in order, its description, and values on demand.

    Constant memory: RAM pages are passed to `on_ram` at `open` time, never kept.
    """

    file: BinaryIO
    name: str
    header: Header | None = None
    configuration: Configuration | None = None
    events: list[Event] = field(default_factory=list)
    description: Description | None = None
    desc: StreamDesc | None = None
    page_size: int = PAGE_SIZE
    footers: bool | None = None
    end: int = 0
    layouts: dict[int, StructDesc | None] = field(default_factory=dict)

    @property
    def sections(self) -> list[Section]:
        return [e for e in self.events if isinstance(e, Section)]

    @property
    def devices(self) -> list[Section]:
        """Sections with a device's whole state."""
        return [s for s in self.sections if s.kind == Kind.FULL]

    @property
    def commands(self) -> list[Command]:
        return [e for e in self.events if isinstance(e, Command)]

    @property
    def trailing(self) -> int:
        return sum(e.length for e in self.events if isinstance(e, Trailing))

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the stream."""
        self.file.seek(offset)
        data = self.file.read(length)
        if len(data) != length:
            raise StreamError(f"needs {length} bytes, {len(data)} left", self.name, offset)
        return data

    def body(self, section: Section) -> bytes:
        return self.read(section.body, section.length)

    def values(self, section: Section) -> Struct | None:
        """The values of a device's section; None when its layout is not known."""
        layout = self.layouts.get(section.offset)
        if layout is None or section.length > MAX_BODY:
            return None
        reader = WireReader(self.body(section), section.body)
        with reader.within(section.title):
            return decode(layout, reader, section.idstr)

    def trees(self) -> Iterator[tuple[Section, Struct | None]]:
        """Every device section with its values."""
        for section in self.devices:
            yield section, self.values(section)

    def find(self, idstr: str, instance_id: int = 0) -> Section | None:
        """The last device section of that name (the last one wins on load)."""
        found = [s for s in self.devices if s.key == (idstr, instance_id)]
        return found[-1] if found else None


def open_stream(
    file: BinaryIO,
    name: str = "stream",
    *,
    schema: Callable[[Configuration | None], Schema | None] | None = None,
    on_ram: Callable[[Section, Record], None] | None = None,
    page_size: int | None = None,
    footers: bool | None = None,
) -> StreamFile:
    """Walk the whole of a file that can seek.

    `schema` is asked for layouts only when the stream has no description.
    """
    stream = StreamFile(file, name)
    stream.description = vmdesc.find(file)
    if stream.description is not None:
        stream.desc = vmdesc.parse(stream.description.text, stream.description.offset)
    file.seek(0)
    source = Source(file)
    bodies = _LateBodies(stream, schema, on_ram, page_size)
    walker = Walker(source, bodies, footers)
    bodies.walker = walker
    for event in walker.events():
        if isinstance(event, Header):
            stream.header = event
        elif isinstance(event, Configuration):
            stream.configuration = event
        elif isinstance(event, Description):
            stream.description = event
        stream.events.append(event)
        if len(stream.events) > MAX_EVENTS:
            raise source.error(f"more than {MAX_EVENTS:,} sections and commands")
    stream.footers = walker.footers
    stream.end = source.offset
    if bodies.reader is not None:
        stream.layouts = bodies.reader.layouts
        stream.page_size = bodies.reader.ram.page_size
    elif stream.desc is not None:
        stream.page_size = stream.desc.page_size
    return stream


class _LateBodies:
    """Builds the `BodyReader` at the first section, when the configuration has been read."""

    def __init__(
        self,
        stream: StreamFile,
        schema: Callable[[Configuration | None], Schema | None] | None,
        on_ram: Callable[[Section, Record], None] | None,
        page_size: int | None,
    ) -> None:
        self.stream, self.schema, self.on_ram = stream, schema, on_ram
        self.page_size = page_size
        self.walker: Walker | None = None
        self.reader: BodyReader | None = None

    def __call__(self, section: Section, source: Source) -> None:
        if self.reader is None:
            self.reader = self._build()
        self.reader(section, source)

    def _build(self) -> BodyReader:
        walker, desc = self.walker, self.stream.desc
        assert walker is not None
        config = walker.configuration
        names = (config.capabilities or ()) if config else ()
        size = self.page_size or (desc.page_size if desc else None)
        if size is None and config and config.page_bits is not None:
            size = 1 << config.page_bits
        if size is None:
            size = walker.page_size_hint
        ram = RamReader(size or PAGE_SIZE, "x-ignore-shared" in names, "mapped-ram" in names)
        schema = self.schema(config) if self.schema is not None and desc is None else None
        return BodyReader(desc, schema, self.on_ram, ram)
