"""Machines whose serial and interrupt controllers' accesses are learned: the same to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from gossamer.control.vm import Vm
from gossamer.devices.fwcfg import FwCfg
from gossamer.devices.macio import MacIo
from gossamer.isa.text import assemble
from gossamer.machines.options import parse
from gossamer.verify.hostile.guest import prepare

MACHINES = pytest.mark.parametrize("machine", ["g3beige", "mac99", "mac99,via=pmu"])
COMMON = ("-m", "8", "-icount", "5,sleep=off", "-nographic", "-serial", "null", "-monitor", "none")


def run(vm: Vm, way: str, instructions: int) -> tuple[list[int], bytes, int]:
    """Hashes on the way, what it printed, and how many accesses Python carried out."""
    out, calls = bytearray(), 0
    vm.serial_sinks = [out.extend]
    memory = vm.machine.memory
    if way == "off":
        memory.faces.learned = None
    elif way == "late":
        vm.let_sinks_wait()
    load, store = memory.load, memory.store

    def counted_load(ra: int, size: int) -> int:
        nonlocal calls
        calls += 1
        return load(ra, size)

    def counted_store(ra: int, value: int, size: int) -> None:
        nonlocal calls
        calls += 1
        store(ra, value, size)

    memory.load, memory.store = counted_load, counted_store  # type: ignore[method-assign]
    hashes = []
    for _ in range(3):
        vm.run(instructions=instructions // 3)
        hashes.append(vm.state_hash())
    return hashes, bytes(out), calls


@MACHINES
def test_a_guest_that_prints_needs_few_calls(machine: str) -> None:
    options = ("-M", machine, *COMMON, "-bios", "builtin", "-rtc", "base=2001-09-09")
    got = {way: run(Vm(parse(options)), way, 300_000) for way in ("off", "on", "late")}
    assert len(got["off"][1]) > 20
    assert got["on"][:2] == got["late"][:2] == got["off"][:2]
    assert got["late"][2] < got["on"][2] < got["off"][2]


@MACHINES
def test_every_chip_driven_at_random_is_the_same(machine: str, tmp_path: Path) -> None:
    got = []
    for way in ("off", "late"):
        vm = Vm(prepare(machine, 3000, 5, 1, tmp_path).config)
        got.append(run(vm, way, 180_000)[:2])
        vm.disks.abandon()
    assert got[0] == got[1]


#: Adds up the numbers that the configuration device has under key 3, and a byte of NVRAM.
ASKS = """
loop: sth r5,0(r4)
lbz r6,2(r4)
add r7,r7,r6
lbz r6,2(r4)
add r7,r7,r6
lbz r6,2(r4)
add r7,r7,r6
lbz r6,2(r4)
rlwinm r7,r7,1,0,31
add r7,r7,r6
lbz r6,0(r8)
xori r8,r8,64
b loop
"""


@pytest.mark.parametrize(("machine", "nvram"), [("g3beige", None), ("mac99", 0xFFF0_4000)])
def test_numbers_of_the_configuration_need_few_calls(machine: str, nvram: int | None) -> None:
    got = {}
    for way in ("off", "on"):
        vm = Vm(parse(["-M", machine, *COMMON, "-bios", "builtin", "-rtc", "base=2001-09-09"]))
        m = vm.machine
        m.memory.write(0x1000, assemble(ASKS, 0x1000))
        place = 0x2000 if nvram is None else nvram
        for name, value in {"gpr": 0, "nia": 0x1000, "msr": 0}.items():
            m.cpu.block.set(name, value)
        for number, value in {4: 0xF000_0510, 5: 3, 7: 0, 8: place}.items():
            m.cpu.block.set("gpr", value, number)
        hashes, _, calls = run(vm, way, 30_000)
        device = m.part("fw_cfg")
        assert isinstance(device, FwCfg)
        device.add(3, b"\x12\x34\x56\x78")
        vm.run(instructions=1000)
        got[way] = [*hashes, vm.state_hash(), m.cpu.block.get("gpr", 7)], calls
    assert got["on"][0] == got["off"][0]
    assert got["off"][1] >= 5 * (30_000 // 13)
    assert got["on"][1] < 200


BAR: Final = 0x8080_0000
#: Reads eight sectors of the first disk by DMA, as Linux does, and adds up the first word of each.
READS: Final = """
loop: lbz r11,0x160(r4)
li r10,0xE0
stb r10,0x60(r4)
lbz r11,0x160(r4)
stw r16,0x200(r4)
li r10,0
stb r10,0x10(r4)
stb r10,0x40(r4)
stb r10,0x50(r4)
li r10,8
stb r10,0x20(r4)
stb r12,0x30(r4)
stw r13,0xC(r5)
lbz r11,0x160(r4)
li r10,0xC8
stb r10,0x70(r4)
lbz r11,0x160(r4)
stw r14,0(r5)
lwz r11,0(r5)
wait: lbz r11,0x160(r4)
andi. r11,r11,0x80
bne wait
lwz r11,4(r5)
stw r15,0(r5)
lwz r11,4(r5)
lbz r11,0x70(r4)
lwz r11,0x2000(r0)
add r18,r18,r11
addi r12,r12,8
andi. r12,r12,0x7F
b loop
"""


@pytest.mark.parametrize("machine", ["g3beige", "mac99"])
def test_reads_of_a_disk_need_few_calls(machine: str, tmp_path: Path) -> None:
    image = tmp_path / "disk"
    image.write_bytes(bytes(n * 7 & 0xFF for n in range(1 << 16)))
    drive = ("-drive", f"file={image},format=raw,index=0,media=disk,snapshot=on")
    words = ("-M", machine, *COMMON, "-bios", "builtin", "-rtc", "base=2001-09-09", *drive)
    got = {}
    for way in ("off", "on"):
        vm = Vm(parse(words))
        m = vm.machine
        macio = m.part("macio")
        assert isinstance(macio, MacIo)
        macio.write_config(0x10, 4, BAR)
        macio.write_config(4, 2, 2)
        m.memory.write(0x1000, assemble(READS, 0x1000))
        program = (0x3000_1000, 0x2000, 0, 0, 0x7000_0000, 0, 0, 0)
        m.memory.write(0x3000, b"".join(word.to_bytes(4, "little") for word in program))
        for name, value in {"gpr": 0, "nia": 0x1000, "msr": 0}.items():
            m.cpu.block.set(name, value)
        numbers = {4: BAR + 0x20000, 5: BAR + 0x8B00, 13: 0x0030_0000, 14: 0x0080_0080}
        for number, value in {**numbers, 15: 0x80, 16: 0x25102100}.items():
            m.cpu.block.set("gpr", value, number)
        hashes, _, calls = run(vm, way, 30_000)
        got[way] = [*hashes, m.cpu.block.get("gpr", 18)], calls, vm.disks.traffic[0].reads
        vm.disks.abandon()
    assert got["on"][0] == got["off"][0]
    reads = got["on"][2]
    assert reads > 300
    assert got["off"][1] > 20 * reads
    assert got["on"][1] < 10 * reads
