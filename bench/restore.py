"""From the start of a process with -loadvm to what its guest does first, for sizes of memory.

    python bench/restore.py --kernel vmlinux --initrd initramfs.cpio.gz --memory 128,512,2047 \
        --load "memhog 64 20" --peer qemu-system-ppc

A shell loop in the guest writes to the serial port without a pause; it is saved (savevm) while it
does.  `first`: seconds from exec to the first byte that comes from there; `cpu`: of the emulator
until then.  Medians and extremes, ours and the peer's.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import defaultdict
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.emulator import Emulator
from bench.subjects import in_turn, new_log, parser_for, print_figure, with_new_disk


class Subject:
    """One emulator with a guest in a snapshot."""

    def __init__(self, name: str, command: str, options: argparse.Namespace) -> None:
        self.log = new_log(name, options)
        _, self.command = with_new_disk(name, command, options)
        self.figures: defaultdict[str, list[float]] = defaultdict(list)
        self.emulator = Emulator(self.command, self.log)
        self.emulator.start_guest()
        if options.load:
            self.emulator.type(f"{options.load} >/dev/null &\n")
            self.emulator.read(6)
        self.emulator.type("while :; do echo tick; done\n")
        self.emulator.read(1)
        self.emulator.command("savevm s")
        self.emulator.end(kill=True)

    def round(self, number: int) -> None:
        """Start it in a new process."""
        del number
        self.emulator = here = Emulator([*self.command, "-loadvm", "s"], self.log, goes=True)
        if not here.read(120, "[tick]"):
            raise SystemExit(f"{self.log.name}: nothing comes from the guest")
        self.figures["first"].append(time.monotonic() - here.started)
        fields = Path(f"/proc/{here.process.pid}/stat").read_text().rpartition(")")[2].split()
        self.figures["cpu"].append(sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK"))
        here.end(kill=True)


def main() -> None:
    """Boot, save, and start again in turn; a table for each size."""
    parser = parser_for(__doc__, memory="128,512,2047")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    for size in options.memory.split(","):
        options.memory = size
        subjects = in_turn(Subject, options, options.rounds, Subject.round)
        for figure in subjects[0].figures:
            texts = [subject.figures[figure] for subject in subjects]
            print_figure(f"{size} MiB {figure}", 16, 3, texts)


if __name__ == "__main__":
    main()
