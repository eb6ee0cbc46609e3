"""The historical accident, case by case: what QEMU 7.2 loses on save and load is kept here.

The programs are ../shared/repro: they leave an interrupt pending with MSR[EE] clear, or set the
decrementer and the timebase; the machine is saved there, loaded anew, and goes on.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gossamer.control.vm import Vm
from gossamer.machines.boot import MAC_EPOCH
from gossamer.machines.config import Config
from gossamer.machines.firmware import load_elf

RESULTS = 0x20_0000
STAGE, GO, EXTERNAL, DECREMENTER = 1, 2, 5, 9
PARKED, ENABLED = 0x22, 0x44
WAIT = 1_200_000


@pytest.fixture(scope="session")
def program(shared: Path, powerpc_gcc: str, tmp_path_factory: pytest.TempPathFactory):
    """Builds one of the programs; the path of its ELF file."""

    def build(source: str, *flags: str) -> Path:
        out = tmp_path_factory.mktemp("repro") / "program.elf"
        subprocess.run(
            [
                f"{powerpc_gcc}gcc", "-O2", "-mcpu=750", "-ffreestanding", "-nostdlib", "-static",
                "-Wl,-Ttext=0x100000", "-Wl,--build-id=none", "-Wl,-N", "-w", f"-DWAIT={WAIT}",
                *flags, "-o", str(out), str(shared / "repro" / source),
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
        return out

    return build


def machine(openbios: Path, elf: Path) -> Vm:
    """A g3beige that starts at the program's entry instead of the firmware."""
    vm = Vm(
        Config(
            ram_size=32 << 20,
            bios=str(openbios),
            graphic=False,
            icount=3,
            icount_sleep=False,
            serials=("null",),
            rtc_base=0,
        )
    )
    image = load_elf(elf)
    for s in image.segments:
        vm.write_physical(s.ra, s.data)
    vm.machine.cpu.block.set("nia", image.entry)
    vm.machine.cpu.block.set("msr", 0)
    return vm


def result(vm: Vm, n: int) -> int:
    return int.from_bytes(vm.read_physical(RESULTS + 4 * n, 4), "big")


def run_to_stage(vm: Vm, stage: int) -> None:
    for _ in range(400):
        if result(vm, STAGE) == stage:
            return
        vm.run(vm.instructions + 100_000)
    pytest.fail(f"stage {stage:#x} not reached: {vm.registers_text()}")


def reloaded(vm: Vm) -> Vm:
    """A new machine with the state of `vm`."""
    fresh = Vm(vm.config)
    fresh.load_bytes(vm.save_bytes())
    assert fresh.state_hash() == vm.state_hash()
    return fresh


def finish(vm: Vm) -> tuple[int, int]:
    """Let the guest enable interrupts; (external, decrementer) interrupts taken."""
    vm.write_physical(RESULTS + 4 * GO, (1).to_bytes(4, "big"))
    run_to_stage(vm, ENABLED)
    vm.run(vm.instructions + 10_000)
    return result(vm, EXTERNAL), result(vm, DECREMENTER)


@pytest.mark.parametrize(
    ("flag", "taken"),
    [("-DDEC", (0, 1)), ("-DEXT", (1, 0)), ("-DESCC", (1, 0))],
    ids=["decrementer", "via", "escc"],
)
def test_interrupt_pending_with_ee_clear_is_taken_after_load(program, openbios, flag, taken):
    vm = machine(openbios, program("irq.c", flag))
    run_to_stage(vm, PARKED)
    loaded = reloaded(vm)
    assert finish(loaded) == taken
    assert finish(vm) == taken
    loaded.run(vm.instructions)
    assert loaded.state_hash() == vm.state_hash()


def test_decrementer_and_timebase_go_on_after_load(program, openbios):
    vm = machine(openbios, program("decr.c"))
    run_to_stage_count = vm.instructions + 50_000
    vm.run(run_to_stage_count)
    vm.machine.cpu.block.set("tb_offset", 0x1234_5678_9ABC)
    dec, tb = vm.register("dec"), vm.register("tb")
    assert 0 < dec < 0x4000_0000
    loaded = reloaded(vm)
    assert (loaded.register("dec"), loaded.register("tb")) == (dec, tb)
    for one in (vm, loaded):
        one.run(run_to_stage_count + 1_000_000)
    assert loaded.register("dec") == vm.register("dec") < dec
    assert loaded.register("tb") == vm.register("tb") == tb + dec - vm.register("dec")
    assert result(loaded, 2) == result(vm, 2)


def test_real_time_clock_goes_on_after_load(program, openbios):
    vm = machine(openbios, program("decr.c"))
    vm.run(until_ns=3_000_000_000)
    cuda = reloaded(vm).machine.part("macio/cuda")
    assert cuda.seconds == MAC_EPOCH + 3
