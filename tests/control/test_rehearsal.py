"""What is done before a guest stands still changes nothing in it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from gossamer.base.units import PAGE_SIZE
from gossamer.control.loading import memory_ahead, rehearse_arrival
from gossamer.control.stream_out import save_all
from gossamer.control.vm import Vm
from gossamer.machines.options import parse


@pytest.mark.parametrize("machine", ["g3beige", "mac99", "mac99,via=pmu", "ref405ep", "pseries"])
def test_a_machine_that_has_rehearsed_its_arrival_is_as_it_was(
    machine: str, tmp_path: Path
) -> None:
    firmware = tmp_path / "firmware"
    firmware.write_bytes(bytes(0x100))
    bios = [] if machine in ("ref405ep", "pseries") else ["-bios", str(firmware)]
    with closing(Vm(parse(["-M", machine, "-nographic", "-serial", "null", *bios]))) as vm:
        bodies, dirty = save_all(vm.machine), bytes(vm.machine.arena.dirty_view)
        rehearse_arrival(vm.machine)
        assert save_all(vm.machine) == bodies
        assert bytes(vm.machine.arena.dirty_view) == dirty, "memory was written"
        assert bodies["cpu"]


def test_memory_that_is_had_ready_is_as_it_was_and_there() -> None:
    options = ["-M", "g3beige", "-m", "64", "-nographic", "-serial", "null", "-bios", "builtin"]
    with closing(Vm(parse(options))) as vm, closing(Vm(parse(options))) as other:
        arena = vm.machine.arena
        dirty, before = bytes(arena.dirty_view), arena.untouched()
        memory_ahead(vm.machine)
        after, pages = arena.untouched(), arena.blocks[0].size // PAGE_SIZE
        assert bytes(arena.dirty_view) == dirty
        assert vm.state_hash() == other.state_hash()
        if before.any():  # the host says which pages it has made
            assert not after[: pages // 2].any()
            assert after[pages // 2 : pages - 1024].all(), "no more than what is used first"


def test_memory_of_a_machine_that_has_gone_stays_gone() -> None:
    options = ["-M", "g3beige", "-m", "64", "-nographic", "-serial", "null", "-bios", "builtin"]
    vm = Vm(parse(options))
    arena, machine = vm.machine.arena, vm.machine
    machine.close()
    before = arena.untouched()
    memory_ahead(machine)
    assert (arena.untouched() == before).all()
    vm.close()
