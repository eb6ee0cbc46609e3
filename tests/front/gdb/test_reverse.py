"""gdb goes backwards: steps, breakpoints, watchpoints; at the beginning it is notified."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gossamer.machines.guests.watcher import DATA
from tests.front.gdb.test_server import Client
from tests.waiting import until

BEGIN = b"T05thread:p1.1;replaylog:begin;"


def test_back_is_offered_with_icount_alone() -> None:
    offered = Client().ask(b"qSupported:multiprocess+")
    assert b"ReverseStep+;ReverseContinue+" in offered
    assert Client().ask(b"bx") == b"E01"


def test_steps_lead_back_over_an_interrupt_and_to_the_begin() -> None:
    client = Client()
    assert client.ask(b"bs") == BEGIN
    client.ask(b"Z1,900,4")
    assert client.ask(b"c").startswith(b"T05")
    way = []
    for _ in range(6):
        way.append((client.register("pc"), client.vm.instructions, client.vm.state_hash()))
        client.ask(b"s")
    assert client.ask(b"z1,900,4") == b"OK"
    for place in reversed(way):
        assert client.ask(b"bs") == b"T05thread:p1.1;"
        assert (client.register("pc"), client.vm.instructions, client.vm.state_hash()) == place
    client.ask(b"bs")
    assert client.register("pc") != 0x900
    assert client.ask(b"bc") == BEGIN
    assert client.vm.instructions == 0


@pytest.mark.parametrize("tier", ["0", "2"])
def test_breakpoints_and_watchpoints_are_met_in_reverse_order(tier: str) -> None:
    client = Client("-accel", f"tcg,tier={tier}")
    client.ask(b"Z1,900,4")
    passed = []
    for _ in range(5):
        client.ask(b"c")
        passed.append(client.vm.instructions)
    for count in reversed(passed[:-1]):
        assert client.ask(b"bc") == b"T05thread:p1.1;hwbreak:;"
        assert (client.vm.instructions, client.register("pc")) == (count, 0x900)
    client.ask(b"z1,900,4")
    client.ask(b"Z2,%x,4" % DATA)
    assert client.ask(b"c").startswith(b"T05thread:p1.1;watch:")
    after = client.vm.instructions
    assert client.ask(b"m%x,4" % DATA) == b"00000001"
    assert client.ask(b"bc") == b"T05thread:p1.1;watch:%x;" % DATA
    assert client.vm.instructions == after  # where gdb steps back over it by itself
    assert client.ask(b"bs") == b"T05thread:p1.1;"
    assert client.ask(b"m%x,4" % DATA) == b"00000000"
    assert client.ask(b"bc") == b"T05thread:p1.1;watch:%x;" % DATA  # when it was cleared
    client.ask(b"bs")
    assert client.ask(b"bc") == BEGIN
    assert client.ask(b"z2,%x,4" % DATA) == b"OK"


def test_client_that_goes_leaves_the_guest_whole() -> None:
    client = Client()
    client.ask(b"Z1,900,4")
    client.ask(b"c")
    client.ask(b"bs")
    client.closed()
    assert client.vm.history is None
    count = client.vm.instructions
    plain = Client()
    plain.closed()
    plain.vm.run_to(count)
    assert client.vm.state_hash() == plain.vm.state_hash()


class Busy(Client):
    """A client that sends something, or goes, while the machine goes back."""

    def __init__(self) -> None:
        super().__init__()
        self.looks, self.sends = 0, b""
        self.goes = False

    def handle_ready(self) -> None:
        self.looks += 1
        if self.goes:
            self.closed()
        elif self.sends:
            data, self.sends = self.sends, b""
            self.receive(data)


def busy() -> Busy:
    client = Busy()
    client.vm.run(instructions=30_000_000)
    client.ask(b"Z1,2,4")  # nothing comes there: the whole past is looked through
    return client


@pytest.mark.parametrize("sent", [b"\x03", b"$g#67", b"\x03$g#67$p40#d4"])
def test_interrupt_ends_the_way_back_at_once_with_the_guest_where_it_was(sent: bytes) -> None:
    client = busy()
    place, value = client.vm.instructions, client.vm.state_hash()
    everything = client.ask(b"g")
    client.sends = sent
    client.out.clear()
    client.receive(b"$bc#c5")
    assert client.looks == 1
    answers = bytes(client.out).replace(b"+", b"")
    assert answers.startswith(b"$T02thread:p1.1;#")
    assert (everything in answers) == (b"g" in sent)
    assert (client.vm.instructions, client.vm.state_hash()) == (place, value)
    assert client.ask(b"bs") == b"T05thread:p1.1;"
    assert client.ask(b"s").startswith(b"T05")
    assert client.vm.state_hash() == value


@pytest.mark.parametrize("packet", [b"bc", b"bs"])
def test_debugger_that_vanishes_on_the_way_back_leaves_the_guest_whole(packet: bytes) -> None:
    client = busy()
    place, value = client.vm.instructions, client.vm.state_hash()
    client.goes = True
    client.out.clear()
    client.receive(b"$" + packet + b"#" + b"%02x" % sum(packet))
    assert (client.vm.instructions, client.vm.state_hash()) == (place, value)
    assert client.vm.history is None
    assert not client.server.debugger.breakpoints
    assert bytes(client.out) == b"+", "no answer for a client that is gone"
    client.vm.run(instructions=1000)


@pytest.mark.interop
@pytest.mark.parametrize(("machine", "cpu"), [("g3beige", "750"), ("mac99", "7400")])
def test_gdb_finds_the_last_write_of_a_variable(tmp_path: Path, machine: str, cpu: str) -> None:
    gdb = shutil.which("gdb-multiarch")
    if gdb is None:
        pytest.skip("gdb-multiarch is not installed")
    socket = tmp_path / "gdb"
    options = f"-M {machine} -cpu {cpu} -bios builtin -m 8 -nographic -serial null "
    options += "-monitor none -icount 5 -S"
    command = [sys.executable, "-m", "gossamer", "run", *shlex.split(options)]
    script = f"""
set confirm off
set pagination off
set endian big
set architecture powerpc:{cpu}
target remote {socket}
hbreak *0x900 if *(int*){DATA:#x} == 3
continue
delete
stepi 40
watch *(int*){DATA:#x}
reverse-continue
printf "value %d pc %#x\\n", *(int*){DATA:#x}, $pc
delete
reverse-stepi
stepi
printf "again %#x\\n", $pc
monitor info timeline
reverse-continue
kill
"""
    file = tmp_path / "script"
    file.write_text(script)
    with subprocess.Popen([*command, "-gdb", f"unix:{socket},server=on,wait=off"]) as guest:
        try:
            until(lambda: socket.exists() or guest.poll() is not None)
            done = subprocess.run(
                [gdb, "-nx", "-batch", "-x", file], capture_output=True, text=True, timeout=600
            )
        finally:
            guest.kill()
    said = done.stdout
    assert "Old value = 4" in said, said + done.stderr
    assert "New value = 3" in said
    assert "value 3 pc 0x944" in said  # stw r21,0(r14)
    assert "again 0x944" in said
    assert "checkpoints" in said + done.stderr
    assert "No more reverse-execution history" in said
