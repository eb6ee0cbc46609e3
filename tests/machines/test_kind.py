"""Machines as data: a machine is one file and one line, and a version can lack a part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from gossamer.base.errors import ConfigError
from gossamer.control import look
from gossamer.control.vm import Vm
from gossamer.core.irq import IrqLine
from gossamer.devices.console_port import ConsolePort
from gossamer.isa.interrupts import Irq
from gossamer.machines import machine_options, registry
from gossamer.machines.bare import KIND as BARE
from gossamer.machines.bare import bare
from gossamer.machines.build import build
from gossamer.machines.config import Config, Hardware
from gossamer.machines.kind import Version
from gossamer.machines.machine import Machine
from gossamer.machines.options import parse


def twin(hardware: Hardware) -> Machine:
    """A machine of two consoles, of which version 1.0 has but one."""
    m = bare(hardware)
    if m.has("second"):
        second = m.add("second", ConsolePort(m.clock, IrqLine(m.cpu, Irq.EXTERNAL)), idstr="second")
        m.map(second.region(), at=0xF100_0000)
    return m


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a machine that exists in this test only; `bare` made it."""
    kind = replace(
        BARE,
        name="twin",
        compose=twin,
        versions=(Version("1.0", without=frozenset({"second"})), Version("1.1")),
    )
    monkeypatch.setitem(registry.MACHINES, "twin", lambda: SimpleNamespace(KIND=kind))
    monkeypatch.setattr("gossamer.machines.bare.KIND", kind)
    return "twin"


def test_new_machine_is_everywhere(machine: str, tmp_path: Path) -> None:
    assert "twin-1.1             version 1.1" in machine_options.machines()
    vm = Vm(parse(["-M", machine, "-icount", "5,sleep=off", "-serial", "null"]))
    vm.run(instructions=1_000_000)
    assert vm.config.full_name == "twin-1.1"
    assert any(chip.path == "second" for chip in look.tree(vm.machine).chips)
    vm.save(tmp_path / "save")
    again = Vm.load(tmp_path / "save")
    assert again.state_hash() == vm.state_hash()
    with pytest.raises(ConfigError, match=r"unknown machine .*none, pseries, ref405ep, twin"):
        registry.find_version("twins")


def test_version_without_a_part(machine: str) -> None:
    old, new = (build(Config(machine=machine, version=v)) for v in ("1.0", "1.1"))
    assert [p.path for p in old.parts] == [p.path for p in new.parts if p.path != "second"]
    with pytest.raises(ConfigError, match=r"second: twin-1.0 has no such part"):
        old.add("second", ConsolePort(old.clock, IrqLine(old.cpu, Irq.EXTERNAL)), idstr="second")


@pytest.mark.parametrize("name", registry.MACHINES)
def test_kind_says_what_the_machine_has(name: str) -> None:
    kind = registry.find(name)
    m = build(parse(["-M", name, *(["-bios", "builtin"] if kind.firmware else [])]))
    paths = {part.path for part in m.parts}
    assert {*kind.ide, *kind.pics} <= paths
    assert m.block(kind.ram_block).size == kind.ram_default
    assert len(m.serials) == kind.serials
    assert m.cpu.tb_hz == kind.tb_hz
    assert (m.kind, m.version) == (kind, kind.version(kind.newest))
    chips = {(part.device.vmsd, name) for part in m.parts for name in part.device.declared}
    switches = {switch for version in kind.versions for switch in version.switches}
    assert switches <= chips, "a switch of no chip"
    missing = {path for version in kind.versions for path in version.without} - paths
    assert not missing, "a part that no version has"
