"""An overlay's content as bytes, for the frames of a save file.

Big-endian: ``GSMROVL1``, size of the disk u64, length of the fingerprint u64, the fingerprint;
then for each cluster its offset u64, its length u32 and its bytes; offset 2**64-1 ends it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final

from gossamer.base.errors import StreamError
from gossamer.block import Capture

_HEAD: Final = struct.Struct(">8sQQ")
_PIECE: Final = struct.Struct(">QI")
_MAGIC: Final = b"GSMROVL1"
_END: Final = (1 << 64) - 1
_MAX_PIECE: Final = 1 << 20
_MAX_FINGERPRINT: Final = 1 << 30
_BATCH: Final = 1 << 20


def packed(capture: Capture) -> Iterator[bytes]:
    """The capture in chunks of about a mebibyte."""
    batch = bytearray(_HEAD.pack(_MAGIC, capture.size, len(capture.base)) + capture.base)
    for offset, data in capture.clusters:
        batch += _PIECE.pack(offset, len(data))
        batch += data
        if len(batch) >= _BATCH:
            yield bytes(batch)
            batch.clear()
    yield bytes(batch) + _PIECE.pack(_END, 0)


def unpacked(chunks: Iterable[bytes], name: str) -> Capture:
    """The capture that `packed` made; its clusters are read as they are asked for."""
    source = _Bytes(chunks, name)
    magic, size, length = _HEAD.unpack(source.take(_HEAD.size))
    if magic != _MAGIC:
        raise StreamError("not the content of an overlay", name)
    if length > _MAX_FINGERPRINT:
        raise StreamError(f"a fingerprint of {length} bytes", name)
    return Capture(size, source.take(length), _clusters(source, name))


def _clusters(source: _Bytes, name: str) -> Iterator[tuple[int, bytes]]:
    while True:
        offset, length = _PIECE.unpack(source.take(_PIECE.size))
        if offset == _END:
            if source.more():
                raise StreamError("bytes after the overlay's end", name)
            return
        if not 0 < length <= _MAX_PIECE:
            raise StreamError(f"a cluster of {length} bytes", name)
        yield offset, source.take(length)


class _Bytes:
    """Takes exact numbers of bytes from chunks."""

    def __init__(self, chunks: Iterable[bytes], name: str) -> None:
        self._chunks, self._name = iter(chunks), name
        self._buffer, self._at = b"", 0

    def more(self) -> bool:
        while self._at == len(self._buffer):
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._buffer, self._at = chunk, 0
        return True

    def take(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count:
            if not self.more():
                raise StreamError("the overlay's content ends too early", self._name)
            part = self._buffer[self._at : self._at + count]
            self._at += len(part)
            count -= len(part)
            parts.append(part)
        return b"".join(parts)
