"""Save files: what is damaged, cut short or crafted is refused; a killed save changes nothing."""

from __future__ import annotations

import errno
import io
import os
import random
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import xxhash
import zstandard

from gossamer.base.errors import GossamerError, HostError, StreamError
from gossamer.migrate import container_frame as form
from gossamer.migrate.container import (
    Container,
    ContainerWriter,
    DiskMeta,
    Meta,
    is_container,
    open_container,
)
from gossamer.migrate.container_writer import FrameWriter

META = Meta(
    machine="g3beige",
    machine_version="1.0",
    ram_size=128 << 20,
    created_ns=1_700_000_000_000_000_000,
    icount=12345,
    name="before lunch",
    gossamer="0.1.0",
    disks=(DiskMeta("hd0", 1 << 30, backing="disk.img"),),
)
STREAM = b"QEVM" + bytes(300) + bytes(range(64))


def make(path: Path, stream: bytes = STREAM, **disks: list[bytes]) -> Path:
    with ContainerWriter(path, META) as writer:
        writer.write(stream)
        for name, chunks in disks.items():
            writer.disk(name, chunks)
        writer.commit()
    return path


def read_all(path: Path) -> tuple[Meta, bytes, dict[str, bytes]]:
    with open_container(path) as c:
        return c.meta, c.read_stream().read(), {n: b"".join(c.read_disk(n)) for n in c.disks}


def raw_file(*frames: bytes) -> bytes:
    return form.MAGIC + b"".join(frames)


def frame(kind: bytes, number: int, raw: bytes, *, codec: int = 0, length: int = -1) -> bytes:
    return form.header(kind, codec, number, len(raw) if length < 0 else length, raw) + raw


def whole(*parts: tuple[bytes, bytes]) -> bytes:
    """A file of these frames with an END that fits them."""
    frames = [frame(kind, n, raw) for n, (kind, raw) in enumerate(parts)]
    digest = xxhash.xxh3_128(b"".join(one[:48] for one in frames)).digest()
    sizes = [sum(len(raw) for kind, raw in parts if kind == k) for k in (form.STRM, form.DISK)]
    tail = form.TAIL.pack(len(frames), *sizes, digest)
    return raw_file(*frames, frame(form.END, len(frames), tail))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    big = random.Random(1).randbytes(5 << 20) + bytes(9 << 20)
    path = make(tmp_path / "a", big, hd0=[b"one", b"", bytes(5 << 20)], cd0=[])
    meta, stream, disks = read_all(path)
    assert meta == META
    assert stream == big
    assert disks == {"hd0": b"one" + bytes(5 << 20), "cd0": b""}
    assert path.stat().st_size < 6 << 20


@pytest.mark.parametrize("piece", [1, 7, 4095, 1 << 20, (4 << 20) - 1, 4 << 20, 9 << 20])
def test_size_of_writes_does_not_matter(tmp_path: Path, piece: int) -> None:
    data = random.Random(piece).randbytes(min(9 << 20, piece * 20) + 3)
    with ContainerWriter(tmp_path / "a", META) as writer:
        for at in range(0, len(data), piece):
            writer.write(memoryview(data)[at : at + piece])
        assert writer.commit().stream_bytes == len(data)
    assert read_all(tmp_path / "a")[1] == data


def test_stream_is_read_in_any_pieces(tmp_path: Path) -> None:
    data = random.Random(2).randbytes(5 << 20)
    with open_container(make(tmp_path / "a", data)) as c:
        assert c.stream_size == len(data)
        file = c.read_stream()
        assert not file.seekable()
        got = bytearray()
        while piece := file.read(700_001):
            got += piece
        assert got == data
        assert file.tell() == len(data)
        assert file.read(1) == b""
        buffer = bytearray(10)
        assert c.read_stream().readinto(buffer) == 10
        assert buffer == data[:10]


def test_result_counts_and_times(tmp_path: Path) -> None:
    with ContainerWriter(tmp_path / "a", META) as writer:
        writer.write(STREAM)
        writer.disk("hd0", [b"abc"])
        done = writer.commit()
    assert (done.stream_bytes, done.disk_bytes) == (len(STREAM), 3)
    assert done.file_bytes == (tmp_path / "a").stat().st_size
    assert done.fsync_ns > 0


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    whole_file = make(tmp_path / "a", hd0=[b"disk"]).read_bytes()
    for length in range(len(whole_file)):
        with pytest.raises(StreamError):
            Container(io.BytesIO(whole_file[:length]), "cut")


def test_every_flipped_bit_is_refused(tmp_path: Path) -> None:
    data = bytearray(make(tmp_path / "a", hd0=[b"disk", b"more"]).read_bytes())
    for bit in range(8 * len(data)):
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StreamError):
            Container(io.BytesIO(data), "flipped")
        data[bit // 8] ^= 1 << bit % 8
    Container(io.BytesIO(data), "whole").close()


def test_flip_after_opening_is_found_on_reading(tmp_path: Path) -> None:
    path = make(tmp_path / "a", random.Random(3).randbytes(1000))
    with open_container(path) as c, path.open("r+b") as file:
        file.seek(-200, os.SEEK_END)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
        file.flush()
        with pytest.raises(StreamError, match=r"frame 1: damaged \(checksum\) \(offset 0x"):
            c.read_stream().read()
        with pytest.raises(StreamError, match="frame 1: damaged"):
            c.verify()


def test_frames_swapped_repeated_or_missing_are_refused(tmp_path: Path) -> None:
    data = make(tmp_path / "a", random.Random(4).randbytes(12 << 20)).read_bytes()
    with open_container(tmp_path / "a") as c:
        at = c._stream.offset
    size = (4 << 20) + 48
    one, two, rest = data[at : at + size], data[at + size : at + 2 * size], data[at + 2 * size :]
    for parts in ((two, one, rest), (one, one, two, rest), (two, rest), (one, two, rest, b"x")):
        (tmp_path / "b").write_bytes(data[:at] + b"".join(parts))
        with pytest.raises(StreamError, match=r"frame \d expected, got frame|bytes after END"):
            open_container(tmp_path / "b")


def test_frame_of_another_file_is_refused(tmp_path: Path) -> None:
    a = make(tmp_path / "a", random.Random(5).randbytes(900)).read_bytes()
    b = make(tmp_path / "b", random.Random(6).randbytes(900)).read_bytes()
    assert len(a) == len(b)
    end, middle = 48 + form.TAIL.size, 948
    mixed = a[: -end - middle] + b[-end - middle : -end] + a[-end:]
    (tmp_path / "c").write_bytes(mixed)
    with pytest.raises(StreamError, match="END does not fit the frames before it"):
        open_container(tmp_path / "c")


M = (form.META, META.encode())
CRAFTED = {
    "a frame twice": (whole(M, M), "META after META"),
    "stream after disk": (
        whole(M, (form.NAME, b"d"), (form.DISK, b"x"), (form.STRM, b"y")),
        "STRM after DISK",
    ),
    "disk without name": (whole(M, (form.DISK, b"x")), "DISK after META"),
    "same disk twice": (whole(M, (form.NAME, b"d"), (form.NAME, b"d")), "disk 'd' is there twice"),
    "name of control characters": (whole(M, (form.NAME, b"\x1b[2J")), "a disk's name must be"),
    "long name": (whole(M, (form.NAME, b"n" * 256)), "a disk's name must be 1 to 255 ASCII"),
    "too many disks": (
        whole(M, *[(form.NAME, b"%d" % n) for n in range(65)]),
        "more than 64 disks",
    ),
    "no META": (whole((form.STRM, b"x")), "the first frame must be META"),
    "unknown kind": (raw_file(frame(b"EVIL", 0, b"")), "frame 0: unknown kind b'EVIL'"),
    "unknown codec": (
        raw_file(frame(form.META, 0, b"x", codec=7)),
        "frame 0: unknown codec 7",
    ),
    "claim of 2**63 bytes": (
        raw_file(form.header(form.META, 1, 0, 1 << 63, b"") + b""),
        "frame 0: 0 bytes for 9223372036854775808, at most 4194304",
    ),
    "big META": (raw_file(frame(form.META, 0, bytes(2 << 20))), "the first frame must be META"),
    "META not JSON": (raw_file(frame(form.META, 0, b"{")), "META: "),
    "META of brackets": (raw_file(frame(form.META, 0, b"[" * 100_000)), "META: "),
    "META of something else": (
        raw_file(frame(form.META, 0, b'{"format": "x"}')),
        'META: not an object with "format": "gossamer-state"',
    ),
    "META without keys": (
        raw_file(frame(form.META, 0, b'{"format": "gossamer-state"}')),
        "META: missing 7 required",
    ),
    "META with a wrong type": (
        raw_file(frame(form.META, 0, M[1].replace(b"12345", b'"many"'))),
        "META: icount must be of type int, got 'many'",
    ),
    "META with an unknown key": (
        raw_file(frame(form.META, 0, M[1].replace(b'"icount"', b'"evil"'))),
        "META: unknown key 'evil'",
    ),
}


@pytest.mark.parametrize("what", CRAFTED)
def test_crafted_file_is_refused(tmp_path: Path, what: str) -> None:
    data, expected = CRAFTED[what]
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(StreamError) as caught:
        open_container(tmp_path / "a")
    assert expected in str(caught.value)
    assert str(tmp_path / "a") in str(caught.value)


def bomb(claimed: int) -> bytes:
    packed = zstandard.ZstdCompressor().compress(bytes(32 << 20))
    head = form.header(form.STRM, 1, 1, claimed, packed)
    frames = [frame(M[0], 0, M[1]), head + packed]
    digest = xxhash.xxh3_128(b"".join(one[:48] for one in frames)).digest()
    return raw_file(*frames, frame(form.END, 2, form.TAIL.pack(2, claimed, 0, digest)))


def test_bomb_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bomb(4 << 20))
    with (
        open_container(tmp_path / "a") as c,
        pytest.raises(StreamError, match="unpacks to 33554432 bytes, its header says 4194304"),
    ):
        c.read_stream().read()
    (tmp_path / "a").write_bytes(bomb(32 << 20))
    with pytest.raises(StreamError, match="bytes for 33554432, at most 4194304"):
        open_container(tmp_path / "a")


def test_what_is_no_save_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert not is_container(path)
    with pytest.raises(HostError, match=r"a: cannot be opened: No such file or directory"):
        open_container(path)
    path.write_bytes(b"QEVM\0\0\0\3" + bytes(100))
    assert not is_container(path)
    with pytest.raises(StreamError, match=r"not a save file of gossamer \(offset 0x0\)"):
        open_container(path)
    assert is_container(make(tmp_path / "b"))
    with (
        open_container(tmp_path / "b") as c,
        pytest.raises(StreamError, match="no disk named 'hd1'; there are none"),
    ):
        c.read_disk("hd1")


# --- writing ----------------------------------------------------------------------------------


def test_uncommitted_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = make(tmp_path / "a")
    old = path.read_bytes()
    with ContainerWriter(path, META) as writer:
        writer.write(bytes(100))
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


SLOW_SAVE = """
import os, sys, time
if sys.argv[2] == "named":
    del os.O_TMPFILE
from gossamer.migrate.container import ContainerWriter, Meta
with ContainerWriter(sys.argv[1], Meta("g3beige", "1.0", 0, 0, 0, "x", "0")) as w:
    w.write(bytes(9 << 20))
    print("writing", flush=True)
    time.sleep(3600)
"""


@pytest.mark.parametrize(("kind", "left"), [("nameless", 0), ("named", 1)])
def test_case_24_killed_save_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, kind: str, left: int
) -> None:
    """Where the host has no files without a name, the next save of that name cleans up."""
    path = make(tmp_path / "a")
    old = path.read_bytes()
    command = [sys.executable, "-c", SLOW_SAVE, str(path), kind]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"writing\n"
    with ContainerWriter(path, META):  # another save of the same name: the first still has its file
        assert len(list(tmp_path.glob(".a.*.part"))) == left
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert path.read_bytes() == old
    assert len(list(tmp_path.glob(".a.*.part"))) == left
    make(path, b"new")
    assert read_all(path)[1] == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_name_with_a_nul_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="not a file name"):
        ContainerWriter(f"{tmp_path}/a\0b", META)


def test_new_file_is_private_and_a_replaced_one_keeps_its_mode(tmp_path: Path) -> None:
    path = make(tmp_path / "a")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    make(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "real")
    make(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert is_container(tmp_path / "deep" / "real")


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="nowhere/a: cannot be created: No such file"):
        ContainerWriter(tmp_path / "nowhere" / "a", META)
    with pytest.raises(HostError, match="not a regular file, a save cannot replace it"):
        ContainerWriter(tmp_path, META)
    with pytest.raises(HostError, match="/dev/null: not a regular file"):
        ContainerWriter("/dev/null", META)


def test_full_medium_is_an_error_that_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "a")
    old = path.read_bytes()

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HostError, match="a: cannot be written: No space left on device"):
        make(path, b"new")
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_misuse_is_caught(tmp_path: Path) -> None:
    with ContainerWriter(tmp_path / "a", META) as writer:
        writer.disk("d", [])
        with pytest.raises(AssertionError, match="the stream comes before the disks"):
            writer.write(b"x")
        with pytest.raises(AssertionError):
            writer.disk("d", [])


def test_256_mib_of_zeros_are_small(tmp_path: Path) -> None:
    zeros = bytes(16 << 20)
    with ContainerWriter(tmp_path / "a", META) as writer:
        for _ in range(16):
            writer.write(zeros)
        done = writer.commit()
    assert done.file_bytes < 100_000


def test_random_garbage_never_crashes(tmp_path: Path) -> None:
    source = random.Random(7)
    path = tmp_path / "a"
    for _ in range(300):
        path.write_bytes(form.MAGIC + source.randbytes(source.randrange(200)))
        with pytest.raises(GossamerError):
            open_container(path)


@pytest.mark.parametrize("packs", [True, False])
def test_a_stream_in_pieces_of_any_length_comes_back(packs: bool, tmp_path: Path) -> None:
    chance = random.Random(1)
    pieces = [bytes(chance.randrange(0, 9 << 20)) for _ in range(3)]
    pieces += [chance.randbytes(n) for n in (1, 0, form.CHUNK - 3, 2, 5 << 20)]
    out = io.BytesIO()
    writer = FrameWriter(out.write, META, packs=packs)
    for piece in pieces:
        scratch = bytearray(piece)
        writer.write(scratch)
        scratch[:] = bytes(len(scratch))  # it is the writer's during the call only
    written = writer.end()
    whole = b"".join(pieces)
    assert written.stream_bytes == len(whole)
    assert (written.file_bytes > len(whole)) is not packs
    path = tmp_path / "s"
    path.write_bytes(out.getvalue())
    assert read_all(path)[1] == whole
