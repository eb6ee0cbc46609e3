"""The built-in guest: assembled as GNU as assembles it, and it keeps its rhythm."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.control.vm import Vm
from gossamer.isa.text import assemble
from gossamer.machines.guests import watcher
from gossamer.machines.options import parse
from tests.machines.gnu import gnu_code

SOURCES = {
    "input": (watcher.EXTERNAL, watcher.INPUT),
    "handler": (watcher.DECREMENTER, watcher.HANDLER),
    "call": (watcher.SYSTEM_CALL, watcher.CALL),
    "main": (watcher.BASE, watcher.MAIN),
    "reset": (watcher.ROM_BASE + 0x100, watcher.RESET + watcher.BRIDGE + watcher.ESCC_ON),
}


@pytest.mark.parametrize("machine", ["g3beige", "mac99"])
@pytest.mark.parametrize("name", SOURCES)
def test_sources_assemble_as_gnu_as_does(
    name: str, machine: str, powerpc_gcc: str, tmp_path: Path
) -> None:
    origin, text = SOURCES[name]
    symbols = watcher.symbols(machine, 16_600_000)
    gnu = gnu_code(powerpc_gcc, text, origin, symbols, tmp_path)
    assert assemble(text, origin, symbols) == gnu


@pytest.mark.parametrize("machine", ["bare", "g3beige", "mac99"])
def test_ticks_come_at_their_times(machine: str) -> None:
    firmware = ["-bios", "builtin"] if machine != "bare" else []
    common = ["-m", "8", "-nographic", "-serial", "null", "-icount", "5,sleep=off"]
    config = parse(["-M", machine, *common, *firmware])
    vm = Vm(config)
    out = bytearray()
    vm.serial_sinks = [out.extend]
    vm.run(until_ns=450_000_000)
    vm.serial_receive(0, ord("?"))
    vm.run(until_ns=460_000_000)
    lines = out.decode().split("\r\n")
    assert lines[0] == "gossamer: a decrementer of 1000 Hz, watched"
    seen = [line.split() for line in lines[1:-1]]
    assert [int(words[1]) for words in seen[:-1]] == [100, 200, 300, 400]
    assert 440 < int(seen[-1][1]) <= 451  # a Macintosh writes its first line at 57600 baud
    for words in seen:
        late, worst, missed = int(words[3]), int(words[5]), int(words[7])
        assert late <= worst < vm.machine.cpu.tb_hz // 1_000_000  # ticks of the time base: 1 us
        assert missed == 0
    ticks, briefs = (word(vm, watcher.DATA + at) for at in (0, 36))
    assert briefs in (ticks // 8, ticks // 8 - 1)  # the last one may not have come yet


def word(vm: Vm, ra: int) -> int:
    return int.from_bytes(vm.machine.memory.read(ra, 4), "big")


def test_watcher_sees_that_ticks_stay_away() -> None:
    vm = Vm(parse(["-M", "bare", "-serial", "null", "-nographic", "-icount", "5,sleep=off"]))
    out = bytearray()
    vm.serial_sinks = [out.extend]
    vm.run(until_ns=250_000_000)
    vm.machine.cpu.set_decrementer(0x7FFF_FFFF)
    vm.run(until_ns=500_000_000)
    assert b"no tick for " in out.split(b"tick 200")[1]


def test_q_ends_the_bare_machine() -> None:
    vm = Vm(parse(["-M", "bare", "-serial", "null", "-nographic", "-icount", "5,sleep=off"]))
    vm.run(until_ns=10_000_000)
    vm.serial_receive(0, ord("q"))
    vm.run(until_ns=20_000_000)
    assert vm.run_state == "shutdown"
