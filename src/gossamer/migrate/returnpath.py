"""The return path of a migration: what the destination reports to the source."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Final

from gossamer.base.data import Data
from gossamer.base.errors import StreamError
from gossamer.base.wire import WireReader
from gossamer.migrate.source import Source

MAX_LENGTH: Final = 512
BITMAP_END: Final = 0x0123456789ABCDEF
_LENGTHS: Final = {1: (4,), 2: (4,), 4: (12,), 6: (4,), 7: (0,)}


class Reply(IntEnum):
    """Message types."""

    SHUT = 1
    PONG = 2
    REQ_PAGES_ID = 3
    REQ_PAGES = 4
    RECV_BITMAP = 5
    RESUME_ACK = 6
    SWITCHOVER_ACK = 7


class Message(Data):
    """One message; `value` is the cookie, the error or the start of a request (bytes)."""

    kind: Reply
    offset: int
    value: int = 0
    length: int = 0
    block: str = ""
    bitmap: bytes = b""


def encode(message: Message) -> bytes:
    """The message on the wire."""
    kind = message.kind
    if kind == Reply.SWITCHOVER_ACK:
        data = b""
    elif kind in (Reply.REQ_PAGES, Reply.REQ_PAGES_ID):
        data = message.value.to_bytes(8, "big") + message.length.to_bytes(4, "big")
    else:
        data = b"" if kind == Reply.RECV_BITMAP else message.value.to_bytes(4, "big")
    if kind in (Reply.REQ_PAGES_ID, Reply.RECV_BITMAP):
        name = message.block.encode("ascii")
        data += bytes([len(name)]) + name
    out = kind.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data
    if kind == Reply.RECV_BITMAP:
        size = len(message.bitmap).to_bytes(8, "big")
        out += size + message.bitmap + BITMAP_END.to_bytes(8, "big")
    return out


def read(source: Source) -> Message:
    """The next message."""
    offset = source.offset
    number, length = source.uint(2), source.uint(2)
    with source.within("return path"):
        if number not in Reply._value2member_map_ or length > MAX_LENGTH:
            raise StreamError(
                f"message type {number} with {length} bytes, known are 1 to {max(Reply)} with up "
                f"to {MAX_LENGTH}", source.path, offset
            )  # fmt: skip
        if number in _LENGTHS and length not in _LENGTHS[number]:
            raise StreamError(
                f"{Reply(number).name} with {length} bytes, expected {_LENGTHS[number][0]}",
                source.path,
                offset,
            )
        data = WireReader(source.take(length), source.offset - length)
        message = _message(Reply(number), offset, data)
        if data.left:
            raise data.error(f"{data.left} bytes too many in {Reply(number).name}")
        if number != Reply.RECV_BITMAP:
            return message
        size = source.uint(8)
        if size % 8 or (source.size is not None and size > source.left):
            raise source.error(f"a bitmap of {size} bytes")
        bitmap = bytes(source.take(size))
        if (end := source.uint(8)) != BITMAP_END:
            raise source.error(f"a bitmap ends with {end:#x}, expected {BITMAP_END:#x}")
        return Message(message.kind, offset, block=message.block, bitmap=bitmap)


def _message(kind: Reply, offset: int, data: WireReader) -> Message:
    if kind == Reply.SWITCHOVER_ACK:
        return Message(kind, offset)
    if kind in (Reply.REQ_PAGES, Reply.REQ_PAGES_ID):
        start, length = data.uint(8), data.uint(4)
        return Message(kind, offset, start, length, data.cstr() if data.left else "")
    if kind == Reply.RECV_BITMAP:
        return Message(kind, offset, block=data.cstr())
    return Message(kind, offset, data.uint(4))


def walk(source: Source) -> Iterator[Message]:
    """Every message of a capture."""
    while source.fill(1):
        yield read(source)
