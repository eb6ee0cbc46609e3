"""The frame of a stream, bytes written out by hand."""

from __future__ import annotations

import io
from typing import BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.base.errors import StreamError
from gossamer.migrate import writer
from gossamer.migrate.framing import (
    Command,
    Configuration,
    Description,
    Eof,
    Event,
    Header,
    Kind,
    Section,
    Trailing,
    Walker,
    walk,
)
from gossamer.migrate.inspect import open_stream
from gossamer.migrate.source import Source
from tests.migrate.streams import small_stream

HEADER = b"QEVM\x00\x00\x00\x03"
CONFIG = b"\x07\x00\x00\x00\x05mac99"
DEVICE = b"\x04\x00\x00\x00\x09\x04chip\x00\x00\x00\x01\x00\x00\x00\x02"
BODY = b"abcd"
FOOTER = b"\x7e\x00\x00\x00\x09"
JSON = b'{"page_size": 4096}'


def four(_section: Section, source: Source) -> None:
    """A body of four bytes."""
    source.take(4)


def events(data: bytes) -> list[Event]:
    return list(walk(Source(io.BytesIO(data)), four))


def test_walk_gives_every_element_with_its_place() -> None:
    tail = b"\x00\x06" + len(JSON).to_bytes(4, "big") + JSON + b"\0\0\0"
    found = events(HEADER + CONFIG + b"\x08\x00\x0b\x00\x00" + DEVICE + BODY + FOOTER + tail)
    assert found == [
        Header(3, 0),
        Configuration("mac99", offset=8, length=10),
        Command(11, b"", 18),
        Section(Kind.FULL, 9, "chip", 1, 2, 23, 41, 4, True),
        Eof(50),
        Description(JSON.decode(), 51, len(JSON)),
        Trailing(56 + len(JSON), 3),
    ]


def test_walk_without_footers_finds_out_at_the_first_section() -> None:
    found = events(HEADER + CONFIG + DEVICE + BODY + DEVICE + BODY + b"\x00")
    assert [e.footer for e in found if isinstance(e, Section)] == [False, False]


def test_writer_gives_the_bytes_by_hand() -> None:
    section = Section(Kind.FULL, 9, "chip", 1, 2, 0, 0)
    assert writer.header() == HEADER
    assert writer.configuration(Configuration("mac99")) == CONFIG
    assert writer.section_head(section) == DEVICE
    assert writer.section_head(Section(Kind.PART, 9, "chip", 1, 2, 0, 0)) == b"\x02\0\0\0\x09"
    assert writer.footer(9) == FOOTER
    assert writer.command(2, b"\0\0\0\7") == b"\x08\x00\x02\x00\x04\0\0\0\x07"


def test_configuration_subsections_round_trip_in_their_order() -> None:
    config = Configuration("mac99", 12, ("x-ignore-shared", "mapped-ram"), bytes(range(16)))
    raw = writer.configuration(config)
    assert b"\x05\x1econfiguration/target-page-bits\x00\x00\x00\x01\x00\x00\x00\x0c" in raw
    found = events(HEADER + raw + b"\x00")[1]
    assert isinstance(found, Configuration)
    assert (found.page_bits, found.capabilities) == (12, ("x-ignore-shared", "mapped-ram"))
    assert found.uuid == bytes(range(16))
    assert writer.configuration(found) == raw


def test_package_is_walked_inside_its_length() -> None:
    inner = writer.command(4) + DEVICE + BODY + FOOTER + writer.command(5)
    data = HEADER + CONFIG + writer.package(inner) + DEVICE + BODY + FOOTER + b"\x00"
    found = events(data)
    names = [e.name for e in found if isinstance(e, Command)]
    assert names == ["PACKAGED", "POSTCOPY_LISTEN", "POSTCOPY_RUN"]
    assert [e.package for e in found if isinstance(e, Section)] == [True, False]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a QEMU stream"),
        (b"\x7fELF" + bytes(60), "not a QEMU stream: starts with b'\\x7fELF"),
        (b"QEVM\x00\x00\x00\x02", "header: stream version 2, expected 3 (offset 0x4)"),
        (HEADER + CONFIG, "the stream stops without its end element"),
        (HEADER + CONFIG + b"\x33", "after the header: element type 0x33, expected a section"),
        (HEADER + b"\x07\xff\xff\xff\xff", "configuration: a machine name of 4294967295 bytes"),
        (HEADER + CONFIG + b"\x02\0\0\0\x09", "a PART of section id 9 that no START opened"),
        (HEADER + CONFIG + DEVICE + b"ab", "chip/1: needs 4 bytes, 2 left (offset 0x24)"),
        (
            HEADER + CONFIG + DEVICE + BODY + b"\x7e\x00\x00\x00\x08\x00",
            "chip/1: footer of section id 8, expected 9",
        ),
        (
            HEADER + CONFIG + DEVICE + BODY + b"\x55",
            "chip/1: expected the footer (0x7e) of a body of 4 bytes, got 0x55",
        ),
        (
            HEADER + CONFIG + DEVICE + BODY + FOOTER + DEVICE + BODY + b"\x00",
            "expected the footer (0x7e)",
        ),
        (HEADER + CONFIG + b"\x08\x00\x63\x00\x00", "command 0x63, known are 1 to 11"),
        (HEADER + CONFIG + b"\x08\x00\x02\x00\x00", "command PING with 0 bytes, expected 4"),
        (
            HEADER + CONFIG + b"\x08\x00\x07\x00\x04\x7f\xff\xff\xff\x00",
            "PACKAGED: a package of 2147483647 bytes, 1 left",
        ),
        (HEADER + CONFIG + b"\x00\x06\xff\xff\xff\xff{", "description: a description of 42949672"),
        (HEADER + CONFIG + b"\x00\x06\x00\x00\x00\x09{", "description: needs 9 bytes, 1 left"),
        (
            HEADER + CONFIG + b"\x05\x15configuration/unknown\x00\x00\x00\x01",
            "configuration/configuration/unknown: unknown subsection of the configuration",
        ),
    ],
)
def test_walk_when_a_stream_is_bad_then_says_where(data: bytes, message: str) -> None:
    with pytest.raises(StreamError) as caught:
        events(data)
    assert message in str(caught.value)


def test_every_truncation_of_a_stream_is_refused() -> None:
    whole = small_stream()
    described = whole.rfind(b"\x00\x06")
    for length in [*range(200), *range(len(whole) - 1300, len(whole), 7)]:
        if described < length <= described + 1:
            continue  # the end element is there: a stream without description
        with pytest.raises(StreamError):
            open_stream(io.BytesIO(whole[:length]))


def test_a_pipe_is_walked_as_well_as_a_file() -> None:
    class Pipe(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self.inner = io.BytesIO(data)

        def read(self, size: int = -1, /) -> bytes:
            return self.inner.read(min(size, 3))

        def seekable(self) -> bool:
            return False

    data = HEADER + CONFIG + DEVICE + BODY + FOOTER + b"\x00"
    walker = Walker(Source(Pipe(data)), four)  # type: ignore[arg-type]
    assert len(list(walker.events())) == 4


def test_a_claimed_length_allocates_nothing() -> None:
    source = Source(io.BytesIO(b"12345678"))
    with pytest.raises(StreamError, match="needs 1099511627776 bytes, 8 left"):
        source.take(1 << 40)
    with pytest.raises(StreamError, match="needs 1099511627776 bytes, 8 left"):
        source.skip(1 << 40)


class Pieces(io.RawIOBase):
    """Gives a file's bytes in pieces, as a socket does."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        super().__init__()
        self.pieces = []
        for size in sizes:
            self.pieces.append(data[:size])
            data = data[size:]
        self.pieces = [p for p in [*self.pieces, data] if p]

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


@given(
    st.binary(max_size=300),
    st.lists(st.integers(1, 40), max_size=20),
    st.lists(st.tuples(st.sampled_from(["take", "peek", "fill", "skip"]), st.integers(0, 60))),
)
def test_a_source_gives_what_comes_in_pieces_as_from_one_piece(
    data: bytes, sizes: list[int], steps: list[tuple[str, int]]
) -> None:
    source, at = Source(cast(BinaryIO, Pieces(data, sizes))), 0
    for what, n in steps:
        enough = at + n <= len(data)
        if what == "peek":
            assert source.peek(n) == data[at : at + n]
        elif what == "fill":
            assert source.fill(n) >= min(n, len(data) - at)
            assert data[at:].startswith(bytes(source.window))
        elif not enough:
            with pytest.raises(StreamError):
                source.take(n)
            return
        elif what == "skip":
            source.skip(n)
            at += n
        else:
            assert bytes(source.take(n)) == data[at : at + n]
            at += n
        assert source.offset == at
