"""`gossamer bench engine`: small guest programs side by side on gossamer and on QEMU.

Both run the same image with the MMU on, in turn, a few times; the medians count.  The ratio is
gossamer's speed over QEMU's: above 1 gossamer is faster.  The checksums of both must agree.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from gossamer.base.data import Data, asdict
from gossamer.base.errors import ConfigError
from gossamer.bench.engine.peers import GossamerPeer, QemuPeer, Run
from gossamer.bench.engine.programs import KERNELS, Kernel
from gossamer.bench.peer import find_qemu, geometric_mean

QEMU: Final = "qemu-system-ppc"
QUICK: Final = 8  # a quick run does so much less


class Row(Data):
    """One program: median seconds on both, instructions, ratio of the speeds."""

    name: str
    kind: str
    iterations: int
    instructions: int
    gossamer_seconds: float
    gossamer_mips: float
    qemu_seconds: float | None
    qemu_mips: float | None
    ratio: float | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help="some only (see --list)")
    parser.add_argument("--quick", action="store_true", help="shorter: under half a minute")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--runs", type=int, default=0, help="runs of each (3; quick: 1)")
    parser.add_argument("--scale", type=float, default=1.0, help="iterations times this")
    parser.add_argument("--qemu", default=QEMU, help="the program to compare with")
    parser.add_argument("--no-qemu", action="store_true", help="measure gossamer alone")
    parser.add_argument("--list", action="store_true", help="name the programs")


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse's type is private
    """Add `engine` to `gossamer bench`."""
    add_arguments(subparsers.add_parser("engine", help="guest programs, beside QEMU"))


def chosen(names: Iterable[str]) -> list[tuple[int, Kernel]]:
    """The kernels by name, all when none is named, with their numbers."""
    wanted = list(names)
    known = [k.name for k in KERNELS]
    for name in wanted:
        if name not in known:
            raise ConfigError(f"unknown program {name!r} (there is: {', '.join(known)})")
    return [(n, k) for n, k in enumerate(KERNELS) if not wanted or k.name in wanted]


def measure(
    number: int,
    kernel: Kernel,
    ours: GossamerPeer,
    theirs: QemuPeer | None,
    runs: int,
    scale: float,
) -> Row:
    """Run one program in turn on both."""
    iterations = max(1, round(kernel.iterations * scale))
    mine: list[Run] = []
    other: list[Run] = []
    for _ in range(runs):
        mine.append(ours.run(number, iterations))
        if theirs is not None:
            other.append(theirs.run(number, iterations))
    results = {r.result for r in mine + other}
    if len(results) != 1:
        found = f"gossamer {mine[0].result:#x}" + (f", QEMU {other[0].result:#x}" if other else "")
        raise ConfigError(f"{kernel.name}: checksums differ: {found}")
    seconds = statistics.median(r.seconds for r in mine)
    count = mine[0].instructions
    qemu = statistics.median(r.seconds for r in other) if other else None
    return Row(
        kernel.name,
        kernel.kind,
        iterations,
        count,
        seconds,
        count / seconds / 1e6,
        qemu,
        count / qemu / 1e6 if qemu else None,
        qemu / seconds if qemu else None,
    )


def mean_ratio(rows: Iterable[Row], kind: str) -> float | None:
    """The geometric mean of the ratios of one kind; None when there is none."""
    return geometric_mean(r.ratio for r in rows if r.kind == kind)


def report(rows: list[Row], version: str) -> dict[str, Any]:
    return {
        "int_ratio": mean_ratio(rows, "int"),
        "memory_ratio": mean_ratio(rows, "memory"),
        "fp_ratio": mean_ratio(rows, "fp"),
        "vector_ratio": mean_ratio(rows, "vector"),
        "qemu": version,
        "rows": [asdict(r) for r in rows],
    }


def row_text(r: Row) -> str:
    line = f"{r.name:8} {r.kind:7} {r.instructions / 1e6:9.1f} {r.gossamer_seconds:9.3f}"
    line += f" {r.gossamer_mips:9.0f}"
    if r.qemu_seconds and r.qemu_mips and r.ratio:
        line += f" {r.qemu_seconds:9.3f} {r.qemu_mips:9.0f} {r.ratio:7.2f}"
    return line


def run(args: argparse.Namespace) -> int:
    """Carry out the command; exit status."""
    if args.list:
        print("\n".join(f"{k.name:8} {k.kind}" for k in KERNELS))
        return 0
    kernels = chosen(args.programs)
    qemu = find_qemu(args)
    runs = args.runs or (1 if args.quick else 3)
    scale = args.scale / (QUICK if args.quick else 1)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        theirs = QemuPeer(qemu, Path(folder)) if qemu else None
        version = theirs.version() if theirs else ""
        ours = GossamerPeer()
        head = "program  kind        Minstr  gossamer s     MIPS    QEMU s      MIPS   ratio"
        print(head, file=sys.stderr if args.json else sys.stdout)
        for number, kernel in kernels:
            row = measure(number, kernel, ours, theirs, runs, scale)
            rows.append(row)
            print(row_text(row), file=sys.stderr if args.json else sys.stdout, flush=True)
    summary = report(rows, version)
    if args.json:
        print(json.dumps(summary, indent=1))
        return 0
    for kind in ("int", "memory", "fp", "vector"):
        if (value := summary[f"{kind}_ratio"]) is not None:
            print(f"{kind}: {value:.2f} of QEMU's speed (geometric mean)")
    return 0
