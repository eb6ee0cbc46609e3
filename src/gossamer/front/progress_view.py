"""What the progress bar looks like; loaded only when there is one to draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TextIO

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table

from gossamer.base.units import MiB

REFRESH_HZ: Final = 8
WIDTH: Final = 30
"""Columns of the bar where there is room."""


def row(title: str, done: int, total: int | None) -> Table:
    """The bar: `done` of `total` bytes, or only that something goes on."""
    bar = ProgressBar(total=total, completed=done, pulse=total is None)
    # One line however narrow the terminal: the bar gives way first, then the words.
    words = Column(no_wrap=True, overflow="ellipsis"), Column(no_wrap=True, overflow="ellipsis")
    made = Table.grid(words[0], Column(max_width=WIDTH), words[1], padding=(0, 1))
    made.add_row(title, bar, amount(done, total))
    return made


def amount(done: int, total: int | None) -> str:
    """Bytes done, of how many."""
    if total is None:
        return f"{done / MiB:.1f} MiB" if done else ""
    return f"{done / MiB:.1f} of {total / MiB:.1f} MiB"


def shown(file: TextIO, picture: Callable[[], Table], *, mid_line: bool) -> Live | None:
    """The bar, drawn again and again until it is stopped; None on a terminal that cannot."""
    console = Console(file=file)
    if console.is_dumb_terminal:
        return None
    live = Live(
        console=console,
        get_renderable=picture,
        refresh_per_second=REFRESH_HZ,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    if mid_line:
        console.line()
    live.start(refresh=True)
    console.show_cursor(True)  # for a terminal whose emulator is killed now
    return live
