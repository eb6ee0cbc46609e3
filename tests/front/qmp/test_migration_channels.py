"""`channels` of migrate and migrate-incoming, as QEMU 8.2 and later take it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gossamer.base.errors import GossamerError
from gossamer.control.commands.migration_channels import MigrationChannel, uri_of
from gossamer.control.shapes import parsed, type_of
from tests.front.qmp.client import Host


def channels(*places: dict[str, Any]) -> tuple[MigrationChannel, ...]:
    given = [{"channel-type": "main", "addr": place} for place in places]
    found: tuple[MigrationChannel, ...] = parsed(
        type_of(tuple[MigrationChannel, ...]), given, "channels"
    )
    return found


@pytest.mark.parametrize(
    ("place", "uri"),
    [
        ({"transport": "socket", "type": "inet", "host": "a", "port": "1"}, "tcp:a:1"),
        ({"transport": "socket", "type": "inet", "host": "::1", "port": "1"}, "tcp:[::1]:1"),
        ({"transport": "socket", "type": "unix", "path": "/a"}, "unix:/a"),
        ({"transport": "socket", "type": "fd", "str": "mine"}, "fd:mine"),
        ({"transport": "exec", "args": ["cat", "a b"]}, "exec:cat 'a b'"),
        ({"transport": "file", "filename": "/f", "offset": 0}, "file:/f"),
        ({"transport": "file", "filename": "/f", "offset": 4096}, "file:/f,offset=4096"),
    ],
)
def test_a_place_in_parts_is_a_uri(place: dict[str, Any], uri: str) -> None:
    assert uri_of(None, channels(place)) == uri


def test_what_is_no_place_is_refused_in_one_line() -> None:
    unix = {"transport": "socket", "type": "unix", "path": "/a"}
    for given, why in (
        ((None, None), "Parameter 'uri' is missing"),
        (("unix:/a", channels(unix)), "mutually exclusive"),
        ((None, channels(unix, unix)), "2 entries, expected exactly one"),
        ((None, channels({"transport": "exec", "args": []})), "needs args"),
        ((None, channels({"transport": "socket", "type": "unix"})), "unix needs path"),
        ((None, channels({"transport": "socket", "type": "inet", "port": "1"})), "needs host"),
    ):
        with pytest.raises(GossamerError, match=why):
            uri_of(*given)
    with pytest.raises(GossamerError):
        channels({"transport": "rdma", "host": "a", "port": "1"})


def test_a_receiver_says_where_it_listens(start: Callable[..., Host]) -> None:
    """As QEMU: with the port that the host chose, until a machine is there."""
    sender = start("-M", "bare", "-m", "4", "-S")
    there = start("-M", "bare", "-m", "4", "-S", "-incoming", "defer")
    one, two = sender.client, there.client
    assert two.do("migrate-incoming", uri="tcp:127.0.0.1:0") == {}
    (at,) = two.do("query-migrate")["socket-address"]
    assert (at["type"], at["host"]) == ("inet", "127.0.0.1")
    assert int(at["port"]) > 0
    one.do("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
    one.do("migrate", uri=f"tcp:127.0.0.1:{at['port']}")
    one.wait_event("MIGRATION", status="completed")
    while two.do("query-status")["status"] == "inmigrate":
        pass
    assert "socket-address" not in two.do("query-migrate")
    assert "socket-address" not in one.do("query-migrate")
