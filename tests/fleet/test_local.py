"""A fleet of processes of this computer, with real machines that count ticks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossamer import cli
from gossamer.base.errors import ConfigError, HostError
from gossamer.fleet import Fleet, FleetError, NodeLostError
from gossamer.fleet.demo import TICK, counts
from gossamer.fleet.local import LocalNode, prepare
from tests.waiting import ended, until

BARE = ("-M", "bare", "-icount", "8")
CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet(nodes=2, checkpoints=tmp_path_factory.mktemp("checkpoints")) as made:
        yield made


def another_release(folder: Path) -> Path:
    """An environment whose gossamer calls itself 9.9."""
    shutil.copytree(CHECKOUT / "src" / "gossamer", folder / "gossamer", dirs_exist_ok=True)
    version = folder / "gossamer" / "base" / "version.py"
    version.write_text('VERSION = "9.9"\n')
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return python


@pytest.mark.slow
def test_moves_upgrade_back_and_fork(fleet: Fleet, tmp_path: Path) -> None:
    mac = fleet.start("mac", BARE, "node1")
    assert mac.options[:2] == ["-M", "bare-1.0"]
    mac.expect(TICK.pattern)
    before = mac.text()[0]
    moved = fleet.move("mac", "node2")
    assert (moved.source, moved.target) == ("node1", "node2")
    assert moved.bytes > 0
    counts(mac)
    end, text = mac.text()
    assert end > before
    assert [int(count) for count, _ in TICK.findall(text)] == list(
        range(100, 100 * len(TICK.findall(text)) + 1, 100)
    ), "a line was lost or came twice"

    newer = another_release(tmp_path)
    (outcome,) = fleet.upgrade(str(newer), names=["mac"], check=counts)
    assert outcome.result == "moved", outcome.why
    assert fleet.node("node2").call("environment", mac.python) == "9.9"
    assert mac.command("query-version")["package"] == "gossamer 9.9"
    (outcome,) = fleet.upgrade(sys.executable, names=["mac"], check=counts)
    assert outcome.result == "moved", outcome.why

    (tmp_path / "gossamer" / "cli.py").write_text("raise SystemExit('a broken release')\n")
    (outcome,) = fleet.upgrade(str(newer), names=["mac"])
    assert outcome.result == "refused"
    assert "a broken release" in outcome.why
    counts(mac)

    mac.stop()
    one, two = fleet.fork("mac", 2)
    assert {one.node.name, two.node.name} == {"node1", "node2"}
    assert mac.hash() == one.hash() == two.hash()
    for it in (mac, one, two):
        it.run()
        counts(it)
    for name in ("mac", "mac-1", "mac-2"):
        fleet.end(name)
    assert fleet.rows() == []


@pytest.mark.slow
def test_calls_wait_while_a_machine_moves(fleet: Fleet) -> None:
    mac = fleet.start("busy", BARE, "node1")
    faults: list[Exception] = []
    over = threading.Event()

    def asks() -> None:
        while not over.is_set():
            try:
                assert mac.status["status"] == "running"
            except Exception as fault:
                faults.append(fault)

    asker = threading.Thread(target=asks)
    asker.start()
    fleet.move("busy", "node2")
    over.set()
    asker.join()
    assert faults == []
    fleet.end("busy")


def test_a_killed_node_costs_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    with Fleet(nodes=2, checkpoints=tmp_path) as fleet:
        mac = fleet.start("mac", BARE, "node1")
        mac.expect(TICK.pattern)
        pid = next(row["pid"] for row in fleet.rows() if row["name"] == "mac")
        fleet.checkpoint()
        saved = json.loads((tmp_path / "mac.json").read_text())
        fleet.nodes["node1"].kill()
        with pytest.raises(NodeLostError, match="node1 is lost"):
            mac.status  # noqa: B018 - asks
        (back,) = fleet.recover()
        assert (back.machine, back.node) == ("mac", "node2")
        assert back.lost_ms >= 0
        until(lambda: ended(pid), saw=lambda: "the machine outlives its node")
        assert mac.status["clock-ns"] >= saved["clock_ns"]
        counts(mac)
        with pytest.raises(FleetError, match="no node is left"):
            fleet.drain("node2")


@pytest.mark.slow
def test_nodes_and_machines_are_found_again_and_commands_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "f"

    def said(*words: str) -> str:
        json_too = ["--json"] if words[0] == "--json" else []
        words = words[len(json_too) :]
        assert cli.main(["fleet", *json_too, "--fleet", str(folder), *words]) == 0
        return capsys.readouterr().out

    try:
        assert said("start", "--node", "node2", "mac", *BARE) == "machine=mac node=node2\n"
        (row,) = json.loads(said("--json", "list"))
        assert (row["name"], row["node"], row["status"]) == ("mac", "node2", "running")
        assert "mac" in said("list")
        assert said("move", "mac", "node1").startswith("machine=mac source=node2 target=node1 ")
        assert said("drain", "node1").startswith("machine=mac source=node1 target=node2 ")
        assert said("balance") == ""
        assert cli.main(["fleet", "--fleet", str(folder), "start", "mac", "--", *BARE]) == 2
        assert capsys.readouterr().err == "gossamer: the fleet has a machine mac\n"
    finally:
        if folder.exists():
            cli.main(["fleet", "--fleet", str(folder), "stop"])
    assert list(folder.glob("*.sock")) == []
    assert cli.main(["fleet", "--fleet", str(folder), "list"]) == 2
    assert capsys.readouterr().err.startswith(f"gossamer: no fleet in {folder}: ")


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "a" * 64, "mac.moving"])
def test_names(fleet: Fleet, name: str) -> None:
    with pytest.raises(ConfigError, match="expected letters, digits"):
        fleet.start(name, BARE)


def test_options_that_are_the_fleets_own(fleet: Fleet) -> None:
    with pytest.raises(ConfigError, match="-qmp: a fleet gives this option itself"):
        fleet.start("x", [*BARE, "-qmp", "stdio"])
    with pytest.raises(ConfigError, match="--incoming"):
        fleet.start("x", [*BARE, "--incoming", "defer"])


def test_a_machine_that_does_not_start_is_not_there(fleet: Fleet) -> None:
    with pytest.raises(FleetError, match=r"x on node1: did not start: .*unknown machine 'nosuch'"):
        fleet.start("x", ["-M", "nosuch"], "node1")
    assert "x" not in fleet.machines
    assert fleet.rows() == []


def test_unknown_names(fleet: Fleet) -> None:
    with pytest.raises(ConfigError, match="no machine nosuch; there are none"):
        fleet["nosuch"]
    with pytest.raises(ConfigError, match="no node nosuch; there is: node1, node2"):
        fleet.node("nosuch")


def test_environments(fleet: Fleet, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a virtual environment or a python"):
        fleet.upgrade(str(tmp_path / "none"))
    with pytest.raises(FleetError, match=r"environment .* has no gossamer"):
        fleet.node("node1").call("environment", "/bin/false")


def test_a_node_knows_only_its_methods(fleet: Fleet) -> None:
    for method in ("close_all", "__init__", "_of", "folder"):
        with pytest.raises(FleetError, match="has no method"):
            fleet.node("node1").call(method)
    with pytest.raises(FleetError, match="save"):
        fleet.node("node1").call("save")


def test_the_folder_must_be_ours_alone(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(HostError, match="expected a folder of this user alone"):
        prepare(folder)


def test_another_key_opens_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    node = LocalNode.start("node1", folder)
    try:
        right = (folder / "key").read_bytes()
        (folder / "key").write_bytes(bytes(32))
        with pytest.raises(NodeLostError):
            LocalNode("node1", folder)
        (folder / "key").write_bytes(right)
        assert LocalNode("node1", folder).facts["name"] == "node1"
    finally:
        node.close()


def test_a_node_that_is_to_stay_and_ends_at_once_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(FleetError, match="node n did not start"):
        LocalNode.start("n", tmp_path / "f", stay=True)


def test_a_node_ends_with_its_fleet(tmp_path: Path) -> None:
    program = (
        "import os, sys, time\nfrom pathlib import Path\n"
        "from gossamer.fleet.local import LocalNode\n"
        "print(LocalNode.start('n', Path(sys.argv[1])).facts['pid'], flush=True)\ntime.sleep(600)\n"
    )
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(write, 1)
        os.execv(sys.executable, [sys.executable, "-c", program, str(tmp_path / "f")])
    node = int(os.read(read, 100))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    until(lambda: ended(node))
    os.close(read)
    os.close(write)


def test_a_node_ends_even_when_its_machines_do_not_end_well(tmp_path: Path) -> None:
    node = LocalNode.start("node1", tmp_path / "f")
    node.call("start", "mac", list(BARE), sys.executable, False)
    (row,) = node.call("listing")
    os.kill(row["pid"], signal.SIGSTOP)  # it answers nothing any more
    assert node._lifeline is not None
    os.close(node._lifeline)
    node._lifeline = None
    os.kill(row["pid"], signal.SIGKILL)
    until(lambda: node.gone)


def test_a_lease_that_ends_stops_the_machines(fleet: Fleet) -> None:
    mac = fleet.start("leased", BARE, "node1")
    node = fleet.node("node1")
    node.call("renew", 0.05, ["leased"])
    until(lambda: mac.status["status"] == "paused", saw=lambda: mac.status)
    assert node.call("renew", 3600, ["leased"]) == []
    assert mac.status["status"] == "running"
    node.call("renew", 0.0, ["leased"])
    time.sleep(0.01)
    assert node.call("renew", 3600, []) == ["leased"], "it lives elsewhere now"
    assert fleet.rows() == []
    del fleet.machines["leased"]
