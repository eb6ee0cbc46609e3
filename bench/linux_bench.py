"""The guest's own `bench` under Linux: gossamer and QEMU in turns, medians and their ratio.

    python bench/linux_bench.py --kernel vmlinux --initrd initramfs.cpio.gz --machine mac99 \
        --peer qemu-system-ppc altivec

Both boot first; then each runs the tests named (`all` when none is) while the other waits at its
prompt, `--rounds` times.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from collections import defaultdict
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.emulator import Emulator

OURS = f"{sys.executable} -m gossamer run"
FIGURE = r"^bench ([a-z]\w*\.\w+) ([\d.]+(?:e[+\d]+)?) (\S+)"
Figures = dict[str, list[float]]


def boot(command: str, options: argparse.Namespace, log: Path) -> Emulator:
    """A machine at the guest's prompt."""
    words = [*command.split(), "-M", options.machine, "-m", options.memory]
    words += ["-kernel", options.kernel, "-initrd", options.initrd]
    emulator = Emulator([*words, "-append", "console=ttyPZ0"], log)
    emulator.start_guest()
    return emulator


def measure(emulator: Emulator, test: str, figures: Figures, units: dict[str, str]) -> None:
    """Run one test (or all) and note its figures."""
    emulator.text = ""
    emulator.type(f"bench -t 1 {test}\n")
    if not emulator.read(900, r"(?m)^bench done"):
        raise SystemExit(f"bench {test} does not end: {emulator.text[-500:]!r}")
    for name, value, unit in re.findall(FIGURE, emulator.text, re.M):
        figures[name].append(float(value))
        units[name] = unit
    emulator.read(5, "guest# ")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tests", nargs="*", default=["all"], help="mips, int, altivec, ...")
    parser.add_argument("--kernel", required=True)
    parser.add_argument("--initrd", required=True)
    parser.add_argument("--machine", default="g3beige")
    parser.add_argument("--memory", default="256")
    parser.add_argument("--peer", help="QEMU's program, beside it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--log", type=Path, default=Path("linux_bench.log"))
    options = parser.parse_args()

    commands = [("gossamer", OURS), *([("peer", options.peer)] if options.peer else [])]
    subjects = [
        (name, boot(c, options, options.log.with_suffix(f".{name}"))) for name, c in commands
    ]
    figures: dict[str, Figures] = {name: defaultdict(list) for name, _ in subjects}
    units: dict[str, str] = {}
    for _ in range(options.rounds):
        for test in options.tests:
            for name, emulator in subjects:
                measure(emulator, test, figures[name], units)
    for _, emulator in subjects:
        emulator.end(kill=False)
    for test, values in figures["gossamer"].items():
        ours = statistics.median(values)
        line = f"{test:20} {ours:12.5g} {units[test]}"
        theirs = figures.get("peer", {}).get(test)
        if theirs:
            median = statistics.median(theirs)
            line += f"   QEMU {median:.5g}, ratio {ours / median:.2f}"
        print(line)
    return 0 if figures["gossamer"] else 1


if __name__ == "__main__":
    sys.exit(main())
