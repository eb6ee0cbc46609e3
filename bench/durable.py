"""What Linux has synced to a disk is there after any end of the emulator (case 9).

    python bench/durable.py --kernel vmlinux --initrd initramfs.cpio.gz --rounds 100 --format raw

Linux is booted once and sent into a file, so that each round starts at its shell in a new process.
It mounts the disk, writes files whose content follows from their number, and syncs after each; the
emulator gets signals in a random order with random delays while it does: SIGKILL, SIGINT twice,
SIGTERM and SIGINT, quit and SIGINT; before that it sometimes saves.  The next round looks at every
file: one whose sync had been reported must be there, whole, or a newer one in its place.  At the
end e2fsck looks at the disk, and qemu-img check at a qcow2 image.  Exit status 1: something was
lost.  Needs mke2fs, e2fsck and, for qcow2, qemu-img.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.emulator import Emulator

FILES = 24
DISK_MIB = 32
WORK = f"""\
cd /mnt
i=$1
while :; do
  i=$((i + 1)); n=$((i % {FILES}))
  yes "gossamer $i" | head -c $((20000 + i % 7 * 9000)) > f$n.new
  mv f$n.new f$n; sync
  echo "synced $i"
done
"""
LOOK = """\
cd /mnt
for f in f[0-9]*; do
  case $f in *.new) continue;; esac
  k=$(head -n 1 $f); k=${k#gossamer }
  [ -n "$k" ] || k=0
  what=torn
  yes "gossamer $k" | head -c $((20000 + k % 7 * 9000)) | cmp -s - $f && what=file
  echo "$what $f $k"
done
echo "looked"
"""
#: Ends: words are signals or monitor commands, with a random delay before each.
ENDS = (
    ("KILL",),
    ("INT", "INT"),
    ("INT", "INT", "INT"),
    ("TERM", "INT"),
    ("INT", "TERM"),
    ("TERM", "TERM"),
    ("quit", "INT"),
    ("quit", "INT", "INT"),
    ("HUP", "INT"),
    ("TERM", "KILL"),
)


class Rounds:
    """The disk, and what was synced to it."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.random = random.Random(options.seed)
        self.disk = make_disk(folder, options.format)
        self.command = [*options.command.split(), "-M", options.machine, "-m", options.memory]
        self.command += ["-drive", f"file={self.disk},format={options.format},media=disk"]
        self.log = options.log or folder / "log"
        self.synced = 0
        self.lost: list[str] = []
        self.ends: Counter[str] = Counter()
        self.slowest = 0.0

    def boot(self) -> None:
        """Boot Linux, and keep it at its shell."""
        options = self.options
        words = ["-kernel", options.kernel, "-initrd", options.initrd]
        emulator = Emulator([*self.command, *words, "-append", "console=ttyPZ0"], self.log)
        emulator.start_guest()
        emulator.command("stop")
        emulator.command(f"migrate file:{self.folder / 'booted'}")
        emulator.end(kill=True)

    def start(self) -> Emulator:
        """A new process at the shell, with the disk mounted."""
        emulator = Emulator(
            [*self.command, "-incoming", f"file:{self.folder / 'booted'}"], self.log
        )
        end = time.monotonic() + 60
        while "inmigrate" in emulator.command("info status")[1]:
            assert time.monotonic() < end, "the stream is not loaded"
            time.sleep(0.05)
        emulator.command("cont")
        emulator.type("\nmount /dev/sda /mnt && echo up $((1 + 1))\n")
        if not emulator.read(60, r"up 2"):
            self.lost.append(f"the disk cannot be mounted: {emulator.text[-300:]!r}")
            raise SystemExit(self.report())
        return emulator

    def look(self, emulator: Emulator, after: str) -> None:
        """Compare every file with what was synced."""
        if not self.synced:
            return
        emulator.type("sh /mnt/look.sh\n")
        if not emulator.read(120, r"looked\r?\n"):
            raise SystemExit(f"no answer: {emulator.text[-300:]!r}")
        found = {int(n): int(k) for n, k in re.findall(r"file f(\d+) (\d+)", emulator.text)}
        self.lost += [f"{after}: {t}" for t in re.findall(r"torn f\d+", emulator.text)]
        for number in range(max(self.synced - FILES + 1, 1), self.synced + 1):
            there = found.get(number % FILES, 0)
            if there < number:
                self.lost.append(f"{after}: file {number} was synced, found {there or 'none'}")
        self.synced = max([self.synced, *found.values()])

    def work(self, emulator: Emulator) -> None:
        """Let the guest write, and end the emulator in the middle of it."""
        emulator.type(f"sh /mnt/work.sh {self.synced}\n")
        if not emulator.read(60, r"synced \d+"):
            raise SystemExit(f"the work does not begin: {emulator.text[-300:]!r}")
        if self.random.random() < 0.3:
            emulator.command("savevm durable")
        emulator.read(self.random.uniform(0.0, 1.5))
        words = self.random.choice(ENDS)
        self.ends[" ".join(words)] += 1
        began = time.monotonic()
        for word in words:
            if word == "quit":
                emulator.monitor.sendall(b"quit\n")
            elif emulator.process.poll() is None:
                emulator.process.send_signal(getattr(signal, f"SIG{word}"))
            emulator.read(self.random.choice((0.0, 0.001, 0.01, 0.05, 0.2, 0.5)))
        emulator.read(60)  # until the socket closes
        emulator.process.wait(60)
        self.slowest = max(self.slowest, time.monotonic() - began)
        reported = [int(n) for n in re.findall(r"synced (\d+)\r?\n", emulator.text)]
        self.synced = max([self.synced, *reported])
        emulator.end(kill=True)

    def run(self) -> None:
        self.boot()
        after = "start"
        for number in range(1, self.options.rounds + 1):
            emulator = self.start()
            self.look(emulator, after)
            emulator.text = ""
            self.work(emulator)
            after = f"round {number}"
            if number % 10 == 0:
                print(
                    f"{number} rounds, {self.synced} files synced, lost: {len(self.lost)}",
                    flush=True,
                )
        emulator = self.start()
        self.look(emulator, after)
        emulator.type("umount /mnt && echo down $((1 + 1))\n")
        emulator.read(60, r"down 2")
        emulator.end(kill=True)

    def report(self) -> int:
        for line in self.lost:
            print(line)
        ends = ", ".join(f"{name} {count}" for name, count in sorted(self.ends.items()))
        print(
            f"{sum(self.ends.values())} rounds on {self.options.format} ({ends}); {self.synced} "
            f"files synced, {len(self.lost)} lost; the slowest end took {self.slowest:.1f} s"
        )
        return 1 if self.lost else 0


def make_disk(folder: Path, format: str) -> Path:
    files = folder / "files"
    files.mkdir()
    (files / "work.sh").write_text(WORK)
    (files / "look.sh").write_text(LOOK)
    raw = folder / "disk.raw"
    size = f"{DISK_MIB}M"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(files), str(raw), size], check=True)
    if format == "raw":
        return raw
    made = folder / "disk.qcow2"
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(made)], check=True)
    return made


def check_image(disk: Path, format: str) -> list[str]:
    """What e2fsck and qemu-img find wrong."""
    wrong = []
    raw = disk
    if format != "raw":
        raw = disk.with_suffix(".copy")
        done = subprocess.run(["qemu-img", "check", str(disk)], capture_output=True, text=True)
        if done.returncode not in (0, 3):
            wrong.append(f"qemu-img check: {done.stdout}")
        subprocess.run(["qemu-img", "convert", "-O", "raw", str(disk), str(raw)], check=True)
    done = subprocess.run(["e2fsck", "-fn", str(raw)], capture_output=True, text=True)
    if done.returncode:
        wrong.append(f"e2fsck: {done.stdout}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernel", required=True)
    parser.add_argument("--initrd", required=True)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--format", choices=("raw", "qcow2"), default="raw")
    parser.add_argument("--machine", default="g3beige")
    parser.add_argument("--memory", default="64")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--command", default=f"{sys.executable} -m gossamer run")
    parser.add_argument("--log", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="durable-") as name:
        rounds = Rounds(options, Path(name))
        rounds.run()
        rounds.lost += check_image(rounds.disk, options.format)
        return rounds.report()


if __name__ == "__main__":
    raise SystemExit(main())
