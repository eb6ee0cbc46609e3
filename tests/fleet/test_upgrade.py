"""An upgrade tries a copy, moves, checks, and goes back where it is worse."""

from __future__ import annotations

import pytest

from gossamer.fleet.errors import FleetError
from gossamer.fleet.handle import Handle
from gossamer.fleet.upgrade import upgrade
from tests.fleet.fakes import FakeNode


def fleet(count: int) -> tuple[FakeNode, list[Handle]]:
    node = FakeNode("a", [])
    for n in range(count):
        node.do_start(f"mac{n}", [], "old", False)
    return node, [Handle(f"mac{n}", [], "old", node) for n in range(count)]


def environments(node: FakeNode) -> dict[str, str]:
    return {name: row["python"] for name, row in node.machines.items()}


def test_all_move_and_copies_are_gone() -> None:
    node, handles = fleet(3)
    said: list[str] = []
    found = upgrade(handles, "new", progress=lambda it: said.append(it.machine))
    assert [it.result for it in found] == ["moved"] * 3
    assert environments(node) == {"mac0": "new", "mac1": "new", "mac2": "new"}
    assert sorted(said) == ["mac0", "mac1", "mac2"]
    assert all(row["status"] == "running" for row in node.machines.values())


def test_a_copy_that_does_not_load_moves_nothing_and_stops_the_rest() -> None:
    node, handles = fleet(3)
    node.fail["load"] = FleetError("cuda: unknown field")
    found = upgrade(handles, "new")
    assert [it.result for it in found] == ["refused", "skipped", "skipped"]
    assert "unknown field" in found[0].why
    assert "mac0 went first" in found[1].why
    assert set(environments(node).values()) == {"old"}
    assert len(node.machines) == 3
    assert not any(call[1] == "send" for call in node.book)


@pytest.mark.parametrize("check", [lambda handle: False, lambda handle: 1 / 0])
def test_a_check_that_says_no_brings_it_back(check: object) -> None:
    node, handles = fleet(2)
    found = upgrade(handles, "new", check=check)  # type: ignore[arg-type]
    assert [it.result for it in found] == ["returned", "skipped"]
    assert environments(node) == {"mac0": "old", "mac1": "old"}
    assert all(row["status"] == "running" for row in node.machines.values())


def test_another_hash_there_is_refused() -> None:
    node, handles = fleet(1)
    node.hashes["mac0.moving"] = "0x2"
    (found,) = upgrade(handles, "new")
    assert found.result == "refused"
    assert "state hash" in found.why
    assert environments(node) == {"mac0": "old"}


def test_an_environment_without_gossamer_is_one_error_before_anything() -> None:
    node, handles = fleet(2)
    node.fail["environment"] = FleetError("environment x has no gossamer: No module")
    with pytest.raises(FleetError, match="has no gossamer"):
        upgrade(handles, "x")
    assert set(environments(node).values()) == {"old"}
