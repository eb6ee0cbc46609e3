"""What QEMU's own device tests for the Macs do, done here: boot order, objects, the human monitor.

The emulator connects to both sockets of the test, qtest's first.  Source: what QEMU 10's tests of
those names ask for and expect (notes of a reading; no code of theirs).  `tests/interop` has the two
that need a firmware.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gossamer.front import session as front_session
from gossamer.front.console import Console
from gossamer.machines.options import parse
from tests.front.qmp.client import Client

MACHINES = ("g3beige", "mac99")


class Started(threading.Thread):
    """An emulator as a device test starts it, in this process."""

    def __init__(self, folder: Path, *words: str, accel: str = "qtest") -> None:
        super().__init__(daemon=True)
        self.listeners = [listening(f"{folder}/{name}") for name in ("qtest", "qmp")]
        self.words = [
            "-qtest", f"unix:{folder}/qtest", "-qtest-log", "/dev/null",
            "-chardev", f"socket,path={folder}/qmp,id=char0", "-mon", "chardev=char0,mode=control",
            "-display", "none", "-audio", "none", *words, "-accel", accel,
        ]  # fmt: skip
        self.status: object = None
        self.start()
        self.peer = self.listeners[0].accept()[0]
        self.qtest = self.peer.makefile("rwb")
        self.qmp = Client.on(self.listeners[1].accept()[0])

    def run(self) -> None:
        with Console(parse(self.words)) as console:
            # Signals belong to the main thread.
            console._signals.caught = lambda fd: contextlib.nullcontext()  # type: ignore[method-assign,assignment,return-value]
            self.status = front_session.run_machine(parse(self.words), console)

    def ask(self, line: str) -> str:
        """The value of an answer that begins with OK."""
        self.qtest.write(line.encode() + b"\n")
        self.qtest.flush()
        answer = self.qtest.readline().decode().split()
        assert answer[0] == "OK", answer
        return answer[1] if len(answer) > 1 else ""

    def monitor(self, line: str) -> str:
        return str(self.qmp.do("human-monitor-command", command_line=line))

    def end(self) -> None:
        if self.is_alive():
            assert self.qmp.send(execute="quit") == {"return": {}}
        self.join(600)
        assert self.status == 0
        self.qtest.close()
        for one in (self.qmp.socket, self.peer, *self.listeners):
            one.close()


def listening(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.bind(path)
    made.listen(1)
    made.settimeout(600)
    return made


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    made: list[Started] = []

    def begin(*words: str) -> Started:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Started(folder, *words))
        return made[-1]

    yield begin
    for one in made:
        one.end()


@pytest.mark.parametrize("machine", MACHINES)
def test_boot_order(started: Callable[..., Started], machine: str) -> None:
    """The first boot device in the firmware's configuration, before and after a reset."""
    for options, first, then in (
        ((), "c", "c"), (("-boot", "c"), "c", "c"), (("-boot", "d"), "d", "d"),
        (("-boot", "once=d,order=c"), "d", "c"),
    ):  # fmt: skip
        one = started("-nodefaults", "-M", machine, "-bios", "builtin", "-m", "8", *options)
        assert one.ask("endianness") == "big"
        assert chr(boot_device(one)) == first
        one.qmp.do("system_reset")
        one.qmp.wait_event("RESET")
        assert chr(boot_device(one)) == then


def boot_device(one: Started) -> int:
    one.ask("writew 0xf0000510 0x000c")
    value = int(one.ask("readb 0xf0000512"), 16)
    return value or int(one.ask("readb 0xf0000512"), 16)


@pytest.mark.parametrize("machine", MACHINES)
def test_every_object_and_property_answers(started: Callable[..., Started], machine: str) -> None:
    one = started("-machine", machine, "-bios", "builtin", "-m", "8")
    names = {entry["name"] for entry in one.qmp.do("query-machines")}
    assert machine in names
    assert one.qmp.do("qom-list-properties", typename=f"{machine}-machine")
    seen = walk(one.qmp, "/machine")
    assert len(seen) > 10
    assert {"/machine/peripheral", "/machine/unattached"} <= seen


def walk(qmp: Client, path: str) -> set[str]:
    """Every object below `path`; each property is read (which may fail, in words)."""
    found = {path}
    for entry in qmp.do("qom-list", path=path):
        if entry["type"].startswith(("child<", "link<")):
            if entry["type"].startswith("child<"):
                found |= walk(qmp, f"{path}/{entry['name']}")
            continue
        reply = qmp.send(execute="qom-get", arguments={"path": path, "property": entry["name"]})
        assert "return" in reply or reply["error"]["desc"], entry
    return found


#: One line each of the commands that the test of the human monitor types.
LINES = """
announce_self
boot_set ndc
chardev-add null,id=testchardev1
chardev-send-break testchardev1
chardev-change testchardev1 ringbuf
chardev-remove testchardev1
commit all
cpu 0
device_add ?
device_add usb-mouse,id=mouse1
drive_add ignored format=help
mouse_button 7
mouse_move 10 10
mouse_button 0
device_del mouse1
dump-guest-memory /dev/null 0 4096
dump-guest-memory /dev/null
gdbserver none
gva2gpa 0
hostfwd_add tcp::43210-:43210
hostfwd_remove tcp::43210-:43210
i /w 0
log all
log none
memsave 0 4096 "/dev/null"
migrate_set_parameter xbzrle-cache-size 64k
migrate_set_parameter downtime-limit 1
mouse_set 1
netdev_add user,id=net1
set_link net1 off
set_link net1 on
netdev_del net1
nmi
o /w 0 0x1234
object_add memory-backend-ram,id=mem1,size=256M
object_del mem1
pmemsave 0 4096 "/dev/null"
p $pc + 8
qom-list /
qom-set /machine initrd test
qom-get /machine initrd
screendump /dev/null
sendkey x
singlestep on
wavcapture /dev/null
stopcapture 0
sum 0 512
x /8i 0x100
xp /16x 0
""".strip().splitlines()


@pytest.mark.parametrize("machine", MACHINES)
def test_every_line_of_the_human_monitor_answers(
    started: Callable[..., Started], machine: str
) -> None:
    one = started("-S", "-M", machine, "-bios", "builtin", "-m", "8", "-usb")
    said = {line: one.monitor(line) for line in LINES}
    faults = {line: text for line, text in said.items() if "gossamer's own" in text}
    assert not faults
    topics = [line.split()[1] for line in one.monitor("help info").splitlines()]
    assert len(topics) > 30
    for topic in topics:
        shown = one.monitor(f"info {topic}")
        assert "gossamer's own" not in shown, (topic, shown)
    assert "paused" in one.monitor("info status")


def test_the_emulator_ends_when_it_is_sent_away(started: Callable[..., Started]) -> None:
    one = started("-M", "none")
    assert one.qmp.send(execute="quit") == {"return": {}}
    one.join(600)
    assert one.status == 0
    last: Any = one.qtest.readline()
    assert last == b""
