"""The guests that cuts are tried on: how each is started, what is typed, what must be seen.

A scenario is found out in a first run (`scout`): each line is typed when what it waits for has
been seen.  The first run notes the instruction count of every typed byte, so that all later runs
type at exactly the same boundaries.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from gossamer.base.data import Data, field, replace
from gossamer.base.errors import ConfigError, GossamerError
from gossamer.machines import firmware
from gossamer.machines.config import Accel, Config
from gossamer.machines.guests import pic, search, timers, usb
from gossamer.machines.options import parse
from gossamer.verify.cuts import linux
from gossamer.verify.cuts.tiers import Tiers
from gossamer.verify.cuts.track import Input, Track
from gossamer.verify.hostile import guest as hostile

STEP: Final = 1_000_000
"""Instructions between two looks at what the guest has written."""
SHORT_STEP: Final = 50_000
"""The same for guests that write a hundred lines in that time."""
GAP: Final = 150_000
"""Instructions between two typed bytes (4.8 ms at shift 5)."""
PIC_GUESTS: Final = {"openpic": "mac99", "dma": "g3beige"}
"""Guests that are the second built-in program, and the machine of each."""
SEARCH: Final = ("search", "603e")
"""The guest that searches the page table itself, and the CPU that lets it."""
USB: Final = ("usb", "mac99", "pmu")
"""The guest that drives USB devices, and the machine and `via` that have them from the start."""
TIMERS: Final = ("timers", linux.BOARD)
"""The guest that counts a 405's timers, and its machine."""
GUESTS: Final = (
    *("openbios", "builtin", *PIC_GUESTS, SEARCH[0], USB[0], TIMERS[0], hostile.NAME),
    *linux.NAMES,
)
_LONG: Final = 4_000_000_000
COMMON: Final = ("-nographic", "-serial", "null", "-monitor", "none", "-rtc", "base=2001-09-09")

TRUE_RATES: Final = ("-global", "escc.true-rate=on", "-global", "macio-ide.true-rate=on")


class Guest(Data):
    """A scenario.  `lines`: (text to wait for, text to type then); the last waits only.

    `boots` True: the guest is brought to its first expected text once, and cut from there on.
    `limit` instructions for one wait, `step` between two looks; `tail` after the last text.
    """

    name: str
    arguments: tuple[str, ...]
    lines: tuple[tuple[str, str], ...]
    boots: bool = False
    limit: int = 1_000_000_000
    tail: int = 2_000_000
    step: int = STEP
    machine: str = ""
    """The only machine that has what it uses."""
    via: str = ""
    """The only variant of that machine."""
    cpu: str = ""
    """The only CPU model that has what it uses."""
    events: Mapping[int, tuple[Input, ...]] = field(default_factory=dict)
    """By line: what comes from outside behind the last byte typed, `at` counted from there."""


class Plan(Data, frozen=False):
    """A scenario made exact: what is typed when, where it ends, and in what state."""

    guest: str
    config: Config
    inputs: list[Input] = field(default_factory=list)
    start: bytes | None = None
    start_count: int = 0
    start_ns: int = 0
    end_count: int = 0
    end_ns: int = 0
    digest: int = 0
    sent: list[int] = field(default_factory=list)
    """Instruction count of each byte that the guest wrote."""
    place: Callable[[Track], list[str]] = lambda track: []
    """Where the guest is, in lines for a reader who has to find it again."""

    def track(self, tiers: Tiers | None = None) -> Track:
        """The machine at the beginning of the scenario, executed by tier 0 or as `tiers` choose."""
        config = replace(self.config, accel=Accel(tier=0))
        track = Track(config, self.inputs, tiers=tiers)
        if self.start is not None:
            track.load(self.start)
        return track


def guest_named(
    name: str,
    kernel: Path | None,
    initrd: Path | None,
    cdrom: Path | None = None,
    folder: Path | None = None,
    *,
    true_rates: bool = False,
    machine: str = "",
) -> Guest:
    """The guest called `name`; Linux needs its files, and a folder for images made here.

    `true_rates`: serial lines and disks take the time that the parts take.  `machine`: what it is
    to run on.
    """
    far = "" if true_rates else "0"  # a line that is sent at once is ten times as quick
    if name == "openbios":
        lines = (("0 > ", "2a 3 * .\r"), ("7e", ""))
        return Guest(name, ("-prom-env", "auto-boot?=false"), lines)
    if name == "builtin":
        return Guest(name, ("-bios", "builtin"), (("tick 300 ", "?"), ("tick 800 ", "")))
    if name in PIC_GUESTS:
        lines = ((f"line 3{far} ", "?"), (f"line 9{far} ", ""))
        arguments = ("-bios", pic.NAME)
        return Guest(name, arguments, lines, machine=PIC_GUESTS[name], step=SHORT_STEP)
    if name == SEARCH[0]:
        lines = (("round 2 ", "?"), ("round 5 " if true_rates else "round 500 ", ""))
        return Guest(name, ("-bios", search.NAME), lines, cpu=SEARCH[1], step=SHORT_STEP)
    if name == USB[0]:
        lines = ((f"line 2{far} ", "?"), (f"line 5{far} ", ""))
        arguments = ("-bios", usb.NAME)
        return Guest(name, arguments, lines, machine=USB[1], via=USB[2], step=SHORT_STEP)
    if name == TIMERS[0]:
        lines = (("tick 0068 ", "?"), (f"tick 0{'1' if true_rates else '4'}a0 ", ""))
        return Guest(name, ("-bios", timers.NAME), lines, machine=TIMERS[1], step=SHORT_STEP)
    if name in linux.NAMES:
        assert folder is not None
        kernel = kernel or _from_environment("GOSSAMER_LINUX_KERNEL")
        initrd = initrd or _from_environment("GOSSAMER_LINUX_INITRD")
        if kernel is None:
            raise ConfigError(f"guest {name}: give --kernel FILE (and --initrd FILE)")
        if machine.startswith(linux.BOARD):
            if name != linux.NAMES[0]:
                raise ConfigError(
                    f"--guest {name}: the board {linux.BOARD} cannot reboot by itself"
                )
            board = linux.board_files(kernel, initrd)
            return Guest(name, board, linux.WORK_ON_BOARD, boots=True, limit=_LONG)
        if machine.startswith(linux.SERVER):
            server = linux.server_files(folder, kernel, initrd)
            if name == linux.BOOT:
                return Guest(name, server, linux.BOOTS, limit=_LONG, events=linux.BOOT_EVENTS)
            work = linux.WORK_ON_SERVER
            return Guest(name, server, work, boots=True, limit=_LONG, events=linux.ASKED)
        files = linux.files(folder, kernel, initrd, cdrom)
        if name == linux.BOOT:
            return Guest(name, files, linux.BOOTS, limit=_LONG, events=linux.BOOT_EVENTS)
        events = linux.work_events(folder)
        return Guest(name, files, linux.WORK, boots=True, limit=_LONG, events=events)
    raise ConfigError(f"--guest: expected {', '.join(GUESTS)}; got {name!r}")


def guests_of(machine: str, cpu: str = "") -> list[str]:
    """The guests that need no file of the user's; OpenBIOS where the host has it and it runs.

    A pseries, which has no firmware, runs Linux alone.
    """
    model = machine.partition(",")[0]
    if model.startswith("bare"):
        return ["builtin"]
    if model.startswith(linux.SERVER):
        return [linux.NAMES[0]]
    if model.startswith(TIMERS[1]):
        return [TIMERS[0]]
    own = [name for name, wanted in PIC_GUESTS.items() if model.startswith(wanted)]
    if model.startswith(USB[1]) and _via(parse(["-M", machine])) == USB[2]:
        own.append(USB[0])
    if cpu == SEARCH[1]:
        return [SEARCH[0], "builtin", *own]
    return ["builtin", *own, *(["openbios"] if firmware.find([firmware.OPENBIOS]) else [])]


def _from_environment(name: str) -> Path | None:
    given = os.environ.get(name)
    return Path(given) if given else None


def _via(config: Config) -> str:
    return config.properties.get("via", "")


def config_for(
    guest: Guest,
    machine: str,
    memory: str,
    shift: int,
    cpu: str = "",
    *,
    true_rates: bool = False,
    cpus: int = 1,
) -> Config:
    """The deterministic configuration that a guest is run in; an empty `cpu`: the machine's own."""
    arguments = guest.arguments
    if not machine.startswith(guest.machine):
        raise ConfigError(f"--guest {guest.name}: runs on {guest.machine}, got -M {machine}")
    if guest.name == "builtin" and machine.startswith("bare"):
        arguments = ()
    if guest.cpu:
        if cpu not in ("", guest.cpu):
            raise ConfigError(f"--guest {guest.name}: runs on the {guest.cpu}, got --cpu {cpu}")
        if machine.startswith("bare"):
            raise ConfigError(f"--guest {guest.name}: runs on g3beige and mac99, got -M {machine}")
        cpu = guest.cpu
    icount = f"shift={shift},sleep=off"
    model = ["-cpu", cpu] if cpu else []
    rated = not machine.startswith((linux.BOARD, linux.SERVER))
    model += TRUE_RATES if true_rates and rated else []
    model += ["-smp", str(cpus)] if cpus != 1 else []
    config = parse(["-M", machine, *model, "-m", memory, *COMMON, "-icount", icount, *arguments])
    if guest.via and _via(config) != guest.via:
        wanted = f"{guest.machine},via={guest.via}"
        raise ConfigError(f"--guest {guest.name}: runs on {wanted}, got -M {machine}")
    return config


def scout(guest: Guest, config: Config, say: Callable[[str], None]) -> Plan:
    """Run the scenario once, uncut, and note where everything happens."""
    plan = Plan(guest.name, config)
    track = Track(config, plan.inputs)
    seen = 0
    for n, (wanted, typed) in enumerate(guest.lines):
        seen = _wait(track, wanted, seen, guest)
        if n == 0 and guest.boots:
            plan.start = track.save()
            plan.start_count, plan.start_ns = track.vm.instructions, track.vm.clock_ns
            track.out.clear()
            seen = 0
            say(f"{guest.name} is up after {plan.start_count} instructions")
        for byte in typed.encode():
            track.run_to(track.vm.instructions + GAP)
            while not track.vm.serial_room(0):
                track.run_to(track.vm.instructions + GAP)
            _give(track, plan, Input(track.vm.instructions, byte))
        if typed:
            seen = len(track.out)
        last = track.vm.instructions
        for event in guest.events.get(n, ()):
            _give(track, plan, event._replace(at=last + event.at))
    track.run_to(track.vm.instructions + guest.tail)
    plan.end_count, plan.end_ns = track.vm.instructions, track.vm.clock_ns
    plan.digest = track.digest()
    plan.sent = [at for at, _ in track.out]
    return plan


def _give(track: Track, plan: Plan, given: Input) -> None:
    """Let something come from outside, in this run and in all later ones."""
    plan.inputs.append(given)
    track.run_to(given.at)


def scout_hostile(run: hostile.Hostile, say: Callable[[str], None]) -> Plan:
    """The same for the hostile guest."""
    track = hostile.scout(run, say)
    plan = Plan(hostile.NAME, run.config, run.inputs, place=run.place)
    plan.end_count, plan.end_ns = track.vm.instructions, track.vm.clock_ns
    plan.digest = track.digest()
    plan.sent = [at for at, _ in track.out]
    track.close()
    return plan


def _wait(track: Track, wanted: str, seen: int, guest: Guest) -> int:
    """Run until `wanted` stands in what was written after byte `seen`; where it ends."""
    limit = track.vm.instructions + guest.limit
    while True:
        found = track.text()[seen:].find(wanted)
        if found >= 0:
            return seen + found + len(wanted)
        if track.vm.instructions >= limit:
            last = track.text()[-60:]
            raise GossamerError(
                f"guest {guest.name}: {wanted!r} did not appear in {guest.limit} instructions; "
                f"the last that did is {last!r}"
            )
        track.run_to(track.vm.instructions // guest.step * guest.step + guest.step)
