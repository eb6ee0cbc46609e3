"""How much slower a guest runs while a client asks for its status over QMP.

    python bench/qmp_load.py                        # the busy built-in guest, 10 questions a second
    python bench/qmp_load.py --rate 100 -- -M g3beige -kernel vmlinux -initrd initramfs.cpio.gz

Two emulators take turns: one without QMP, one with a QMP connection, which is asked nothing or
`query-status` at the given rate.  Each window is measured in instructions of the guest for each
second of CPU time of all the emulator's threads, so that a busy host does not count; the emulator
whose turn it is not is stopped.  Printed: the median of each kind, and by how much the others are
below the first; then what a question costs, and how much slower the guest is for it on a CPU of its
own: where others have most of the CPU, a second of its time takes many seconds' questions.
"""

from __future__ import annotations

import argparse
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
from typing import Any

GUEST = ("-M", "bare", "-bios", "builtin", "-m", "4", "-accel", "tcg")


class Emulator:
    """A running emulator; `asked`: with a QMP connection, else with a human monitor."""

    def __init__(self, words: list[str], *, asked: bool) -> None:
        self.folder, self.asked = Path(tempfile.mkdtemp()), asked
        path = self.folder / "monitor"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gossamer", "run", "-nodefaults", "-display", "none",
             "-serial", "null", *words, "-qmp" if asked else "-monitor",
             f"unix:{path},server=on,wait=off"]
        )  # fmt: skip
        while not path.exists() and self.process.poll() is None:
            time.sleep(0.05)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("rb")
        self.lines.readline()
        if asked:
            self.ask("qmp_capabilities")

    def ask(self, command: str) -> dict[str, Any]:
        self.socket.sendall(json.dumps({"execute": command}).encode())
        while True:
            reply = json.loads(self.lines.readline())
            if "return" in reply:
                return dict(reply["return"])

    def instructions(self) -> int:
        """What the guest has executed."""
        if self.asked:
            return int(self.ask("query-status")["instructions"])
        self.socket.sendall(b"info hash\n")
        while (found := re.search(rb"after (\d+) instructions", self.lines.readline())) is None:
            pass
        return int(found[1])

    def spent_ns(self) -> int:
        """CPU time of its threads."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        self.process.wait()
        shutil.rmtree(self.folder)


def window(emulator: Emulator, seconds: float, rate: float) -> tuple[float, float]:
    """Instructions and questions for each second of CPU time; `rate` a second are asked."""
    emulator.signal(signal.SIGCONT)
    count, spent = emulator.instructions(), emulator.spent_ns()
    end, asked = time.monotonic() + seconds, 0
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 1 / rate if rate else left))
        if rate:
            emulator.ask("query-status")
            asked += 1
    spent = emulator.spent_ns() - spent
    done = emulator.instructions() - count
    emulator.signal(signal.SIGSTOP)
    return done * 1e9 / spent, asked * 1e9 / spent


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rate", type=float, default=10.0, help="questions a second")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a window")
    parser.add_argument("--windows", type=int, default=10, help="of each kind")
    parser.add_argument("guest", nargs="*", help="options of the emulator, after --")
    options = parser.parse_args()
    words = options.guest or list(GUEST)
    without, asked = Emulator(words, asked=False), Emulator(words, asked=True)
    kinds = {"without QMP": (without, 0.0), "open": (asked, 0.0), "asked": (asked, options.rate)}
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for emulator in (without, asked):
        window(emulator, options.seconds, 0)  # code is compiled
    for _ in range(options.windows):
        for kind, (emulator, rate) in kinds.items():
            found[kind].append(window(emulator, options.seconds, rate))
    for emulator in (without, asked):
        emulator.end()
    middles = {kind: statistics.median(done for done, _ in found[kind]) for kind in kinds}
    first = middles["without QMP"]
    for kind, middle in middles.items():
        slower = 100 * (1 - middle / first)
        print(
            f"{kind:12} {middle / 1e6:9.2f} million instructions a CPU second, {slower:5.2f} % less"
        )
    questions = statistics.median(asked for _, asked in found["asked"])
    cost = (1 - middles["asked"] / middles["open"]) / questions
    print(f"a question costs {cost * 1e6:.0f} us: {cost * options.rate * 100:.2f} % of a CPU")
    return 0


if __name__ == "__main__":
    sys.exit(main())
