"""gdb's protocol on a pseries: 64 bits, both orders of bytes, several CPUs as threads."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from struct import pack

import pytest

from gossamer.control.commands.rows import TABLE
from gossamer.engine.turns import TURN
from gossamer.front.chardev import Null
from gossamer.front.gdb.requests import MALFORMED
from gossamer.front.hmp.monitor import Monitor
from tests.front.gdb.test_server import Client

#: Where each CPU's program is: it counts in r3, and writes the count to the word behind it.
FIRST, SECOND = 0x1_0000, 0x2_0000
LOOP = pack(">4I", 0x3863_0001, 0x9064_0100, 0x6000_0000, 0x4BFF_FFF4)
MSR_SF_ME = 1 << 63 | 1 << 12


class Server(Client):
    """Two CPUs at work, each in its loop; r4 is where that is."""

    MACHINE = ("-M", "pseries", "-m", "256", "-rtc", "base=2020-01-01", "-nodefaults")

    def prepare(self) -> None:
        m = self.vm.machine
        for cpu, at in zip(m.cpus, (FIRST, SECOND), strict=False):
            m.memory.write(at, LOOP)
            for name, value in (("nia", at), ("msr", MSR_SF_ME), ("halted", 0)):
                cpu.block.set(name, value)
            cpu.block.set("gpr", at, 4)

    def pc(self, thread: int) -> int:
        assert self.ask(b"Hgp1.%x" % thread) == b"OK"
        return self.register("pc")


def test_description_has_registers_of_64_bits() -> None:
    for cpu, more in (("970mp_v1.1", set()), ("power8", {"vs0h", "vs31h", "tar", "lpcr"})):
        client = Server("-cpu", cpu)
        root = ET.fromstring(client.document())
        assert root.findtext("architecture") == "powerpc:common64"
        bits = {r.get("name", ""): int(r.get("bitsize", "")) for r in root.iter("reg")}
        numbers = [int(r.get("regnum", "")) for r in root.iter("reg")]
        assert len(numbers) == len(set(numbers))
        assert [bits[n] for n in ("r0", "pc", "msr", "lr", "ctr", "cr", "xer", "f0", "vr0")] == [
            *(64, 64, 64, 64, 64, 32, 32, 64, 128)
        ]
        assert more < set(bits)
        assert not {"sr0", "ibat0u"} & set(bits)
        assert len(client.ask(b"g")) == sum(bits.values()) // 4
        assert client.register("msr") == MSR_SF_ME
        assert b"memory-map" not in client.ask(b"qSupported")


def test_registers_stand_in_the_order_of_bytes_that_the_cpu_is_in() -> None:
    client = Server("-cpu", "power8")
    block = client.vm.machine.cpu.block
    block.set("gpr", 0x0102_0304_0506_0708, 5)
    assert client.ask(b"p5") == b"0102030405060708"
    block.set("msr", MSR_SF_ME | 1)
    assert client.ask(b"p5") == b"0807060504030201"
    assert client.ask(b"P5=ff00000000000080") == b"OK"
    assert block.get("gpr", 5) == 0x8000_0000_0000_00FF
    whole = client.ask(b"g")
    assert whole[: 16 * 6][-16:] == b"ff00000000000080"
    assert client.ask(b"G" + whole) == b"OK"
    assert client.ask(b"g") == whole


def test_each_cpu_is_a_thread() -> None:
    client = Server("-smp", "2")
    assert client.ask(b"qfThreadInfo") == b"mp1.1,p1.2"
    assert client.ask(b"qC") == b"QCp1.1"
    assert (client.pc(2), client.pc(1)) == (SECOND, FIRST)
    extra = bytes.fromhex(client.ask(b"qThreadExtraInfo,p1.2").decode())
    assert extra == b"CPU#1 [running]"
    assert b'<thread id="p1.2" core="1">' in client.ask(b"qXfer:threads:read::0,800")
    assert client.ask(b"Tp1.2") == b"OK"
    for wrong in (b"Tp1.3", b"Hgp1.3", b"vCont;s:p1.9", b"Hgx"):
        assert client.ask(wrong) == MALFORMED
    client.ask(b"Hgp1.2")
    assert client.ask(b"P6=%016x" % (5 << 60)) == b"OK"
    blocks = [cpu.block for cpu in client.vm.machine.cpus]
    assert [block.get("gpr", 6) for block in blocks] == [0, 5 << 60]


def test_memory_above_4_gib_is_no_memory() -> None:
    client = Server()
    assert client.ask(b"m%x,4" % FIRST) == LOOP[:4].hex().encode()
    assert client.ask(b"m%x,4" % (1 << 60 | FIRST)) == LOOP[:4].hex().encode()  # real mode
    assert client.ask(b"m%x,4" % (1 << 45)) == b"E14"
    assert client.ask(b"m%x,4" % (1 << 64)) == b"E14"


def test_breakpoint_of_any_cpu_stops_there_and_changes_nothing() -> None:
    client, free = Server("-smp", "2"), Server("-smp", "2")
    assert client.ask(b"Z0,%x,4" % (SECOND + 4)) == b"OK"
    for n in range(1, 4):
        assert client.ask(b"c").startswith(b"T05thread:p1.2;hwbreak:;")
        assert client.pc(2) == SECOND + 4
        assert client.register("r3") == n
    assert client.ask(b"z0,%x,4" % (SECOND + 4)) == b"OK"
    assert client.ask(b"Z2,%x,4" % (FIRST + 0x100)) == b"OK"
    assert client.ask(b"c").startswith(b"T05thread:p1.1;watch:%x;" % (FIRST + 0x100))
    free.vm.run_to(client.vm.instructions)
    assert client.vm.state_hash() == free.vm.state_hash()


def test_step_of_a_cpu_that_has_no_turn_lets_the_others_have_theirs() -> None:
    client, free = Server("-smp", "2"), Server("-smp", "2")
    assert client.ask(b"vCont;s:p1.2;c").startswith(b"T05thread:p1.2;")
    assert client.pc(2) == SECOND + 4
    count = client.vm.instructions
    assert count == TURN + 1
    free.vm.run_to(count)
    assert client.vm.state_hash() == free.vm.state_hash()
    client.vm.machine.cpus[1].block.set("halted", 1)
    assert client.ask(b"vCont;s:p1.2").startswith(b"T05thread:p1.2;")  # it comes to an end
    assert client.pc(2) == SECOND + 4


def test_breakpoint_that_another_cpu_meets_ends_a_step() -> None:
    client = Server("-smp", "2")
    client.ask(b"Z0,%x,4" % (FIRST + 8))
    assert client.ask(b"vCont;s:p1.2;c").startswith(b"T05thread:p1.1;")
    assert (client.pc(1), client.pc(2)) == (FIRST + 8, SECOND)


@pytest.mark.parametrize("cpus", ["1", "2"])
def test_the_way_back(cpus: str) -> None:
    client = Server("-smp", cpus)
    last = int(cpus)
    at = (FIRST, SECOND)[last - 1] + 4
    client.ask(b"Z0,%x,4" % at)
    hashes = []
    for _ in range(3):
        assert client.ask(b"c").startswith(b"T05thread:p1.%x;" % last)
        hashes.append((client.vm.instructions, client.vm.state_hash()))
    for n in (1, 0):
        assert client.ask(b"bc").startswith(b"T05thread:p1.%x;" % last)
        assert (client.vm.instructions, client.vm.state_hash()) == hashes[n]
    assert client.ask(b"bs").startswith(b"T05thread:p1.%x;" % last)
    assert client.pc(last) == at - 4
    assert b"replaylog:begin" in client.ask(b"bc")
    assert client.vm.instructions == 0


def test_monitor_looks_at_the_cpu_that_was_chosen() -> None:
    client = Server("-smp", "2")
    session = client.server.session
    monitor = Monitor(session, Null("x")).execute
    assert monitor("p $pc").startswith(f"{FIRST:#010x} ")
    assert monitor("cpu 1") == ""
    assert monitor("p $pc").startswith(f"{SECOND:#010x} ")
    assert f"NIP {SECOND:08x} " in monitor("info registers")
    assert "CPU#1" in monitor("info registers")
    lines = monitor("info cpus").splitlines()
    assert [line[:8] for line in lines] == ["  CPU #0", "* CPU #1"]
    assert "invalid CPU index" in monitor("cpu 2")
    assert monitor("x /1xw 0x1000000000010000").endswith("0x38630001\n")  # above 4 GiB
    assert TABLE.call(session, "query-target").arch == "ppc64"
    assert [one.target for one in TABLE.call(session, "query-cpus-fast")] == ["ppc64"] * 2
