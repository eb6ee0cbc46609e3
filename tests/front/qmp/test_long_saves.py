"""A save or load that takes long: others are served meanwhile, and nothing changes under it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gossamer.base.errors import StreamError
from gossamer.block import create
from gossamer.control import disk_restore
from gossamer.control.loading import Arrived, read_machine
from gossamer.migrate.container_writer import ContainerWriter, Written
from tests.front.qmp.client import Client, Host
from tests.front.qmp.conftest import BARE


class Gate:
    """Holds every save at its last step, and every load at its first, until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.reached = threading.Event(), threading.Event()
        commit = ContainerWriter.commit

        def held(writer: ContainerWriter) -> Written:
            self.reached.set()
            assert self.open.wait(600)
            return commit(writer)

        def read(*words: Any) -> Arrived:
            self.reached.set()
            assert self.open.wait(600)
            return read_machine(*words)

        monkeypatch.setattr(ContainerWriter, "commit", held)
        monkeypatch.setattr(disk_restore, "read_machine", read)

    def close(self) -> None:
        self.open.clear()
        self.reached.clear()


def test_others_are_served_while_a_save_goes_on(
    start: Callable[..., Host],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("o")
    gate = Gate(monkeypatch)
    host = start(
        *BARE, "-chardev", f"socket,id=c,path={folder}/second,server=on,wait=off",
        "-mon", "c,mode=control",
    )  # fmt: skip
    second = Client(f"{folder}/second")
    host.client.socket.sendall(b'{"execute":"x-save","arguments":{"file":"%s/s"}}' % (
        str(folder).encode()
    ))  # fmt: skip
    assert gate.reached.wait(600)
    before = second.do("query-status")
    assert second.do("query-status")["instructions"] == before["instructions"]
    assert second.do("x-query-registers")["nip"] >= 0
    for name in ("system_reset", "cont"):
        assert "being saved" in second.refused(name)[1]
    assert "being saved" in second.refused("x-load", file=f"{folder}/s")[1]
    gate.open.set()
    assert host.client.answer()["return"]["stream-bytes"] > 0
    assert second.do("query-status")["running"] is True

    gate.close()
    host.client.socket.sendall(b'{"execute":"x-load","arguments":{"file":"%s/s"}}' % (
        str(folder).encode()
    ))  # fmt: skip
    assert gate.reached.wait(600)
    now = second.do("query-status")
    assert now["running"] is True
    assert second.do("query-status")["instructions"] == now["instructions"] > before["instructions"]
    assert "being loaded" in second.refused("system_reset")[1]
    assert "being loaded" in second.refused("x-delvm", tag="x")[1]
    gate.open.set()
    assert host.client.answer() == {"return": {}}
    second.close()


def test_a_stop_during_a_load_counts_and_a_failed_load_changes_nothing(
    start: Callable[..., Host],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("o")
    create(folder / "hd", "qcow2", 1 << 20)
    host = start(
        "-M", "g3beige", "-bios", "builtin", "-m", "8", "-icount", "0,sleep=off",
        "-hda", f"{folder}/hd", "-chardev", f"socket,id=c,path={folder}/second,server=on,wait=off",
        "-mon", "c,mode=control",
    )  # fmt: skip
    mine, second = host.client, Client(f"{folder}/second")
    mine.do("x-savevm", tag="one")
    gate = Gate(monkeypatch)
    mine.socket.sendall(b'{"execute":"x-loadvm","arguments":{"tag":"one"}}')
    assert gate.reached.wait(600)
    assert second.do("stop") == {}
    assert "being loaded" in second.refused("cont")[1]
    gate.open.set()
    assert mine.answer() == {"return": {}}
    saved = second.do("query-status")
    assert saved["status"] == "paused"

    def broken(*words: Any) -> Arrived:
        raise StreamError("a broken stream")

    monkeypatch.setattr(disk_restore, "read_machine", broken)
    second.do("cont")
    second.do("stop")
    before = second.do("query-status")
    assert before["instructions"] >= saved["instructions"]
    assert "a broken stream" in mine.refused("x-loadvm", tag="one")[1]
    assert second.do("query-status") == before
    assert mine.do("x-delvm", tag="one") == {}
    second.close()


def test_quit_waits_for_a_save_that_goes_on(
    start: Callable[..., Host], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gate = Gate(monkeypatch)
    host = start(*BARE)
    host.client.socket.sendall(
        b'{"execute":"x-save","arguments":{"file":"%s/s"}}' % str(tmp_path).encode()
    )
    assert gate.reached.wait(600)
    host.client.socket.sendall(b'{"execute":"quit"}')
    threading.Timer(0.3, gate.open.set).start()
    host.join(600)
    assert host.status == 0
    assert (tmp_path / "s").stat().st_size > 0
