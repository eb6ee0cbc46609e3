"""The qtest server: memory, devices and the clock, as a device test asks for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


USB_BASE = 0x8000_0000


def lines(client: Client, request: str) -> list[str]:
    return client.ask(request).splitlines()


def test_interrupts_are_reported_before_the_answer_to_what_moved_them() -> None:
    """Heathrow's inputs, by the pins that other chips drive; the CPU's too, from its output."""
    client = Client("-usb")
    assert client.ask("irq_intercept_in macio/heathrow") == "OK"
    assert client.ask("irq_intercept_in /machine/macio/heathrow") == "OK"  # again: nothing happens
    assert client.ask("irq_intercept_out cpu").startswith("FAIL IRQ intercept already")
    usb: Any = client.vm.machine.part("pci/usb")
    usb.write_config(0x10, 4, USB_BASE)
    usb.write_config(0x04, 2, 2)
    client.ask(f"writel {USB_BASE + 0x0C:#x} 0xffffffff")
    assert lines(client, f"writel {USB_BASE + 0x10:#x} 0x40000080") == ["OK"]
    # Reset of an empty port is a change of the hub's.  Registers are little-endian.
    reset = f"writel {USB_BASE + 0x54:#x} 0x10000000"
    assert lines(client, reset) == ["IRQ raise 24", "OK"]
    assert lines(client, f"writel {USB_BASE + 0x0C:#x} 0x40000000") == ["IRQ lower 24", "OK"]


def test_outputs_of_a_chip_and_nonsense() -> None:
    client = Client()
    assert client.ask("irq_intercept_out macio/heathrow") == "OK"
    # Unmask source 18 (Cuda) and raise it: the output to the CPU goes up.
    machine = client.vm.machine
    client.ask(f"writel {machine_base(client) + 0x24:#x} 0x00000400")
    assert lines(client, "set_irq_in macio/heathrow unnamed-gpio-in 18 1")[0] == "IRQ raise 0"
    client.ask("set_irq_in macio/heathrow unnamed-gpio-in 18 0")
    clear = f"writel {machine_base(client) + 0x28:#x} 0x00000400"
    assert lines(client, clear) == ["IRQ lower 0", "OK"]
    assert machine.cpu is not None
    for request in (
        "irq_intercept_in nowhere", "irq_intercept_in", "set_irq_in macio/heathrow x 0 1",
        "set_irq_in nvram unnamed-gpio-in 0 1", "module_load x",
    ):  # fmt: skip
        assert client.ask(request).startswith("FAIL")


def machine_base(client: Client) -> int:
    """Where the Mac I/O chip's registers are: its BAR is put there."""
    macio: Any = client.vm.machine.part("macio")
    base = 0x8000_0000
    macio.write_config(0x10, 4, base)
    macio.write_config(0x04, 2, 2)
    return base


def test_ports_are_little_endian() -> None:
    client = Client("-nic", "model=ne2k_pci")
    card: Any = client.vm.machine.part("pci/ne2000")
    card.write_config(0x10, 4, 0x301)
    card.write_config(0x04, 2, 1)
    assert client.ask("outb 0x300 0x21") == "OK"
    assert client.ask("inb 0x300") == "OK 0x0021"
    assert client.ask("inb zz").startswith("FAIL")
