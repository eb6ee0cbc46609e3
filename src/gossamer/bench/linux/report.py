"""The figures of both emulators: medians, ratios, a table, JSON."""

from __future__ import annotations

import os
import platform
import statistics
from pathlib import Path
from typing import Any

from gossamer.base.data import Data, asdict, field
from gossamer.base.version import VERSION
from gossamer.bench.peer import geometric_mean
from gossamer.core.host import cores


class Figure(Data, frozen=False):
    """One row's values on both, in the order they were measured.

    `less` says that a smaller value is the better one; `cpu` holds CPU seconds where the figure is
    a time, and for one of a rate where that is known.
    """

    name: str
    unit: str
    less: bool
    values: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    def add(self, emulator: str, value: float, cpu: float | None = None) -> None:
        self.values.setdefault(emulator, []).append(value)
        if cpu is not None:
            self.cpu.setdefault(emulator, []).append(cpu)

    def median(self, emulator: str) -> float | None:
        return statistics.median(self.values[emulator]) if emulator in self.values else None

    @property
    def ratio(self) -> float | None:
        """How many times better gossamer is than QEMU; None without both."""
        return _ratio(self.median("gossamer"), self.median("qemu"), self.less)

    @property
    def cpu_ratio(self) -> float | None:
        """The same for CPU time."""
        if "gossamer" not in self.cpu or "qemu" not in self.cpu:
            return None
        ours, theirs = (statistics.median(self.cpu[emulator]) for emulator in ("gossamer", "qemu"))
        return _ratio(ours, theirs, True)


def _ratio(ours: float | None, theirs: float | None, less: bool) -> float | None:
    if not ours or not theirs:
        return None
    return theirs / ours if less else ours / theirs


def host() -> dict[str, Any]:
    """The machine that it was measured on."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model or platform.machine(),
        "cores": cores(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "gossamer": VERSION,
    }


def summary(machine: str, qemu: str, rounds: int, figures: list[Figure]) -> dict[str, Any]:
    """Everything, for JSON."""
    return {
        "machine": machine,
        "host": host(),
        "qemu": qemu,
        "rounds": rounds,
        "total": geometric_mean(f.ratio for f in figures),
        "total_cpu": geometric_mean(f.cpu_ratio for f in figures),
        "rows": [
            asdict(f)
            | {
                "gossamer": f.median("gossamer"),
                "qemu": f.median("qemu"),
                "ratio": f.ratio,
                "cpu_ratio": f.cpu_ratio,
            }
            for f in figures
        ],
    }


HEAD = f"{'row':18} {'unit':9} {'gossamer':>10} {'QEMU':>10} {'ratio':>7} {'CPU':>7}"


def line(figure: Figure) -> str:
    """A row of the table."""
    ours, theirs = figure.median("gossamer"), figure.median("qemu")
    cells = [_number(ours), _number(theirs), _times(figure.ratio), _times(figure.cpu_ratio)]
    widths = (10, 10, 7, 7)
    text = " ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    return f"{figure.name:18} {figure.unit:9} {text}".rstrip()


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if value >= 100_000:
        return f"{value:.3g}"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
