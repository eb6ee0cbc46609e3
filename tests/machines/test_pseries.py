"""The pseries as it is composed, and as its state goes over."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from struct import pack
from types import SimpleNamespace

import pytest

from gossamer.base.data import replace
from gossamer.base.errors import ConfigError, StreamError
from gossamer.base.units import MiB
from gossamer.control import repair
from gossamer.control.globalstate import GlobalState
from gossamer.control.handover import cut_for, settle
from gossamer.control.hashing import StateHash
from gossamer.control.stream_in import load_stream
from gossamer.control.stream_out import Extra, save_stream
from gossamer.control.timeline.journal import checked, give
from gossamer.control.vm import Vm
from gossamer.machines.build import build
from gossamer.machines.config import Config, Hardware
from gossamer.machines.machine import Machine
from gossamer.machines.options import parse
from gossamer.migrate.releases import release

#: li r3,0x58; li r4,0; li r5,2; lis r6,"hi"; sldi r6,r6,32; sc 1; li r3,0xe0; sc 1; b .-8
PROGRAM = pack(
    ">9I",
    *(0x3860_0058, 0x3880_0000, 0x38A0_0002, 0x3CC0_6869, 0x78C6_07C6, 0x4400_0022),
    *(0x3860_00E0, 0x4400_0022, 0x4BFF_FFF8),
)


def elf(code: bytes, *, klass: int = 2, order: int = 2, machine: int = 21) -> bytes:
    ident = b"\x7fELF" + bytes([klass, order, 1]) + bytes(9)
    head = pack(">HHIQQQIHHHHHH", 2, machine, 1, 0xC000 << 48, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = pack(">IIQQQQQQ", 1, 7, 120, 0xC000 << 48, 0, len(code), len(code) + 16, 4)
    return ident + head + segment + code


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Machine]:
    kernel, initrd = tmp_path / "kernel", tmp_path / "initrd"
    kernel.write_bytes(elf(PROGRAM))
    initrd.write_bytes(b"070701")
    usual = Hardware(
        machine="pseries",
        version="7.2",
        ram_size=256 * MiB,
        kernel=kernel,
        initrd=initrd,
        append="console=hvc0",
        rtc_base=951_782_400,
        vga="none",
    )

    def made(**other: object) -> Machine:
        return build(replace(usual, **other))

    return made


def test_a_program_prints_and_waits(make: Callable[..., Machine]) -> None:
    m = make()
    said = bytearray()
    m.serials[0].transmit = said.extend
    m.processor.run(8)
    assert said == b"hi"
    assert m.cpu.waiting
    assert m.cpu.block.get("msr") & 0x8000
    m.serials[0].receive(ord("x"))
    ics = m.part("ics")
    assert ics.irqs[0x100].status == 8  # type: ignore[attr-defined] # masked, and kept


#: li r3,0x28; lis r4,0x10; ori r4,r4,1; lis r6,0x10; lwz r5,0(r6); sc 1; lwz r5,0(r6); b .
WATCHED = pack(
    ">8I",
    *(0x3860_0028, 0x3C80_0010, 0x6084_0001, 0x3CC0_0010),
    *(0x80A6_0000, 0x4400_0022, 0x80A6_0000, 0x4800_0000),
)


def test_an_address_that_the_hypervisor_watches_is_watched_from_there_on(
    make: Callable[..., Machine], tmp_path: Path
) -> None:
    (tmp_path / "kernel").write_bytes(elf(WATCHED))
    found = []
    for pieces in ([7], [1] * 7):
        m = make()
        for piece in pieces:
            m.processor.run(m.engine.count + piece)
        found.append(m.cpu.block.bytes())
        assert (m.cpu.block.get("dar"), m.cpu.block.get("nia")) == (0x10_0000, 0x300)
    assert found[0] == found[1]


def test_a_call_that_changes_nothing_else_does_not_stop_native_code(
    make: Callable[..., Machine],
) -> None:
    m, sent = make(), bytearray()
    m.serials[0].transmit = sent.extend
    m.memory.write(m.cpu.block.get("nia") + 24, b"\x4b\xff\xff\xe8")  # b .-24: it never waits
    runs = []
    m.engine.before_run = lambda: runs.append(m.engine.count)
    m.processor.run(6000)
    assert len(sent) == 2 * (6000 // 7)
    assert len(runs) < len(sent) // 100


def test_kernel_and_disk_lie_where_qemu_puts_them(make: Callable[..., Machine]) -> None:
    m = make()
    assert m.memory.read(0x40_0000, 36) == PROGRAM
    root = m.part("spapr").firmware.root  # type: ignore[attr-defined]
    chosen = root.find("/chosen")
    assert chosen.cells("linux,initrd-start") == [0x42_0000]
    assert chosen.cells("qemu,boot-kernel") == [0, 0x40_0000, 0, 52]
    block = m.cpu.block
    assert [block.get("gpr", n) for n in (1, 3, 4, 5)] == [0xFF60, 0x42_0000, 6, 0x10C]
    assert (block.get("nia"), block.get("msr")) == (0x40_0000, 0)
    phandles = [node.phandle for node in root.walk()]
    assert len(set(phandles)) == len(phandles) == 17
    assert len(m.part("htab").table.table.memory) == 1 << 21  # type: ignore[attr-defined]


def test_a_stream_and_back(make: Callable[..., Machine]) -> None:
    m = make()
    m.processor.run(10)
    firmware = m.part("spapr").firmware  # type: ignore[attr-defined]
    firmware.claims.append((0x300_0000, 0x301_0000))
    firmware.instances[0x77], firmware.last_instance = firmware.root.phandle, 0x77
    table = m.hash_table
    assert table is not None
    for n in (0, 1, 8, 131_071):
        table.write(n, 0x400E_A1B2_1700_0301, 0x1000 * n)
    out = BytesIO()
    save_stream(m, out, Extra("globalstate", GlobalState()))
    again = make(rtc_base=0)
    load_stream(again, BytesIO(out.getvalue()), Extra("globalstate", GlobalState()))
    assert StateHash(again).sections() == StateHash(m).sections()
    assert StateHash(again).value() == StateHash(m).value()
    loaded = again.part("spapr").firmware  # type: ignore[attr-defined]
    assert loaded.active
    assert (0x300_0000, 0x301_0000) in loaded.claims
    assert (loaded.claims, loaded.instances) == (firmware.claims, firmware.instances)
    assert loaded.last_instance == 0x77
    for one in (m, again):
        one.processor.run(40)
    assert StateHash(again).value() == StateHash(m).value()


def test_only_a_receiver_that_loses_the_decrementer_makes_it_run_on(
    make: Callable[..., Machine],
) -> None:
    """A machine below a hypervisor that waits goes to ours as it stands, at any instruction."""
    its = make().hardware
    vm = Vm(
        Config(
            machine="pseries", version="7.2", ram_size=its.ram_size, kernel=its.kernel,
            initrd=its.initrd, vga="none", nic=False, icount=0, icount_sleep=False,
        )
    )  # fmt: skip
    assert settle(vm, release("qemu-7.2")) == 0  # it never ran: it has set none
    vm.run(instructions=3)
    assert settle(vm, release("gossamer")) == 0
    assert vm.instructions == 3
    assert settle(vm, release("qemu-7.2")) > 0


def test_a_page_table_of_another_size_is_refused(make: Callable[..., Machine]) -> None:
    m = make()
    assert m.hash_table is not None
    m.hash_table.shift = 22  # what a sender with more memory says
    out = BytesIO()
    save_stream(m, out, Extra("globalstate", GlobalState()))
    with pytest.raises(StreamError, match=r"a page table of 2\*\*22 bytes, this machine's has"):
        load_stream(make(), BytesIO(out.getvalue()), Extra("globalstate", GlobalState()))


def test_the_power_button_is_an_input_like_others(make: Callable[..., Machine]) -> None:
    """Its event waits, masked, at source 0x1000; given again it leads to the same state."""
    m, again, notes = make(), make(), []
    its = m.hardware
    runner = Vm(
        Config(
            machine="pseries", version="7.2", ram_size=its.ram_size, kernel=its.kernel,
            initrd=its.initrd, vga="none", nic=False,
        ),
        m,
    )  # fmt: skip
    runner.history = SimpleNamespace(note=lambda *note: notes.append(note))  # type: ignore[assignment]
    runner.power_down()
    assert notes == [("power", ())]
    give(again, checked([0, "power"], "a test"))
    assert StateHash(again).value() == StateHash(m).value() != StateHash(make()).value()
    assert m.part("ics").source(0x1000).status == 8  # type: ignore[attr-defined]
    out = BytesIO()
    save_stream(m, out, Extra("globalstate", GlobalState()))
    loaded = make(rtc_base=0)
    load_stream(loaded, BytesIO(out.getvalue()), Extra("globalstate", GlobalState()))
    assert StateHash(loaded).value() == StateHash(m).value()
    loaded.reset()
    assert loaded.part("spapr").events == []  # type: ignore[attr-defined]


def test_a_reset_starts_anew(make: Callable[..., Machine]) -> None:
    m = make()
    before = StateHash(m).sections()
    m.processor.run(20)
    assert m.hash_table is not None
    m.hash_table.write(5, 1, 0)
    m.part("nvram").buf[0] = 7  # type: ignore[attr-defined]
    m.reset()
    after = StateHash(m).sections()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"timer", "nvram@71000001/spapr_nvram", "spapr", "cpu"}
    assert m.memory.read(0x40_0000, 36) == PROGRAM


@pytest.mark.parametrize(
    ("other", "text"),
    [
        ({"ram_size": 128 * MiB}, "-m: pseries takes multiples of 256 MiB, got 128 MiB"),
        ({"bios": "slof.bin"}, "-bios: pseries runs no firmware, got slof.bin"),
        ({"properties": {"x-vof": "off"}}, "-M x-vof=off: the firmware SLOF cannot be run yet"),
        ({"properties": {"cap-vsx": "on"}}, "-M cap-vsx=on: the CPU has no such thing"),
    ],
)
def test_what_it_cannot_be(
    make: Callable[..., Machine], other: dict[str, object], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        make(**other)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"MZ", "not an ELF file; a pseries starts 64-bit PowerPC kernels"),
        (elf(PROGRAM, order=1), "ELF, 64-bit, little-endian"),
        (elf(PROGRAM, machine=20), "for PowerPC; expected 64-bit, big-endian, for 64-bit PowerPC"),
        (elf(PROGRAM)[:40], "damaged ELF file: 40 bytes, a header of 64 bits has 58"),
        (elf(PROGRAM)[:32] + b"\xff" * 8 + elf(PROGRAM)[40:], "damaged ELF file: 1 program"),
        (elf(PROGRAM)[:70], "damaged ELF file|does not fit"),
        (elf(PROGRAM)[:-4], "a segment of 52 bytes does not fit the file"),
    ],
)
def test_kernels_that_are_none(
    make: Callable[..., Machine], tmp_path: Path, data: bytes, text: str
) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(data)
    with pytest.raises(ConfigError, match=text):
        make(kernel=bad)


#: Starts CPU 1 at "there" by start-cpu with 42 in r3, and waits; CPU 1 stores r3 and waits.
STARTER = pack(
    ">28I",
    *(0x3C80_0041, 0x3860_2006, 0x9064_0000, 0x3860_0003, 0x9064_0004),  # lis r4,0x41; token
    *(0x3860_0001, 0x9064_0008, 0x9064_000C, 0x3C60_0040, 0x6063_0060),  # 1 result; CPU 1
    *(0x9064_0010, 0x3860_002A, 0x9064_0014, 0x3860_F000, 0x7863_0420),  # li r3,0xF000 (16 bits)
    *(0x4400_0022, 0x3860_00E0, 0x4400_0022, 0x4BFF_FFF8),
    *(0x6000_0000,) * 5,
    # there (at 0x60): lis r4,0x42; stw r3,0(r4); b .
    *(0x3C80_0042, 0x9064_0000, 0x4800_0000, 0x6000_0000),
)


def test_a_second_cpu_is_started(make: Callable[..., Machine], tmp_path: Path) -> None:
    kernel = tmp_path / "starter"
    kernel.write_bytes(elf(STARTER))
    m = make(kernel=kernel, cpus=2)
    assert [p.title for p in m.sections[:11]] == [
        *("timer", "ics", "cpu_common", "cpu", "icp/server", "spapr_cpu"),
        *("cpu_common/1", "cpu/1", "icp/server/1", "spapr_cpu/1", "gossamer-turn"),
    ]
    assert [cpu.block.get("halted") for cpu in m.cpus] == [0, 1]
    m.processor.run(17)
    assert m.memory.read(0x41_0018, 4) == bytes(4), "the service's answer"
    m.processor.run(23)
    assert m.turn == 1
    assert m.memory.read(0x42_0000, 4) == (42).to_bytes(4, "big")
    assert m.cpus[1].block.get("msr") == 1 << 63 | 1 << 12
    hashes = [StateHash(one).value() for one in (m, again(m, make(kernel=kernel, cpus=2)))]
    assert hashes[0] == hashes[1]


def again(m: Machine, fresh: Machine) -> Machine:
    out = BytesIO()
    save_stream(m, out, Extra("globalstate", GlobalState("paused")))
    load_stream(fresh, BytesIO(out.getvalue()), Extra("globalstate", GlobalState("paused")))
    fresh.resume()
    return fresh


def test_each_cpu_leaves_for_qemu_at_its_decrementers_interrupt(
    make: Callable[..., Machine], tmp_path: Path
) -> None:
    """Both wait for DEC, which QEMU 7.2 does not take over: 10 ms and 20 ms from now."""
    # mtdec r6; H_CEDE again and again
    wait = (0x7CD6_03A6, 0x3860_00E0, 0x4400_0022, 0x4BFF_FFF8)
    code = STARTER[:64] + pack(">8I", 0x3CC0_004E, *wait, *(0x6000_0000,) * 3)
    code += pack(">5I", 0x3CC0_009C, *wait)  # there
    kernel = tmp_path / "both"
    kernel.write_bytes(elf(code))
    vm = Vm(
        Config(
            machine="pseries", version="7.2", ram_size=256 * MiB, kernel=kernel, cpus=2,
            vga="none", nic=False, icount=0, icount_sleep=False,
        )
    )  # fmt: skip
    vm.machine.memory.write(0x900, pack(">2I", 0x7CD6_03A6, 0x4C00_0024))  # mtdec r6; rfid
    vm.run(instructions=24)
    assert all(cpu.waiting for cpu in vm.machine.cpus)
    assert 19_000_000 < settle(vm, release("qemu-7.2")) < 31_000_000
    assert [cpu.block.get("nia") for cpu in vm.machine.cpus] == [0x900, 0x900]


def test_a_cpu_whose_vectors_are_moved_leaves_for_qemu_at_its_decrementers_interrupt(
    make: Callable[..., Machine],
) -> None:
    """A POWER8 with LPCR[AIL] = 3, as Linux sets it, takes interrupts behind 0xC000…4000."""
    its = make().hardware
    vm = Vm(
        Config(
            machine="pseries", version="7.2", cpu="power8", ram_size=its.ram_size,
            kernel=its.kernel, vga="none", nic=False, icount=0, icount_sleep=False,
        )
    )  # fmt: skip
    cpu = vm.machine.cpu
    vm.run(instructions=3)
    for name, value in (("lpcr", 3 << 23), ("msr", 1 << 63 | 0x9030), ("halted", 1)):
        cpu.block.set(name, value)  # SF, EE, ME, IR, DR
    cpu.set_decrementer(5_120_000)
    assert 9_000_000 < settle(vm, release("qemu-7.2")) < 11_000_000
    assert cpu.block.get("nia") == 0xC000_0000_0000_4900
    assert cut_for(vm.machine, release("qemu-7.2")).lost == ()


def test_a_cpu_that_qemu_left_waiting_in_an_interrupt_goes_on(
    make: Callable[..., Machine],
) -> None:
    """QEMU 7.2 may deliver an interrupt behind H_CEDE and forget that the wait is over."""
    m = make(cpus=2)
    (block,) = (cpu.block for cpu in m.cpus[1:])
    for nia, srr1, goes_on in (
        (0x900, 0x9032, True),
        (0x500, 0x9032, True),
        (0xC000_0000_0000_4900, 0x9032, True),
        (0x900, 0x1032, False),  # interrupts were off: it was stopped, or never started
        (0x904, 0x9032, False),
    ):
        for name, value in (("nia", nia), ("msr", 1 << 63 | 0x1000), ("srr1", srr1), ("halted", 1)):
            block.set(name, value)
        line = "cpu 1: waits at the first instruction of an interrupt; it goes on"
        assert list(repair._waiting(m)) == [line] * goes_on
        assert block.get("halted") == (not goes_on)


def test_a_decrementer_that_is_set_to_a_nearer_time_is_waited_for(
    make: Callable[..., Machine], tmp_path: Path
) -> None:
    """DEC is at 4 s when the guest shall leave, then set to 10 ms: there it stands."""
    far, near = (0x3CC0_7FFF, 0x7CD6_03A6), (0x3CC0_004E, 0x7CD6_03A6)  # lis r6; mtdec r6
    busy = (0x3CE0_0001, 0x7CE9_03A6, 0x4200_0000)  # lis r7,1; mtctr r7; bdnz .
    wait = (0x3860_00E0, 0x4400_0022, 0x4BFF_FFF8)  # H_CEDE again and again
    kernel = tmp_path / "nearer"
    kernel.write_bytes(elf(pack(">10I", *far, *busy, *near, *wait)))
    vm = Vm(
        Config(
            machine="pseries", version="7.2", ram_size=256 * MiB, kernel=kernel, vga="none",
            nic=False, icount=0, icount_sleep=False,
        )
    )  # fmt: skip
    vm.machine.memory.write(0x900, pack(">3I", *far, 0x4C00_0024))  # rfid
    vm.run(instructions=4)
    assert settle(vm, release("qemu-7.2")) < 20_000_000
    assert vm.machine.cpu.block.get("nia") == 0x900


def sections(*options: str) -> list[str]:
    """Sections of virtual I/O, PCI functions and disks, as they stand in a stream."""
    usual = ["-M", "pseries", "-m", "256", "-nographic", "-serial", "null"]
    m = build(parse([*usual, "-rtc", "base=2020-01-01", *options]))
    names = [part.title for part in m.sections]
    m.close()
    return [name for name in names if "@" in name and not name.startswith(("vty@", "nvram@"))]


LAN, SCSI = "l-lan@71000002/spapr_llan", "v-scsi@71000003"


def test_the_usual_devices_are_qemus() -> None:
    plain = [LAN, f"{SCSI}/spapr_vscsi", f"{SCSI}/0:2:0/scsi-disk"]
    assert sections("-vga", "none") == plain
    assert sections()[: len(plain)] == plain
    assert sections("-nodefaults") == []


def test_drives_of_if_scsi_stand_seven_to_an_adapter(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(bytes(0x1000))
    found = sections(
        *(
            "-nodefaults",
            "-hda",
            f"{tmp_path}/a",
            "-drive",
            f"file={tmp_path}/b,format=raw,index=8",
        ),
        *(
            "-drive",
            f"if=none,id=c,format=raw,file={tmp_path}/c",
            "-device",
            "virtio-scsi-pci,id=s",
        ),
        *("-device", "scsi-hd,bus=s.0,drive=c,scsi-id=9,lun=300"),
    )
    assert found == [
        *("v-scsi@71000002/spapr_vscsi", "v-scsi@71000002/0:0:0/scsi-disk"),
        *("v-scsi@71000003/spapr_vscsi", "v-scsi@71000003/0:1:0/scsi-disk"),
        "pci@800000020000000:00.0/virtio-scsi",
        "pci@800000020000000:00.0/0:9:300/scsi-disk",
    ]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("-nodefaults -device scsi-cd", "has no SCSI adapter before it"),
        (
            "-device spapr-vscsi -device scsi-cd,bus=x.0",
            "no bus 'x.0' (there is: v-scsi@71000003.0)",
        ),
        (
            "-cdrom /dev/null -device scsi-cd,scsi-id=2,lun=0",
            "scsi-id=2 of v-scsi@71000003.0 is taken",
        ),
        (
            "-device spapr-vscsi -device scsi-cd,scsi-id=64",
            "scsi-id must be 0..63 on v-scsi@71000003.0, got 64",
        ),
        ("-device spapr-vscsi,reg=0x71000001", "reg=0x71000001 is taken"),
        ("-device spapr-vlan,reg=0x2000", "its interrupt 0x1102 is taken"),
        ("-M g3beige -bios builtin -device spapr-vlan", "takes no such device; pseries does"),
        ("-nic model=sungem", "unknown network card 'sungem'"),
    ],
)
def test_places_that_are_none(options: str, text: str) -> None:
    usual = ["-M", "pseries", "-m", "256", "-nographic", "-serial", "null"]
    with pytest.raises(ConfigError, match=re.escape(text)):
        build(parse([*usual, "-rtc", "base=2020-01-01", *options.split()]))


def test_a_bootindex_means_nothing_where_no_firmware_reads_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(0x1000))
    disk = ("-drive", f"if=none,id=a,format=raw,file={tmp_path}/a")
    usual = ("-nodefaults", "-device", "spapr-vscsi", *disk)
    assert len(sections(*usual, "-device", "scsi-hd,drive=a,bootindex=1")) == 2
