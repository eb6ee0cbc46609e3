"""QEMU 7.2's streams of its ref405ep, which it cannot load itself, go on here."""

from __future__ import annotations

import lzma
import re
from pathlib import Path

import pytest

from gossamer.control import look
from gossamer.control.vm import Vm
from gossamer.front.hmp import texts
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
    vm.machine.serials[0].transmit = out.extend
    return vm, repaired, out


def changed(text: str) -> str:
    """What of ``info registers`` a take-over mends, and the time base, is taken out."""
    return re.sub(r"(?m)^TB .*$|(?<= TCR )\w+|(?<= TSR )\w+", "", text).strip()


@pytest.mark.parametrize("name", ["idle-nokernel", "timers", "linux-quiet", "linux-busy"])
def test_registers_are_printed_as_qemu_prints_them(shared: Path, tmp_path: Path, name: str) -> None:
    vm, _, _ = taken_over(shared, tmp_path, f"7.2-{name}")
    theirs = (shared / "ref405" / "streams" / f"7.2-{name}.regs.txt").read_text()
    assert changed(texts.registers(look.registers(vm.machine))) == changed(theirs)


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
    vm, repaired, out = taken_over(shared, tmp_path, "7.2-timers")
    said = "\n".join(repaired)
    assert "PIT: its reload value is not carried" in said
    assert "FIT: it never fired at the sender" in said
    assert "watchdog: MSR[CE] is off" in said
    assert vm.machine.cpu.block.get("tcr") & timers.ARE
    vm.cont()
    vm.run(instructions=vm.instructions + 70_000_000)  # 2.2 s
    fits = [int(count) for count in re.findall(rb"dfit=(\d+)", out)]
    assert len(fits) >= 4
    assert {*fits[1:]} <= {63, 64}, "a line each 133,333,333 ticks, a time-out each 2,097,152"


def test_busy_linux_ticks_on(shared: Path, tmp_path: Path) -> None:
    vm, _, out = taken_over(shared, tmp_path, "7.2-linux-busy")
    vm.cont()
    vm.run(instructions=vm.instructions + 50_000_000)  # 1.6 s
    assert b"sig=100" in out
