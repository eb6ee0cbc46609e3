"""How much slower a guest runs while a client asks for its status over QMP.

    python bench/qmp_load.py                        # the busy built-in guest, 10 questions a second
    python bench/qmp_load.py --rate 100 -- -M g3beige -kernel vmlinux -initrd initramfs.cpio.gz

One emulator runs throughout, with one QMP connection.  Windows without questions and windows with
`query-status` at the given rate take turns; each is measured in instructions of the guest for each
second of CPU time of the thread that runs it, so that a busy host does not count.  Printed: the
median of each kind, and by how much the second is below the first.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

GUEST = ("-M", "bare", "-bios", "builtin", "-m", "4", "-accel", "tcg")


class Emulator:
    """A running emulator and a QMP connection to it."""

    def __init__(self, words: list[str]) -> None:
        self.folder = Path(tempfile.mkdtemp())
        path = self.folder / "qmp"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gossamer", "run", "-nodefaults", "-display", "none",
             "-serial", "null", *words, "-qmp", f"unix:{path},server=on,wait=off"]
        )  # fmt: skip
        while not path.exists() and self.process.poll() is None:
            time.sleep(0.05)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("rb")
        self.lines.readline()
        self.ask("qmp_capabilities")

    def ask(self, command: str) -> dict[str, Any]:
        self.socket.sendall(json.dumps({"execute": command}).encode())
        while True:
            reply = json.loads(self.lines.readline())
            if "return" in reply:
                return dict(reply["return"])

    def spent_ns(self) -> int:
        """CPU time of the thread that runs the guest."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0])

    def end(self) -> None:
        self.ask("quit")
        self.process.wait()
        shutil.rmtree(self.folder)


def window(emulator: Emulator, seconds: float, rate: float) -> float:
    """Instructions for each second of CPU time, while `rate` questions a second are asked."""
    count, spent = emulator.ask("query-status")["instructions"], emulator.spent_ns()
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 1 / rate if rate else left))
        if rate:
            emulator.ask("query-status")
    spent = emulator.spent_ns() - spent
    return (emulator.ask("query-status")["instructions"] - count) * 1e9 / spent


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rate", type=float, default=10.0, help="questions a second")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a window")
    parser.add_argument("--windows", type=int, default=10, help="of each kind")
    parser.add_argument("guest", nargs="*", help="options of the emulator, after --")
    options = parser.parse_args()
    emulator = Emulator(options.guest or list(GUEST))
    window(emulator, options.seconds, 0)  # code is compiled
    quiet, asked = [], []
    for _ in range(options.windows):
        quiet.append(window(emulator, options.seconds, 0))
        asked.append(window(emulator, options.seconds, options.rate))
    emulator.end()
    before, after = statistics.median(quiet), statistics.median(asked)
    print(f"quiet   {before / 1e6:9.2f} million instructions in a second of CPU time")
    print(f"asked   {after / 1e6:9.2f} ({options.rate:g} questions a second)")
    print(f"slower  {100 * (1 - after / before):9.2f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
