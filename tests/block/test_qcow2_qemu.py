"""Images shared with QEMU's tools: what they make we read, what we write they read."""

from __future__ import annotations

import fcntl
import io
import lzma
import os
import random
import struct
import subprocess
from pathlib import Path

import pytest

from gossamer.block import ImageError, Qcow2Image, create, open_image
from tests.waiting import until

MIB = 1 << 20


def opened(path: Path, **options: object) -> Qcow2Image:
    image = open_image(path, **options)
    assert isinstance(image, Qcow2Image)
    return image


@pytest.mark.parametrize(
    "options", ["compat=1.1", "compat=0.10", "lazy_refcounts=on,cluster_size=4k"]
)
def test_writes_when_interleaved_with_qemu_io_then_contents_are_equal(
    tmp_path: Path, judge, qemu_io, options: str
) -> None:
    path = tmp_path / "disk.qcow2"
    assert judge.run("create", "-f", "qcow2", "-o", options, path, "3M").returncode == 0
    model = bytearray(3 * MIB)
    generator = random.Random(7)
    for turn in range(6):
        image = opened(path)
        for _ in range(12):
            offset, length = generator.randrange(3 * MIB - 100_000), generator.randrange(1, 100_000)
            data = generator.randbytes(length)
            image.write(offset, data)
            model[offset : offset + length] = data
        image.close()
        judge.check(path)
        commands = []
        for n in range(6):
            offset, length = generator.randrange(5000) * 512, generator.randrange(1, 100) * 512
            value = turn * 16 + n + 1
            commands.append(f"write -P {value} {offset} {length}")
            model[offset : offset + length] = bytes([value]) * length
        commands.append("write -z 65536 131072")
        model[65536 : 65536 + 131072] = bytes(131072)
        commands.append("discard 1048576 65536")
        model[MIB : MIB + 65536] = bytes(65536)
        qemu_io(path, *commands)
    image = opened(path)
    assert image.read(0, 3 * MIB) == model
    image.close()
    assert judge.content(path) == model


@pytest.mark.parametrize("kind", ["zlib", "zstd"])
def test_compressed_image_when_read_and_overwritten_then_right(
    tmp_path: Path, judge, kind: str
) -> None:
    source, path = tmp_path / "source.img", tmp_path / "disk.qcow2"
    generator = random.Random(8)
    model = bytearray(b"".join(bytes([generator.randrange(4)]) * 3000 for _ in range(700)))
    model += bytes(-len(model) % 512)
    source.write_bytes(model)
    made = judge.run("convert", "-c", "-O", "qcow2", "-o", f"compression_type={kind}", source, path)
    assert made.returncode == 0, made.stderr
    image = opened(path)
    assert image.read(0, image.size) == model
    for _ in range(20):
        offset, data = generator.randrange(len(model) - 9000), generator.randbytes(9000)
        image.write(offset, data)
        model[offset : offset + 9000] = data
    image.create_snapshot("in the middle", [b"state"], vm_clock_ns=0, date_ns=0)
    image.write(0, b"after" * 30000)
    image.flush()
    judge.check(path)
    image.apply_snapshot("in the middle")
    assert image.read(0, image.size) == model
    image.delete_snapshot("in the middle")
    image.close()
    judge.check(path)
    assert judge.content(path) == model


def test_qemu_snapshots_when_read_then_as_qemu_lists_them(shared: Path, tmp_path: Path) -> None:
    path = tmp_path / "snap.qcow2"
    path.write_bytes(lzma.decompress((shared / "streams" / "snap.qcow2.xz").read_bytes()))
    image = opened(path)
    names = [(s.id, s.name, s.vmstate_size, s.disk_size, s.icount) for s in image.snapshots]
    assert names == [
        ("1", "snap1", 3591035, 32 * MIB, None),
        ("2", "second", 3591035, 32 * MIB, None),
    ]
    with image.open_vmstate("second") as state:
        assert state.read(8) == b"QEVM\0\0\0\3"
        state.seek(-1, io.SEEK_END)
        assert len(state.read()) == 1
        assert state.tell() == 3591035
    image.close()


def test_snapshots_when_qemu_img_handles_ours_then_both_agree(new_qcow2, judge) -> None:
    image = new_qcow2()
    image.write(0, b"one" * 10000)
    image.create_snapshot("first", [bytes(range(256)) * 5000], vm_clock_ns=61_000_000_000,
                          date_ns=1_700_000_000_123_456_000, icount=77)  # fmt: skip
    image.write(0, b"two" * 10000)
    image.close()
    listed = judge.run("snapshot", "-l", image.path).stdout
    assert "first" in listed
    assert "1.22 MiB" in listed
    assert "00:01:01.000" in listed
    assert judge.run("snapshot", "-c", "theirs", image.path).returncode == 0
    assert judge.run("snapshot", "-a", "first", image.path).returncode == 0
    judge.check(image.path)
    image = opened(image.path)
    assert image.read(0, 6) == b"oneone"
    with image.open_vmstate("first") as state:
        assert state.read() == bytes(range(256)) * 5000
    image.write(3, b"XYZ")
    image.apply_snapshot("theirs")
    assert image.read(0, 6) == b"twotwo"
    image.create_snapshot("third", None, vm_clock_ns=0, date_ns=0)
    image.write(0, b"three")
    image.delete_snapshot("first")
    image.close()
    judge.check(image.path)
    assert judge.run("snapshot", "-d", "theirs", image.path).returncode == 0
    judge.check(image.path)
    assert judge.content(image.path, "-l", "snapshot.name=third").startswith(b"twotwo")
    assert judge.content(image.path).startswith(b"threeotwo")


def test_qemu_when_it_loads_our_snapshot_then_runs_and_saves_again(
    shared: Path, qemu: Path, tmp_path: Path, judge
) -> None:
    path = tmp_path / "snap.qcow2"
    path.write_bytes(lzma.decompress((shared / "streams" / "snap.qcow2.xz").read_bytes()))
    image = opened(path)
    with image.open_vmstate("snap1") as state:
        image.create_snapshot("ours", state.read().splitlines(keepends=True), date_ns=0,
                              vm_clock_ns=image.snapshots[0].vm_clock_ns)  # fmt: skip
    image.write(4096, b"later")
    image.close()
    command = [qemu, "-M", "g3beige", "-m", "128", "-hda", path, "-display", "none"]
    command += ["-serial", "none", "-monitor", "stdio", "-loadvm", "ours"]
    with subprocess.Popen(
        list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_until_locked(path)
            with pytest.raises(ImageError, match="the image is in use: another process"):
                open_image(path)
            output, _ = process.communicate("info status\nsavevm theirs\nquit\n", timeout=900)
        finally:
            process.kill()
    assert "VM status: running" in output
    judge.check(path)
    image = opened(path)
    assert [s.name for s in image.snapshots] == ["snap1", "second", "ours", "theirs"]
    assert image.read(4096, 5) == bytes(5)
    image.apply_snapshot("theirs")
    image.delete_snapshot("ours")
    image.close()
    judge.check(path)


def wait_until_locked(path: Path) -> None:
    """Until QEMU holds the image; asks without taking the lock, which QEMU may want just now."""
    with path.open("rb+") as image:

        def locked() -> bool:
            wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            found = fcntl.fcntl(image, fcntl.F_OFD_GETLK, wanted)
            return struct.unpack("hhqqi4x", found)[0] != fcntl.F_UNLCK

        until(locked, saw=lambda: "QEMU has not opened its disk")


def test_dirty_image_when_opened_for_writing_then_refcounts_are_counted_anew(
    new_qcow2, judge
) -> None:
    image = new_qcow2()
    image.write(0, os.urandom(300_000))
    image.create_snapshot("s", [b"state" * 50000], vm_clock_ns=0, date_ns=0)
    image.write(100_000, os.urandom(100_000))
    content = image.read(0, image.size)
    block = image.refcounts.table[0]
    image.close()
    raw = bytearray(image.path.read_bytes())
    raw[79] |= 1  # the dirty bit
    raw[block : block + 65536] = struct.pack(">H", 3) * 32768
    image.path.write_bytes(raw)
    assert judge.run("check", image.path).returncode != 0
    reader = opened(image.path, read_only=True)
    assert reader.read(0, reader.size) == content
    reader.close()
    assert image.path.read_bytes() == raw
    image = opened(image.path)
    assert image.read(0, image.size) == content
    with image.open_vmstate("s") as state:
        assert state.read() == b"state" * 50000
    image.close()
    judge.check(image.path)


def test_chain_when_backing_files_are_qemus_then_reads_as_qemu(
    tmp_path: Path, judge, qemu_io
) -> None:
    (tmp_path / "sub").mkdir()
    base = tmp_path / "sub" / "base.img"
    base.write_bytes(random.Random(9).randbytes(700_000 + 288))
    middle, top = tmp_path / "sub" / "middle.qcow2", tmp_path / "top.qcow2"
    options = ["create", "-f", "qcow2", "-o", "cluster_size=4k"]
    judge.run(*options, "-b", "base.img", "-F", "raw", middle, "2M")
    judge.run(*options, "-b", "sub/middle.qcow2", "-F", "qcow2", top, "3M")
    qemu_io(middle, "write -P 5 0 100k", "write -z 200k 64k")
    image = opened(top)
    assert image.read(0, image.size) == judge.content(top)
    before = middle.read_bytes()
    image.write(50_000, b"mine" * 1000)
    image.zero(300_000, 123_456)
    image.flush()
    assert image.read(0, image.size) == judge.content(top)
    image.close()
    judge.check(top)
    assert middle.read_bytes() == before


def test_created_image_when_qemu_looks_at_it_then_is_what_was_asked(tmp_path: Path, judge) -> None:
    create(tmp_path / "base.qcow2", "qcow2", 10 * MIB)
    create(tmp_path / "top.qcow2", "qcow2", None, "base.qcow2", 4096, refcount_bits=8)
    info = judge.run("info", "--backing-chain", tmp_path / "top.qcow2").stdout
    assert "virtual size: 10 MiB" in info
    assert "cluster_size: 4096" in info
    assert "refcount bits: 8" in info
    assert "backing file format: qcow2" in info
    judge.check(tmp_path / "top.qcow2")


@pytest.mark.parametrize("size", [0, 512, 1 << 40])
def test_created_image_when_of_odd_size_then_clean(new_qcow2, judge, size: int) -> None:
    image = new_qcow2(size)
    if size:
        image.write(size - 512, b"e" * 512)
        assert image.read(size - 512, 512) == b"e" * 512
    image.create_snapshot("s", [b"x"], vm_clock_ns=0, date_ns=0)
    assert len(image.content_hash()) == 32
    image.close()
    judge.check(image.path)
