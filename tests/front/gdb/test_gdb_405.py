"""gdb on a 405: what it is shown, and the real one at work on a guest that counts timer events."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from gossamer.isa.spec import timers_405 as timers
from gossamer.machines.guests.timers import BASE
from tests.front.gdb.real import debugged
from tests.front.gdb.test_server import Client

BOARD = ("-M", "ref405ep", "-bios", "builtin-timers")
ON_PIT = BASE + 0x1000


def test_description_is_core_without_floating_point() -> None:
    """As QEMU 7.2: r0 to r31, then pc, msr, cr, lr, ctr, xer from 64 on, and system registers."""
    client = Client(*BOARD)
    root = ET.fromstring(client.document())
    assert root.findtext("architecture") == "powerpc:403"
    assert [f.get("name") for f in root.iter("feature")] == [
        "org.gnu.gdb.power.core",
        "org.gossamer.power.sprs",
    ]
    names = {r.get("name"): int(r.get("regnum", "")) for r in root.iter("reg")}
    core = [names[name] for name in ("pc", "msr", "cr", "lr", "ctr", "xer")]
    assert core == list(range(64, 70))
    assert {"pit", "tcr", "tsr", "esr", "dear", "evpr", "srr2", "srr3", "pid", "zpr"} < set(names)
    assert not {"dec", "sdr1", "f0", "dar"} & set(names)
    assert len(client.ask(b"g")) == sum(int(r.get("bitsize", "")) for r in root.iter("reg")) // 4


def test_timer_registers_that_are_written_act_at_once() -> None:
    client = Client(*BOARD)
    assert client.ask(b"Z1,%x,4" % ON_PIT) == b"OK"
    assert client.ask(b"c").startswith(b"T05")
    cpu = client.vm.machine.cpu
    for name, value in (("pit", 1000), ("tcr", timers.PIE), ("tsr", 0)):
        assert client.ask(b"P%x=%08x" % (client.number(name), value)) == b"OK"
    assert client.register("pit") == 1000
    assert not any(cpu.block.all("irq"))
    client.ask(b"P%x=%08x" % (client.number("tsr"), timers.PIS))
    assert cpu.block.all("irq").count(1) == 1
    client.ask(b"P%x=%08x" % (client.number("pit"), 0))
    assert client.register("pit") == 0


@pytest.mark.slow
@pytest.mark.interop
def test_gdb_itself_finds_its_way(tmp_path: Path) -> None:
    ran = debugged(
        tmp_path,
        f"{' '.join(BOARD)} -icount 5,sleep=off",
        f"hbreak *{ON_PIT:#x}\ncontinue\ninfo registers pc tsr\nstepi\ninfo registers pc\ndelete\n"
        "watch *(unsigned*)0\ncontinue\np *(unsigned*)0\n"
        "set $pit = 77777\np $pit\nset $r15 = 5\np $r15\nset var *(unsigned*)0 = 40\n"
        f"break *{ON_PIT:#x}\ndelete 2\ncontinue\nx/1i $pc\np *(unsigned*)0\n"
        "monitor info registers\ndetach\n",
    )
    seen = ran.stdout + ran.stderr
    assert f"pc             {ON_PIT:#x}" in ran.stdout, seen
    status = re.search(r"tsr +0x([0-9a-f]+)", ran.stdout)
    assert status is not None, seen
    assert int(status[1], 16) & timers.PIS, seen
    assert "New value = 1" in ran.stdout, seen
    for line in ("$1 = 1", "$2 = 77777", "$3 = 5", "$4 = 40"):
        assert line in ran.stdout, seen
    assert "  TCR " in seen, seen
