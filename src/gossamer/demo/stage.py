"""One process of the story: loads the guest, runs it for a second, saves it and ends.

The order comes as a line of JSON on stdin, news go out as lines of JSON on stdout.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, Final

from gossamer.base.errors import GossamerError
from gossamer.base.units import NS_PER_S
from gossamer.control.vm import Vm
from gossamer.demo.acts import NS_A_TICK
from gossamer.isa.registers import REGISTERS
from gossamer.machines.guests.watcher import DATA
from gossamer.machines.options import parse

STAY_NS: Final = 1_000_000_000
SLICE_NS: Final = 10_000_000
NEWS_NS: Final = 100_000_000


def say(**news: object) -> None:
    print(json.dumps(news), flush=True)


def forget(vm: Vm) -> None:
    """Lose what QEMU 7.2's streams do not carry: facts section 7."""
    block = vm.machine.cpu.block
    block.set("dec_zero", 0xFFFF_FFFF)
    block.set("tb_offset", 0)
    for source in range(REGISTERS["irq"][1]):
        block.set("irq", 0, source)


def stay(vm: Vm) -> None:
    """Run for a second of the host's time and report on it."""
    written = bytearray()
    vm.serial_sinks = [written.extend]
    vm.cont()
    start = time.monotonic_ns()
    reported = start
    while (now := time.monotonic_ns()) < start + STAY_NS:
        vm.run_slice(SLICE_NS)
        if vm.idle_until_ns is not None:
            time.sleep(max(0, vm.idle_until_ns - time.monotonic_ns()) / 1e9)
        if now - reported >= NEWS_NS:
            reported = now
            report(vm, written)
    report(vm, written)


def report(vm: Vm, written: bytearray) -> None:
    """Ticks that the guest has counted, virtual ns, and ns since its last tick was due."""
    cells = vm.read_physical(DATA, 8)
    ticks, following = int.from_bytes(cells[:4], "big"), int.from_bytes(cells[4:], "big")
    cpu = vm.machine.cpu
    left = (following - cpu.timebase + (1 << 31)) % (1 << 32) - (1 << 31)
    since = NS_A_TICK - left * NS_PER_S // cpu.tb_hz
    say(clock=vm.clock_ns, ticks=ticks, since=since, wrote=written.decode("latin-1"))
    written.clear()


def main() -> None:
    """Carry out one order."""
    line = sys.stdin.readline()
    if not line:
        return
    order: dict[str, Any] = json.loads(line)
    start = time.perf_counter()
    if order["load"] is None:
        vm = Vm(parse(order["options"]))
    else:
        vm = Vm.load(order["load"], parse(order["options"]))
        say(load_ms=1000 * (time.perf_counter() - start))
    stay(vm)
    if order["save"] is not None:
        if order["lossy"]:
            forget(vm)
        start = time.perf_counter()
        size = vm.save(order["save"]).file_bytes
        say(save_ms=1000 * (time.perf_counter() - start), size=size)


if __name__ == "__main__":
    try:
        main()
    except GossamerError as fault:
        sys.exit(f"gossamer: {fault}")
    except BrokenPipeError:
        # The reader has gone; what is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
