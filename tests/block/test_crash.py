"""Killed at any write: the file is replayed up to there and judged.

Two kinds of end: the process dies (every write up to then is in the file) and the host dies (of
the writes since the last flush, any may be missing).
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from gossamer.block import ImageError, Qcow2Image, open_image
from gossamer.block.hostfile import HostFile

SIZE = 3 << 20
STATE = random.Random(4).randbytes(400_000)
SYNC = (-1, b"")


class Recorder:
    """Everything that an image writes from now on, and the file as it was before."""

    def __init__(self, image: Qcow2Image) -> None:
        image.flush()
        self.before = image.path.read_bytes()
        self.log: list[tuple[int, bytes]] = []
        self._write, self._sync = image.file.write_at, image.file.sync
        image.file.write_at = self.write_at  # type: ignore[method-assign]
        image.file.sync = self.sync  # type: ignore[method-assign]

    def write_at(self, offset: int, *buffers: bytes) -> None:
        data = b"".join(map(bytes, buffers))
        if data:
            self.log.append((offset, data))
        self._write(offset, data)

    def sync(self) -> None:
        self.log.append(SYNC)
        self._sync()

    def replay(self, path: Path, count: int, lost: random.Random | None = None) -> None:
        """Write the file as it stands after `count` steps; `lost` chooses what never arrived."""
        part = self.log[:count]
        flushed = max((n for n, step in enumerate(part) if step == SYNC), default=-1)
        content = bytearray(self.before)
        for n, (offset, data) in enumerate(part):
            if offset < 0 or (lost and n > flushed and lost.random() < 0.5):
                continue
            content.extend(bytes(max(offset + len(data) - len(content), 0)))
            content[offset : offset + len(data)] = data
        path.write_bytes(content)


def prepare(make: Callable[..., Qcow2Image], **options: object) -> tuple[Qcow2Image, bytes]:
    """An image with snapshot "old", and what that holds; its last third is not mapped yet."""
    image = make(SIZE, **options)
    generator = random.Random(5)
    for _ in range(12):
        image.write(generator.randrange(SIZE * 2 // 3 - 90_000), generator.randbytes(90_000))
    old = image.read(0, SIZE)
    image.create_snapshot("old", [STATE], vm_clock_ns=1, date_ns=1)
    image.write(100_000, generator.randbytes(500_000))
    image.create_snapshot("other", [STATE[::-1]], vm_clock_ns=2, date_ns=2)
    image.write(900_000, generator.randbytes(300_000))
    # Free clusters full of rubbish: what is used before it is written shows.
    image.create_snapshot("rubbish", [b"\xa5" * 600_000], vm_clock_ns=2, date_ns=2)
    image.delete_snapshot("rubbish")
    return image, old


def guest_writes(image: Qcow2Image) -> None:
    generator = random.Random(6)
    for _ in range(10):
        image.write(generator.randrange(SIZE - 50_000), generator.randbytes(50_000))
        image.zero(generator.randrange(SIZE - 200_000), 200_000)
        image.flush()


def share(image: Qcow2Image, name: str) -> None:
    """The machine state of "other" once more: its first cluster anew, the rest in common."""
    entries = image.vmstate_entries(image.find_snapshot("other"))
    cluster = image.header.cluster_size
    with image.vmstate_writer() as state:
        state.share(cluster, entries[1:])
        state.put(0, STATE[::-1][:cluster])
        state.length = len(STATE)
        image.create_snapshot(name, state, vm_clock_ns=3, date_ns=3, replaces=True)


OPERATIONS: dict[str, Callable[[Qcow2Image], object]] = {
    "guest writes": guest_writes,
    "create": lambda image: image.create_snapshot(
        "new", [STATE[n : n + 9000] for n in range(0, 400_000, 9000)], vm_clock_ns=3, date_ns=3
    ),
    "replace": lambda image: image.create_snapshot(
        "other", [STATE], vm_clock_ns=3, date_ns=3, replaces=True
    ),
    "share": lambda image: share(image, "new"),
    "share and replace": lambda image: share(image, "other"),
    "apply": lambda image: image.apply_snapshot("old"),
    "delete": lambda image: image.delete_snapshot("other"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("cluster_size", [512, 65536])
def test_image_when_killed_at_any_write_then_old_snapshot_is_whole(
    new_qcow2, judge, tmp_path: Path, operation: str, cluster_size: int
) -> None:
    image, old = prepare(new_qcow2, cluster_size=cluster_size)
    recorder = Recorder(image)
    active = image.read(0, SIZE)
    OPERATIONS[operation](image)
    after = image.read(0, SIZE)
    image.abandon()
    steps = len(recorder.log)
    assert steps > 5
    generator = random.Random(7)
    header_writes = [n for n, (offset, _) in enumerate(recorder.log) if offset == 0]
    points = {n + k for n in header_writes for k in (0, 1)} | {1, steps - 1, steps}
    points |= {generator.randrange(steps + 1) for _ in range(7)}
    victim = tmp_path / "victim.qcow2"
    for lost in (None, generator):
        for point in sorted(points):
            recorder.replay(victim, point, lost)
            judge.check(victim, leaks=True)
            check_survivor(victim, old, operation, (active, after))


def check_survivor(path: Path, old: bytes, operation: str, active: tuple[bytes, bytes]) -> None:
    """Reads the old snapshot, changes to it, and goes on working."""
    image = open_image(path)
    assert isinstance(image, Qcow2Image)
    if operation != "guest writes":
        assert image.read(0, SIZE) in active
    for snapshot in image.snapshots:
        with image.open_vmstate(snapshot.id) as state:
            assert state.read() in (STATE, STATE[::-1])
    image.apply_snapshot("old")
    assert image.read(0, SIZE) == old
    image.close()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operation_when_the_host_disk_fills_then_error_and_image_is_whole(
    new_qcow2, judge, operation: str
) -> None:
    """At the n-th write for every n: ENOSPC, and everything goes on once there is room again."""
    image, old = prepare(new_qcow2, cluster_size=4096)
    image.flush()
    original = image.file.write_at
    failures = 0
    while True:
        left = failures + 1

        def full(offset: int, *buffers: bytes) -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                raise ImageError(image.path, "cannot write", errno.ENOSPC)
            original(offset, *buffers)

        image.file.write_at = full  # type: ignore[method-assign]
        failure = attempt(image, operation)
        image.file.write_at = original  # type: ignore[method-assign]
        if failure is None:
            break
        assert failure.errno == errno.ENOSPC
        image.flush()
        judge.check(image.path, leaks=True)
        assert "old" in [s.name for s in image.snapshots]
        failures += 7 if operation == "guest writes" else 3
    assert failures
    image.apply_snapshot("old")
    assert image.read(0, SIZE) == old
    image.close()
    judge.check(image.path, leaks=True)


def attempt(image: Qcow2Image, operation: str) -> ImageError | None:
    """Do it; the error if it fails."""
    try:
        OPERATIONS[operation](image)
    except ImageError as error:
        return error
    return None


def test_vmstate_when_its_source_fails_then_nothing_is_left_behind(new_qcow2, judge) -> None:
    image, _ = prepare(new_qcow2)

    def broken():
        yield STATE
        yield STATE * 5
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        image.create_snapshot("new", broken(), vm_clock_ns=0, date_ns=0)
    assert [s.name for s in image.snapshots] == ["old", "other"]
    image.close()
    judge.check(image.path)


@pytest.mark.parametrize("cluster_size", [512, 4096, 65536])
@pytest.mark.parametrize("reopened", [False, True])
def test_case_10_snapshots_on_a_full_host_can_be_deleted_and_applied(
    new_qcow2, judge, monkeypatch: pytest.MonkeyPatch, cluster_size: int, reopened: bool
) -> None:
    """The image cannot grow; the guest and a save had taken what was left."""
    image, old = prepare(new_qcow2, cluster_size=cluster_size)
    full = image.path.stat().st_size + 200_000

    def refuse(self: HostFile, offset: int, length: int) -> None:
        if offset + length > full:
            raise ImageError(self.path, "cannot write", errno.ENOSPC)

    real_write, real_allocate = HostFile.write_at, HostFile.allocate

    def write_at(self: HostFile, offset: int, *buffers: bytes) -> None:
        refuse(self, offset, sum(map(len, buffers)))
        real_write(self, offset, *buffers)

    def allocate(self: HostFile, offset: int, length: int) -> None:
        refuse(self, offset, length)
        real_allocate(self, offset, length)

    monkeypatch.setattr(HostFile, "write_at", write_at)
    monkeypatch.setattr(HostFile, "allocate", allocate)
    generator = random.Random(8)

    def fill() -> None:
        for n in range(99):
            image.create_snapshot(f"more {n}", [STATE[:30_000]], vm_clock_ns=0, date_ns=0)
            image.write(n * 12_000, generator.randbytes(12_000))

    with pytest.raises(ImageError, match="cannot write"):
        fill()
    with pytest.raises(ImageError, match="cannot write"):
        image.write(0, generator.randbytes(SIZE))
    if reopened:
        image.close()
        image = open_image(image.path)
        assert isinstance(image, Qcow2Image)
    image.apply_snapshot("old")
    assert image.read(0, SIZE) == old
    image.delete_snapshot("other")
    for snapshot in image.snapshots[2:]:
        image.delete_snapshot(snapshot.id)
    image.apply_snapshot("old")
    image.write(0, generator.randbytes(100_000))  # there is room again
    image.create_snapshot("new", [STATE[:30_000]], vm_clock_ns=0, date_ns=0)
    image.close()
    judge.check(image.path, leaks=True)
