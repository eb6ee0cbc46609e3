"""What a timeline costs and gives, with Linux at its prompt (CPU time of this process).

    python bench/timeline.py --kernel vmlinux --initrd initramfs.cpio.gz PART…

`overhead`: the same run with and without, in turn.  `back`: one second of the guest's time back.
`idle`, `busy`: bytes of checkpoints after ten minutes of idling, and after `memhog 16 5`.  `who`:
`last_write` in random cells of a run of `--seconds`, against a forward run with a watchpoint.
`record`: typed input, replayed in a new process to 100 hashes.  `forks`: time and memory of eight,
with different input.  `reset`: back to a mark with 100 changed pages.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from gossamer import Vm
from gossamer.engine.processor import Stop
from gossamer.engine.stops import Watch

MiB = 1 << 20
KERNEL = 0xC000_0000
BUSY = "(while true; do selfcheck -n 1; memhog 4 1 | head -n 2; done) > /dev/null 2>&1 &\n"


class Bench:
    """One save of Linux at its prompt, and the parts."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.files = {"kernel": given.kernel, "initrd": given.initrd}
        self.folder = Path(tempfile.mkdtemp(prefix="bench-timeline"))
        self.save = given.save or self.folder / "ready"
        if not self.save.exists():
            options = {"ram": "256M", "icount": 5, "nographic": True, "append": "console=ttyPZ0"}
            with Vm(given.machine, **options, **self.files) as vm:
                vm.serial.expect("guest# ", seconds=300)
                vm.save(self.save)

    def ready(self) -> Vm:
        return Vm.load(self.save, files=self.files)

    def busy(self) -> Vm:
        vm = self.ready()
        vm.serial.send(BUSY)
        vm.run(seconds=2)
        return vm

    # --- parts ----------------------------------------------------------------------------------

    def overhead(self) -> None:
        """CPU seconds of the same instructions with a timeline and without."""
        times: dict[bool, list[float]] = {False: [], True: []}
        hashes = set()
        with self.busy() as warm:
            warm.run(seconds=8)
        for n in range(self.given.rounds):
            for kept in ((False, True), (True, False))[n % 2]:
                with self.busy() as vm:
                    if kept:
                        vm.keep_past()
                    begin = time.process_time()
                    vm.run(seconds=12)
                    times[kept].append(time.process_time() - begin)
                    hashes.add(vm.state_hash)
        ratios = [on / off for on, off in zip(times[True], times[False], strict=True)]
        print(
            f"overhead: {(statistics.median(ratios) - 1) * 100:+.1f} % "
            f"({min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} pairs; "
            f"{statistics.median(times[False]):.2f} s without), hashes equal: {len(hashes) == 1}"
        )

    def back(self) -> None:
        with self.busy() as vm:
            vm.keep_past()
            vm.run(seconds=20)
            for _ in range(8):
                here = time.monotonic(), time.process_time()
                vm.rewind(seconds=1)
                host, cpu = time.monotonic() - here[0], time.process_time() - here[1]
                print(f"one second back: {host:.3f} s, CPU {cpu:.3f} s")

    def idle(self) -> None:
        with self.ready() as vm:
            timeline = vm.keep_past()
            vm.run(seconds=600)
            print(
                f"idle 600 s: {timeline.size / MiB:.1f} MiB, {len(timeline.ring.all)} checkpoints"
            )

    def memhog(self) -> None:
        with self.ready() as vm:
            timeline = vm.keep_past(limit=512 * MiB)
            vm.serial.send("memhog 16 5 > /dev/null &\n")
            vm.run(seconds=600)
            print(
                f"memhog 16 5, 600 s: {timeline.size / MiB:.1f} MiB, "
                f"{len(timeline.ring.all)} checkpoints"
            )
            at = time.monotonic(), time.process_time()
            vm.rewind(seconds=1)
            print(
                f"one second back: {time.monotonic() - at[0]:.3f} s, "
                f"CPU {time.process_time() - at[1]:.3f} s"
            )

    def who(self) -> None:
        """Last writes of random cells; a forward run with a watchpoint says which was the last."""
        rng = random.Random(self.given.seed)
        with self.busy() as vm:
            timeline = vm.keep_past()
            begin = vm.mark("begin")
            vm.run(seconds=self.given.seconds)
            end = vm.instructions
            pages = sorted({n for c in timeline.ring.all[1:] for n in c.changed.tolist()
                            if n < 256 * MiB >> 12})  # fmt: skip
            cells = [KERNEL + rng.choice(pages) * 4096 + 4 * rng.randrange(1024) for _ in range(20)]
            took, found = [], []
            for cell in cells:
                at = time.process_time()
                found.append(vm.last_write(cell))
                took.append(time.process_time() - at)
            timeline.go(begin)
            stops = vm.control.machine.processor.debug()
            stops.set(frozenset(), tuple(Watch(cell, 4, False, True) for cell in set(cells)))
            last: dict[int, tuple[int, int]] = {}
            while vm.control.run_to(end) is Stop.BREAK:
                met = vm.control.machine.processor.met
                assert met is not None
                last[met.ea] = vm.instructions - 1, 0
            stops.set(frozenset())
            right = sum(
                last.get(cell, (None,))[0] == (None if w is None else w.moment.instructions)
                for cell, w in zip(cells, found, strict=True)
            )
            wrote = sum(w is not None for w in found)
            print(
                f"last_write: {right} of {len(cells)} right ({wrote} had been written), "
                f"{end - begin.instructions:,} instructions, CPU median "
                f"{statistics.median(took):.2f} s, at most {max(took):.2f} s"
            )

    def record(self) -> None:
        with self.ready() as vm:
            vm.keep_past()
            print(vm.serial.command("selfcheck -n 1; echo typed; uname -a")[1][-60:])
            vm.record(self.folder / "run", points=100)
            print(f"record: {(self.folder / 'run').stat().st_size / MiB:.1f} MiB")
            value = vm.state_hash
        text = (
            "import sys; from gossamer import Vm\n"
            "vm = Vm.replay(sys.argv[1], files={'kernel': sys.argv[2], 'initrd': sys.argv[3]})\n"
            "print(f'{vm.state_hash:016x}')"
        )
        command = [sys.executable, "-c", text, self.folder / "run", *self.files.values()]
        done = subprocess.run(command, capture_output=True, text=True)
        print(
            f"replayed in a new process: {done.stdout.strip() or done.stderr} "
            f"(expected {value:016x})"
        )

    def forks(self) -> None:
        with self.ready() as vm:
            vm.run(seconds=1)
            for _ in range(5):
                begin = time.monotonic_ns(), time.process_time_ns()
                forks = vm.fork(8)
                host = (time.monotonic_ns() - begin[0]) / 8e6
                cpu = (time.process_time_ns() - begin[1]) / 8e6
                print(f"fork: {host:.2f} ms each, CPU {cpu:.2f} ms")
                for fork in forks:
                    fork.close()
            forks = vm.fork(8)
            for fork in forks:
                fork.begin(answer, fork.number)
            said = [fork.result() for fork in forks]
            print(f"eight inputs: {said}, right: {said == [str(n * n + 7) for n in range(8)]}")
            for fork in forks[:2]:
                rollup = Path(f"/proc/{fork.pid}/smaps_rollup").read_text().split("\n")
                kib = {line.split(":")[0]: int(line.split()[1]) for line in rollup if "kB" in line}
                print(
                    f"memory: {kib['Rss'] >> 10} MiB mapped, shared "
                    f"{(kib['Shared_Clean'] + kib['Shared_Dirty']) >> 10} MiB, its own "
                    f"{(kib['Private_Clean'] + kib['Private_Dirty']) >> 10} MiB"
                )
            for fork in forks:
                fork.close()

    def reset(self) -> None:
        with self.ready() as vm:
            vm.keep_past()
            vm.run(seconds=1)
            mark = vm.mark("here")
            value = vm.state_hash
            memory = vm.control.machine.memory
            rng = random.Random(1)
            times = []
            for n in range(2000):
                for page in rng.sample(range(1000, 60_000), 100):
                    memory.write_arena(page * 4096, n.to_bytes(4, "big"))
                begin = time.process_time_ns()
                vm.reset_to(mark)
                times.append((time.process_time_ns() - begin) / 1e6)
            times.sort()
            print(
                f"reset_to, 100 pages: median {statistics.median(times):.3f} ms, "
                f"nine of ten below {times[len(times) * 9 // 10]:.3f} ms, "
                f"{1000 * len(times) / sum(times):.0f} a second, "
                f"state equal: {vm.state_hash == value}"
            )
            times, pages = [], []
            for _ in range(500):
                vm.run(instructions=20_000)
                pages.append(len(vm.timeline.ring.stores[0].written()))
                begin = time.process_time_ns()
                vm.reset_to(mark)
                times.append((time.process_time_ns() - begin) / 1e6)
            print(
                f"reset_to after 20,000 instructions ({statistics.median(pages):.0f} pages): "
                f"median {statistics.median(times):.3f} ms"
            )


def answer(vm: Vm, number: int) -> str:
    return vm.serial.command(f"echo $(({number} * {number} + 7))")[1]


PARTS = ("overhead", "back", "idle", "memhog", "who", "record", "forks", "reset")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kernel", type=Path, required=True)
    parser.add_argument("--initrd", type=Path, required=True)
    parser.add_argument("--save", type=Path, help="of Linux at its prompt, or where to make it")
    parser.add_argument("--machine", default="g3beige")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    given = parser.parse_args()
    bench = Bench(given)
    for part in given.part:
        getattr(bench, part)()


if __name__ == "__main__":
    main()
