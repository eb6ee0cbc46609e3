"""Disks are part of a machine's state: saved with it, put back with it, whole after a kill."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gossamer.base.errors import ConfigError, GossamerError, HostError
from gossamer.block import ImageError, OverlayImage, Qcow2Image, create, open_image
from gossamer.control import disk_state, restore_clock
from gossamer.control.events import BlockIoError
from gossamer.control.session import Session
from gossamer.control.vm import Vm
from gossamer.devices.ide.drive import NONE
from gossamer.front.hmp.monitor import Monitor
from gossamer.machines import drives_attach
from tests.front.fakes import ask

from .conftest import FIRMWARE, QUIET
from .disk_images import MiB, disk, image


def test_drives_stand_where_qemu_has_them(machine, tmp_path):
    vm = machine("-hda", image(tmp_path, "a.img"), "-hdd", image(tmp_path, "b.qcow2"))
    kinds = {n: drives_attach.drive_at(vm.machine, n) for n in range(4)}
    assert [kinds[n].kind for n in range(4)] == ["disk", NONE, "cd", "disk"]
    assert [kinds[n].serial for n in (0, 2, 3)] == ["QM00001", "QM00003", "QM00004"]
    assert kinds[2].media is None
    text = ask(vm, "info block")
    assert "ide0-hd0: disk QEMU HARDDISK, QM00001;" in text
    assert "a.img (raw, 2097152 bytes, writable)" in text
    assert "ide1-cd0: CD-ROM QEMU DVD-ROM, QM00003; empty" in text


def test_nodefaults_leaves_the_cd_drive_out(machine):
    vm = machine("-nodefaults")
    assert [drives_attach.drive_at(vm.machine, n).kind for n in range(4)] == [NONE] * 4


def change(vm: Vm, text: bytes) -> int:
    """Write to every disk, run a little; the hash of all of it."""
    for one in vm.disks.writable:
        one.image.write(70000, text * 100)
    vm.run(instructions=1000)
    return vm.state_hash()


@pytest.mark.parametrize(
    "names", [["a.qcow2"], ["a.img"], ["a.qcow2", "b.qcow2"], ["a.img", "b.qcow2"]]
)
def test_snapshot_brings_machine_and_disks_back(machine, tmp_path, names):
    options = []
    for option, name in zip(("-hda", "-hdb"), names, strict=False):
        options += [option, image(tmp_path, name)]
    vm = machine(*options)
    first = change(vm, b"first")
    vm.savevm("one")
    second = change(vm, b"second")
    assert second != first
    vm.loadvm("one")
    assert vm.state_hash() == first
    assert [disk(vm, n).read(70000, 5) for n in range(len(names))] == [b"first"] * len(names)
    change(vm, b"third")
    vm.close()

    again = machine(*options)
    again.loadvm("one")
    assert again.state_hash() == first
    assert change(again, b"second") == second
    assert [s.tag for s in again.snapshots()] == ["one"]
    again.delvm("one")
    assert again.snapshots() == []


def test_content_of_a_disk_is_in_the_state_hash(machine, tmp_path):
    vm = machine("-hda", image(tmp_path, "a.qcow2"))
    before = vm.state_hash()
    disk(vm).write(0, b"x")
    assert vm.state_hash() != before
    disk(vm).write(0, b"\0")
    assert vm.state_hash() == before


def test_save_file_holds_raw_disks_and_names_a_snapshot_of_qcow2(machine, tmp_path):
    options = "-hda", image(tmp_path, "a.qcow2"), "-hdb", image(tmp_path, "b.img")
    vm, file = machine(*options), tmp_path / "x.gossamer"
    first = change(vm, b"first")
    vm.save(file)
    vm.save(file)
    assert len(disk(vm).snapshots) == 1, "the replaced file's snapshot is deleted"
    change(vm, b"second")
    vm.restore(file)
    assert vm.state_hash() == first
    disk(vm).delete_snapshot(disk(vm).snapshots[0].name)
    second = change(vm, b"second")
    with pytest.raises(ImageError, match="has no snapshot 'save "):
        vm.restore(file)
    assert vm.state_hash() == second


def test_temporary_disks_are_saved_and_never_written(machine, tmp_path):
    path = image(tmp_path, "a.qcow2")
    before = Path(path).read_bytes()
    vm = machine("-hda", path, "-snapshot")
    first = change(vm, b"first")
    vm.savevm("one")
    change(vm, b"second")
    vm.loadvm("one")
    assert vm.state_hash() == first
    vm.close()
    assert Path(path).read_bytes() == before


def test_two_disks_keep_together_by_date(machine, tmp_path, monkeypatch):
    """Dead between the two images: the old snapshot is whole, by date."""
    options = "-hda", image(tmp_path, "a.qcow2"), "-hdb", image(tmp_path, "b.qcow2")
    vm = machine(*options)
    first = change(vm, b"first")
    vm.savevm("one")
    change(vm, b"second")

    def dead(*_args, **_kw):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(disk_state, "_write_vmstate", dead)
        patch.setattr(type(disk(vm)), "delete_snapshot", dead)
        with pytest.raises(KeyboardInterrupt):
            vm.savevm("one")
    assert len(disk(vm, 1).snapshots) == 2
    vm.loadvm("one")
    assert vm.state_hash() == first
    second = change(vm, b"second")
    vm.savevm("one")
    vm.loadvm("one")
    assert vm.state_hash() == second


def test_case_9_raw_disk_goes_back_also_after_quitting_and_writing_elsewhere(machine, tmp_path):
    """What is under a save is kept beside the image, until the save is replaced or deleted."""
    path = image(tmp_path, "a.img")
    log = tmp_path / "a.img.undo"
    vm = machine("-hda", path)
    first = change(vm, b"first")
    vm.savevm("one")
    vm.save(tmp_path / "x.gossamer")
    vm.close()
    vm = machine("-hda", path)
    disk(vm).write(MiB, b"after")
    assert "older content for 2 saves" in ask(vm, "info block")
    vm.close()
    assert Path(path).read_bytes()[MiB : MiB + 5] == b"after"
    vm = machine("-hda", path)
    for go_back in (lambda: vm.loadvm("one"), lambda: vm.restore(tmp_path / "x.gossamer")):
        disk(vm).write(MiB, b"again")
        go_back()
        assert vm.state_hash() == first
        assert disk(vm).read(MiB, 5) == bytes(5)
    vm.save(tmp_path / "x.gossamer")
    vm.savevm("one")
    assert len(list(log.iterdir())) == 2
    vm.delvm("one")
    assert [entry.owner for entry in disk(vm).undo.entries] == [str(tmp_path / "x.gossamer")]
    vm.restore(tmp_path / "x.gossamer")
    assert vm.state_hash() == first


@pytest.mark.parametrize("name", ["a.img", "a.qcow2"])
def test_case_9_guest_that_never_flushes_loses_little_when_killed(machine, tmp_path, name):
    path = image(tmp_path, name)
    vm = machine("-hda", path)
    second = 1_000_000_000
    for n in range(1, 20):  # it goes on writing
        disk(vm).write(n * 1000, b"%04d" % n)
        vm.disks.settle(n * second)
    disk(vm).write(0, b"last")
    for n in (20, 21):  # it pauses
        vm.disks.settle(n * second)
    vm.disks.abandon()
    one = open_image(path)
    assert one.read(0, 4) == b"last"
    assert [one.read(n * 1000, 4) for n in range(1, 20)] == [b"%04d" % n for n in range(1, 20)]
    one.close()


def test_case_9_save_that_fails_leaves_no_log_behind(machine, tmp_path, monkeypatch):
    vm = machine("-hda", image(tmp_path, "a.img"))
    full = HostError("full")

    def refuse(*_args, **_kw):
        raise full

    monkeypatch.setattr(disk_state, "_write_machine", refuse)
    with pytest.raises(HostError, match="full"):
        vm.savevm("one")
    assert not (tmp_path / "a.img.undo").exists()


@pytest.mark.parametrize("names", [["a.img", "b.img"], ["a.img", "b.qcow2"]])
@pytest.mark.parametrize("failing", [0, 1])
def test_raw_disk_that_cannot_go_back_takes_the_others_along(
    machine, tmp_path, monkeypatch, names, failing
):
    options = "-hda", image(tmp_path, names[0]), "-hdb", image(tmp_path, names[1])
    vm = machine(*options)
    change(vm, b"first")
    vm.savevm("one")
    now = change(vm, b"now")
    one = disk(vm, failing)
    real = one.file.sync
    real_write = one.file.write_at

    def refuse(offset, *buffers):
        one.file.write_at = real_write
        real_write(offset, bytes(buffers[0])[:700])
        raise ImageError(one.path, "cannot write: No space left on device", errno.ENOSPC)

    one.file.write_at = refuse
    with pytest.raises(ImageError, match="No space left"):
        vm.loadvm("one")
    assert vm.state_hash() == now
    real()
    vm.loadvm("one")
    assert disk(vm, 0).read(70000, 5) == disk(vm, 1).read(70000, 5) == b"first"


def test_snapshots_of_different_saves_are_not_mixed(machine, tmp_path):
    options = "-hda", image(tmp_path, "a.qcow2"), "-hdb", image(tmp_path, "b.qcow2")
    vm = machine(*options)
    vm.savevm("one")
    disk(vm, 1).create_snapshot("one", vm_clock_ns=0, date_ns=5, replaces=True)
    now = change(vm, b"now")
    with pytest.raises(ImageError, match="ide0-hd1: snapshot 'one' belongs to another save"):
        vm.loadvm("one")
    assert vm.state_hash() == now


def test_a_disk_that_cannot_go_back_takes_the_others_along(machine, tmp_path, monkeypatch):
    options = "-hda", image(tmp_path, "a.qcow2"), "-hdb", image(tmp_path, "b.qcow2")
    vm = machine(*options)
    vm.savevm("one")
    now = change(vm, b"now")
    second = disk(vm, 1)
    full = ImageError(second.path, "cannot write: No space left on device", errno.ENOSPC)

    def refuse(name):
        raise full

    monkeypatch.setattr(second, "apply_snapshot", refuse)
    with pytest.raises(ImageError, match="No space left"):
        vm.loadvm("one")
    assert vm.state_hash() == now
    assert [s.name for s in disk(vm).snapshots] == ["one"]


def test_raw_disk_that_was_changed_elsewhere_is_not_put_together(machine, tmp_path):
    path = image(tmp_path, "a.img")
    vm = machine("-hda", path)
    disk(vm).write(MiB, b"guest")
    vm.savevm("one")
    vm.close()
    with Path(path).open("r+b") as file:
        file.seek(MiB)
        file.write(b"another program")
    again = machine("-hda", path)
    before = again.state_hash()
    with pytest.raises(ImageError, match="the image has changed since it was saved"):
        again.loadvm("one")
    assert again.state_hash() == before


def test_disks_must_be_those_of_the_save(machine, tmp_path):
    a, b = image(tmp_path, "a.qcow2"), image(tmp_path, "b.img")
    file = tmp_path / "x.gossamer"
    vm = machine("-hda", a, "-hdb", b)
    vm.save(file)
    vm.close()
    with pytest.raises(ConfigError, match=r"drive1 .*b.img.* was writable; this machine has no"):
        machine("-hda", a).restore(file)
    with pytest.raises(HostError, match=r"in use|used by|locked"):
        machine("-hda", a)


@pytest.mark.parametrize(
    ("saved", "now", "message"),
    [
        ("-device ide-cd,bus=ide.0", "", "ide.0 unit 0: expected nothing, got ide-cd"),
        (
            "-usb -device usb-mouse",
            "-usb -device usb-tablet",
            "USB port 1: expected usb-tablet, got ",
        ),
        ("-usb", "-usb -device usb-kbd", "USB port 1: expected usb-kbd, got nothing"),
    ],
)
def test_devices_must_be_those_of_the_save(machine, tmp_path, saved, now, message):
    file = tmp_path / "x.gossamer"
    machine(*saved.split()).save(file)
    vm = machine(*now.split())
    before = vm.state_hash()
    with pytest.raises(ConfigError, match=message):
        vm.restore(file)
    assert vm.state_hash() == before


@pytest.mark.parametrize("name", ["a.qcow2", "a.img"])
def test_case_11_a_snapshot_is_named_by_its_tag_and_not_by_its_id(machine, tmp_path, name):
    vm = machine("-hda", image(tmp_path, name))
    vm.savevm("work")
    assert [(s.id, s.tag) for s in vm.snapshots()] == [("1", "work")]
    now = change(vm, b"now")
    for call in (vm.loadvm, vm.delvm):
        with pytest.raises(ConfigError, match=r"no snapshot '1' \(there is: work\)"):
            call("1")
    assert vm.state_hash() == now
    vm.loadvm("work")


def test_case_12_a_format_that_was_guessed_to_be_raw_is_reported(machine, tmp_path):
    path = image(tmp_path, "a.img")
    iso = image(tmp_path, "c.img")
    vm = machine("-hda", path, "-hdb", image(tmp_path, "b.qcow2"), "-cdrom", iso)
    assert vm.disks.warnings == [
        f"ide0-hd0: {path}: no format was given, and it looks raw: a guest that writes another "
        "format's header to its first sector gets an error; format=raw in -drive allows it"
    ]
    options = f"-drive file={path},format=raw", f"-drive file={path},snapshot=on"
    for option in options:
        vm.disks.close()
        vm = machine(*option.split())
        assert not vm.disks.warnings


def test_snapshot_whose_name_is_another_ones_id(machine, tmp_path):
    vm = machine("-hda", image(tmp_path, "a.qcow2"))
    vm.savevm("work")
    vm.savevm("1")
    assert [(s.id, s.tag) for s in vm.snapshots()] == [("1", "work"), ("2", "1")]
    vm.delvm("1")
    assert [s.tag for s in vm.snapshots()] == ["work"]


def test_failed_save_takes_back_its_own_snapshot_only(machine, tmp_path, monkeypatch):
    """The second disk has one whose id is the name of the new one."""
    vm = machine("-hda", image(tmp_path, "a.qcow2"), "-hdb", image(tmp_path, "b.qcow2"))
    vm.savevm("work")

    def full(self: Qcow2Image) -> None:
        raise ImageError(self.path, "cannot write", errno.ENOSPC)

    with monkeypatch.context() as patched:
        patched.setattr(Qcow2Image, "vmstate_writer", full)
        with pytest.raises(HostError, match="cannot write"):
            vm.savevm("1")
    assert [[s.name for s in disk(vm, n).snapshots] for n in range(2)] == [["work"]] * 2
    vm.loadvm("work")


def test_saves_of_another_machines_disks_are_left_alone(machine, tmp_path):
    machine("-hda", image(tmp_path, "a.img")).savevm("day1")
    for name in ("b.img", "c.qcow2"):
        vm = machine("-hda", image(tmp_path, name))
        with pytest.raises(ConfigError, match=r"day1.*: the save of a machine with other disks"):
            vm.delvm("day1")
        if name == "b.img":
            with pytest.raises(
                ConfigError, match=r"other disks \(.*a.img\); give this one a -name"
            ):
                vm.savevm("day1")
    with pytest.raises(ConfigError, match=r"no snapshot 'day1' \(there are none\)"):
        machine().delvm("day1")


def test_no_snapshot_of_that_name(machine, tmp_path):
    vm = machine("-hda", image(tmp_path, "a.qcow2"))
    vm.savevm("one")
    for call in (vm.loadvm, vm.delvm):
        with pytest.raises(ConfigError, match="no snapshot 'two' \\(there is: one\\)"):
            call("two")


# --- clocks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "clock", "seconds"), [("freeze", 0, 0), ("step", 0, 3600), ("continue", 3600, 3600)]
)
def test_clock_policies(machine, tmp_path, monkeypatch, policy, clock, seconds):
    vm = machine("-hda", image(tmp_path, "a.qcow2"))
    vm.run(instructions=50_000)
    vm.savevm("one")
    before, rtc = vm.clock_ns, vm.machine.part("macio/cuda").seconds
    tb = vm.machine.cpu.timebase
    now = vm.snapshots()[0].date_ns + 3600 * 10**9
    monkeypatch.setattr(disk_state.host, "utc_ns", lambda: now)
    began = time.process_time()
    vm.loadvm("one", policy)
    assert time.process_time() - began < 300
    assert vm.clock_ns - before == clock * 10**9
    assert vm.machine.part("macio/cuda").seconds - rtc == seconds
    assert abs(vm.machine.cpu.timebase - tb - clock * 16_600_000) <= 1
    vm.run(instructions=1000)


@pytest.mark.parametrize("periods", [1000, 1001])
def test_periods_that_are_skipped_leave_a_toggle_right(machine, periods):
    vm = machine()
    clock, fired = vm.machine.clock, []

    def toggle() -> None:
        fired.append(alarm.due)
        alarm.set(alarm.due + 100)

    alarm = clock.alarm(toggle)
    start = int(clock.now)
    alarm.set(start + 100)
    restore_clock.catch_up(vm.machine, start + 100 * periods + 50)
    assert len(fired) < 50
    assert len(fired) % 2 == periods % 2
    assert alarm.when == start + 100 * (periods + 1)


def test_clock_never_goes_back(machine, tmp_path, monkeypatch):
    vm = machine("-hda", image(tmp_path, "a.qcow2"))
    vm.savevm("one")
    before = vm.clock_ns
    monkeypatch.setattr(disk_state.host, "utc_ns", lambda: 0)
    vm.loadvm("one", "continue")
    assert vm.clock_ns == before
    with pytest.raises(ConfigError, match="unknown clock policy 'stop'"):
        vm.loadvm("one", "stop")


# --- errors of the host -------------------------------------------------------------------------


def failing(vm: Vm, code: int):
    """Let the first disk fail every write."""
    one = disk(vm)

    def refuse(offset, data):
        raise ImageError(one.path, "cannot write: planted", code)

    one.write = refuse


def write_sector(vm: Vm) -> None:
    """WRITE SECTORS by programmed I/O, as a guest does it."""
    cell = drives_attach.cell(vm.machine, 0)
    for n, value in ((6, 0xE0), (2, 1), (3, 5), (4, 0), (5, 0), (7, 0x30)):
        cell.write(n << 4, 1, value)
    vm.run(until_ns=vm.clock_ns + 10_000_000)
    for _ in range(256):
        cell.write(0, 2, 0xABCD)
    vm.run(until_ns=vm.clock_ns + 10_000_000)


def status(vm: Vm) -> int:
    return drives_attach.cell(vm.machine, 0).read(0x16 << 4, 1)


@pytest.mark.parametrize(
    ("werror", "code", "state", "error"),
    [
        ("enospc", errno.ENOSPC, "io-error", False),
        ("enospc", errno.EIO, "running", True),
        ("stop", errno.EIO, "io-error", False),
        ("report", errno.ENOSPC, "running", True),
        ("ignore", errno.EIO, "running", False),
    ],
)
def test_what_an_error_of_the_host_does(machine, tmp_path, werror, code, state, error):
    vm = machine("-drive", f"file={image(tmp_path, 'a.qcow2')},werror={werror}")
    failing(vm, code)
    vm.cont()
    seen: list[object] = []
    vm.events.add(seen.append)
    write_sector(vm)
    assert vm.run_state == state
    told = [e for e in seen if isinstance(e, BlockIoError)]
    assert [(e.operation, e.action, e.nospace) for e in told] == (
        [("write", "stop", code == errno.ENOSPC)] if state == "io-error" else []
    )
    assert bool(status(vm) & 1) == error
    if state == "io-error":
        assert "waits for cont" in ask(vm, "info block")
        vm.savevm("stopped")
        del disk(vm).write
        vm.cont()
        vm.loadvm("stopped")  # the machine runs: its request is tried again
        assert vm.run_state == "running"
        vm.run(until_ns=vm.clock_ns + 10_000_000)
        assert vm.run_state == "running"
        assert disk(vm).read(5 * 512, 2) == b"\xcd\xab"
        assert not status(vm) & 0x89


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-hda", "nothing.img"], "nothing.img: cannot open: No such file"),
        (["-drive", "file=a.img,werror=maybe"], "'maybe'"),
        (["-drive", "file=a.img,rerror=enospc"], "'enospc'"),
        (["-rtc", "restore=later"], "'later'"),
        (["-hda", "empty.img"], "is empty"),
        (["-drive", "file=a.img,format=qcow2"], "a.img"),
        (["-hda", "a.img", "-hdb", "a.img"], "ide0-hd1: "),
        (["-initrd", "a.img"], "-initrd needs -kernel"),
    ],
)
def test_bad_drives(machine, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    image(tmp_path, "a.img")
    (tmp_path / "empty.img").touch()
    with pytest.raises(GossamerError) as caught:
        machine(*options)
    assert message in str(caught.value)
    open_image(tmp_path / "a.img").close()  # nothing keeps it locked


class Screen:
    is_terminal = full = False

    def write(self, data):
        pass


def test_monitor_shows_and_changes_discs(machine, tmp_path):
    vm = machine()
    monitor = Monitor(Session(vm), Screen())
    disc = tmp_path / "disc.iso"
    disc.write_bytes(b"CD001" * 4096)
    assert "ide1-cd0: CD-ROM QEMU DVD-ROM, QM00003; empty" in monitor.execute("info block")
    assert monitor.execute(f"change ide1-cd0 {disc}") == ""
    assert "disc.iso (raw, 20480 bytes, read-only)" in monitor.execute("info block")
    drive = drives_attach.drive_at(vm.machine, 2)
    assert drive.media.read(0, 5) == b"CD001"
    drive.tray_locked = True
    assert "is locked and force was not specified" in monitor.execute("eject ide1-cd0")
    assert drive.eject_request
    assert monitor.execute("eject -f ide1-cd0") == ""
    assert drive.media is None
    assert "unknown drive 'sda'" in monitor.execute("eject sda")


# --- killed -------------------------------------------------------------------------------------

SAVER = """
import sys
from gossamer.control.vm import Vm
from gossamer.machines.options import parse
vm = Vm(parse(sys.argv[1:]))
vm.loadvm("one")
print("ready", flush=True)
n = 0
while True:
    n += 1
    for one in vm.disks.writable:
        one.image.write(70000, b"%08d" % n * 20000)
    vm.run(instructions=1000)
    vm.savevm("one")
    print(n, flush=True)
"""


@pytest.mark.slow
def test_killed_savevm_leaves_a_whole_snapshot(machine, tmp_path, qemu_img):
    a, b = image(tmp_path, "a.qcow2"), image(tmp_path, "b.qcow2")
    options = "-hda", a, "-hdb", b
    vm = machine(*options)
    for n in (0, 1):
        disk(vm, n).write(70000, b"%08d" % 0 * 20000)
    vm.savevm("one")
    vm.close()
    seen = set()
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    for round_ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVER, *QUIET, *FIRMWARE, *options],
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert process.stdout.readline() == b"ready\n"
        for _ in range(round_ % 4):
            process.stdout.readline()  # so many saves are whole
        time.sleep(0.037 * round_)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        for path in (a, b):
            done = subprocess.run([qemu_img, "check", path], capture_output=True, text=True)
            assert done.returncode in (0, 3), done.stdout + done.stderr  # 3: leaked clusters
        vm = machine(*options)
        vm.loadvm("one")
        contents = [bytes(disk(vm, n).read(70000, 160000)) for n in (0, 1)]
        assert contents[0] == contents[1] == contents[0][:8] * 20000
        seen.add(contents[0][:8])
        vm.close()
    assert len(seen) > 1


def test_overlay_survives_the_frames(tmp_path):
    from gossamer.control.disk_capture import packed, unpacked

    path = tmp_path / "a.img"
    create(path, "raw", 300_000)
    one = open_image(path, format="raw", snapshot=True)
    assert isinstance(one, OverlayImage)
    one.write(0, b"a" * 70000)
    one.write(299_900, b"z" * 100)
    chunks = list(packed(one.capture()))
    digest = one.content_hash()
    one.write(0, b"b" * 200_000)
    one.restore(unpacked(chunks, "test"))
    assert one.content_hash() == digest
    whole = b"".join(chunks)
    for bad in (whole[:-5], whole + b"x", b"x" + whole[1:], whole[:30]):
        with pytest.raises(GossamerError):
            one.restore(unpacked([bad], "test"))
        assert one.content_hash() == digest
    one.abandon()


@pytest.mark.parametrize("name", ["a.img", "a.qcow2"])
def test_cost_of_a_save_is_shown_with_the_wait_for_the_medium_apart(
    machine, tmp_path, monkeypatch, name
):
    vm = machine("-hda", image(tmp_path, name))
    monitor = Monitor(Session(vm), Screen())
    assert "nothing saved yet" in monitor.execute("info save")

    def slow(sync):
        def wait(fd):
            time.sleep(0.02)
            sync(fd)

        return wait

    monkeypatch.setattr(os, "fsync", slow(os.fsync))
    monkeypatch.setattr(os, "fdatasync", slow(os.fdatasync))
    vm.savevm("one")
    cost = vm.last_save
    assert 20_000_000 <= cost.fsync_ns < cost.took_ns
    text = monitor.execute("info save")
    assert f"{cost.fsync_ns / 1_000_000:.1f} ms of it waiting for the medium" in text
    assert f"file {cost.file_bytes} bytes" in text
