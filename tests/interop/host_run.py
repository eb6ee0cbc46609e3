"""What both hosts do in test_arm64: a deterministic run, a save, a load, small proofs; as JSON.

host_run.py FOLDER run: runs and saves.  host_run.py FOLDER load: goes on from the other host's
saves.  host_run.py FOLDER hop: takes a running machine and hands it back, HOPS times.
host_run.py FOLDER prove: `verify float` and `verify cuts`, in small.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import sys
import time
from pathlib import Path

from gossamer import cli
from gossamer.control.steps import InThread, wait_for
from gossamer.control.vm import Vm
from gossamer.machines.options import parse
from gossamer.migrate.channels import Listener

#: Machine and tier of the engine.
RUNS = (("g3beige", 0), ("g3beige", 1), ("g3beige", 2), ("mac99", 2))
COUNTS = (1_000_000, 2_000_000, 4_000_000)
#: There and back so often.
HOPS = int(os.environ.get("GOSSAMER_HOPS", "2"))


def options(machine: str, tier: int) -> list[str]:
    line = (
        f"-M {machine} -m 8 -bios builtin -icount 5,sleep=off -serial null -accel tcg,tier={tier}"
    )
    return line.split()


def run(folder: Path) -> dict[str, object]:
    found = {}
    for machine, tier in RUNS:
        vm, hashes = Vm(parse(options(machine, tier))), []
        for count in COUNTS:
            vm.run_to(count)
            hashes.append(f"{vm.state_hash():016x}")
            if count == COUNTS[0]:
                vm.save(folder / f"{machine}-{tier}-{platform.machine()}")
        found[f"{machine} tier {tier}"] = hashes
    return found


def load(folder: Path) -> dict[str, object]:
    found = {}
    for machine, tier in RUNS:
        (path,) = (
            p for p in folder.glob(f"{machine}-{tier}-*") if not p.name.endswith(platform.machine())
        )
        vm = Vm.load(path)
        vm.run_to(COUNTS[1])
        found[f"{machine} tier {tier}"] = f"{vm.state_hash():016x}"
    return found


def hand_over(vm: Vm, place: str) -> None:
    """Send it while it runs, a stretch of the guest between any two steps."""
    steps = vm.transfers.send(place)
    with contextlib.suppress(StopIteration):
        waiting = next(steps)
        while True:
            if vm.run_state == "running":
                vm.run(instructions=20_000)
            if isinstance(waiting, InThread):
                waiting.start(lambda: None)
                assert waiting.thread is not None
                waiting.thread.join()
                waiting = waiting.send_to(steps)
            else:
                waiting = steps.send(wait_for(waiting))


def hop(folder: Path) -> dict[str, object]:
    counts = []
    vm = Vm(parse(options(*RUNS[0])))
    for n in range(HOPS):
        listener = Listener(f"unix:{folder}/there{n}")
        (folder / f"there{n}-waits").touch()
        vm.incoming(listener)
        before = vm.instructions
        vm.run(instructions=30_000)
        vm.cont()
        while not (folder / f"here{n}-waits").exists():
            time.sleep(0.05)
        hand_over(vm, f"unix:{folder}/here{n}")
        counts.append((before, vm.instructions))
        vm = Vm(parse(options(*RUNS[0])))
    return {"counts": counts}


def prove(folder: Path) -> dict[str, object]:
    del folder
    found = {}
    for name, words in (
        ("float", ["verify", "float", "--count", "20"]),
        ("cuts", ["verify", "cuts", "--guest", "builtin", "--cuts", "5", "--seed", "1"]),
    ):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            status = cli.main(words)
        found[name] = [status, out.getvalue()]
    return found


if __name__ == "__main__":
    act = {"run": run, "load": load, "prove": prove, "hop": hop}[sys.argv[2]]
    print(json.dumps({"host": platform.machine()} | act(Path(sys.argv[1]))))
