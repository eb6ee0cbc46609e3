"""A small stream with everything in it, made byte by byte, for tests of the stream packages."""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np

from gossamer.migrate import ram, ram_writer, writer
from gossamer.migrate.framing import Configuration, Kind
from gossamer.migrate.pages import xbzrle_encode
from gossamer.migrate.ram import Block

PAGE = 4096
BLOCK = "mac.ram"
OLD = bytes(range(256)) * 16
NEW = OLD[:100] + b"changed" + OLD[107:4000] + bytes(96)


def field(name: str, kind: str, size: int, **more: Any) -> dict[str, Any]:
    """One field of a description."""
    return {"name": name, **more, "type": kind, "size": size}


TIMER = {
    "name": "timer", "instance_id": 0, "vmsd_name": "timer", "version": 2,
    "fields": [
        field("cpu_ticks_offset", "int64", 8), field("unused", "unused_buffer", 8),
        field("cpu_clock_offset", "int64", 8),
    ],
}  # fmt: skip
TIMER_BODY = bytes(16) + (2_000_000_000).to_bytes(8, "big")

POINT = {
    "vmsd_name": "point", "version": 1,
    "fields": [field("x", "int16", 2), field("y", "uint8", 1, array_len=2)],
}  # fmt: skip
CHIP = {
    "name": "chip", "instance_id": 1, "vmsd_name": "chip", "version": 3,
    "fields": [
        field("irq", "bool", 1), field("alarm", "timer", 8),
        {"name": "points", "array_len": 2, "type": "struct", "struct": POINT, "size": 4},
        {"name": "one", "index": 0, "type": "struct", "struct": POINT, "size": 4},
        field("blob", "buffer", 5),
    ],
    "subsections": [
        {"vmsd_name": "chip/extra", "version": 1, "fields": [field("count", "uint32", 4)]}
    ],
}  # fmt: skip
CHIP_BODY = (
    b"\x01" + (2_000_312_000).to_bytes(8, "big")
    + b"\xff\xff\x01\x02" + b"\x00\x05\x03\x04"
    + b"\x00\x07\x08\x09" + b"hello"
    + b"\x05\x0achip/extra\x00\x00\x00\x01" + (77).to_bytes(4, "big")
)  # fmt: skip


def ram_body() -> bytes:
    """Zero, plain, compressed and XBZRLE pages of one block of 16 pages."""
    out = io.BytesIO()
    memory = np.zeros(16 * PAGE, np.uint8)
    memory[2 * PAGE : 3 * PAGE] = np.frombuffer(OLD, np.uint8)
    memory[5 * PAGE + 17] = 1
    made = ram_writer.RamWriter(out)
    made.block(BLOCK, memory)
    packed = zlib.compress(OLD)
    out.write((3 * PAGE | ram.COMPRESS_PAGE | ram.CONTINUE).to_bytes(8, "big"))
    out.write(len(packed).to_bytes(4, "big") + packed)
    delta = xbzrle_encode(OLD, NEW)
    out.write((2 * PAGE | ram.XBZRLE | ram.CONTINUE).to_bytes(8, "big"))
    out.write(b"\x01" + len(delta).to_bytes(2, "big") + delta)
    made.end()
    return out.getvalue()


def small_stream(*, footers: bool = True, described: bool = True, machine: str = "mac99") -> bytes:
    """Header, configuration, RAM in three sections, two devices, end, description."""
    out = io.BytesIO()
    made = writer.StreamWriter(out, footers)
    made.begin(Configuration(machine))
    made.open(Kind.START, 2, "ram", 0, 4)
    out.write(ram_writer.block_list([Block(BLOCK, 16 * PAGE)]) + ram_writer.mark())
    made.close(2)
    made.open(Kind.PART, 2, "ram")
    out.write(ram_body())
    made.close(2)
    made.open(Kind.END, 2, "ram")
    out.write(ram_writer.mark())
    made.close(2)
    made.full(0, "timer", 0, 2, TIMER_BODY)
    made.full(7, "chip", 1, 3, CHIP_BODY)
    tree = {"page_size": PAGE, "devices": [TIMER, CHIP]}
    made.end(writer.description_text(tree) if described else None)
    return out.getvalue()
