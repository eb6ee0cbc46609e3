"""`gossamer guest`: guests that are built here, from Debian's source packages."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any, Final

from gossamer.base.data import asdict
from gossamer.base.errors import HostError
from gossamer.recipes import building, kept, linux

FOUND: Final = 1
EPILOG: Final = """\
gossamer guest build linux says what it will install, fetch and take, and asks.  What it builds is
kept in the user's cache ($XDG_CACHE_HOME/gossamer/guests); ./run linux starts it.  docs/guests.md.
"""


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse has no name for it
    """`gossamer guest` and its own commands."""
    parser = commands.add_parser(
        "guest", help="guests built here", epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    rows = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    build = rows.add_parser("build", help="build a guest")
    build.add_argument("name", choices=sorted(building.RECIPES))
    build.add_argument("-y", "--yes", action="store_true", help="do not ask")
    build.add_argument("--again", action="store_true", help="although it is there")
    build.add_argument("--keep-work", action="store_true", help="leave sources and objects")
    row = rows.add_parser("list", help="what is there, and what can be built")
    row.add_argument("--json", action="store_true", help="as JSON")
    remove = rows.add_parser("remove", help="take a guest, or what is left of a build, away")
    remove.add_argument("name", choices=sorted(building.RECIPES))


def run(arguments: argparse.Namespace) -> int:
    """Exit status: 0 fine, 1 the user did not agree, or a guest is damaged."""
    if arguments.command == "build":
        place = building.build(
            yes=arguments.yes, again=arguments.again, keep_work=arguments.keep_work
        )
        if place is None:
            return FOUND
        show(place)
        print("Next: gossamer demo linux, or ./run linux")
        return 0
    if arguments.command == "remove":
        return _remove(kept.folder() / arguments.name)
    return _list(as_json=arguments.json)


def options() -> list[str] | None:
    """-kernel, -initrd and -bios of the Linux that was built; None where there is none."""
    place = kept.find(linux.NAME)
    if place is None:
        return None
    files = {"-kernel": linux.KERNEL, "-initrd": linux.INITRD, "-bios": linux.FIRMWARE}
    return [word for option, name in files.items() for word in (option, str(place / name))]


def show(place: Path) -> None:
    record = kept.read(place)
    assert record is not None
    for name in sorted(record.files):
        path = place / name
        print(f"{path}  {path.stat().st_size:,} bytes  SHA-256 {record.files[name]}")


def _list(*, as_json: bool) -> int:
    status, rows = 0, []
    for name, text in building.RECIPES.items():
        place = kept.folder() / name
        record = kept.read(place)
        wrong = None if record is None else kept.fault(place, record)
        status |= FOUND if wrong else 0
        row = {"name": name, "text": text, "folder": str(place), "fault": wrong}
        rows.append({**row, "record": None if record is None else asdict(record)})
        if as_json:
            continue
        if record is None:
            begun = " (begun)" if (place / "build").is_dir() else ""
            print(f"{name}  {text}\n  not built{begun}: gossamer guest build {name}")
            continue
        sources = ", ".join(f"{key} {value}" for key, value in sorted(record.packages.items()))
        print(f"{name}  {text}\n  built {record.built} in {record.seconds} s from {sources}")
        show(place)
        if record.recipe != linux.recipe_sum():
            print(f"  by another release's recipe: gossamer guest build {name} --again")
        if wrong:
            print(f"  DAMAGED: {wrong}", file=sys.stderr)
    if as_json:
        print(json.dumps(rows, indent=1))
    return status


def _remove(place: Path) -> int:
    if not place.is_dir():
        print(f"there is no {place}", file=sys.stderr)
        return FOUND
    try:
        shutil.rmtree(place)
    except OSError as fault:
        raise HostError(f"{fault.filename or place}: {fault.strerror}") from None
    return 0
