"""The qtest server: memory, devices and the clock, as a device test asks for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.control.vm import Vm
from gossamer.front.chardev import Chardev
from gossamer.front.qtest import LONGEST, QtestServer, RequestLog
from gossamer.machines.options import parse


class Client(Chardev):
    def __init__(self, *options: str, steps_clock: bool = True, log: Path | None = None) -> None:
        super().__init__("qtest")
        line = ["-M", "g3beige", "-bios", "builtin", "-m", "8", "-nographic", "-serial", "null"]
        self.vm = Vm(parse([*line, *options]))
        record = RequestLog(log) if log else None
        self.server = QtestServer(self.vm, self, steps_clock=steps_clock, log=record)

    @property
    def connected(self) -> bool:
        return True

    def ask(self, line: str) -> str:
        self.out.clear()
        self.receive(line.encode() + b"\n")
        return self.out.decode().strip()


def test_memory_in_every_size_and_form() -> None:
    client = Client()
    assert client.ask("writel 0x1000 0x12345678") == "OK"
    assert client.ask("readw 0x1002") == "OK 0x0000000000005678"
    assert client.ask("writeq 0x1008 0x1122334455667788") == "OK"
    assert client.ask("readq 0x1008") == "OK 0x1122334455667788"
    assert client.ask("read 0x1000 4") == "OK 0x12345678"
    assert client.ask("write 0x2000 3 0xabcdef") == "OK"
    assert client.ask("b64read 0x2000 3") == "OK q83v"
    assert client.ask("b64write 0x2010 3 q83v") == "OK"
    assert client.ask("memset 0x2020 4 0x5a") == "OK"
    assert client.ask("read 0x2010 0x14") == "OK 0xabcdef" + "00" * 13 + "5a" * 4
    assert client.ask("endianness") == "OK big"


def test_firmware_configuration_names_the_boot_device() -> None:
    """As QEMU's boot-order-test reads it."""
    client = Client("-nodefaults", "-boot", "c")
    client.ask("writew 0xf0000510 0x000c")
    assert client.ask("readb 0xf0000512") == f"OK 0x{ord('c'):016x}"


def test_clock_moves_by_steps_and_timers_fire() -> None:
    client = Client()
    assert client.ask("clock_step 1000") == "OK 1000"
    assert client.ask("clock_set 5000000") == "OK 5000000"
    due = client.vm.machine.clock.deadline
    assert client.ask("clock_step") == f"OK {due}"


def test_clock_is_the_guests_where_it_runs() -> None:
    client = Client(steps_clock=False)
    assert client.ask("clock_step 1").startswith("FAIL the guest runs")


@pytest.mark.parametrize(
    "line",
    ["nonsense", "writel", "writel 0x1000", "readl zz", "read 0 99999999999", "read 0 -1",
     "write 0 2 0xabc", "b64write 0 3 !!", "memset 0 4", "clock_step x"],
)  # fmt: skip
def test_malformed_request_fails_in_one_line(line: str) -> None:
    answer = Client().ask(line)
    assert answer.startswith("FAIL")
    assert "\n" not in answer


def test_line_without_an_end_costs_bounded_memory() -> None:
    client = Client()
    for _ in range(20):
        client.receive(b"a" * (LONGEST // 4))
    client.receive(b"\n")
    assert client.out.startswith(b"FAIL")
    assert client.ask("endianness") == "OK big"


def test_log_holds_the_conversation(tmp_path: Path) -> None:
    client = Client(log=tmp_path / "log")
    client.ask("endianness")
    client.server.close()
    assert (tmp_path / "log").read_text() == "[R] endianness\n[S] OK big\n"
