"""RAM records: bytes by hand, the writer against the reader, packed pages, hostile lengths."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.base.errors import StreamError
from gossamer.migrate import ram, ram_writer
from gossamer.migrate.pages import (
    PageIndex,
    RamLoader,
    inflate_page,
    mapped_pages,
    xbzrle_decode,
    xbzrle_encode,
)
from gossamer.migrate.ram import Block, BlockList, Mark, OpenRamReader, RamReader, Run
from gossamer.migrate.source import Source
from tests.migrate.streams import BLOCK, NEW, OLD, PAGE, ram_body

EOS = (0x10).to_bytes(8, "big")
LIST = (0x3000 | 4).to_bytes(8, "big") + b"\x01a" + (0x3000).to_bytes(8, "big")


def read(data: bytes, reader: RamReader | None = None) -> list[ram.Record]:
    return list((reader or RamReader()).read(Source(io.BytesIO(data))))


def test_records_by_hand() -> None:
    page = bytes([7]) * PAGE
    body = LIST + (0x1000 | 8).to_bytes(8, "big") + b"\x01a" + page
    body += (0x2000 | 0x22).to_bytes(8, "big") + b"\x00" + EOS
    listed, first, second, end = read(body)
    assert listed == BlockList(0x3000, (Block("a", 0x3000),), 0)
    assert isinstance(first, Run)
    assert first.named
    assert first.addresses.tolist() == [0x1000]
    assert first.pages is not None
    assert first.pages.tobytes() == page
    assert isinstance(second, Run)
    assert second.fills is not None
    assert second.fills.tolist() == [0]
    assert isinstance(end, Mark)
    assert b"".join(map(ram_writer.record, [listed, first, second, end])) == body


def test_continue_survives_from_body_to_body() -> None:
    reader = RamReader()
    read(LIST + (0x0 | 2).to_bytes(8, "big") + b"\x01a\x00" + EOS, reader)
    found = read((0x1000 | 0x22).to_bytes(8, "big") + b"\x00" + EOS, reader)
    assert isinstance(found[0], Run)
    assert found[0].block.name == "a"


@given(st.lists(st.sampled_from([0, 0, 0, 1, 200]), min_size=1, max_size=40), st.booleans())
def test_writer_and_loader_are_inverse(fills: list[int], late: bool) -> None:
    memory = np.zeros(len(fills) * PAGE, np.uint8)
    for i, fill in enumerate(fills):
        memory[i * PAGE + (4095 if late else 0)] = fill
    out = io.BytesIO()
    writer = ram_writer.RamWriter(out)
    writer.block_list([Block("m", len(memory))])
    writer.block("m", memory)
    writer.end()
    assert writer.sent == len(out.getvalue())
    zero = sum(not fill for fill in fills)
    named = 1 + len("m")
    expected = 8 + named + 8 + named + zero * 9 + (len(fills) - zero) * (8 + PAGE) + 8
    assert writer.sent == expected
    target = np.full(len(memory), 0xAA, np.uint8)
    loader = RamLoader({"m": target})
    for record in read(out.getvalue()):
        loader(record)
    assert (target == memory).all()


@given(st.lists(st.sampled_from([0, 0, 1]), min_size=1, max_size=200), st.data())
def test_pages_known_to_be_blank_make_the_same_records(
    fills: list[int], data: st.DataObject
) -> None:
    memory = np.repeat(np.array(fills, np.uint8), PAGE)
    numbers = np.flatnonzero([data.draw(st.integers(0, 9)) > 0 for _ in fills])
    blank = np.array([not fill and data.draw(st.booleans()) for fill in fills])
    whole, quick = io.BytesIO(), io.BytesIO()
    ram_writer.RamWriter(whole).pages("m", memory, numbers)
    ram_writer.RamWriter(quick).pages("m", memory, numbers, blank)
    assert whole.getvalue() == quick.getvalue()


@given(st.lists(st.integers(0, 2), min_size=1, max_size=50), st.data())
def test_grouped_pages_are_the_same_memory_in_two_rows(
    fills: list[int], data: st.DataObject
) -> None:
    """Zero pages come first, then the others, whatever lies between them."""
    memory = np.repeat(np.array(fills, np.uint8), PAGE)
    chosen = data.draw(st.lists(st.booleans(), min_size=len(fills), max_size=len(fills)))
    numbers = np.flatnonzero(chosen).astype(np.int64)
    out = io.BytesIO()
    writer = ram_writer.RamWriter(out, PAGE)
    writer.grouped = True
    writer.block_list([Block("m", len(memory))])
    writer.pages("m", memory, numbers)
    writer.end()
    runs = [
        r for r in RamReader(PAGE).read(Source(io.BytesIO(out.getvalue()))) if isinstance(r, Run)
    ]
    kinds = [r.kind for r in runs if not r.named]
    assert kinds == sorted(kinds, key=lambda kind: kind != ram.ZERO)
    loaded = np.full(len(memory), 9, np.uint8).reshape(-1, PAGE)
    for run in runs:
        assert run.pages is not None or run.fills is not None
        value = run.pages if run.pages is not None else run.fills[:, None]  # type: ignore[index]
        loaded[run.addresses // PAGE] = value
    expected = np.full(len(memory), 9, np.uint8).reshape(-1, PAGE)
    expected[numbers] = memory.reshape(-1, PAGE)[numbers]
    assert (loaded == expected).all()


def test_a_page_known_to_be_blank_is_not_read() -> None:
    """Else what the host has never made would be made."""
    memory = np.ones(2 * PAGE, np.uint8)
    out = io.BytesIO()
    ram_writer.RamWriter(out).pages("m", memory, np.arange(2), np.array([True, True]))
    assert len(out.getvalue()) == 9 + 2 + 9


def test_writer_when_pages_are_sent_again_then_the_last_wins() -> None:
    memory = np.zeros(4 * PAGE, np.uint8)
    out = io.BytesIO()
    writer = ram_writer.RamWriter(out)
    writer.block_list([Block("m", len(memory)), Block("n", PAGE)])
    writer.block("m", memory)
    writer.block("n", np.ones(PAGE, np.uint8))
    memory[PAGE] = 9
    memory[3 * PAGE] = 8
    writer.pages("m", memory, np.array([1, 3]))
    writer.end()
    target, other = np.zeros(4 * PAGE, np.uint8), np.zeros(PAGE, np.uint8)
    loader, index = RamLoader({"m": target, "n": other}), PageIndex()
    for record in read(out.getvalue()):
        loader(record)
        index(record)
    assert (target == memory).all()
    assert (other == 1).all()
    table = index.table("m")
    assert table.numbers.tolist() == [0, 1, 2, 3]
    assert table.page(io.BytesIO(out.getvalue()), 1, PAGE) == memory[PAGE : 2 * PAGE].tobytes()


def test_packed_pages_are_applied_in_order() -> None:
    data = ram_writer.block_list([Block(BLOCK, 16 * PAGE)]) + ram_body()
    memory = np.zeros(16 * PAGE, np.uint8)
    loader, index = RamLoader({BLOCK: memory}), PageIndex()
    records = read(data)
    for record in records:
        loader(record)
        index(record)
    assert b"".join(map(ram_writer.record, records)) == data
    assert memory[2 * PAGE : 3 * PAGE].tobytes() == NEW
    assert memory[3 * PAGE : 4 * PAGE].tobytes() == OLD
    table = index.table(BLOCK)
    assert table.page(io.BytesIO(data), 2, PAGE) == NEW
    assert table.page(io.BytesIO(data), 3, PAGE) == OLD
    assert table.page(io.BytesIO(data), 4, PAGE) == bytes(PAGE)


@given(st.binary(min_size=64, max_size=64), st.binary(min_size=64, max_size=64))
def test_xbzrle_round_trip(old: bytes, new: bytes) -> None:
    page = bytearray(old)
    xbzrle_decode(xbzrle_encode(old, new), page)
    assert page == new


def test_xbzrle_by_hand() -> None:
    page = bytearray(300)
    xbzrle_decode(b"\x82\x01\x03abc", page)  # keep 130, replace 3
    assert page[128:134] == b"\0\0abc\0"


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (b"\x80", "an XBZRLE count is cut"),
        (b"\x80\x80\x01", "longer than two bytes"),
        (b"\xff\x7f", "reaches byte 16383 of a page of 64"),
        (b"\x00\x05ab", "misses 3 bytes"),
    ],
)
def test_xbzrle_when_a_delta_lies_then_refused(packed: bytes, message: str) -> None:
    with pytest.raises(StreamError, match=message):
        xbzrle_decode(packed, bytearray(64))


def test_inflate_when_a_page_is_a_bomb_then_refused() -> None:
    with pytest.raises(StreamError, match="unpacks to 4097 bytes, not 4096"):
        inflate_page(zlib.compress(bytes(1 << 24)), PAGE)
    with pytest.raises(StreamError, match="cannot be unpacked"):
        inflate_page(b"garbage", PAGE)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\0\0", "a RAM record needs 8 bytes"),
        ((0x22).to_bytes(8, "big") + b"\0" + EOS, "CONTINUE record comes before any record"),
        (LIST + (0x22).to_bytes(8, "big"), "CONTINUE record comes before"),
        (LIST + (2).to_bytes(8, "big") + b"\x01b\0", "RAM block 'b', the stream lists a"),
        (LIST + (0x3002).to_bytes(8, "big") + b"\x01a\0", "a: page at 0x3000, the block is 0x3000"),
        (LIST + (0x1004).to_bytes(8, "big") + b"\x01z" + bytes(8), "block 'z' of 0x0 bytes"),
        (LIST + (0x400).to_bytes(8, "big"), "RAM flags 0x400 (0x400) are not a record"),
        (LIST + (0x80).to_bytes(8, "big"), "RAM flags 0x80 (HOOK)"),
        (LIST + (0x1010).to_bytes(8, "big"), "EOS record has address 0, got 0x1000"),
        (
            LIST + (0x100).to_bytes(8, "big") + b"\x01a\xff\xff\xff\xff",
            "a packed page claims 4294967295 bytes",
        ),
        (LIST + (0x40).to_bytes(8, "big") + b"\x01a\x02\0\0", "XBZRLE encoding 2, expected 1"),
        (
            (0x3000 | 4).to_bytes(8, "big") + b"\x01a" + (1 << 60).to_bytes(8, "big"),
            "brings the lengths to 0x1000000000000000, the record says 0x3000",
        ),
    ],
)
def test_reader_when_records_are_bad_then_says_why(data: bytes, message: str) -> None:
    with pytest.raises(StreamError) as caught:
        read(data)
    assert message in str(caught.value)


def test_loader_when_blocks_do_not_fit_then_refused() -> None:
    with pytest.raises(StreamError, match="ram/a: no such RAM block here, there are b"):
        RamLoader({"b": np.zeros(PAGE, np.uint8)})(read(LIST + EOS)[0])
    with pytest.raises(StreamError, match="ram/a: length 0x3000, the block here has 0x1000"):
        RamLoader({"a": np.zeros(PAGE, np.uint8)})(read(LIST + EOS)[0])


def test_block_list_variants() -> None:
    shared = (0x3004).to_bytes(8, "big") + b"\x01a" + (0x3000).to_bytes(8, "big") + bytes(8)
    found = read(shared + EOS, RamReader(shared_addresses=True))[0]
    assert isinstance(found, BlockList)
    assert found.blocks[0].address == 0
    huge = LIST + (0x200000).to_bytes(8, "big")
    found = read(huge + EOS)[0]
    assert isinstance(found, BlockList)
    assert found.blocks[0].page_size == 0x200000
    assert ram_writer.record(found) == huge


def mapped_file() -> bytes:
    """A block of 8 pages in a mapped-ram file: pages 1 and 6 are there."""
    head = (0x8004).to_bytes(8, "big") + b"\x01a" + (0x8000).to_bytes(8, "big")
    head += b"\0\0\0\x01" + PAGE.to_bytes(8, "big")
    bitmap, pages = len(head) + 16, 1 << 13
    data = bytearray(pages + 8 * PAGE)
    data[: len(head) + 16] = head + bitmap.to_bytes(8, "big") + pages.to_bytes(8, "big")
    data[bitmap] = 0b0100_0010
    data[pages + PAGE : pages + 2 * PAGE] = OLD
    data[pages + 6 * PAGE : pages + 7 * PAGE] = NEW
    return bytes(data) + EOS


def test_mapped_ram_is_found_by_its_bitmap() -> None:
    data = mapped_file()
    found = read(data, RamReader(mapped=True))[0]
    assert isinstance(found, BlockList)
    runs = list(mapped_pages(io.BytesIO(data), found.blocks[0]))
    assert [int(r.addresses[0]) // PAGE for r in runs] == [1, 6]
    assert runs[1].pages is not None
    assert runs[1].pages.tobytes() == NEW
    bad = bytearray(data)
    bad[30:38] = (0).to_bytes(8, "big")
    with pytest.raises(StreamError, match="overlap what comes before them"):
        read(bytes(bad), RamReader(mapped=True))


def test_preempt_channel_needs_no_block_list() -> None:
    body = (0x1008).to_bytes(8, "big") + b"\x01a" + OLD + EOS
    first, end = read(body, OpenRamReader())
    assert isinstance(first, Run)
    assert first.block.name == "a"
    assert isinstance(end, Mark)


def test_largest_first_keeps_the_order_of_equals() -> None:
    found = ram_writer.largest_first([("x", 1), ("big", 9), ("y", 1)])
    assert [block.name for block in found] == ["big", "x", "y"]
