"""What the benches share that boot a Linux guest on gossamer and on a peer and measure in turn."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.emulator import Emulator

OURS = f"{sys.executable} -m gossamer run"


class HasEmulator(Protocol):
    """One kind of emulator with its guest."""

    emulator: Emulator


S = TypeVar("S", bound=HasEmulator)


def parser_for(doc: str, memory: str) -> argparse.ArgumentParser:
    """The options that all of them take; `memory` is the default of --memory."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("--kernel", required=True)
    parser.add_argument("--initrd", required=True)
    parser.add_argument("--machine", default="g3beige")
    parser.add_argument("--memory", default=memory)
    parser.add_argument("--load", default="", help="a command of the guest's that goes on beside")
    parser.add_argument("--peer", default="", help="the command of another emulator")
    parser.add_argument("--folder", type=Path, default=Path("/tmp"))
    return parser


def new_log(name: str, options: argparse.Namespace) -> Path:
    """Where a guest's serial port is written down; nothing is there yet."""
    options.folder.mkdir(parents=True, exist_ok=True)
    log: Path = options.folder / f"{name}.log"
    log.unlink(missing_ok=True)
    return log


def with_new_disk(name: str, command: str, options: argparse.Namespace) -> tuple[Path, list[str]]:
    """An empty qcow2 image for snapshots, and the command of an emulator with Linux and with it."""
    disk: Path = options.folder / f"{name}.qcow2"
    disk.unlink(missing_ok=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "64M"], check=True)
    return disk, [
        *command.split(), "-M", options.machine, "-m", options.memory,
        "-kernel", options.kernel, "-initrd", options.initrd, "-nic", "none",
        "-append", "console=ttyPZ0", "-drive", f"file={disk},format=qcow2",
    ]  # fmt: skip


def in_turn(
    make: Callable[[str, str, argparse.Namespace], S],
    options: argparse.Namespace,
    rounds: int,
    measure: Callable[[S, int], None],
) -> list[S]:
    """Boot each, `measure` each once a round, end all."""
    subjects = [make("gossamer", OURS, options)]
    if options.peer:
        subjects.append(make("peer", options.peer, options))
    for number in range(rounds):
        for subject in subjects:
            measure(subject, number)
    for subject in subjects:
        subject.emulator.end(kill=True)
    return subjects


def print_figure(name: str, width: int, digits: int, found: Sequence[Sequence[float]]) -> None:
    """Median, least and most of each subject's values."""
    texts = [
        f"{statistics.median(f):8.{digits}f} ({min(f):.{digits}f} to {max(f):.{digits}f})"
        for f in found
    ]
    print(f"{name:{width}} {' | '.join(texts)}")
