"""-daemonize, and descriptors that a parent hands down."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gossamer.front.trace_log import ALIKE, MOST, TraceLog
from gossamer.machines.config import Logging
from tests.waiting import ended, until

BARE = ("-M", "bare", "-m", "4", "-display", "none", "-S")
PATIENCE = 600


def gossamer(*options: str, fds: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run with pipes at its standard streams; returns when all their other ends are closed."""
    return subprocess.run(
        [sys.executable, "-m", "gossamer", "run", *BARE, *options],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        pass_fds=fds,
        check=False,
    )


def said(peer: socket.socket, until: bytes) -> bytes:
    got = b""
    while until not in got:
        more = peer.recv(4096)
        assert more, got
        got += more
    return got


def test_parent_ends_when_sockets_listen_and_all_pipes_are_closed(tmp_path: Path) -> None:
    inner, outer = os.pipe()
    monitor, pidfile = tmp_path / "m", tmp_path / "pid"
    done = gossamer(
        "-daemonize", "-monitor", f"unix:{monitor},server=on,wait=off", "-pidfile", str(pidfile),
        fds=(outer,),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    pid = int(pidfile.read_text())
    try:
        os.close(outer)
        assert os.read(inner, 1) == b"", "the pipe that was inherited is still open"
        assert os.getsid(pid) == pid
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(monitor))
            said(peer, b"(gossamer) ")
            peer.sendall(b"info status\n")
            assert b"prelaunch" in said(peer, b"(gossamer) ")
            peer.sendall(b"quit\n")
        until(lambda: ended(pid))
        assert not pidfile.exists()
    finally:
        os.close(inner)
        if not gone_now(pid):
            os.kill(pid, signal.SIGKILL)


def gone_now(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_fault_before_it_is_ready_is_the_parents() -> None:
    done = gossamer("-daemonize", "-monitor", "unix:/nowhere/m,server=on")
    assert done.returncode == 2
    assert done.stderr.startswith("gossamer: unix:/nowhere/m,server=on: cannot listen: ")
    assert done.stderr.count("\n") == 1


def test_socket_and_file_that_were_handed_down(tmp_path: Path) -> None:
    (tmp_path / "serial").write_text("before\n")
    with (
        socket.create_server(str(tmp_path / "m"), family=socket.AF_UNIX) as server,
        (tmp_path / "serial").open("a") as out,
        socket.socket(socket.AF_UNIX) as peer,
    ):
        fds = (server.fileno(), out.fileno())
        peer.connect(str(tmp_path / "m"))
        peer.sendall(b"quit\n")
        done = gossamer(
            "-chardev", f"socket,id=m,fd={fds[0]},server=on,wait=on", "-mon", "m",
            "-add-fd", f"fd={fds[1]},set=7", "-chardev", "file,id=s,path=/dev/fdset/7,append=on",
            "-serial", "chardev:s", fds=fds,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "serial").read_text() == "before\n"


def test_records_of_a_chatty_guest_are_bounded(tmp_path: Path) -> None:
    with TraceLog(Logging(tmp_path / "log", ("macio/*",))) as log:
        for _ in range(1000):
            log.event("macio/via", "write to 0x10")
        log.event("pci", "not asked for")
        for n in range(2 * MOST):
            log.event("macio/escc", str(n))
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[: ALIKE + 1] == ["macio/via: write to 0x10"] * ALIKE + [
        "macio/via: write to 0x10 (16 times)"
    ]
    assert len(lines) <= MOST
    assert not any("pci" in line for line in lines)


@pytest.mark.parametrize("escape", [1, 2])
def test_escape_key(escape: int) -> None:
    from gossamer.front.chardev import Chardev
    from gossamer.front.mux import Mux

    device, ended = Chardev("x"), list[bool]()
    Mux(device, end=lambda: ended.append(True), escape=escape)
    device.receive(bytes((escape, ord("x"))))
    assert ended == [True]
