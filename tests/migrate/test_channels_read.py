"""Multifd channels, return paths and postcopy streams, made by hand."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
import zstandard

from gossamer.base.errors import StreamError
from gossamer.migrate import multifd, ram_writer, returnpath, writer
from gossamer.migrate.framing import Cmd, Configuration, Kind
from gossamer.migrate.inspect import open_stream
from gossamer.migrate.multifd import Hello, Packet
from gossamer.migrate.ram import Block
from gossamer.migrate.returnpath import Message, Reply
from gossamer.migrate.source import Source
from tests.migrate.streams import CHIP_BODY, NEW, OLD, PAGE, TIMER_BODY

HELLO = bytes.fromhex("1122334400000001") + bytes(16) + b"\x02" + bytes(39)


def packet(
    number: int, data: bytes, pages: list[int], *, flags: int = 0, zeros: tuple[int, ...] = ()
) -> bytes:
    """A packet with room for four pages."""
    places = [*pages, *zeros, *[0] * (4 - len(pages) - len(zeros))]
    size = len(data) if pages else 0xDEAD
    head = b"".join(n.to_bytes(4, "big") for n in (0x11223344, 1, flags, 4, len(pages), size))
    head += number.to_bytes(8, "big") + len(zeros).to_bytes(4, "big") + bytes(28)
    return (
        head + b"mac.ram".ljust(256, b"\0") + b"".join(p.to_bytes(8, "big") for p in places) + data
    )


def walk(data: bytes) -> list[Hello | Packet]:
    return list(multifd.walk(Source(io.BytesIO(data))))


def test_multifd_plain_and_a_packet_without_pages() -> None:
    found = walk(HELLO + packet(0, OLD + NEW, [0, PAGE]) + packet(1, b"", [], flags=1))
    assert found[0] == Hello(bytes(16), 2)
    first, last = found[1:]
    assert isinstance(first, Packet)
    assert first.data == OLD + NEW
    assert first.addresses.tolist() == [0, PAGE]
    assert isinstance(last, Packet)
    assert last.sync
    assert last.data == b""


def test_multifd_zero_pages_travel_in_the_packet() -> None:
    found = walk(HELLO + packet(0, OLD, [0], zeros=(PAGE, 2 * PAGE)))[1]
    assert isinstance(found, Packet)
    assert found.zeros.tolist() == [PAGE, 2 * PAGE]


def test_multifd_compression_is_one_stream_a_channel() -> None:
    deflate, zstd = zlib.compressobj(), zstandard.ZstdCompressor().compressobj()
    for flags, pack, flush in (
        (2, deflate.compress, lambda: deflate.flush(zlib.Z_SYNC_FLUSH)),
        (4, zstd.compress, lambda: zstd.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)),
    ):
        parts = [pack(page) + flush() for page in (OLD, NEW)]
        data = HELLO + packet(0, parts[0], [0], flags=flags) + packet(1, parts[1], [0], flags=flags)
        found = [p.data for p in walk(data) if isinstance(p, Packet)]
        assert found == [OLD, NEW]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (HELLO[:20], "multifd: needs 16 bytes, 12 left"),
        (b"\0" * 64, "the hello has magic 0x0 version 0"),
        (HELLO + bytes(600), "a packet has magic 0x0"),
        (HELLO + packet(0, OLD[:-1], [0]), "4095 bytes for 1 pages"),
        (HELLO + packet(0, b"junk", [0], flags=2), "page data cannot be unpacked"),
        (HELLO + packet(0, b"junk", [0], flags=16), "compression method qpl cannot be read"),
        (HELLO + packet(0, zlib.compress(bytes(1 << 22)), [0], flags=2), "unpack to 4194304"),
        (HELLO + packet(0, b"", [], flags=0x80), "a packet of device state cannot be read"),
    ],
)
def test_multifd_when_a_capture_is_bad_then_says_why(data: bytes, message: str) -> None:
    with pytest.raises(StreamError) as caught:
        walk(data)
    assert message in str(caught.value)


MESSAGES = [
    Message(Reply.PONG, 0, 1),
    Message(Reply.REQ_PAGES_ID, 8, 0x4000, 0x1000, "mac.ram"),
    Message(Reply.REQ_PAGES, 32, 0x5000, 0x1000),
    Message(Reply.RECV_BITMAP, 48, block="mac.ram", bitmap=bytes(range(16))),
    Message(Reply.RESUME_ACK, 92, 1),
    Message(Reply.SWITCHOVER_ACK, 100),
    Message(Reply.SHUT, 104, 0),
]


def test_return_path_messages_round_trip() -> None:
    data = b"".join(map(returnpath.encode, MESSAGES))
    assert list(returnpath.walk(Source(io.BytesIO(data)))) == MESSAGES
    assert data[:8] == b"\x00\x02\x00\x04\x00\x00\x00\x01"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x00\x09\x00\x00", "message type 9 with 0 bytes"),
        (b"\x00\x02\xff\xff", "message type 2 with 65535 bytes"),
        (b"\x00\x02\x00\x02\0\0", "PONG with 2 bytes, expected 4"),
        (b"\x00\x03\x00\x0f" + bytes(12) + b"\x01ab", "1 bytes too many in REQ_PAGES_ID"),
        (b"\x00\x05\x00\x02\x01a" + (1 << 40).to_bytes(8, "big"), "a bitmap of 1099511627776"),
        (b"\x00\x05\x00\x02\x01a" + bytes(16), "a bitmap ends with 0x0"),
    ],
)
def test_return_path_when_a_message_is_bad_then_says_why(data: bytes, message: str) -> None:
    with pytest.raises(StreamError) as caught:
        list(returnpath.walk(Source(io.BytesIO(data))))
    assert message in str(caught.value)


def postcopy() -> bytes:
    """What a postcopy migration sends: devices in a package, then the rest of RAM, no JSON."""
    out = io.BytesIO()
    made = writer.StreamWriter(out)
    made.begin(Configuration("pc"))
    made.command(Cmd.OPEN_RETURN_PATH)
    made.command(Cmd.PING, b"\0\0\0\1")
    made.command(Cmd.POSTCOPY_ADVISE, (4096).to_bytes(8, "big") + (8192).to_bytes(8, "big"))
    made.open(Kind.START, 2, "ram", 0, 4)
    out.write(ram_writer.block_list([Block("pc.ram", 4 * 8192)]) + ram_writer.mark())
    made.close(2)
    made.open(Kind.PART, 2, "ram")
    writer_of_ram = ram_writer.RamWriter(out, 8192)
    writer_of_ram.block("pc.ram", bytes(8192) + b"\1" * 8192 + bytes(2 * 8192))
    writer_of_ram.end()
    made.close(2)
    discard = b"\0\x06pc.ram\0" + (8192).to_bytes(8, "big") * 2
    made.command(Cmd.POSTCOPY_RAM_DISCARD, discard)
    inner = io.BytesIO()
    parts = writer.StreamWriter(inner)
    parts.command(Cmd.POSTCOPY_LISTEN)
    parts.full(0, "timer", 0, 2, TIMER_BODY)
    parts.full(7, "chip", 1, 3, CHIP_BODY)
    parts.command(Cmd.POSTCOPY_RUN)
    out.write(writer.package(inner.getvalue()))
    made.open(Kind.END, 2, "ram")
    writer_of_ram.pages("pc.ram", b"\2" * 4 * 8192, np.array([1]))
    writer_of_ram.end()
    made.close(2)
    made.end(None)
    return out.getvalue()


def test_postcopy_capture_is_walked_with_its_own_page_size() -> None:
    stream = open_stream(io.BytesIO(postcopy()))
    assert stream.page_size == 8192
    assert [s.title for s in stream.devices] == ["timer", "chip/1"]
    assert [s.length for s in stream.devices] == [len(TIMER_BODY), len(CHIP_BODY)]
    assert all(s.package for s in stream.devices)
