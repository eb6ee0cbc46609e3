"""The second built-in guest: assembled as GNU as does, its counts as the chips' rules want them.

What it sees of IPIs and priorities, and the fourth one, which is another script of it, of USB, is
compared with QEMU 7.2, which runs the same ROM.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import pytest

from gossamer.base.errors import ConfigError
from gossamer.base.units import MiB
from gossamer.control.vm import Vm
from gossamer.isa.text import assemble
from gossamer.machines.build import build
from gossamer.machines.guests import pic, usb, watcher
from gossamer.machines.guests.script import (
    CPU,
    DMAS,
    IPI_REGISTERS,
    IPIS,
    OPENPIC_SETUP,
    PIC,
    REPORT,
    SCRIPTS,
    TIMERS,
    VIA,
    Script,
    Step,
    ipi_vector,
    read,
    send,
    source,
    start,
    task_priority,
    wait,
    write,
)
from gossamer.machines.options import parse
from tests.machines.gnu import gnu_code

TB_HZ = 100_000_000
COMMON = ["-m", "8", "-nographic", "-serial", "null", "-icount", "5,sleep=off"]
COMMON += ["-global", "escc.true-rate=on"]  # a line takes long enough for much to happen
MACHINES = ["g3beige", "mac99", "mac99,via=pmu", "mac99,via=pmu-adb"]


@pytest.mark.parametrize(
    ("machine", "script"), [*SCRIPTS.items(), ("mac99", usb.SCRIPT)], ids=[*SCRIPTS, "usb"]
)
def test_sources_assemble_as_gnu_as_does(
    machine: str, script: Script, powerpc_gcc: str, tmp_path: Path
) -> None:
    symbols = pic.symbols(machine, TB_HZ)
    for origin, text in pic.sources(machine, script):
        gnu = gnu_code(powerpc_gcc, text, origin, symbols, tmp_path)
        assert assemble(text, origin, symbols) == gnu


@pytest.mark.parametrize("machine", MACHINES)
def test_every_source_interrupts(machine: str) -> None:
    first, *_, last = lines(machine, pic.NAME, 7)
    kinds = len(SCRIPTS[machine.partition(",")[0]].reported)
    counts = [int(word) for word in last[2 : 2 + kinds]]
    if machine == "g3beige":
        assert all(counts)
    else:
        assert all(counts[:-1])
        assert counts[-1] == 0  # no interrupt goes away before it is acknowledged
        ipis = counts[5:9]
        assert ipis[0] == ipis[1] == ipis[2]
        assert ipis[3] > ipis[0]  # sent by the handler of IPI 0 too
    assert int(last[3 + kinds]) > int(first[3 + kinds]) > 0  # the decrementer's


def test_timers_expire_at_their_rates(tmp_path: Path) -> None:
    """Nothing held back for long: one interrupt for each period, whatever nests."""
    file = rom(tmp_path, [*OPENPIC_SETUP], [wait(600_000)], TIMERS)
    before, *_, after = lines("mac99", file, 5)
    ticks = int(after[7]) - int(before[7])  # of the decrementer, 2000 Hz
    for n, period in enumerate((700, 1900, 3100, 5200)):
        count, each = int(after[2 + n]) - int(before[2 + n]), 2080 / period
        assert count == pytest.approx(ticks * each, abs=4 * each + 1)  # longer lines end later


# --- the same ROM in QEMU -------------------------------------------------------------------------

SETUP: Final = [
    write(PIC + 0x1020, 0x2000_0000),
    task_priority(15),
    ipi_vector(0, 4),
    ipi_vector(1, 7),
    ipi_vector(2, 7),
    ipi_vector(3, 12),
    *source(0x02, 5, DMAS[0]),
    task_priority(0),
]
TURNS: Final = {
    "one after another": [*send(1, 2, 3), *IPI_REGISTERS],
    "nested": [*send(0), *IPI_REGISTERS],
    "held back": [
        task_priority(15),
        *send(3, 2, 1, 1),
        *IPI_REGISTERS,
        task_priority(0),
        *IPI_REGISTERS,
    ],
    "masked": [
        ipi_vector(1, 7, masked=True),
        *send(1, 2),
        *IPI_REGISTERS,
        ipi_vector(1, 7),
        *IPI_REGISTERS,
    ],
    "priority 0": [
        ipi_vector(1, 0),
        *send(1),
        *IPI_REGISTERS,
        ipi_vector(1, 7),
        *IPI_REGISTERS,
    ],
    "nothing to acknowledge": [read(CPU + 0xA0), *IPI_REGISTERS],
}


@pytest.mark.parametrize("name", TURNS)
def test_ipis_are_those_of_qemu(name: str, qemu: Path, tmp_path: Path) -> None:
    file = rom(tmp_path, SETUP, TURNS[name], (*IPIS, DMAS[0]))
    assert lines_of_qemu(qemu, file, 3) == [without_ticks(one) for one in lines("mac99", file, 3)]


def test_interrupt_of_a_dma_channel_is_that_of_qemu(qemu: Path, tmp_path: Path) -> None:
    """One only: QEMU leaves the line of a channel high, so no second edge comes.

    QEMU's channel runs when its main loop has time, some lines later than here; from there on both
    report one interrupt and no more.
    """
    file = rom(tmp_path, [*SETUP, *start(0, "once")], [wait(300_000)], (*IPIS, DMAS[0]))
    seen = [one[2:] for one in lines_of_qemu(qemu, file, 100)]
    *_, ours = (without_ticks(one)[2:] for one in lines("mac99", file, 3))
    assert ours[len(IPIS)] == "1"
    assert seen[-1] == ours
    early = [one for one in seen if one != ours]
    assert seen == early + [ours] * (len(seen) - len(early))
    assert all(one[len(IPIS)] == "0" for one in early)


def test_usb_of_keyboard_and_mouse_is_that_of_qemu(qemu: Path, tmp_path: Path) -> None:
    """All that is read, and the interrupts from line to line.

    Before the first line QEMU has two more: there the hub has changed, too, when the guest clears
    the bits that say that it has.
    """
    file = tmp_path / "usb.rom"
    file.write_bytes(watcher.rom("mac99", TB_HZ, MiB, usb.picture("mac99", TB_HZ)))
    there = qemu_lines(qemu, str(file), 5, "mac99,via=pmu", "-icount", "shift=5,sleep=off")
    here = lines("mac99,via=pmu", usb.NAME, 5)
    assert [one[-1] for one in here] == [one[-1] for one in there]
    assert len({one[-1] for one in here}) == 4
    ours, theirs = ([int(one[2]) for one in found] for found in (here, there))
    assert [n - ours[0] for n in ours] == [n - theirs[0] for n in theirs]
    assert theirs[0] == ours[0] + 2


@pytest.mark.parametrize("machine", ["g3beige", "mac99", "mac99,via=pmu-adb"])
def test_usb_guest_needs_keyboard_and_mouse(machine: str) -> None:
    config = parse(["-M", machine, *COMMON, "-bios", usb.NAME])
    with pytest.raises(ConfigError, match="-bios builtin-usb: runs on mac99,via=pmu, got "):
        build(config)


def lines_of_qemu(qemu: Path, file: str, count: int) -> list[list[str]]:
    """What QEMU's guest reports in its first `count` lines, without the ticks."""
    return [without_ticks(one) for one in qemu_lines(qemu, file, count, "mac99")]


def qemu_lines(qemu: Path, file: str, count: int, machine: str, *options: str) -> list[list[str]]:
    """The first `count` lines of counts, as words."""
    command = [str(qemu), "-M", machine, "-m", "64", "-bios", file, "-display", "none", *options]
    with subprocess.Popen(
        [*command, "-monitor", "none", "-serial", "stdio"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        seen = [process.stdout.readline().decode().split() for _ in range(count + 1)][1:]
        process.kill()
    return seen


def without_ticks(line: list[str]) -> list[str]:
    """A line without the ticks of its decrementer, which QEMU drives by the host's time."""
    return line[:8] + line[9:]


def rom(folder: Path, once: list[Step], again: list[Step], reported: tuple[int, ...]) -> str:
    """A ROM file of the guest with a script of the test's own; its path."""
    script = Script(tuple(once), (*again, REPORT), reported, VIA)
    picture = pic.picture("mac99", TB_HZ, script)
    file = folder / "guest.rom"
    file.write_bytes(watcher.rom("mac99", TB_HZ, MiB, picture))
    return str(file)


def lines(machine: str, bios: str, count: int) -> list[list[str]]:
    """The first `count` lines of counts, as words."""
    vm = Vm(parse(["-M", machine, *COMMON, "-bios", bios]))
    out = bytearray()
    vm.serial_sinks = [out.extend]
    while out.count(b"\n") <= count:
        assert vm.instructions < 20_000_000, out
        vm.run(instructions=200_000)
    return [line.split() for line in out.decode().split("\r\n")[1 : count + 1]]
