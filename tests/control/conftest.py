"""Machines with disks, closed at the end of a test; their saves in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gossamer.control.vm import Vm
from gossamer.machines.guests import watcher
from gossamer.machines.options import parse

QUIET = ("-M", "g3beige", "-m", "8", "-nographic", "-serial", "null", "-monitor", "none")
FIRMWARE = ("-bios", watcher.NAME, "-icount", "shift=5", "-rtc", "base=2001-09-09")


@pytest.fixture
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def machine(state_folder: Path) -> Iterator[Callable[..., Vm]]:
    """Makes machines with the options given; closes them."""
    made = []

    def make(*options: str) -> Vm:
        vm = Vm(parse([*QUIET, *FIRMWARE, *options]))
        made.append(vm)
        return vm

    yield make
    for vm in made:
        vm.disks.abandon()
