"""Making an empty qcow2 file."""

from __future__ import annotations

import errno
import os
import struct

from gossamer.base.late import np
from gossamer.block.errors import ImageError
from gossamer.block.hostfile import HostFile
from gossamer.block.qcow2 import header as headers
from gossamer.block.qcow2.header import Header
from gossamer.block.qcow2.refcounts import Refcounts


def write_empty(
    file: HostFile,
    size: int,
    *,
    cluster_size: int = 65536,
    version: int = 3,
    refcount_bits: int = 16,
    backing: tuple[str, str] | None = None,
) -> None:
    """Fill the empty `file` with an image of `size` bytes; `backing` is (name, format)."""
    header = _header(file, size, cluster_size, version, refcount_bits)
    extensions = _set_backing(file, header, *backing) if backing else struct.pack(">II", 0, 0)
    counts = Refcounts(file, header)
    counts.add(np.array([0]), counting=True)
    counts.place_all()
    header.l1_size = header.l1_needed(size)
    if header.l1_size:
        clusters = -(-header.l1_size * 8 // cluster_size)
        header.l1_offset = counts.allocate_table(clusters) << header.cluster_bits
        file.resize(max(file.size, header.l1_offset + clusters * cluster_size))
    place = counts.relocate([])
    counts.write_relocated(place)
    header.table_offset, header.table_clusters = place
    start = header.pack()
    start += bytes(header.length - len(start)) + extensions
    file.write_at(0, start, bytes(cluster_size - len(start)))
    file.sync()


def _header(file: HostFile, size: int, cluster_size: int, version: int, bits: int) -> Header:
    smallest, largest = 1 << headers.MIN_CLUSTER_BITS, 1 << headers.MAX_CLUSTER_BITS
    if cluster_size & (cluster_size - 1) or not smallest <= cluster_size <= largest:
        message = f"cluster size {cluster_size}, expected a power of two in {smallest}..{largest}"
        raise ImageError(file.path, message, errno.EINVAL)
    if version not in (2, 3) or bits not in (1, 2, 4, 8, 16, 32, 64):
        message = f"version {version} with refcounts of {bits} bits, expected 2 or 3, 1..64"
        raise ImageError(file.path, message, errno.EINVAL)
    if version == 2 and bits != 16:
        message = f"refcounts of {bits} bits, version 2 has 16"
        raise ImageError(file.path, message, errno.EINVAL)
    header = Header(version, size, cluster_bits=cluster_size.bit_length() - 1)
    header.refcount_order = bits.bit_length() - 1
    header.length = headers.V2_LENGTH if version == 2 else headers.FULL_LENGTH
    most = headers.MAX_L1_BYTES // 8 * header.l1_span
    if not 0 <= size <= most or size % 512:
        message = f"size {size}, expected a multiple of 512 up to {most} for this cluster size"
        raise ImageError(file.path, message, errno.EFBIG)
    return header


def _set_backing(file: HostFile, header: Header, name: str, image_format: str) -> bytes:
    raw_name, raw_format = os.fsencode(name), os.fsencode(image_format)
    padded = raw_format + bytes(-len(raw_format) % 8)
    extensions = struct.pack(">II", headers.EXT_BACKING_FORMAT, len(raw_format)) + padded
    extensions += struct.pack(">II", headers.EXT_END, 0)
    header.backing_offset = header.length + len(extensions)
    header.backing_length = len(raw_name)
    room = header.cluster_size - header.backing_offset
    if not raw_name or len(raw_name) > min(headers.MAX_BACKING_NAME, room):
        message = f"a backing file name of {len(raw_name)} bytes does not fit the first cluster"
        raise ImageError(file.path, message, errno.ENAMETOOLONG)
    return extensions + raw_name
