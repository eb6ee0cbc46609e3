"""What is done before a guest stands still changes nothing in it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from gossamer.control.loading import rehearse_arrival
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
