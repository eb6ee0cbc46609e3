"""Every move that docs/performance.md has figures of, one after the other, beside QEMU.

    python bench/moves.py --kernel vmlinux --initrd initramfs.cpio.gz --peer qemu-system-ppc

For a host that is left alone; `--first` keeps other programs from the CPU while a guest moves
(`bench/live_moves.py`, whose options what is not known here goes to).  `--moves` of each kind.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

#: What is moved: the title, and options of `live_moves`.
KINDS: list[tuple[str, list[str]]] = [
    ("idle, receivers fresh from exec", []),
    ("idle, receivers up for 1.5 s", ["--wait", "1.5"]),
    ("memhog 64 20", ["--load", "memhog 64 20", "--ticks"]),
    ("memhog 64 60", ["--load", "memhog 64 60", "--ticks"]),
    ("memhog 64 0, auto-converge", ["--load", "memhog 64 0", "--converge", "--ticks"]),
    ("ticks on an idle guest", ["--ticks"]),
    ("ticks, virtual time counts instructions", ["--ticks", "--options", "-icount 5"]),
]


def main() -> None:
    """Run each kind on each machine; exit status 1 when a guest was not right."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--machines", default="g3beige,mac99")
    parser.add_argument("--moves", default="20")
    options, more = parser.parse_known_args()
    script, wrong = Path(__file__).with_name("live_moves.py"), 0
    for machine in options.machines.split(","):
        for title, special in KINDS:
            print(f"--- {machine}, {title}", flush=True)
            given = ["--machine", machine, "--moves", options.moves, *special, *more]
            if "-icount" in "".join(special) and "--peer" in more:
                at = given.index("--peer")
                del given[at : at + 2]  # a QEMU that counts instructions is another subject
            wrong += subprocess.run([sys.executable, script, *given], check=False).returncode != 0
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
