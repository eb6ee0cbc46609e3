"""Snapshots inside qcow2 images go from QEMU to gossamer and back, with the disk's content."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from pathlib import Path

import pytest

from gossamer.block import create
from gossamer.control.vm import Vm
from gossamer.machines.options import parse
from gossamer.streams.open import open_input

OPTIONS = ("-M", "g3beige", "-m", "64", "-nographic", "-prom-env", "auto-boot?=false")


@pytest.fixture(autouse=True)
def state_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def mine(*options: str) -> Vm:
    return Vm(parse([*OPTIONS, "-serial", "null", "-monitor", "none", *options]))


class Qemu:
    """QEMU, stopped, with its machine protocol on a socket."""

    def __init__(self, program: Path, *options: str) -> None:
        here, there = socket.socketpair()
        command = [program, *OPTIONS, "-serial", "null", "-monitor", "none", "-S", *options]
        command += ["-chardev", f"socket,id=q,fd={there.fileno()}", "-qmp", "chardev:q"]
        self.process = subprocess.Popen(
            ["timeout", "--foreground", "900", *command],
            stdin=subprocess.DEVNULL,
            pass_fds=[there.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
        there.close()
        self.link = here.makefile("rw")
        here.close()
        assert "QMP" in self.link.readline(), self.process.stderr.read()
        self.qmp("qmp_capabilities")

    def qmp(self, execute: str, **arguments):
        self.link.write(json.dumps({"execute": execute, "arguments": arguments}) + "\n")
        self.link.flush()
        while True:
            answer = json.loads(self.link.readline())
            if "event" not in answer:
                return answer["return"]

    def hmp(self, line: str) -> str:
        return self.qmp("human-monitor-command", **{"command-line": line})

    def end(self) -> None:
        """Quit; a second call does nothing."""
        if self.link.closed:
            return
        with contextlib.suppress(OSError):  # a reset is an end, too
            self.link.write('{"execute": "quit"}\n')
            self.link.flush()
            for _ in self.link:  # to its end: a socket closed earlier may lose the command
                pass
        with contextlib.suppress(OSError):
            self.link.close()
        try:
            self.process.wait(600)
        finally:
            self.process.kill()
            self.process.wait(600)
            self.process.stderr.close()


@pytest.fixture
def start(qemu):
    """Starts QEMU; ends it whatever happens."""
    started = []

    def make(*options: str) -> Qemu:
        started.append(Qemu(qemu, *options))
        return started[-1]

    yield make
    for one in started:
        one.end()


def test_loadvm_of_qemus_snapshot(tmp_path, start, qemu_img, openbios):
    path = tmp_path / "a.qcow2"
    create(path, "qcow2", 4 << 20)
    drive = "-drive", f"file={path},format=qcow2,media=disk"
    theirs = start(*drive)
    theirs.hmp('qemu-io ide0-hd0 "write -P 0x51 0 64k"')
    assert theirs.hmp("savevm theirs") == ""
    theirs.hmp('qemu-io ide0-hd0 "write -P 0x52 0 64k"')
    theirs.end()
    vm = mine(*drive)
    assert [s.tag for s in vm.snapshots()] == ["theirs"]
    image = vm.disks.at[0].image
    assert image.read(0, 1) == b"\x52"
    vm.loadvm("theirs")
    assert image.read(0, 65536) == b"\x51" * 65536
    vm.run(instructions=100_000)
    vm.close()
    assert subprocess.run([qemu_img, "check", path], capture_output=True).returncode == 0


def test_qemu_loads_a_snapshot_written_for_it(tmp_path, start, qemu_img, openbios):
    paths = tmp_path / "a.qcow2", tmp_path / "b.qcow2"
    for path in paths:
        create(path, "qcow2", 4 << 20)
    drives = "-hda", str(paths[0]), "-hdb", str(paths[1])
    vm = mine(*drives)
    vm.run(until_ns=200_000_000)
    for disk in vm.disks:
        disk.image.write(0, b"\x61" * 512)
    vm.savevm("ours")
    vm.wire_profile = "qemu-7.2"
    vm.savevm("for qemu")
    assert vm.last_save.stream_bytes == vm.disks.at[0].image.find_snapshot("for qemu").vmstate_size
    for disk in vm.disks:
        disk.image.write(0, b"\x62" * 512)
    vm.close()
    for path in paths:
        listed = subprocess.run([qemu_img, "snapshot", "-l", path], capture_output=True, text=True)
        assert "for qemu" in listed.stdout
        assert "ours" in listed.stdout
        checked = subprocess.run([qemu_img, "check", path], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout
    theirs = start(*drives)
    assert theirs.hmp('loadvm "for qemu"') == ""
    assert theirs.qmp("query-status")["status"] in ("prelaunch", "paused")
    theirs.qmp("cont")
    time.sleep(0.3)
    assert theirs.qmp("query-status")["status"] == "running"
    theirs.end()
    done = subprocess.run(
        [qemu_img, "convert", "-O", "raw", paths[1], tmp_path / "b.raw"], capture_output=True
    )
    assert done.returncode == 0
    assert (tmp_path / "b.raw").read_bytes()[:512] == b"\x61" * 512


def test_stream_tools_read_our_snapshots(tmp_path, openbios):
    path = tmp_path / "a.qcow2"
    create(path, "qcow2", 4 << 20)
    vm = mine("-hda", str(path))
    vm.savevm("ours")
    expected = vm.state_hash()
    vm.close()
    with open_input(f"{path}@ours") as found:
        data = found.file.read()
    there = mine("-hda", str(path))
    there.load_bytes(data)
    assert there.state_hash() == expected
    there.close()
