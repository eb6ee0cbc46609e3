"""The machines of a fleet as a table: once, or as long as one looks."""

from __future__ import annotations

import time
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.table import Table

from gossamer.fleet.fleet import Fleet

EACH_S: Final = 1.0


def drawn(rows: list[dict[str, Any]], speeds: dict[str, float] | None = None) -> Table:
    """A row for each machine: where it is, its state, its own time, its speed in MIPS."""
    table = Table("machine", "node", "state", "its time", "Minsn/s", "environment")
    for row in rows:
        table.add_row(
            row["name"] or "-",
            row["node"],
            row["status"],
            f"{row['clock-ns'] / 1e9:.1f} s" if "clock-ns" in row else row.get("error", ""),
            f"{speeds[row['name']]:.0f}" if speeds and row["name"] in speeds else "",
            row.get("python", ""),
        )
    return table


def show(rows: list[dict[str, Any]]) -> None:
    """Print it once."""
    Console().print(drawn(rows))


def watch(fleet: Fleet) -> None:
    """Draw it each second until C-c."""
    before: dict[str, tuple[float, int]] = {}
    with Live(Table(), auto_refresh=False, console=Console()) as live:
        while True:
            now, rows = time.monotonic(), fleet.rows()
            speeds = {}
            for row in rows:
                if "instructions" in row:
                    was = before.get(row["name"])
                    if was is not None and now > was[0]:
                        speeds[row["name"]] = (row["instructions"] - was[1]) / (now - was[0]) / 1e6
                    before[row["name"]] = now, row["instructions"]
            live.update(drawn(rows, speeds), refresh=True)
            time.sleep(EACH_S)
