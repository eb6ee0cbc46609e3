"""Sections of whole machines, field by field and in stretches: the same bytes, the same machine."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from gossamer.base.wire import WireReader
from gossamer.control.profiles import READING
from gossamer.control.stream_out import body_of, save_all
from gossamer.control.vm import Vm
from gossamer.machines.options import parse
from gossamer.state.transfer import Profile, load


class OneByOne(WireReader):
    """Never has many bytes at once: every field is read alone."""

    def ready(self, n: int) -> None:
        return None


#: Something is written in the place of a field's value: every field is written alone.
ALONE = Profile(values={("no such", "field"): lambda value: value})
MACHINES = ["g3beige", "mac99", "mac99,via=pmu", "ref405ep", "pseries"]


@pytest.mark.parametrize("machine", MACHINES)
def test_sections_in_stretches_are_as_field_by_field(machine: str, tmp_path: Path) -> None:
    firmware = tmp_path / "firmware"
    firmware.write_bytes(bytes(0x100))
    bios = [] if machine in ("ref405ep", "pseries") else ["-bios", str(firmware)]
    options = ["-M", machine, "-nographic", "-serial", "null", *bios]
    with closing(Vm(parse(options))) as vm, closing(Vm(parse(options))) as other:
        for n in range(8):
            vm.machine.cpu.block.set("gpr", 0x0123_4567 * n, n)
        bodies = save_all(vm.machine)
        assert len({bodies["cpu"], save_all(other.machine)["cpu"]}) == 2
        for mine, its in zip(vm.machine.sections, other.machine.sections, strict=True):
            if mine.title not in bodies:
                continue
            body = bodies[mine.title]
            assert body_of(mine.device, ALONE) == body
            load(its.device, OneByOne(body), mine.device.version, READING)
            assert body_of(its.device) == body
            load(its.device, WireReader(body), mine.device.version, READING)
            assert body_of(its.device) == body
