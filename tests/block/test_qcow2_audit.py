"""Cases 20 and 27: qcow2 images whose reference counts lie, or whose snapshots share a table."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gossamer.block import ImageError, Qcow2Image, open_image
from gossamer.block.hostfile import HostFile
from gossamer.block.qcow2.audit import mentions
from gossamer.block.qcow2.entries import COPIED

SIZE = 2 << 20
CLUSTER = 4096


def made(make: Callable[..., Qcow2Image], **options: object) -> tuple[Path, bytes]:
    """An image with data, a snapshot that shares some of it, and its content."""
    image = make(SIZE, cluster_size=CLUSTER, **options)
    generator = random.Random(1)
    image.write(0, generator.randbytes(600_000))
    image.create_snapshot("old", [b"state" * 20_000], vm_clock_ns=0, date_ns=0)
    image.write(100_000, generator.randbytes(200_000))
    content = image.read(0, SIZE)
    image.close()
    return image.path, content


def patch_counts(path: Path, change: Callable[[int, int], int]) -> int:
    """Write other 16-bit counts: `change(cluster, count)`; how many differ."""
    raw = bytearray(path.read_bytes())
    table = struct.unpack_from(">Q", raw, 48)[0]
    changed = 0
    for n in range(CLUSTER // 8):
        block = struct.unpack_from(">Q", raw, table + 8 * n)[0]
        for m in range(CLUSTER // 2 if block else 0):
            count = struct.unpack_from(">H", raw, block + 2 * m)[0]
            new = change(n * (CLUSTER // 2) + m, count)
            changed += new != count
            struct.pack_into(">H", raw, block + 2 * m, new)
    path.write_bytes(raw)
    return changed


def old_state(path: Path) -> tuple[bytes, bytes]:
    """The old snapshot's disk and machine."""
    image = open_image(path)
    assert isinstance(image, Qcow2Image)
    with image.open_vmstate("old") as state:
        machine = state.read()
    image.apply_snapshot("old")
    content = image.read(0, SIZE)
    image.close()
    return content, machine


def data_clusters(path: Path) -> set[int]:
    """Where the disk and its snapshot have data and tables; not the refcount structures."""
    image = open_image(path, read_only=True)
    assert isinstance(image, Qcow2Image)
    found = {
        cluster for one in mentions(image) for cluster in one.clusters.tolist() if not one.metadata
    }
    image.close()
    return found


@pytest.mark.parametrize("kind", ["all data free", "one data free", "shared counted once"])
def test_case_27_counts_that_are_too_low_are_counted_anew(new_qcow2, judge, kind: str) -> None:
    path, content = made(new_qcow2)
    old = old_state_of_copy(path)
    data = sorted(data_clusters(path))
    changes: dict[str, Callable[[int, int], int]] = {
        "all data free": lambda cluster, count: 0 if cluster in data else count,
        "one data free": lambda cluster, count: 0 if cluster == data[7] else count,
        "shared counted once": lambda cluster, count: min(count, 1),
    }
    assert patch_counts(path, changes[kind])
    image = open_image(path)
    image.write(1 << 20, b"\x22" * 500_000)
    assert image.read(0, 1 << 20) == content[: 1 << 20]
    image.close()
    judge.check(path, leaks=True)
    assert old_state(path) == old


def old_state_of_copy(path: Path) -> tuple[bytes, bytes]:
    copy = path.with_suffix(".copy")
    copy.write_bytes(path.read_bytes())
    return old_state(copy)


def test_case_27_copied_flag_on_a_shared_cluster_is_not_believed(new_qcow2, judge) -> None:
    path, _ = made(new_qcow2)
    old = old_state_of_copy(path)
    raw = bytearray(path.read_bytes())
    l1 = struct.unpack_from(">Q", raw, 40)[0]
    l2 = struct.unpack_from(">Q", raw, l1)[0] & ~COPIED
    entries = np.frombuffer(raw, ">u8", CLUSTER // 8, l2).astype(np.uint64)
    lies = (entries != 0) & ((entries & np.uint64(COPIED)) == 0)
    assert lies.any()
    raw[l2 : l2 + CLUSTER] = (
        np.where(lies, entries | np.uint64(COPIED), entries).astype(">u8").tobytes()
    )
    path.write_bytes(raw)
    image = open_image(path)
    image.write(0, b"\x33" * 600_000)
    image.close()
    judge.check(path, leaks=True)
    assert old_state(path) == old


def test_case_27_data_on_metadata_is_refused(new_qcow2) -> None:
    path, _ = made(new_qcow2)
    raw = bytearray(path.read_bytes())
    l1 = struct.unpack_from(">Q", raw, 40)[0]
    l2 = struct.unpack_from(">Q", raw, l1)[0] & ~COPIED
    struct.pack_into(">Q", raw, l2, l1 | COPIED)
    path.write_bytes(raw)
    with pytest.raises(ImageError, match="is both metadata and guest data; qemu-img check"):
        open_image(path)
    assert path.read_bytes() == raw
    open_image(path, read_only=True).close()


def test_counts_that_are_right_or_too_high_then_the_file_is_left_alone(new_qcow2) -> None:
    path, _ = made(new_qcow2)
    for change in (lambda _, count: count, lambda _, count: count and count + 1):
        patch_counts(path, change)
        before = path.read_bytes()
        open_image(path).close()
        assert path.read_bytes() == before


@pytest.mark.parametrize("format", ["v2", "narrow", "compressed"])
def test_ordinary_images_then_no_repair(new_qcow2, judge, monkeypatch, format: str) -> None:
    options = {"v2": {"version": 2}, "narrow": {"refcount_bits": 2}, "compressed": {}}[format]
    if format == "narrow":
        image = new_qcow2(SIZE, cluster_size=CLUSTER, **options)
        image.write(0, b"x" * 100_000)
        image.create_snapshot("old", vm_clock_ns=0, date_ns=0)
        image.close()
        path = image.path
    else:
        path, _ = made(new_qcow2, **options)
    if format == "compressed":
        target = path.with_suffix(".packed")
        done = judge.run("convert", "-c", "-O", "qcow2", path, target)
        assert done.returncode == 0
        path = target

    def refuse(_image: Qcow2Image) -> None:
        raise AssertionError("repaired")

    monkeypatch.setattr("gossamer.block.qcow2.image.rebuild", refuse)
    open_image(path).close()


def test_case_20_thousands_of_snapshots_that_share_a_table_open_in_bounded_time(
    new_qcow2, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the shared table of 128 KiB once for each would be 8 GiB."""
    count, entries = 65_536, 1 << 14
    image = new_qcow2(SIZE, refcount_bits=32)
    image.write(0, b"data" * 1000)
    image.close()
    entry = struct.pack(">QIHHIIQII", 1 << 24, entries, 1, 1, 0, 0, 0, 0, 16)
    entry += struct.pack(">QQ", 0, SIZE) + b"1" + b"n"
    entry += bytes(-len(entry) % 8)
    with image.path.open("r+b") as file:
        file.seek(60)
        file.write(struct.pack(">IQ", count, 1 << 25))
        file.seek(1 << 25)
        file.write(entry * count)
        file.truncate(1 << 26)
    bytes_read = 0
    real = HostFile.read_at

    def read_at(self: HostFile, offset: int, length: int) -> bytes:
        nonlocal bytes_read
        bytes_read += length
        return real(self, offset, length)

    monkeypatch.setattr(HostFile, "read_at", read_at)
    image = open_image(image.path)
    assert len(image.snapshots) == count
    image.close()
    assert bytes_read < 256 << 20
