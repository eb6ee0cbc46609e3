"""Temporary overlays on any image: snapshot=True."""

from __future__ import annotations

import errno
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.block import Capture, ImageError, OverlayImage, create, open_image

SIZE = 400_000 // 512 * 512


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "disk.img").write_bytes(random.Random(1).randbytes(SIZE))
    return tmp_path / "disk.img"


def opened(path: Path) -> OverlayImage:
    image = open_image(path, snapshot=True)
    assert isinstance(image, OverlayImage)
    return image


def kept(image: OverlayImage) -> Capture:
    """A capture that no longer depends on the image."""
    capture = image.capture()
    return Capture(capture.size, capture.base, list(capture.clusters))


def test_snapshot_option_when_closed_then_all_is_gone(tmp_path: Path, path: Path) -> None:
    create(tmp_path / "disk.qcow2", "qcow2", SIZE)
    for file in (path, tmp_path / "disk.qcow2"):
        before = file.read_bytes()
        image = opened(file)
        image.write(1000, b"gone")
        image.flush()
        assert image.read(1000, 4) == b"gone"
        image.close()
        assert file.read_bytes() == before


def test_capture_when_restored_then_content_and_hash_are_back(path: Path) -> None:
    image = opened(path)
    image.write(100, b"first" * 20_000)
    image.zero(200_000, 150_000)
    content, known, capture = image.read(0, SIZE), image.content_hash(), kept(image)
    image.write(0, b"second" * 50_000)
    assert image.content_hash() != known
    image.restore(capture)
    assert image.read(0, SIZE) == content
    assert image.content_hash() == known
    image.abandon()
    image = opened(path)
    image.restore(capture)
    assert image.read(0, SIZE) == content
    image.close()


def test_capture_when_base_changed_elsewhere_then_refused(path: Path) -> None:
    image = opened(path)
    image.write(100, b"first")
    capture = kept(image)
    image.close()
    image = open_image(path)
    image.write(200_000, b"by another program")
    image.close()
    image = opened(path)
    before = image.read(0, SIZE)
    message = r"changed since it was saved \(1 clusters, the first at 0x30000\)"
    with pytest.raises(ImageError, match=message) as caught:
        image.restore(capture)
    assert caught.value.errno == errno.ESTALE
    assert image.read(0, SIZE) == before
    image.abandon()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 512}, "the disk has 399872 bytes, the saved one 512"),
        ({"clusters": [(1, bytes(65536))]}, "the saved overlay has a cluster at 0x1"),
        ({"clusters": [(0, bytes(100))]}, "the saved overlay has 100 bytes at 0x0"),
        ({"clusters": [(0, bytes(65536))] * 2}, "the saved overlay has a cluster at 0x0"),
        ({"clusters": [(1 << 40, bytes(65536))]}, "a cluster at 0x10000000000"),
        ({"base": b"abc"}, "the saved overlay has a fingerprint that is truncated"),
    ],
)
def test_capture_when_broken_then_refused_and_disk_unchanged(
    path: Path, change: dict[str, object], message: str
) -> None:
    image = opened(path)
    image.write(0, b"now")
    capture = kept(image)
    for name, value in change.items():
        setattr(capture, name, value)
    with pytest.raises(ImageError, match=message):
        image.restore(capture)
    assert image.read(0, 3) == b"now"
    image.abandon()


def test_overlay_when_the_host_disk_is_full_then_errno_and_old_content(path: Path) -> None:
    image = opened(path)
    image.write(0, b"kept")
    before = image.read(0, SIZE)

    def full(*arguments: object) -> None:
        raise ImageError(path, "cannot write its temporary overlay", errno.ENOSPC)

    image._scratch.write = full
    with pytest.raises(ImageError) as caught:
        image.write(100_000, b"new")
    assert caught.value.errno == errno.ENOSPC
    assert image.read(0, SIZE) == before
    image.abandon()


steps = st.tuples(
    st.sampled_from(["write", "zero", "capture", "restore", "discard"]),
    st.integers(0, SIZE - 1),
    st.sampled_from([1, 512, 65536, 150_000]),
)


@settings(max_examples=40)
@given(st.lists(steps, max_size=20))
def test_overlay_when_operated_then_equals_the_model(plan: list[tuple[str, int, int]]) -> None:
    generator = random.Random(2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "disk.img"
        path.write_bytes(bytes(100_000) + generator.randbytes(SIZE - 100_000))
        model, base = bytearray(path.read_bytes()), path.read_bytes()
        saved: tuple[Capture, bytes] | None = None
        image = opened(path)
        for what, offset, length in plan:
            length = min(length, SIZE - offset)
            if what == "write":
                data = generator.randbytes(length)
                image.write(offset, data)
                model[offset : offset + length] = data
            elif what == "zero":
                image.zero(offset, length)
                model[offset : offset + length] = bytes(length)
            elif what == "discard":
                image.discard()
                model[:] = base
            elif what == "capture":
                saved = kept(image), bytes(model)
            elif saved:
                image.restore(saved[0])
                model[:] = saved[1]
            assert image.read(offset, length) == model[offset : offset + length]
        image.close()
        assert path.read_bytes() == base
