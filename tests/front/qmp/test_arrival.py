"""A machine that arrives stands still with -S, whatever its sender still does."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

from tests.front.qmp.client import Host, connected
from tests.front.qmp.conftest import BARE


def leaves(host: Host, states: tuple[str, ...]) -> None:
    end = time.monotonic() + 600
    while host.client.do("query-status")["status"] in states:
        assert time.monotonic() < end


def arrived(start: Callable[..., Host], tmp_path: Path, *words: str) -> tuple[Host, socket.socket]:
    """A receiver that has a machine which ran, and the connection, which its sender keeps open."""
    sender = start(*BARE)
    sender.client.do("migrate", uri=f"exec:cat > {tmp_path}/stream")
    leaves(sender, ("running", "finish-migrate"))
    receiver = start(*BARE, *words, "-incoming", f"unix:{tmp_path}/in")
    peer = connected(f"{tmp_path}/in")
    peer.sendall((tmp_path / "stream").read_bytes())
    leaves(receiver, ("inmigrate",))
    return receiver, peer


def test_with_s_it_stands_still_while_its_sender_is_there(
    start: Callable[..., Host], tmp_path: Path
) -> None:
    receiver, peer = arrived(start, tmp_path, "-S")
    with peer:
        first = receiver.client.do("query-status")
        assert first["status"] == "paused"
        time.sleep(0.2)
        assert receiver.client.do("query-status") == first
    receiver.client.do("cont")
    assert receiver.client.do("query-status")["status"] == "running"


def test_without_s_it_runs_while_its_sender_is_there(
    start: Callable[..., Host], tmp_path: Path
) -> None:
    receiver, peer = arrived(start, tmp_path)
    with peer:
        first = receiver.client.do("query-status")
        assert first["status"] == "running"
        end = time.monotonic() + 600
        while receiver.client.do("query-status")["instructions"] <= first["instructions"]:
            assert time.monotonic() < end
