"""Linux on a ref405ep boots, is saved and loaded in new processes, and moves live: does it live?

    python bench/board_restores.py --kernel zImage.ref405ep --initrd initramfs.cpio.gz \
        --cycles 30 --moves 20 --peer qemu-system-ppc

Boot: seconds and CPU time until GUEST READY, in turn with the peer's.  Then `ticks` runs in the
guest, which complains itself of a tick that is late; 30 times savevm, quit, a new process with
-loadvm; 20 times to a new process over a unix socket.  Alive: `ticks` writes its next lines.  The
peer does the same; where its guest is dead, or it cannot load its own stream, it boots anew, and
after three such ends of a kind the rest is given up.  Exit status 1: ours was not alive each time,
or a tick was lost.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.emulator import Emulator
from bench.subjects import OURS, new_log, parser_for

LINE = r"ticks t=\d+ .* lost=(\d+) "
GIVEN_UP = 3
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


class Subject:
    """One kind of emulator and what became of its guests."""

    def __init__(self, name: str, command: str, options: argparse.Namespace) -> None:
        self.name, self.options = name, options
        self.log = new_log(name, options)
        self.disk: Path = options.folder / f"{name}.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", self.disk, "64M"], check=True)
        self.command = [
            *command.split(), "-M", options.machine, "-m", options.memory,
            "-kernel", options.kernel, "-initrd", options.initrd, "-append", "console=ttyS0",
            *(["-icount", options.icount] if options.icount else []),
        ]  # fmt: skip
        if name == "peer":  # ours keeps snapshots of a machine without disks in a folder
            self.command += ["-drive", f"if=none,id=snap,format=qcow2,file={self.disk}"]
        self.seconds: list[float] = []
        self.cpu: list[float] = []
        self.emulator: Emulator | None = None

    def boot(self) -> Emulator:
        """A new process, until its guest's shell is ready."""
        emulator = Emulator(self.command, self.log)
        begun, before = time.monotonic(), cpu_seconds(emulator.process.pid)
        emulator.start_guest()
        self.seconds.append(time.monotonic() - begun)
        self.cpu.append(cpu_seconds(emulator.process.pid) - before)
        return emulator

    def working(self) -> Emulator:
        """The process with the guest, in which `ticks` runs."""
        if self.emulator is None:
            self.emulator = self.boot()
            self.emulator.type("ticks &\n")
            if not self.emulator.read(30, LINE):
                raise SystemExit(f"{self.name}: ticks does not run")
        return self.emulator

    def dead(self) -> None:
        """This guest is of no use any more."""
        if self.emulator is not None:
            self.emulator.end(kill=True)
            self.emulator = None

    # --- what is done to it -----------------------------------------------------------------------

    def cycle(self, number: int) -> bool:
        """Snapshot, quit, a new process from the snapshot; whether its guest lives."""
        here = self.working()
        here.read(self.options.run)
        here.command(f"savevm s{number}")
        here.end(kill=False)
        self.emulator = None
        try:
            self.emulator = Emulator([*self.command, "-loadvm", f"s{number}"], self.log)
        except SystemExit:
            return False
        self.emulator.command(f"delvm s{number}")
        return self.lives()

    def move(self, number: int) -> bool:
        """Live to a new process; whether the guest lives there."""
        here = self.working()
        here.read(self.options.run)
        place = self.options.folder / f"{self.name}-{number}"
        there = Emulator([*self.command, "-incoming", f"unix:{place}"], self.log)
        here.command(f"migrate -d unix:{place}")
        said = ""
        for _ in range(600):
            time.sleep(0.05)
            said = here.command("info migrate")[1]
            if re.search("completed|failed", said):
                break
        self.dead()
        self.emulator = there
        if "completed" not in said or there.process.poll() is not None:
            return False
        return self.lives()

    def lives(self) -> bool:
        """Whether `ticks` goes on: three more of its lines, one a second."""
        emulator = self.emulator
        assert emulator is not None
        emulator.text = ""
        try:
            emulator.command("cont")
        except (SystemExit, OSError):
            return False
        return emulator.read(20, f"(?s){LINE}.*{LINE}.*{LINE}")


def judged(subject: Subject, what: str, count: int) -> int:
    """How often the guest lived; the peer is given up after some deaths."""
    alive = tried = 0
    act = {"savevm, quit, -loadvm": subject.cycle, "live": subject.move}[what]
    for number in range(count):
        tried += 1
        try:
            lives = act(number)
        except (SystemExit, OSError) as fault:
            print(f"  {subject.name}: {str(fault)[:200]}")
            lives = False
        alive += lives
        if not lives:
            subject.dead()
            if tried - alive >= GIVEN_UP:
                break
    print(f"{what}: {subject.name} alive {alive} of {tried}", flush=True)
    return alive


def main() -> int:
    """Boot in turn, then cycles and moves."""
    parser = parser_for(__doc__, memory="64")
    parser.set_defaults(machine="ref405ep")
    parser.add_argument("--boots", type=int, default=3)
    parser.add_argument("--cycles", type=int, default=30)
    parser.add_argument("--moves", type=int, default=20)
    parser.add_argument("--run", type=float, default=0.7, help="seconds before each")
    parser.add_argument("--icount", default="", help="-icount of both")
    options = parser.parse_args()
    os.environ["XDG_STATE_HOME"] = str(options.folder / "state")
    subjects = [Subject("gossamer", OURS, options)]
    if options.peer:
        subjects.append(Subject("peer", options.peer, options))
    for _ in range(options.boots):
        for subject in subjects:
            subject.boot().end(kill=True)
    for subject in subjects:
        print(
            f"GUEST READY: {subject.name} {statistics.median(subject.seconds):.2f} s, "
            f"{statistics.median(subject.cpu):.2f} s of CPU time (medians of {options.boots})"
        )
    bad = 0
    for what, count in (("savevm, quit, -loadvm", options.cycles), ("live", options.moves)):
        for subject in subjects:
            alive = judged(subject, what, count)
            bad += subject.name == "gossamer" and alive < count
    for subject in subjects:
        subject.dead()
    said = (options.folder / "gossamer.log").read_text("latin-1")
    trouble = re.findall(r"ticks (?:GAP|BACK|STEP).*", said)
    longest = max((float(x) for x in re.findall(r"ticks GAP \w+ ([\d.]+)", said)), default=0.0)
    lost = max((int(x) for x in re.findall(LINE, said)), default=0)
    print(f"gossamer's ticks: {len(trouble)} gaps, the longest {longest:.0f} ms; lost={lost}")
    return 1 if bad or (options.icount and trouble) else 0


if __name__ == "__main__":
    sys.exit(main())
