"""`gossamer bench linux`: a Linux guest on gossamer and on QEMU, row by row in turn.

Both boot, then each row is run on one while the other waits at its prompt; a few rounds, medians.
The ratio is how many times better gossamer is: above 1 it is faster, or costs less.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from gossamer.base.errors import ConfigError
from gossamer.bench.linux.guest import Guest, Taken
from gossamer.bench.linux.places import machine_words, place_of
from gossamer.bench.linux.report import HEAD, Figure, line, summary
from gossamer.bench.linux.rows import BOOT, CD_MEGABYTES, FIGURES, MEGABYTES, ROWS, Row
from gossamer.bench.peer import find_qemu
from gossamer.block import create, open_image

OURS: Final = ("gossamer", [sys.executable, "-m", "gossamer", "run"])
PRINTED: Final = re.compile(r"^bench ([a-z]\w*\.\w+) ([\d.]+(?:e[+\d]+)?) (\S+)", re.MULTILINE)
_VARIABLES: Final = {
    "kernel": "GOSSAMER_LINUX_KERNEL",
    "initrd": "GOSSAMER_LINUX_INITRD",
    "programs": "GOSSAMER_LINUX_PROGRAMS",
}


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse's type is private
    """Add `linux` to `gossamer bench`."""
    p = subparsers.add_parser("linux", help="a Linux guest's figures, beside QEMU")
    p.add_argument("rows", nargs="*", metavar="ROW", help="some only, or their beginnings (--list)")
    p.add_argument("-M", "--machine", default="g3beige", help="machine (g3beige)")
    p.add_argument("--cpu", default="", help="CPU as of -cpu (the usual one)")
    p.add_argument("-m", "--memory", default="256", help="RAM as of -m (256)")
    for name, variable in _VARIABLES.items():
        p.add_argument(f"--{name}", type=Path, help=f"file (${variable})")
    p.add_argument("--rounds", type=int, default=3, help="of each row (3)")
    p.add_argument("--seconds", type=float, default=1.0, help="of each of the guest's tests (1)")
    p.add_argument("--qemu", help="the program to compare with (qemu-system-ppc, or -ppc64)")
    p.add_argument("--no-qemu", action="store_true", help="measure gossamer alone")
    p.add_argument("--folder", type=Path, help="for disks (the host's temporary folder)")
    p.add_argument("--json", action="store_true", help="print JSON")
    p.add_argument("--list", action="store_true", help="name the rows")


def run(args: argparse.Namespace) -> int:
    """Carry out the command; exit status."""
    if args.list:
        print("\n".join([*BOOT, *(row.name for row in ROWS), *FIGURES]))
        return 0
    if args.rounds < 1:
        raise ConfigError(f"--rounds: expected 1 or more, got {args.rounds}")
    if not args.qemu:
        args.qemu = place_of(args.machine).qemu
    qemu = find_qemu(args)
    with tempfile.TemporaryDirectory(prefix="gossamer-bench-", dir=args.folder) as folder:
        bench = Bench(args, Path(folder), qemu)
        show = sys.stderr if args.json else sys.stdout
        print(HEAD, file=show, flush=True)
        for figure in bench.measured():
            print(line(figure), file=show, flush=True)
        result = summary(args.machine, bench.version, args.rounds, list(bench.figures.values()))
    if args.json:
        print(json.dumps(result, indent=1))
    elif result["total"] is not None:
        text = f"{result['total']:.2f} times QEMU's speed, geometric mean"
        if result["total_cpu"] is not None:
            text += f"; {result['total_cpu']:.2f} times by CPU time, where that is known"
        print(f"total: {text}")
    return 0


def given_file(args: argparse.Namespace, name: str) -> Path | None:
    """The file of an option, or of its variable; it must be there."""
    path = getattr(args, name) or os.environ.get(_VARIABLES[name])
    if path and not Path(path).is_file():
        raise ConfigError(f"--{name}: there is no file {path}")
    return Path(path) if path else None


def chosen(names: Sequence[str], known: Iterable[str]) -> list[str]:
    """Those of `known` that a name begins, all when none is given."""
    return [one for one in known if not names or any(one.startswith(name) for name in names)]


class Bench:
    """The rows that were asked for, on the guests that are there."""

    def __init__(self, args: argparse.Namespace, folder: Path, qemu: str) -> None:
        self.args, self.folder = args, folder
        self.commands = dict([OURS, ("qemu", [qemu])] if qemu else [OURS])
        self.version = version_of(qemu) if qemu else ""
        self.figures: dict[str, Figure] = {}
        self.programs = given_file(args, "programs")
        names = args.rows
        self.place = place_of(args.machine)
        have = {"", *self.place.has} - ({"programs"} if self.programs is None else set())
        wanted = chosen(names, [row.name for row in ROWS])
        self.rows = [row for row in ROWS if row.name in wanted and row.needs in have]
        self.tests = [t for t in FIGURES if not names or any(n.split(".")[0] == t for n in names)]
        self.boots = bool(chosen(names, BOOT))
        if names and not (self.rows or self.tests or self.boots):
            lacking = "" if self.programs else "; some need --programs"
            lacking += "" if self.place.has else f"; on {args.machine} there is no disk or screen"
            raise ConfigError(f"no row begins with {' or '.join(names)} (see --list{lacking})")
        self._prepare()

    # --- files --------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Kernel and RAM disk as both take them, and the disks' first content."""
        kernel = given_file(self.args, "kernel")
        if kernel is None:
            raise ConfigError(f"give a kernel: --kernel FILE or ${_VARIABLES['kernel']}")
        content = kernel.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        (self.folder / "kernel").write_bytes(content)
        archives = [given_file(self.args, "initrd"), self.programs]
        self.initrd = self.folder / "initrd"
        self.initrd.write_bytes(b"".join(a.read_bytes() for a in archives if a is not None))
        if not self._uses("disks", "programs"):
            return
        (self.folder / "cd.iso").write_bytes(os.urandom(CD_MEGABYTES << 20))
        plain, packed = self.folder / "disk.raw", self.folder / "disk.qcow2"
        create(plain, "raw", 2 * MEGABYTES << 20)
        create(packed, "qcow2", 2 * MEGABYTES << 20)
        for path in (plain, packed):
            image = open_image(path, format=path.suffix[1:])
            for n in range(MEGABYTES):
                image.write(n << 20, os.urandom(1 << 20))
            image.close()

    def _uses(self, *needs: str) -> bool:
        return any(row.needs in needs for row in self.rows)

    def _options(self, emulator: str) -> list[str]:
        """The machine, the same for both; each has its own copies of the disks."""
        words = [*machine_words(self.args.machine, self.args.cpu), *self.place.options]
        words += ["-m", self.args.memory, "-monitor", "none"]
        words += ["-kernel", str(self.folder / "kernel"), "-initrd", str(self.initrd)]
        words += ["-append", self.place.console, "-display", "none"]
        if not self._uses("disks", "programs"):
            return words
        for index, kind in enumerate(("raw", "qcow2")):
            copy = self.folder / f"{emulator}.{kind}"
            shutil.copyfile(self.folder / f"disk.{kind}", copy)
            words += ["-drive", f"file={copy},format={kind},media=disk,index={index}"]
        return [*words, "-cdrom", str(self.folder / "cd.iso")]

    # --- measuring ----------------------------------------------------------------------------

    def measured(self) -> Iterable[Figure]:
        """Each figure when it is whole."""
        guests: dict[str, Guest] = {}
        try:
            for n in range(self.args.rounds if self.boots else 1):
                for emulator, command in self.commands.items():
                    if emulator in guests:
                        guests.pop(emulator).close()
                    folder = self.folder / f"{emulator}-{n}"
                    folder.mkdir()
                    guests[emulator] = Guest(emulator, [*command, *self._options(emulator)], folder)
                    self._note_boot(emulator, guests[emulator])
            if self.boots:
                yield from (self.figures[name] for name in BOOT)
            for guest in guests.values():
                guest.shell("dmesg -n 1")
            for row in self.rows:
                for _ in range(self.args.rounds):
                    for emulator, guest in guests.items():
                        self._run_row(row, emulator, guest)
                yield self.figures[row.name]
            for test in self.tests:
                yield from self._run_test(test, guests)
        finally:
            for guest in guests.values():
                guest.close()

    def _figure(self, name: str, unit: str, *, less: bool) -> Figure:
        return self.figures.setdefault(name, Figure(name, unit, less))

    def _note_boot(self, emulator: str, guest: Guest) -> None:
        taken = guest.boot()
        if self.boots:
            self._figure("boot", "s", less=True).add(emulator, taken.wall, taken.cpu)
            self._figure("memory.resident", "MiB", less=True).add(emulator, guest.resident)

    def _run_row(self, row: Row, emulator: str, guest: Guest) -> None:
        if row.first:
            guest.shell(row.first)
        taken: Taken = guest.shell(row.command)
        if row.expects not in taken.text:
            got = taken.text[-200:]
            raise ConfigError(f"{emulator}: {row.name}: expected {row.expects}, got {got!r}")
        figure = self._figure(row.name, row.unit, less=True)
        if row.kind == "idle":
            figure.add(emulator, 100 * taken.cpu / taken.wall)
        else:
            figure.add(emulator, taken.wall, taken.cpu)

    def _run_test(self, test: str, guests: dict[str, Guest]) -> Iterable[Figure]:
        """One of the guest's own tests; as many figures as it prints."""
        found: dict[str, Figure] = {}
        for _ in range(self.args.rounds):
            for emulator, guest in guests.items():
                taken = guest.shell(f"bench -t {self.args.seconds:g} {test}")
                begin = 0
                for printed in PRINTED.finditer(taken.text):
                    name, value, unit = printed.groups()
                    found[name] = self._figure(name, unit, less=False)
                    share = taken.share(begin, printed.end())
                    begin = printed.end()
                    each = share / float(value) if float(value) else None
                    found[name].add(emulator, float(value), each)
        return found.values()


def version_of(qemu: str) -> str:
    """The first line of its --version."""
    done = subprocess.run(  # noqa: S603 (found by name or given by the user)
        [qemu, "--version"], capture_output=True, text=True, check=False
    )
    return done.stdout.partition("\n")[0]
