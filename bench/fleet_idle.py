"""Many idle machines on this computer: memory and CPU of each, time to move all of them.

    python bench/fleet_idle.py --machines 50 --kernel vmlinux --initrd initramfs.cpio.gz

Each machine is a process of its own on node1.  With --kernel one Linux boots to its prompt and the
others are forks of it; without, each has the built-in guest, which is never idle (1000 ticks a
second).  Printed: time until all run; median memory of a process, resident and with shared pages
counted by parts (PSS); its CPU time while nothing happens; then node1 is drained: seconds in all,
medians of downtime and bytes.  At the end every guest must answer.  Exit status 1: one did not.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from gossamer.base.errors import GossamerError
from gossamer.fleet import Fleet
from gossamer.fleet.demo import TICK, counts
from gossamer.fleet.handle import Handle

MIB = 1 << 20
READY = "guest# "
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """Memory that the process has in RAM, MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / MIB


def proportional(pid: int) -> float:
    """The same with each shared page counted by its part, MiB."""
    found = re.search(r"(?m)^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text())
    assert found is not None
    return int(found[1]) / 1024


def cpu_seconds(pid: int) -> float:
    """CPU time of the process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def median(values: Iterable[float]) -> float:
    return statistics.median(list(values))


def machine_options(given: argparse.Namespace) -> list[str]:
    """Options of each machine."""
    words = ["-M", given.machine, "-m", given.memory]
    if given.kernel is None:
        return [*words, "-bios", "builtin"]
    words += ["-kernel", given.kernel, "-append", given.append, "-nic", "none"]
    return [*words, "-initrd", given.initrd] if given.initrd else words


def start(fleet: Fleet, given: argparse.Namespace) -> list[str]:
    """All of them on node1, with guests that have written what shows that they run; their names."""
    begun = time.monotonic()
    first = fleet.start("mac", machine_options(given), "node1")
    first.expect(READY if given.kernel else TICK.pattern, 600)
    alone = time.monotonic() - begun
    others = given.machines - 1
    if given.kernel:
        fleet.fork("mac", others, ["node1"])
    else:
        for n in range(1, given.machines):
            fleet.start(f"mac-{n}", machine_options(given), "node1").expect(TICK.pattern, 600)
    seconds = time.monotonic() - begun - alone
    print(f"the first runs after {alone:.1f} s, {others} more after {seconds:.0f} s")
    return list(fleet.machines)


def idle(fleet: Fleet, seconds: float) -> None:
    """What they cost while nothing happens."""
    time.sleep(seconds / 4)
    pids = [int(row["pid"]) for row in fleet.rows()]
    before, begun = [cpu_seconds(pid) for pid in pids], time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - begun
    spent = [100 * (cpu_seconds(pid) - at) / passed for pid, at in zip(pids, before, strict=True)]
    shared = [proportional(pid) for pid in pids]
    print(
        f"memory of one: {median(map(resident, pids)):.0f} MiB resident, {median(shared):.0f} MiB "
        f"with shared pages by parts; of all {sum(shared) / 1024:.1f} GiB"
    )
    print(
        f"CPU of one while idle: {median(spent):.2f} % of a core, worst {max(spent):.2f} %; "
        f"of all {sum(spent):.0f} %"
    )


def drain(fleet: Fleet) -> None:
    """All of them move to node2."""
    begun = time.monotonic()
    moved = fleet.drain("node1")
    seconds = time.monotonic() - begun
    downtimes = sorted(it.downtime_ms for it in moved)
    sent = [it.bytes for it in moved]
    print(
        f"all {len(moved)} moved in {seconds:.0f} s, {seconds / len(moved):.2f} s each; downtime "
        f"{median(downtimes):.0f} ms (worst {downtimes[-1]}), {median(sent) / MIB:.1f} MiB each"
    )


def answers(handle: Handle, *, linux: bool) -> None:
    """Its guest goes on where it is now; FleetError when it does not."""
    if not linux:
        counts(handle)
        return
    since = handle.text()[0]
    handle.type("echo al''ive\n")
    handle.expect("alive", 60, since)


def main() -> int:
    """Start, idle, drain, ask every guest."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--machines", type=int, default=50)
    parser.add_argument("--machine", default="g3beige", help="-M of each")
    parser.add_argument("--memory", default="16", help="-m of each")
    parser.add_argument("--kernel", help="Linux instead of the built-in guest")
    parser.add_argument("--initrd")
    parser.add_argument("--append", default="console=ttyPZ0", help="its command line")
    parser.add_argument("--idle", type=float, default=20.0, help="seconds to watch them")
    given = parser.parse_args()
    if given.machines < 1:
        parser.error(f"--machines: expected 1 or more, got {given.machines}")
    bad = 0
    with Fleet(nodes=2) as fleet:
        names = start(fleet, given)
        idle(fleet, given.idle)
        drain(fleet)
        for name in names:
            try:
                answers(fleet[name], linux=bool(given.kernel))
            except GossamerError as fault:
                print(f"{name}: {fault}")
                bad += 1
    print(f"machines={given.machines} wrong={bad}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
