"""Linux under mixed load for a while: is the emulator's memory flat, the code bounded, all right?

    python bench/mixed_load.py --kernel vmlinux --initrd with-programs.cpio.gz --minutes 20

The guest's rounds: a shell loop with pipes, `zstd` and its sum (where /prog is in the RAM disk),
`memhog` in several short processes (which map and unmap memory), `bench`, `selfcheck`.  Its memory
is touched once before.  `--accel` makes code memory small, so that it fills.  One line at the end:

    rounds=.. wrong=.. rss=EARLY..LATE MiB grown=.. code=MOST/SIZE emptied=.. blocks=.. regions=..

Memory early is the most between a quarter and a half of the time, late that of the last quarter.
Exit status 1: something in the guest was wrong, memory grew more than `--growth`, or code memory
went beyond its bound.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.emulator import Emulator
from bench.subjects import OURS, new_log, parser_for

#: What `selfcheck` must say, and the sum of what `zstd -9` makes of gen.lua's text.
RIGHT = "int=38c318a5 fp=6dd83f22bde24e82"
PACKED = "9d6914c3399cbd0652ebbfc42bb16367"
SCRIPT = f"""
[ -x /prog/lua ] && /prog/lua /prog/gen.lua > /tmp/text
n=0
while :; do
i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo $i | sed s/1/2/ > /tmp/$i; cat /tmp/$i > /tmp/x; done
if [ -s /tmp/text ]; then
/prog/zstd -q -9 -c /tmp/text | md5sum | grep -q {PACKED} || echo WRONG zstd
fi
for m in 3 17 41; do memhog $m 0 1 | grep -v 'bad=0$' | grep bad= && echo WRONG memhog; done
bench -t 0.1 all > /tmp/bench || echo WRONG bench
selfcheck -n 1 | grep -q '{RIGHT}' || echo WRONG selfcheck
rm -f /tmp/[0-9]*
n=$((n+1)); echo ROUND $n
done
"""
#: Numbers of a sample: resident MiB, bytes of code in use, of all, times emptied, and counts.
Sample = tuple[float, int, int, int, int, int]
JIT = re.compile(
    r"blocks +(?:none|\d+ in force, (\d+) copied).*?regions +\d+ in force, (\d+) compiled.*?"
    r"code +(\d+) bytes of (\d+), emptied (\d+) times",
    re.DOTALL,
)


def sample(emulator: Emulator) -> Sample:
    """The process and its code, now."""
    status = Path(f"/proc/{emulator.process.pid}/status").read_text()
    rss = re.search(r"VmRSS:\s+(\d+) kB", status)
    said = emulator.command("info jit")[1]
    found = JIT.search(said)
    if rss is None or found is None:
        raise SystemExit(f"info jit says what is not understood: {said!r}")
    blocks, regions, used, size, emptied = (int(n or 0) for n in found.groups())
    return int(rss[1]) / 1024, used, size, emptied, blocks, regions


def main() -> int:
    parser = parser_for(__doc__, "128")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--accel", default="tcg,tier=2,tb-size=8")
    parser.add_argument("--every", type=float, default=10, help="seconds between samples")
    parser.add_argument("--growth", type=float, default=16, help="MiB that are no fault")
    options = parser.parse_args()
    command = [*OURS.split(), "-M", options.machine, "-m", options.memory, "-nic", "none"]
    command += ["-kernel", options.kernel, "-initrd", options.initrd]
    command += ["-append", "console=ttyPZ0", "-accel", options.accel]
    emulator = Emulator(command, new_log("mixed-load", options))
    emulator.start_guest()
    emulator.type("stty -echo; cat > /tmp/s <<'END'\n" + SCRIPT + "END\n")
    touched = max(int(options.memory) - 40, 8)
    emulator.type(f"memhog {touched} 0 1 | tail -n 1; sh /tmp/s\n")
    samples: list[Sample] = []
    end = time.monotonic() + 60 * options.minutes
    while time.monotonic() < end:
        emulator.read(options.every)
        samples.append(sample(emulator))
        print(" ".join(f"{n:g}" for n in samples[-1]), file=sys.stderr, flush=True)
    emulator.end(kill=True)
    rounds = len(re.findall(r"ROUND \d+", emulator.text))
    wrong = len(re.findall("^(?:WRONG|.*Oops|Segm|Illeg)", emulator.text, re.MULTILINE))
    count = len(samples)
    early = max(s[0] for s in samples[count // 4 : count // 2 + 1])
    late = max(s[0] for s in samples[3 * count // 4 :])
    most, size = max(s[1] for s in samples), samples[-1][2]
    last = samples[-1]
    print(
        f"rounds={rounds} wrong={wrong} rss={early:.1f}..{late:.1f} MiB grown={late - early:.1f}"
        f" code={most}/{size} emptied={last[3]} blocks={last[4]} regions={last[5]}"
    )
    return int(not rounds or bool(wrong) or late - early > options.growth or most > size)


if __name__ == "__main__":
    raise SystemExit(main())
