"""The frame of a migration stream: header, configuration, sections, commands, end, description.

`walk` turns a file into a sequence of events in constant memory.  A section has no length on the
wire, so the reader of its body is given from outside: `bodies(header, source)` must read exactly
the body.  Source of the format: facts on QEMU 7.2, checked on its streams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Final, TypeAlias

from gossamer.base.data import Data, field, replace
from gossamer.base.errors import StreamError
from gossamer.migrate.source import Source

MAGIC: Final = 0x5145564D
VERSION: Final = 3
MULTIFD_MAGIC: Final = 0x11223344
"""What the further connections of a multifd migration begin with."""
MAX_CONFIGURATION: Final = 4096
MAX_DESCRIPTION: Final = 16 << 20


class Kind(IntEnum):
    """The byte that opens an element of a stream."""

    EOF = 0x00
    START = 0x01
    PART = 0x02
    END = 0x03
    FULL = 0x04
    SUBSECTION = 0x05
    DESCRIPTION = 0x06
    CONFIGURATION = 0x07
    COMMAND = 0x08
    FOOTER = 0x7E


class Cmd(IntEnum):
    """Commands inside a stream."""

    OPEN_RETURN_PATH = 1
    PING = 2
    POSTCOPY_ADVISE = 3
    POSTCOPY_LISTEN = 4
    POSTCOPY_RUN = 5
    POSTCOPY_RAM_DISCARD = 6
    PACKAGED = 7
    ENABLE_COLO = 8
    POSTCOPY_RESUME = 9
    RECV_BITMAP = 10
    SWITCHOVER_START = 11


_COMMAND_LENGTHS: Final = {
    Cmd.OPEN_RETURN_PATH: (0,), Cmd.PING: (4,), Cmd.POSTCOPY_ADVISE: (0, 16),
    Cmd.POSTCOPY_LISTEN: (0,), Cmd.POSTCOPY_RUN: (0,), Cmd.PACKAGED: (4,), Cmd.ENABLE_COLO: (0,),
    Cmd.POSTCOPY_RESUME: (0,), Cmd.SWITCHOVER_START: (0,),
}  # fmt: skip


class Header(Data):
    """Magic (checked) and version."""

    version: int
    offset: int = 0


class Configuration(Data):
    """Machine type and what both sides must agree on.

    `order` names the subsections present in wire order.
    """

    machine: str
    page_bits: int | None = None
    capabilities: tuple[str, ...] | None = None
    uuid: bytes | None = None
    order: tuple[str, ...] = ()
    offset: int = 0
    length: int = 0


class Section(Data):
    """One section; `length` is the body's.  In a header event the length is not known yet: -1.

    PART and END carry the name, instance and version of their START.  `package`: inside a
    PACKAGED command.
    """

    kind: Kind
    section_id: int
    idstr: str
    instance_id: int
    version_id: int
    offset: int
    body: int
    length: int = -1
    footer: bool = False
    package: bool = False

    @property
    def title(self) -> str:
        """`ide` or, for a repeated one, `ide/1`."""
        return f"{self.idstr}/{self.instance_id}" if self.instance_id else self.idstr

    @property
    def key(self) -> tuple[str, int]:
        return self.idstr, self.instance_id


class Command(Data):
    """A command and its data; for PACKAGED the elements of the package follow as events."""

    number: int
    data: bytes
    offset: int
    package: bool = False

    @property
    def name(self) -> str:
        return Cmd(self.number).name


class Eof(Data):
    """The end element; only the description may follow."""

    offset: int


class Description(Data):
    """The trailing JSON, as text."""

    text: str
    offset: int
    length: int


class Trailing(Data):
    """Bytes after the stream: padding of a snapshot, or something that is not ours."""

    offset: int
    length: int


Event: TypeAlias = Header | Configuration | Section | Command | Eof | Description | Trailing
Bodies: TypeAlias = Callable[[Section, Source], None]


class Walker(Data, frozen=False):
    """Walks one stream.  `footers` None: found out at the first section.

    `configuration` is there once it has been read; `page_size_hint` is what a postcopy advice says.
    """

    source: Source
    bodies: Bodies
    footers: bool | None = None
    configuration: Configuration | None = None
    page_size_hint: int | None = None
    _open: dict[int, Section] = field(default_factory=dict)
    _last: Section | None = None

    def events(self) -> Iterator[Event]:
        """Header to trailing bytes."""
        yield read_header(self.source)
        if self.source.peek(1) == bytes([Kind.CONFIGURATION]):
            self.configuration = read_configuration(self.source)
            yield self.configuration
        yield from self.elements()
        yield from self._tail()

    def elements(self, package: bool = False) -> Iterator[Event]:
        """Sections and commands up to the EOF element, or to the end of a package."""
        source = self.source
        while True:
            if package and source.offset == source.limit:
                return
            offset = source.offset
            if not source.peek(1):
                raise source.error("the stream stops without its end element (a byte 0x00)")
            kind = source.uint(1)
            if kind == Kind.EOF:
                if package:
                    raise StreamError("an end element inside a package", "", offset)
                yield Eof(offset)
                return
            if kind in (Kind.START, Kind.PART, Kind.END, Kind.FULL):
                yield self._section(Kind(kind), offset, package)
            elif kind == Kind.COMMAND:
                yield from self._command(offset, package)
            else:
                raise StreamError(
                    f"element type {kind:#04x}, expected a section (0x01 to 0x04), a command "
                    "(0x08) or the end (0x00)",
                    self._after(),
                    offset,
                )

    def _after(self) -> str:
        return f"after section {self._last.title}" if self._last else "after the header"

    def _section(self, kind: Kind, offset: int, package: bool) -> Section:
        source = self.source
        section_id = source.uint(4)
        if kind in (Kind.START, Kind.FULL):
            idstr = source.cstr()
            section = Section(
                kind, section_id, idstr, source.uint(4), source.uint(4), offset, source.offset,
                package=package,
            )  # fmt: skip
            if not idstr:
                raise StreamError("a section without a name", "", offset)
            if kind == Kind.START:
                self._open[section_id] = section
        else:
            started = self._open.get(section_id)
            if started is None:
                raise StreamError(
                    f"a {kind.name} of section id {section_id} that no START opened", "", offset
                )
            section = replace(
                started, kind=kind, offset=offset, body=source.offset, package=package
            )
        source.parts.append(section.title)  # as `within` does, which takes longer
        try:
            self.bodies(section, source)
        finally:
            source.parts.pop()
        length = source.offset - section.body
        self._last = section
        return Section(
            section.kind, section_id, section.idstr, section.instance_id, section.version_id,
            offset, section.body, length, self._footer(section), package,
        )  # fmt: skip

    def _footer(self, section: Section) -> bool:
        source = self.source
        if self.footers is False:
            return False
        offset, mark = source.offset, source.peek(5)
        if mark[:1] == bytes([Kind.FOOTER]) and len(mark) == 5:
            source.take(5)
            got = int.from_bytes(mark[1:], "big")
            if got != section.section_id:
                raise StreamError(
                    f"footer of section id {got}, expected {section.section_id}",
                    section.title,
                    offset,
                )
            self.footers = True
            return True
        if self.footers is None and mark[:1] and mark[0] in (0, 1, 2, 3, 4, 8):
            self.footers = False
            return False
        got_text = f"{mark[0]:#04x}" if mark else "the end of the file"
        raise StreamError(
            f"expected the footer (0x7e) of a body of {source.offset - section.body} bytes, "
            f"got {got_text}: the body has another length than its description, or is damaged",
            section.title,
            offset,
        )

    def _command(self, offset: int, package: bool) -> Iterator[Event]:
        source = self.source
        number, length = source.uint(2), source.uint(2)
        if number not in Cmd._value2member_map_:
            raise StreamError(f"command {number:#x}, known are 1 to {max(Cmd)}", "", offset)
        lengths = _COMMAND_LENGTHS.get(Cmd(number))
        if lengths is not None and length not in lengths:
            raise StreamError(
                f"command {Cmd(number).name} with {length} bytes, expected "
                + " or ".join(map(str, lengths)), "", offset
            )  # fmt: skip
        command = Command(number, bytes(source.take(length)), offset, package)
        if number == Cmd.POSTCOPY_ADVISE and length == 16:
            self.page_size_hint = int.from_bytes(command.data[8:], "big")
        yield command
        if number == Cmd.PACKAGED:
            if package:
                raise StreamError("a package inside a package", "", offset)
            size = int.from_bytes(command.data, "big")
            if source.size is not None and size > source.left:
                raise StreamError(
                    f"a package of {size} bytes, {source.left} left", "PACKAGED", offset
                )
            source.limit = source.offset + size
            yield from self.elements(package=True)
            source.limit = None

    def _tail(self) -> Iterator[Event]:
        source = self.source
        start, mark = source.offset, source.peek(5)
        if len(mark) == 5 and mark[0] == Kind.DESCRIPTION:
            yield read_description(source)
            start = source.offset
        length = 0
        while step := source.fill(1):
            source.take(step)
            length += step
        if length:
            yield Trailing(start, length)


def walk(source: Source, bodies: Bodies) -> Iterator[Event]:
    """The events of a stream, header to trailing bytes."""
    return Walker(source, bodies).events()


def read_header(source: Source) -> Header:
    """Magic and version."""
    start = source.peek(8)
    if start[:4] == MULTIFD_MAGIC.to_bytes(4, "big"):
        raise StreamError(
            "one connection of a multifd migration: it has a part of the memory and no machine",
            "",
            0,
        )
    if len(start) < 8 or int.from_bytes(start[:4], "big") != MAGIC:
        raise StreamError(f"not a QEMU stream: starts with {start!r}, expected b'QEVM'", "", 0)
    offset = source.offset
    source.take(4)
    version = source.uint(4)
    if version != VERSION:
        raise StreamError(f"stream version {version}, expected {VERSION}", "header", offset + 4)
    return Header(version, offset)


def read_configuration(source: Source) -> Configuration:
    """The configuration element, its type byte included."""
    offset = source.offset
    page_bits: int | None = None
    names: tuple[str, ...] | None = None
    uuid: bytes | None = None
    order: list[str] = []
    with source.within("configuration"):
        source.take(1)
        length = source.uint(4)
        if length > MAX_CONFIGURATION:
            raise source.error(f"a machine name of {length} bytes")
        raw = bytes(source.take(length))
        while (name := _subsection_name(source)) is not None:
            with source.within(name):
                version = _subsection_head(source, name)
                if version != 1:
                    raise source.error(f"version {version}, expected 1")
                if name == "configuration/target-page-bits":
                    page_bits = source.uint(4)
                    if not 9 <= page_bits <= 24:
                        raise source.error(f"a page of 2**{page_bits} bytes")
                elif name == "configuration/capabilities":
                    count = source.uint(4)
                    if count > 256:
                        raise source.error(f"{count} capabilities")
                    names = tuple(source.cstr() for _ in range(count))
                elif name == "configuration/uuid":
                    uuid = bytes(source.take(16))
                else:
                    raise source.error("unknown subsection of the configuration")
            order.append(name)
    try:
        machine = raw.decode("ascii")
    except UnicodeDecodeError:
        raise StreamError(f"machine name {raw!r}", "configuration", offset + 5) from None
    size = source.offset - offset
    return Configuration(machine, page_bits, names, uuid, tuple(order), offset, size)


def _subsection_name(source: Source) -> str | None:
    """The name of the subsection of the configuration that comes next, if one does."""
    mark = source.peek(2)
    if len(mark) < 2 or mark[0] != Kind.SUBSECTION:
        return None
    return source.peek(2 + mark[1])[2:].decode("ascii", "replace")


def _subsection_head(source: Source, name: str) -> int:
    source.take(2 + len(name))
    return source.uint(4)


def read_description(source: Source) -> Description:
    """The trailing JSON with its type byte; only its frame is checked here."""
    offset = source.offset
    with source.within("description"):
        source.take(1)
        length = source.uint(4)
        if length > MAX_DESCRIPTION:
            raise source.error(f"a description of {length} bytes")
        raw = bytes(source.take(length))
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as fault:
            raise StreamError(
                f"is not UTF-8 text: {fault.reason}", "description", offset + 5 + fault.start
            ) from None
    return Description(text, offset, length)
