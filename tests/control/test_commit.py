"""block-commit: what is in the images above comes into the base, also what is written meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gossamer.base.errors import ConfigError, GossamerError
from gossamer.base.units import MiB
from gossamer.block import create, open_image
from gossamer.control import commit
from gossamer.control.commands.rows import TABLE
from gossamer.control.counted import Counted
from gossamer.control.session import Session
from gossamer.control.steps import InThread
from gossamer.control.vm import Vm
from gossamer.machines.options import parse

SIZE = 6 * MiB


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots of a machine without a qcow2 image go there."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


class Chain:
    """A machine with disk hda: a base, and as many images above it as are asked for."""

    def __init__(self, folder: Path, format: str, above: int) -> None:
        self.folder, self.base = folder, folder / "base"
        create(self.base, format, SIZE)
        line = ["-M", "g3beige", "-bios", "builtin", "-m", "8", "-serial", "null", "-nodefaults"]
        drive = f"file={self.base},format={format},if=none,id=d0"
        self.vm = Vm(parse([*line, "-drive", drive, "-device", "ide-hd,drive=d0,id=disk0"]))
        self.spawned: list[Any] = []
        self.session = Session(self.vm, self.spawned.append)
        self.vm.run_state = "running"
        (self.disk,) = self.vm.disks
        self.rng = random.Random(above)
        self.content = bytearray(SIZE)
        self.scribble(20)
        for n in range(above):
            self.do("blockdev-snapshot-sync", device="disk0", snapshot_file=f"{folder}/{n}",
                    snapshot_node_name=f"n{n + 1}")  # fmt: skip
            self.scribble(20)

    def scribble(self, count: int) -> None:
        """Writes of a guest."""
        backend = Counted(self.disk.image, self.vm.disks.traffic[self.disk.index])
        for _ in range(count):
            length = self.rng.choice((512, 4096, 65536, 300 * 512))
            at = self.rng.randrange((SIZE - length) // 512) * 512
            data = self.rng.randbytes(length) if self.rng.random() < 0.8 else bytes(length)
            backend.write(at, data)
            self.content[at : at + length] = data

    def do(self, name: str, **given: Any) -> Any:
        return TABLE.call(self.session, name, **given)

    def work(self, meanwhile: Callable[[], None] = lambda: None, until: str = "concluded") -> Any:
        """Take the steps of the job until it has come to `until`; the job."""
        (steps,) = self.spawned
        job = next(iter(self.session.jobs.all.values()), None)
        assert job is not None
        for waiting in steps:
            if isinstance(waiting, InThread):
                waiting.start(lambda: None)
                assert waiting.thread is not None
                waiting.thread.join()
            meanwhile()
            if job.status == until:
                return job
        return job

    def seen(self) -> bytes:
        return self.disk.image.read(0, SIZE)


@pytest.mark.parametrize(("format", "above"), [("raw", 1), ("qcow2", 1), ("qcow2", 3)])
def test_disk_goes_on_in_the_base_with_all_that_was_written(
    tmp_path: Path, format: str, above: int
) -> None:
    one = Chain(tmp_path, format, above)
    before = one.disk.image.path
    one.do("block-commit", device="disk0", job_id="j", auto_dismiss=False)
    for busy in ("savevm", "save"):
        with pytest.raises(ConfigError, match="in use by block job"):
            one.vm.savevm("x") if busy == "savevm" else one.vm.save(tmp_path / "s")
    with pytest.raises(ConfigError, match="in use by block job"):
        one.vm.migrate("exec:cat > /dev/null")
    with pytest.raises(ConfigError, match="in use by block job"):
        one.do("block-commit", device="disk0", job_id="k")
    with pytest.raises(ConfigError, match="cannot accept command verb 'complete'"):
        one.do("job-complete", id_="j")
    job = one.work(lambda: one.scribble(1), "ready")
    assert job.status == "ready"
    assert one.seen() == one.content
    one.scribble(3)
    one.do("job-complete", id_="j")
    job = one.work()
    assert (job.status, job.error) == ("concluded", "")
    assert one.disk.image.path == one.base
    assert one.vm.config.drives[0].file == one.base
    assert one.seen() == one.content
    one.scribble(5)
    one.vm.savevm("after")
    one.vm.loadvm("after")
    assert one.seen() == one.content
    one.vm.close()
    image = open_image(one.base, format=format, read_only=True)
    assert image.read(0, SIZE) == one.content
    image.close()
    assert before.exists()


def test_given_up_it_stays_as_it_is(tmp_path: Path) -> None:
    one = Chain(tmp_path, "qcow2", 2)
    top = one.disk.image.path
    for how in ("job-cancel", "block-job-cancel"):
        one.spawned.clear()
        one.do("block-commit", device="disk0", job_id="j", auto_dismiss=False)
        one.work(lambda: one.scribble(1), "ready")
        one.do(how, **({"id_": "j"} if how == "job-cancel" else {"device": "j"}))
        assert one.work().error == "Operation canceled"
        one.do("job-dismiss", id_="j")
        assert one.disk.image.path == top
        one.scribble(3)
        assert one.seen() == one.content
    one.vm.savevm("x")
    one.vm.close()
    image = open_image(top, format="qcow2", read_only=True)
    assert image.read(0, SIZE) == one.content
    image.close()


def test_base_that_cannot_be_written_is_one_error_and_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Chain(tmp_path, "qcow2", 1)
    one.do("block-commit", device="disk0", job_id="j", auto_dismiss=False)

    def full(self: object, granule: int) -> int:
        if granule == 3:
            raise OSError(28, "No space left on device")
        return copy(self, granule)

    copy: Any = commit.Commit._copy
    monkeypatch.setattr(commit.Commit, "_copy", full)
    job = one.work()
    assert "No space left" in job.error
    assert one.seen() == one.content
    monkeypatch.undo()
    one.scribble(3)
    one.vm.savevm("x")
    assert one.seen() == one.content
    one.vm.close()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"base_node": "nope"}, "Cannot find device='' nor node-name='nope'"),
        ({"base": "/no/such"}, "no such file"),
        ({"top_node": "x"}, "only the image that the disk has"),
        ({"auto_finalize": False}, "auto-finalize"),
        ({"base": "x", "base_node": "y"}, "exclude each other"),
        ({"backing_file": "x"}, "no image above"),
    ],
)
def test_nonsense_is_refused(tmp_path: Path, given: dict[str, Any], text: str) -> None:
    one = Chain(tmp_path, "qcow2", 1)
    with pytest.raises(GossamerError, match=text):
        one.do("block-commit", device="disk0", **given)
    assert not one.session.jobs.all
    assert one.seen() == one.content
    one.vm.close()
    (tmp_path / "a").mkdir()
    alone = Chain(tmp_path / "a", "raw", 0)
    with pytest.raises(GossamerError, match="no image below"):
        alone.do("block-commit", device="disk0")
    alone.vm.close()
