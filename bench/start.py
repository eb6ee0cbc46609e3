"""A start, from exec to its end by C-a x, of several trees of gossamer and of QEMU, in turn.

    python bench/start.py TREE [TREE ...] [--rounds 9] [--peer qemu-system-ppc] [--machine g3beige]

A tree is a checkout whose .venv has gossamer, its sources compiled (python -m compileall src).
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import time
from pathlib import Path


def once(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of one start."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, input=b"\x01x", stdout=subprocess.DEVNULL, check=True, timeout=300)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trees", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--peer", help="QEMU, measured in turn with the trees")
    parser.add_argument("--machine", default="g3beige")
    args = parser.parse_args()
    options = ["-M", args.machine, "-nographic"]
    commands = {
        str(tree): [str(tree / ".venv/bin/gossamer"), "run", *options] for tree in args.trees
    }
    if args.peer:
        commands[args.peer] = [args.peer, *options]
    for command in commands.values():
        once(command)  # caches
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(args.rounds):
        for name, command in commands.items():
            figures[name].append(once(command))
    for name, found in figures.items():
        wall = statistics.median(one for one, _ in found)
        used = sorted(cpu for _, cpu in found)
        middle = statistics.median(used)
        print(f"{name}: wall {wall:.3f} s, CPU {middle:.3f} s, least CPU {used[0]:.3f} s")


if __name__ == "__main__":
    main()
