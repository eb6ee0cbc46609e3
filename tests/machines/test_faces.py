"""Machines whose serial and interrupt controllers' accesses are learned: the same to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.control.vm import Vm
from gossamer.machines.options import parse
from gossamer.verify.hostile.guest import prepare

MACHINES = pytest.mark.parametrize("machine", ["g3beige", "mac99", "mac99,via=pmu"])
COMMON = ("-m", "8", "-icount", "5,sleep=off", "-nographic", "-serial", "null", "-monitor", "none")


def run(vm: Vm, way: str, instructions: int) -> tuple[list[int], bytes, int]:
    """Hashes on the way, what it printed, and how many accesses Python carried out."""
    out, calls = bytearray(), 0
    vm.serial_sinks = [out.append]
    memory = vm.machine.memory
    if way == "off":
        memory.faces.learned = None
    elif way == "late":
        vm.let_sinks_wait()
    load, store = memory.load, memory.store

    def counted_load(ra: int, size: int) -> int:
        nonlocal calls
        calls += 1
        return load(ra, size)

    def counted_store(ra: int, value: int, size: int) -> None:
        nonlocal calls
        calls += 1
        store(ra, value, size)

    memory.load, memory.store = counted_load, counted_store  # type: ignore[method-assign]
    hashes = []
    for _ in range(3):
        vm.run(instructions=instructions // 3)
        hashes.append(vm.state_hash())
    return hashes, bytes(out), calls


@MACHINES
def test_a_guest_that_prints_needs_few_calls(machine: str) -> None:
    options = ("-M", machine, *COMMON, "-bios", "builtin", "-rtc", "base=2001-09-09")
    got = {way: run(Vm(parse(options)), way, 300_000) for way in ("off", "on", "late")}
    assert len(got["off"][1]) > 20
    assert got["on"][:2] == got["late"][:2] == got["off"][:2]
    assert got["late"][2] < got["on"][2] < got["off"][2]


@MACHINES
def test_every_chip_driven_at_random_is_the_same(machine: str, tmp_path: Path) -> None:
    got = []
    for way in ("off", "late"):
        vm = Vm(prepare(machine, 3000, 5, 1, tmp_path).config)
        got.append(run(vm, way, 180_000)[:2])
        vm.disks.abandon()
    assert got[0] == got[1]
