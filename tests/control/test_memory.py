"""A machine that is replaced gives its memory back at once."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from gossamer.base.units import MiB
from gossamer.control.vm import Vm
from gossamer.machines.config import Config

RAM = 32 * MiB
WARM, LOADS = 5, 10
"""Loads before the first look, in which the host's allocator finds its size, and after it."""


def resident() -> int:
    """Bytes of this process in the host's memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the host does not report it")
def test_case_17_loads_one_after_the_other_take_no_more_memory_than_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    vm = Vm(Config(machine="bare", bios="builtin", ram_size=RAM, icount=0, icount_sleep=False))
    pages = vm.machine.arena.bytes[MiB:RAM].reshape(-1, 4096)
    pages[:] = np.arange(4096, dtype=np.uint16).astype(np.uint8)
    pages[:, 0] = np.arange(len(pages)).astype(np.uint8)
    vm.machine.arena.dirty[:] = 0xFF
    vm.savevm("one")
    gc.collect()
    gc.disable()  # the memory must not wait for the collector
    try:
        for _ in range(WARM):
            vm.loadvm("one")
        first = resident()
        for _ in range(LOADS):
            vm.loadvm("one")
            vm.run(instructions=1000)
        grown = resident() - first
    finally:
        gc.enable()
    assert grown < LOADS * 2 * MiB, "what is left of a machine is its Python objects alone"
