"""Linux of the ref405ep pack: its watchdog, the kernel without a patch for QEMU, its way to QEMU.

The 405's kernels boot in about a second of CPU time.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gossamer.isa.spec import timers_405 as timers
from gossamer.machines.options import parse
from gossamer.verify.hops.command import COMMON, GossamerStation
from gossamer.verify.hops.qemu import QemuStation

Boot = Callable[..., GossamerStation]
#: The way round QEMU's late PID, `pid.patch` of the pack: mfmsr, mtsrr1, bl, mflr, addi, mtsrr0,
#: rfi.
PATCHED = bytes.fromhex("7d4000a67d5b03a6480000057d4802a6394a00107d5a03a64c000064")
NOTHING = bytes.fromhex("60000000") * (len(PATCHED) // 4)


@pytest.fixture
def boot(shared: Path, tmp_path: Path) -> Iterator[Boot]:
    """Boots a kernel of the pack to its prompt; `changed` makes the bytes that are booted."""
    pack = shared / "ref405" / "guest"
    if not pack.is_dir():
        pytest.skip("the shared folder has no ref405")
    made: list[GossamerStation] = []

    def start(name: str, changed: Callable[[bytes], bytes] = lambda data: data) -> GossamerStation:
        kernel = tmp_path / "kernel"
        kernel.write_bytes(changed(lzma.decompress((pack / f"{name}.xz").read_bytes())))
        words = ["-M", "ref405ep", "-m", "64", *COMMON, "-serial", "null"]
        words += ["-kernel", str(kernel), "-initrd", str(pack / "initramfs.cpio.gz")]
        config = parse([*words, "-append", "console=ttyS0", "-icount", "shift=5,sleep=off"])
        made.append(GossamerStation(config))
        made[-1].expect(b"guest# ", 30.0)
        return made[-1]

    yield start
    for station in made:
        station.vm.close()


def does(station: GossamerStation, line: bytes, seconds: float = 30.0) -> str:
    """What a command line of the guest's prints."""
    seen = len(station.output)
    station.type(line + b"; echo EN''D\n")
    station.expect(b"END\r\n", seconds, seen)
    return station.output[seen:].decode("latin-1")


def test_a_watchdog_resets_the_machine_when_it_is_not_fed(boot: Boot) -> None:
    """Fed for 20 of its periods (0.1 s), then no more: three periods later Linux boots again."""
    station = boot("zImage.ref405ep-wdt")
    seen = len(station.output)
    station.type(b"wdt -n 60 -t 2 -k 2\n")
    station.expect(b"wdt t=1\r\n", 10.0, seen)
    assert station.vm.machine.cpu.block.get("tcr") & timers.WRC, "the driver asks for a reset"
    station.expect(b"guest# ", 20.0, seen)
    said = station.output[seen:].decode("latin-1")
    assert re.findall(r"wdt t=(\d+)", said) == ["1", "2"]
    assert "zImage starting" in said, "the machine began anew"
    assert station.vm.machine.cpu.block.get("dbsr") >> 8 & 3 == 2, "by the chip's reset"
    assert "up" in does(station, b"uptime")


def test_linux_without_the_patch_for_qemus_late_pid(boot: Boot) -> None:
    """At QEMU 7.2 seven of eight starts of `ticks` end with a bad frame of a signal."""

    def unpatched(data: bytes) -> bytes:
        assert data.count(PATCHED) == 1
        return data.replace(PATCHED, NOTHING)

    station = boot("zImage.ref405ep", unpatched)
    said = does(station, b"for i in 1 2 3; do ticks -n 1 -r || echo BA''D; done")
    assert len(re.findall(r"ticks t=1 .* sig=100 .* lost=0", said)) == 3
    assert "BAD" not in said
    assert "bad frame" not in said


def test_linux_goes_on_in_qemu_as_far_as_it_can(
    boot: Boot, start_qemu: Callable[..., QemuStation], folder: Path, tmp_path: Path
) -> None:
    """Registers and memory are there; time stands until a key lets Linux write PIT anew."""
    station = boot("zImage.ref405ep")
    station.run(3_000_000)
    machine = ("-M", "ref405ep", "-m", "64", "-nic", "none", "-kernel", str(tmp_path / "kernel"))
    qemu = start_qemu("-serial", "null", "-S", "-incoming", f"unix:{folder}/m", machine=machine)
    sent = station.vm.migrate(f"unix:{folder}/m", profile="qemu-7.2")
    lost = "\n".join(sent.lost)
    assert "PIT" in lost
    assert "TLB" in lost
    assert qemu.wait_loaded() in ("paused", "prelaunch", "running")
    registers = qemu.monitor("info registers")
    assert f"NIP {station.vm.register('pc'):08x}" in registers
    assert f"TCR {station.vm.register('tcr'):08x}" in registers
    qemu.command("cont")
    qemu.type(b"echo al''ive; ticks -n 1 -r\n")
    qemu.expect(b"alive\r\n", 20.0)
    qemu.expect(b"ticks t=1 ", 20.0)
