"""`gossamer verify cuts`: a run cut into pieces is the same run.

At each cut the machine is saved and thrown away, a new one is built and loaded, and the run goes
on; state and output are compared with a run that was never cut.  Where they differ the first
divergent instruction boundary is looked for and every value that differs is printed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from gossamer.base.errors import ConfigError
from gossamer.verify.cuts.census import run_census
from gossamer.verify.cuts.drop import run_drop
from gossamer.verify.cuts.events import run_around
from gossamer.verify.cuts.guests import (
    GUESTS,
    TRUE_RATES,
    Plan,
    config_for,
    guest_named,
    guests_of,
    scout,
    scout_hostile,
)
from gossamer.verify.cuts.linux import SERVER
from gossamer.verify.cuts.process import serve
from gossamer.verify.cuts.run import Cutter, Reference
from gossamer.verify.cuts.tiers import Tiers
from gossamer.verify.hostile.alone import run_alone
from gossamer.verify.hostile.flood import run_flood
from gossamer.verify.hostile.guest import ACCESSES, Hostile
from gossamer.verify.hostile.guest import NAME as HOSTILE
from gossamer.verify.hostile.guest import prepare as make
from gossamer.verify.hostile.rigs import RIGS
from gossamer.verify.hostile.server_run import prepare as prepare_server
from gossamer.verify.hostile.server_run import run_server

DEFAULT_MEMORY: Final = {
    "linux": "96M",
    "linux-boot": "96M",
    "openbios": "32M",
    "builtin": "8M",
    "openpic": "8M",
    "dma": "8M",
    "search": "8M",
    "usb": "8M",
    "timers": "8M",
}

TIERS_HELP: Final = "how the cut run is executed: random, or by tier 0 as the uncut one (random)"


def say(text: str) -> None:
    """Progress, for a person."""
    print(text, file=sys.stderr, flush=True)


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps its type private
    """Add the command to a parser."""
    p = subparsers.add_parser("cuts", help="compare cut runs with uncut ones")
    p.add_argument("-M", "--machine", default="g3beige", help="machine (g3beige)")
    p.add_argument("--guest", help=f"{', '.join(GUESTS)} (openbios; --drop: all but linux)")
    p.add_argument("--cpu", default="", help="CPU model (the machine's own)")
    p.add_argument("--smp", type=int, default=1, help="CPUs, as of -smp (1)")
    p.add_argument("--kernel", type=Path, help="Linux kernel ($GOSSAMER_LINUX_KERNEL)")
    p.add_argument("--initrd", type=Path, help="its RAM disk ($GOSSAMER_LINUX_INITRD)")
    p.add_argument("--cdrom", type=Path, help="a CD for Linux to read from, by DMA")
    p.add_argument("-m", "--memory", help="RAM as of -m")
    p.add_argument(
        "--true-rates", action="store_true", help="serial lines and disks as slow as the parts"
    )
    p.add_argument("--cuts", type=int, default=300, help="number of cuts (300)")
    p.add_argument("--seed", type=int, default=1, help="chooses the boundaries (1)")
    p.add_argument(
        "--accesses", type=int, default=ACCESSES, help=f"of the hostile guest ({ACCESSES})"
    )
    p.add_argument("--chip", help="of the hostile guest: that chip (or all) alone, without a CPU")
    p.add_argument(
        "--flood", action="store_true", help="of the hostile guest: watch memory and time, no cuts"
    )
    p.add_argument("--shift", type=int, default=5, help="2**SHIFT ns an instruction (5)")
    p.add_argument("--file-every", type=int, default=10, help="each so-manieth cut by a file")
    p.add_argument("--process-every", type=int, default=50, help="... by a new process")
    p.add_argument("--around", help="cut at every boundary around an event: NAME or all")
    p.add_argument("--window", type=int, default=40, help="boundaries before and after it (40)")
    p.add_argument("--occurrences", type=int, default=1, help="of each event, at most (1)")
    p.add_argument("--drop", help="leave FIELD (or all) out of saves; that must be noticed")
    p.add_argument("--census", action="store_true", help="look for state that is not declared")
    p.add_argument("--tiers", choices=("random", "0"), default="random", help=TIERS_HELP)
    p.add_argument("--continue-from", type=Path, help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Do it; 0 only when nothing diverged."""
    if arguments.continue_from is not None:
        return serve(arguments.continue_from)
    if arguments.cuts < 1:
        raise ConfigError(f"--cuts: expected 1 or more, got {arguments.cuts}")
    if arguments.occurrences < 1:
        raise ConfigError(f"--occurrences: expected 1 or more, got {arguments.occurrences}")
    if arguments.chip is not None:
        return run_chips(arguments)
    with tempfile.TemporaryDirectory(prefix="gossamer-cuts-") as folder:
        return _run_guests(arguments, Path(folder))


def run_chips(arguments: argparse.Namespace) -> int:
    """Each chip asked for, cut after every access."""
    if arguments.guest != HOSTILE:
        raise ConfigError(f"--chip: goes with --guest {HOSTILE}, got {arguments.guest}")
    names = list(RIGS) if arguments.chip == "all" else [arguments.chip]
    cuts = divergent = 0
    for name in names:
        done, same = run_alone(name, arguments.accesses, arguments.seed, say)
        say(f"{name}: {done} cuts")
        cuts, divergent = cuts + done, divergent + (not same)
    print(f"chips={len(names)} cuts={cuts} divergent={divergent}")
    return 0 if cuts and not divergent else 1


def run_hostile_server(arguments: argparse.Namespace, folder: Path) -> int:
    """Hostile calls and rings on a pseries, cut after steps chosen by chance."""
    a = arguments
    if a.around is not None or a.census:
        raise ConfigError(f"--guest {HOSTILE} of a {SERVER}: goes without --around and --census")
    run = prepare_server(a.machine, a.accesses, a.cuts, a.seed, folder, cpu=a.cpu, cpus=a.smp)
    cuts, divergent, _ = run_server(run, say, a.file_every)
    print(f"cuts={cuts} divergent={divergent}")
    return 0 if cuts == a.cuts and not divergent else 1


def _run_guests(arguments: argparse.Namespace, folder: Path) -> int:
    if arguments.flood:
        if arguments.guest != HOSTILE:
            raise ConfigError(f"--flood: goes with --guest {HOSTILE}, got {arguments.guest}")
        return 0 if run_flood(hostile_of(arguments, folder), say) else 1
    if arguments.drop is not None:
        arguments.true_rates = True  # what is under way for no time cannot be missed
        names = (
            [arguments.guest] if arguments.guest else guests_of(arguments.machine, arguments.cpu)
        )
        return run_drop(arguments, [prepare(arguments, name, folder) for name in names])
    if arguments.guest == HOSTILE and arguments.machine.startswith(SERVER):
        return run_hostile_server(arguments, folder)
    plan = prepare(arguments, arguments.guest or "openbios", folder)
    return _mode(arguments)(arguments, plan)


def prepare(arguments: argparse.Namespace, name: str, folder: Path) -> Plan:
    """The scenario of the guest called `name`, found out in an uncut run.

    `folder`: for images and tables of the guest's.
    """
    if name == HOSTILE:
        return scout_hostile(hostile_of(arguments, folder), say)
    rates = arguments.true_rates
    files = arguments.kernel, arguments.initrd, arguments.cdrom
    guest = guest_named(name, *files, folder, true_rates=rates, machine=arguments.machine)
    usual = "256M" if arguments.machine.startswith(SERVER) else DEFAULT_MEMORY[guest.name]
    memory = arguments.memory or usual
    config = config_for(
        guest,
        arguments.machine,
        memory,
        arguments.shift,
        arguments.cpu,
        true_rates=rates,
        cpus=arguments.smp,
    )
    plan = scout(guest, config, say)
    span = plan.end_count - plan.start_count
    say(f"{guest.name} on {config.full_name}: {span} instructions, {len(plan.inputs)} inputs")
    return plan


def hostile_of(arguments: argparse.Namespace, folder: Path) -> Hostile:
    """The hostile guest's run, its files in `folder`."""
    a = arguments
    rates = TRUE_RATES if a.true_rates else ()
    return make(a.machine, a.accesses, a.seed, a.shift, folder, rates)


def _mode(arguments: argparse.Namespace) -> Callable[[argparse.Namespace, Plan], int]:
    if arguments.around is not None:
        return run_around
    if arguments.census:
        return run_census
    return run_chained


def run_chained(arguments: argparse.Namespace, plan: Plan) -> int:
    """One pass with all cuts at random boundaries."""
    reference = Reference.random(plan, arguments.cuts, arguments.seed)
    reference.run()
    cutter = Cutter(plan, reference, say)
    cutter.file_every, cutter.process_every = arguments.file_every, arguments.process_every
    if arguments.tiers == "random":
        cutter.tiers = Tiers(arguments.seed)
    cutter.run()
    if cutter.tiers is not None:
        say(cutter.tiers.summary())
    say(
        f"of these {cutter.by_file} through a file, {cutter.by_process} into a new process; "
        f"median {cutter.median_ms} ms a cut, {cutter.median_bytes} bytes"
    )
    print(f"cuts={cutter.cuts} divergent={cutter.divergent}")
    return 0 if cutter.cuts == arguments.cuts and not cutter.divergent else 1
