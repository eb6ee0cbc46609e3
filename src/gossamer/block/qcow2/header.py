"""The first cluster of a qcow2 file: header, extensions, backing file name.

All integers are big-endian.  Source: the qcow2 interoperability specification in QEMU's
documentation ("Header", "Header extensions").
"""

from __future__ import annotations

import errno
import os
import struct
from typing import Final

from gossamer.base.data import Data, field
from gossamer.block.errors import ImageError
from gossamer.block.hostfile import HostFile

MAGIC: Final = b"QFI\xfb"
V2_LENGTH: Final = 72
V3_LENGTH: Final = 104
FULL_LENGTH: Final = 112  # with the compression type, padded
_V2: Final = struct.Struct(">4sIQIIQIIQQIIQ")
_V3: Final = struct.Struct(">QQQII")
_COMPRESSION_AT: Final = 104

DIRTY, CORRUPT, EXTERNAL_DATA, COMPRESSION, EXTENDED_L2 = (1 << n for n in range(5))
LAZY_REFCOUNTS: Final = 1
_KNOWN_FEATURES: Final = DIRTY | CORRUPT | COMPRESSION
_REFUSED: Final = {
    EXTERNAL_DATA: "keeps its data in an external data file",
    EXTENDED_L2: "has extended L2 entries (subclusters)",
}

EXT_END: Final = 0
EXT_BACKING_FORMAT: Final = 0xE2792ACA
EXT_FEATURE_NAMES: Final = 0x6803F857
EXT_BITMAPS: Final = 0x23852875
EXT_LUKS: Final = 0x0537BE77
_FEATURE_NAME_LENGTH: Final = 48

MIN_CLUSTER_BITS, MAX_CLUSTER_BITS = 9, 21
MAX_L1_BYTES: Final = 32 << 20
MAX_TABLE_BYTES: Final = 8 << 20
MAX_BACKING_NAME: Final = 1023
MAX_SNAPSHOTS: Final = 65536
COMPRESSION_ZLIB, COMPRESSION_ZSTD = 0, 1


class Header(Data, frozen=False):
    """The header's fields by the specification's names; offsets and sizes in bytes."""

    version: int
    size: int
    cluster_bits: int = 16
    backing_offset: int = 0
    backing_length: int = 0
    crypt_method: int = 0
    l1_size: int = 0
    l1_offset: int = 0
    table_offset: int = 0
    table_clusters: int = 0
    snapshot_count: int = 0
    snapshots_offset: int = 0
    incompatible: int = 0
    compatible: int = 0
    autoclear: int = 0
    refcount_order: int = 4
    length: int = V2_LENGTH
    compression: int = COMPRESSION_ZLIB
    backing_name: str = ""
    backing_format: str = ""
    bitmaps: int = 0
    feature_names: dict[int, str] = field(default_factory=dict)

    @property
    def cluster_size(self) -> int:
        return 1 << self.cluster_bits

    @property
    def l2_entries(self) -> int:
        return self.cluster_size // 8

    @property
    def l1_span(self) -> int:
        """Bytes of the disk that one L1 entry maps."""
        return self.l2_entries << self.cluster_bits

    def l1_needed(self, size: int) -> int:
        """L1 entries that map a disk of `size` bytes."""
        return -(-size // self.l1_span)

    def pack(self) -> bytes:
        """The fields as they stand at the beginning of the file; extensions not included."""
        head = _V2.pack(
            MAGIC,
            self.version,
            self.backing_offset,
            self.backing_length,
            self.cluster_bits,
            self.size,
            self.crypt_method,
            self.l1_size,
            self.l1_offset,
            self.table_offset,
            self.table_clusters,
            self.snapshot_count,
            self.snapshots_offset,
        )
        if self.version == 2:
            return head
        features = self.incompatible, self.compatible, self.autoclear
        head += _V3.pack(*features, self.refcount_order, self.length)
        return head + bytes([self.compression]) if self.length > _COMPRESSION_AT else head


def parse(file: HostFile) -> Header:
    """Read and check the header of `file`; ImageError says what does not fit."""

    def bad(message: str, code: int = errno.EINVAL) -> ImageError:
        return ImageError(file.path, message, code)

    if file.size < V2_LENGTH:
        raise bad(f"truncated: a qcow2 header has {V2_LENGTH} bytes, the file {file.size}")
    raw = file.read_at(0, V2_LENGTH)
    magic, version, *fields = _V2.unpack(raw)
    if magic != MAGIC:
        raise bad("not a qcow2 image (its magic is missing)")
    if version not in (2, 3):
        raise bad(f"qcow2 version {version}, this build reads 2 and 3", errno.ENOTSUP)
    header = Header(version, fields[3], fields[2], fields[0], fields[1], *fields[4:])
    if not MIN_CLUSTER_BITS <= header.cluster_bits <= MAX_CLUSTER_BITS:
        limits = f"{MIN_CLUSTER_BITS}..{MAX_CLUSTER_BITS}"
        raise bad(f"cluster_bits {header.cluster_bits}, expected {limits}")
    if version == 3:
        _parse_v3(file, header)
    _parse_extensions(file, header)
    _check_features(file, header)
    _check_backing(file, header)
    _check_tables(file, header)
    return header


def _parse_v3(file: HostFile, header: Header) -> None:
    raw = file.read_at(V2_LENGTH, FULL_LENGTH - V2_LENGTH)
    if file.size < V3_LENGTH:
        message = f"truncated: a version 3 header has {V3_LENGTH} bytes, the file {file.size}"
        raise ImageError(file.path, message, errno.EINVAL)
    (
        header.incompatible,
        header.compatible,
        header.autoclear,
        header.refcount_order,
        header.length,
    ) = _V3.unpack_from(raw)
    if not V3_LENGTH <= header.length <= header.cluster_size or header.length % 8:
        expected = f"expected a multiple of 8 in {V3_LENGTH}..{header.cluster_size}"
        raise ImageError(file.path, f"header length {header.length}, {expected}", errno.EINVAL)
    if header.refcount_order > 6:
        message = f"refcount_order {header.refcount_order}, expected 0..6"
        raise ImageError(file.path, message, errno.EINVAL)
    if header.length > _COMPRESSION_AT:
        header.compression = raw[_COMPRESSION_AT - V2_LENGTH]


def _parse_extensions(file: HostFile, header: Header) -> None:
    """Extensions stand between the header and the backing name, or the first cluster's end."""
    end = min(header.backing_offset or header.cluster_size, header.cluster_size, file.size)
    at = header.length
    while at + 8 <= end:
        kind, length = struct.unpack(">II", file.read_at(at, 8))
        if kind == EXT_END:
            return
        at += 8
        if length > end - at:
            message = f"header extension {kind:#x} of {length} bytes at {at:#x} overruns {end:#x}"
            raise ImageError(file.path, message, errno.EINVAL)
        _parse_extension(header, kind, file.read_at(at, length))
        at += (length + 7) & -8


def _parse_extension(header: Header, kind: int, content: bytes) -> None:
    if kind == EXT_BACKING_FORMAT:
        header.backing_format = os.fsdecode(content)
    elif kind == EXT_BITMAPS:
        header.bitmaps = int.from_bytes(content[:4], "big")
    elif kind == EXT_LUKS:
        header.crypt_method = header.crypt_method or 2
    elif kind == EXT_FEATURE_NAMES:
        for at in range(0, len(content) - _FEATURE_NAME_LENGTH + 1, _FEATURE_NAME_LENGTH):
            table, bit = content[at : at + 2]
            if table == 0 and bit < 64:
                name = content[at + 2 : at + _FEATURE_NAME_LENGTH].rstrip(b"\0")
                header.feature_names[1 << bit] = name.decode("ascii", "replace")


def _check_features(file: HostFile, header: Header) -> None:
    for bit, what in _REFUSED.items():
        if header.incompatible & bit:
            message = f"this image {what}, which is not supported; qemu-img convert removes it"
            raise ImageError(file.path, message, errno.ENOTSUP)
    unknown = header.incompatible & ~_KNOWN_FEATURES
    if unknown:
        names = [
            header.feature_names.get(1 << n) or f"bit {n}" for n in range(64) if unknown >> n & 1
        ]
        message = f"unknown incompatible features: {', '.join(names)}"
        raise ImageError(file.path, message, errno.ENOTSUP)
    if header.crypt_method:
        name = {1: "AES", 2: "LUKS"}.get(header.crypt_method, f"method {header.crypt_method}")
        message = f"encrypted ({name}), which is not supported; qemu-img convert decrypts"
        raise ImageError(file.path, message, errno.ENOTSUP)
    marked = bool(header.incompatible & COMPRESSION)
    if header.compression not in (COMPRESSION_ZLIB, COMPRESSION_ZSTD):
        message = f"compression type {header.compression}, this build reads 0 (zlib) and 1 (zstd)"
        raise ImageError(file.path, message, errno.ENOTSUP)
    if marked != (header.compression != COMPRESSION_ZLIB):
        message = f"compression type {header.compression} does not fit its feature bit ({marked})"
        raise ImageError(file.path, message, errno.EINVAL)


def _check_backing(file: HostFile, header: Header) -> None:
    if not header.backing_offset:
        return
    end = header.backing_offset + header.backing_length
    if header.backing_length > MAX_BACKING_NAME or end > min(header.cluster_size, file.size):
        where = f"{header.backing_length} bytes at {header.backing_offset:#x}"
        message = f"the backing file name ({where}) is not in the first cluster"
        raise ImageError(file.path, message, errno.EINVAL)
    header.backing_name = os.fsdecode(file.read_at(header.backing_offset, header.backing_length))
    if "\0" in header.backing_name:
        raise ImageError(file.path, "the backing file name has a NUL byte", errno.EINVAL)


def _check_tables(file: HostFile, header: Header) -> None:
    """Refuse tables that are misplaced, out of the file or larger than QEMU allows."""
    header.size &= -512
    check_extent(file, header, "L1 table", header.l1_offset, header.l1_size * 8, MAX_L1_BYTES)
    table_bytes = header.table_clusters << header.cluster_bits
    check_extent(file, header, "refcount table", header.table_offset, table_bytes, MAX_TABLE_BYTES)
    needed = header.l1_needed(header.size)
    if header.l1_size < needed:
        message = f"L1 table of {header.l1_size} entries, a disk of {header.size} needs {needed}"
        raise ImageError(file.path, message, errno.EINVAL)
    if header.snapshot_count > MAX_SNAPSHOTS:
        message = f"{header.snapshot_count} snapshots, at most {MAX_SNAPSHOTS} are allowed"
        raise ImageError(file.path, message, errno.EFBIG)
    if header.snapshot_count:
        least = header.snapshot_count * 40
        check_extent(file, header, "snapshot table", header.snapshots_offset, least, 1 << 40)


def check_extent(
    file: HostFile, header: Header, what: str, offset: int, length: int, limit: int
) -> None:
    """A metadata table must be aligned, inside the file and no larger than `limit` bytes."""
    if length > limit:
        message = f"{what} of {length} bytes, at most {limit} are allowed"
        raise ImageError(file.path, message, errno.EFBIG)
    if offset % header.cluster_size:
        message = f"{what} at {offset:#x}, expected a multiple of {header.cluster_size:#x}"
        raise ImageError(file.path, message, errno.EINVAL)
    if length and (offset == 0 or offset + length > file.size):
        message = f"{what} at {offset:#x}+{length:#x} lies outside the file of {file.size} bytes"
        raise ImageError(file.path, message, errno.EINVAL)
