"""A move leaves its machine exactly once, whatever fails."""

from __future__ import annotations

import pytest

from gossamer.fleet.errors import FleetError, NodeLostError
from gossamer.fleet.handle import Handle
from gossamer.fleet.moves import move, transport
from tests.fleet.fakes import FakeNode


class Pair:
    """Two nodes, and a machine that runs on the first."""

    def __init__(self) -> None:
        self.book: list[tuple[str, str, str]] = []
        self.a, self.b = FakeNode("a", self.book), FakeNode("b", self.book)
        self.a.do_start("mac", [], "python", False)
        self.mac = Handle("mac", [], "python", self.a)

    def running(self) -> list[str]:
        """Where a machine runs now."""
        return [
            node.name
            for node in (self.a, self.b)
            for row in node.machines.values()
            if row["status"] == "running" and not node.gone
        ]


def test_it_runs_there_only_after_it_has_arrived_and_the_sender_ends() -> None:
    pair = Pair()
    moved = move(pair.mac, pair.b, compare=True)
    assert (moved.source, moved.target, moved.downtime_ms, moved.bytes) == ("a", "b", 7, 100)
    assert pair.running() == ["b"]
    assert not pair.a.machines
    assert list(pair.b.machines) == ["mac"]
    order = [call for call in pair.book if call[1] in ("receiving", "hash", "command", "release")]
    assert order[-2:] == [("b", "command", "mac.moving"), ("a", "release", "mac")]
    assert pair.mac.node is pair.b


@pytest.mark.parametrize("method", ["receive", "receiving", "hash", "command"])
def test_what_fails_there_leaves_it_running_here(method: str) -> None:
    pair = Pair()
    pair.b.fail[method] = FleetError("a planted fault")
    with pytest.raises(FleetError, match="a planted fault"):
        move(pair.mac, pair.b, compare=True)
    assert pair.running() == ["a"]
    assert not pair.b.machines
    assert pair.mac.node is pair.a
    if method != "receive":
        ended = pair.book.index(("b", "release", "mac.moving"))
        assert ("a", "command", "mac") in pair.book[ended:], "it went on before the other was dead"


def test_another_hash_there_is_a_fault() -> None:
    pair = Pair()
    pair.b.hashes["mac.moving"] = "0x2"
    with pytest.raises(FleetError, match="state hash is 0x2, expected 0x1"):
        move(pair.mac, pair.b, compare=True)
    assert pair.running() == ["a"]
    assert not pair.b.machines


def test_a_receiver_that_dies_leaves_it_running_here() -> None:
    pair = Pair()
    wait = pair.b.do_receiving

    def dies(name: str) -> object:
        pair.b.gone = True
        wait(name)
        raise NodeLostError("b", "power failure")

    pair.b.do_receiving = dies  # type: ignore[method-assign,assignment]
    with pytest.raises(FleetError, match="stays on a"):
        move(pair.mac, pair.b)
    assert pair.running() == ["a"]


def test_a_sender_that_dies_after_it_has_sent_all_leaves_it_there() -> None:
    pair = Pair()

    def dies(name: str, seconds: float) -> object:
        pair.a.gone = True
        raise NodeLostError("a", "power failure")

    pair.a.do_sending = dies  # type: ignore[method-assign,assignment]
    move(pair.mac, pair.b)
    assert pair.running() == ["b"]
    assert pair.mac.node is pair.b


def test_a_sender_that_dies_before_leaves_nothing_half_there() -> None:
    pair = Pair()

    def dies(name: str, place: str, tls: str) -> object:
        pair.a.gone = True
        pair.b.do_receiving = lambda name: {"status": "inmigrate"}  # type: ignore[method-assign]
        raise NodeLostError("a", "power failure")

    pair.a.do_send = dies  # type: ignore[method-assign,assignment]
    with pytest.raises(NodeLostError):
        move(pair.mac, pair.b)
    assert pair.running() == []
    assert not pair.b.machines


def test_in_doubt_it_stands_still_and_the_error_says_how_to_decide() -> None:
    pair = Pair()
    pair.b.certain = False
    pair.b.fail["receiving"] = pair.b.fail["release"] = NodeLostError("b", "no answer")
    with pytest.raises(FleetError, match=r"whether mac runs there is not known.* end b for sure"):
        move(pair.mac, pair.b)
    assert pair.running() == []
    assert pair.a.machines["mac"]["status"] == "postmigrate"


def test_a_stopped_machine_stays_stopped() -> None:
    pair = Pair()
    pair.mac.stop()
    move(pair.mac, pair.b)
    assert pair.running() == []
    assert pair.b.machines["mac"]["status"] == "paused"


def test_into_another_environment_on_the_same_node() -> None:
    pair = Pair()
    move(pair.mac, pair.a, "newer")
    assert pair.running() == ["a"]
    assert list(pair.a.machines) == ["mac"]
    assert pair.a.machines["mac"]["python"] == "newer"
    assert pair.mac.python == "newer"


def test_between_computers_only_inside_tls() -> None:
    here, there = FakeNode("a", []), FakeNode("b", [], boot="another")
    with pytest.raises(FleetError, match=r"different computers: .*gossamer tls init"):
        transport(here, there, None)
    assert transport(here, there, "/tls") == ["tcp", "b", "/tls"]
    assert transport(here, FakeNode("c", []), None) == ["unix"]
