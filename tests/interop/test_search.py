"""The guest that searches the page table itself: what it meets on QEMU's 603e, and between the two.

QEMU 7.2 keeps translations of entries that have been replaced, reports no store to an unchanged
page and chooses ways by another rule (docs/isa-deviations.md).  The guest is made so that these do
not count; then every miss is the same: SRR0, SRR1, DMISS or IMISS, DCMP or ICMP, HASH1 and HASH2.
"""

from __future__ import annotations

import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from gossamer.base.units import MiB
from gossamer.control.vm import Vm
from gossamer.machines.guests import search, watcher
from gossamer.machines.guests.search import FORGET, LOG
from gossamer.machines.options import parse
from gossamer.migrate.channels import Limits, Listener
from gossamer.migrate.inspect import open_stream
from gossamer.verify.hops.command import COMMON, GossamerStation
from gossamer.verify.hops.qemu import QemuStation

Start = Callable[..., QemuStation]
TB_HZ = 16_600_000
WAY = 0x2_0000
TGPR = 0x2_0000
RECORD = 32
LIMITS = Limits(meet=10.0, stall=10.0, total=60.0)
FORM = "qemu-7.2"


def machine(rom: Path) -> tuple[str, ...]:
    return ("-M", "g3beige", "-cpu", "603e", "-m", "8", "-bios", str(rom))


def rom(folder: Path, **chosen: int) -> Path:
    known = {"ways": WAY, "clean": 0x80, "last": FORGET} | chosen
    picture = search.picture("g3beige", TB_HZ, **known)
    file = folder / "rom"
    file.write_bytes(watcher.rom("g3beige", TB_HZ, 4 * MiB, picture, search.ENTRY))
    return file


def made(file: Path) -> GossamerStation:
    return GossamerStation(parse([*machine(file), *COMMON, "-icount", "shift=5,sleep=off"]))


def records(log: bytes) -> list[tuple[int, ...]]:
    """What each miss logged, without the way."""
    out = []
    for at in range(0, len(log), RECORD):
        srr1, *rest = (int.from_bytes(log[at + n : at + n + 4], "big") for n in range(0, 24, 4))
        out.append((srr1 & ~WAY, *rest))
    return out


def test_every_miss_is_as_in_qemu(start_qemu: Start, folder: Path) -> None:
    file = rom(folder, rounds=6)
    qemu = start_qemu("-S", machine=machine(file))
    qemu.command("cont")
    qemu.expect(b"round 6 ", 20.0)
    ours = made(file)
    ours.expect(b"round 6 ", 20.0)
    ours.run(1_000_000)
    whole(qemu)
    assert ours.output == qemu.output
    qemu.monitor(f'pmemsave {LOG:#x} 0x10000 "{folder}/log"')
    mine = records(ours.vm.read_physical(LOG, 0x1_0000))
    assert mine == records((folder / "log").read_bytes())
    counts = [int(word) for word in lines(ours)[6].split()[2:5]]
    assert sum(counts) == sum(any(record) for record in mine) > 200
    ours.vm.close()


def whole(station: QemuStation) -> None:
    """Wait for the end of the line."""
    while not station.output.endswith(b"\n"):
        assert station.listen(5.0), bytes(station.output[-80:])


def lines(station: GossamerStation | QemuStation) -> list[str]:
    return bytes(station.output).decode().splitlines()


def at_end(line: str) -> list[str]:
    """What must not depend on where the machine was: all but the count of fetches."""
    words = line.split()
    return [*words[:2], *words[3:]]


def in_a_miss(station: GossamerStation, vector: int) -> None:
    """Go on to the middle of a miss interrupt of the third round, with no line on its way out."""
    # The whole guest is over within one slice of `expect`: a serial line takes no time.
    while b"round 2 " not in station.output or not station.output.endswith(b"\n"):
        station.run(100)
    block, end = station.vm.machine.cpu.block, station.vm.instructions + 1_000_000
    while not (block.get("msr") & TGPR and vector < block.get("nia") < vector + 0x60):
        station.run(1)
        assert station.vm.instructions < end, "no such miss"


@pytest.mark.parametrize("vector", [0x1000, 0x1100, 0x1200])
def test_goes_on_in_qemu_from_the_middle_of_a_miss(
    start_qemu: Start, folder: Path, vector: int
) -> None:
    file = rom(folder, rounds=9)
    ours = made(file)
    in_a_miss(ours, vector)
    head = bytes(ours.output)
    qemu = start_qemu("-incoming", f"unix:{folder}/m", machine=machine(file))
    count = ours.vm.instructions
    ours.vm.migrate(f"unix:{folder}/m", profile=FORM)
    assert ours.vm.instructions == count
    assert qemu.wait_loaded() == "running"
    qemu.expect(b"round 9 ", 20.0)
    whole(qemu)
    uncut = made(file)
    uncut.expect(b"round 9 ", 20.0)
    uncut.run(1_000_000)
    last = (head + bytes(qemu.output)).decode().splitlines()[-1]
    assert at_end(last) == at_end(lines(uncut)[-1])
    ours.vm.close()
    uncut.vm.close()


def test_goes_on_here_from_qemu(start_qemu: Start, folder: Path) -> None:
    file = rom(folder, rounds=40)
    qemu = start_qemu("-S", machine=machine(file))
    qemu.command("cont")
    qemu.expect(b"round 4 ", 20.0)
    qemu.command("stop")
    back = made(file)
    listener = Listener(f"unix:{folder}/b", LIMITS)
    qemu.command("migrate", uri=listener.uri)
    back.vm.incoming(listener)
    qemu.wait_sent()
    back.run(40_000_000)
    uncut = made(file)
    uncut.run(40_000_000)
    assert at_end(lines(back)[-1]) == at_end(lines(uncut)[-1])
    assert lines(uncut)[-1].startswith("round 40 ")
    back.vm.close()
    uncut.vm.close()


def test_recorded_stream_of_a_603e_is_written_again(shared: Path, folder: Path) -> None:
    data = lzma.decompress((shared / "streams" / "g3-603e.mig.xz").read_bytes())
    common = ["-M", "g3beige", "-cpu", "603e", "-m", "128", *COMMON]
    vm = Vm(parse([*common, "-icount", "shift=5,sleep=off", "-bios", watcher.NAME]))
    vm.mends = False  # DEC too as it is there
    vm.load_bytes(data)
    vm.run_state = "paused"
    vm.migrate(f"exec:cat > {folder}/m", profile=FORM)
    theirs = open_stream(io.BytesIO(data))
    mine = open_stream(io.BytesIO((folder / "m").read_bytes()))
    bodies = [s.body(one) for s in (theirs, mine) if (one := s.find("cpu", 0)) is not None]
    assert bodies[0] == bodies[1]
    assert b"\x05\x0acpu/tlb6xx" in bodies[0]
    described = [json.loads(s.description.text) for s in (theirs, mine) if s.description]
    cpus = [next(d for d in tree["devices"] if d["name"] == "cpu") for tree in described]
    assert cpus[0] == cpus[1]
    vm.close()
