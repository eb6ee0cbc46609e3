"""savevm, loadvm and -loadvm of a busy Linux guest, of gossamer and of QEMU in turn.

    python bench/snapshots.py --kernel vmlinux --initrd initramfs.cpio.gz --rounds 5 \
        --memory 512 --load "memhog 64 20" --peer qemu-system-ppc

The state goes into a qcow2 image.  `savevm`, `loadvm`: seconds until the monitor answers; `start`:
from the start of a new process with -loadvm to its first answer; CPU of the emulator beside each,
its guest's included.  `size`: MiB of machine state; `image`: what the file takes.  Medians and
extremes.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import defaultdict
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.emulator import Emulator
from bench.subjects import in_turn, new_log, parser_for, print_figure, with_new_disk

UNITS = {"KiB": 1 / 1024, "MiB": 1.0, "GiB": 1024.0}


class Subject:
    """One emulator, its guest and its image, and what was measured."""

    def __init__(self, name: str, command: str, options: argparse.Namespace) -> None:
        self.name = name
        self.log = new_log(name, options)
        self.disk, self.command = with_new_disk(name, command, options)
        self.figures: defaultdict[str, list[float]] = defaultdict(list)
        self.emulator = Emulator(self.command, self.log)
        self.emulator.start_guest()
        if options.load:
            self.emulator.type(f"{options.load} &\n")
            self.emulator.read(8)

    def cpu(self) -> float:
        """Seconds of CPU that the emulator has used; hundredths."""
        fields = Path(f"/proc/{self.emulator.process.pid}/stat").read_text().rpartition(")")[2]
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / 100

    def round(self, number: int) -> None:
        """Save, go back, and go back in a new process."""
        here, tag = self.emulator, f"s{number}"
        for what in ("savevm", "loadvm"):
            before = self.cpu()
            self.figures[what].append(here.command(f"{what} {tag}")[0])
            self.figures[f"{what} cpu"].append(self.cpu() - before)
            here.read(0.5)
        said = here.command("info snapshots")[1]
        if got := re.search(rf"{tag}\s+([\d.]+) (.iB)", said):
            self.figures["size"].append(float(got[1]) * UNITS[got[2]])
        here.end(kill=False)
        began = time.monotonic()
        self.emulator = Emulator([*self.command, "-loadvm", tag], self.log)
        self.figures["start"].append(time.monotonic() - began)
        self.figures["start cpu"].append(self.cpu())
        self.emulator.command("cont")
        self.emulator.read(0.5)
        self.emulator.command(f"delvm {tag}")

    def each_second(self, number: int) -> None:
        """Let the guest run for a second, and save it over the save before the last."""
        self.emulator.read(1)
        before = self.cpu()
        self.figures["savevm"].append(self.emulator.command(f"savevm e{number % 2}")[0])
        self.figures["savevm cpu"].append(self.cpu() - before)
        self.figures["image"].append(self.disk.stat().st_blocks / 2048)


def main() -> None:
    """Boot, measure in turn, print."""
    parser = parser_for(__doc__, memory="512")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--each-second", type=int, metavar="N", help="only N saves, one a second")
    options = parser.parse_args()
    if options.each_second:
        subjects = in_turn(Subject, options, options.each_second, Subject.each_second)
    else:
        subjects = in_turn(Subject, options, options.rounds, Subject.round)
    for figure in subjects[0].figures:
        print_figure(figure, 12, 3, [subject.figures[figure] for subject in subjects])


if __name__ == "__main__":
    main()
