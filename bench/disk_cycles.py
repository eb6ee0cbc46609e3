"""Linux works on an ext4 disk across savevm, quit and -loadvm, each time in a new process.

    python bench/disk_cycles.py --kernel vmlinux --initrd initramfs.cpio.gz --cycles 100 \
        --peer qemu-system-ppc --peer-cycles 20
    python bench/disk_cycles.py ... --clock continue      # the guest sees exactly the downtime

The disk is made by mke2fs on the host.  In the guest a shell script writes files whose content
follows from their number and reads older ones back, without a pause; `ticks` watches the clock.
Every cycle: run, savevm, run on (so that the disk differs from the snapshot), end the process by
quit or by SIGKILL in turns, let qemu-img check, list and convert the image, go on in a new process
from the snapshot.  At the end the guest unmounts the disk, e2fsck looks at it and every file is
compared.  A peer does the same beside it, cycle by cycle; where its guest is dead it starts anew.
Exit status 1: something of ours is wrong.  Needs qemu-img, mke2fs, e2fsck and debugfs.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.emulator import DeadGuestError, Emulator

OURS = f"{sys.executable} -m gossamer run"
FILES = 32
SERVER = "pseries"
DISK_MIB = 64
WORK = f"""\
cd /mnt
i=0
while [ ! -e /tmp/stop ]; do
  i=$((i + 1)); n=$((i % {FILES}))
  yes "gossamer $i" | head -c $((20000 + i % 7 * 9000)) > f$n.new
  echo $i > n$n.new
  mv f$n.new f$n; mv n$n.new n$n
  k=$(((i * 7 + 3) % {FILES}))
  if [ -e n$k ]; then
    [ $((i % 8)) = 0 ] && sync && echo 3 > /proc/sys/vm/drop_caches
    j=$(cat n$k)
    yes "gossamer $j" | head -c $((20000 + j % 7 * 9000)) | cmp -s - f$k || echo "work BAD f$k $j"
  fi
  [ $((i % 5)) = 0 ] && echo "work $i"
done
cd /
umount /mnt && echo "work ended"
"""
TROUBLE = (
    r"work BAD.*|ticks (?:BACK|STEP).*|EXT4-fs error.*|I/O error|Oops|soft lockup|nobody cared"
)
REAL = r"real=(\d+\.\d+) "
GAP = r"ticks GAP \w+ ([\d.]+) ms"
#: ms by which a gap may differ from the downtime: a period of `ticks`, and when we looked.
SLACK_MS = 60.0
#: ms that two lines of `ticks` take at most on the guest's console.
LINES_MS = 200.0


class Subject:
    """One emulator with a disk of its own, and what was measured."""

    def __init__(self, name: str, command: str, options: argparse.Namespace, folder: Path) -> None:
        self.name, self.options, self.folder = name, options, folder / name
        self.folder.mkdir()
        self.log = options.log.with_suffix(f".{name}")
        self.log.unlink(missing_ok=True)
        self.disk = make_disk(self.folder)
        self.command = [*command.split(), "-m", options.memory]
        self.command += self.machine(options, peer=name == "peer")
        self.command += ["-kernel", options.kernel, "-initrd", options.initrd]
        if options.icount is not None:
            self.command += ["-icount", f"shift={options.icount},sleep=on"]
        self.figures: defaultdict[str, list[float]] = defaultdict(list)
        self.troubles: list[str] = []
        self.cycles = self.dead = self.files = self.checks = self.leaks = 0
        self.offset = 0.0
        self.boot()

    def machine(self, options: argparse.Namespace, *, peer: bool) -> list[str]:
        """The machine with its disk and the kernel's console; a pseries' is a virtio disk."""
        disk = f"file={self.disk},format=qcow2"
        if not options.machine.startswith(SERVER):
            self.node = "/dev/sda"
            media = ["-drive", f"{disk},media=disk"]
            return ["-M", options.machine, *media, "-append", "console=ttyPZ0"]
        self.node = "/dev/vda"
        theirs = ",x-vof=on,cap-vsx=off,cap-dfp=off,cap-htm=off" if peer else ""
        media = ["-drive", f"if=none,id=d,{disk}", "-device", "virtio-blk-pci,drive=d"]
        made = ["-M", options.machine + theirs, "-cpu", "970mp_v1.1", "-smp", str(options.smp)]
        return [*made, "-nodefaults", *media, "-append", "console=hvc0"]

    def boot(self) -> None:
        self.emulator = Emulator(self.command, self.log)
        self.emulator.start_guest()
        self.figures["GUEST READY"].append(time.monotonic() - self.emulator.started)
        self.emulator.type(
            f"mount {self.node} /mnt; cp /mnt/work.sh /tmp; sh /tmp/work.sh & "
            f"ticks -g {self.options.gap} &\n"
        )
        if not self.emulator.read(200, r"work \d+"):
            raise SystemExit(f"{self.name}: the work does not begin")
        self.offset = self.offset_from_host()

    def offset_from_host(self) -> float:
        """Seconds that the guest's clock is behind the host's, when a line of `ticks` comes."""
        self.emulator.text = ""
        self.emulator.read(5, REAL)
        now, found = time.time(), re.search(REAL, self.emulator.text)
        if found is None:
            raise DeadGuestError("no line of ticks")
        return now - float(found[1])

    def cycle(self) -> None:
        """Run, save, run on, end; look at the image; go on in a new process."""
        number, emulator, seconds = self.cycles, self.emulator, self.options.seconds
        emulator.read(seconds)
        self.look(f"cycle {number}")
        tag = f"c{number}"
        before = time.time()
        self.figures["savevm"].append(emulator.command(f"savevm {tag}")[0])
        saved = time.time()
        self.measure(emulator)
        if number:
            emulator.command(f"delvm c{number - 1}")
        emulator.read(0.7)
        killed = bool(number % 2)
        emulator.end(kill=killed)
        self.check_image(tag, killed=killed)
        self.cycles += 1
        after = time.time()
        self.emulator = emulator = Emulator(self.start_from(tag), self.log)
        self.figures["-loadvm to running"].append(time.monotonic() - emulator.started)
        if self.options.clock == "freeze":
            self.figures["loadvm"].append(emulator.command(f"loadvm {tag}")[0])
        running = time.time()
        emulator.command("cont")
        if not emulator.read(60, r"work \d+"):
            raise DeadGuestError(f"cycle {number}: {emulator.text[-300:]!r}")
        if self.options.clock == "continue":
            self.check_downtime(number, 1000 * (after - saved), 1000 * (running - before))

    def start_from(self, tag: str) -> list[str]:
        policy = [] if self.options.clock == "freeze" else ["-rtc", "restore=continue"]
        return [*self.command, *policy, "-loadvm", tag]

    def measure(self, emulator: Emulator) -> None:
        """What the save holds, and how long ours waited for the medium."""
        if self.name == "gossamer":
            said = emulator.command("info save")[1]
            found = re.search(r"([\d.]+) ms of it waiting.*file (\d+) bytes", said)
            assert found is not None, said
            self.figures["savevm fsync"].append(float(found[1]) / 1000)
            self.figures["snapshot MB"].append(int(found[2]) / 1e6)
        else:
            found = re.search(
                r"\n\S+ +c\d+ +([\d.]+) ([MG])iB", emulator.command("info snapshots")[1]
            )
            if found is not None:
                unit = {"M": 1 << 20, "G": 1 << 30}[found[2]]
                self.figures["snapshot MB"].append(float(found[1]) * unit / 1e6)

    def check_image(self, tag: str, *, killed: bool) -> None:
        """What qemu-img says of the image that the ended process left.

        A process that is killed may leave clusters counted and not used, which is harmless and
        mended here; one that quits may not, unless it is the peer.
        """
        mends = killed or self.name != "gossamer"
        check = ["qemu-img", "check", "-q", *(["-r", "leaks"] if mends else []), str(self.disk)]
        if mends and "Leaked" in run("qemu-img", "check", str(self.disk), good=(0, 3)):
            self.leaks += 1
        run(*check)
        if not re.search(rf"^\S+ +{tag} ", run("qemu-img", "snapshot", "-l", str(self.disk)), re.M):
            self.troubles.append(f"qemu-img does not list {tag}")
        raw = self.folder / "converted.raw"
        run("qemu-img", "convert", "-O", "raw", str(self.disk), str(raw))
        if raw.stat().st_size != DISK_MIB << 20:
            self.troubles.append(f"converted after {tag}: {raw.stat().st_size} bytes")
        raw.unlink()
        self.checks += 1

    def check_downtime(self, number: int, least: float, most: float) -> None:
        """After `continue` the guest's only gap is the time that it lay in the save, in ms."""
        self.emulator.read(2)
        gaps = [float(g) for g in re.findall(GAP, self.emulator.text)]
        exact = min(gaps, default=-1.0)  # the other watcher may wait behind a line of this one
        late = max(gaps, default=0.0) - exact
        if not least - SLACK_MS <= exact <= most + SLACK_MS or late > LINES_MS:
            self.troubles.append(f"cycle {number}: {gaps} ms, down {least:.0f} to {most:.0f} ms")
        self.figures["gap"].append(exact / 1000)
        self.figures["downtime at most"].append(most / 1000)
        self.figures["clock gone from the host's"].append(self.offset_from_host() - self.offset)

    def look(self, where: str) -> None:
        """Note what went wrong in the text of one process."""
        text = self.emulator.text
        self.troubles += [f"{where}: {t}" for t in re.findall(TROUBLE, text)]
        self.troubles += [f"{where}: gap of {g} ms" for g in re.findall(GAP, text)]

    def again(self, fault: DeadGuestError) -> None:
        """Note that the guest did not survive, and start anew."""
        self.dead += 1
        self.look(str(fault))
        self.emulator.end(kill=True)
        self.disk.unlink()
        self.disk = make_disk(self.folder)
        self.cycles = 0
        self.boot()

    def finish(self) -> None:
        """Let the guest end its work, and look at every file."""
        emulator = self.emulator
        emulator.read(self.options.seconds + 5, r"work \d+")
        emulator.type("\ntouch /tmp/stop\n")
        if not emulator.read(200, "work ended"):
            raise DeadGuestError(f"the guest does not end: {emulator.text[-300:]!r}")
        self.look("last process")
        emulator.end(kill=False)
        self.files = check_disk(self.disk, self.folder)

    def report(self, cycles: int) -> dict[str, Any]:
        text = self.log.read_text("latin-1")
        numbers = [int(n) for n in re.findall(r"work (\d+)", text)]
        lost = [int(n) for n in re.findall(r" lost=(\d+)", text)]
        return {
            "cycles": cycles,
            "dead guests": self.dead,
            "troubles": len(self.troubles),
            "first of them": self.troubles[:8],
            "files written": max(numbers, default=0),
            "files checked": self.files,
            "image checks": self.checks,
            "leaks mended": self.leaks,
            "seconds of ticks": len(lost),
            "periods of ticks lost": sum(max(0, b - a) for a, b in pairwise([0, *lost])),
            "image MB": round(self.disk.stat().st_size / 1e6, 1),
            **{
                name: {"median": round(statistics.median(v), 3), "worst": round(max(v, key=abs), 3)}
                for name, v in self.figures.items()
            },
        }


def make_disk(folder: Path) -> Path:
    """An ext4 file system with the guest's script, in a qcow2 image."""
    content = folder / "content"
    content.mkdir(exist_ok=True)
    (content / "work.sh").write_text(WORK)
    raw, disk = folder / "disk.raw", folder / "disk.qcow2"
    with raw.open("wb") as file:
        file.truncate(DISK_MIB << 20)
    run("mke2fs", "-q", "-t", "ext4", "-d", str(content), str(raw))
    run("qemu-img", "convert", "-O", "qcow2", str(raw), str(disk))
    raw.unlink()
    return disk


def run(*command: str, good: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in good:
        raise SystemExit(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def check_disk(disk: Path, folder: Path) -> int:
    """e2fsck, and every file against its number; how many files there were."""
    raw, out = folder / "final.raw", folder / "files"
    run("qemu-img", "check", str(disk))
    run("qemu-img", "convert", "-O", "raw", str(disk), str(raw))
    run("e2fsck", "-fn", str(raw))
    out.mkdir()
    run("debugfs", "-R", f"rdump / {out}", str(raw))
    found = 0
    for n in range(FILES):
        if (out / f"n{n}").exists():
            i = int((out / f"n{n}").read_text())
            line = f"gossamer {i}\n".encode()
            size = 20000 + i % 7 * 9000
            want = (line * (size // len(line) + 1))[:size]
            if (out / f"f{n}").read_bytes() != want:
                raise SystemExit(f"f{n} is not what number {i} says")
            found += 1
    raw.unlink()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kernel", required=True)
    parser.add_argument("--initrd", required=True)
    parser.add_argument("--peer", help="an emulator that takes QEMU's options, beside ours")
    parser.add_argument("--peer-cycles", type=int, default=20)
    parser.add_argument("--machine", default="g3beige")
    parser.add_argument("--smp", type=int, default=1, help="CPUs of a pseries (1)")
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=2, help="running time before each save")
    parser.add_argument("--memory", default="256")
    parser.add_argument("--gap", type=int, default=100, help="ms that count as a gap (100)")
    parser.add_argument(
        "--icount",
        type=int,
        help="time by instructions, 2**ICOUNT ns each: what else the host does makes no gaps",
    )
    parser.add_argument("--clock", choices=("freeze", "continue"), default="freeze")
    parser.add_argument("--log", type=Path, default=Path("disk_cycles.log"))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(f"ended by signal {number}"))
    with tempfile.TemporaryDirectory(prefix="disk-cycles-") as name:
        return compare(options, Path(name))


def compare(options: argparse.Namespace, folder: Path) -> int:
    ours = Subject("gossamer", OURS, options, folder)
    peer = None if options.peer is None else Subject("peer", options.peer, options, folder)
    done = 0
    try:
        for done in range(1, options.cycles + 1):
            ours.cycle()
            if peer is not None and done <= options.peer_cycles:
                try:
                    peer.cycle()
                except DeadGuestError as fault:
                    peer.again(fault)
            elif peer is not None and done == options.peer_cycles + 1:
                peer.emulator.end(kill=True)
            if done % 10 == 0:
                print(f"{done} cycles, {len(ours.troubles)} troubles", file=sys.stderr, flush=True)
        ours.finish()
    except DeadGuestError as fault:
        ours.dead += 1
        ours.troubles.append(str(fault))
    report = {
        "machine": options.machine,
        "clock": options.clock,
        "icount": options.icount,
        "gossamer": ours.report(done),
    }
    if peer is not None:
        peer.emulator.process.kill()
        report[options.peer] = peer.report(min(done, options.peer_cycles))
    print(json.dumps(report, indent=1))
    return 1 if ours.troubles else 0


if __name__ == "__main__":
    sys.exit(main())
