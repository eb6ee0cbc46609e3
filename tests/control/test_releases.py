"""Streams in the forms of several releases, in both directions, as the cases demand."""

from __future__ import annotations

import io
import lzma
from pathlib import Path

import pytest

from gossamer.base.errors import ConfigError
from gossamer.control.vm import Vm
from gossamer.devices.cuda import Cuda
from gossamer.devices.fwcfg import PPC_TBFREQ, FwCfg
from gossamer.isa.interrupts import Irq
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


# --- case 1: constants that differ between releases -----------------------------------------------

MAC99 = ["-M", "mac99", "-m", "128", "-nographic", "-serial", "null", "-vga", "std"]
ICOUNT = ["-icount", "5,sleep=off"]


def recorded(shared: Path, name: str) -> bytes:
    return lzma.decompress((shared / "streams" / f"{name}.mig.xz").read_bytes())


def heard(vm: Vm) -> tuple[int, int]:
    """Ticks of the time base and ns of the clock over a while."""
    cpu, before = vm.machine.cpu, vm.clock_ns
    ticks = cpu.timebase
    vm.run(instructions=2_000_000)
    return cpu.timebase - ticks, vm.clock_ns - before


@pytest.mark.usefixtures("openbios")
def test_case_1_a_mac99_of_qemu_10_keeps_its_25_mhz(shared: Path, tmp_path: Path) -> None:
    vm = Vm(parse([*MAC99, *ICOUNT]))
    vm.load_bytes(recorded(shared, "qemu-10.0-mac99-prompt"))
    assert vm.machine.cpu.tb_hz == 25_000_000
    assert any("time base: 25,000,000 Hz" in line for line in vm.repairs)
    ticks, ns = heard(vm)
    assert abs(ticks * 40 - ns) <= 40
    # It stays so in our saves, for the firmware after a reset, and for QEMU 10, but not 7.2.
    again = Vm(parse([*MAC99, *ICOUNT]))
    again.load_bytes(vm.save_bytes())
    assert again.state_hash() == vm.state_hash()
    assert again.machine.cpu.tb_hz == 25_000_000
    config = again.machine.part("fw_cfg")
    assert isinstance(config, FwCfg)
    config.write_control(0, 2, PPC_TBFREQ)
    assert bytes(config.read_data(0, 1) for _ in range(4)) == (25_000_000).to_bytes(4, "little")
    before = vm.state_hash()
    with pytest.raises(ConfigError, match=r"25,000,000 Hz, mac99 of QEMU 7.2 has 100,000,000 Hz"):
        vm.migrate(f"file:{tmp_path / 'm'}", profile="qemu-7.2")
    assert vm.state_hash() == before
    vm.migrate(f"file:{tmp_path / 'm'}", profile="qemu-10.0")
    third = Vm(parse([*MAC99, *ICOUNT]))
    third.incoming(f"file:{tmp_path / 'm'}")
    assert third.machine.cpu.tb_hz == 25_000_000


@pytest.mark.usefixtures("openbios")
def test_case_1_an_older_version_of_the_machine_refuses_it(shared: Path) -> None:
    vm = Vm(parse(["-M", "mac99-1.1", *MAC99[2:], *ICOUNT]))
    before = vm.state_hash()
    with pytest.raises(ConfigError, match="25,000,000 Hz, this version of the machine knows"):
        vm.load_bytes(recorded(shared, "qemu-10.0-mac99-prompt"))
    assert vm.state_hash() == before


@pytest.mark.usefixtures("openbios")
def test_case_1_a_stream_of_7_2_brings_100_mhz_to_a_machine_of_25(shared: Path) -> None:
    vm = Vm(parse(["-M", "mac99,timebase=25000000", *MAC99[2:], *ICOUNT]))
    assert vm.machine.cpu.tb_hz == 25_000_000
    vm.load_bytes(recorded(shared, "mac99-run"))
    assert vm.machine.cpu.tb_hz == 100_000_000
    again = Vm(parse(["-M", "mac99,timebase=25000000", *MAC99[2:], *ICOUNT]))
    again.load_bytes(vm.save_bytes())
    assert again.machine.cpu.tb_hz == 100_000_000


def test_case_1_to_qemu_10_goes_what_began_at_25_mhz(tmp_path: Path) -> None:
    started = machine("mac99")
    started.run(instructions=1000)
    with pytest.raises(ConfigError, match="4 times too slow; a machine started with -M mac99,time"):
        sent(started, "qemu-10", tmp_path / "m")
    vm = machine("mac99,timebase=25000000")
    vm.run(instructions=1000)
    sent(vm, "qemu-10", tmp_path / "m")
    sent(machine("mac99"), "qemu-10", tmp_path / "never-ran")


# --- case 5: a machine that never ran -------------------------------------------------------------


@pytest.mark.usefixtures("openbios")
@pytest.mark.parametrize("name", ["g3beige", "mac99"])
def test_case_5_a_machine_that_never_ran_has_no_interrupt(shared: Path, name: str) -> None:
    vm = Vm(parse(["-M", name, *MAC99[2:], *ICOUNT]))
    vm.load_bytes(recorded(shared, f"qemu-10.0-{name}-start"))
    assert vm.run_state == "prelaunch"
    cpu = vm.machine.cpu
    assert cpu.block.get("irq", Irq.DECREMENTER) == 0
    assert cpu.decrementer == 0xFFFF_FFFF
    assert not any("raised" in line for line in vm.repairs)
