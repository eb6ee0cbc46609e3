"""`gossamer fleet`: a fleet that stays, from the command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from gossamer.base.data import Data, asdict
from gossamer.base.errors import ConfigError
from gossamer.fleet import table
from gossamer.fleet.demo import demo
from gossamer.fleet.fleet import Fleet
from gossamer.fleet.handle import Handle
from gossamer.fleet.upgrade import Check, Outcome

FOUND: Final = 1
EPILOG: Final = """\
The nodes of a fleet are processes of this computer that stay until `gossamer fleet stop`, or with
--ray the computers of a Ray cluster.  docs/fleet.md has a session.
"""


def default_folder() -> Path:
    """Where this user's fleet is found again."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime or tempfile.gettempdir(), f"gossamer-fleet-{os.getuid()}")


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse has no name for it
    """`gossamer fleet` and its own commands."""
    parser = commands.add_parser(
        "fleet", help="many machines on several nodes", epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--fleet", type=Path, default=None, help="folder of the fleet")
    parser.add_argument("--ray", metavar="ADDRESS", help="the nodes are a Ray cluster's (auto)")
    parser.add_argument("--tls", type=Path, help="folder of gossamer tls init, for moves")
    parser.add_argument("--json", action="store_true", help="results as JSON")
    rows = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    acts = rows.add_parser("demo", help="Macs are upgraded, drained, balanced, and lose a node")
    acts.add_argument("--machines", type=int, default=8)
    acts.add_argument("--nodes", type=int, default=2)
    acts.add_argument("--other", help="environment of another release (default: this one)")
    acts.add_argument("--every", type=float, default=3.0, help="seconds between checkpoints")
    start = rows.add_parser("start", help="start a machine")
    start.add_argument("name")
    start.add_argument("--node")
    start.add_argument("--nodes", type=int, default=2, help="how many, for the first machine (2)")
    start.add_argument("--python", default=sys.executable, help="environment that runs it")
    start.add_argument(
        "options", nargs=argparse.REMAINDER, help="options of gossamer run, after the name"
    )
    rows.add_parser("list", help="the machines")
    move = rows.add_parser("move", help="move a machine to another node")
    move.add_argument("name")
    move.add_argument("node")
    rows.add_parser("drain", help="move every machine away from a node").add_argument("node")
    rows.add_parser("balance", help="as many machines on each node for its CPUs")
    new = rows.add_parser("upgrade", help="move machines into another release, or back")
    new.add_argument("environment", help="a virtual environment, or its python")
    new.add_argument("names", nargs="*", help="machines (all)")
    new.add_argument("--max-parallel", type=int, default=2)
    new.add_argument("--canary", type=int, default=1, help="how many go first, alone (1)")
    new.add_argument("--check", metavar="PATTERN", help="what the guest must write within 30 s")
    rows.add_parser("watch", help="the machines, each second, until C-c")
    stop = rows.add_parser("stop", help="end a machine, or the fleet")
    stop.add_argument("names", nargs="*", help="machines (none: the whole fleet)")


def run(arguments: argparse.Namespace) -> int:
    """Carry it out; 1 when a machine stayed where it was."""
    if arguments.command == "demo":
        return demo(arguments)
    with _fleet(arguments) as fleet:
        return _do(fleet, arguments)


def _fleet(arguments: argparse.Namespace) -> Fleet:
    if arguments.ray:
        return Fleet(arguments.ray, tls=arguments.tls)
    folder = arguments.fleet or default_folder()
    if arguments.command != "start" and not list(folder.glob("*.sock")):
        raise ConfigError(f"no fleet in {folder}: gossamer fleet start NAME -- OPTIONS")
    return Fleet(nodes=getattr(arguments, "nodes", 1), folder=folder, tls=arguments.tls)


def _do(fleet: Fleet, given: argparse.Namespace) -> int:
    match given.command:
        case "start":
            options = given.options[1:] if given.options[:1] == ["--"] else given.options
            made = fleet.start(given.name, options, given.node, given.python)
            _say(given, {"machine": made.name, "node": made.node.name})
        case "list":
            rows = fleet.rows()
            if given.json:
                print(json.dumps(rows))
            else:
                table.show(rows)
        case "move":
            _say(given, _plain(fleet.move(given.name, given.node)))
        case "drain":
            _say(given, *map(_plain, fleet.drain(given.node)))
        case "balance":
            _say(given, *map(_plain, fleet.balance()))
        case "upgrade":
            return _upgrade(fleet, given)
        case "watch":
            table.watch(fleet)
        case "stop":
            for name in given.names:
                fleet.end(name)
            if not given.names:
                fleet.shut_down()
    return 0


def _upgrade(fleet: Fleet, given: argparse.Namespace) -> int:
    def progress(it: Outcome) -> None:
        _say(given, _plain(it))

    outcomes = fleet.upgrade(
        given.environment, names=given.names, max_parallel=given.max_parallel,
        canary=given.canary, check=given.check and writes(given.check), progress=progress,
    )  # fmt: skip
    for it in outcomes:
        if it.result == "skipped":
            progress(it)
    moved = sum(it.result == "moved" for it in outcomes)
    if not given.json:
        print(f"machines={len(outcomes)} moved={moved}")
    return 0 if moved == len(outcomes) else FOUND


def writes(pattern: str, seconds: float = 30.0) -> Check:
    """A check: the guest writes `pattern` after its move."""

    def check(handle: Handle) -> None:
        handle.expect(pattern, seconds, since=handle.text()[0])

    return check


def _plain(it: Data) -> dict[str, Any]:
    return asdict(it)


def _say(given: argparse.Namespace, *rows: dict[str, Any]) -> None:
    for row in rows:
        if given.json:
            print(json.dumps(row), flush=True)
        else:
            words = (
                f"{name.replace('_', '-')}={round(value, 2) if isinstance(value, float) else value}"
                for name, value in row.items()
                if value != ""
            )
            print(" ".join(words), flush=True)
