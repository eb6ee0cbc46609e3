"""A Linux guest moves from process to process over a unix socket, of gossamer and of QEMU in turn.

    python bench/live_moves.py --kernel vmlinux --initrd initramfs.cpio.gz --moves 10 \
        --load "memhog 64 20" --peer qemu-system-ppc

Each emulator hands its guest on to a new process of its own, as often as --moves says; `info
migrate` shows downtime and total time.  What is printed: medians, least and most.
Exit status 1: a guest no longer answers, or `memhog` found a wrong page.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import socket
import sys
import time
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.emulator import Emulator
from bench.subjects import in_turn, parser_for, print_figure

#: What `info migrate` says, and how; QEMU does not say it in less than ms.
FIGURES = {
    "downtime": r"downtime: (\d+)",
    "stood still": r"stood still for ([\d.]+) ms",
    "total time": r"total time: (\d+)",
    "setup": r"setup: (\d+)",
    "transferred ram": r"transferred ram: (\d+)",
}
#: From the event STOP of one end to RESUME of the other (`--seen`), ms.
SEEN = "stop to resume"


def set_first(pid: int, first: bool) -> None:
    """Let all threads of a process run before all others of the host, or no more."""
    policy, priority = (os.SCHED_FIFO, 10) if first else (os.SCHED_OTHER, 0)
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setscheduler(int(thread.name), policy, os.sched_param(priority))


class Events:
    """What one process says over QMP, with its own time (us) of each word."""

    def __init__(self, path: Path) -> None:
        self.link = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + 60
        while True:
            try:
                self.link.connect(str(path))
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.005)
        self.lines = self.link.makefile("r")
        self.lines.readline()
        self.link.sendall(b'{"execute": "qmp_capabilities"}\n')

    def when(self, name: str) -> float:
        """When the event came, in ms."""
        for line in self.lines:
            word = json.loads(line)
            if word.get("event") == name:
                at = word["timestamp"]
                return float(at["seconds"] * 1000 + at["microseconds"] / 1000)
        raise SystemExit(f"no event {name}")


class Subject:
    """One kind of emulator, its guest, and what its moves took."""

    def __init__(self, name: str, command: str, options: argparse.Namespace) -> None:
        self.name, self.options = name, options
        self.log = options.folder / f"{name}.log"
        self.log.unlink(missing_ok=True)
        self.command = [*command.split(), "-M", options.machine, "-m", options.memory]
        self.command += ["-kernel", options.kernel, "-initrd", options.initrd]
        self.command += ["-append", "console=ttyPZ0", "-nic", "none", *options.options.split()]
        self.figures: dict[str, list[float]] = {figure: [] for figure in (*FIGURES, SEEN)}
        self.qmp = options.folder / f"{name}-start.qmp"
        self.emulator = Emulator([*self.command, *self._events_at(self.qmp)], self.log)
        self.emulator.start_guest()
        self.right = self.ticked = self.lost = self.gaps = 0
        if options.load:
            self.emulator.type(f"{options.load} &\n")
            self.emulator.read(3)
        if options.ticks:
            self.emulator.type("ticks -g 1000 > /tmp/t &\n")
            self.emulator.read(3)

    def _events_at(self, path: Path) -> list[str]:
        return ["-qmp", f"unix:{path},server=on,wait=off"] if self.options.seen else []

    def move(self, number: int) -> None:
        """Hand the guest on to a new process."""
        place, seen = self.options.folder / f"{self.name}-{number}", self.options.seen
        qmp = place.with_suffix(".qmp")
        incoming = ["-incoming", f"unix:{place}", *self._events_at(qmp)]
        there = Emulator([*self.command, *incoming], self.log, goes=seen)
        if seen:
            there.answer()  # it listens
        here = self.emulator
        ends = [Events(one) for one in (self.qmp, qmp)] if seen else []
        time.sleep(self.options.wait)
        here.command(f"migrate_set_parameter max-bandwidth {self.options.bandwidth}")
        here.command(f"migrate_set_parameter downtime-limit {self.options.limit}")
        if self.options.converge:
            here.command("migrate_set_capability auto-converge on")
        if self.options.postcopy:
            for one in (here, there):
                one.command("migrate_set_capability postcopy-ram on")
        if self.options.return_path and self.name != "gossamer":
            here.command("migrate_set_capability return-path on")
        first = self.options.first
        for one in (here, there) if first else ():
            set_first(one.process.pid, True)
        here.command(f"migrate -d unix:{place}")
        if self.options.postcopy:
            here.command("migrate_start_postcopy")
        said = here.sent()
        for one in (here, there) if first else ():
            set_first(one.process.pid, False)
        for figure, pattern in FIGURES.items():
            if got := re.search(pattern, said):
                self.figures[figure].append(float(got[1]))
        if seen:
            stopped, resumed = ends[0].when("STOP"), ends[1].when("RESUME")
            self.figures[SEEN].append(resumed - stopped)
        here.end(kill=False)
        self.emulator, self.qmp = there, qmp
        there.command("cont")
        there.text = ""
        there.type("echo x${TERM#zz}y\n")
        if not there.read(20, r"x\w+y"):
            raise SystemExit(f"{self.name}: the guest no longer answers: {there.text!r}")
        if re.search("(?i)wrong|mismatch|bad=[1-9]", there.text):
            raise SystemExit(f"{self.name}: {there.text}")
        if self.options.ticks:
            self.look_at_ticks()
        self.right += 1

    def look_at_ticks(self) -> None:
        """The guest's timers go on, and none of its clocks went back or leapt.

        It says how many of its periods of 10 ms have gone by without a timer signal, which is what
        a standstill is to it, and names each second and more without one (a gap).
        """
        there, wanted = self.emulator, self.ticked + 1
        for _ in range(30):
            there.text = ""
            there.type("tail -n 1 /tmp/t; grep -c -e BACK -e STEP /tmp/t; grep -c GAP /tmp/t\n")
            line = r"ticks t=(\d+)[^\n]*lost=(\d+)(?s:.*?)\n(\d+)\r\n(\d+)\r"
            there.read(10, line)
            found = re.search(line, there.text)
            if found is None:
                continue
            self.ticked, self.lost, back, self.gaps = (int(found[n]) for n in range(1, 5))
            if back:
                raise SystemExit(f"{self.name}: a clock went back: {there.text!r}")
            if self.ticked >= wanted:
                return
            time.sleep(1)
        raise SystemExit(f"{self.name}: ticks stands still: {there.text!r}")


def main() -> None:
    """Boot, move in turn, print."""
    parser = parser_for(__doc__, memory="256")
    parser.add_argument("--moves", type=int, default=10)
    parser.add_argument("--limit", type=int, default=300, help="downtime-limit, ms")
    parser.add_argument("--bandwidth", default="4G", help="max-bandwidth, as 128M")
    parser.add_argument("--converge", action="store_true", help="auto-converge")
    parser.add_argument("--ticks", action="store_true", help="count the guest's timers, too")
    parser.add_argument(
        "--wait", type=float, default=0.0, help="seconds between a receiver's start and the move"
    )
    parser.add_argument(
        "--first",
        action="store_true",
        help="both ends run before all others of the host while they move (needs root)",
    )
    parser.add_argument(
        "--return-path", action="store_true", help="QEMU waits for its receiver's word, too"
    )
    parser.add_argument(
        "--seen", action="store_true", help="the guest goes on at once; events say when, too"
    )
    parser.add_argument("--options", default="", help="more of the emulators', as '-icount 5'")
    parser.add_argument("--postcopy", action="store_true", help="switch over at once")
    options = parser.parse_args()
    subjects = in_turn(Subject, options, options.moves, Subject.move)
    for subject in subjects:
        stood = sum(subject.figures["downtime"]) / 10
        timers = (
            f", {subject.ticked} s of ticks: {subject.lost} periods of 10 ms without one (the "
            f"standstills are {stood:.0f}), {subject.gaps} gaps of more than a second"
            if options.ticks
            else ""
        )
        print(f"{subject.name}: {subject.right} of {options.moves} moves, the guest right{timers}")
    for figure in (*FIGURES, SEEN):
        digits = 2 if figure in ("stood still", SEEN) else 0
        print_figure(figure, 16, digits, [subject.figures[figure] or [0.0] for subject in subjects])


if __name__ == "__main__":
    main()
