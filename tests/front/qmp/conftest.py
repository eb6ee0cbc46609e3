from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.front.qmp.client import Client, Host

BARE = ("-M", "bare", "-bios", "builtin", "-m", "4", "-icount", "0,sleep=off")


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Host]]:
    """Starts machines; all of them end with the test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    made: list[Host] = []

    def begin(*words: str) -> Host:
        host = Host(tmp_path, *(words or BARE), name=f"q{len(made)}")
        made.append(host)
        return host

    yield begin
    for host in made:
        host.end()


@pytest.fixture
def host(start: Callable[..., Host]) -> Host:
    return start(*BARE, "-S")


@pytest.fixture
def qmp(host: Host) -> Client:
    return host.client
