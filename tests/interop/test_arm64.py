"""Linux on arm64 beside this host: equal hashes, saves that travel both ways, proofs in small.

The arm64 Python of ``.ci/arm64 DIR`` is run by qemu-user; GOSSAMER_ARM64 names DIR.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest

from gossamer.control.vm import Vm
from gossamer.machines.options import parse
from gossamer.migrate.channels import Listener
from tests.interop.host_run import HOPS, RUNS, hand_over, options

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(1800)]

CHECKOUT: Final = Path(__file__).parents[2]
SCRIPT: Final = Path(__file__).with_name("host_run.py")


@pytest.fixture(scope="module")
def arm64() -> tuple[str, ...]:
    """The command that is the arm64 Python."""
    folder = os.environ.get("GOSSAMER_ARM64", "")
    if not folder:
        pytest.skip("GOSSAMER_ARM64 names no folder of .ci/arm64")
    return (str(CHECKOUT / ".ci" / "arm64"), folder, "--")


def result_of(python: tuple[str, ...], *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [*python, str(SCRIPT), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_hosts_agree_and_saves_travel_both_ways(arm64: tuple[str, ...], tmp_path: Path) -> None:
    here, there = (result_of(python, str(tmp_path), "run") for python in ((sys.executable,), arm64))
    assert (here.pop("host"), there.pop("host")) == (platform.machine(), "aarch64")
    assert there == here
    assert len({tuple(hashes) for hashes in here.values()}) == 2, "the tiers of a machine agree"
    for python in ((sys.executable,), arm64):
        went_on = result_of(python, str(tmp_path), "load")
        del went_on["host"]
        assert went_on == {name: hashes[1] for name, hashes in here.items()}


def test_a_running_machine_goes_there_and_back(arm64: tuple[str, ...], tmp_path: Path) -> None:
    """Ten live moves, with no instruction, tick or byte of memory other than without them."""
    vm, alone = (Vm(parse(options(*RUNS[0]))) for _ in range(2))
    vm.run(instructions=200_000)
    vm.cont()
    with subprocess.Popen(
        [*arm64, str(SCRIPT), str(tmp_path), "hop"], stdout=subprocess.PIPE, text=True
    ) as peer:
        counts = []
        for n in range(HOPS):
            while not (tmp_path / f"there{n}-waits").exists():
                assert peer.poll() is None
                time.sleep(0.1)
            hand_over(vm, f"unix:{tmp_path}/there{n}")
            counts.append(vm.instructions)
            back = Vm(parse(options(*RUNS[0])))
            listener = Listener(f"unix:{tmp_path}/here{n}")
            (tmp_path / f"here{n}-waits").touch()
            back.incoming(listener)
            vm = back
            alone.run_to(vm.instructions)
            assert vm.state_hash() == alone.state_hash()
        found = json.loads(peer.communicate()[0].splitlines()[-1])
    assert peer.returncode == 0
    assert [before for before, _ in found["counts"]] == counts
    assert all(after - before > 30_000 for before, after in found["counts"]), "live: it ran on"


def test_small_proofs_hold_there(arm64: tuple[str, ...], tmp_path: Path) -> None:
    found = result_of(arm64, str(tmp_path), "prove")
    assert (found["float"][0], found["cuts"][0]) == (0, 0), found
    assert "divergent=0" in found["cuts"][1]
