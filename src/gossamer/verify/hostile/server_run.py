"""The hostile guest of a pseries, saved and thrown away again and again, beside one that never is.

Two machines get the same steps (`server.ServerGuest`).  At chosen steps the one is saved, a new
machine is built and loaded, and goes on; the sections, memory and the guest's answers are compared
with the other's.  No CPU executes: each step is what a guest could do between two instructions.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gossamer.base.data import Data, field
from gossamer.base.errors import ConfigError
from gossamer.devices.spapr.rtas import TOKENS
from gossamer.engine.turns import Turns
from gossamer.machines.config import Config
from gossamer.machines.options import parse
from gossamer.verify.cuts.fields import attributes, differences, listed, not_carried
from gossamer.verify.cuts.track import Track
from gossamer.verify.hostile import vio
from gossamer.verify.hostile.server import CALLS, ServerGuest

MACHINE: Final = "pseries"
DISK: Final = 1 << 16
QUIET: Final = ("-nographic", "-serial", "null", "-monitor", "none", "-rtc", "base=2020-01-01")
#: Virtual ns between two steps, at most: alarms come between them.
PAUSE_NS: Final = 20_000
#: How often the turn passes to the next CPU, of those that there are.
TURNS: Final = 0.1
#: How often something comes from outside.
OUTSIDE: Final = 0.02
#: Divergences after which the run is given up.
MOST_DIVERGENT: Final = 3


class ServerRun(Data):
    """Steps in all, and after which of them (ascending) the one machine is cut."""

    config: Config
    steps: int
    cuts: tuple[int, ...]
    seed: int
    again: str


def prepare(
    machine: str, steps: int, cuts: int, seed: int, folder: Path, *, cpu: str = "", cpus: int = 1
) -> ServerRun:
    """Choose the cuts; the disk lies in `folder`, which has to stay meanwhile."""
    if steps < cuts:
        raise ConfigError(f"--accesses: expected at least as many as --cuts ({cuts}), got {steps}")
    disk = folder / "disk"
    disk.write_bytes(bytes(DISK))
    model = ("-cpu", cpu) if cpu else ()
    image = f"format=raw,snapshot=on,file={disk}"
    virtio = (
        *("-drive", f"if=none,id=d,{image}", "-drive", f"if=none,id=e,{image}"),
        *("-netdev", "user,id=n"),
        *("-device", "virtio-blk-pci,drive=d"),
        *("-device", "virtio-net-pci,netdev=n,iommu_platform=on"),
        *("-device", "virtio-scsi-pci,id=s", "-device", "scsi-hd,bus=s.0,drive=e"),
        *("-device", "scsi-cd,bus=s.0"),
    )
    config = parse([
        *("-M", machine, *model, "-m", "256", "-smp", str(cpus), *QUIET),
        *("-icount", "shift=5,sleep=off", "-no-shutdown"),
        *virtio,
        *("-nic", "model=spapr-vlan"),
        *("-drive", f"index=0,{image}", "-drive", "if=scsi,media=cdrom,index=2"),
        *("-device", "usb-hub,port=3", "-device", "usb-tablet,port=3.1"),
    ])  # fmt: skip
    rng = random.Random(f"cuts {seed}")  # noqa: S311 - choice of test points
    chosen = tuple(sorted(rng.sample(range(1, steps + 1), cuts)))
    again = f"gossamer verify cuts -M {machine} --guest hostile --accesses {steps} --cuts {cuts}"
    again += f" --seed {seed}" + (f" --cpu {cpu}" if cpu else "")
    again += f" --smp {cpus}" if cpus > 1 else ""
    return ServerRun(config, steps, chosen, seed, again)


class Lane(Data, frozen=False):
    """One of the two machines, with its guest."""

    run: ServerRun
    track: Track = field(init=False)
    guest: ServerGuest = field(init=False)
    done: int = 0

    def __post_init__(self) -> None:
        self.track = Track(self.run.config, [])
        self.guest = ServerGuest(self.track.vm.machine, self.run.seed)
        vio.set_up(self.guest)

    def go(self, to: int) -> None:
        """All steps up to number `to`, time going on between them."""
        while self.done < to:
            self.guest.step()
            if self.guest.rng.random() < OUTSIDE:
                self.guest.outside()
            machine = self.track.vm.machine
            machine.processor.set_clock(machine.clock.now + self.guest.rng.randrange(PAUSE_NS))
            machine.clock.advance(machine.clock.now)
            processor = machine.processor
            if isinstance(processor, Turns) and self.guest.rng.random() < TURNS:
                processor.give((processor.turn + 1) % len(machine.cpus))
            self.done += 1

    def cut(self, file: Path | None = None) -> list[str]:
        """Save, throw away, build, load (from a save file, where one is named): what was lost."""
        track = self.track
        stream = track.save()  # what is computed from others for a stream is up to date after it
        before = attributes(track.vm.machine)
        if file is not None:
            track.vm.save(file)
            track.load_file(file)
        else:
            track.load(stream)
        self.guest.machine = track.vm.machine
        return not_carried(before, self.guest.machine)

    def same(self, other: Lane) -> bool:
        mine, theirs = self.track.digest(), other.track.digest()
        return mine == theirs and self.guest.answers == other.guest.answers


def run_server(
    run: ServerRun, say: Callable[[str], None], file_every: int = 0
) -> tuple[int, int, Lane]:
    """Cuts done, how many of them diverged, and the machine that was never cut."""
    uncut, lane = Lane(run), Lane(run)
    divergent = by_file = 0
    with tempfile.TemporaryDirectory(prefix="gossamer-cuts-") as folder:
        for n, at in enumerate(run.cuts, 1):
            for one in (uncut, lane):
                one.go(at)
            by = file_every > 0 and n % file_every == 0
            by_file += by
            lost = lane.cut(Path(folder) / "cut" if by else None)
            if not lost and lane.same(uncut):
                continue
            divergent += 1
            say(f"cut {n}, behind step {at} of seed {run.seed}:")
            found = lost or differences(uncut.track.vm.machine, lane.track.vm.machine)
            for line in listed(found or ["the guest got other answers"]):
                say(f"  {line}")
            say(f"  again: {run.again}")
            if divergent == MOST_DIVERGENT:
                return n, divergent, uncut
            lane.track.close()
            lane = _beside(uncut)
    for one in (uncut, lane):
        one.go(run.steps)
    if not lane.same(uncut):
        divergent += 1
        say(f"the end of seed {run.seed} differs; again: {run.again}")
    say(f"{uncut.done} steps, {by_file} of the cuts through a file; {uncovered(uncut.guest)}")
    return len(run.cuts), divergent, uncut


def _beside(uncut: Lane) -> Lane:
    """A machine that was never cut, where `uncut` is."""
    lane = Lane(uncut.run)
    lane.go(uncut.done)
    return lane


def uncovered(guest: ServerGuest) -> str:
    """Which calls and services were never reached, or never succeeded, in words."""
    reached = {name for name, _ in guest.answers}
    wanted = {*map(hex, CALLS), *TOKENS}
    good = {name for name, code in guest.answers if code == 0}
    missing = ", ".join(sorted(wanted - reached)) or "none"
    succeeded = f"{len(good & wanted)} of {len(wanted)} succeeded"
    return f"calls and services not reached: {missing}; {succeeded}"
