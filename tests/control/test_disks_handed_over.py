"""A migration takes the disks along, and the side that ends up with the machine has them whole."""

from __future__ import annotations

import errno

import pytest

from gossamer.base.errors import ConfigError, GossamerError, HostError
from gossamer.block import ImageError, RawDisk, open_image
from gossamer.control.progress import Progress
from gossamer.machines import drives_attach
from tests.front.fakes import ask

from .disk_images import disk, image

NO_RECEIVER = "exec:false"


def test_a_failed_migration_leaves_the_disks_as_they_were(machine, tmp_path):
    discs = [tmp_path / "one.iso", tmp_path / "two.iso"]
    for number, disc in enumerate(discs):
        disc.write_bytes(b"CD%d  " % number * 4096)
    vm = machine(
        *("-hda", image(tmp_path, "a.img"), "-hdb", image(tmp_path, "b.qcow2")),
        *("-cdrom", str(discs[0])),
    )
    for n in range(2):
        disk(vm, n).write(70000, b"mine")
    vm.change_disc("ide1-cd0", discs[1])
    vm.cont()
    before = vm.state_hash()
    with pytest.raises(GossamerError):
        vm.migrate(NO_RECEIVER)
    assert vm.run_state == "running"
    assert vm.state_hash() == before
    drives = [drives_attach.drive_at(vm.machine, n) for n in range(3)]
    assert [drives[n].media.read(70000, 4) for n in range(2)] == [b"mine"] * 2
    assert drives[2].media.read(0, 3) == b"CD1"
    drives[0].media.write(0, b"again")
    vm.eject("ide1-cd0")
    with pytest.raises(GossamerError):
        vm.migrate(NO_RECEIVER)
    assert drives[2].media is None


def test_changes_that_no_receiver_would_have_are_not_left_behind(machine, tmp_path):
    vm = machine("-drive", f"file={image(tmp_path, 'a.qcow2')},snapshot=on")
    disk(vm).write(0, b"here alone")
    with pytest.raises(ConfigError, match=r"ide0-hd0: its changes are kept here alone"):
        vm.migrate(f"file:{tmp_path}/m")
    assert disk(vm).read(0, 10) == b"here alone"


def test_disks_that_cannot_be_written_out_are_not_handed_over(machine, tmp_path, monkeypatch):
    vm = machine("-hda", image(tmp_path, "a.qcow2"), "-hdb", image(tmp_path, "b.img"))
    disk(vm, 1).write(0, b"mine")

    def full(self: RawDisk) -> None:
        raise ImageError(self.path, "cannot write", errno.ENOSPC)

    with monkeypatch.context() as patched:
        patched.setattr(RawDisk, "flush", full)
        with pytest.raises(HostError, match="cannot write"):
            vm.migrate(f"file:{tmp_path}/m")
    assert disk(vm, 1).read(0, 4) == b"mine"
    disk(vm, 0).write(0, b"still ours")
    assert "handed over" not in ask(vm, "info block")


@pytest.mark.parametrize("name", ["a.img", "a.qcow2"])
def test_a_machine_that_was_sent_takes_its_disks_back(machine, tmp_path, name):
    path = image(tmp_path, name)
    vm = machine("-hda", path)
    disk(vm).write(0, b"before")
    vm.cont()
    vm.migrate(f"file:{tmp_path}/m")
    assert f"{name}, handed over" in ask(vm, "info block")
    theirs = open_image(path)
    assert theirs.read(0, 6) == b"before"
    for call in (vm.cont, lambda: vm.savevm("one"), lambda: vm.step(1)):
        with pytest.raises(HostError, match=r"in use|used by|locked"):
            call()
    assert vm.run_state == "postmigrate"
    theirs.write(0, b"theirs")
    theirs.close()
    vm.cont()
    assert vm.run_state == "running"
    assert drives_attach.drive_at(vm.machine, 0).media.read(0, 6) == b"theirs"
    vm.savevm("one")
    disk(vm).write(0, b"after ")
    vm.loadvm("one")
    assert disk(vm).read(0, 6) == b"theirs"


def test_receiver_that_keeps_the_disks_after_a_failure(machine, tmp_path):
    """The sender stands still until they are free."""
    path = image(tmp_path, "a.qcow2")
    vm = machine("-hda", path)
    vm.cont()
    theirs = []

    def fails() -> None:
        theirs.append(open_image(path))
        raise HostError("gone")

    vm.progress = Broken(fails)
    with pytest.raises(HostError, match=r"in use|used by|locked"):
        vm.migrate(f"file:{tmp_path}/m")
    assert vm.run_state == "postmigrate"
    theirs[0].close()
    vm.cont()
    disk(vm).write(0, b"mine")


class Broken(Progress):
    """Fails when the receiver is waited for."""

    def __init__(self, fails) -> None:
        self.fails = fails

    def phase(self, name: str, total: int | None = None) -> None:
        if name == "waiting for the receiver":
            self.fails()


@pytest.mark.parametrize("name", ["a.img", "a.qcow2"])
def test_disks_are_locked_and_opened_for_writing_when_the_machine_runs(machine, tmp_path, name):
    path = image(tmp_path, name)
    theirs = open_image(path)
    vm = machine("-hda", path, "-S")
    assert "2097152 bytes, opened when the machine runs)" in ask(vm, "info block")
    assert not isinstance(disk(vm), RawDisk)
    with pytest.raises(HostError, match=r"in use|used by|locked"):
        vm.cont()
    assert vm.run_state == "prelaunch"
    theirs.write(0, b"theirs")
    theirs.close()
    vm.cont()
    assert drives_attach.drive_at(vm.machine, 0).media.read(0, 6) == b"theirs"
    with pytest.raises(ImageError, match=r"in use|used by|locked"):
        open_image(path)


def test_snapshots_are_listed_before_the_disks_are_open(machine, tmp_path):
    path = image(tmp_path, "a.qcow2")
    vm = machine("-hda", path)
    vm.savevm("one")
    vm.close()
    vm = machine("-hda", path, "-S")
    assert [s.tag for s in vm.snapshots()] == ["one"]
    vm.loadvm("one")
    assert vm.run_state == "prelaunch"


@pytest.mark.parametrize("late", [False, True])
def test_disks_of_a_receiver_are_opened_at_the_end_or_when_it_runs(machine, tmp_path, late):
    path = image(tmp_path, "a.qcow2")
    vm = machine("-hda", path)
    disk(vm).write(0, b"mine")
    to = machine("-hda", path, "-incoming", "defer")
    to.disks.late = late
    vm.migrate(f"file:{tmp_path}/m")
    to.incoming(f"file:{tmp_path}/m")
    assert to.disks.lent == late
    to.cont()
    assert drives_attach.drive_at(to.machine, 0).media.read(0, 4) == b"mine"


def test_disks_are_the_senders_again_when_the_receiver_fails_at_the_end(
    machine, tmp_path, monkeypatch
):
    path = image(tmp_path, "a.qcow2")
    vm = machine("-hda", path)
    vm.migrate(f"file:{tmp_path}/m")
    to = machine("-hda", path, "-incoming", "defer")

    def gone(_self) -> None:
        raise HostError("the sender has gone")

    with monkeypatch.context() as patched:
        patched.setattr("gossamer.migrate.incoming.Incoming.accepted", gone)
        with pytest.raises(HostError, match="the sender has gone"):
            to.incoming(f"file:{tmp_path}/m")
    vm.cont()
    disk(vm).write(0, b"mine")


@pytest.mark.parametrize("waits", [False, True])
def test_late_block_activate_holds_under_s(machine, tmp_path, waits):
    options = ["-S"] if waits else []
    vm = machine("-hda", image(tmp_path, "a.qcow2"), "-incoming", "defer", *options)
    assert ask(vm, "migrate_set_capability late-block-activate on") == ""
    assert vm.disks.late == waits
    ask(vm, "migrate_set_capability late-block-activate off")
    assert not vm.disks.late
