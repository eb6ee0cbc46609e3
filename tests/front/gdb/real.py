"""gdb itself, with a machine behind a pipe."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def debugged(folder: Path, machine: str, script: str) -> subprocess.CompletedProcess[str]:
    """What gdb wrote that carried out `script` on a machine of these options, which stands."""
    gdb = shutil.which("gdb-multiarch")
    if gdb is None:
        pytest.skip("gdb-multiarch is not installed (Debian package gdb-multiarch)")
    file = folder / "s"
    file.write_text(
        "set confirm off\nset endian big\nset remotetimeout 600\n"
        f"target remote | {shlex.quote(sys.executable)} -m gossamer run {machine} "
        f"-m 8 -nographic -serial null -monitor none -S -gdb stdio\n{script}"
    )
    return subprocess.run(
        [gdb, "-nx", "-batch", "-x", str(file)], capture_output=True, text=True, timeout=900,
        cwd=Path(__file__).parents[3] / "src",
    )  # fmt: skip
