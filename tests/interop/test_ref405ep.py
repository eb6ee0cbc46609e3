"""QEMU 7.2's streams of its ref405ep, which it cannot load itself, go on here."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from gossamer.control.vm import Vm
from gossamer.isa.spec import timers_405 as timers
from gossamer.machines.options import parse


def taken_over(shared: Path, tmp_path: Path, name: str) -> tuple[Vm, tuple[str, ...], bytearray]:
    """The machine of a recorded stream, what was repaired, and where its first port writes."""
    folder = shared / "ref405" / "streams"
    if not folder.is_dir():
        pytest.skip("the shared folder has no ref405")
    file = tmp_path / "stream"
    file.write_bytes(lzma.decompress((folder / f"{name}.mig.xz").read_bytes()))
    vm = Vm(parse(["-M", "ref405ep", "-icount", "5,sleep=off", "-serial", "null"]))
    repaired = vm.incoming(f"file:{file}").repaired
    out = bytearray()
    vm.machine.serials[0].transmit = out.append
    return vm, repaired, out


@pytest.mark.parametrize(
    "name", ["start-nokernel", "start-kernel", "start-two-uarts", "idle-nokernel", "linux-quiet"]
)
def test_every_stream_loads_and_runs(shared: Path, tmp_path: Path, name: str) -> None:
    vm, _, out = taken_over(shared, tmp_path, f"7.2-{name}")
    vm.cont()
    vm.run(instructions=vm.instructions + 2_000_000)
    if name in ("start-kernel", "start-two-uarts"):
        assert out.startswith(b"405EP timer test")
    if name == "linux-quiet":  # Linux has set PIT anew: its clock goes
        assert vm.machine.cpu.block.get("pit_zero")


def test_timers_that_the_stream_does_not_hold(shared: Path, tmp_path: Path) -> None:
    vm, repaired, _ = taken_over(shared, tmp_path, "7.2-timers")
    said = "\n".join(repaired)
    assert "PIT: its reload value is not carried" in said
    assert "FIT: it never fired at the sender" in said
    assert "watchdog: MSR[CE] is off" in said
    assert vm.machine.cpu.block.get("tcr") & timers.ARE


def test_busy_linux_ticks_on(shared: Path, tmp_path: Path) -> None:
    vm, _, out = taken_over(shared, tmp_path, "7.2-linux-busy")
    vm.cont()
    vm.run(instructions=vm.instructions + 50_000_000)  # 1.6 s
    assert b"sig=100" in out
