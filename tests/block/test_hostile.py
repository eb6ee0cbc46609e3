"""Broken and malicious files: one clear line, never a traceback, a hang or a huge allocation."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.block import ImageError, Qcow2Image, create, open_image

SIZE = 1 << 20


def sample(folder: Path) -> bytes:
    """An image with two snapshots and small clusters, so that tables make up much of it."""
    path = folder / "sample.qcow2"
    create(path, "qcow2", SIZE, cluster_size=4096)
    image = open_image(path)
    assert isinstance(image, Qcow2Image)
    generator = random.Random(1)
    for n in range(2):
        for _ in range(4):
            image.write(generator.randrange(SIZE - 9000), generator.randbytes(9000))
        image.zero(generator.randrange(SIZE - 99000), 99000)
        image.create_snapshot(f"s{n}", [generator.randbytes(30000)], vm_clock_ns=0, date_ns=0)
    image.close()
    content = path.read_bytes()
    path.unlink()
    return content


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return sample(tmp_path_factory.mktemp("hostile"))


@pytest.fixture
def patched(good: bytes, tmp_path: Path) -> Callable[..., Path]:
    """The sample with some bytes replaced: patched((offset, format, value), …)."""

    def make(*patches: tuple[int, str, int], length: int | None = None) -> Path:
        content = bytearray(good)
        for offset, kind, value in patches:
            struct.pack_into(">" + kind, content, offset, value)
        path = tmp_path / "broken.qcow2"
        path.write_bytes(content[:length])
        return path

    return make


def u64(content: bytes, offset: int) -> int:
    return int.from_bytes(content[offset : offset + 8], "big")


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ((4, "I", 4), "qcow2 version 4, this build reads 2 and 3"),
        ((20, "I", 8), r"cluster_bits 8, expected 9\.\.21"),
        ((20, "I", 22), r"cluster_bits 22, expected 9\.\.21"),
        ((24, "Q", 1 << 50), "L1 table of 1 entries, a disk of 1125899906842624 needs"),
        ((32, "I", 1), r"encrypted \(AES\), which is not supported"),
        ((32, "I", 2), r"encrypted \(LUKS\), which is not supported"),
        ((36, "I", 0xFFFFFFFF), "L1 table of 34359738360 bytes, at most 33554432 are allowed"),
        ((36, "I", 1 << 21), r"L1 table at 0x\w+\+0x1000000 lies outside the file"),
        ((40, "Q", 4096 * 3 + 8), "L1 table at 0x3008, expected a multiple of 0x1000"),
        ((48, "Q", 1 << 40), r"refcount table at 0x10000000000\+0x\w+ lies outside the file"),
        ((56, "I", 0xFFFFFFFF), "refcount table of 17592186040320 bytes, at most 8388608"),
        ((60, "I", 65537), "65537 snapshots, at most 65536 are allowed"),
        ((60, "I", 60000), r"snapshot table at 0x\w+\+0x249f00 lies outside the file"),
        ((72, "Q", 2), "marked as corrupt; repair it with qemu-img check -r all"),
        ((72, "Q", 4), "keeps its data in an external data file, which is not supported"),
        ((72, "Q", 8), "compression type 0 does not fit its feature bit"),
        ((72, "Q", 16), r"has extended L2 entries \(subclusters\), which is not supported"),
        ((72, "Q", 1 << 40), "unknown incompatible features: bit 40"),
        ((96, "I", 7), r"refcount_order 7, expected 0\.\.6"),
        ((100, "I", 96), r"header length 96, expected a multiple of 8 in 104\.\.4096"),
        ((104, "B", 9), r"compression type 9, this build reads 0 \(zlib\) and 1 \(zstd\)"),
        ((112, "Q", 1 << 32 | 0xFFFF), "header extension 0x1 of 65535 bytes at 0x78 overruns"),
        ((8, "Q", 5000), r"the backing file name \(0 bytes at 0x1388\) is not in the first cl"),
    ],
)
def test_header_when_a_field_is_wrong_then_refused_by_its_name(
    patched, patch: tuple[int, str, int], message: str
) -> None:
    path = patched(patch)
    with pytest.raises(ImageError, match=message) as caught:
        open_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_corrupt_image_when_opened_read_only_then_readable(patched, good: bytes) -> None:
    image = open_image(patched((72, "Q", 2)), read_only=True)
    assert len(image.read(0, SIZE)) == SIZE
    image.close()


@pytest.mark.parametrize("length", [0, 4, 71, 90])
def test_image_when_cut_inside_its_header_then_truncated(patched, length: int) -> None:
    with pytest.raises(ImageError, match=r"truncated: a .*header has \d+ bytes, the file"):
        open_image(patched(length=length), format="qcow2")


def test_l2_table_when_outside_the_file_then_refused(patched, good: bytes) -> None:
    path = patched((u64(good, 40), "Q", 1 << 63 | 1 << 40))
    message = "truncated: its active L1 table leads to an L2 table at 0x10000000000, the file ends"
    for read_only in (True, False):
        with pytest.raises(ImageError, match=message):
            open_image(path, read_only=read_only)


def test_cluster_when_mapped_outside_the_file_then_refused(patched, good: bytes) -> None:
    l2 = u64(good, u64(good, 40)) & 0x00FF_FFFF_FFFF_FE00
    message = f"L2 table at {l2:#x} maps a cluster at 0x[0-9a-f]+, the file ends at {len(good):#x}"
    for entry in (1 << 63 | 1 << 40, 1 << 62 | 1 << 40):  # the second: compressed
        with pytest.raises(ImageError, match=message):
            open_image(patched((l2, "Q", entry)))
    path = patched((l2, "Q", 1 << 40 | 1))
    open_image(path, read_only=True).close()  # reads as zeros: nothing is missing
    with pytest.raises(ImageError, match="guest data at 0x10000000000 is outside the file"):
        open_image(path)


def test_l1_of_snapshot_when_outside_the_file_then_refused(patched, good: bytes) -> None:
    path = patched((u64(good, 64), "Q", 1 << 40))
    for read_only in (True, False):
        with pytest.raises(ImageError, match="L1 table of snapshot 's0' at 0x10000000000"):
            open_image(path, read_only=read_only)


def test_l1_of_snapshot_when_empty_then_its_place_does_not_matter(patched, good: bytes) -> None:
    at = u64(good, 64)
    path = patched((at, "Q", 1 << 63), (at + 8, "I", 0))
    open_image(path, read_only=True).close()
    with pytest.raises(ImageError, match="L1 table of snapshot 's0' has 0 entries"):
        open_image(path)


def test_file_when_cut_while_open_then_io_error(good: bytes, patched) -> None:
    path = patched()
    image = open_image(path)
    image.file.resize(4096)
    for use in (lambda: image.read(0, SIZE), lambda: image.write(SIZE // 2, b"x")):
        with pytest.raises(ImageError, match="outside the file"):
            use()
    image.abandon()


@pytest.mark.parametrize("options", [[], ["-c"]])
def test_image_when_cut_then_refused_before_anything_starts(
    tmp_path: Path, judge, options: list[str]
) -> None:
    """As written by qemu-img; a file that ends inside its last cluster is whole for it too."""
    raw, path = tmp_path / "raw", tmp_path / "cut.qcow2"
    raw.write_bytes(random.Random(5).randbytes(SIZE))
    assert judge.run("convert", "-O", "qcow2", *options, raw, path).returncode == 0
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    open_image(path).abandon()
    for length in (len(whole) - 65536, len(whole) // 2, 0x50001):
        path.write_bytes(whole[:length])
        for read_only in (True, False):
            with pytest.raises(ImageError, match=r"truncated: its .* the file ends at|outside the"):
                open_image(path, read_only=read_only)
        assert path.read_bytes() == whole[:length]


def test_cluster_when_mapped_onto_metadata_then_never_written(patched, good: bytes) -> None:
    l1 = u64(good, 40)
    l2 = u64(good, l1) & 0x00FF_FFFF_FFFF_FE00
    path = patched((l2, "Q", 1 << 63 | l1))
    before = path.read_bytes()
    with pytest.raises(ImageError, match=f"{l1:#x} is both metadata and guest data"):
        open_image(path)
    assert path.read_bytes() == before


def test_refcounts_when_two_entries_share_a_block_then_refused(patched, good: bytes) -> None:
    table = u64(good, 48)
    with pytest.raises(ImageError, match="two refcount table entries point to one block"):
        open_image(patched((table + 8, "Q", u64(good, table))))


def test_refcounts_when_metadata_is_counted_free_then_never_overwritten(
    patched, good: bytes, judge
) -> None:
    block = u64(good, u64(good, 48))
    path = patched(*[(block + 2 * n, "H", 0) for n in range(1, 200)])
    image = open_image(path)  # counted anew
    assert isinstance(image, Qcow2Image)
    image.write(0, b"x" * SIZE)
    image.apply_snapshot("s0")
    image.close()
    judge.check(path, leaks=True)


def exercise(path: Path, seed: int) -> None:
    """Everything a machine might do with an image; ImageError is the only way out."""
    for read_only in (True, False):
        try:
            image = open_image(path, format="qcow2", read_only=read_only)
        except ImageError as error:
            check_line(error)
            continue
        assert isinstance(image, Qcow2Image)
        try:
            for operation in operations(image, random.Random(seed)):
                try:
                    operation()
                except ImageError as error:
                    check_line(error)
        finally:
            image.abandon()


def check_line(error: ImageError) -> None:
    assert "\n" not in str(error)
    assert error.errno > 0


def operations(image: Qcow2Image, generator: random.Random) -> list[Callable[[], object]]:
    return [
        lambda: image.read(0, min(image.size, SIZE)),
        lambda: [image.open_vmstate(s.id).read(100_000) for s in image.snapshots],
        lambda: image.write(generator.randrange(SIZE - 9000), bytes(range(250)) * 30),
        lambda: image.zero(5000, 50000),
        image.flush,
        lambda: image.create_snapshot("n", [b"x" * 9000], vm_clock_ns=0, date_ns=0),
        lambda: image.write(0, b"y" * 9000),
        lambda: image.apply_snapshot("1"),
        lambda: image.delete_snapshot("2"),
        image.close,
    ]


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(0, 120), st.integers(4096, 20 * 4096), st.integers(0, 300000)),
            st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFF]),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 99),
)
def test_image_when_bytes_are_changed_then_only_image_errors(
    good: bytes, tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], seed: int
) -> None:
    content = bytearray(good)
    for offset, value in changes:
        if offset < len(content):
            content[offset] = value
    path = tmp_path_factory.getbasetemp() / "fuzzed.qcow2"
    path.write_bytes(content)
    exercise(path, seed)


def test_image_when_cut_anywhere_then_only_image_errors(good: bytes, tmp_path: Path) -> None:
    generator = random.Random(3)
    path = tmp_path / "cut.qcow2"
    for _ in range(25):
        path.write_bytes(good[: generator.randrange(len(good))])
        exercise(path, 1)
