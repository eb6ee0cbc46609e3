"""How the story looks: a live table on a terminal, plain lines elsewhere, and the closing words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from gossamer.demo.acts import Act, Hop

SHOWN: Final = 6
"""Hops, and lines of the guest, that stay on the screen: with borders they fit in 24 lines."""
STARTING: Final = "(starting; the first time native code is compiled, for some seconds)"
LOST_ON_THE_WAY: Final = "the decrementer, the time base's offset and pending interrupts"


def show(act: Act, events: Iterable[None], console: Console) -> None:
    """Show the act while it goes on; each of `events` says that something is new."""
    console.print(_title(act), soft_wrap=not console.is_terminal)
    if not console.is_terminal:
        _plain(act, events)
        return
    with Live(_picture(act, console.width), console=console, refresh_per_second=10) as live:
        for _ in events:
            live.update(_picture(act, console.width))
    console.print()


def _title(act: Act) -> str:
    if act.lossy:
        return (
            f"Act two, lossy: the same, and each save leaves out what QEMU 7.2's leave out "
            f"({LOST_ON_THE_WAY})."
        )
    return (
        f"Act one, lossless: the machine {act.machine} is saved, destroyed and loaded in a new "
        "process every second. Its program counts 1000 ticks of the decrementer a second."
    )


# --- while it goes on -----------------------------------------------------------------------------


def _line(hop: Hop) -> str:
    saved = f"saved {hop.size / 1024:.0f} KiB in {hop.save_ms:.0f} ms" if hop.size else "running"
    loaded = f"loaded in {hop.load_ms:.0f} ms, " if hop.load_ms else ""
    return (
        f"hop {hop.number}: ticks expected {hop.expected}, seen {hop.seen}, lost {hop.lost}; "
        f"{loaded}{saved}"
    )


def _plain(act: Act, events: Iterable[None]) -> None:
    """A line a hop, and the guest's lines as they come."""
    shown = heard = 0
    for _ in events:
        for line in act.lines[heard:]:
            print(f"  guest: {line}", flush=True)
        heard = len(act.lines)
        while shown < len(act.hops) - 1:
            print(_line(act.hops[shown]), flush=True)
            shown += 1
    print(_line(act.last), flush=True)


#: Columns of the table, and the width of terminal below which each is left out.
COLUMNS: Final = {
    "hop": 0, "expected": 0, "seen": 0, "lost": 0, "load": 44, "save": 54, "size": 64,
}  # fmt: skip


def _cells(hop: Hop) -> dict[str, str | Text]:
    return {
        "hop": str(hop.number),
        "expected": str(hop.expected),
        "seen": str(hop.seen),
        "lost": Text(str(hop.lost), style="bold red" if hop.lost else "green"),
        "load": f"{hop.load_ms:.0f} ms" if hop.load_ms else "",
        "save": f"{hop.save_ms:.0f} ms" if hop.size else "",
        "size": f"{hop.size / 1024:.0f} KiB" if hop.size else "",
    }


def _picture(act: Act, width: int) -> Group:
    names = [name for name, least in COLUMNS.items() if width >= least]
    table = Table(title="ticks of the decrementer", title_justify="left")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for hop in act.hops[-SHOWN:]:
        cells = _cells(hop)
        table.add_row(*(cells[name] for name in names))
    said = Text("\n".join(act.lines[-SHOWN:]) or STARTING)
    return Group(table, Panel(said, title="the guest says", title_align="left"))


# --- afterwards -----------------------------------------------------------------------------------


def closing_words(acts: Sequence[Act]) -> Iterator[str]:
    """What happened, in plain words, and what to try next."""
    yield ""
    for act in acts:
        yield from (_lossy_words if act.lossy else _lossless_words)(act)
    yield ""
    yield "Next: ./run openbios     a Macintosh to its firmware's prompt (C-a c, then savevm one)"
    yield "      ./run linux        Linux on it, built here from Debian's sources"
    yield "      .venv/bin/gossamer run --help     a machine with QEMU's options"
    yield ""


def _lossless_words(act: Act) -> Iterator[str]:
    last = act.last
    yield f"Lossless: saved, destroyed, loaded in a new process, {len(act.hops) - 1} times."
    due = f"  {last.expected} ticks were due, the guest saw {last.seen}"
    if act.whole:
        yield f"{due}: none is lost, and it noticed nothing."
        if last.expected > last.seen:
            yield "  (One was due at the very moment at which we looked.)"
    else:
        yield f"{due}: lost {last.lost}, missed {act.missed}.  THIS MUST NOT BE."
        yield from (f"  It said: {line}" for line in act.complaints[:SHOWN])
    yield _cost(act)


def _lossy_words(act: Act) -> Iterator[str]:
    last = act.last
    yield f"Lossy: the same, {len(act.hops) - 1} times, with saves like QEMU 7.2's."
    due = f"  {last.expected} ticks were due, the guest saw {last.seen}"
    if act.whole:
        yield f"{due}: NOTHING IS LOST, as lossy saves should not end."
    else:
        yield f"{due}: {last.lost} are lost, it stands still."
    if act.complaints:
        yield f'  It said "{act.complaints[0]}", and at last "{act.complaints[-1]}"'
        yield "  (ticks of the time base)."


def _cost(act: Act) -> str:
    saves = [hop for hop in act.hops if hop.size]
    loads = [hop.load_ms for hop in act.hops if hop.load_ms]
    if not saves or not loads:
        return "  No save was made."
    save = sum(hop.save_ms for hop in saves) / len(saves)
    size = sum(hop.size for hop in saves) / len(saves) / 1024
    load = sum(loads) / len(loads)
    return f"  On average a save took {save:.0f} ms and {size:.0f} KiB, a load {load:.0f} ms."


def print_lines(lines: Iterable[str], console: Console) -> None:
    """Print lines: broken between words on a terminal, as they are elsewhere."""
    for line in lines:
        if console.is_terminal:
            console.print(Text(line))
        else:
            print(line)


def counts(acts: Sequence[Act]) -> str:
    """One line: hops, and ticks expected, seen and lost, of each act."""
    words = []
    for act in acts:
        last, prefix = act.last, "lossy_" if act.lossy else ""
        figures = ("hops", len(act.hops) - 1), ("expected", last.expected)
        for name, value in (*figures, ("seen", last.seen), ("lost", last.lost)):
            words.append(f"{prefix}{name}={value}")
    return " ".join(words)
