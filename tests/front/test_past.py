"""The machine's past from the monitor and by QMP's commands."""

from __future__ import annotations

from pathlib import Path

from gossamer.control.session import Session
from gossamer.control.vm import Vm
from gossamer.front.chardev import Null
from gossamer.front.hmp.monitor import Monitor
from gossamer.machines.guests.watcher import DATA
from gossamer.machines.options import parse

OPTIONS = ("-M", "g3beige", "-bios", "builtin", "-m", "8", "-nographic", "-serial", "null")


def test_monitor_marks_goes_back_and_finds_who_wrote(tmp_path: Path) -> None:
    vm = Vm(parse([*OPTIONS, "-monitor", "none", "-icount", "5,sleep=off"]))
    monitor = Monitor(Session(vm), Null("monitor")).execute
    assert "there is no timeline" in monitor("rewind 2s")
    assert monitor("info replay") == "Record/replay is not active\n"
    assert monitor("timeline on 64") == ""
    assert "there is one already" in monitor("timeline")
    vm.run(instructions=400_000)
    value = vm.state_hash()
    assert monitor("mark here") == "instruction 400000, 0.012800000 s  here\n"
    vm.run(instructions=400_000)
    ticks = int.from_bytes(vm.read_physical(DATA, 4), "big")
    said = monitor(f"last-write {DATA:#x}")
    assert said.startswith("0x00000944 wrote it at instruction ")
    assert said.endswith(f"s: {ticks - 1:08x} -> {ticks:08x}\n")
    assert "nothing has written to 0x7000" in monitor("last-write 0x7000")
    assert monitor("rewind 1ms").startswith("instruction 768750, ")
    assert monitor("rewind 750i").startswith("instruction 768000, ")
    assert "<- here" not in monitor("info timeline")
    assert monitor("rewind here").startswith("instruction 400000, ")
    assert vm.state_hash() == value
    assert "  here  <- here" in monitor("info timeline")
    assert "no mark 'there'" in monitor("rewind there")
    assert "is outside of it" in monitor("rewind 2s")
    assert "expected a whole number" in monitor("rewind 1.5i")
    assert monitor("replay_seek 500000") == ""
    assert vm.instructions == 500_000
    assert monitor("replay_break 510000") == ""
    vm.run(instructions=20_000)
    assert (vm.instructions, vm.run_state) == (510_000, "debug")
    vm.run(instructions=20_000)
    assert vm.instructions == 530_000
    assert monitor("replay_break 550000") == ""
    vm.run(instructions=15_000)
    assert monitor("rewind 20000i") + monitor("replay_seek 600000") != ""
    assert vm.instructions == 600_000, "what is run again on the way stops nowhere"
    assert "has been" in monitor("replay_break 600000")
    assert monitor("replay_delete_break") == ""
    assert "none is set" in monitor("replay_delete_break")
    assert monitor("replay_seek 500000") == ""
    assert monitor(f"record {tmp_path / 'run'}") == ""
    assert "cannot be written" in monitor("record /nowhere/run")
    assert vm.instructions == 500_000
    assert "expected on or off" in monitor("timeline maybe")
    assert monitor("timeline off") == ""
    assert vm.history is None
