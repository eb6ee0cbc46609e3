"""A save that takes long: others are served meanwhile, and nothing changes under it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gossamer.migrate.container_writer import ContainerWriter, Written
from tests.front.qmp.client import Client, Host
from tests.front.qmp.conftest import BARE


class Gate:
    """Holds every save at its last step until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.reached = threading.Event(), threading.Event()
        commit = ContainerWriter.commit

        def held(writer: ContainerWriter) -> Written:
            self.reached.set()
            assert self.open.wait(60)
            return commit(writer)

        monkeypatch.setattr(ContainerWriter, "commit", held)


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
    assert gate.reached.wait(60)
    before = second.do("query-status")
    assert second.do("query-status")["instructions"] == before["instructions"]
    assert second.do("x-query-registers")["nip"] >= 0
    for name in ("system_reset", "cont"):
        assert "being saved" in second.refused(name)[1]
    assert "being saved" in second.refused("x-load", file=f"{folder}/s")[1]
    gate.open.set()
    assert host.client.answer()["return"]["stream-bytes"] > 0
    assert second.do("query-status")["running"] is True
    second.close()


def test_quit_waits_for_a_save_that_goes_on(
    start: Callable[..., Host], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gate = Gate(monkeypatch)
    host = start(*BARE)
    host.client.socket.sendall(
        b'{"execute":"x-save","arguments":{"file":"%s/s"}}' % str(tmp_path).encode()
    )
    assert gate.reached.wait(60)
    host.client.socket.sendall(b'{"execute":"quit"}')
    threading.Timer(0.3, gate.open.set).start()
    host.join(60)
    assert host.status == 0
    assert (tmp_path / "s").stat().st_size > 0
