"""What a viewer of the screen costs, and what it sees: gossamer and QEMU in turn.

    python bench/viewer.py --kernel vmlinux --initrd initramfs.cpio.gz --peer qemu-system-ppc

A VNC viewer (ZRLE) that asks for the next update as soon as it has one, on a Linux with a console
on the screen (800 x 600 x 32).  Rows: `still`, CPU in percent while the guest idles,
without and with a viewer; `frames`, updates a second while `seq` scrolls the console; `scroll`,
seconds of that `seq` without and with a viewer; `work`, seconds of `selfcheck`, likewise.
"""

from __future__ import annotations

import argparse
import os
import socket
import struct
import sys
import threading
import time
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.emulator import Emulator
from bench.subjects import in_turn, new_log, parser_for, print_figure

ZRLE, DESKTOP_SIZE = 16, -223
STILL_S = 10
LINES = 3000
ITERATIONS = 12
TICKS = os.sysconf("SC_CLK_TCK")


class Viewer(threading.Thread):
    """Counts the updates that it gets."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.peer = socket.create_connection(("127.0.0.1", port))
        self.updates = 0
        self.take(12)
        self.peer.sendall(b"RFB 003.008\n")
        self.take(self.take(1)[0])
        self.peer.sendall(b"\1")
        self.take(4)
        self.peer.sendall(b"\1")
        self.size = struct.unpack(">HH", self.take(4))
        self.take(16)
        self.take(struct.unpack(">I", self.take(4))[0])
        self.peer.sendall(struct.pack(">BxHii", 2, 2, ZRLE, DESKTOP_SIZE))
        self.ask(incremental=False)
        self.start()

    def ask(self, *, incremental: bool) -> None:
        self.peer.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, *self.size))

    def take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.peer.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def run(self) -> None:
        try:
            while True:
                kind = self.take(1)[0]
                if kind == 0:
                    for _ in range(struct.unpack(">xH", self.take(3))[0]):
                        self.rectangle(*struct.unpack(">HHHHi", self.take(12)))
                    self.updates += 1
                    self.ask(incremental=True)
                elif kind != 2:  # a bell says nothing more
                    raise SystemExit(f"message {kind} of the server")
        except (EOFError, OSError):
            return

    def rectangle(self, x: int, y: int, width: int, height: int, encoding: int) -> None:
        if encoding == DESKTOP_SIZE:
            self.size = width, height
        else:
            self.take(struct.unpack(">I", self.take(4))[0])

    def close(self) -> None:
        self.peer.shutdown(socket.SHUT_RDWR)
        self.join()
        self.peer.close()


class Subject:
    """One kind of emulator, and its figures."""

    def __init__(self, name: str, command: str, options: argparse.Namespace) -> None:
        self.name = name
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        words = [*command.split(), "-M", options.machine, "-m", options.memory, "-vga", "std"]
        words += ["-kernel", options.kernel, "-initrd", options.initrd, "-nic", "none"]
        words += ["-append", "console=tty0 console=ttyPZ0", "-vnc", f"127.0.0.1:{self.port - 5900}"]
        self.emulator = Emulator(words, new_log(name, options))
        self.emulator.start_guest()
        self.figures: dict[str, list[float]] = {}

    def note(self, name: str, value: float) -> None:
        self.figures.setdefault(name, []).append(value)

    def cpu(self) -> float:
        """CPU seconds of the process so far."""
        fields = (
            Path(f"/proc/{self.emulator.process.pid}/stat").read_text().rpartition(")")[2].split()
        )
        return (int(fields[11]) + int(fields[12])) / TICKS

    def timed(self, line: str) -> float:
        """Seconds of the host for a command of the guest's shell."""
        self.emulator.type(f"{line}; echo E''ND")
        self.emulator.text = ""
        self.emulator.type("\n")
        began = time.monotonic()
        if not self.emulator.read(300, "END"):
            raise SystemExit(f"{self.name}: {line} does not end")
        took = time.monotonic() - began
        self.emulator.read(0.3)
        return took

    def round(self, number: int) -> None:
        """Every row once, without and with a viewer."""
        del number
        for seen in ("alone", "viewed"):
            viewer = Viewer(self.port) if seen == "viewed" else None
            time.sleep(1)
            before, began = self.cpu(), time.monotonic()
            self.emulator.read(STILL_S)
            self.note(f"still.{seen}", 100 * (self.cpu() - before) / (time.monotonic() - began))
            self.note(f"work.{seen}", self.timed(f"selfcheck -n {ITERATIONS} > /dev/null"))
            count = viewer.updates if viewer else 0
            took = self.timed(f"seq {LINES} > /dev/tty0")
            self.note(f"scroll.{seen}", took)
            if viewer is not None:
                self.note("frames", (viewer.updates - count) / took)
                viewer.close()


def main() -> int:
    parser = parser_for(__doc__, "128")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    subjects = in_turn(Subject, options, options.rounds, Subject.round)
    for figure in subjects[0].figures:
        print_figure(figure, 14, 2, [one.figures[figure] for one in subjects])
    return 0


if __name__ == "__main__":
    sys.exit(main())
