"""The historical accident, case by case: what QEMU 7.2 loses on save and load is kept here.

The programs are ../shared/repro, and for mac99 `pending_guest`: they leave an interrupt pending
with MSR[EE] clear, or set the decrementer and the timebase; the machine is saved there, loaded
anew, and goes on.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gossamer.control.vm import Vm
from gossamer.machines.boot import MAC_EPOCH
from gossamer.machines.config import Config
from gossamer.machines.firmware import load_elf
from tests.front.fakes import ask
from tests.machines import pending_guest

RESULTS = 0x20_0000
STAGE, GO, EXTERNAL, DECREMENTER = 1, 2, 5, 9
PARKED, ENABLED = 0x22, 0x44
WAIT = 1_200_000
MAC99 = ("mac99", "mac99,via=pmu", "mac99,via=pmu-adb")


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


def machine(openbios: Path, name: str = "g3beige") -> Vm:
    """A machine that has not begun with its firmware."""
    model, _, via = name.partition(",via=")
    return Vm(
        Config(
            machine=model,
            properties={"via": via} if via else {},
            ram_size=32 << 20,
            bios=str(openbios),
            graphic=False,
            icount=3,
            icount_sleep=False,
            serials=("null",),
            rtc_base=0,
        )
    )


def start(vm: Vm, segments: list[tuple[int, bytes]], entry: int) -> Vm:
    """Begin with a program instead of the firmware."""
    for ra, data in segments:
        vm.write_physical(ra, data)
    vm.machine.cpu.block.set("nia", entry)
    vm.machine.cpu.block.set("msr", 0)
    return vm


def start_elf(vm: Vm, elf: Path) -> Vm:
    image = load_elf(elf)
    return start(vm, [(s.ra, s.data) for s in image.segments], image.entry)


def result(vm: Vm, n: int) -> int:
    return int.from_bytes(vm.read_physical(RESULTS + 4 * n, 4), "big")


def run_to_stage(vm: Vm, stage: int) -> None:
    for _ in range(400):
        if result(vm, STAGE) == stage:
            return
        vm.run(instructions=100_000)
    pytest.fail(f"stage {stage:#x} not reached: {ask(vm, 'info registers')}")


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
    vm.run(instructions=10_000)
    return result(vm, EXTERNAL), result(vm, DECREMENTER)


@pytest.mark.parametrize(
    ("flag", "taken"),
    [("-DDEC", (0, 1)), ("-DEXT", (1, 0)), ("-DESCC", (1, 0))],
    ids=["decrementer", "via", "escc"],
)
def test_interrupt_pending_with_ee_clear_is_taken_after_load(program, openbios, flag, taken):
    vm = start_elf(machine(openbios), program("irq.c", flag))
    run_to_stage(vm, PARKED)
    loaded = reloaded(vm)
    assert finish(loaded) == taken
    assert finish(vm) == taken
    loaded.run_to(vm.instructions)
    assert loaded.state_hash() == vm.state_hash()


@pytest.mark.parametrize("name", MAC99)
@pytest.mark.parametrize("case", pending_guest.CASES)
def test_interrupt_pending_with_ee_clear_is_taken_after_load_on_mac99(
    case: str, name: str, openbios: Path
) -> None:
    program = pending_guest.segments(case, turns=3 * WAIT)
    vm = start(machine(openbios, name), program, pending_guest.BASE)
    run_to_stage(vm, PARKED)
    asks = [source for source, pending in enumerate(vm.machine.cpu.block.all("irq")) if pending]
    assert len(asks) == 1  # it is this that waits, and nothing else
    loaded = reloaded(vm)
    assert [n for n, one in enumerate(loaded.machine.cpu.block.all("irq")) if one] == asks
    taken = (0, 1) if case == "decrementer" else (1, 0)
    assert finish(loaded) == taken
    assert finish(vm) == taken
    for one in (vm, loaded):
        assert result(one, pending_guest.VECTOR) == pending_guest.VECTORS.get(case, 0)
    loaded.run_to(vm.instructions)
    assert loaded.state_hash() == vm.state_hash()


@pytest.mark.parametrize("name", ["g3beige", *MAC99])
def test_decrementer_and_timebase_go_on_after_load(program, openbios, name):
    vm = start_elf(machine(openbios, name), program("decr.c"))
    run_to_stage_count = vm.instructions + 50_000
    vm.run_to(run_to_stage_count)
    vm.machine.cpu.block.set("tb_offset", 0x1234_5678_9ABC)
    dec, tb = vm.register("dec"), vm.register("tb")
    assert 0 < dec < 0x4000_0000
    loaded = reloaded(vm)
    assert (loaded.register("dec"), loaded.register("tb")) == (dec, tb)
    for one in (vm, loaded):
        one.run_to(run_to_stage_count + 1_000_000)
    assert loaded.register("dec") == vm.register("dec") < dec
    assert loaded.register("tb") == vm.register("tb") == tb + dec - vm.register("dec")
    assert result(loaded, 2) == result(vm, 2)


@pytest.mark.parametrize("name", ["g3beige", *MAC99])
def test_real_time_clock_goes_on_after_load(program, openbios, name):
    vm = start_elf(machine(openbios, name), program("decr.c"))
    vm.run(until_ns=1_500_000_000)
    loaded = reloaded(vm)
    clock = loaded.machine.part("macio/pmu" if "pmu" in name else "macio/cuda")
    assert clock.seconds == MAC_EPOCH + 1
    loaded.run(until_ns=2_100_000_000)
    assert clock.seconds == MAC_EPOCH + 2
