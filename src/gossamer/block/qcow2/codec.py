"""Compressed clusters: raw deflate or zstd, exactly one cluster of output."""

from __future__ import annotations

import io
import zlib
from collections import OrderedDict
from typing import Final

from gossamer.base.late import zstandard
from gossamer.block.errors import ImageError
from gossamer.block.hostfile import HostFile
from gossamer.block.qcow2.entries import compressed_extent
from gossamer.block.qcow2.header import COMPRESSION_ZSTD, Header

_KEPT_BYTES: Final = 4 << 20


class Decompressor:
    """Reads compressed clusters; keeps the last ones, since drives read in smaller pieces."""

    def __init__(self, file: HostFile, header: Header) -> None:
        self.file = file
        self.cluster_bits, self.cluster_size = header.cluster_bits, header.cluster_size
        self.is_zstd = header.compression == COMPRESSION_ZSTD
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._limit = max(_KEPT_BYTES // self.cluster_size, 2)

    def read(self, entry: int) -> bytes:
        """The cluster that a compressed L2 entry describes."""
        found = self._kept.get(entry)
        if found is not None:
            self._kept.move_to_end(entry)
            return found
        offset, length = compressed_extent(entry, self.cluster_bits)
        if offset >= self.file.size:
            raise self._corrupt(offset, "lies outside the file")
        packed = self.file.read_at(offset, min(length, self.file.size - offset))
        try:
            data = self._inflate(packed)
        except (zlib.error, zstandard.ZstdError) as error:
            raise self._corrupt(offset, f"does not decompress ({error})") from None
        if len(data) != self.cluster_size:
            raise self._corrupt(offset, f"gives {len(data)} of {self.cluster_size} bytes")
        self._kept[entry] = data
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return data

    def forget(self) -> None:
        """The file's clusters may be reused: forget what they held."""
        self._kept.clear()

    def _inflate(self, packed: bytes) -> bytes:
        if not self.is_zstd:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, self.cluster_size)
        reader = zstandard.ZstdDecompressor().stream_reader(
            io.BytesIO(packed), read_across_frames=True
        )
        parts, left = [], self.cluster_size
        while left and (part := reader.read(left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def _corrupt(self, offset: int, what: str) -> ImageError:
        return ImageError(self.file.path, f"corrupt: compressed cluster at {offset:#x} {what}")
