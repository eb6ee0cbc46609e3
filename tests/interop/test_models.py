"""Every CPU model's registers, carried to a real QEMU 7.2 of the same model and back."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from gossamer.base.errors import StreamError
from gossamer.control.vm import Vm
from gossamer.cpu.sprs import elements
from gossamer.isa.registers import REGISTERS
from gossamer.machines.kind import CPUS
from gossamer.machines.options import parse
from gossamer.migrate.channels import Limits, Listener
from gossamer.migrate.inspect import open_stream
from gossamer.verify.hops.command import COMMON, GossamerStation
from gossamer.verify.hops.qemu import QemuStation

Start = Callable[..., QemuStation]
FORM = "qemu-7.2"
LIMITS = Limits(meet=10.0, stall=10.0, total=60.0)
#: Not by QEMU's streams: time, interrupts, L2CR; and what the loader gives the machine.
OTHERWISE = {
    "tb_offset", "dec_zero", "tb_hz", "irq", "l2cr", "pvr", "reserved", "reserve_ea", "tlb_way",
}  # fmt: skip
#: QEMU's streams have the data TLB's half of these.
DATA_TLB = {name: range(64) for name in ("tlb_upper", "tlb_lower", "tlb_page")}
#: OpenBIOS 1.1 knows these; it stops at an unknown PVR.
BOOTED = {"604e": "g3beige", "7447a": "mac99", "7455": "mac99"}


def machine(cpu: str, name: str = "g3beige") -> tuple[str, ...]:
    return ("-M", name, "-cpu", cpu, "-m", "64", "-prom-env", "auto-boot?=false")


def made(cpu: str, name: str = "g3beige") -> GossamerStation:
    return GossamerStation(parse([*machine(cpu, name), *COMMON, "-icount", "shift=5,sleep=off"]))


def fill(vm: Vm, seed: int) -> None:
    """A value of its own for every register that the model has; MSR and BATs as QEMU keeps them."""
    rng = random.Random(seed)
    block = vm.machine.cpu.block
    for name, numbers in elements(vm.machine.cpu.model.features).items():
        for n in numbers:
            if name in OTHERWISE or name == "msr":
                continue
            value = rng.getrandbits(REGISTERS[name][0])
            if name in ("ibat", "dbat") and not n & 1:
                value &= 0xF000_1FFF  # QEMU clears what the block length covers
            if name == "crf":
                value &= 15
            if name in ("so", "ov", "ca"):
                value &= 1
            if name == "xer":
                value &= 0x7F
            if name == "fpscr":
                value &= 0x0000_00F8
            if name == "vscr":
                value &= 0x0001_0001
            if name == "sdr1":
                value &= 0xFFFF_01FF
            block.set(name, value, n)
    block.set("nia", 0xFFF0_0100)


def shown(vm: Vm) -> dict[str, list[int]]:
    block = vm.machine.cpu.block
    names = elements(vm.machine.cpu.model.features)
    return {
        n: [block.get(n, k) for k in DATA_TLB.get(n, numbers)]
        for n, numbers in names.items()
        if n not in OTHERWISE
    }


@pytest.mark.usefixtures("openbios")
@pytest.mark.parametrize("cpu", CPUS)
def test_every_register_goes_there_and_comes_back(
    cpu: str, start_qemu: Start, folder: Path
) -> None:
    ours = made(cpu)
    fill(ours.vm, 1)
    ours.vm.run_state = "paused"
    ours.vm.migrate(f"exec:cat > {folder}/m", profile=FORM)
    qemu = start_qemu("-S", "-incoming", f"exec:cat {folder}/m", machine=machine(cpu))
    assert qemu.wait_loaded() == "paused"
    qemu.migrate(f"exec:cat > {folder}/again")
    mine = open_stream(io.BytesIO((folder / "m").read_bytes()))
    theirs = open_stream(io.BytesIO((folder / "again").read_bytes()))
    section = next(s for s in mine.devices if s.idstr == "cpu")
    twin = theirs.find("cpu", 0)
    assert twin is not None
    sent, kept = mine.body(section), theirs.body(twin)
    assert len(sent) == len(kept)
    spr = 4 + 4 * (32 + 32 + 8 + 1)
    differing = {n for n in range(0, len(sent), 4) if sent[n : n + 4] != kept[n : n + 4]}
    # 7.2 has no decrementer in its streams.
    assert differing <= {spr + 4 * 22}
    other = made(cpu)
    other.vm.incoming(f"file:{folder}/again")
    assert shown(other.vm) == shown(ours.vm)
    ours.vm.close()
    other.vm.close()


@pytest.mark.usefixtures("openbios")
@pytest.mark.parametrize("cpu", sorted(BOOTED))
def test_firmware_goes_on_in_qemu_and_comes_back(cpu: str, start_qemu: Start, folder: Path) -> None:
    name = BOOTED[cpu]
    ours = made(cpu, name)
    ours.expect(b"0 > ", 60.0)
    ours.run(1_000_000)
    qemu = start_qemu("-incoming", f"unix:{folder}/m", machine=machine(cpu, name))
    ours.vm.migrate(f"unix:{folder}/m", profile=FORM)
    assert qemu.wait_loaded() == "running"
    computes(qemu)
    back = made(cpu, name)
    listener = Listener(f"unix:{folder}/b", LIMITS)
    qemu.command("migrate", uri=listener.uri)
    back.vm.incoming(listener)
    qemu.wait_sent()
    computes(back)
    ours.vm.close()
    back.vm.close()


def computes(station: GossamerStation | QemuStation) -> None:
    seen = len(station.output)
    station.type(b"2a 3 * .\r")
    station.expect(b"7e  ok", 20.0, seen)


@pytest.mark.usefixtures("openbios")
def test_a_stream_of_another_model_is_refused(start_qemu: Start, folder: Path) -> None:
    qemu = start_qemu("-S", machine=machine("7455"))
    qemu.migrate(f"exec:cat > {folder}/m")
    ours = made("7447a")
    with pytest.raises(StreamError, match=r"PVR must be 0x80030102 \(7447a\), got 0x80010302"):
        ours.vm.incoming(f"file:{folder}/m")
    ours.vm.close()
