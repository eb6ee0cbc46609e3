"""Loads damaged saves and says what is wrong with how they were taken.

`python -m tests.control.hostile COUNT [SEED]` does it by hand, with what it found on stderr.
"""

from __future__ import annotations

import ctypes
import gc
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from gossamer.base.errors import GossamerError
from gossamer.control.vm import Vm
from gossamer.machines.config import Config
from gossamer.machines.options import parse
from tests.streams.fuzz import damage

SLOWEST_S = 300.0
MOST_KB = 400 * 1024
COMMON = ["-nographic", "-serial", "null", "-monitor", "none", "-icount", "5,sleep=off"]
SMALL = ["-m", "4", "-vga", "none", "-nic", "none", "-bios", "builtin"]
MACHINES = {
    "bare": ["-M", "bare", "-m", "1"],
    "g3beige": ["-M", "g3beige", *SMALL],
    "mac99": ["-M", "mac99,via=pmu", *SMALL],
}


def make(machine: str) -> Vm:
    """A machine in the middle of its work, with input on its way."""
    vm = Vm(parse([*MACHINES[machine], *COMMON, "-rtc", "base=2001-09-09"]))
    vm.run_to(2_000_003)
    vm.serial_receive(0, ord("?"))
    if vm.machine.keyboard is not None:
        vm.machine.keyboard.key(5, True)
    if vm.machine.mouse is not None:
        vm.machine.mouse.move(3, 4, 1)
    return vm


def config_of(machine: str) -> Config:
    return make(machine).config


class Trial:
    """Damages the saves of one machine and loads them."""

    def __init__(self, machine: str, folder: Path, seed: int = 1) -> None:
        self.chance = random.Random(f"{machine} {seed}")
        self.vm = make(machine)
        self.stream = self.vm.save_bytes()
        self.file = folder / f"{machine}.gossamer"
        self.damaged = folder / f"{machine}-damaged.gossamer"
        self.vm.save(self.file)
        self.container = self.file.read_bytes()
        self.before = self.vm.state_hash()
        self.results: Counter[str] = Counter()

    def stream_once(self) -> None:
        """A damaged bare stream: refused with the machine as it was, or taken and runs."""
        data = damage(self.stream, self.chance)
        start = time.process_time()
        vm = self.vm
        try:
            vm.load_bytes(data)
        except GossamerError as fault:
            self.results["stream refused" if str(fault) else "refused without a word"] += 1
            assert vm.state_hash() == self.before, "a refused stream changed the machine"
        else:
            try:
                vm.run(instructions=3000, until_ns=vm.clock_ns + 10_000_000)
                self.results["stream loaded"] += 1
            except GossamerError:
                self.results["stream loaded, then stopped"] += 1
            self.vm = Vm(vm.config)
            self.vm.load_bytes(self.stream)
        assert time.process_time() - start < SLOWEST_S, "a load took too long"

    def container_once(self) -> None:
        """A damaged container: always refused, unless the damage undid itself."""
        data = damage(self.container, self.chance)
        self.damaged.write_bytes(data)
        start = time.process_time()
        try:
            self.vm.restore(self.damaged)
        except GossamerError as fault:
            self.results["container refused" if str(fault) else "refused without a word"] += 1
        else:
            same = data[: len(self.container)] == self.container
            assert same, "a damaged container was loaded"
            self.results["container whole"] += 1
        assert time.process_time() - start < SLOWEST_S, "a load took too long"

    def run(self, count: int) -> None:
        before = peak_kb()
        for n in range(count):
            if n % 2:
                self.container_once()
            else:
                self.stream_once()
            if n % 100 == 99:
                give_back()
        assert not self.results["refused without a word"]
        assert peak_kb() - before < MOST_KB, "loading took too much memory"


def give_back() -> None:
    """Return freed memory to the host, so that the peak shows what is in use."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    count = int(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as folder:
        for machine in MACHINES:
            trial = Trial(machine, Path(folder), seed)
            trial.run(count // len(MACHINES))
            print(machine, dict(trial.results), f"peak {peak_kb() // 1024} MiB")


if __name__ == "__main__":
    main()
