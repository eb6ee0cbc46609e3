"""Streams in the forms of several releases, in both directions, as the cases demand."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from gossamer.control.vm import Vm
from gossamer.devices.cuda import Cuda
from gossamer.machines.options import parse
from gossamer.migrate.inspect import StreamFile, open_stream


def machine(name: str = "g3beige", *more: str) -> Vm:
    line = ["-M", name, "-m", "16", "-nographic", "-serial", "null", "-bios", "builtin"]
    return Vm(parse([*line, "-icount", "5,sleep=off", "-nic", "none", *more]))


def sent(vm: Vm, form: str, path: Path) -> StreamFile:
    vm.migrate(f"file:{path}", profile=form)
    return open_stream(io.BytesIO(path.read_bytes()), form)


def via(vm: Vm) -> tuple[object, ...]:
    chip = vm.machine.part("macio/cuda")
    assert isinstance(chip, Cuda)
    v = chip.via
    return v.a, v.b, v.ifr, v.ier, v.last_irq_levels, v.timers[0].counter_value


@pytest.mark.parametrize("name", ["g3beige", "mac99"])
def test_case_7_the_form_of_qemu_5_2_live_both_ways(name: str, tmp_path: Path) -> None:
    vm = machine(name)
    vm.run(instructions=2_000_000)
    stream = sent(vm, "qemu-5.2", tmp_path / "m")
    section = stream.find("mos6522")
    assert section is not None
    assert section.version_id == 0
    for title in ("mos6522", "cuda"):
        found = stream.find(title)
        assert found is not None
        assert "last_irq_levels" not in repr(stream.values(found))
    other = machine(name)
    other.incoming(f"file:{tmp_path / 'm'}")
    assert via(other) == via(vm)
    before = other.instructions
    other.run(instructions=1_000_000)
    assert other.instructions == before + 1_000_000


def test_case_7_a_pin_flag_set_survives_the_form_of_5_2(tmp_path: Path) -> None:
    vm = machine()
    chip = vm.machine.part("macio/cuda")
    assert isinstance(chip, Cuda)
    chip.via.raise_flag(0x10)
    sent(vm, "qemu-5.2", tmp_path / "m")
    other = machine()
    other.incoming(f"file:{tmp_path / 'm'}")
    assert via(other) == via(vm)
    assert via(other)[4] == 0x10


@pytest.mark.parametrize("form", ["qemu-10", "qemu-10.0", "qemu-11", "qemu-11.1"])
def test_case_8_every_name_of_a_form_is_taken_live(form: str, tmp_path: Path) -> None:
    stream = sent(machine(), form, tmp_path / "m")
    assert [c.name for c in stream.commands] == ["SWITCHOVER_START"]
    state = stream.find("globalstate")
    assert state is not None
    assert "has_vm_was_suspended" in repr(stream.values(state))
