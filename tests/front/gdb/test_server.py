"""gdb's server: what a client reads, writes and stops at, and that it leaves nothing behind."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from gossamer.control.debugger import MOST
from gossamer.control.session import Session
from gossamer.control.vm import Vm
from gossamer.front.chardev import Chardev
from gossamer.front.gdb.packets import LONGEST, checksum
from gossamer.front.gdb.server import GdbServer
from gossamer.machines.guests.watcher import DATA
from gossamer.machines.options import parse
from tests.front.gdb.real import debugged

HELLO = b"qSupported:multiprocess+;swbreak+;hwbreak+"


class Client(Chardev):
    """A client that waits for its answers; the guest runs while it waits for a stop."""

    MACHINE: tuple[str, ...] = ("-M", "g3beige", "-bios", "builtin", "-m", "8")

    def __init__(self, *options: str) -> None:
        super().__init__("gdb")
        base = [*self.MACHINE, "-nographic", "-serial", "null"]
        self.vm = Vm(parse([*base, "-icount", "5,sleep=off", *options]))
        self.prepare()
        self.server = GdbServer(Session(self.vm), self)
        self.opened()
        self.ask(HELLO)

    def prepare(self) -> None:
        """Put a program into memory, before the client comes."""

    @property
    def connected(self) -> bool:
        return True

    def ask(self, body: bytes) -> bytes:
        """The body of the last answer."""
        self.out.clear()
        self.receive(b"$" + body + b"#" + checksum(body))
        for _ in range(2000):
            found = re.findall(rb"\$([^#]*)#..", bytes(self.out))
            if found:
                return found[-1]
            assert self.vm.run_state == "running", "no answer, and the guest stands"
            self.vm.run_slice(1_000_000)
        raise AssertionError(f"no answer to {body!r}")

    def number(self, name: str) -> int:
        root = ET.fromstring(self.document())
        return int(next(r for r in root.iter("reg") if r.get("name") == name).get("regnum", ""))

    def document(self) -> bytes:
        text, more = b"", True
        while more:
            part = self.ask(b"qXfer:features:read:target.xml:%x,%x" % (len(text), 0x800))
            text, more = text + part[1:], part[:1] == b"m"
        return text

    def register(self, name: str) -> int:
        return int(self.ask(b"p%x" % self.number(name)), 16)


def test_description_names_each_register_once_and_g_holds_them_all() -> None:
    for cpu, architecture in (("750", "powerpc:750"), ("7400", "powerpc:7400")):
        client = Client(*(() if cpu == "750" else ("-M", "mac99", "-cpu", cpu)))
        root = ET.fromstring(client.document())
        assert root.findtext("architecture") == architecture
        registers = list(root.iter("reg"))
        names = [r.get("name") for r in registers]
        assert len(names) == len(set(names))
        numbers = [int(r.get("regnum", "")) for r in registers]
        assert sorted(numbers) == sorted(set(numbers))
        bits = sum(int(r.get("bitsize", "")) for r in registers)
        assert len(client.ask(b"g")) == bits // 4
        assert {"pc", "msr", "sr15", "sdr1", "ibat0u", "hid0", "dec", "tb"} <= set(names)
        assert ("vr31" in names) == (cpu == "7400")


def test_registers_are_read_and_written() -> None:
    client = Client()
    assert client.ask(b"p40") == b"fff00100"
    assert client.ask(b"P5=12345678") == b"OK"
    assert client.vm.register("r5") == 0x12345678
    assert client.ask(b"P%x=00000040" % client.number("msr")) == b"OK"
    assert client.ask(b"p7ff") == b"E16"
    assert client.ask(b"P%x=0" % client.number("pvr")) == b"E16"
    before = client.ask(b"g")
    assert client.ask(b"G" + before) == b"OK"
    assert client.ask(b"g") == before


def test_memory_is_read_and_written_and_devices_are_not() -> None:
    client = Client()
    assert client.ask(b"M3000,4:0badcafe") == b"OK"
    assert client.ask(b"m3000,4") == b"0badcafe"
    assert client.ask(b"X3004,2:}\x03]") == b"OK"
    assert client.ask(b"m3004,2") == b"235d"
    assert client.ask(b"m80813020,4") == b"E14"
    assert client.ask(b"mfff00100,4") != b"E14"
    assert client.ask(b"m123456789,4") == b"E14"
    assert client.ask(b"mzz,4") == b"E01"
    assert client.ask(b"qSearch:memory:0;8000;\x0b\xad\xca\xfe") == b"1,3000"
    assert client.ask(b"qCRC:3000,4") == b"C" + b"%x" % crc(bytes.fromhex("0badcafe"))
    assert client.ask(b"qCRC:0,ffffffff") == b"E22"


def crc(data: bytes) -> int:
    """Bit by bit, as gdb's manual says of qCRC."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value


@pytest.mark.parametrize("tier", ["0", "2"])
def test_breakpoints_watchpoints_and_steps_leave_the_guest_as_it_would_be(tier: str) -> None:
    client = Client("-accel", f"tcg,tier={tier}")
    assert client.ask(b"Z1,900,4") == b"OK"
    assert client.ask(b"c") == b"T05thread:p1.1;hwbreak:;"
    assert client.register("pc") == 0x900
    assert client.ask(b"vCont;s:p1.1;c:p1.-1").startswith(b"T05")
    assert client.register("pc") == 0x904
    assert client.ask(b"z1,900,4") == b"OK"
    assert client.ask(b"Z2,%x,4" % DATA) == b"OK"
    assert client.ask(b"c") == b"T05thread:p1.1;watch:%x;" % DATA
    assert client.ask(b"m%x,4" % DATA) == b"00000001"
    assert client.ask(b"z2,%x,4" % DATA) == b"OK"
    count = client.vm.instructions
    assert client.ask(b"D") == b"OK"
    plain = Client()
    plain.ask(b"D")
    plain.vm.run_to(count)
    assert client.vm.state_hash() == plain.vm.state_hash()


def test_interrupt_stops_a_running_guest() -> None:
    client = Client()
    client.receive(b"$c#63")
    client.vm.run_slice(1_000_000)
    assert client.vm.run_state == "running"
    client.out.clear()
    client.receive(b"\x03")
    assert b"$T02thread:p1.1;#" in client.out
    assert client.vm.run_state == "paused"


def test_client_that_vanishes_leaves_no_breakpoint_and_the_guest_as_it_ran() -> None:
    client = Client()
    client.ask(b"D")
    client.vm.cont()
    client.opened()
    assert client.vm.run_state == "paused"
    client.ask(b"Z0,900,4")
    client.closed()
    assert client.vm.run_state == "running"
    assert not client.vm.machine.processor.debug().active


def test_hostile_packets_get_an_error_each_and_cost_bounded_memory() -> None:
    client = Client()
    for body in (b"Z9,0,4", b"Z0,", b"Z2,0,0", b"m0", b"M0,4:zz", b"G12345", b"vCont;x", b"P",
                 b"qXfer:features:read:none:0,10", b"qRcmd,zz", b"X0,5:ab", b"H", b"\xff" * 50,
                 b"Qqemu.sstep=99"):  # fmt: skip
        assert client.ask(b"?") == b"T05thread:p1.1;"
        client.out.clear()
        client.receive(b"$" + body + b"#" + checksum(body))
        assert len(client.out) < 200
    for n in range(1100):
        answer = client.ask(b"Z0,%x,4" % (0x4000 + 4 * n))
    assert answer == b"E22"
    client.receive(b"$" + b"m" * (4 * LONGEST))
    client.receive(b"#00")
    assert client.ask(b"?") == b"T05thread:p1.1;"


def test_points_by_the_ten_thousand_are_refused_and_go_when_the_client_goes() -> None:
    client = Client()
    before = client.vm.state_hash()
    packets = []
    for n in range(10_000):
        body = b"Z%d,%x,4" % (n % 5, 4 * n)
        packets.append(b"$" + body + b"#" + checksum(body))
    client.out.clear()
    client.receive(b"".join(packets))
    answers = re.findall(rb"\$([^#]*)#..", bytes(client.out))
    assert len(answers) == len(packets)
    assert set(answers) == {b"OK", b"E22"}
    assert (
        len(client.server.debugger.breakpoints) == len(client.server.debugger.watchpoints) == MOST
    )
    client.closed()
    assert not client.vm.machine.processor.debug().active
    assert client.vm.state_hash() == before


def test_monitor_commands_answer() -> None:
    client = Client()
    client.out.clear()
    line = b"qRcmd," + b"info status".hex().encode()
    client.receive(b"$" + line + b"#" + checksum(line))
    bodies = re.findall(rb"\$([^#]*)#..", bytes(client.out))
    assert bodies[-1] == b"OK"
    assert b"VM status" in bytes.fromhex(bodies[0][1:].decode())


@pytest.mark.slow
@pytest.mark.interop
def test_gdb_itself_finds_its_way(tmp_path: Path) -> None:
    ran = debugged(
        tmp_path,
        "-M g3beige -bios builtin",
        "hbreak *0x900\ncontinue\ninfo registers pc msr\ndelete\n"
        f"watch *(unsigned*){DATA:#x}\ncontinue\np *(unsigned*){DATA:#x}\nstepi\ndetach\n",
    )
    assert "0x900" in ran.stdout, ran.stdout + ran.stderr
    assert "[ ME ]" in ran.stdout
    assert "New value = 1" in ran.stdout
