"""A machine keeps its version on its way through releases that have other newest ones."""

from __future__ import annotations

import sys

import pytest

from gossamer.base.errors import ConfigError, HostError
from gossamer.fleet.demo import common_machine, versions
from gossamer.fleet.emulator import pinned
from gossamer.fleet.fleet import Fleet
from gossamer.machines import registry
from tests.fleet.fakes import FakeNode


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], ["-M", "mac99-1.1"]),
        (["-m", "16"], ["-M", "mac99-1.1", "-m", "16"]),
        (["-M", "mac99"], ["-M", "mac99-1.1"]),
        (["-m", "16", "-M", "mac99,via=pmu"], ["-m", "16", "-M", "mac99-1.1,via=pmu"]),
        (["--machine", "via=pmu,type=mac99"], ["--machine", "mac99-1.1,via=pmu"]),
        (["-M", "bare", "-M", "mac99"], ["-M", "bare", "-M", "mac99-1.1"]),
        (["-bios", "-M"], ["-M", "mac99-1.1", "-bios", "-M"]),
    ],
)
def test_options_with_a_version(given: list[str], expected: list[str]) -> None:
    assert pinned(given, "mac99-1.1") == expected


def test_a_fleet_keeps_what_the_node_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    node = FakeNode("a", [])
    started = node.do_start

    def start(name: str, options: list[str], python: str, paused: bool) -> list[str]:
        started(name, options, python, paused)
        return pinned(options, "g3beige-1.1")

    monkeypatch.setattr(node, "do_start", start)
    with Fleet(nodes=0) as fleet:
        fleet.nodes = {"a": node}
        assert fleet.start("new", ["-M", "g3beige"], "a").options == ["-M", "g3beige-1.1"]
        monkeypatch.setattr(node, "do_start", started)  # a node of 0.1.0
        assert fleet.start("old", ["-M", "g3beige"], "a").options == ["-M", "g3beige"]
        fleet.nodes = {}


def test_the_demo_takes_the_newest_that_both_have() -> None:
    assert common_machine([["a-1.0", "a-1.1", "a-1.2"], ["a-1.0", "a-1.1"]]) == "a-1.1"
    assert common_machine([["a-1.0"]]) == "a-1.0"
    with pytest.raises(ConfigError, match="no version of g3beige that both environments have"):
        common_machine([["a-1.0"], ["a-2.0"]])


def test_versions_of_an_environment() -> None:
    kind = registry.find("g3beige")
    assert versions(sys.executable) == [f"g3beige-{one.name}" for one in kind.versions]
    with pytest.raises(HostError, match="environment /nowhere/python: "):
        versions("/nowhere/python")
