"""What the stream tools print: tables and coloured lines on a terminal, aligned text in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Row = Sequence[str]


class Page:
    """Collects nothing: every call prints.  `plain` is decided by the file, or given."""

    def __init__(self, file: TextIO | None = None, plain: bool | None = None) -> None:
        self.console = Console(file=file, highlight=False, soft_wrap=True, emoji=False)
        self.plain = not self.console.is_terminal if plain is None else plain

    def line(self, text: str = "", style: str = "") -> None:
        """One line; never wrapped."""
        if self.plain:
            self.console.file.write(text + "\n")
        else:
            self.console.print(f"[{style}]{escape(text)}[/]" if style else escape(text))

    def heading(self, text: str) -> None:
        self.line(text, "bold cyan")

    def value(self, indent: int, name: str, value: str, meaning: str = "") -> None:
        """A named value with what it means."""
        pad = "  " * indent
        if self.plain:
            tail = f"  ({meaning})" if meaning else ""
            self.console.file.write(f"{pad}{name:<{max(30 - len(pad), 8)}} {value}{tail}\n")
            return
        tail = f"  [green]{escape(meaning)}[/]" if meaning else ""
        width = max(30 - len(pad), 8)
        self.console.print(f"{pad}{escape(name):<{width}} [bold]{escape(value)}[/]{tail}")

    def table(self, columns: Sequence[str], rows: Sequence[Row], right: Sequence[int] = ()) -> None:
        """Rows under headings; `right` are the columns aligned to the right."""
        if not rows:
            return
        if not self.plain:
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
            for i, name in enumerate(columns):
                side = "right" if i in right else "left"
                table.add_column(name, justify=side, overflow="fold")  # type: ignore[arg-type]
            for row in rows:
                table.add_row(*map(escape, row))
            self.console.print(table, soft_wrap=False)
            return
        widths = [max(len(r[i]) for r in [columns, *rows]) for i in range(len(columns))]
        for row in [columns, *rows]:
            cells = [
                f"{c:>{w}}" if i in right else f"{c:<{w}}"
                for i, (c, w) in enumerate(zip(row, widths, strict=True))
            ]
            self.console.file.write("  ".join(cells).rstrip() + "\n")


def size_text(n: int) -> str:
    """`3.4 MiB`, `131 B`."""
    for weight, unit in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if n >= weight:
            text = f"{n / weight:.1f}".removesuffix(".0")
            return f"{text} {unit}"
    return f"{n} B"


def ns_text(ns: int) -> str:
    """A span of time as text: `312 ms`, `25.08 s`, `1.5 µs`."""
    sign, ns = ("−", -ns) if ns < 0 else ("", ns)
    for weight, unit in ((10**9, "s"), (10**6, "ms"), (10**3, "µs")):
        if ns >= weight:
            return (
                f"{sign}{ns / weight:.4g} {unit}"
                if ns < 10**4 * weight
                else (f"{sign}{ns // weight:,} {unit}")
            )
    return f"{sign}{ns} ns"


def plural(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")
