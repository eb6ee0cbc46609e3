"""Linux works on an ext4 disk across savevm, quit and -loadvm, each time in a new process.

    python bench/disk_cycles.py --kernel vmlinux --initrd initramfs.cpio.gz --cycles 100
    python bench/disk_cycles.py ... --emulator qemu-system-ppc        # the same with QEMU

The disk is made by mke2fs on the host.  In the guest a shell script writes files whose content
follows from their number and reads older ones back, without a pause; `ticks` watches the clock.
Every cycle: run, savevm, run on (so that the disk differs from the snapshot), end the process by
quit or by SIGKILL in turns, go on in a new process from the snapshot.  At the end the guest
unmounts the disk, e2fsck looks at it and every file is compared.  Exit status 1: something is
wrong.  Needs qemu-img, mke2fs, e2fsck and debugfs.
"""

from __future__ import annotations

import argparse
import atexit
import json
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OURS = f"{sys.executable} -m gossamer run"
FILES = 32
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
    r"work BAD.*|ticks (?:GAP|BACK|STEP).*|EXT4-fs error.*|I/O error|Oops|soft lockup|nobody cared"
)


class DeadGuestError(Exception):
    """The guest no longer works."""


class Emulator:
    """One process: its serial port and its monitor, over sockets."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cycles-"))
        ports = [self.folder / name for name in ("serial", "monitor")]
        options = []
        for option, port in zip(("-serial", "-monitor"), ports, strict=True):
            options += [option, f"unix:{port},server=on,wait=off"]
        self.log = log.open("ab")
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [*command, *options, "-display", "none", "-S"], stdin=subprocess.DEVNULL
        )
        atexit.register(self.process.kill)  # does nothing to a process that has ended
        self.serial, self.monitor = (self._connect(port) for port in ports)
        self.text = ""
        self._answer()

    def _connect(self, path: Path) -> socket.socket:
        while True:
            link = socket.socket(socket.AF_UNIX)
            try:
                link.connect(str(path))
            except OSError:
                link.close()
                if self.process.poll() is not None or time.monotonic() > self.started + 60:
                    raise SystemExit("the emulator did not start") from None
                time.sleep(0.005)
            else:
                return link

    def _answer(self, seconds: float = 120) -> str:
        """What the monitor says up to its next prompt."""
        self.monitor.settimeout(seconds)
        text = b""
        while not re.search(rb"\((?:qemu|gossamer)\) $", text):
            part = self.monitor.recv(65536)
            if not part:
                raise SystemExit(f"the monitor has gone: {text!r}")
            text += part
        return text.decode()

    def command(self, line: str) -> tuple[float, str]:
        """A monitor command: seconds, and what it said."""
        began = time.monotonic()
        self.monitor.sendall(line.encode() + b"\n")
        said = self._answer()
        if "rror" in said:
            raise SystemExit(f"{line}: {said}")
        return time.monotonic() - began, said

    def read(self, seconds: float, until: str = "") -> bool:
        """Collect what the guest sends; whether `until` came."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if until and re.search(until, self.text):
                return True
            self.serial.settimeout(left)
            try:
                part = self.serial.recv(65536)
            except TimeoutError:
                break
            if not part:
                break
            self.log.write(part)
            self.text += part.decode("latin-1")
        return bool(until and re.search(until, self.text))

    def type(self, text: str) -> None:
        for byte in text.encode():
            self.serial.sendall(bytes([byte]))
            time.sleep(0.004)

    def end(self, *, kill: bool) -> None:
        if kill:
            self.process.send_signal(signal.SIGKILL)
        elif self.process.poll() is None:
            self.monitor.sendall(b"quit\n")
        self.process.wait(60)
        self.serial.close()
        self.monitor.close()
        self.log.close()
        shutil.rmtree(self.folder)


def make_disk(folder: Path, megabytes: int) -> Path:
    """An ext4 file system with the guest's script, in a qcow2 image."""
    content = folder / "content"
    content.mkdir()
    (content / "work.sh").write_text(WORK)
    raw, disk = folder / "disk.raw", folder / "disk.qcow2"
    with raw.open("wb") as file:
        file.truncate(megabytes << 20)
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


def cycle(emulator: Emulator, number: int, seconds: float, figures: dict[str, list[float]]) -> None:
    """Run, save, run on."""
    if not emulator.read(seconds + 30, r"work \d+"):
        raise DeadGuestError(f"cycle {number}: the guest does nothing: {emulator.text[-300:]!r}")
    emulator.read(seconds)
    took, _ = emulator.command(f"savevm c{number}")
    figures["savevm"].append(took)
    if number:
        emulator.command(f"delvm c{number - 1}")
    emulator.read(0.7)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kernel", required=True)
    parser.add_argument("--initrd", required=True)
    parser.add_argument("--emulator", default=OURS, help="command that takes QEMU's options")
    parser.add_argument("--machine", default="g3beige")
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=2, help="running time before each save")
    parser.add_argument("--memory", default="256")
    parser.add_argument("--log", type=Path, default=Path("disk_cycles.log"))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(f"ended by signal {number}"))
    options.log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="disk-cycles-") as name:
        return cycles(options, Path(name))


def cycles(options: argparse.Namespace, folder: Path) -> int:
    disk = make_disk(folder, 64)
    command = [*options.emulator.split(), "-M", options.machine, "-m", options.memory]
    command += ["-drive", f"file={disk},format=qcow2,media=disk"]
    command += ["-kernel", options.kernel, "-initrd", options.initrd]
    command += ["-append", "console=ttyPZ0"]
    figures: dict[str, list[float]] = {"savevm": [], "loadvm process": [], "loadvm": []}
    troubles: list[str] = []
    emulator = Emulator(command, options.log)
    emulator.command("cont")
    if not emulator.read(300, "GUEST READY") or not emulator.read(30, "guest# "):
        raise SystemExit(f"no GUEST READY: {emulator.text[-500:]!r}")
    print(f"GUEST READY after {time.monotonic() - emulator.started:.1f} s", flush=True)
    emulator.type("mount /dev/sda /mnt; cp /mnt/work.sh /tmp; sh /tmp/work.sh & ticks -g 900 &\n")
    number = files = 0
    try:
        for number in range(options.cycles):
            cycle(emulator, number, options.seconds, figures)
            troubles += [f"cycle {number}: {t}" for t in re.findall(TROUBLE, emulator.text)]
            emulator.end(kill=bool(number % 2))
            emulator = Emulator([*command, "-loadvm", f"c{number}"], options.log)
            figures["loadvm process"].append(time.monotonic() - emulator.started)
            figures["loadvm"].append(emulator.command(f"loadvm c{number}")[0])
            emulator.command("cont")
            if (number + 1) % 10 == 0:
                print(f"{number + 1} cycles, {len(troubles)} troubles", flush=True)
        emulator.read(options.seconds + 5, r"work \d+")
        emulator.type("\ntouch /tmp/stop\n")
        if not emulator.read(60, "work ended"):
            raise DeadGuestError(f"the guest does not end: {emulator.text[-300:]!r}")
        emulator.end(kill=False)
        files = check_disk(disk, folder)
    except DeadGuestError as fault:
        troubles.append(str(fault))
    troubles += [f"last process: {t}" for t in re.findall(TROUBLE, emulator.text)]
    numbers = re.findall(r"work (\d+)", options.log.read_text("latin-1"))
    size = disk.stat().st_size
    report = {
        "emulator": options.emulator,
        "cycles": number + 1,
        "files checked": files,
        "files written": int(numbers[-1]),
        "image bytes": size,
        "troubles": len(troubles),
        "first of them": troubles[:12],
        **{
            f"{name} s": {"median": round(statistics.median(v), 3), "worst": round(max(v), 3)}
            for name, v in figures.items()
        },
    }
    print(json.dumps(report, indent=1))
    return 1 if troubles else 0


if __name__ == "__main__":
    sys.exit(main())
