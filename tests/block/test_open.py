"""Opening and creating by name: formats, backing chains, locks, what is refused."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from gossamer.block import Image, ImageError, Qcow2Image, create, open_image

MIB = 1 << 20


def qcow2(path: Path, backing: str, backing_format: str = "raw") -> Path:
    """An image whose backing file need not exist."""
    name = "stand-in".ljust(len(backing), "_")
    (path.parent / name).unlink(missing_ok=True)
    create(path.parent / name, backing_format, 512)
    create(path, "qcow2", MIB, name)
    content = bytearray(path.read_bytes())
    offset, _ = struct.unpack_from(">QI", content, 8)
    content[offset : offset + len(name)] = backing.ljust(len(name), "\0").encode()
    struct.pack_into(">I", content, 16, len(backing))
    path.write_bytes(content)
    return path


def test_image_when_opened_then_is_an_image(tmp_path: Path) -> None:
    for name in ("raw", "qcow2"):
        create(tmp_path / name, name, MIB + 1)
        image = open_image(tmp_path / name)
        assert isinstance(image, Image)
        assert (image.format, image.size, image.read_only) == (name, MIB + 512, False)
        image.close()
        image.close()
        with pytest.raises(ImageError, match="the image is closed"):
            image.read(0, 1)


def test_content_hash_when_formats_differ_then_same(tmp_path: Path) -> None:
    hashes = []
    for name in ("raw", "qcow2"):
        create(tmp_path / name, name, 3 * MIB)
        image = open_image(tmp_path / name)
        empty = image.content_hash()
        image.write(100_000, b"data" * 20_000)
        image.write(2 * MIB, bytes(5000))
        written = image.content_hash()
        image.zero(90_000, 200_000)
        assert image.content_hash() == empty != written
        image.write(100_000, b"data" * 20_000)
        assert image.content_hash() == written
        hashes.append((empty, written))
        image.close()
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("snapshot", [False, True])
def test_range_when_outside_the_disk_then_refused(tmp_path: Path, snapshot: bool) -> None:
    create(tmp_path / "a", "qcow2", MIB)
    image = open_image(tmp_path / "a", snapshot=snapshot)
    for offset, length in ((MIB, 1), (-1, 1), (MIB - 1, 2), (0, -1)):
        with pytest.raises(ImageError, match="lie outside the disk of 1048576 bytes"):
            image.read(offset, length)
    with pytest.raises(ImageError, match="bytes 0x100000\\+0x1 lie outside"):
        image.write(MIB, b"x")
    assert image.read(MIB, 0) == b""
    image.close()


def test_missing_folder_and_pipe_then_one_line(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot open: No such file or directory") as caught:
        open_image(tmp_path / "none")
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(ImageError, match="neither a file nor a block device"):
        open_image(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="neither a file nor a block device"):
        open_image(tmp_path / "pipe")


def test_read_only_when_written_then_refused(tmp_path: Path) -> None:
    for name in ("raw", "qcow2"):
        create(tmp_path / name, name, MIB)
        before = (tmp_path / name).read_bytes()
        image = open_image(tmp_path / name, read_only=True)
        with pytest.raises(ImageError, match="the image is read-only") as caught:
            image.write(0, b"x")
        assert caught.value.errno == errno.EROFS
        with pytest.raises(ImageError, match="the image is read-only"):
            image.zero(0, 512)
        image.close()
        assert (tmp_path / name).read_bytes() == before


def test_file_when_not_writable_then_says_open_it_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(tmp_path / "a", "raw", MIB)
    real = os.open

    def denied(path: Path, flags: int, *more: int) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, flags, *more)

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(ImageError, match="cannot be written by this user"):
        open_image(tmp_path / "a")
    open_image(tmp_path / "a", read_only=True).close()


@pytest.mark.parametrize(
    ("start", "name"), [(b"KDMV", "vmdk"), (b"QFI\xfb\0\0\0\1", "qcow"), (b"vhdxfile", "vhdx")]
)
def test_other_formats_then_named(tmp_path: Path, start: bytes, name: str) -> None:
    (tmp_path / "a").write_bytes(start.ljust(4096, b"\0"))
    with pytest.raises(ImageError, match=f"format '{name}', this build reads raw and qcow2"):
        open_image(tmp_path / "a")


def test_probed_raw_when_guest_writes_a_magic_then_refused(tmp_path: Path) -> None:
    create(tmp_path / "a", "raw", MIB)
    image = open_image(tmp_path / "a")
    with pytest.raises(ImageError, match="say format=raw to allow that") as caught:
        image.write(0, b"QFI\xfb\0\0\0\3".ljust(512, b"\0"))
    assert caught.value.errno == errno.EPERM
    image.close()
    image = open_image(tmp_path / "a", format="raw")
    image.write(0, b"QFI\xfb")
    image.close()
    assert (tmp_path / "a").read_bytes()[:4] == b"QFI\xfb"


def test_chain_when_a_loop_then_refused(tmp_path: Path) -> None:
    qcow2(tmp_path / "one", "two", "qcow2")
    qcow2(tmp_path / "two", "./one", "qcow2")
    qcow2(tmp_path / "self", "self", "qcow2")
    for name in ("one", "self"):
        for read_only in (True, False):
            message = "its chain of backing files comes back to"
            with pytest.raises(ImageError, match=message) as caught:
                open_image(tmp_path / name, read_only=read_only)
            assert caught.value.errno == errno.ELOOP


def test_backing_when_missing_or_remote_then_both_files_named(tmp_path: Path) -> None:
    path = qcow2(tmp_path / "top", "gone.img")
    with pytest.raises(ImageError, match=r"top: backing file .*gone\.img: cannot open: No"):
        open_image(path)
    path = qcow2(tmp_path / "far", "nbd://host/export")
    with pytest.raises(ImageError, match="needs protocol 'nbd', only files work"):
        open_image(path)


def test_backing_when_open_for_writing_then_in_use(tmp_path: Path) -> None:
    create(tmp_path / "base", "qcow2", MIB)
    create(tmp_path / "top", "qcow2", None, "base")
    base = open_image(tmp_path / "base")
    with pytest.raises(ImageError, match=r"top: backing file .*base: the image is in use: this"):
        open_image(tmp_path / "top")
    base.close()
    top, second = open_image(tmp_path / "top"), open_image(tmp_path / "base", read_only=True)
    with pytest.raises(ImageError, match="the image is in use") as caught:
        open_image(tmp_path / "base")
    assert caught.value.errno == errno.EBUSY
    second.close()
    top.close()
    open_image(tmp_path / "base").close()


def test_lock_when_held_by_us_then_qemu_refuses(tmp_path: Path, judge) -> None:
    for name in ("raw", "qcow2"):
        path = tmp_path / name
        create(path, name, MIB)
        image = open_image(path)
        ran = judge.run("resize", "-f", name, path, "2M")
        assert 'Failed to get "write" lock' in ran.stderr
        if name == "qcow2":  # of raw images QEMU's readers share writing
            ran = judge.run("info", "-f", name, path)
            assert 'Failed to get shared "write" lock' in ran.stderr
        image.close()
        image = open_image(path, read_only=True)
        assert judge.run("info", "-f", name, path).returncode == 0
        ran = judge.run("resize", "-f", name, path, "2M")
        assert 'Failed to get "write" lock' in ran.stderr
        image.close()
        assert judge.run("resize", "-f", name, path, "2M").returncode == 0


@pytest.mark.parametrize("name", ["raw", "qcow2"])
def test_image_when_given_twice_then_says_so(tmp_path: Path, name: str) -> None:
    create(tmp_path / name, name, MIB)
    (tmp_path / "link").symlink_to(name)
    message = "the image is in use: this very process has it open already; is it given twice"
    image = open_image(tmp_path / name)
    for second in (name, "link"):
        with pytest.raises(ImageError, match=message) as caught:
            open_image(tmp_path / second)
        assert caught.value.errno == errno.EBUSY
    image.close()
    open_image(tmp_path / name).close()


def test_lock_when_its_holder_dies_then_free_again(tmp_path: Path) -> None:
    create(tmp_path / "a", "qcow2", MIB)
    script = "import sys; from gossamer.block import open_image; i = open_image(sys.argv[1]); "
    script += "print('open', flush=True); sys.stdin.read()"
    source = Path(sys.modules["gossamer"].__file__ or "").parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "a")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(source)},
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(ImageError, match="the image is in use: another process"):
            open_image(tmp_path / "a")
        holder.kill()
    open_image(tmp_path / "a").close()


def test_create_when_it_cannot_then_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    create(tmp_path / "a", "raw", MIB)
    with pytest.raises(ImageError, match="cannot create: File exists"):
        create(tmp_path / "a", "qcow2", MIB)
    wrong = [
        (("qcow2", MIB, None, 1000), "cluster size 1000, expected a power of two in 512..2097152"),
        (("qcow2", 1 << 50, None, 512), "expected a multiple of 512 up to 137438953472 for this"),
        (("qcow2", None), "size None, expected a number of bytes"),
        (("raw", MIB, "a"), "raw has no backing files, qcow2 has"),
        (("vdi", MIB), "format 'vdi', this build reads raw and qcow2"),
    ]
    for arguments, message in wrong:
        with pytest.raises(ImageError, match=message):
            create(tmp_path / "b", *arguments)
        assert not (tmp_path / "b").exists()


def test_bitmaps_when_opened_for_writing_then_refused(tmp_path: Path, judge) -> None:
    create(tmp_path / "a", "qcow2", MIB)
    assert judge.run("bitmap", "--add", tmp_path / "a", "b0").returncode == 0
    with pytest.raises(ImageError, match="has 1 persistent bitmaps, which writing would inval"):
        open_image(tmp_path / "a")
    open_image(tmp_path / "a", read_only=True).close()
    assert judge.run("bitmap", "--remove", tmp_path / "a", "b0").returncode == 0
    open_image(tmp_path / "a").close()


def test_autoclear_features_when_written_then_cleared(tmp_path: Path, judge) -> None:
    path = tmp_path / "a"
    create(path, "qcow2", MIB)
    content = bytearray(path.read_bytes())
    content[88] = 0x80  # autoclear bit 63, known to no program
    path.write_bytes(content)
    image = open_image(path)
    image.read(0, 512)
    assert path.read_bytes()[88] == 0x80
    image.write(0, b"x")
    assert path.read_bytes()[88] == 0
    image.close()
    judge.check(path)


def test_snapshot_names_when_wrong_then_refused(new_qcow2) -> None:
    image: Qcow2Image = new_qcow2(MIB)
    image.create_snapshot("one", None, vm_clock_ns=0, date_ns=0)
    with pytest.raises(ImageError, match="there is a snapshot 'one' already"):
        image.create_snapshot("one", None, vm_clock_ns=0, date_ns=0)
    for name in ("", "x" * 256, "a\0b"):
        with pytest.raises(ImageError, match="a snapshot name has 1 to 255 bytes and no NUL"):
            image.create_snapshot(name, None, vm_clock_ns=0, date_ns=0)
    for use in (image.apply_snapshot, image.delete_snapshot, image.open_vmstate):
        with pytest.raises(ImageError, match="no snapshot 'two'; there are: 'one'"):
            use("two")
    with pytest.raises(ImageError, match="snapshot 'one' has no machine state"):
        image.open_vmstate("one")


def test_snapshot_when_refcounts_are_too_narrow_then_refused(new_qcow2) -> None:
    image: Qcow2Image = new_qcow2(MIB, refcount_bits=1)
    image.write(0, b"x")
    with pytest.raises(ImageError, match="2 references, refcounts of 1 bits hold 1") as caught:
        image.create_snapshot("one", [b"state"], vm_clock_ns=0, date_ns=0)
    assert caught.value.errno == errno.EOVERFLOW
    assert image.read(0, 1) == b"x"


def test_vmstate_writer_when_guest_writes_meanwhile_then_both_right(new_qcow2, judge) -> None:
    image: Qcow2Image = new_qcow2(MIB)
    writer = image.vmstate_writer()
    for n in range(40):
        writer.write(bytes([n]) * 40_000)
        image.write(n * 5000, bytes([n + 1]) * 5000)
        if n % 10 == 0:
            image.flush()
    content = image.read(0, MIB)
    made = image.create_snapshot("s", writer, vm_clock_ns=0, date_ns=0)
    assert made.vmstate_size == 1_600_000
    image.write(0, b"changed")
    abandoned = image.vmstate_writer()
    abandoned.write(bytes(3_000_000))
    abandoned.abort()
    with image.open_vmstate("s") as state:
        assert state.read() == b"".join(bytes([n]) * 40_000 for n in range(40))
    image.apply_snapshot("s")
    assert image.read(0, MIB) == content
    image.close()
    judge.check(image.path)
