"""A Linux guest moves live between QEMU and gossamer, there and back, under load.

    python bench/live_between.py --kernel vmlinux --initrd initramfs.cpio.gz --hops 20 \
        --load "memhog 64 20" --peer qemu-system-ppc --form qemu-7.2

It begins in QEMU.  Beside the load runs `selfcheck`, which knows what it must find.  Printed: the
downtimes and total times as the senders report them, then one line of counts; status 1 when a
guest no longer answers, or found something wrong.
"""

from __future__ import annotations

import re
import statistics
import sys
import time
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.emulator import Emulator
from bench.subjects import OURS, new_log, parser_for

#: A right line of selfcheck, on every big-endian PowerPC.
RIGHT = r"selfcheck i=(\d+) int=38c318a5 fp=6dd83f22bde24e82 \S+ chain=\w+ ok"


class Guest:
    """The guest, where it is now, and what it found."""

    def __init__(self, emulator: Emulator, load: str) -> None:
        self.emulator, self.rounds = emulator, 0
        emulator.start_guest()
        emulator.type(f"{load} > /tmp/m 2>&1 & selfcheck -m 1 > /tmp/s &\n")
        emulator.read(3)

    def ask(self, line: str, wanted: str) -> re.Match[str]:
        """What the shell answers to `line`; SystemExit when it does not."""
        at = self.emulator
        for _ in range(5):
            at.text = ""
            at.type(line + "\n")
            at.read(20, wanted)
            if found := re.search(wanted, at.text):
                return found
        raise SystemExit(f"the guest no longer answers: {at.text!r}")

    def check(self) -> None:
        """Shell, memhog and selfcheck; SystemExit for what is wrong or stands still."""
        found = self.ask(
            "grep -c -e BAD -e 'bad=[1-9]' /tmp/s /tmp/m; ps | grep -c memho[g]; echo x${T}x",
            r"/tmp/s:(\d+)\s+/tmp/m:(\d+)\s+(\d+)\s+xx",
        )
        if found[1] != "0" or found[2] != "0" or found[3] == "0":
            raise SystemExit(f"the guest found something wrong: {self.emulator.text!r}")
        before = self.rounds
        for _ in range(30):
            found = self.ask("tail -n 1 /tmp/s", RIGHT)
            self.rounds = int(found[1])
            if self.rounds > before:
                break
            time.sleep(0.5)
        else:
            raise SystemExit(f"selfcheck stands still at {before}")


def hop(guest: Guest, command: list[str], uri: str, place: Path, log: Path) -> tuple[int, int]:
    """Hand the guest on to a process of `command`; downtime and total time in ms."""
    here = guest.emulator
    there = Emulator([*command, "-incoming", f"unix:{place}"], log)
    for line in ("max-bandwidth 4G", "downtime-limit 300"):
        here.command(f"migrate_set_parameter {line}")
    here.command(f"migrate -d {uri}")
    said = here.sent()
    here.end(kill=False)
    there.command("cont")
    guest.emulator = there
    found = [re.search(rf"{name}: (\d+)", said) for name in ("downtime", "total time")]
    return tuple(int(one[1]) if one else 0 for one in found)  # type: ignore[return-value]


def main() -> None:
    """Boot in QEMU, move, check, print."""
    parser = parser_for(__doc__, memory="256")
    parser.add_argument("--hops", type=int, default=20, help="there and back is two")
    parser.add_argument("--form", default="qemu-7.2", help="the form of the stream for QEMU")
    options = parser.parse_args()
    log = new_log("between", options)
    machine = [
        "-M", options.machine, "-m", options.memory, "-nic", "none",
        "-kernel", options.kernel, "-initrd", options.initrd, "-append", "console=ttyPZ0",
    ]  # fmt: skip
    commands = [[*(options.peer or "qemu-system-ppc").split(), *machine], [*OURS.split(), *machine]]
    guest = Guest(Emulator(commands[0], log), options.load or "memhog 64 20")
    took: tuple[list[tuple[int, int]], ...] = ([], [])
    for number in range(1, options.hops + 1):
        place = options.folder / f"between-{number}"
        to_us = number % 2
        uri = f"unix:{place}" if to_us else f"{options.form}+unix:{place}"
        took[to_us].append(hop(guest, commands[to_us], uri, place, log))
        guest.check()
    for title, times in (("gossamer to QEMU", took[0]), ("QEMU to gossamer", took[1])):
        for name, column in (("downtime", 0), ("total time", 1)):
            found = [one[column] for one in times] or [0]
            print(
                f"{title:18} {name:11} {statistics.median(found):6.0f} ms "
                f"({min(found)} to {max(found)})"
            )
    print(f"hops={options.hops} right={options.hops} selfcheck={guest.rounds}")


if __name__ == "__main__":
    main()
