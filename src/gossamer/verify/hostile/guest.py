"""The hostile guest as a scenario of `verify cuts`: its drives, its table, its run."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from gossamer.base.data import Data, field
from gossamer.base.errors import ConfigError, GossamerError
from gossamer.base.units import MiB
from gossamer.machines.build import build
from gossamer.machines.config import Config
from gossamer.machines.guests import hostile as program
from gossamer.machines.guests import hostile_405
from gossamer.machines.options import parse
from gossamer.verify.cuts.track import Input, Track
from gossamer.verify.hostile.layout import Layout
from gossamer.verify.hostile.records import Record, table
from gossamer.verify.hostile.scripts import run_script

NAME: Final = "hostile"
ACCESSES: Final = 20_000
QUIET: Final = ("-nographic", "-serial", "null", "-monitor", "none", "-rtc", "base=2001-09-09")
DISK_SIZE, DISC_SIZE = 4 * MiB, 1 * MiB
RECORD_BYTES: Final = 4 * program.RECORD_WORDS
STUCK: Final = 400_000_000
"""Instructions in which at least one record must be done."""
STEP: Final = 400_000
SHOWN: Final = 8
"""Records printed before the place where a run went wrong."""
KEYS: Final = (0x00, 0x24, 0x38, 0x7A, 0x7F)


class Hostile(Data, frozen=False):
    """What a run consists of: configuration, records, seed."""

    config: Config
    records: list[Record]
    seed: int
    machine: str
    inputs: list[Input] = field(default_factory=list)
    #: Instructions between two inputs, at most.
    step: int = STEP

    def done(self, track: Track) -> int:
        """Records that the guest has begun."""
        at = hostile_405.STATE if self.machine == hostile_405.MACHINE else program.STATE
        return int.from_bytes(track.vm.read_physical(at, 4), "big")

    def place(self, track: Track) -> list[str]:
        """Where the guest is, in words, and how to come there again."""
        done = min(self.done(track), len(self.records))
        first = max(done - SHOWN, 0)
        lines = [f"seed {self.seed}, access {done} of {len(self.records)}; the last ones:"]
        lines += [f"  {n}: {self.records[n]}" for n in range(first, done)]
        again = f"gossamer verify cuts --guest hostile -M {self.machine} --seed {self.seed}"
        return [*lines, f"again: {again} --accesses {len(self.records)}"]


def prepare(
    machine: str, accesses: int, seed: int, shift: int, folder: Path, extra: Sequence[str] = ()
) -> Hostile:
    """Make images and table in `folder`, which has to stay while the guest runs.

    `extra`: more options of the machine's.
    """
    if machine.startswith("bare"):
        raise ConfigError(f"--guest {NAME}: runs on g3beige, mac99 and ref405ep, got -M {machine}")
    if accesses < 1:
        raise ConfigError(f"--accesses: expected 1 or more, got {accesses}")
    if machine == hostile_405.MACHINE:
        return _on_board(accesses, seed, shift, folder)
    end = program.TABLE + RECORD_BYTES * (accesses + 2)
    memory = max(8, -(-end // MiB) + 1)
    options = ("-M", machine, "-m", f"{memory}", *QUIET, "-bios", program.NAME)
    icount = ("-icount", f"shift={shift},sleep=off", "-no-shutdown")
    layout = Layout(build(parse([*options, *_usb(machine)])))
    records = run_script(layout, seed, accesses)
    path = folder / "table"
    path.write_bytes(table(records))
    loader = f"loader,file={path},addr={program.TABLE:#x},force-raw=on"
    drives = _drives(folder, seed)
    config = parse([*options, *_usb(machine), *icount, *extra, *drives, "-device", loader])
    return Hostile(config, records, seed, machine)


def _on_board(accesses: int, seed: int, shift: int, folder: Path) -> Hostile:
    """The same on the 405EP's board: program and table are one ROM."""
    machine = hostile_405.MACHINE
    if accesses > hostile_405.MOST_RECORDS:
        most = hostile_405.MOST_RECORDS
        raise ConfigError(f"--accesses: the ROM of {machine} holds {most}, got {accesses}")
    options = ("-M", machine, "-m", "8", *QUIET)
    records = run_script(Layout(build(parse([*options]))), seed, accesses)
    path = folder / "rom"
    path.write_bytes(hostile_405.rom(table(records)))
    icount = ("-icount", f"shift={shift},sleep=off", "-no-shutdown")
    config = parse([*options, *icount, "-bios", str(path)])
    return Hostile(config, records, seed, machine, step=STEP // 20)


def _usb(machine: str) -> tuple[str, ...]:
    """USB devices for machines that have a controller and none of their own."""
    if machine.startswith("g3beige") or machine.endswith("via=pmu"):
        return ()
    devices = ("usb-kbd", "usb-mouse", "usb-tablet")
    return tuple(x for n, name in enumerate(devices, 1) for x in ("-device", f"{name},port={n}"))


def _drives(folder: Path, seed: int) -> list[str]:
    """A disk that is written to, a disc, an empty drive."""
    rng = random.Random(seed)  # noqa: S311 - content of images
    out = []
    for name, size, options in (
        ("disk", DISK_SIZE, "format=raw,index=0,media=disk,snapshot=on"),
        ("disc", DISC_SIZE, "format=raw,index=2,media=cdrom"),
    ):
        path = folder / name
        path.write_bytes(rng.randbytes(4096) * (size // 4096))
        out += ["-drive", f"file={path},{options}"]
    return [*out, "-drive", "index=1,media=cdrom"]


def scout(hostile: Hostile, say: Callable[[str], None]) -> Track:
    """Run it once, uncut, with input made up on the way; the track at the end."""
    rng = random.Random(f"input {hostile.seed}")  # noqa: S311 - choice of input
    track = Track(hostile.config, hostile.inputs)
    done = moved = 0
    while done < len(hostile.records):
        at = track.vm.instructions + rng.randrange(1, hostile.step)
        hostile.inputs.append(_input(rng, at))
        track.run_to(at)
        if hostile.done(track) != done:
            done, moved = hostile.done(track), track.vm.instructions
        elif track.vm.instructions - moved > STUCK:
            text = "\n  ".join(hostile.place(track))
            raise GossamerError(f"the hostile guest does not go on: {text}")
    say(f"hostile: {done} accesses, {len(hostile.inputs)} inputs")
    return track


def _input(rng: random.Random, at: int) -> Input:
    match rng.randrange(6):
        case 0 | 1:
            return Input(at, rng.randrange(256), "offered")
        case 2:
            return Input(at, rng.choice(KEYS) << 1 | rng.randrange(2), "key")
        case 3:
            return Input(at, rng.getrandbits(19), "move")
        case 4:
            frame = rng.choice((b"\xff" * 6, b"\x52\x54\x00\x12\x34\x56", b"\x01\0\x5e\0\0\1"))
            return Input(at, 0, "frame", (frame + rng.randbytes(rng.choice((8, 54, 500)))).hex())
    return Input(at, rng.randrange(2), "button")
