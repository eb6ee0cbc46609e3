"""`gossamer stream`: show, diff, check, doctor, convert, screenshot.

Exit status 0: fine; 1: they differ, it would not load, there are findings; 2: bad input.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer.base.errors import ConfigError, GossamerError
from gossamer.control.picture import write_picture
from gossamer.migrate import releases
from gossamer.migrate.framing import Configuration, Section
from gossamer.migrate.inspect import Schema
from gossamer.migrate.pages import PageIndex
from gossamer.migrate.ram import Record
from gossamer.migrate.schema_loads import Severity
from gossamer.streams import (
    channels,
    check,
    diff,
    doctor,
    findings,
    layouts,
    matrix,
    ram_diff,
    save,
    screenshot,
)
from gossamer.streams.convert import Conversion
from gossamer.streams.open import new_file, open_input, read_stream
from gossamer.streams.page import Page, plural
from gossamer.streams.patient import Patient
from gossamer.streams.ram_diff import Memory
from gossamer.streams.refusals import refusals
from gossamer.streams.show import RamSum, as_json, show

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

FINE, DIFFERS, BAD = 0, 1, 2
FORMS = (
    *releases.QEMU, *(a for a, name in releases.ALIASES.items() if name in releases.QEMU),
    save.SAVE_FILE, save.PLAIN,
)  # fmt: skip


def add_parser(subparsers: Subparsers) -> None:
    """Register `stream` and its commands."""
    parser = subparsers.add_parser("stream", help="show, compare, check and mend streams")
    add_commands(parser)


def add_commands(parser: argparse.ArgumentParser) -> None:
    """The commands of `gossamer stream`."""
    commands = parser.add_subparsers(dest="stream_command", required=True, metavar="COMMAND")
    _command(commands, "matrix", run_matrix, "Show what moves from where to where.")
    _show_parser(commands)
    _diff_parser(commands)
    _check_parser(commands)
    _doctor_parser(commands)
    _convert_parser(commands)
    _screenshot_parser(commands)


def _command(
    commands: Subparsers, name: str, run: Callable[[argparse.Namespace], int], purpose: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=purpose, description=purpose)
    parser.set_defaults(stream_run=run)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser


INPUT_HELP = "a file, - for standard input, IMAGE.qcow2@SNAPSHOT, or a save file of gossamer"


def _show_parser(commands: Subparsers) -> None:
    parser = _command(commands, "show", run_show, "Show what a stream holds.")
    parser.add_argument("stream", metavar="STREAM", help=INPUT_HELP)
    parser.add_argument("--section", metavar="NAME", help="only that section (a pattern: pci*)")
    parser.add_argument("--ram", action="store_true", help="only the summary of RAM blocks")
    parser.add_argument("--page-size", type=int, help="where the stream does not say it")
    parser.add_argument("--machine", help="the machine, where the stream does not name it")
    parser.add_argument(
        "--as", dest="form", choices=sorted(channels.FORMS), help="what capture it is"
    )


def run_show(args: argparse.Namespace) -> int:
    with open_input(args.stream) as given:
        form = args.form or channels.recognise(given)
        if form != "stream":
            channels.show(Page(), given, form, args)
            return FINE
        counted = RamSum()
        stream = read_stream(
            given,
            on_ram=counted,
            schema=lambda c: layouts.for_machine(c, args.machine),
            page_size=args.page_size,
        )
        counted.add_mapped(stream)
        if args.json:
            print_json(as_json(stream, counted, args.section))
        else:
            show(Page(), stream, counted, args.section, args.ram)
    return FINE


def _diff_parser(commands: Subparsers) -> None:
    parser = _command(commands, "diff", run_diff, "Compare two streams; status 1 if they differ.")
    parser.add_argument("a", metavar="A", help=INPUT_HELP)
    parser.add_argument("b", metavar="B")
    parser.add_argument("--section", metavar="NAME", help="only that section")
    parser.add_argument("--ram", action="store_true", help="list the pages that differ")
    parser.add_argument("--page-size", type=int, help="where the streams do not say it")


def _into(index: PageIndex) -> Callable[[Section, Record], None]:
    return lambda _section, record: index(record)


def run_matrix(args: argparse.Namespace) -> int:
    """What is declared, as docs/compatibility.md or as JSON."""
    if args.json:
        print(json.dumps(matrix.as_json(), indent=2))
    else:
        print(matrix.page(), end="")
    return FINE


def run_diff(args: argparse.Namespace) -> int:
    schema = layouts.for_machine
    with open_input(args.a) as one, open_input(args.b) as two:
        pages = PageIndex(), PageIndex()
        a, b = (
            read_stream(given, schema=schema, page_size=args.page_size, on_ram=_into(index))
            for given, index in zip((one, two), pages, strict=True)
        )
        report = diff.compare(a, b, args.section)
        if args.section is None:
            memory = Memory.of(a, pages[0]), Memory.of(b, pages[1])
            report.ram = list(ram_diff.compare_ram(*memory))
        if args.json:
            print_json(diff.as_json(report))
        else:
            diff.print_report(Page(), a.name, b.name, report, args.ram)
    return DIFFERS if report.differs else FINE


def _doctor_parser(commands: Subparsers) -> None:
    parser = _command(
        commands, "doctor", run_doctor,
        "Say what a stream has lost and what the guest will feel; status 1 with findings.",
    )  # fmt: skip
    parser.add_argument("stream", metavar="STREAM", help=INPUT_HELP)
    parser.add_argument("--fix", metavar="OUT", help="write a stream with what can be mended")
    parser.add_argument(
        "--for", dest="receiver", choices=releases.NAMES, default="qemu-7.2",
        help="the receiver (default: %(default)s)",
    )  # fmt: skip


def run_doctor(args: argparse.Namespace) -> int:
    with open_input(args.stream) as given:
        counted = RamSum()
        stream = read_stream(given, on_ram=counted, schema=layouts.for_machine)
        counted.add_mapped(stream)
        patient = Patient.of(stream)
        blocks = {name: of.data + of.packed > 0 for name, of in counted.blocks.items()}
        to = releases.release(args.receiver)
        found = doctor.examine(patient, to, blocks, refusals(stream, counted, to))
        if args.json:
            print_json(doctor.as_json(found))
        else:
            doctor.print_findings(Page(), stream.name, args.receiver, found)
        if args.fix:
            applied = doctor.mend(patient, found)
            with new_file(args.fix, args.stream) as out:
                patient.write(out)
            if not args.json:
                print(f"wrote {args.fix}: {plural(len(applied), 'mend')}")
    return DIFFERS if any(f.grade > findings.Grade.NOTE for f in found) else FINE


def _check_parser(commands: Subparsers) -> None:
    parser = _command(
        commands, "check", run_check,
        "Say whether a stream, or all that a build saves, loads elsewhere; status 1 if not.",
    )  # fmt: skip
    parser.add_argument(
        "source", metavar="SOURCE", help="a stream, or a -dump-vmstate file of the sender"
    )
    parser.add_argument(
        "target", metavar="TARGET", help="a release, or a -dump-vmstate file of the receiver"
    )
    parser.add_argument(
        "--release", choices=releases.NAMES, help="which release wrote the dump, where it is known"
    )
    parser.add_argument("--device", metavar="NAME", help="only that device class")
    parser.add_argument("--quiet", action="store_true", help="leave out what has no effect")
    parser.add_argument("--strict", action="store_true", help="status 1 with conditions too")


def run_check(args: argparse.Namespace) -> int:
    target = None if args.target in releases.NAMES else check.read_dump(args.target)
    if check.is_dump(args.source):
        if target is None:
            raise ConfigError(f"{args.source} is a dump: it is held against a dump, got a release")
        source = check.read_dump(args.source)
        verdict = check.dump_into(source, target, args.device)
    else:
        with open_input(args.source) as given:
            counted = RamSum()
            stream = read_stream(given, on_ram=counted)
            named = args.release or (args.target if target is None else "")
            assert named or target is not None
            to = releases.release(named) if named or target is None else check.release_of(target)
            verdict = check.stream_into(stream, counted, target, to)
    if args.json:
        print_json(check.as_json(verdict))
    else:
        title = (
            f"{args.source} into {args.target} ({target.name})"
            if target
            else f"{args.source} into {args.target}"
        )
        check.print_verdict(Page(), title, verdict, args.quiet)
    limit = Severity.MAYBE if args.strict else Severity.FATAL
    return DIFFERS if verdict.worst >= limit else FINE


def _convert_parser(commands: Subparsers) -> None:
    parser = _command(
        commands, "convert", run_convert,
        "Write a stream in the form of another release; status 1 with the reasons if it cannot.",
    )  # fmt: skip
    parser.add_argument("stream", metavar="STREAM", help=INPUT_HELP)
    parser.add_argument("out", metavar="OUT", help="the file to write, - for standard output")
    parser.add_argument("--to", required=True, choices=FORMS)
    parser.add_argument("--machine", help="the machine, where the stream does not name it")
    parser.add_argument("--lossy", action="store_true", help="write it in spite of losses")


def run_convert(args: argparse.Namespace) -> int:
    def schema(config: Configuration | None) -> Schema | None:
        return layouts.for_machine(config, args.machine)

    with open_input(args.stream) as given:
        counted = RamSum()
        stream = read_stream(given, on_ram=counted, schema=schema)
        counted.add_mapped(stream)
        if args.to in (save.SAVE_FILE, save.PLAIN):
            save.copy(stream, counted, args.to, args.out, args.stream)
            page = Page(sys.stderr if args.out == "-" else None)
            page.line(f"wrote {args.out}: the stream's own bytes", "green")
            return FINE
        patient = Patient.of(stream, args.machine)
        work = Conversion(patient, releases.release(args.to), counted, args.machine)
        work.prepare()
        refused = bool(work.losses) and not args.lossy
        if not refused:
            with new_file(args.out, args.stream) as out:
                work.write(out)
    _print_outcome(args, work, refused)
    return DIFFERS if refused else FINE


def _print_outcome(args: argparse.Namespace, work: Conversion, refused: bool) -> None:
    if args.json and args.out != "-":
        print_json({"notes": work.notes, "losses": work.losses, "written": not refused})
        return
    page = Page(sys.stderr if args.out == "-" else None)
    for note in work.notes:
        page.line(f"note: {note}")
    for loss in work.losses:
        page.line(f"{'cannot be said' if refused else 'lost'}: {loss}", "bold red")
    if refused:
        page.line(f"{args.to} cannot say all of it: not written (--lossy writes it all the same)")
    else:
        page.line(f"wrote {args.out} in the form of {args.to}", "green")


def _screenshot_parser(commands: Subparsers) -> None:
    parser = _command(
        commands, "screenshot", run_screenshot,
        "Write the picture that a saved machine shows, without starting it.",
    )  # fmt: skip
    parser.add_argument("stream", metavar="STREAM", help=INPUT_HELP)
    parser.add_argument("picture", metavar="FILE", help="the file to write, .png or .ppm")
    parser.add_argument("--machine", help="the machine, where the stream does not name it")


def run_screenshot(args: argparse.Namespace) -> int:
    target = Path(args.picture)
    kind = target.suffix.lower()[1:]
    if kind not in ("png", "ppm"):
        raise ConfigError(f"{target}: a picture's name ends in .png or .ppm")
    with open_input(args.stream) as given:
        found = screenshot.picture(given, args.machine)
    write_picture(target, found, kind)
    if args.json:
        print_json({"width": found.width, "height": found.height})
    else:
        Page().line(f"wrote {target}: {found.width} x {found.height}")
    return FINE


def print_json(tree: Any) -> None:  # noqa: ANN401 - JSON
    json.dump(tree, sys.stdout, indent=2)
    sys.stdout.write("\n")


def run(args: argparse.Namespace) -> int:
    """Run the command that `args` name; errors become one line and status 2."""
    try:
        status: int = args.stream_run(args)
    except GossamerError as fault:
        print(f"gossamer stream {args.stream_command}: {fault}", file=sys.stderr)
        return BAD
    except BrokenPipeError:
        sys.stderr.close()
        return FINE
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m gossamer.streams.command`."""
    parser = argparse.ArgumentParser(prog="gossamer stream")
    add_commands(parser)
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
