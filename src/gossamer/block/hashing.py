"""A hash of what the guest sees on a disk, kept up to date by hashing only what was written.

The disk is cut into chunks of 64 KiB.  The hash is xxh3-128 over the disk's size and the sum of
the chunks' own xxh3-128 (seeded with their index), where a chunk of zeros counts nothing.  So it
does not depend on the format of the image, and a change costs as much as the chunks it touches.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, Protocol

import xxhash

CHUNK: Final = 65536
_ZEROS: Final = bytes(CHUNK)
_SUM_MASK: Final = (1 << 128) - 1
_LOW: Final = (1 << 64) - 1
_PAIR: Final = struct.Struct(">QQ")


class Hashable(Protocol):
    """What the hash needs of a disk."""

    @property
    def size(self) -> int: ...
    def read(self, offset: int, length: int) -> bytes: ...
    def zero_run(self, offset: int) -> int:
        """How many bytes from `offset` on are known to read as zeros, without reading them."""
        ...


class ContentHash:
    """The digests of a disk's chunks, and which of them are stale."""

    def __init__(self) -> None:
        self._digests: dict[int, int] = {}
        self._sum = 0
        self._stale: set[int] | None = None  # None: all of them

    def touch(self, offset: int, length: int) -> None:
        """The bytes at `offset` may have changed."""
        if self._stale is not None and length:
            self._stale.update(range(offset // CHUNK, (offset + length - 1) // CHUNK + 1))

    def forget(self) -> None:
        """Everything may have changed."""
        self._digests.clear()
        self._sum, self._stale = 0, None

    def value(self, disk: Hashable) -> str:
        """The hash of the disk as it is now, 32 hexadecimal digits."""
        if self._stale is None:
            self._hash_all(disk)
        else:
            for index in sorted(self._stale):
                self._hash_chunk(disk, index)
        self._stale = set()
        text = disk.size.to_bytes(8, "big") + self._sum.to_bytes(16, "big")
        return xxhash.xxh3_128_hexdigest(text)

    def _hash_all(self, disk: Hashable) -> None:
        self._digests.clear()
        self._sum = 0
        offset = 0
        while offset < disk.size:
            skip = disk.zero_run(offset) // CHUNK * CHUNK
            if skip:
                offset += skip
                continue
            self._hash_chunk(disk, offset // CHUNK)
            offset += CHUNK

    def _hash_chunk(self, disk: Hashable, index: int) -> None:
        offset = index * CHUNK
        data = disk.read(offset, min(CHUNK, disk.size - offset))
        self._sum -= self._digests.pop(index, 0)
        if data != _ZEROS[: len(data)]:
            digest = xxhash.xxh3_128_intdigest(data, seed=index)
            self._digests[index] = digest
            self._sum += digest
        self._sum &= _SUM_MASK

    def digests(self) -> bytes:
        """The chunks that are not zero, ascending: u64 index, u64 digest, big-endian.

        As of the last `value`.
        """
        return b"".join(
            _PAIR.pack(index, self._digests[index] & _LOW) for index in sorted(self._digests)
        )

    def differences(self, saved: Mapping[int, int]) -> set[int]:
        """Indexes of the chunks that differ from an earlier `digests`; as of the last `value`."""
        now = self._digests
        changed = {n for n, digest in now.items() if saved.get(n) != digest & _LOW}
        return changed | (saved.keys() - now.keys())


def saved_digests(saved: bytes) -> dict[int, int]:
    """What `digests` gave: index → digest.  ValueError says what is wrong with it."""
    if len(saved) % _PAIR.size:
        raise ValueError("truncated")
    return dict(_PAIR.iter_unpack(saved))


def digest_of(index: int, data: bytes) -> int:
    """The digest of a chunk as `digests` shows it; 0 for zeros."""
    if data == _ZEROS[: len(data)]:
        return 0
    return xxhash.xxh3_128_intdigest(data, seed=index) & _LOW
