"""A ref405ep from outside: names of its interrupts, what a hand-over loses, what is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from gossamer.base.errors import GossamerError
from gossamer.control import look
from gossamer.control.losses import losses
from gossamer.control.vm import Vm
from gossamer.front.hmp import texts
from gossamer.isa.interrupts import Irq405
from gossamer.isa.spec import timers_405 as timers
from gossamer.machines.options import parse
from gossamer.migrate import releases
from tests.machines.board405 import SRAM, alike, board, cpu_of

QUIET = ("-nographic", "-serial", "null", "-icount", "5,sleep=off")


def vm(*options: str) -> Vm:
    return Vm(parse(["-M", "ref405ep", "-m", "8", *QUIET, *options]))


def test_interrupts_have_the_405s_names() -> None:
    m = board("b .")
    m.cpu.block.set("irq", 1, Irq405.WATCHDOG)
    m.cpu.block.set("irq", 1, Irq405.CRITICAL)
    names = {one.name: one.level for one in look.irqs(m)}
    assert list(names) == [
        *("reset", "machine_check", "critical", "external", "pit", "fit", "watchdog")
    ]
    assert [name for name, level in names.items() if level] == ["critical", "watchdog"]
    assert texts.irqs(look.irqs(m)).endswith("watchdog       1")


def test_a_hand_over_names_what_is_lost() -> None:
    m = vm("-bios", "builtin-timers").machine
    receiver = releases.release("qemu-7.2")

    def lost() -> str:
        return "\n".join(f"{loss.text}{' (passes)' * loss.passes}" for loss in losses(m, receiver))

    block = m.cpu.block
    assert "is pending" not in lost()
    for source in (Irq405.CRITICAL, Irq405.EXTERNAL, Irq405.MACHINE_CHECK):
        block.set("irq", 1, source)
    said = lost()
    assert "a critical interrupt is pending; the receiver does not drive the line (passes)" in said
    assert "an external interrupt is pending; the receiver does not drive the line (pass" in said
    assert "interrupt machine_check is pending (passes)" in said
    assert not [word for word in ("decrementer", "smi", "performance") if word in said]
    cpu_of(m).set_pit(333_333_330)
    block.set("tcr", timers.WIE | timers.FIE | timers.PIE)
    block.set("tsr", timers.PIS)
    m.cpu.registers_written()
    said = lost()
    assert "PIT expires in 1000 ms and is one-shot (333333330 ticks): it stands still" in said
    assert "a PIT interrupt is pending (passes)" in said
    assert "the watchdog, which never expires there again" in said
    assert "the fixed-interval timer, which never fires there" in said


@pytest.mark.parametrize("release", ["qemu-10.0", "qemu-11.1"])
def test_releases_of_qemu_without_the_board_are_refused(tmp_path: Path, release: str) -> None:
    mine = vm("-bios", "builtin-timers")
    mine.run(instructions=1000)
    with pytest.raises(GossamerError, match=r"QEMU 1\d\.\d has no machine ref405ep"):
        mine.migrate(f"file:{tmp_path}/stream", profile=release)
    assert mine.run_state != "postmigrate"
    mine.run(instructions=1000)


def test_pit_can_be_read_and_written_by_name() -> None:
    m = board("b .")
    cpu_of(m).set_pit(3000)
    assert look.register(m, "pit") == 3000
    with pytest.raises(KeyError):
        look.register(m, "dec")
    found = look.registers(m).embedded
    assert found is not None
    assert found.pit == 3000
    cpu_of(m).set_pit(0)
    assert cpu_of(m).pit_zero == 0


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["5", "6", "28", "257"])
def test_memory_that_the_board_cannot_have(size: str) -> None:
    with pytest.raises(GossamerError, match=rf"-m: ref405ep takes one or two .* got {size} MiB"):
        vm("-m", size)


@pytest.mark.parametrize(("size", "text"), [("3", "at least 4 MiB"), ("513", "at most 512 MiB")])
def test_memory_outside_its_limits(size: str, text: str) -> None:
    with pytest.raises(GossamerError, match=rf"-m: ref405ep .*{text} of RAM, got {size} MiB"):
        vm("-m", size)


def elf(machine: int = 20, *, at: int = 0x1000, bits: int = 1, order: int = 2) -> bytes:
    """A program of one segment, eight bytes long, at real address `at`."""
    ident = b"\x7fELF" + bytes((bits, order, 1)) + bytes(9)
    head = ident + struct.pack(">HHIIIIIHHHHHH", 2, machine, 1, at, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    code = struct.pack(">II", 0x6000_0000, 0x4800_0000)
    return head + struct.pack(">IIIIIIII", 1, 84, at, at, 8, 8, 5, 4) + code


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"not a program", "not an ELF file"),
        (elf(3), "for PowerPC"),
        (elf(bits=2), "expected 32-bit, big-endian, for PowerPC"),
        (elf(order=1), "expected 32-bit, big-endian, for PowerPC"),
        (elf(at=0x0900_0000), "0x9000000"),
    ],
)
def test_a_kernel_that_is_not_for_it(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(content)
    with pytest.raises(GossamerError, match=text) as raised:
        vm("-kernel", str(path))
    assert str(path) in str(raised.value)


def test_a_kernel_of_another_part_meets_the_405s_exceptions(tmp_path: Path) -> None:
    """What a 750 has and a 405 lacks is illegal, whoever linked it: no traceback."""
    path = tmp_path / "kernel"
    path.write_bytes(elf()[:-8] + struct.pack(">II", 0x7C00_04A6, 0xC822_0000))  # mfsr, lfd
    guest = vm("-m", "16", "-kernel", str(path))
    guest.run(instructions=1)
    assert guest.machine.cpu.block.get("nia") == 0x700
    assert guest.machine.cpu.block.get("esr") == 0x0800_0000
    guest.run(instructions=1000)


def test_memory_below_the_board_information(tmp_path: Path) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(elf())
    with pytest.raises(GossamerError, match=r"-kernel: ref405ep needs 16 MiB .* got 8 MiB"):
        vm("-kernel", str(path))


def test_initrd_that_the_memory_does_not_hold(tmp_path: Path) -> None:
    kernel, disk = tmp_path / "kernel", tmp_path / "disk"
    kernel.write_bytes(elf())
    disk.write_bytes(b"x" * 100)
    with pytest.raises(GossamerError, match=r"-initrd ends at 0x1800064, beyond the board's"):
        vm("-m", "16", "-kernel", str(kernel), "-initrd", str(disk))


def test_streams_of_other_boards_are_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    mac = Vm(parse(["-M", "g3beige", "-m", "8", *QUIET, "-bios", "builtin"]))
    path.write_bytes(mac.save_bytes())
    mine = vm("-bios", "builtin-timers")
    mine.run(instructions=1000)
    before = mine.state_hash()
    with pytest.raises(GossamerError, match=r"machine g3beige.*, expected ref405ep"):
        mine.incoming(f"file:{path}")
    path.write_bytes(mine.save_bytes())
    with pytest.raises(GossamerError, match=r"machine ref405ep.*, expected g3beige"):
        mac.incoming(f"file:{path}")
    assert mine.state_hash() == before


@pytest.mark.parametrize("number", [0x14, 0xB0, 0xF2, 0x3FF])
def test_dcrs_of_nothing_are_illegal_both_ways(number: int) -> None:
    for source in (f"mfdcr 4,{number:#x}", f"mtdcr {number:#x},4"):
        m = alike(source, 1)
        assert m.cpu.block.get("esr") == 0x0800_0000
        assert m.cpu.block.get("srr0") == SRAM + 0x4000
