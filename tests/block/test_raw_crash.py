"""Case 9: what was flushed to a raw image is there after any crash, and every save can be restored.

A random session (writes, flushes, saves, dropped saves, going back) is recorded; then the host's
folder is made as a kill or a power failure leaves it after each single step, and the image is
opened from there.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gossamer.block import Capture, ImageError, RawDisk, open_image
from gossamer.block.undo import undo_folders

from .recorded_host import RecordedHost

SECTOR = 512
SIZE = 5 * 65536 + 3 * SECTOR


@pytest.fixture(autouse=True)
def no_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "disks"
    folder.mkdir()
    (folder / "disk.img").write_bytes(random.Random(1).randbytes(SIZE - 65536) + bytes(65536))
    return folder


def opened(path: Path) -> RawDisk:
    image = open_image(path)
    assert isinstance(image, RawDisk)
    return image


@dataclass
class Moment:
    """What is promised after a step: contents that each sector may have, and the saves."""

    steps: int
    sectors: list[set[bytes]]
    saves: dict[str, tuple[Capture, bytes]]
    operation: str = ""
    whole: bytes = b""


@dataclass
class Session:
    """A random session on an image, and what it promises at each moment."""

    image: RawDisk
    host: RecordedHost
    generator: random.Random
    moments: list[Moment] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model = bytearray(self.image.read(0, SIZE))
        self.saves: dict[str, tuple[Capture, bytes]] = {}
        self._settled()
        self._note("start")

    def _settled(self) -> None:
        self.sectors = [{bytes(self.model[n : n + SECTOR])} for n in range(0, SIZE, SECTOR)]

    def _note(self, operation: str) -> None:
        sectors = [set(values) for values in self.sectors]
        self.moments.append(
            Moment(len(self.host.log), sectors, dict(self.saves), operation, bytes(self.model))
        )

    def step(self) -> None:
        kinds = ["write"] * 6 + ["flush"] * 2 + ["save", "save", "drop", "go back", "replace"]
        operation = self.generator.choice(kinds)
        getattr(self, operation.replace(" ", "_"))()
        self._note(operation)

    def write(self) -> None:
        length = self.generator.choice((SECTOR, 4096, 65536, 150_016))
        at = self.generator.randrange((SIZE - length) // SECTOR + 1) * SECTOR
        data = self.generator.choice((self.generator.randbytes(length), bytes(length)))
        self.image.write(at, data)
        self.model[at : at + length] = data
        for n in range(at // SECTOR, (at + length) // SECTOR):
            self.sectors[n].add(bytes(self.model[n * SECTOR : (n + 1) * SECTOR]))

    def flush(self) -> None:
        self.image.flush()
        self._settled()

    def save(self) -> None:
        capture = self.image.capture("owner")
        self.saves[capture.id] = capture, bytes(self.model)
        self._settled()

    def drop(self) -> None:
        if self.saves:
            name = self.generator.choice(list(self.saves))
            del self.saves[name]
            self.image.forget(name)

    def replace(self) -> None:
        self.save()
        newest = list(self.saves)[-1]
        self.saves = {newest: self.saves[newest]}
        self.image.forget_all_of("owner", but=newest)

    def go_back(self) -> None:
        if self.saves:
            capture, content = self.generator.choice(list(self.saves.values()))
            self.image.restore(capture)
            self.model[:] = content
            self._settled()


def check(path: Path, before: Moment, after: Moment) -> None:
    """Open what a crash between two moments left."""
    image = opened(path)
    content = image.read(0, SIZE)
    if after.operation != "go back" or content != after.whole:
        allowed = after.sectors if after.operation == "write" else before.sectors
        for n, values in enumerate(allowed):
            assert content[n * SECTOR : (n + 1) * SECTOR] in values, hex(n * SECTOR)
    promised = before.saves.keys() & after.saves.keys()
    for name in promised:
        capture, saved = before.saves[name]
        image.restore(capture)
        assert image.read(0, SIZE) == saved
    for entry in image.undo.entries:
        image.forget(entry.id)
    assert not any(folder.exists() for folder in undo_folders(path))
    image.close()


@pytest.mark.parametrize("seed", range(3))
def test_case_9_flushed_bytes_and_saves_when_killed_or_without_power_at_every_step(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    for name in ("fsync", "fdatasync"):  # recorded; nothing here depends on a real medium
        monkeypatch.setattr(os, name, lambda fd: None)
    generator = random.Random(seed)
    host = RecordedHost(folder)
    with pytest.MonkeyPatch.context() as patch:
        host.record(patch)
        session = Session(opened(folder / "disk.img"), host, generator)
        for _ in range(30):
            session.step()
        session.image.close()
    moments = session.moments
    victim = tmp_path / "victim"
    checked = 0
    for steps in range(len(host.log) + 1):
        number = max(n for n, moment in enumerate(moments) if moment.steps <= steps)
        after = moments[min(number + 1, len(moments) - 1)]
        for lost in (None, random.Random(steps), random.Random(-steps - 1)):
            victim.mkdir()
            host.crash(victim, steps, lost)
            check(victim / "disk.img", moments[number], after)
            shutil.rmtree(victim)
            checked += 1
    assert checked > 200


def test_case_9_going_back_when_interrupted_then_no_reading_and_a_foreign_image_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    host = RecordedHost(folder)
    with pytest.MonkeyPatch.context() as patch:
        host.record(patch)
        image = opened(folder / "disk.img")
        capture = image.capture("owner")
        saved = image.read(0, SIZE)
        image.write(0, b"x" * 200_192)
        image.flush()
        began = len(host.log)
        image.restore(capture)
        image.close()
    writes = [n for n in range(began, len(host.log)) if host.log[n][:2] == ("write", 0)]
    assert len(writes) == 4
    victim = tmp_path / "victim"
    victim.mkdir()
    host.crash(victim, writes[1] + 1)
    path = victim / "disk.img"
    with pytest.raises(ImageError, match="a loadvm was interrupted; open it writable once"):
        open_image(path, read_only=True)
    half = path.read_bytes()
    other = bytearray(half)
    other[150_000:152_000] = random.Random(2).randbytes(2000)
    path.write_bytes(other)
    with pytest.raises(ImageError, match=r"another state of .*changed at 0x24a00 since") as caught:
        open_image(path)
    assert caught.value.errno == errno.ESTALE
    assert path.read_bytes() == other
    path.write_bytes(half)
    image = opened(path)
    assert image.read(0, SIZE) == b"x" * 200_192 + saved[200_192:]
    image.restore(capture)
    assert image.read(0, SIZE) == saved
    image.close()


def test_undo_log_when_the_host_fails_at_any_step_then_nothing_is_lost(
    folder: Path, tmp_path: Path
) -> None:
    """Case 10, 21: at the n-th write or fsync for every n; half of a write may be done."""
    generator = random.Random(5)
    shutil.copytree(folder, tmp_path / "original")
    failures = 0
    while True:
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "original", folder)
        if not fails_at(folder / "disk.img", failures, generator):
            break
        failures += 1
    assert failures > 20


def fails_at(path: Path, number: int, generator: random.Random) -> bool:
    """A session whose host fails after `number` steps; whether it came to that."""
    image = opened(path)
    first = image.capture("first")
    contents = {first.id: image.read(0, SIZE)}
    left, failed = number, False
    real = {name: getattr(os, name) for name in ("pwrite", "pwritev", "fsync", "fdatasync")}

    def full(name: str):
        def call(fd: int, *arguments: object) -> object:
            nonlocal left, failed
            left -= 1
            if left >= 0:
                return real[name](fd, *arguments)
            failed = True
            if name == "pwritev" and left == -1:  # tears a sector
                parts, at = arguments
                real["pwrite"](fd, b"".join(map(bytes, parts))[:700], at)
            raise OSError(errno.ENOSPC, "No space left on device")

        return call

    now = bytearray(contents[first.id])
    second, reason = None, errno.ENOSPC
    with pytest.MonkeyPatch.context() as patch:
        for name in real:
            patch.setattr(os, name, full(name))
        steps = iter(("write", "save", "write", "drop", "back", "write"))
        saves = [first]
        for step in steps:
            at = generator.randrange(4) * 65536
            data = generator.randbytes(90_112)
            try:
                if step == "write":
                    image.write(at, data)
                    now[at : at + len(data)] = data
                elif step == "save":
                    second = image.capture("second")
                    contents[second.id] = bytes(now)
                    saves.append(second)
                elif step == "drop" and second is not None:
                    image.forget(second.id)
                    saves.remove(second)
                elif step == "back":
                    image.restore(first)
                    now[:] = contents[first.id]
            except ImageError as error:
                reason = error.errno
                break
    assert reason == errno.ENOSPC
    if failed and step == "write":  # torn: only the bytes of that write
        torn = image.read(0, SIZE)
        for n in range(0, SIZE, SECTOR):
            inside = at <= n < at + len(data)
            assert inside or torn[n : n + SECTOR] == now[n : n + SECTOR]
        image.write(at, data)
        now[at : at + len(data)] = data
    if image.undo.is_going_back:  # it could not even be taken back: opened anew it is
        with pytest.raises(ImageError, match="failed half-way"):
            image.write(0, b"no")
    if image.file.failed:
        with pytest.raises(ImageError, match="what was written before may be lost"):
            image.flush()
    if image.undo.is_going_back or image.file.failed:
        image.abandon()
        image = opened(path)
    assert image.read(0, SIZE) == now
    for capture in reversed(saves):
        image.restore(capture)
        assert image.read(0, SIZE) == contents[capture.id]
    for entry in image.undo.entries:
        image.forget(entry.id)
    assert not (path.parent / "disk.img.undo").exists()
    image.close()
    return failed


@pytest.mark.parametrize("ahead", [False, True])
def test_case_9_flush_when_one_has_failed_then_every_later_one_fails(
    folder: Path, monkeypatch: pytest.MonkeyPatch, ahead: bool
) -> None:
    """The host forgets pages that it could not write: a second fsync succeeds without them."""
    image = opened(folder / "disk.img")
    image.write(0, b"x" * 4096)

    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", broken)
        if ahead:
            image.sync_ahead()()
        else:
            with pytest.raises(ImageError, match="cannot flush: Input/output error"):
                image.flush()
    for _ in range(2):
        with pytest.raises(
            ImageError, match="cannot flush: Input/output error; what was"
        ) as caught:
            image.flush()
        assert caught.value.errno == errno.EIO
    image.abandon()
