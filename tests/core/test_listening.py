"""A Unix socket's name is there only once it can be connected to."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from gossamer.base.errors import HostError
from gossamer.front.open_chardev import open_chardev
from gossamer.migrate.channels import Listener

LISTENERS: dict[str, Callable[[str], object]] = {
    "a stream": lambda path: Listener(f"unix:{path}"),
    "a character device": lambda path: open_chardev(f"unix:{path},server=on,wait=off"),
}


@pytest.mark.parametrize("name", LISTENERS)
def test_name_is_not_there_before_the_socket_listens(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment between the two is looked into; a client that polls for the name is refused."""
    seen: list[list[str]] = []
    listen = socket.socket.listen

    def look_first(self: socket.socket, backlog: int = 0) -> None:
        seen.append(sorted(path.name for path in tmp_path.iterdir()))
        listen(self, backlog)

    monkeypatch.setattr(socket.socket, "listen", look_first)
    made = LISTENERS[name](str(tmp_path / "s"))
    assert seen == [[f"s.{os.getpid()}"]]
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
    made.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []


def test_name_that_is_taken_while_the_socket_begins_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen = socket.socket.listen

    def taken(self: socket.socket, backlog: int = 0) -> None:
        (tmp_path / "s").write_text("precious")
        listen(self, backlog)

    monkeypatch.setattr(socket.socket, "listen", taken)
    with pytest.raises(HostError, match="cannot listen: Address already in use"):
        Listener(f"unix:{tmp_path}/s")
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    assert (tmp_path / "s").read_text() == "precious"


def test_name_as_long_as_a_socket_takes_is_bound_at_once(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path = path.with_name("s" * (107 - len(os.fsencode(path)) + 1))
    listener = Listener(f"unix:{path}")
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    listener.close()
