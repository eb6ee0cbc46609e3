"""Keys and buttons that are down when a machine is saved: no hand holds them where it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.control import keys
from gossamer.control.vm import Vm
from gossamer.machines.options import parse

COMMON = ("-m", "8", "-bios", "builtin", "-icount", "5,sleep=off", "-rtc", "base=2001-09-09")
MACHINES = pytest.mark.parametrize("machine", ["g3beige", "mac99,via=pmu"])  # ADB, USB
_MS = 1_000_000


def make(machine: str) -> Vm:
    quiet = ("-nographic", "-serial", "null", "-monitor", "none")
    return Vm(parse(["-M", machine, *COMMON, *quiet]))


@MACHINES
def test_they_are_let_go_after_the_load_and_not_before(machine: str, tmp_path: Path) -> None:
    vm = make(machine)
    vm.run(instructions=1000)
    vm.send_key(["shift", "a"])
    vm.send_key(["b"])
    vm.mouse_buttons(1)
    assert len(vm.machine.keyboard.down) == 2
    vm.save(tmp_path / "s")
    there = make(machine)
    for loaded in (there, vm):
        loaded.restore(tmp_path / "s")
        keyboard, mouse = loaded.machine.keyboard, loaded.machine.mouse
        saved = loaded.state_hash()
        assert len(keyboard.down) == 2
        assert mouse.pressed
        loaded.run(until_ns=loaded.clock_ns + 90 * _MS)
        assert len(keyboard.down) == 2
        loaded.run(until_ns=loaded.clock_ns + 20 * _MS)
        assert keyboard.down == ()
        assert mouse.pressed is (loaded is vm)  # there the button is still held from outside
        loaded.send_key(["c"])
        assert len(keyboard.down) == 1  # nothing waits from before the load
        loaded.restore(tmp_path / "s")
        assert loaded.state_hash() == saved
    there.disks.abandon()
    vm.disks.abandon()


@MACHINES
def test_a_key_pressed_after_the_load_keeps_its_time(machine: str, tmp_path: Path) -> None:
    vm = make(machine)
    vm.machine.keyboard.key(keys.code("a"), True)
    vm.save(tmp_path / "s")
    vm.restore(tmp_path / "s")
    vm.send_key(["b"], hold_ms=500)
    vm.run(until_ns=vm.clock_ns + 200 * _MS)
    assert len(vm.machine.keyboard.down) == 1
    vm.run(until_ns=vm.clock_ns + 400 * _MS)
    assert vm.machine.keyboard.down == ()
    vm.disks.abandon()


def test_who_holds_them_on_says_so(tmp_path: Path) -> None:
    vm = make("g3beige")
    vm.inputs.lets_go = False
    vm.machine.keyboard.key(keys.code("a"), True)
    vm.save(tmp_path / "s")
    vm.restore(tmp_path / "s")
    vm.run(until_ns=vm.clock_ns + 1000 * _MS)
    assert len(vm.machine.keyboard.down) == 1
    vm.disks.abandon()
