"""A qcow2 image against a bytearray: any sequence of operations, any geometry."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gossamer.block import Qcow2Image, create, open_image

SIZE = 600 * 1024 + 512  # not a multiple of any cluster size

offsets = st.integers(0, SIZE - 1)
lengths = st.sampled_from([1, 511, 512, 4096, 65536, 70000, 200000])
steps = st.one_of(
    st.tuples(st.sampled_from(["write", "zero", "read"]), offsets, lengths),
    st.tuples(st.sampled_from(["flush", "reopen", "snapshot"]), st.just(0), st.just(0)),
    st.tuples(st.sampled_from(["apply", "delete"]), st.integers(0, 5), st.just(0)),
)


class Pair:
    """An image and its model; snapshots as (id, content, vmstate)."""

    def __init__(self, path: Path, backing: bytes, **options: object) -> None:
        self.path = path
        name = None
        if backing:
            (path.parent / "base.img").write_bytes(backing)
            name = "base.img"
        create(path, "qcow2", SIZE, name, backing_format="raw" if name else None, **options)
        self.model = bytearray(backing.ljust(SIZE, b"\0"))
        self.saved: list[tuple[str, bytes, bytes]] = []
        self.random = random.Random(1)
        # Each snapshot may refer to a cluster once, beside the disk itself.
        self.most = min(3, (1 << int(str(options["refcount_bits"]))) - 2)
        self.open()

    def open(self) -> None:
        image = open_image(self.path)
        assert isinstance(image, Qcow2Image)
        self.image = image

    def do(self, what: str, offset: int, length: int) -> None:
        length = min(length, SIZE - offset)
        if what == "write":
            data = self.random.randbytes(length)
            self.image.write(offset, data)
            self.model[offset : offset + length] = data
        elif what == "zero":
            self.image.zero(offset, length)
            self.model[offset : offset + length] = bytes(length)
        elif what == "read":
            assert self.image.read(offset, length) == self.model[offset : offset + length]
        elif what == "flush":
            self.image.flush()
        elif what == "reopen":
            self.image.close()
            self.open()
        elif what == "snapshot" and len(self.saved) < self.most:
            state = self.random.randbytes(self.random.randrange(150000))
            name = f"s{self.random.random()}"
            made = self.image.create_snapshot(name, [state], vm_clock_ns=1, date_ns=2)
            self.saved.append((made.id, bytes(self.model), state))
        elif what in ("apply", "delete") and self.saved:
            at = offset % len(self.saved)
            number, content, _ = self.saved[at]
            if what == "apply":
                self.image.apply_snapshot(number)
                self.model[:] = content
            else:
                self.image.delete_snapshot(number)
                del self.saved[at]

    def compare(self) -> None:
        assert self.image.read(0, SIZE) == self.model
        for number, _, state in self.saved:
            if state:
                with self.image.open_vmstate(number) as reader:
                    assert reader.read() == state
        known = self.image.content_hash()
        self.image.close()
        self.open()
        assert self.image.content_hash() == known
        assert self.image.read(0, SIZE) == self.model
        self.image.close()


@settings(max_examples=25)
@given(
    st.lists(steps, max_size=25),
    st.sampled_from([(512, 16, 3), (4096, 64, 3), (65536, 2, 3), (65536, 16, 2), (1024, 8, 3)]),
    st.booleans(),
)
@example(
    [("write", 0, 1), ("snapshot", 0, 0), ("snapshot", 0, 0), ("apply", 0, 0)], (65536, 2, 3), False
)
def test_image_when_operated_then_equals_the_model(
    plan: list[tuple[str, int, int]], geometry: tuple[int, int, int], has_backing: bool
) -> None:
    cluster_size, bits, version = geometry
    backing = random.Random(2).randbytes(300_000) if has_backing else b""
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(
            Path(folder) / "disk.qcow2",
            backing,
            cluster_size=cluster_size,
            refcount_bits=bits,
            version=version,
        )
        for step in plan:
            pair.do(*step)
        pair.compare()


@pytest.mark.parametrize(
    "geometry",
    [(512, 64, 3), (512, 1, 3), (2048, 4, 3), (65536, 16, 2), (65536, 32, 3), (2 << 20, 16, 3)],
    ids=str,
)
def test_qemu_img_when_checking_between_operations_then_finds_nothing(
    tmp_path: Path, judge, geometry: tuple[int, int, int]
) -> None:
    cluster_size, bits, version = geometry
    backing = random.Random(2).randbytes(200_000)
    pair = Pair(
        tmp_path / "disk.qcow2",
        backing,
        cluster_size=cluster_size,
        refcount_bits=bits,
        version=version,
    )
    generator = random.Random(3)
    kinds = ["write", "write", "write", "zero", "flush"]
    kinds += ["snapshot", "snapshot", "apply", "delete"] if bits > 1 else []
    for step in range(60):
        length = generator.choice([1, 9000, 70000])
        pair.do(generator.choice(kinds), generator.randrange(SIZE), length)
        if step % 6 == 0:
            pair.image.flush()
            judge.check(pair.path)
    pair.image.flush()
    judge.check(pair.path)
    assert judge.content(pair.path) == pair.model
    for number, content, _ in pair.saved:
        options = ("-l", f"snapshot.id={number}")
        assert judge.content(pair.path, *options) == content
    pair.compare()
    judge.check(pair.path)
