"""Memory in files: what takes long holds up nobody, and what goes wrong is one error."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gossamer.base.units import MiB
from tests.front.qmp.client import Client, Host

BARE = ("-M", "bare", "-bios", "builtin", "-m", "8", "-icount", "0,sleep=off")
FULL = Path("/dev/full")


@pytest.fixture
def two(start: Callable[..., Host], tmp_path: Path) -> Iterator[tuple[Client, Client]]:
    """Two clients of one machine that runs."""
    other = f"{tmp_path}/other"
    host = start(*BARE, "-chardev", f"socket,id=c,path={other},server=on,wait=off",
                 "-mon", "c,mode=control")  # fmt: skip
    second = Client(other)
    yield host.client, second
    second.close()


def runs_on(client: Client) -> None:
    before = client.do("query-status")
    assert before["running"], before
    while client.do("query-status")["instructions"] <= before["instructions"]:
        time.sleep(0.01)


def begin(client: Client, command: str, **arguments: object) -> None:
    request = {"execute": command, "arguments": arguments}
    client.socket.sendall(json.dumps(request).encode())


def test_a_reader_that_does_not_read_holds_up_its_own_client_alone(
    two: tuple[Client, Client], tmp_path: Path
) -> None:
    one, other = two
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    refused = one.refused("pmemsave", val=0, size=4096, filename=str(pipe))
    assert "cannot be written" in refused[1], "no reader: opening must not wait for one"
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        begin(one, "dump-guest-memory", paging=False, protocol=f"file:{pipe}")
        while other.do("query-dump")["status"] != "active":
            time.sleep(0.01)
        assert other.do("query-status")["status"] == "paused"
        assert "being dumped" in other.refused("cont")[1]
        assert "being dumped" in other.refused("migrate", uri=f"exec:cat > {tmp_path}/m")[1]
        assert "being dumped" in other.refused("pmemsave", val=0, size=1, filename="/dev/null")[1]
        data = 0
        while other.do("query-dump")["status"] == "active":
            with contextlib.suppress(BlockingIOError):
                data += len(os.read(reader, MiB))
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(reader, MiB):
                data += len(piece)
        assert data > 8 * MiB
        assert one.answer() == {"return": {}}
        runs_on(other)
        # A reader that goes away is one error; so is the end meanwhile.
        begin(one, "dump-guest-memory", paging=False, protocol=f"file:{pipe}")
        while other.do("query-dump")["status"] != "active":
            time.sleep(0.01)
    finally:
        os.close(reader)
    assert "Broken pipe" in one.answer()["error"]["desc"]
    assert other.do("query-dump")["status"] == "failed"
    runs_on(other)


def test_the_end_does_not_wait_for_a_reader(two: tuple[Client, Client], tmp_path: Path) -> None:
    one, other = two
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        begin(one, "pmemsave", val=0, size=8 * MiB, filename=f"{tmp_path}/pipe")
        while other.do("query-status")["running"] and "being dumped" not in str(
            other.send(execute="system_reset")
        ):
            time.sleep(0.01)
        assert other.do("quit") == {}
    finally:
        os.close(reader)


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_error_and_the_guest_goes_on(
    two: tuple[Client, Client], tmp_path: Path
) -> None:
    one, _ = two
    for command, given in (
        ("pmemsave", {"val": 0, "size": MiB, "filename": "/dev/full"}),
        ("dump-guest-memory", {"paging": False, "protocol": "file:/dev/full"}),
    ):
        kind, text = one.refused(command, **given)
        assert (kind, text) == (
            "GenericError", "/dev/full: cannot be written: No space left on device"
        )  # fmt: skip
        runs_on(one)
    event = one.wait_event("DUMP_COMPLETED")
    assert event["data"]["result"]["status"] == "failed"
    assert "No space left" in event["data"]["error"]
    assert one.do("dump-guest-memory", paging=False, protocol="file:/dev/full", detach=True) == {}
    assert "No space left" in one.wait_event("DUMP_COMPLETED")["data"]["error"]
    runs_on(one)
    core = tmp_path / "core"
    assert one.do("dump-guest-memory", paging=False, protocol=f"file:{core}", detach=True) == {}
    one.wait_event("DUMP_COMPLETED")
    runs_on(one)
    assert one.do("query-dump") == {"status": "completed", "completed": 8 * MiB, "total": 8 * MiB}
    assert core.stat().st_size > 8 * MiB
