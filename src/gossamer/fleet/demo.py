"""`gossamer fleet demo`: Macs that count ticks are upgraded, drained, balanced, and lose a node.

Every guest counts its decrementer at 1000 Hz and complains itself when a tick is late; here its
count is held beside its machine's clock as well.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from gossamer.base.data import Data, field
from gossamer.base.errors import ConfigError, GossamerError, HostError
from gossamer.fleet.errors import FleetError
from gossamer.fleet.fleet import Fleet, interpreter
from gossamer.fleet.handle import Handle

MACHINE: Final = "g3beige"
OPTIONS: Final = ("-m", "16", "-bios", "builtin", "-icount", "8")
TICK: Final = re.compile(r"tick (\d+) late \d+ worst \d+ missed (\d+)\r?\n")
NS_A_TICK: Final = 1_000_000
PRINTED: Final = 100
"""The guest prints each hundredth tick."""
MOST: Final = 64
PATIENCE_S: Final = 60.0
QUIET_S: Final = 1.0
LEASE_S: Final = 10.0


class Tally(Data, frozen=False):
    """What was done, for the last line."""

    moves: int = 0
    downtimes: list[int] = field(default_factory=list)
    lost: int = 0
    missed: int = 0
    restored: int = 0
    lost_ms: int = 0

    @property
    def fine(self) -> bool:
        return not self.lost and not self.missed


def last_tick(handle: Handle) -> tuple[int, int]:
    """The guest's count and how many it missed, by what it printed last; 0 when nothing yet."""
    ticks = TICK.findall(handle.text()[1])
    return (int(ticks[-1][0]), int(ticks[-1][1])) if ticks else (0, 0)


def counts(handle: Handle) -> None:
    """A check for `upgrade`: the guest goes on counting and missed nothing."""
    before = last_tick(handle)[0]
    end = time.monotonic() + PATIENCE_S
    while (found := last_tick(handle))[0] <= before:
        if time.monotonic() > end:
            raise FleetError(f"machine {handle.name} counts no more")
        time.sleep(0.05)
    if found[1]:
        raise FleetError(f"machine {handle.name} missed {found[1]} ticks")


def demo(given: argparse.Namespace) -> int:
    """The acts, one after another; 0 when no machine and no tick was lost."""
    if not 2 <= given.machines <= MOST or not 2 <= given.nodes <= MOST:
        raise ConfigError(f"demo: expected 2 to {MOST} machines and nodes")
    tally = Tally()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gossamer-") as folder:
        fleet = Fleet(
            given.ray, nodes=given.nodes, checkpoints=Path(folder),
            every=given.every, lease=LEASE_S if given.ray else None, tls=given.tls,
        )  # fmt: skip
        try:
            _acts(fleet, given, tally)
        finally:
            fleet.shut_down()
            fleet.close()
    times = sorted(tally.downtimes) or [0]
    print(
        f"machines={given.machines} nodes={given.nodes} moves={tally.moves} "
        f"downtime-ms={times[len(times) // 2]} worst-ms={times[-1]} restored={tally.restored} "
        f"lost-ms={tally.lost_ms} lost={tally.lost} missed={tally.missed} "
        f"seconds={time.monotonic() - begun:.0f}"
    )
    return 0 if tally.fine else 1


def versions(python: str) -> list[str]:
    """Versions of the demo's machine that an environment has, the newest last."""
    command = [python, "-m", "gossamer", "run", "-M", "help"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)  # noqa: S603 - an environment that the user named
    except (OSError, subprocess.SubprocessError) as fault:
        raise HostError(f"environment {python}: {fault}") from None
    return re.findall(rf"(?m)^{MACHINE}-\S+", done.stdout)


def common_machine(known: list[list[str]]) -> str:
    """The newest version that all have; ConfigError when there is none."""
    for one in reversed(known[0]):
        if all(one in others for others in known):
            return one
    raise ConfigError(f"no version of {MACHINE} that both environments have: {known}")


def _acts(fleet: Fleet, given: argparse.Namespace, tally: Tally) -> None:
    names = [f"mac{n}" for n in range(1, given.machines + 1)]
    places = [sys.executable, *([interpreter(given.other)] if given.other else [])]
    machine = common_machine([versions(place) for place in places])
    with _Act(f"{given.machines} {machine} on {len(fleet.nodes)} nodes"):
        for name in names:
            fleet.start(name, ("-M", machine, *OPTIONS))
        for name in names:
            fleet[name].expect(TICK.pattern)
    behind = {name: _behind(fleet[name]) for name in names}
    mine = fleet[names[0]].python
    other = given.other or mine
    for what, place in (("upgrade", other), ("and back", mine)):
        with _Act(f"{what}: {place}"):
            outcomes = fleet.upgrade(place, check=counts)
            for it in outcomes:
                if it.result != "moved":
                    print(f"  {it.machine} {it.result}: {it.why}")
                    tally.lost += it.result == "failed"
            good = [it.downtime_ms for it in outcomes if it.result == "moved"]
            _moved(tally, good)
            if len(good) != len(outcomes):
                raise FleetError(f"{what}: {len(good)} of {len(outcomes)} machines moved")
    first, *rest = list(fleet.nodes)
    with _Act(f"drain {first}"):
        _moved(tally, [it.downtime_ms for it in fleet.drain(first)])
    fleet.undrain(first)
    with _Act("balance"):
        _moved(tally, [it.downtime_ms for it in fleet.balance()])
    with _Act(f"{rest[-1]} is killed"):
        fleet.checkpoint()
        _killed(fleet, rest[-1], tally)
    with _Act("every guest counts on"):
        for name in names:
            _judged(fleet, name, behind[name], tally)


def _killed(fleet: Fleet, node: str, tally: Tally) -> None:
    fleet.nodes[node].kill()
    for back in fleet.recover():
        tally.restored += 1
        tally.lost_ms = max(tally.lost_ms, back.lost_ms)
        print(f"  {back.machine} is on {back.node}, at most {back.lost_ms} ms of it are lost")


def _judged(fleet: Fleet, name: str, behind: int, tally: Tally) -> None:
    """The guest counts on, and is as far behind its machine's clock as at the beginning."""
    try:
        counts(fleet[name])
    except GossamerError as fault:
        print(f"  {fault}")
        tally.lost += 1
        return
    most = behind + 2 * PRINTED * NS_A_TICK
    gone = (_behind(fleet[name], most) - behind) // NS_A_TICK
    if gone > 2 * PRINTED:
        print(f"  {name} is {gone} ticks behind its clock")
        tally.missed += gone


def _behind(handle: Handle, most: int = 0) -> int:
    """How far its count is behind its machine's clock, ns; the machine stands meanwhile.

    What it has written may still be on its way here: with -icount a guest that waits counts many
    seconds in one of ours.  So this waits until it is at most `most` behind, or has for PATIENCE_S
    written nothing more; without `most` for QUIET_S, and what comes later than that only makes the
    comparison milder.
    """
    patience = PATIENCE_S if most else QUIET_S
    handle.stop()
    try:
        clock = int(handle.status["clock-ns"])
        seen, since = -1, time.monotonic()
        while time.monotonic() - since < patience:
            count = last_tick(handle)[0]
            if clock - count * NS_A_TICK <= most:
                break
            if count != seen:
                seen, since = count, time.monotonic()
            time.sleep(0.02)
        return clock - count * NS_A_TICK
    finally:
        handle.run()


def _moved(tally: Tally, downtimes: list[int]) -> None:
    tally.moves += len(downtimes)
    tally.downtimes += downtimes
    if downtimes:
        print(f"  {len(downtimes)} moved, each stood for {min(downtimes)} to {max(downtimes)} ms")


class _Act:
    """One act: its name, and how long it took."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._begun = time.monotonic()
        print(f"{self._name} ...", flush=True)

    def __exit__(self, kind: type[BaseException] | None, *about: object) -> None:
        if kind is None:
            print(f"  {time.monotonic() - self._begun:.1f} s", flush=True)
